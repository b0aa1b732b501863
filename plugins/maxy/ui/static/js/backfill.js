/**
 * The form that has Airflow compute days again. Airflow's own form cannot be filled in by a link; this one asks
 * Airflow's API for the same, with the permissions of whoever sends it.
 * @module backfill
 */

import { ApiError, askAirflow, tellAirflow } from "./api.js";
import { setBanner } from "./banners.js";
import { fromBackfillHash } from "./day-runs.js";
import { byId, fill } from "./dom.js";
import { formatDay, t } from "./i18n.js";
import { airflowLink } from "./links.js";

const ERRORS = { 403: "backfill.forbidden", 404: "backfill.noDag", 409: "backfill.running" };

/** The form of the history page. */
export class BackfillForm {
  constructor() {
    this._days = [];
    this._dagId = null;
    this._section = byId("backfill");
    this._first = byId("backfill-first");
    this._last = byId("backfill-last");
    this._answer = byId("backfill-answer");
    this._start = byId("backfill-start");
    byId("backfill-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this._send();
    });
    byId("backfill-close").addEventListener("click", () => this._close());
    addEventListener("hashchange", () => this._open());
  }

  /**
   * Learn of the days that can be chosen, and open the form if the page's address says so.
   * @param {string} dagId
   * @param {object[]} days as the API tells them
   */
  offer(dagId, days) {
    this._dagId = dagId;
    this._days = days.filter(({ state }) => state !== "not_due");
    const [first, last] = [this._days[0]?.stat_date ?? "", this._days.at(-1)?.stat_date ?? ""];
    for (const field of [this._first, this._last]) {
      Object.assign(field, { min: first, max: last });
    }
    if (this._section.hidden) {
      this._open();
    }
  }

  async _open() {
    const wanted = fromBackfillHash(location.hash);
    if (!wanted || !this._dagId) {
      return;
    }
    this._first.value = wanted.first;
    this._last.value = wanted.last;
    fill(this._answer);
    fill(byId("backfill-link"), airflowLink(t("backfill.all"), ["dags", this._dagId, "backfills"]));
    this._section.hidden = false;
    this._section.scrollIntoView({ block: "nearest" });
    byId("backfill-title").focus();
    await this._warnOfPause();
  }

  _close() {
    this._section.hidden = true;
    history.replaceState(null, "", location.pathname + location.search);
    byId("main").focus();
  }

  /** In a paused DAG the runs would wait without a word. */
  async _warnOfPause() {
    const dag = await askAirflow(["dags", this._dagId]).catch(() => null);
    setBanner("paused", dag?.is_paused ? { tone: "warn", text: t("backfill.paused") } : null, this._answer);
  }

  async _send() {
    const [first, last] = [this._day(this._first.value), this._day(this._last.value)];
    if (!first || !last || first.stat_date > last.stat_date) {
      this._say("invalid", "bad", t("backfill.invalid"));
      return;
    }
    this._start.disabled = true;
    const days = { first: formatDay(first.stat_date), last: formatDay(last.stat_date) };
    try {
      await tellAirflow(["backfills"], this._order(first, last));
      this._say("started", "good", t("backfill.started", days));
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      const text = ERRORS[error.status] ? t(ERRORS[error.status]) : t("backfill.refused");
      this._say(`error-${error.status}`, "bad", text, [error.detail]);
    } finally {
      this._start.disabled = false;
    }
  }

  _day(date) {
    return this._days.find(({ stat_date }) => stat_date === date);
  }

  _order(first, last) {
    // Airflow takes every run whose day begins within these instants; the end is the next day's beginning.
    const end = new Date(Date.parse(last.end) - 1000).toISOString();
    return {
      dag_id: this._dagId,
      from_date: first.start,
      to_date: end,
      max_active_runs: Number(byId("backfill-runs").value),
      reprocess_behavior: byId("backfill-again").value,
      run_backwards: byId("backfill-backwards").checked,
      dag_run_conf: {},
    };
  }

  _say(state, tone, text, items = []) {
    fill(this._answer);
    setBanner(state, { tone, text, items }, this._answer);
  }
}

/**
 * The form that has Airflow compute days again. Airflow's own form cannot be filled in by a link; this one asks
 * Airflow's API for the same, with the permissions of whoever sends it.
 * @module backfill
 */

import { ApiError, askAirflow, tellAirflow } from "./api.js";
import { setBanner } from "./banners.js";
import { BackfillProgress } from "./backfill-progress.js";
import { fromBackfillHash } from "./day-runs.js";
import { byId, fill } from "./dom.js";
import { formatDay, t } from "./i18n.js";
import { airflowLink } from "./links.js";

const ERRORS = { 403: "backfill.forbidden", 404: "backfill.noDag", 409: "backfill.running" };

/** The form of the history page. */
export class BackfillForm {
  /** @param {() => void} onProgress is told when another day's run has ended */
  constructor(onProgress) {
    this._progress = new BackfillProgress(byId("backfill-progress"), onProgress);
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
    await Promise.all([this._warnOfPause(), this._askPermission(wanted)]);
  }

  /** Whoever may not start a backfill is told so at once. A dry run needs the same permission, and changes nothing. */
  async _askPermission(wanted) {
    const [first, last] = [this._day(wanted.first), this._day(wanted.last)];
    if (!first || !last) {
      return;
    }
    const refusal = await tellAirflow(["backfills", "dry_run"], this._order(first, last)).then(
      () => null,
      (error) => error,
    );
    const isForbidden = refusal instanceof ApiError && refusal.status === 403;
    byId("backfill-form").hidden = isForbidden;
    setBanner("forbidden", isForbidden ? { tone: "info", text: t("backfill.forbidden") } : null, this._answer);
  }

  _close() {
    this._section.hidden = true;
    this._progress.stop();
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
    const names = { first: formatDay(first.stat_date), last: formatDay(last.stat_date) };
    const days = this._days.slice(this._days.indexOf(first), this._days.indexOf(last) + 1);
    try {
      await tellAirflow(["backfills"], this._order(first, last));
      this._say("started", "good", t("backfill.started", names));
      this._progress.follow(this._dagId, days);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      const text = ERRORS[error.status] ? t(ERRORS[error.status]) : t("backfill.refused");
      // What Airflow says of a permission is one word.
      this._say(`error-${error.status}`, "bad", text, error.status === 403 ? [] : [error.detail]);
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

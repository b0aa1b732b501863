/**
 * How far a backfill has come: days done of all, those that failed by name, and its end.
 * @module backfill-progress
 */

import { ApiError } from "./api.js";
import { runsOfDays } from "./daily-runs.js";
import { el, fill, setText } from "./dom.js";
import { formatDay, formatNumber, t } from "./i18n.js";
import { airflowLink, runPath } from "./links.js";

const ASK_MS = 2000;

/** The progress of one backfill. */
export class BackfillProgress {
  /**
   * @param {HTMLElement} place is hidden while nothing is followed; has role="status"
   * @param {() => void} onProgress is told when another day's run has ended
   */
  constructor(place, onProgress) {
    this._place = place;
    this._onProgress = onProgress;
    this._bar = el("progress", { "aria-label": t("backfill.progressLabel") });
    this._text = el("p");
    this._failed = el("ul", { class: "plain-list" });
    fill(place, this._text, this._bar, this._failed);
    this.stop();
  }

  /**
   * Follow the runs of these days until all have ended.
   * @param {string} dagId
   * @param {object[]} days as the API tells them, oldest first
   */
  follow(dagId, days) {
    this.stop();
    const followed = { dagId, days, ended: 0 };
    this._followed = followed;
    this._show(followed, new Map());
    this._place.hidden = false;
    this._ask(followed);
  }

  /** Look no further; Airflow goes on. */
  stop() {
    clearTimeout(this._timer);
    this._followed = null;
    this._place.hidden = true;
  }

  async _ask(followed) {
    const runs = document.hidden ? null : await this._runs(followed);
    if (this._followed !== followed) {
      return;
    }
    const hasEnded = runs !== null && this._show(followed, runs);
    if (!hasEnded) {
      this._timer = setTimeout(() => this._ask(followed), ASK_MS);
    }
  }

  async _runs({ dagId, days }) {
    try {
      return await runsOfDays(dagId, days);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      // Airflow may be back at the next attempt.
      setText(this._text, t("backfill.noProgress", { detail: error.text }));
      return null;
    }
  }

  /** Show how far it is; true if it has ended. */
  _show(followed, runs) {
    const { dagId, days } = followed;
    const count = (state) => [...runs.values()].filter((run) => run.state === state).length;
    const failed = days.filter(({ stat_date }) => runs.get(stat_date)?.state === "failed");
    const done = count("success");
    const ended = done + failed.length;
    const hasEnded = runs.size > 0 && ended === runs.size;
    const values = { done: formatNumber(done), days: formatNumber(days.length), failed: formatNumber(failed.length) };
    this._place.dataset.state = hasEnded ? "ended" : "running";
    this._bar.max = days.length;
    this._bar.value = ended;
    setText(this._text, t(textKey({ hasEnded, failed, done, days }), values));
    fill(
      this._failed,
      failed.map(({ stat_date }) => failedDay(dagId, stat_date, runs.get(stat_date))),
    );
    if (ended > followed.ended || hasEnded) {
      followed.ended = ended;
      this._onProgress();
    }
    return hasEnded;
  }
}

function textKey({ hasEnded, failed, done, days }) {
  if (!hasEnded) {
    return "backfill.progress";
  }
  return failed.length || done < days.length ? "backfill.endedBadly" : "backfill.ended";
}

function failedDay(dagId, day, run) {
  return el(
    "li",
    { "data-failed-day": day },
    el("span", { class: "error-text" }, t("backfill.failedDay", { day: formatDay(day) })),
    airflowLink(t("links.run"), runPath(dagId, run.id)),
  );
}

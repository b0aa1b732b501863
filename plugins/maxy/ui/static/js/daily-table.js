/**
 * The last days of the daily job, as a table: what is in ClickHouse, and Airflow's runs.
 * @module daily-table
 */

import { backfillHash } from "./day-runs.js";
import { el, updateRows } from "./dom.js";
import { formatDay, formatDuration, formatNumber, formatTime, t } from "./i18n.js";
import { airflowLink, runPath, taskPath } from "./links.js";

const COLUMNS = ["day", "state", "keys", "computed", "run", "duration", "links"];
const RUN_TONES = { success: "good", failed: "bad", running: "info", queued: "info" };

/** The table of the last days. */
export class DailyTable {
  /** @param {HTMLElement} table an empty one */
  constructor(table) {
    const titles = COLUMNS.map((name) => el("th", { scope: "col" }, t(`daily.${name}`)));
    this._body = el("tbody");
    table.append(el("thead", {}, el("tr", {}, titles)), this._body);
  }

  /**
   * @param {string} dagId
   * @param {object[]} days as the API tells them
   * @param {Map<string, import("./runs.js").DailyRun>} runs by day
   */
  show(dagId, days, runs) {
    const sorted = [...days].sort((one, other) => (one.stat_date < other.stat_date ? 1 : -1));
    updateRows(
      this._body,
      sorted.map((day) => row(dagId, day, runs.get(day.stat_date))),
    );
  }
}

function row(dagId, { stat_date, state, keys, updated_at }, run) {
  const tone = state === "present" ? "good" : "bad";
  const cells = [
    el("span", { class: "badge", "data-tone": tone }, t(`state.${state}`)),
    formatNumber(keys),
    updated_at ? el("time", { datetime: updated_at }, formatTime(updated_at)) : "–",
    run ? el("span", { class: "badge", "data-tone": RUN_TONES[run.state] }, runState(run.state)) : "–",
    run && run.seconds !== null ? formatDuration(run.seconds) : "–",
    links(dagId, stat_date, state, run),
  ];
  return el(
    "tr",
    { "data-day": stat_date, "data-state": state, "data-run-state": run?.state ?? "" },
    el("th", { scope: "row" }, formatDay(stat_date)),
    cells.map((content) => el("td", {}, content)),
  );
}

/** Airflow may get states that are not known here. */
function runState(state) {
  return state in RUN_TONES ? t(`runState.${state}`) : state;
}

function links(dagId, day, state, run) {
  const found = [];
  if (run) {
    found.push(airflowLink(t("links.run"), runPath(dagId, run.id)));
    found.push(
      ...run.failedTasks.map((task) => airflowLink(t("links.taskLog", { task }), taskPath(dagId, run.id, task))),
    );
  }
  if (state === "missing") {
    const hash = backfillHash({ first: day, last: day });
    found.push(el("a", { href: `history${location.search}${hash}` }, t("links.fill")));
  }
  return found.length ? found.flatMap((link, place) => (place ? [" · ", link] : [link])) : "–";
}

/**
 * The last days of the daily job, as a table: what is in ClickHouse, and Airflow's runs.
 * @module daily-table
 */

import { backfillHash } from "./day-runs.js";
import { el, updateRows } from "./dom.js";
import { formatDay, formatDuration, formatInstant, formatNumber, t } from "./i18n.js";
import { airflowLink, runPath, taskPath } from "./links.js";

const COLUMNS = ["day", "state", "keys", "cached", "computed", "run", "duration", "links"];
const TONES = { present: "good", missing: "bad", before_first: "" };
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
   * @param {{dag_id: string, days: object[] | null}} daily as the API tells it
   * @param {Map<string, import("./daily-runs.js").DailyRun>} runs by day
   */
  show({ dag_id, days }, runs) {
    const sorted = [...(days ?? [])].sort((one, other) => (one.stat_date < other.stat_date ? 1 : -1));
    updateRows(
      this._body,
      sorted.flatMap((day) => [row(dag_id, day, runs.get(day.stat_date)), leftOut(day)].filter(Boolean)),
    );
  }
}

function row(dagId, { stat_date, state, keys, rows, cached_keys, updated_at }, run) {
  const cells = [
    el("span", { class: "badge", "data-tone": TONES[state] }, t(`state.${state}`)),
    state === "present" ? rowCount(rows, keys) : "–",
    state === "present" ? cached(keys, cached_keys) : "–",
    updated_at ? el("time", { datetime: updated_at }, formatInstant(updated_at)) : "–",
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

function rowCount(rows, keys) {
  const text = t("daily.rowsForKeys", { rows: formatNumber(rows), keys: formatNumber(keys) });
  return rows > keys ? el("span", { class: "error-text" }, text) : formatNumber(rows);
}

function cached(keys, cachedKeys) {
  if (cachedKeys === null) {
    return "–";
  }
  return cachedKeys < keys ? el("span", { class: "error-text" }, formatNumber(cachedKeys)) : formatNumber(cachedKeys);
}

/** What the day's computation has left out, in a row of its own. */
function leftOut({ stat_date, left_out }) {
  if (left_out.length === 0) {
    return null;
  }
  const all = left_out.reduce((sum, { rows }) => sum + rows, 0);
  const items = left_out.map(({ cause, rows, examples }) =>
    el(
      "li",
      {},
      // The daily job writes English.
      el("span", { lang: "en" }, `${cause}: ${formatNumber(rows)}`),
      examples.length > 0 && el("span", { class: "muted" }, ` (${examples.join(", ")})`),
    ),
  );
  return el(
    "tr",
    { "data-detail-of": stat_date, class: "detail" },
    el(
      "td",
      { colspan: COLUMNS.length },
      el(
        "details",
        { class: "in-sight" },
        el("summary", {}, t("daily.leftOut", { count: formatNumber(all) })),
        el("ul", {}, items),
      ),
    ),
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

/**
 * How the live loops fare, as a table.
 * @module loops-table
 */

import { el, updateRows } from "./dom.js";
import { formatDuration, formatNumber, formatTime, t } from "./i18n.js";
import { airflowLink, runPath, taskPath } from "./links.js";

const COLUMNS = [
  "loop",
  "state",
  "lastTick",
  "lastSuccess",
  "lag",
  "duration",
  "rate",
  "failures",
  "ticks",
  "links",
  "holder",
  "error",
];
const TASK = "run_loop";

const LOOP_TONES = { ok: "good", stale: "bad", failing: "bad", late: "warn", never: "bad", clock: "warn" };

/** The table of some loops. */
export class LoopsTable {
  /** @param {HTMLElement} table an empty one */
  constructor(table) {
    const titles = COLUMNS.map((name) => el("th", { scope: "col" }, t(`loops.${name}`)));
    this._body = el("tbody");
    table.append(el("thead", {}, el("tr", {}, titles)), this._body);
  }

  /**
   * @param {object[]} loops as the API tells them
   * @param {Map<string, string | null>} runs the newest run's id by the DAG's; without one there are no links to it
   */
  show(loops, runs) {
    updateRows(
      this._body,
      loops.map((loop) => row(loop, runs.get(loop.dag_id) ?? null)),
    );
  }
}

function row(loop, runId) {
  const cells = [
    badge(loop.state),
    instant(loop.last_tick_at),
    instant(loop.last_success_at),
    duration(loop.lag_seconds),
    duration(loop.duration_seconds),
    rate(loop),
    failures(loop),
    ticks(loop),
    links(loop, runId),
    holder(loop),
  ];
  return el(
    "tr",
    { "data-loop": loop.name, "data-state": loop.state },
    el("th", { scope: "row" }, loop.name),
    cells.map((content) => el("td", {}, content)),
    el("td", { class: "wrap" }, problem(loop)),
  );
}

function badge(state) {
  return el("span", { class: "badge", "data-tone": LOOP_TONES[state] }, t(`loopState.${state}`));
}

function instant(at) {
  return at ? el("time", { datetime: at }, formatTime(at)) : "–";
}

function duration(seconds) {
  return seconds === null ? "–" : formatDuration(seconds);
}

function rate({ period_seconds, rows }) {
  const period = t("loops.period", { period: formatDuration(period_seconds) });
  return rows === null ? period : [t("loops.rows", { rows: formatNumber(rows) }), el("br"), muted(period)];
}

function failures({ failures: all, consecutive_failures: inARow }) {
  if (all === null) {
    return "–";
  }
  return [
    formatNumber(all),
    inARow > 0 && [el("br"), el("span", { class: "error-text" }, t("loops.inARow", { count: formatNumber(inARow) }))],
  ].flat();
}

function ticks({ ticks: good, skipped }) {
  if (good === null) {
    return "–";
  }
  return [formatNumber(good), el("br"), muted(t("loops.skipped", { count: formatNumber(skipped) }))];
}

function holder({ holder: token, host }) {
  return token ? [host, el("br"), el("code", { class: "muted" }, token)] : "–";
}

function links({ dag_id }, runId) {
  if (!runId) {
    return airflowLink(t("links.dag"), ["dags", dag_id]);
  }
  return [
    airflowLink(t("links.run"), runPath(dag_id, runId)),
    " · ",
    airflowLink(t("links.log"), taskPath(dag_id, runId, TASK)),
  ];
}

function problem({ problem: sentence, last_error }) {
  if (!sentence && !last_error) {
    return "–";
  }
  // The loops and the database write English.
  const text =
    last_error && !sentence?.includes(last_error) ? [sentence, last_error].filter(Boolean).join(". ") : sentence;
  return el("span", { class: "error-text", lang: "en" }, text);
}

function muted(text) {
  return el("span", { class: "muted" }, text);
}

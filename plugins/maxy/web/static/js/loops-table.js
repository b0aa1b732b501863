/**
 * The status of the live loops, as a table. What is wrong with a loop stands in a row of its own below it, as wide as what
 * can be seen of the table.
 * @module loops-table
 */

import { el, updateRows } from "./dom.js";
import { formatDuration, formatNumber, formatTime, t } from "./i18n.js";
import { airflowLink, runPath, taskPath } from "./links.js";
import { reasonOf } from "./loop-reasons.js";

const COLUMNS = [
  "loop",
  "state",
  "lastSuccess",
  "lag",
  "duration",
  "rate",
  "leftOut",
  "failures",
  "ticks",
  "links",
  "lastTick",
  "holder",
];
const TASK = "run_loop";

const LOOP_TONES = { ok: "good", stale: "bad", failing: "bad", late: "warn", blocking: "bad", never: "bad", clock: "warn" };

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
   * @param {import("./loop-runs.js").LoopRuns} runs newest runs of the DAGs; without one there are no links to it
   */
  show(loops, runs) {
    updateRows(
      this._body,
      loops.flatMap((loop) => rows(loop, runs)),
    );
  }
}

function rows(loop, runs) {
  const notes = [problem(loop), reason(loop, runs), heldUp(loop), replaced(loop)].filter(Boolean);
  return [row(loop, runs.loops.get(loop.dag_id)), ...(notes.length ? [detail(loop, notes)] : [])];
}

function row(loop, run) {
  const cells = [
    badge(loop.state),
    instant(loop.last_success_at),
    duration(loop.lag_seconds),
    duration(loop.duration_seconds),
    rate(loop),
    leftOut(loop),
    failures(loop),
    ticks(loop),
    links(loop, run?.id),
    instant(loop.last_tick_at),
    holder(loop),
  ];
  return el(
    "tr",
    { "data-loop": loop.name, "data-state": loop.state },
    el("th", { scope: "row" }, loop.name),
    cells.map((content) => el("td", {}, content)),
  );
}

function detail(loop, notes) {
  return el(
    "tr",
    { "data-detail-of": loop.name, class: "detail" },
    el("td", { colspan: COLUMNS.length }, el("div", { class: "in-sight" }, notes)),
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

function rate({ period_seconds, rows, rows_are, rows_per_second }) {
  const period = t("loops.period", { period: formatDuration(period_seconds) });
  if (rows === null) {
    return period;
  }
  const count = formatNumber(rows);
  const texts = {
    new: () => t("loops.rowsPerSecond", { rows: formatNumber(rows_per_second, rows_per_second < 10 ? 1 : 0) }),
    read: () => t("loops.rowsRead", { rows: count }),
  };
  const text = texts[rows_are]?.() ?? t("loops.rows", { rows: count });
  return [text, el("br"), muted(period)];
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
    return null;
  }
  // The loops and the database write English.
  const text =
    last_error && !sentence?.includes(last_error) ? [sentence, last_error].filter(Boolean).join(". ") : sentence;
  return el("p", { class: "error-text", lang: "en" }, text);
}

function reason(loop, runs) {
  const found = reasonOf(loop, runs);
  return found && el("p", { "data-reason": found.name }, found.text, " ", airflowLink(found.linkText, found.path));
}

/** Rows without a dimension, and values out of their range by metric. It changes with every tick, so it has its place. */
function leftOut({ left_out: rows, out_of_range: values }) {
  const counts = Object.entries(values ?? {}).filter(([, count]) => count > 0);
  const list = counts.map(([metric, count]) => `${metric} ${formatNumber(count)}`).join(", ");
  if (!rows && !list) {
    return "–";
  }
  const count = t("loops.leftOutRows", { rows: formatNumber(rows ?? 0) });
  return [
    el("span", { "data-note": "left-out", "data-value": rows }, count),
    list && [
      el("br"),
      el("span", { class: "muted small narrow", "data-note": "out-of-range" }, t("loops.outOfRange", { list })),
    ],
  ].flat();
}

/** It is no fault of the loop's own. */
function heldUp({ held_up_by: other, held_up_seconds: seconds }) {
  const text = () => t("loops.heldUp", { loop: other, duration: formatDuration(seconds) });
  return Boolean(other) && el("p", { "data-note": "held-up" }, text());
}

function replaced({ replaced_keys }) {
  const text = () => t("loops.replacedKeys", { keys: formatNumber(replaced_keys) });
  return replaced_keys > 0 && el("p", { "data-note": "replaced-keys" }, text());
}

function muted(text) {
  return el("span", { class: "muted" }, text);
}

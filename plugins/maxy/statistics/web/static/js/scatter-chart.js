/**
 * The scatter of the last minutes: each request is a point, the slow ones stand out.
 * @module scatter-chart
 */

import { Chart } from "./charts.js";
import { el, fill, setText } from "./dom.js";
import { formatMilliseconds, formatNumber, formatTime, t } from "./i18n.js";
import { PointWindow, SLOW_MS, WINDOW_MS } from "./points.js";
import { serverNow } from "./time.js";

/** What is above is drawn at the upper edge of a linear axis: one outlier would press all others to the ground. */
const CAP_MS = 5000;
const SLOWEST = 20;
const PARTS = ["value", "time", "system", "page", "model", "version", "connection"];
// Whatever its time, a slow point lies on top.
const LOOKS = [
  { kind: "normal", look: "circles", colour: "chart-1" },
  { kind: "slow", look: "diamonds", colour: "chart-slow" },
  { kind: "beyond", look: "triangles", colour: "chart-slow" },
];
// After so long without an event, the axes are moved without one.
const QUIET_MS = 10_000;

/**
 * @typedef {object} View
 * @property {string | null} os show this system's points only; null: all
 * @property {boolean} isLog whether the axis of values is logarithmic
 */

/** One of the two scatters, with the text and the table beside it. */
export class ScatterChart {
  /**
   * @param {HTMLElement} root holds .chart, .summary and details.slowest
   * @param {() => View} view how it is to be shown
   */
  constructor(root, view) {
    this._view = view;
    this._window = new PointWindow();
    this._isKnown = false;
    this._drawnAt = 0;
    this._summary = root.querySelector(".summary");
    this._beyondKey = root.querySelector(".key .beyond");
    this._details = root.querySelector("details");
    this._rows = root.querySelector("tbody");
    this._host = root.querySelector(".chart");
    this._chart = new Chart(this._host, () => this._build());
    this._details.addEventListener("toggle", () => this._fillTable());
    setInterval(() => this._age(), 1000);
  }

  /** Forget everything: something else was chosen. */
  clear() {
    this._window.clear();
    this._isKnown = false;
    setText(this._summary, t("live.waiting"));
    this.refresh();
  }

  /**
   * Take in an event of the stream.
   * @param {object} event
   */
  apply(event) {
    this._window.apply(event);
    this._isKnown = true;
    this.refresh();
  }

  /** How it is to be shown has changed, or what. */
  refresh() {
    this._chart.refresh();
  }

  /** The axes move on with the next event; without one, after a while. */
  _age() {
    if (!document.hidden && this._isKnown && serverNow() - this._drawnAt > QUIET_MS) {
      this.refresh();
    }
  }

  _build() {
    const now = serverNow();
    const { os, isLog } = this._view();
    this._drawnAt = now;
    this._window.prune(now);
    const points = this._window.list(os);
    this._tell(points);
    this._beyondKey.hidden = isLog;
    return {
      ...columns(points, isLog),
      xAxis: { kind: "time", range: [now - WINDOW_MS, now] },
      yAxis: { label: t("live.valueAxis"), isLog, range: isLog ? logRange(points) : [0, CAP_MS * 1.03] },
      levels: [{ y: SLOW_MS, colour: "chart-slow" }],
      describe: (place) => told(points[place], isLog),
      points: points.length,
      view: isLog ? "log" : "linear",
    };
  }

  /** Everything but the chart. */
  _tell(points) {
    const slow = slowOf(points);
    if (this._isKnown) {
      const counts = { count: formatNumber(points.length), slow: formatNumber(slow.length) };
      setText(this._summary, t("live.scatterSummary", counts));
    }
    this._fillTable(slow);
  }

  _fillTable(slow = slowOf(this._window.list(this._view().os))) {
    if (!this._details.open) {
      return;
    }
    const slowest = [...slow].sort((one, other) => other.value - one.value).slice(0, SLOWEST);
    fill(
      this._rows,
      slowest.length ? slowest.map(row) : el("tr", {}, el("td", { colspan: 7 }, t("live.noSlowPoints"))),
    );
  }
}

function row(point) {
  return el(
    "tr",
    {},
    el("th", { scope: "row", class: "number" }, formatMilliseconds(point.value)),
    [formatTime(point.at), ...texts(point)].map((text) => el("td", {}, text)),
  );
}

function texts(point) {
  return [point.os, point.page, point.model, point.version, point.connection].map((text) => text ?? "–");
}

function told(point, isLog) {
  const values = [formatMilliseconds(point.value), formatTime(point.at), ...texts(point)];
  const lines = PARTS.map((part, place) => [t(`live.point.${part}`), values[place]]);
  return { kind: kindOf(point.value, isLog), value: point.value, lines };
}

/** Made in one go: there are many points, at every tick. */
function columns(points, isLog) {
  const x = points.map(({ at }) => at);
  const series = LOOKS.map(({ kind, ...look }) => ({ ...look, name: kind, y: new Array(x.length).fill(null) }));
  const byKind = Object.fromEntries(series.map(({ name, y }) => [name, y]));
  points.forEach(({ value }, place) => {
    byKind[kindOf(value, isLog)][place] = isLog ? Math.max(value, 1) : Math.min(value, CAP_MS);
  });
  return { x, series };
}

function slowOf(points) {
  return points.filter(({ value }) => value > SLOW_MS);
}

function kindOf(value, isLog) {
  return value <= SLOW_MS ? "normal" : isLog || value <= CAP_MS ? "slow" : "beyond";
}

/** Whole powers of ten, so that the axis stands still while points come and go. */
function logRange(points) {
  const largest = points.reduce((most, { value }) => Math.max(most, value), 0);
  const smallest = points.reduce((least, { value }) => Math.min(least, value), 10);
  return [smallest < 10 ? 1 : 8, 10 ** Math.max(4, Math.ceil(Math.log10(largest + 1)))];
}

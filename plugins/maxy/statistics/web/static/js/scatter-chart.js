/**
 * The scatter of the last minutes: each request is a point, the slow ones stand out.
 * @module scatter-chart
 */

import { axis, Chart, colour, timeAxis } from "./charts.js";
import { el, fill, setText } from "./dom.js";
import { formatMilliseconds, formatNumber, formatTime, t } from "./i18n.js";
import { PointLayer } from "./point-layer.js";
import { PointWindow, SLOW_MS, WINDOW_MS } from "./points.js";
import { serverNow, wallText } from "./time.js";

/** What is above is drawn at the upper edge of a linear axis: one outlier would press all others to the ground. */
const CAP_MS = 5000;
const SLOWEST = 20;
const PARTS = ["value", "time", "system", "page", "model", "version", "connection"];
// Without any trace, Plotly draws no axes.
const NO_TRACE = { type: "scatter", mode: "markers", x: [null], y: [null], hoverinfo: "skip", showlegend: false };
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
    const plot = this._host.appendChild(el("div", { class: "plot" }));
    this._layer = new PointLayer(this._host, plot, describe);
    this._chart = new Chart(
      plot,
      () => this._build(),
      () => this._layer.paint(),
    );
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

  /** Leave out what has become too old. The axes move on with the next event; without one, after a while. */
  _age() {
    const now = serverNow();
    if (document.hidden || !this._isKnown || !this._window.prune(now)) {
      return;
    }
    if (now - this._drawnAt > QUIET_MS) {
      this.refresh();
    } else {
      this._host.dataset.points = String(this._showPoints().length);
      this._layer.paint();
    }
  }

  _build() {
    const now = serverNow();
    this._drawnAt = now;
    this._window.prune(now);
    const points = this._showPoints();
    return { traces: [NO_TRACE], layout: layout(points, this._view().isLog, now), points: points.length };
  }

  /** Everything but the axes. */
  _showPoints() {
    const { os, isLog } = this._view();
    const points = this._window.list(os);
    const slow = points.filter((point) => point.value > SLOW_MS);
    if (this._isKnown) {
      const counts = { count: formatNumber(points.length), slow: formatNumber(slow.length) };
      setText(this._summary, t("live.scatterSummary", counts));
    }
    this._beyondKey.hidden = isLog;
    this._fillTable(slow);
    // Whatever its time, a slow point lies on top.
    const ordered = [...points.filter((point) => point.value <= SLOW_MS), ...slow];
    this._layer.show(
      ordered.map((point) => mark(point, isLog)),
      isLog,
    );
    return points;
  }

  _fillTable(slow = this._window.list(this._view().os).filter((point) => point.value > SLOW_MS)) {
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

/** Name and value of each line that tells of a point. */
function describe(point) {
  const values = [formatMilliseconds(point.value), formatTime(point.at), ...texts(point)];
  return PARTS.map((part, place) => [t(`live.point.${part}`), values[place]]);
}

function mark(point, isLog) {
  const { at, value } = point;
  if (isLog) {
    return { at, y: Math.max(value, 1), kind: value > SLOW_MS ? "slow" : "normal", point };
  }
  const kind = value > CAP_MS ? "beyond" : value > SLOW_MS ? "slow" : "normal";
  return { at, y: Math.min(value, CAP_MS), kind, point };
}

function layout(points, isLog, now) {
  const largest = points.reduce((most, point) => Math.max(most, point.value), 0);
  const smallest = points.reduce((least, point) => Math.min(least, point.value), 10);
  // Whole powers of ten, so that the axis stands still while points come and go.
  const powers = [smallest < 10 ? 0 : 0.9, Math.max(4, Math.ceil(Math.log10(largest + 1)))];
  const line = { color: colour("chart-slow"), width: 1, dash: "dot" };
  const values = isLog ? { type: "log", range: powers, dtick: 1 } : { type: "linear", range: [0, CAP_MS * 1.03] };
  return {
    xaxis: timeAxis({ range: [wallText(now - WINDOW_MS), wallText(now)], nticks: 6 }),
    yaxis: axis({ ...values, title: { text: t("live.valueAxis"), standoff: 12 }, tickformat: ",d" }),
    uirevision: isLog ? "log" : "linear",
    hovermode: false,
    margin: { l: 56, r: 12, t: 8, b: 36 },
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: SLOW_MS, y1: SLOW_MS, line }],
  };
}

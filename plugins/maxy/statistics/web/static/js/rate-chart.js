/**
 * The log rate of the last minutes: rows per second, from one slot per tick.
 * @module rate-chart
 */

import { Chart } from "./charts.js";
import { setText } from "./dom.js";
import { formatNumber, t } from "./i18n.js";
import { serverNow } from "./time.js";

const SHOWN_MS = 600_000;
// Slots follow one another without a gap, unless the loop has begun anew.
const GAP_MS = 1000;

/**
 * @typedef {object} Slot
 * @property {number} start epoch milliseconds
 * @property {number} end epoch milliseconds
 * @property {number} rate rows per second
 */

/** The chart, with the text above it. */
export class RateChart {
  /**
   * @param {HTMLElement} root holds .chart and .summary
   */
  constructor(root) {
    /** @type {Slot[] | null} null: nothing was heard yet */
    this._slots = null;
    this._summary = root.querySelector(".summary");
    this._chart = new Chart(root.querySelector(".chart"), () => this._build());
  }

  /** Forget everything: something else was chosen. */
  clear() {
    this._slots = null;
    delete this._summary.dataset.value;
    setText(this._summary, t("live.waiting"));
    this._chart.refresh();
  }

  /**
   * Take in an event of the stream.
   * @param {{reset: boolean, slots: {start: string, end: string, rows: number}[]}} event
   */
  apply({ reset, slots }) {
    const added = slots.map(({ start, end, rows }) => slot(Date.parse(start), Date.parse(end), rows));
    const former = reset || !this._slots ? [] : this._slots;
    this._slots = [...former, ...added].filter(({ end }) => end > serverNow() - SHOWN_MS);
    this._tell();
    this._chart.refresh();
  }

  _tell() {
    const rates = this._slots.map(({ rate }) => rate);
    if (rates.length === 0) {
      delete this._summary.dataset.value;
      setText(this._summary, t("live.noRate"));
      return;
    }
    this._summary.dataset.value = String(rates.at(-1));
    const values = { now: formatNumber(rates.at(-1), 1), highest: formatNumber(Math.max(...rates), 1) };
    setText(this._summary, t("live.rateSummary", values));
  }

  _build() {
    const now = serverNow();
    const slots = this._slots ?? [];
    const { x, y } = steps(slots);
    const format = (value) => `${formatNumber(value, 1)} ${t("live.perSecond")}`;
    return {
      x,
      series: [{ name: t("live.rateName"), look: "steps", colour: "chart-1", area: "chart-1-area", y, format }],
      xAxis: { kind: "time", range: [now - SHOWN_MS, now] },
      yAxis: { label: t("live.rateAxis") },
      points: slots.length,
    };
  }
}

function slot(start, end, rows) {
  return { start, end, rate: rows / Math.max((end - start) / 1000, 0.001) };
}

/** Where each step begins, and where the last one before a gap ends. */
function steps(slots) {
  const x = [];
  const y = [];
  slots.forEach(({ start, end, rate }, place) => {
    x.push(start);
    y.push(rate);
    const next = slots[place + 1];
    if (!next || next.start - end > GAP_MS) {
      x.push(end, end);
      y.push(rate, null);
    }
  });
  return { x, y };
}

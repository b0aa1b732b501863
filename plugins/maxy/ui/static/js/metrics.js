/**
 * The metrics of max_device_statistic, as the pages show them.
 * @module metrics
 */

import { formatMilliseconds, formatNumber } from "./i18n.js";

/**
 * @typedef {object} Metric
 * @property {string} name
 * @property {"device" | "page" | "vitals"} group
 * @property {boolean} isTime a mean time in milliseconds; else a count
 * @property {[number, number]} [limits] good up to the first, poor above the second (https://web.dev/articles/vitals)
 */

/** @type {Metric[]} */
export const METRICS = [
  ...["visit", "install", "login", "dau", "revisit_7d", "mau"].map((name) => ({
    name,
    group: "device",
    isTime: false,
  })),
  ...["pv", "log_count", "crash_count", "error_count", "js_error_count"].map((name) => ({
    name,
    group: "page",
    isTime: false,
  })),
  { name: "intervaltime_avg", group: "page", isTime: true },
  { name: "lcp_avg", group: "vitals", isTime: true, limits: [2500, 4000] },
  { name: "fcp_avg", group: "vitals", isTime: true, limits: [1800, 3000] },
  { name: "ttfb_avg", group: "vitals", isTime: true, limits: [800, 1800] },
  { name: "inp_avg", group: "vitals", isTime: true, limits: [200, 500] },
];

/**
 * How good a web vital is.
 * @param {Metric} metric one with limits
 * @param {number | null} value
 * @returns {"good" | "improve" | "poor" | "none"} none: it was not measured, which the table keeps as 0
 */
export function rating({ limits: [good, poor] }, value) {
  if (!value) {
    return "none";
  }
  return value <= good ? "good" : value <= poor ? "improve" : "poor";
}

/**
 * @param {Metric} metric
 * @param {number | null | undefined} value
 * @returns {string} a dash for a value that is not known
 */
export function formatValue(metric, value) {
  if (value === null || value === undefined) {
    return "–";
  }
  return metric.isTime ? formatMilliseconds(value) : formatNumber(value);
}

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
  // Means are not rated: the usual limits are for the 75th percentile (https://web.dev/articles/vitals).
  ...["lcp_avg", "fcp_avg", "ttfb_avg", "inp_avg"].map((name) => ({ name, group: "vitals", isTime: true })),
];

/**
 * @param {Metric} metric
 * @param {number | null | undefined} value
 * @returns {string} a dash for a value that is not known, or was not measured
 */
export function formatValue(metric, value) {
  if (value === null || value === undefined) {
    return "–";
  }
  return metric.isTime ? formatMilliseconds(value) : formatNumber(value);
}

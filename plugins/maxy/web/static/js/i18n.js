/**
 * Korean and English: texts, numbers, dates and durations. The texts that all pages share are in common-texts.js.
 * @module i18n
 */

import { COMMON_TEXTS } from "./common-texts.js";
import { recall, remember } from "./storage.js";
import { dayIn, viewerZone } from "./time.js";

const LANGUAGES = ["en", "ko"];
const OWN_CHOICE = "maxy.language";
const AIRFLOWS_CHOICE = "i18nextLng";
const BYTE_UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte"];
const DURATION_UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** @type {"en" | "ko"} the language of this page */
export const language = supported([recall(OWN_CHOICE), recall(AIRFLOWS_CHOICE), ...navigator.languages]) ?? "en";
// For numbers and dates: with the viewer's country, where the browser tells it.
const locale = navigator.languages.find((name) => primary(name) === language) ?? language;
document.documentElement.lang = language;

addEventListener("storage", (event) => {
  if (event.key === AIRFLOWS_CHOICE && !recall(OWN_CHOICE)) {
    location.reload();
  }
});

function primary(name) {
  return name.split("-")[0].toLowerCase();
}

function supported(names) {
  return names
    .filter(Boolean)
    .map(primary)
    .find((name) => LANGUAGES.includes(name));
}

/**
 * Show the page in another language from now on.
 * @param {string} name "en" or "ko"
 */
export function chooseLanguage(name) {
  remember(OWN_CHOICE, name);
  // Everything on the page comes from a few requests, so that is simpler than to change texts in place.
  location.reload();
}

const texts = new Map(Object.entries(COMMON_TEXTS));

/**
 * Add a family's texts. Its module is loaded in front of the page's own script.
 * @param {Object<string, [string, string]>} more English and Korean by key; no key is there already
 */
export function addTexts(more) {
  for (const [key, pair] of Object.entries(more)) {
    if (texts.has(key)) {
      throw new Error(`there are two texts ${key}`);
    }
    texts.set(key, pair);
  }
}

/**
 * A text in the page's language.
 * @param {string} key of common-texts.js or of a family's texts
 * @param {Object<string, string | number>} [values] for the {names} in it
 * @returns {string}
 */
export function t(key, values = {}) {
  const pair = texts.get(key);
  if (!pair) {
    // A text that one family lacks must not stop the pages of the others, whose bar has it too.
    console.error(`there is no text ${key}`);
    return key;
  }
  return pair[LANGUAGES.indexOf(language)].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/**
 * Fill in the texts of elements with data-i18n (content), data-i18n-label (aria-label).
 * @param {ParentNode} root
 */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-i18n]")) {
    element.textContent = t(element.dataset.i18n);
  }
  for (const element of root.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
}

const formats = new Map();

/** Formats take long to make, and charts write many numbers. */
function formatOf(Kind, options) {
  const key = `${Kind.name} ${JSON.stringify(options)}`;
  if (!formats.has(key)) {
    formats.set(key, new Kind(locale, options));
  }
  return formats.get(key);
}

function numbers(options) {
  return formatOf(Intl.NumberFormat, options);
}

function dates(options) {
  return formatOf(Intl.DateTimeFormat, options);
}

/**
 * @param {number} value
 * @param {number} [digits] after the point, at the most
 * @returns {string}
 */
export function formatNumber(value, digits = 0) {
  return numbers({ maximumFractionDigits: digits }).format(value);
}

/**
 * @param {number} ratio 0.1 is 10 %
 * @returns {string} with its sign
 */
export function formatChange(ratio) {
  const options = { style: "percent", maximumFractionDigits: 1, signDisplay: "exceptZero" };
  return numbers(options).format(ratio);
}

/**
 * @param {number} ratio 0.1 is 10 %
 * @returns {string} without a sign
 */
export function formatPercent(ratio) {
  return numbers({ style: "percent", maximumFractionDigits: 1 }).format(ratio);
}

/**
 * @param {number} value milliseconds
 * @returns {string} from a second on in seconds
 */
export function formatMilliseconds(value) {
  if (value >= 1000) {
    return unit(value / 1000, "second", value < 10_000 ? 2 : 1);
  }
  const digits = value < 100 ? 1 : 0;
  return t("unit.ms", { value: formatNumber(value, digits) });
}

/**
 * @param {number} value bytes
 * @returns {string} in the unit that fits
 */
export function formatBytes(value) {
  const power = value < 1 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), BYTE_UNITS.length - 1);
  return unit(value / 1000 ** power, BYTE_UNITS[power], power ? 1 : 0);
}

/**
 * @param {number} seconds
 * @returns {string} in one or two units
 */
export function formatDuration(seconds) {
  if (seconds < 1) {
    return formatMilliseconds(seconds * 1000);
  }
  if (seconds < 60) {
    return unit(seconds, "second", seconds < 10 ? 1 : 0);
  }
  const whole = Math.round(seconds);
  const largest = DURATION_UNITS.findIndex(([, size]) => whole >= size);
  const [name, size] = DURATION_UNITS[largest];
  const [nextName, nextSize] = DURATION_UNITS[largest + 1];
  const rest = Math.floor((whole % size) / nextSize);
  const parts = [unit(Math.floor(whole / size), name), rest ? unit(rest, nextName) : ""];
  return parts.join(" ").trim();
}

function unit(value, name, digits = 0) {
  const options = { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: digits };
  return numbers(options).format(value);
}

/**
 * A day of the calendar, the same in every zone.
 * @param {string} day YYYY-MM-DD
 * @param {"long" | "short" | "brief"} [style] long: with the year; brief: without the weekday too
 * @returns {string}
 */
export function formatDay(day, style = "long") {
  const year = style === "long" ? { year: "numeric" } : {};
  const weekday = style === "brief" ? {} : { weekday: "short" };
  const options = { ...year, month: "short", day: "numeric", ...weekday, timeZone: "UTC" };
  return dates(options).format(Date.parse(`${day}T00:00:00Z`));
}

/**
 * A month of the calendar.
 * @param {number} day epoch milliseconds of one of its days, at midnight UTC
 * @returns {string}
 */
export function formatMonth(day) {
  return dates({ year: "numeric", month: "short", timeZone: "UTC" }).format(day);
}

/**
 * What clocks show in the viewer's zone, as short as it fits an axis.
 * @param {number} instant epoch milliseconds
 * @param {boolean} hasSeconds
 * @returns {string}
 */
export function formatClock(instant, hasSeconds) {
  const seconds = hasSeconds ? { second: "2-digit" } : {};
  const options = { hour: "2-digit", minute: "2-digit", ...seconds, hourCycle: "h23", timeZone: viewerZone };
  return dates(options).format(instant);
}

/**
 * An instant in the viewer's zone.
 * @param {string | number} instant ISO 8601 or epoch milliseconds
 * @returns {string} day and time
 */
export function formatInstant(instant) {
  const options = { dateStyle: "medium", timeStyle: "medium", timeZone: viewerZone };
  return dates(options).format(new Date(instant));
}

/**
 * An instant in the viewer's zone, without its day if that is today's.
 * @param {string | number} instant ISO 8601 or epoch milliseconds
 * @returns {string}
 */
export function formatTime(instant) {
  const date = new Date(instant);
  if (dayIn(date.getTime(), viewerZone) !== dayIn(Date.now(), viewerZone)) {
    return formatInstant(instant);
  }
  return dates({ timeStyle: "medium", timeZone: viewerZone }).format(date);
}

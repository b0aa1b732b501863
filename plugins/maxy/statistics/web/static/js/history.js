/**
 * The history page.
 * @module history
 */

import { keepInAddress, onReturn } from "./address.js";
import { ApiError, apiUrl, ask } from "./api.js";
import { BackfillForm } from "./backfill.js";
import { setBanner } from "./banners.js";
import { Chooser } from "./choice.js";
import { backfillHash, dayRuns, daysOf, formatRun, fromBackfillHash } from "./day-runs.js";
import { byId, el, fill, setText } from "./dom.js";
import { HistoryChart } from "./history-chart.js";
import { formatChange, formatDay, formatNumber, t } from "./i18n.js";
import { formatValue, METRICS } from "./metrics.js";
import { markReady, startPage } from "./page.js";
import { recall, remember } from "./storage.js";
import { addDays, dayIn, serverNow, viewerZone } from "./time.js";

const SHOWN_DAYS = 30;
const MOST_DAYS = 400;
// A run of more missing days shows the links of its single days only when asked.
const MOST_LINKS = 5;
const DAY = /^\d{4}-\d\d-\d\d$/;
const TONES = { present: "good", no_row: "", missing: "bad", before_first: "", not_due: "" };
// Answers are kept for some seconds by the server, so the last look comes after that.
const SETTLED_MS = 4000;

startPage();
const firstField = byId("first");
const lastField = byId("last");
const metricList = byId("metric");
const asBars = byId("as-bars");
const chart = new HistoryChart(byId("history-chart"));
const backfill = new BackfillForm(dayEnded);
const chooser = new Chooser(load);
/** @type {{days: object[], timezone: string} | null} */
let answer = null;
let request = new AbortController();
let lastLook = 0;
/** What is shown where the address says nothing. */
const usual = { first: "", last: "", metric: "visit" };

asBars.checked = recall("maxy.as-bars") === "true";
fill(
  metricList,
  METRICS.map(({ name }) => el("option", { value: name }, t(`metric.${name}`))),
);
const wanted = new URLSearchParams(location.search);
metricList.value = metricOf(wanted);

byId("choice").addEventListener("submit", (event) => event.preventDefault());
firstField.addEventListener("change", rangeChanged);
lastField.addEventListener("change", rangeChanged);
metricList.addEventListener("change", () => {
  keepInAddress({ metric: metricList.value }, { isChoice: true });
  show();
});
onReturn(returned);
asBars.addEventListener("change", () => {
  remember("maxy.as-bars", String(asBars.checked));
  show();
});
await start();

async function start() {
  // A first choice that comes with the keys loads the days itself.
  const isKnown = chooser.choice !== null;
  try {
    const keys = await ask("keys");
    chooseRange(keys.today);
    chooser.offer(keys);
    setBanner("some-keys", keys.is_complete ? null : { tone: "info", text: t("choice.incomplete") });
    if (!chooser.choice) {
      setBanner("no-keys", { tone: "info", text: t("history.noKeys") });
      setText(byId("summary"), "");
      markReady();
    }
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    setBanner("keys", { tone: "bad", text: t("live.keysFailed", { detail: error.text }) });
    chooseRange(dayIn(serverNow(), viewerZone));
  }
  if (isKnown) {
    await load();
  }
}

/** The days in the page's address, or those that a link to the form means, or the last 30. */
function chooseRange(today) {
  const named = ["first", "last"].map((name) => wanted.get(name)).map((day) => (DAY.test(day ?? "") ? day : null));
  const missing = fromBackfillHash(location.hash);
  const last = named[1] ?? addDays(today, -1);
  const shown = named[0] ?? addDays(last, 1 - SHOWN_DAYS);
  const first = !named[0] && missing && missing.first < shown ? missing.first : shown;
  const latest = addDays(first, MOST_DAYS - 1);
  firstField.value = first;
  lastField.value = last < latest ? last : latest;
  Object.assign(usual, { first: firstField.value, last: lastField.value });
  firstField.max = lastField.max = today;
}

function metricOf(parameters) {
  const name = parameters.get("metric");
  return METRICS.some((metric) => metric.name === name) ? name : usual.metric;
}

/** Somebody has gone back to what was shown before, or forth; another choice of the key is loaded by itself. */
function returned() {
  const parameters = new URLSearchParams(location.search);
  const range = ["first", "last"].map((name) => parameters.get(name) ?? usual[name]);
  const isOther = range[0] !== firstField.value || range[1] !== lastField.value;
  [firstField.value, lastField.value] = range;
  metricList.value = metricOf(parameters);
  setBanner("range", null);
  if (isOther) {
    load();
  } else {
    show();
  }
}

/** A day of a backfill is computed, or has failed. */
function dayEnded() {
  load();
  clearTimeout(lastLook);
  lastLook = setTimeout(load, SETTLED_MS);
}

function rangeChanged() {
  const isValid = firstField.value && lastField.value && firstField.value <= lastField.value;
  const isShort = isValid && addDays(firstField.value, MOST_DAYS - 1) >= lastField.value;
  const text = isValid ? t("history.tooLong", { days: formatNumber(MOST_DAYS) }) : t("history.wrongRange");
  setBanner("range", isShort ? null : { tone: "bad", text });
  if (isShort) {
    keepInAddress({ first: firstField.value, last: lastField.value }, { isChoice: true });
    load();
  }
}

async function load() {
  if (!chooser.choice || !firstField.value) {
    return;
  }
  const parameters = { ...chooser.choice, first: firstField.value, last: lastField.value };
  byId("csv").href = apiUrl("history.csv", parameters);
  request.abort();
  request = new AbortController();
  try {
    answer = await ask("history", parameters, request.signal);
    setBanner("history", null);
    setText(byId("zones"), t("history.zones", { statistics: answer.timezone }));
    backfill.offer(answer.dag_id, answer.days);
    show();
  } catch (error) {
    if (error.name === "AbortError") {
      return;
    }
    if (!(error instanceof ApiError)) {
      throw error;
    }
    setText(byId("summary"), "");
    setBanner("history", { tone: "bad", text: t("history.failed"), items: [error.text] });
  }
  markReady();
}

function show() {
  if (!answer) {
    return;
  }
  const { days } = answer;
  const metric = METRICS.find(({ name }) => name === metricList.value);
  const missing = days.filter(({ state }) => state === "missing").map(({ stat_date }) => stat_date);
  chart.show(days, metric, asBars.checked);
  showSummary(days, missing);
  showMissing(missing);
  showTable(days, metric);
}

function showSummary(days, missing) {
  const counts = {
    days: formatNumber(days.length),
    present: formatNumber(days.filter(({ figures }) => figures).length),
    missing: formatNumber(missing.length),
  };
  const isNew = days.some(({ state }) => state === "before_first");
  const first = answer.first_computed;
  const note = first ? t("history.firstComputed", { day: formatDay(first) }) : t("history.noneComputed");
  setText(byId("summary"), [t("history.summary", counts), isNew && note].filter(Boolean).join(" "));
}

function showMissing(missing) {
  byId("missing").hidden = missing.length === 0;
  fill(byId("missing-days"), dayRuns(missing).map(missingRun));
}

function missingRun(run) {
  const days = daysOf(run);
  const link = (part, text) =>
    el("a", { class: "button", href: backfillHash(part), "data-backfill": backfillHash(part).split("=")[1] }, text);
  const whole = days.length > 1 && link(run, t("history.fillRun", { days: formatNumber(days.length) }));
  const single = days.map((day) =>
    link({ first: day, last: day }, t("history.fillDay", { day: formatDay(day, "short") })),
  );
  const isLong = days.length > MOST_LINKS;
  const folded =
    isLong && el("details", {}, el("summary", {}, t("history.singleDays")), el("div", { class: "controls" }, single));
  return el("li", {}, el("strong", {}, formatRun(run)), whole, isLong ? folded : single);
}

function showTable(days, metric) {
  setText(byId("metric-head"), t(`metric.${metric.name}`));
  const rows = [...days].reverse().map((day) => row(day, metric));
  fill(byId("table").querySelector("tbody"), rows);
}

function row({ stat_date, state, figures, week_before, week_before_state }, metric) {
  const value = figures?.[metric.name] ?? null;
  const before = week_before?.[metric.name] ?? null;
  const number = (content) => el("td", { class: "number" }, content);
  return el(
    "tr",
    { "data-day": stat_date, "data-state": state, "data-value": value ?? "" },
    el("th", { scope: "row" }, formatDay(stat_date)),
    number(figures && value === null ? muted("metric.notMeasured") : formatValue(metric, value)),
    number(before === null ? muted(whyNoFigure(week_before, week_before_state)) : formatValue(metric, before)),
    number(change(value, before)),
    el(
      "td",
      {},
      el("span", { class: "badge", "data-tone": TONES[state] }, t(`state.${state}`)),
      state === "not_due" && stat_date === dayIn(serverNow(), answer.timezone) && [" ", liveLink()],
    ),
  );
}

/** Why there is nothing to compare with. */
function whyNoFigure(figures, state) {
  return figures ? "metric.notMeasured" : `history.week.${state}`;
}

function change(value, before) {
  if (value === null || before === null) {
    return muted("history.noChange");
  }
  return before === 0 ? muted("history.fromZero") : formatChange(value / before - 1);
}

function muted(key) {
  return el("span", { class: "muted small" }, t(key));
}

/** Today's figures so far are Live's. */
function liveLink() {
  return el("a", { href: `live${location.search}` }, t("history.soFar"));
}

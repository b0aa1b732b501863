/**
 * The history page.
 * @module history
 */

import { keepInAddress } from "./address.js";
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
const TONES = { present: "good", no_row: "", missing: "bad", not_due: "" };

startPage();
const firstField = byId("first");
const lastField = byId("last");
const metricList = byId("metric");
const asBars = byId("as-bars");
const chart = new HistoryChart(byId("history-chart"));
const backfill = new BackfillForm();
const chooser = new Chooser(load);
/** @type {{days: object[], timezone: string} | null} */
let answer = null;
let request = new AbortController();

asBars.checked = recall("maxy.as-bars") === "true";
fill(
  metricList,
  METRICS.map(({ name }) => el("option", { value: name }, t(`metric.${name}`))),
);
const wanted = new URLSearchParams(location.search);
metricList.value = METRICS.some(({ name }) => name === wanted.get("metric")) ? wanted.get("metric") : "visit";

byId("choice").addEventListener("submit", (event) => event.preventDefault());
firstField.addEventListener("change", rangeChanged);
lastField.addEventListener("change", rangeChanged);
metricList.addEventListener("change", () => {
  keepInAddress({ metric: metricList.value });
  show();
});
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
    chooser.offer(keys.keys);
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
  const usual = named[0] ?? addDays(last, 1 - SHOWN_DAYS);
  const first = !named[0] && missing && missing.first < usual ? missing.first : usual;
  const latest = addDays(first, MOST_DAYS - 1);
  firstField.value = first;
  lastField.value = last < latest ? last : latest;
  firstField.max = lastField.max = today;
}

function rangeChanged() {
  const isValid = firstField.value && lastField.value && firstField.value <= lastField.value;
  const isShort = isValid && addDays(firstField.value, MOST_DAYS - 1) >= lastField.value;
  const text = isValid ? t("history.tooLong", { days: formatNumber(MOST_DAYS) }) : t("history.wrongRange");
  setBanner("range", isShort ? null : { tone: "bad", text });
  if (isShort) {
    keepInAddress({ first: firstField.value, last: lastField.value });
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
  setText(byId("summary"), t("history.summary", counts));
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

function row({ stat_date, state, figures, week_before }, metric) {
  const value = figures?.[metric.name] ?? null;
  const before = week_before?.[metric.name] ?? null;
  const change = value !== null && before ? formatChange(value / before - 1) : "–";
  const number = (text) => el("td", { class: "number" }, text);
  return el(
    "tr",
    { "data-day": stat_date, "data-state": state, "data-value": value ?? "" },
    el("th", { scope: "row" }, formatDay(stat_date)),
    number(formatValue(metric, value)),
    number(formatValue(metric, before)),
    number(change),
    el("td", {}, el("span", { class: "badge", "data-tone": TONES[state] }, t(`state.${state}`))),
  );
}

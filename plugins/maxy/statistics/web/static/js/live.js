/**
 * The live page.
 * @module live
 */

import { ApiError, ask } from "./api.js";
import { setBanner } from "./banners.js";
import { Chooser } from "./choice.js";
import { byId, el, fill, setText } from "./dom.js";
import { formatDay, formatTime, t } from "./i18n.js";
import { markReady, startPage, whileVisible } from "./page.js";
import { RateChart } from "./rate-chart.js";
import { ScatterChart } from "./scatter-chart.js";
import { loopsBanner, markSections, SHOWN } from "./staleness.js";
import { recall, remember } from "./storage.js";
import { LiveStream } from "./stream.js";
import { Tiles } from "./tiles.js";
import { dayIn, serverNow, viewerZone } from "./time.js";

const KEYS_MS = 60_000;
// A connection that breaks for a moment is nothing to speak of.
const PATIENCE_MS = 4000;

startPage();
for (const head of document.querySelectorAll("[data-point-head]")) {
  const names = ["value", "time", "system", "page", "model", "version", "connection"];
  fill(
    head,
    names.map((name) => el("th", { scope: "col" }, t(`live.point.${name}`))),
  );
}

const onlySystem = remembered("only-system");
const logAxis = remembered("log-axis");
const tiles = ["device", "page", "vitals"].map((group) => new Tiles(byId(`${group}-tiles`), group));
const [deviceTiles, ...pageTiles] = tiles;
const rate = new RateChart(byId("rate-chart").parentElement);
const view = () => ({ os: onlySystem.checked ? (chooser.choice?.os_type ?? null) : null, isLog: logAxis.checked });
const chooser = new Chooser(chosen);
const scatters = {
  loading_time: new ScatterChart(byId("loading-chart").parentElement, view),
  response_time: new ScatterChart(byId("response-chart").parentElement, view),
};
const stream = new LiveStream(
  { loops: showLoops, today: showToday, log_rate: showRate, scatter: showScatter },
  connected,
);
let timezone = null;
let brokenTimer = 0;

for (const box of [onlySystem, logAxis]) {
  box.addEventListener("change", () => {
    remember(`maxy.${box.id}`, String(box.checked));
    Object.values(scatters).forEach((scatter) => scatter.refresh());
  });
}
byId("choice").addEventListener("submit", (event) => event.preventDefault());
if (chooser.choice) {
  stream.open(chooser.choice);
}
whileVisible(loadKeys, KEYS_MS);

function remembered(id) {
  const box = byId(id);
  box.checked = recall(`maxy.${id}`) !== "false";
  return box;
}

async function loadKeys() {
  try {
    const answer = await ask("keys");
    timezone = answer.timezone;
    showDay();
    chooser.offer(answer);
    const noKeys = { tone: "info", text: t("live.noKeys") };
    setBanner("no-keys", answer.keys.length === 0 ? noKeys : null);
    setBanner("some-keys", answer.is_complete ? null : { tone: "info", text: t("choice.incomplete") });
    setBanner("keys", null);
    setText(byId("zones"), t("live.zones", { statistics: timezone, viewer: viewerZone }));
    if (answer.keys.length === 0) {
      markReady();
    }
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    setBanner("keys", { tone: "bad", text: t("live.keysFailed", { detail: error.text }) });
    markReady();
  }
}

function chosen(choice) {
  tiles.forEach((group) => group.show(null));
  rate.clear();
  Object.values(scatters).forEach((scatter) => scatter.clear());
  SHOWN.forEach((loop) => showWrongKey(loop, null));
  setBanner("empty", null);
  stream.open(choice);
}

function connected({ isOpen, since, error }) {
  if (isOpen) {
    clearTimeout(brokenTimer);
    brokenTimer = 0;
    setBanner("disconnected", null);
    showConnection("live", t("live.connected", { time: formatTime(since) }));
    return;
  }
  const text = since ? t("live.disconnected", { time: formatTime(since) }) : t("live.notConnected");
  showConnection("broken", t("live.reconnecting"));
  const say = () => setBanner("disconnected", { tone: "bad", text, items: error ? [error.text] : [] });
  if (error) {
    clearTimeout(brokenTimer);
    brokenTimer = 0;
    say();
  } else {
    brokenTimer ||= setTimeout(say, PATIENCE_MS);
  }
}

function showConnection(state, text) {
  const place = byId("connection");
  place.dataset.state = state;
  setText(place, text);
}

function showLoops({ error, loops }) {
  setBanner("valkey", error ? { tone: "bad", text: t("live.valkey"), items: [error] } : null);
  const banner = error ? null : loopsBanner(loops);
  setBanner("never", banner?.state === "never" ? banner : null);
  setBanner("stale", banner?.state === "stale" ? banner : null);
  markSections(error ? [] : loops);
  if (error) {
    markReady();
  }
}

function showToday({ device, page }) {
  deviceTiles.show(device.figures);
  pageTiles.forEach((group) => group.show(page.figures));
  showWrongKey("device", device.wrong_key);
  showWrongKey("page", page.wrong_key);
  const isEmpty = [device, page].every(({ figures, wrong_key }) => !figures && !wrong_key);
  setBanner("empty", isEmpty ? { tone: "info", text: t("live.empty"), items: [t("live.emptyWhy")] } : null);
  showDay();
  markReady();
}

/** Say which day the figures are of, whichever of figures and time zone came first. */
function showDay() {
  if (timezone) {
    setText(byId("today"), t("live.today", { day: formatDay(dayIn(serverNow(), timezone)), zone: timezone }));
  }
}

function showRate(event) {
  rate.apply(event);
  showWrongKey("log_meter", event.wrong_key);
}

function showScatter(event) {
  scatters[event.loop]?.apply(event);
  showWrongKey(event.loop, event.wrong_key);
}

/** Say under a loop's title that its key is not the loop's. */
function showWrongKey(loop, key) {
  const place = document.querySelector(`[data-loop="${loop}"] [data-wrong-key]`);
  if (place) {
    place.hidden = !key;
    setText(place, key ? t("live.wrongKey", { key }) : "");
  }
}

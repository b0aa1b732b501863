/**
 * Which figures of the live page are not fresh, and since when.
 * @module staleness
 */

import { formatTime, t } from "./i18n.js";

/** The loops whose figures are on the live page. */
export const SHOWN = ["device", "page", "log_meter", "loading_time", "response_time"];
/** States of loops that tick: how fresh their figures are, the sentence says. */
const TICKS = ["late", "blocking", "clock"];

/**
 * What is wrong with the loops, as a banner.
 * @param {object[]} loops as the API tells them
 * @returns {import("./banners.js").Banner & {state: string} | null}
 */
export function loopsBanner(loops) {
  const shown = loops.filter(({ name }) => SHOWN.includes(name));
  const wrong = shown.filter(({ state }) => state !== "ok");
  if (wrong.length === 0) {
    return shown.length === 0 ? { state: "never", tone: "bad", text: t("live.noLoops") } : null;
  }
  if (wrong.length === shown.length && wrong.every(({ state }) => state === "never")) {
    return { state: "never", tone: "bad", text: t("live.noLoops") };
  }
  const isOld = !isMild(wrong);
  const isLate = wrong.every(({ state }) => state === "late" || state === "blocking");
  return {
    state: "stale",
    tone: isOld ? "bad" : "warn",
    text: t(isOld ? "live.stale" : isLate ? "live.late" : "live.ageUnknown"),
    items: wrong.map(sentence),
  };
}

/**
 * Whether all these loops tick, though something is wrong with them.
 * @param {object[]} loops those that are not ok
 * @returns {boolean}
 */
export function isMild(loops) {
  return loops.every(({ state }) => TICKS.includes(state));
}

function sentence(loop) {
  const figures = t(`loop.${loop.name}.figures`);
  const since = sinceText(loop);
  return loop.last_error ? `${figures}: ${since}. ${loop.last_error}` : `${figures}: ${since}.`;
}

/**
 * Since when a loop's figures are old, or why that is not known.
 * @param {object} loop one that is not ok
 * @returns {string}
 */
export function sinceText(loop) {
  if (loop.state === "late") {
    return t("live.comesLate");
  }
  if (loop.state === "blocking") {
    return t("live.blocksOthers");
  }
  if (loop.state === "clock") {
    return t("live.clockDiffers");
  }
  // Neither by how much nor an age: with every tick, a screen reader would say it anew.
  return loop.last_success_at ? t("live.since", { time: formatTime(loop.last_success_at) }) : t("live.neverSeen");
}

/**
 * Mark the parts of the page whose loop is not well.
 * @param {object[]} loops as the API tells them
 */
export function markSections(loops) {
  const byName = new Map(loops.map((loop) => [loop.name, loop]));
  for (const section of document.querySelectorAll("[data-loop]")) {
    const loop = byName.get(section.dataset.loop);
    const isStale = loop !== undefined && loop.state !== "ok";
    section.dataset.stale = String(isStale);
    const badge = section.querySelector("[data-stale-badge]");
    badge.hidden = !isStale;
    badge.textContent = isStale ? sinceText(loop) : "";
  }
}

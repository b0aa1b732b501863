/**
 * What is wrong with the service, as banners.
 * @module health-banners
 */

import { setBanner } from "./banners.js";
import { dayRuns, formatRun } from "./day-runs.js";
import { t } from "./i18n.js";
import { sinceText } from "./staleness.js";

/**
 * Show what is wrong, or that nothing is.
 * @param {object} health as the API tells it
 */
export function showProblems({ error, valkey, clickhouse, loops, daily, queries }) {
  const wrong = loops.filter(({ state }) => state !== "ok");
  const missing = (daily.days ?? [])
    .filter(({ state }) => state === "missing")
    .map(({ stat_date }) => stat_date)
    .sort();
  const isAllLate = wrong.every(({ state }) => state === "late");
  const problems = {
    settings: error && bad("health.settings", [error]),
    valkey: !valkey.is_reachable && bad("health.valkey", [valkey.error]),
    clickhouse: !clickhouse.is_reachable && bad("health.clickhouse", [clickhouse.error]),
    // Without Valkey nothing is known of the loops, which that banner says.
    loops: valkey.is_reachable &&
      wrong.length > 0 && { ...bad("health.loops", wrong.map(sentence)), tone: isAllLate ? "warn" : "bad" },
    daily: clickhouse.is_reachable && daily.error && bad("health.daily", [daily.error]),
    missing: missing.length > 0 && { ...bad("health.missing", dayRuns(missing).map(formatRun)), tone: "warn" },
    queries: clickhouse.is_reachable && queries.error && { ...bad("health.queries", [queries.error]), tone: "warn" },
  };
  for (const [state, banner] of Object.entries(problems)) {
    setBanner(state, banner || null);
  }
  const isFine = Object.values(problems).every((banner) => !banner);
  setBanner("ok", isFine ? { tone: "good", text: t("health.fine") } : null);
}

function bad(key, items) {
  return { tone: "bad", text: t(key), items: items.filter(Boolean) };
}

function sentence(loop) {
  const error = loop.last_error ? ` ${loop.last_error}` : "";
  return `${loop.name} – ${t(`loopState.${loop.state}`)}: ${sinceText(loop)}.${error}`;
}

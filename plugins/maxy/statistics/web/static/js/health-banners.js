/**
 * What is wrong with the service, as banners.
 * @module health-banners
 */

import { setBanner } from "./banners.js";
import { dayRuns, daysOf, formatRun } from "./day-runs.js";
import { formatBytes, formatNumber, formatPercent, t } from "./i18n.js";
import { isDown, reasonOf } from "./loop-reasons.js";
import { isMild, sinceText } from "./staleness.js";

/** What the API tells as problems, each with a banner of its own. */
const TONES = {
  duplicate_rows: "bad",
  not_cached: "bad",
  disk_space: "bad",
  valkey_persistence: "bad",
  clock_skew: "warn",
  old_clickhouse: "info",
};
const KINDS = Object.keys(TONES);

const AIRFLOW_PARTS = ["metadatabase", "scheduler", "triggerer", "dag_processor"];

/**
 * Show what is wrong, or that nothing is.
 * @param {object} health as the API tells it
 * @param {import("./health-source.js").Runs} runs
 */
export function showProblems({ error, valkey, clickhouse, loops, problems, daily, queries }, runs) {
  const wrong = loops.filter(({ state }) => state !== "ok");
  const missing = (daily.days ?? [])
    .filter(({ state }) => state === "missing")
    .map(({ stat_date }) => stat_date)
    .sort();
  const down = AIRFLOW_PARTS.filter((part) => isDown(runs.airflow, part));
  const banners = {
    settings: error && bad("health.settings", [error]),
    valkey: !valkey.is_reachable && bad("health.valkey", [valkey.error]),
    clickhouse: !clickhouse.is_reachable && bad("health.clickhouse", [clickhouse.error]),
    airflow:
      down.length > 0 &&
      bad(
        "health.airflow",
        down.map((part) => t(`airflow.${part}`)),
      ),
    // Without Valkey nothing is known of the loops, which that banner says.
    loops: valkey.is_reachable &&
      wrong.length > 0 && {
        ...bad(
          "health.loops",
          wrong.map((loop) => sentence(loop, runs)),
        ),
        tone: isMild(wrong) ? "warn" : "bad",
      },
    daily: clickhouse.is_reachable && daily.error && bad("health.daily", [daily.error]),
    missing: missing.length > 0 && { ...bad("health.missing", dayRuns(missing).map(formatRun)), tone: "warn" },
    queries: clickhouse.is_reachable && queries.error && { ...bad("health.queries", [queries.error]), tone: "warn" },
    ...Object.fromEntries(KINDS.map((kind) => [kind, problemBanner(kind, problems, runs)])),
  };
  for (const [state, banner] of Object.entries(banners)) {
    setBanner(state, banner || null);
  }
  const isFine = Object.values(banners).every((banner) => !banner || banner.tone === "info");
  setBanner("ok", isFine ? { tone: "good", text: t("health.fine") } : null);
  const isNew = daily.days && !daily.error && daily.first_computed === null;
  setBanner("no-days", isNew ? { tone: "info", text: t("health.noDayYet") } : null);
}

function bad(key, items) {
  return { tone: "bad", text: t(key), items: items.filter(Boolean) };
}

function sentence(loop, runs) {
  const error = loop.last_error ? ` ${loop.last_error}` : "";
  const why = reasonOf(loop, runs);
  return `${loop.name} – ${t(`loopState.${loop.state}`)}: ${sinceText(loop)}.${why ? ` ${why.text}` : ""}${error}`;
}

function problemBanner(kind, problems, runs) {
  const found = problems.filter((problem) => problem.kind === kind && !isUnderWay(problem, runs));
  const items = found.map(({ values, commands }) => {
    const text = t(`problem.${kind}.item`, shown(values));
    return commands.length ? `${text} ${t("problem.command", { command: commands[0] })}` : text;
  });
  return found.length > 0 && { tone: TONES[kind], text: t(`problem.${kind}`), items };
}

/** While a day's run is at work, the table has it before Valkey does. */
function isUnderWay({ kind, values: { first, last } }, runs) {
  const days = kind === "not_cached" ? daysOf({ first, last }) : [];
  return days.length > 0 && days.every((day) => ["running", "queued"].includes(runs.daily.get(day)?.state));
}

function shown(values) {
  const { first, last, free_bytes: free, total_bytes: total, seconds, ...others } = values;
  return {
    ...Object.fromEntries(
      Object.entries(others).map(([name, value]) => [name, typeof value === "number" ? formatNumber(value) : value]),
    ),
    days: first && formatRun({ first, last }),
    free: free !== undefined && formatBytes(free),
    share: free !== undefined && formatPercent(free / total),
    seconds: seconds !== undefined && formatNumber(seconds, 1),
  };
}

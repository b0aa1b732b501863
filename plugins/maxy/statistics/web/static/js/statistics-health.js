/**
 * The section of the statistics on the health page.
 * @module statistics-health
 */

import { DailyTable } from "./daily-table.js";
import { byId, el, setText, updateRows } from "./dom.js";
import { showProblems } from "./health-banners.js";
import { followHealth, tellOfRuns } from "./health-source.js";
import { formatBytes, formatDuration, formatInstant, formatNumber, formatPercent, t } from "./i18n.js";
import { LoopsTable } from "./loops-table.js";
import { markReady, startPage } from "./page.js";

startPage();
const loopsTable = new LoopsTable(byId("loops"));
const dailyTable = new DailyTable(byId("daily"));
const queryRows = byId("queries").querySelector("tbody");

followHealth((health, runs) => {
  const { at, timezone, valkey, clickhouse, loops, daily, queries } = health;
  showProblems(health, runs);
  setText(byId("at"), t("health.at", { time: formatInstant(at) }));
  setText(byId("valkey"), server("Valkey", valkey));
  setText(byId("clickhouse"), server("ClickHouse", clickhouse));
  byId("valkey").dataset.tone = valkey.is_reachable ? (valkey.can_persist === false ? "bad" : "good") : "bad";
  byId("clickhouse").dataset.tone = clickhouse.is_reachable ? "good" : "bad";
  setText(byId("disks"), clickhouse.disks.map(disk).join(" · "));
  loopsTable.show(loops, runs);
  dailyTable.show(daily, runs.daily);
  showOrSay("daily", daily.days, "health.noDays");
  tellOfRuns(byId("runs"), runs);
  updateRows(queryRows, (queries.rows ?? []).map(queryRow));
  showOrSay("queries", queries.rows?.length, "health.noQueries");
  setText(byId("zones"), timezone ? t("history.zones", { statistics: timezone }) : "");
  markReady();
});

function server(name, { is_reachable, version }) {
  return t(is_reachable ? "health.reachable" : "health.unreachable", { name: version ? `${name} ${version}` : name });
}

function disk({ name, free_bytes, total_bytes }) {
  const share = formatPercent(free_bytes / total_bytes);
  return t("health.disk", { disk: name, free: formatBytes(free_bytes), total: formatBytes(total_bytes), share });
}

/** A table without rows is not shown: a sentence says that there are none. */
function showOrSay(id, isThere, key) {
  byId(id).parentElement.hidden = !isThere;
  setText(byId(`${id}-none`), isThere ? "" : t(key));
}

function queryRow({ name, runs, failures, seconds, cpu_seconds, read_rows, read_bytes, memory_bytes }) {
  const values = [
    formatNumber(runs),
    formatNumber(failures),
    formatDuration(seconds),
    formatDuration(cpu_seconds),
    formatNumber(read_rows),
    formatBytes(read_bytes),
    formatBytes(memory_bytes),
  ];
  return el(
    "tr",
    { "data-query": name },
    el("th", { scope: "row" }, name),
    values.map((text) => el("td", { class: "number" }, text)),
  );
}

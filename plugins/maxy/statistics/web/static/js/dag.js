/**
 * The tab on a DAG's page.
 * @module dag
 */

import { setBanner } from "./banners.js";
import { DailyTable } from "./daily-table.js";
import { byId, setText } from "./dom.js";
import { showProblems } from "./health-banners.js";
import { followHealth, tellOfRuns } from "./health-source.js";
import { t } from "./i18n.js";
import { LoopsTable } from "./loops-table.js";
import { markReady, startPage } from "./page.js";

const OF_DAYS = ["duplicate_rows", "not_cached"];

startPage();
const dagId = new URLSearchParams(location.search).get("dag_id") ?? "";
const loopsTable = new LoopsTable(byId("loops"));
const dailyTable = new DailyTable(byId("daily"));
setText(byId("title"), dagId ? t("dag.title", { dag: dagId }) : t("dag.noDag"));

followHealth(
  (health, runs) => {
    const loops = health.loops.filter((loop) => loop.dag_id === dagId);
    const isDaily = health.daily.dag_id === dagId;
    const isOurs = isDaily || loops.length > 0;
    byId("loop-part").hidden = loops.length === 0;
    byId("daily-part").hidden = !isDaily;
    setBanner("foreign", isOurs ? null : { tone: "info", text: t("dag.foreign") });
    byId("live-link").hidden = isOurs;
    if (isOurs) {
      showProblems(part(health, loops, isDaily), runs);
      loopsTable.show(loops, runs);
      dailyTable.show(health.daily, runs.daily);
      tellOfRuns(byId("runs"), runs);
    }
    markReady();
  },
  (id) => id === dagId,
);

/** What concerns this DAG: a loop's tab does not complain of missing days. */
function part(health, loops, isDaily) {
  const nothing = { days: null, error: null };
  const problems = health.problems.filter(({ kind }) => isDaily || !OF_DAYS.includes(kind));
  return { ...health, loops, problems, daily: isDaily ? health.daily : nothing, queries: { error: null } };
}

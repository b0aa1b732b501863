/**
 * Runs of the daily job, from Airflow's own API: whoever looks at the page sees those that they may see.
 * @module daily-runs
 */

import { askAirflow } from "./api.js";
import { addDays, dayIn } from "./time.js";

// Enough for two weeks and what was run again in them.
const RUNS = 60;
const FAILED_RUNS = 5;
// As many as Airflow gives at a time.
const PAGE = 100;

/**
 * @typedef {object} DailyRun
 * @property {string} id
 * @property {string} state
 * @property {number | null} seconds how long it took, or has taken so far
 * @property {string[]} failedTasks
 */

/**
 * The newest run of each day.
 * @param {string} dagId
 * @param {string} timezone of the statistics
 * @returns {Promise<Map<string, DailyRun>>} by YYYY-MM-DD
 * @throws {import("./api.js").ApiError}
 */
export async function dailyRuns(dagId, timezone) {
  const path = ["dags", dagId, "dagRuns"];
  const { dag_runs: runs } = await askAirflow(path, { limit: RUNS, order_by: "-run_after" });
  const newest = new Map();
  for (const run of runs) {
    const day = statisticsDay(run, timezone);
    if (day && isNewer(run, newest.get(day))) {
      newest.set(day, run);
    }
  }
  const failed = [...newest.values()].filter(({ state }) => state === "failed").slice(0, FAILED_RUNS);
  const tasks = new Map(await Promise.all(failed.map(async (run) => [run, await failedTasks(path, run)])));
  return new Map([...newest].map(([day, run]) => [day, summary(run, tasks.get(run) ?? [])]));
}

/**
 * The state of each of some days' runs.
 * @param {string} dagId
 * @param {object[]} days as the API tells them, oldest first
 * @returns {Promise<Map<string, {id: string, state: string}>>} by day; days without a run are not there
 * @throws {import("./api.js").ApiError}
 */
export async function runsOfDays(dagId, days) {
  const byStart = new Map(days.map(({ start, stat_date }) => [Date.parse(start), stat_date]));
  const range = { logical_date_gte: days[0].start, logical_date_lte: days.at(-1).start };
  const found = new Map();
  for (let offset = 0, total = 1; offset < total; offset += PAGE) {
    const answer = await askAirflow(["dags", dagId, "dagRuns"], { ...range, limit: PAGE, offset, order_by: "id" });
    total = answer.total_entries;
    for (const run of answer.dag_runs) {
      const day = byStart.get(Date.parse(run.logical_date));
      if (day) {
        found.set(day, { id: run.dag_run_id, state: run.state });
      }
    }
  }
  return found;
}

/** The day that a run computes, found as the DAG itself does. */
function statisticsDay(run, timezone) {
  if (run.conf?.stat_date) {
    return run.conf.stat_date;
  }
  if (run.data_interval_start) {
    return dayIn(Date.parse(run.data_interval_start), timezone);
  }
  return run.run_after ? addDays(dayIn(Date.parse(run.run_after), timezone), -1) : null;
}

/** A run that waits has not begun; it is newer than all that have. */
function isNewer(run, other) {
  return !other || (run.start_date ?? "9999") > (other.start_date ?? "9999");
}

async function failedTasks(path, run) {
  const answer = await askAirflow([...path, run.dag_run_id, "taskInstances"], { state: "failed", limit: 10 });
  return answer.task_instances.filter(({ state }) => state === "failed").map((task) => task.task_id);
}

function summary({ dag_run_id, state, start_date, end_date }, failed) {
  const end = end_date ? Date.parse(end_date) : Date.now();
  const seconds = start_date ? Math.max(0, (end - Date.parse(start_date)) / 1000) : null;
  return { id: dag_run_id, state, seconds, failedTasks: failed };
}

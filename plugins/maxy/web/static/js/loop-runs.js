/**
 * Runs of the live loops' DAGs and Airflow's own health, from Airflow's own API: whoever looks at the page sees those that
 * they may see.
 * @module loop-runs
 */

import { askAirflow } from "./api.js";

/**
 * @typedef {object} LoopRuns
 * @property {Map<string, LoopRun | null>} loops newest run by the DAG's id; null: not told
 * @property {Object<string, {status: string | null}> | null} airflow its own health; null: not told
 */

/**
 * @typedef {object} LoopRun
 * @property {string | null} id of the newest run; null: there is none
 * @property {string | null} state
 * @property {boolean} isKnown whether Airflow knows the DAG
 * @property {boolean} isPaused of a loop that is in trouble; else it is not asked for
 */

/**
 * The newest run of a live loop's DAG.
 * @param {object} loop as the API tells it
 * @returns {Promise<LoopRun>}
 * @throws {import("./api.js").ApiError}
 */
export async function loopRun({ dag_id, state }) {
  const path = ["dags", dag_id];
  const answer = await askAirflow([...path, "dagRuns"], { limit: 1, order_by: "-run_after" });
  const run = answer.dag_runs[0];
  const isPaused = state !== "ok" && (await askAirflow(path)).is_paused;
  return { id: run?.dag_run_id ?? null, state: run?.state ?? null, isKnown: true, isPaused };
}

/**
 * What Airflow says of its own health.
 * @returns {Promise<Object<string, {status: string | null}>>} by part
 * @throws {import("./api.js").ApiError}
 */
export function airflowHealth() {
  return askAirflow(["monitor", "health"]);
}

/**
 * Why a loop stands still, by what Airflow tells of its DAG: paused, no triggerer, a run that failed, or none.
 * @module loop-reasons
 */

import { t } from "./i18n.js";
import { runPath } from "./links.js";

const STANDS_STILL = ["stale", "never"];

/**
 * @typedef {object} Reason
 * @property {string} name
 * @property {string} text a sentence
 * @property {string} linkText
 * @property {string[]} path of Airflow's page where it can be seen and mended
 */

/**
 * @param {object} loop as the API tells it
 * @param {import("./loop-runs.js").LoopRuns} runs
 * @returns {Reason | null} null: the loop ticks, or Airflow has not told
 */
export function reasonOf(loop, runs) {
  const run = runs.loops.get(loop.dag_id);
  if (!STANDS_STILL.includes(loop.state) || !run) {
    return null;
  }
  const name = nameOf(run, runs.airflow);
  const isOfRun = run.id && ["failed", "queued", "waits"].includes(name);
  const path = isOfRun ? runPath(loop.dag_id, run.id) : ["dags", loop.dag_id];
  return { name, text: t(`loops.why.${name}`), linkText: t(isOfRun ? "links.run" : "links.dag"), path };
}

function nameOf(run, airflow) {
  const isActive = run.state === "running" || run.state === "queued";
  if (!run.isKnown) {
    return "noDag";
  }
  if (run.isPaused && !isActive) {
    return "paused";
  }
  if (isDown(airflow, "triggerer")) {
    return "noTriggerer";
  }
  if (isDown(airflow, "scheduler")) {
    return "noScheduler";
  }
  if (run.state === "running") {
    return "waits";
  }
  return { failed: "failed", queued: "queued" }[run.state] ?? "noRun";
}

/**
 * Whether a part of Airflow gives no sign of life.
 * @param {Object<string, {status: string | null}> | null} airflow what Airflow says of its own health; null: nothing
 * @param {string} part
 * @returns {boolean}
 */
export function isDown(airflow, part) {
  return Boolean(airflow?.[part]) && airflow[part].status !== "healthy";
}

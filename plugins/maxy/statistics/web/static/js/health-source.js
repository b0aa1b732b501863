/**
 * What the health page and the DAG's tab show: the API's answer, and what Airflow tells of the runs.
 * @module health-source
 */

import { ApiError, ask } from "./api.js";
import { setBanner } from "./banners.js";
import { dailyRuns } from "./daily-runs.js";
import { t } from "./i18n.js";
import { airflowHealth, loopRun } from "./loop-runs.js";
import { whileVisible } from "./page.js";

const HEALTH_MS = 10_000;
// Runs change far more seldom, and asking for them costs the API server more.
const RUNS_MS = 30_000;
/** @type {import("./loop-runs.js").LoopRun} */
const NO_DAG = { id: null, state: null, isKnown: false, isPaused: false };

/**
 * @typedef {object} DailyRuns
 * @property {Map<string, import("./daily-runs.js").DailyRun>} daily by day
 * @property {ApiError | null} error why some are not there
 * @typedef {DailyRuns & import("./loop-runs.js").LoopRuns} Runs
 */

/**
 * Ask now and then, while somebody can see the page.
 * @param {(health: object, runs: Runs) => void} show is called with every answer
 * @param {(dagId: string) => boolean} [isWanted] whose runs are asked for
 */
export function followHealth(show, isWanted = () => true) {
  /** @type {Runs} */
  let runs = { daily: new Map(), loops: new Map(), airflow: null, error: null };
  let askedAt = -Infinity;
  let troubled = "";
  whileVisible(async () => {
    try {
      const health = await ask("health");
      setBanner("health", null);
      show(health, runs);
      // What has just come into trouble is explained at once.
      const trouble = health.loops.map(({ name, state }) => `${name} ${state}`).join();
      if (performance.now() - askedAt > RUNS_MS || trouble !== troubled) {
        askedAt = performance.now();
        troubled = trouble;
        runs = await askForRuns(health, isWanted);
        show(health, runs);
      }
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      setBanner("health", { tone: "bad", text: t("health.failed"), items: [error.text] });
    }
  }, HEALTH_MS);
}

async function askForRuns({ daily, loops, timezone }, isWanted) {
  const runs = { daily: new Map(), loops: new Map(), airflow: null, error: null };
  const attempt = (question, missing = null) =>
    question.catch((error) => {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      // A DAG that was never parsed has no runs; that is no error.
      runs.error = error.status === 404 ? runs.error : error;
      return error.status === 404 ? missing : null;
    });
  const questions = loops
    .filter(({ dag_id }) => isWanted(dag_id))
    .map(async (loop) => runs.loops.set(loop.dag_id, await attempt(loopRun(loop), NO_DAG)));
  questions.push(attempt(airflowHealth()).then((found) => (runs.airflow = found)));
  // Without the statistics' zone it is not known which day a run was for.
  if (timezone && isWanted(daily.dag_id)) {
    questions.push(attempt(dailyRuns(daily.dag_id, timezone)).then((found) => (runs.daily = found ?? runs.daily)));
  }
  await Promise.all(questions);
  return runs;
}

/**
 * Say that runs are not shown, and why.
 * @param {HTMLElement} place
 * @param {Runs} runs
 */
export function tellOfRuns(place, { error }) {
  const key = error?.status === 403 ? "health.runsForbidden" : "health.runsFailed";
  const banner = error && { tone: "info", text: t(key), items: error.status === 403 ? [] : [error.text] };
  setBanner("runs", banner, place);
}

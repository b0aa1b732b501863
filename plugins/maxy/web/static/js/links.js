/**
 * Links to Airflow's own pages. This page is usually in a frame that may neither open windows nor leave itself; the
 * page around it is Airflow's and of the same origin, so the link is followed there.
 * @module links
 */

import { el } from "./dom.js";
import { airflowDocument } from "./theme.js";

/** Where Airflow is: this page is at <Airflow>/maxy/<page>. */
const airflow = new URL("../", location.href);

/**
 * The address of something of Airflow's.
 * @param {...string} parts of the path, as they are
 * @returns {string}
 */
export function airflowUrl(...parts) {
  return new URL(parts.map(encodeURIComponent).join("/"), airflow).href;
}

/**
 * A link to one of Airflow's pages.
 * @param {string} text
 * @param {string[]} parts of the path, as they are
 * @param {Object<string, string>} [properties] of the element
 * @returns {HTMLElement}
 */
export function airflowLink(text, parts, properties = {}) {
  return el("a", { ...properties, href: airflowUrl(...parts), onclick: follow }, text);
}

/**
 * The path of a run's page.
 * @param {string} dagId
 * @param {string} runId
 * @returns {string[]}
 */
export function runPath(dagId, runId) {
  return ["dags", dagId, "runs", runId];
}

/**
 * The path of a task's page, which shows its log.
 * @param {string} dagId
 * @param {string} runId
 * @param {string} taskId
 * @returns {string[]}
 */
export function taskPath(dagId, runId, taskId) {
  return [...runPath(dagId, runId), "tasks", taskId];
}

function follow(event) {
  const outer = airflowDocument();
  if (!outer) {
    return;
  }
  event.preventDefault();
  const link = outer.createElement("a");
  link.href = event.currentTarget.href;
  if (event.ctrlKey || event.metaKey || event.shiftKey) {
    link.target = "_blank";
    link.rel = "noopener";
  }
  outer.body.append(link);
  link.click();
  link.remove();
}

/**
 * Questions to the pages' own API and to Airflow's.
 * @module api
 */

import { t } from "./i18n.js";
import { airflowUrl } from "./links.js";
import { noteServerTime } from "./time.js";

/** An answer that is not what was asked for. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP; 0: there was no answer
   * @param {string} detail what the server said of it
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
    this.detail = detail;
  }

  /** @returns {string} for the reader of the page */
  get text() {
    const known = { 0: "error.unreachable", 401: "error.login", 403: "error.forbidden" };
    return known[this.status] ? t(known[this.status]) : this.detail;
  }
}

/**
 * Ask the pages' API.
 * @param {string} name such as "keys"
 * @param {Object<string, string | number>} [parameters]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function ask(name, parameters = {}, signal) {
  const body = await answer(apiUrl(name, parameters), { signal });
  if (body.at) {
    noteServerTime(body.at);
  }
  return body;
}

/**
 * The address of something of the pages' API.
 * @param {string} name
 * @param {Object<string, string | number>} [parameters]
 * @returns {string} relative to the page
 */
export function apiUrl(name, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return query ? `api/${name}?${query}` : `api/${name}`;
}

/**
 * Ask Airflow's REST API, with the permissions of whoever looks at the page.
 * @param {string[]} parts of the path behind api/v2, as they are
 * @param {Object<string, string | number>} [parameters]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function askAirflow(parts, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return answer(`${airflowUrl("api", "v2", ...parts)}${query ? "?" : ""}${query}`, {});
}

/**
 * Have Airflow do something, with the permissions of whoever looks at the page.
 * @param {string[]} parts of the path behind api/v2, as they are
 * @param {object} body
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export function tellAirflow(parts, body) {
  return answer(airflowUrl("api", "v2", ...parts), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

/**
 * Find out why a stream was refused, which an EventSource does not tell.
 * @param {string} url
 * @returns {Promise<ApiError | null>} null: by now it is not refused
 */
export async function whyRefused(url) {
  const attempt = new AbortController();
  try {
    const response = await fetch(url, { credentials: "same-origin", signal: attempt.signal });
    if (response.ok) {
      attempt.abort();
      return null;
    }
    return refusal(response, parsed(await response.text()));
  } catch (error) {
    return new ApiError(0, error.message);
  }
}

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new ApiError(0, error.message);
  }
  const text = await response.text();
  const body = parsed(text);
  if (!response.ok) {
    throw refusal(response, body);
  }
  if (body === undefined) {
    throw new ApiError(response.status, t("error.notJson"));
  }
  return body;
}

function refusal(response, body) {
  return new ApiError(response.status, detailOf(body) || `${response.status} ${response.statusText}`);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** FastAPI tells what is wrong with a parameter as a list, everything else as a text. */
function detailOf(body) {
  const detail = body?.detail;
  if (Array.isArray(detail)) {
    return detail.map(({ loc = [], msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
  }
  return typeof detail === "string" ? detail : detail && JSON.stringify(detail);
}

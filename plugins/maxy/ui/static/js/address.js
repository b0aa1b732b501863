/**
 * What is chosen on a page, in its address: a reload, a bookmark and whoever is sent the link get the same.
 * @module address
 */

import { airflowDocument } from "./theme.js";

// Airflow's address of a page: its own route, and behind it the whole path of what is in the frame.
const OUTER_ROUTE = /^.*\/plugin\/maxy-[a-z]+/;

/**
 * Put values into the address of this page, and of Airflow's page around it, which follows a frame only when it loads.
 * @param {Object<string, string>} values by the parameters' names
 */
export function keepInAddress(values) {
  const url = new URL(location.href);
  Object.entries(values).forEach(([name, value]) => url.searchParams.set(name, value));
  history.replaceState(null, "", url);
  const outer = airflowDocument()?.defaultView;
  const [route] = outer?.location.pathname.match(OUTER_ROUTE) ?? [];
  if (route) {
    outer.history.replaceState(outer.history.state, "", `${route}${url.pathname}${url.search}${url.hash}`);
  }
}

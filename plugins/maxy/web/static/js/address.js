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
 * @param {{isChoice?: boolean}} [options] isChoice: somebody has just chosen them, so that Back leads to what was shown
 *   before; else they take the place of the present address
 */
export function keepInAddress(values, { isChoice = false } = {}) {
  const url = new URL(location.href);
  Object.entries(values).forEach(([name, value]) => url.searchParams.set(name, value));
  if (isChoice && url.href !== location.href) {
    history.pushState(null, "", url);
  } else {
    history.replaceState(null, "", url);
  }
  tellAirflow();
}

/**
 * Hear when somebody goes back or forth between what was chosen on this page.
 * @param {() => void} listener is to show what the page's address says
 */
export function onReturn(listener) {
  addEventListener("popstate", () => {
    listener();
    tellAirflow();
  });
}

/** The history of both pages is one; only the outer address has to follow. */
function tellAirflow() {
  const outer = airflowDocument()?.defaultView;
  const [route] = outer?.location.pathname.match(OUTER_ROUTE) ?? [];
  if (route) {
    outer.history.replaceState(
      outer.history.state,
      "",
      `${route}${location.pathname}${location.search}${location.hash}`,
    );
  }
}

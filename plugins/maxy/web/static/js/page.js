/**
 * What all pages have: texts in the viewer's language, the bar with the other pages and the choice of the language.
 * @module page
 */

import { byId, el } from "./dom.js";
import { chooseLanguage, language, t, translate } from "./i18n.js";
import { airflowDocument } from "./theme.js";

/** Set the page up; the first thing every page does. */
export function startPage() {
  translate(document);
  nameTab();
  showLinks();
  const chooser = el(
    "select",
    { id: "language", "aria-label": t("page.language"), onchange: (event) => chooseLanguage(event.target.value) },
    // Each in its own language, as whoever looks for it reads only that one.
    el("option", { value: "en", lang: "en", selected: language === "en" }, "English"),
    el("option", { value: "ko", lang: "ko", selected: language === "ko" }, "한국어"),
  );
  byId("bar").append(chooser);
}

/** Airflow calls every page of a plugin "Airflow"; the tab of a DAG bears the DAG's name already. */
function nameTab() {
  const outer = airflowDocument();
  if (!outer || !/\/plugin\/maxy-/.test(outer.location.pathname)) {
    return;
  }
  const former = outer.title;
  const own = `${document.title} - Airflow`;
  outer.title = own;
  // Whoever goes on to another page of Airflow's, which may have no name either, must not keep this one.
  addEventListener("pagehide", () => {
    if (outer.title === own) {
      outer.title = former;
    }
  });
}

/** Have the links to the other pages take along what is chosen on this one. */
export function showLinks() {
  const here = location.pathname.split("/").at(-1);
  const given = new URLSearchParams(location.search);
  const kept = byId("pages").dataset.keeps.split(" ").filter((name) => given.has(name));
  const query = new URLSearchParams(kept.map((name) => [name, given.get(name)]));
  for (const link of byId("pages").querySelectorAll("a")) {
    const { page } = link.dataset;
    link.href = query.size ? `${page}?${query}` : page;
    if (page === here) {
      link.setAttribute("aria-current", "page");
    }
  }
}

/** Tell tests and users' scripts that the first answer is shown. */
export function markReady() {
  document.documentElement.dataset.ready = "true";
}

/**
 * Run something now and then at an interval, but only while somebody can see the page; at once when it is shown again.
 * @param {() => void} action
 * @param {number} intervalMs
 */
export function whileVisible(action, intervalMs) {
  const act = () => !document.hidden && action();
  act();
  let timer = setInterval(act, intervalMs);
  document.addEventListener("visibilitychange", () => {
    clearInterval(timer);
    act();
    timer = setInterval(act, intervalMs);
  });
}

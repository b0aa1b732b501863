/**
 * Light or dark, as Airflow is: it keeps its choice in localStorage and as a class of its <html> element.
 * @module theme
 */

import { recall } from "./storage.js";

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

/**
 * Hear of every change of the theme.
 * @param {() => void} listener
 */
export function onThemeChange(listener) {
  listeners.add(listener);
}

/**
 * The document of Airflow's page around this one.
 * @returns {Document | null} null where there is none, or it is not to be seen from here
 */
export function airflowDocument() {
  try {
    return window.parent === window ? null : window.parent.document;
  } catch {
    return null;
  }
}

function isDark() {
  const classes = airflowDocument()?.documentElement.classList;
  if (classes?.contains("dark") || classes?.contains("light")) {
    return classes.contains("dark");
  }
  const chosen = recall("theme");
  return chosen === "dark" || (chosen !== "light" && systemIsDark.matches);
}

function apply() {
  const theme = isDark() ? "dark" : "light";
  if (document.documentElement.dataset.theme !== theme) {
    document.documentElement.dataset.theme = theme;
    listeners.forEach((listener) => listener());
  }
}

apply();
systemIsDark.addEventListener("change", apply);
addEventListener("storage", (event) => event.key === "theme" && apply());
const airflow = airflowDocument();
if (airflow) {
  new MutationObserver(apply).observe(airflow.documentElement, { attributes: true, attributeFilter: ["class"] });
}

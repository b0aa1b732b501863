/**
 * The names of a chart's series, each a button that switches it off and on.
 * @module chart-legend
 */

import { el, fill } from "./dom.js";
import { t } from "./i18n.js";

/** The legend of one chart. */
export class Legend {
  /** @param {(name: string, isAlone: boolean) => void} onSwitch is told which one; alone: twice, all others with it */
  constructor(onSwitch) {
    this._onSwitch = onSwitch;
    this._shown = "";
    this.element = el("div", { class: "legend", role: "group", "aria-label": t("chart.series"), hidden: true });
  }

  /**
   * @param {import("./charts.js").Series[]} series
   * @param {Set<string>} hidden names of those that are switched off
   */
  show(series, hidden) {
    const named = series.filter(({ y }) => y.some((value) => value !== null));
    const shown = JSON.stringify(named.map(({ name, look, colour }) => [name, look, colour]));
    if (shown !== this._shown) {
      this._shown = shown;
      this.element.hidden = named.length === 0;
      fill(
        this.element,
        named.map((one) => this._button(one)),
      );
    }
    [...this.element.children].forEach((button, at) =>
      button.setAttribute("aria-pressed", String(!hidden.has(named[at].name))),
    );
  }

  _button({ name, look, colour, isDotted }) {
    const mark = el("span", { class: "mark", "data-look": isDotted ? "dots" : look, "aria-hidden": "true" });
    mark.style.color = `var(--${colour})`;
    return el(
      "button",
      {
        type: "button",
        title: t("chart.switch"),
        onclick: () => this._onSwitch(name, false),
        ondblclick: () => this._onSwitch(name, true),
      },
      mark,
      name,
    );
  }
}

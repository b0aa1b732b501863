/**
 * The tiles with today's figures.
 * @module tiles
 */

import { el, fill, setText } from "./dom.js";
import { t } from "./i18n.js";
import { formatValue, METRICS } from "./metrics.js";

/** A group of tiles. */
export class Tiles {
  /**
   * @param {HTMLElement} list a dl
   * @param {"device" | "page" | "vitals"} group
   */
  constructor(list, group) {
    this._tiles = METRICS.filter((metric) => metric.group === group).map((metric) => new Tile(metric));
    fill(
      list,
      this._tiles.map((tile) => tile.element),
    );
  }

  /**
   * @param {Object<string, number | null> | null} figures null: there are none
   */
  show(figures) {
    this._tiles.forEach((tile) => tile.show(figures?.[tile.metric.name] ?? null));
  }
}

class Tile {
  constructor(metric) {
    this.metric = metric;
    this._value = el("dd", { class: "value" }, "–");
    this._note = el("dd", { class: "note" });
    const label = el("dt", {}, t(`metric.${metric.name}`));
    this.element = el(
      "div",
      { class: "tile", "data-metric": metric.name, "data-value": "" },
      label,
      this._value,
      this._note,
    );
    this.show(null);
  }

  show(value) {
    this.element.dataset.value = value === null ? "" : String(value);
    setText(this._value, formatValue(this.metric, value));
    const isMeasured = value !== null || !this.metric.isTime;
    setText(this._note, t(isMeasured ? `metric.${this.metric.name}.note` : "metric.notMeasured"));
  }
}

/**
 * The tiles with today's figures.
 * @module tiles
 */

import { el, fill, setText } from "./dom.js";
import { formatMilliseconds, t } from "./i18n.js";
import { formatValue, METRICS, rating } from "./metrics.js";

const TONES = { good: "good", improve: "warn", poor: "bad", none: "" };

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
    this._badge = el("span", { class: "badge" });
    const notes = metric.limits
      ? [el("dd", {}, this._badge), el("dd", { class: "note" }, limitsText(metric.limits))]
      : el("dd", { class: "note" }, t(`metric.${metric.name}.note`));
    const label = el("dt", {}, t(`metric.${metric.name}`));
    this.element = el(
      "div",
      { class: "tile", "data-metric": metric.name, "data-value": "" },
      label,
      this._value,
      notes,
    );
    this.show(null);
  }

  show(value) {
    this.element.dataset.value = value === null ? "" : String(value);
    setText(this._value, formatValue(this.metric, value));
    if (this.metric.limits) {
      const rated = rating(this.metric, value);
      this.element.dataset.rating = rated;
      this._badge.dataset.tone = TONES[rated];
      setText(this._badge, t(`rating.${rated}`));
    }
  }
}

function limitsText([good, poor]) {
  return t("rating.limits", { good: formatMilliseconds(good), poor: formatMilliseconds(poor) });
}

/**
 * The buttons over a chart with which it is zoomed and moved, by keyboard too.
 * @module chart-tools
 */

import { el } from "./dom.js";
import { t } from "./i18n.js";

const ZOOM_FACTOR = 0.5;
const STEP = 0.25;
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowDown: [0, -STEP], ArrowUp: [0, STEP] };

/** The buttons of one chart. */
export class Tools {
  /** @param {import("./chart-zoom.js").Zoom} zoom */
  constructor(zoom) {
    const pan = button("↔", t("chart.pan"), () => {
      zoom.isPanning = !zoom.isPanning;
      pan.setAttribute("aria-pressed", String(zoom.isPanning));
    });
    pan.setAttribute("aria-pressed", "false");
    this.element = el(
      "div",
      {
        class: "chart-tools",
        role: "group",
        "aria-label": t("chart.tools"),
        onkeydown: (event) => {
          const step = ARROWS[event.key];
          if (step) {
            event.preventDefault();
            zoom.shift(...step);
          }
        },
      },
      pan,
      button("+", t("chart.zoomIn"), () => zoom.stretch(ZOOM_FACTOR)),
      button("−", t("chart.zoomOut"), () => zoom.stretch(1 / ZOOM_FACTOR)),
      button("⤢", t("chart.reset"), () => zoom.reset()),
    );
  }
}

function button(sign, name, onclick) {
  return el("button", { type: "button", title: name, "aria-label": name, onclick }, sign);
}

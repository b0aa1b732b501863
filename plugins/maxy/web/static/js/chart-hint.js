/**
 * What is told of the point or the values under the pointer.
 * @module chart-hint
 */

import { el, fill } from "./dom.js";

const GAP_PX = 12;

/** The box of one chart, beside the pointer. */
export class Hint {
  /** @param {HTMLElement} host within which it stays */
  constructor(host) {
    this._host = host;
    this.element = el("div", { class: "hint", role: "tooltip", hidden: true });
  }

  /**
   * @param {import("./charts.js").Told} told
   * @param {{x: number, y: number}} place of what is meant, in pixels of the host
   */
  show({ title, lines, kind, value }, { x, y }) {
    const hint = this.element;
    fill(
      hint,
      title && el("p", {}, title),
      el(
        "dl",
        {},
        lines.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))),
      ),
    );
    Object.assign(hint.dataset, { kind: kind ?? "", value: value ?? "" });
    hint.hidden = false;
    const { clientWidth: width, clientHeight: height } = this._host;
    const isRight = x + GAP_PX + hint.offsetWidth <= width;
    const left = isRight ? x + GAP_PX : x - GAP_PX - hint.offsetWidth;
    hint.style.left = `${Math.max(0, left)}px`;
    hint.style.top = `${Math.max(0, Math.min(y, height - hint.offsetHeight))}px`;
  }

  /** There is nothing under the pointer. */
  hide() {
    this.element.hidden = true;
  }
}

/**
 * Thousands of points over a Plotly chart's axes, on a canvas of their own. Plotly's own way to draw so many compiles
 * code at run time, which the content security policy forbids; as SVG elements, so many are slow.
 * @module point-layer
 */

import { colour } from "./charts.js";
import { el, fill } from "./dom.js";
import { fromWallText, zoneOffset } from "./time.js";

// So far from a point, in pixels, it is meant.
const REACH = 14;
const TOOLTIP_GAP = 12;

/**
 * @typedef {object} Mark
 * @property {number} at epoch milliseconds
 * @property {number} y where it is drawn, in the axis' unit
 * @property {"normal" | "slow" | "beyond"} kind
 * @property {import("./points.js").Point} point
 */

/** The layer of one chart. */
export class PointLayer {
  /**
   * @param {HTMLElement} host holds the chart, and gets the layer
   * @param {HTMLElement} plot Plotly's element in it
   * @param {(point: import("./points.js").Point) => [string, string][]} describe name and value of each of the
   *   hint's lines
   */
  constructor(host, plot, describe) {
    this._plot = plot;
    this._describe = describe;
    /** @type {Mark[]} */
    this._marks = [];
    this._isLog = true;
    this._canvas = el("canvas", { class: "points", "aria-hidden": "true" });
    this._hint = el("div", { class: "hint", role: "tooltip", hidden: true });
    host.append(this._canvas, this._hint);
    host.addEventListener("pointermove", (event) => this._point(event));
    host.addEventListener("pointerdown", (event) => this._point(event));
    host.addEventListener("pointerleave", () => this._hideHint());
  }

  /**
   * Show these from the next painting on.
   * @param {Mark[]} marks those that are to lie on top come last
   * @param {boolean} isLog whether the axis is logarithmic
   */
  show(marks, isLog) {
    this._marks = marks;
    this._isLog = isLog;
  }

  /** Paint them where the axes are now. */
  paint() {
    const frame = this._frame();
    if (!frame) {
      return;
    }
    const scale = devicePixelRatio;
    const { canvas, context } = this._sized(frame, scale);
    const sprites = {
      normal: circle("chart-1", scale),
      slow: diamond("chart-slow", scale),
      beyond: triangle("chart-slow", scale),
    };
    const place = this._placing(frame);
    for (const mark of this._marks) {
      const { x, y } = place(mark);
      const sprite = sprites[mark.kind];
      if (x >= 0 && x <= frame.width && y >= 0 && y <= frame.height) {
        context.drawImage(sprite, Math.round(x * scale - sprite.width / 2), Math.round(y * scale - sprite.height / 2));
      }
    }
    canvas.dataset.painted = String(this._marks.length);
    this._hideHint();
  }

  /** The plot area between the axes, in pixels of the host, and the ranges of the axes. */
  _frame() {
    const area = this._plot.querySelector(".nsewdrag")?.getBoundingClientRect();
    const { xaxis, yaxis } = this._plot.layout ?? {};
    if (!area?.width || !xaxis?.range || !yaxis?.range) {
      return null;
    }
    const host = this._canvas.parentElement.getBoundingClientRect();
    return {
      left: area.left - host.left,
      top: area.top - host.top,
      width: area.width,
      height: area.height,
      // Numbers, for a moment, while Plotly looks for the range of no points; then there is nothing to paint.
      times: xaxis.range.map(String).map(fromWallText),
      values: yaxis.range.map(Number),
    };
  }

  _sized({ left, top, width, height }, scale) {
    const canvas = this._canvas;
    Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    return { canvas, context: canvas.getContext("2d") };
  }

  _placing({ width, height, times: [from, until], values: [bottom, top] }) {
    const offset = zoneOffset(this._marks.at(-1)?.at ?? 0);
    return ({ at, y }) => ({
      x: ((at + offset - from) / (until - from)) * width,
      y: (1 - ((this._isLog ? Math.log10(y) : y) - bottom) / (top - bottom)) * height,
    });
  }

  _point(event) {
    const frame = this._frame();
    if (!frame) {
      return;
    }
    const area = this._canvas.getBoundingClientRect();
    const pointer = { x: event.clientX - area.left, y: event.clientY - area.top };
    const place = this._placing(frame);
    let nearest = null;
    let distance = REACH;
    for (const mark of this._marks) {
      const { x, y } = place(mark);
      const away = Math.hypot(x - pointer.x, y - pointer.y);
      if (away <= distance) {
        distance = away;
        nearest = { mark, x: x + frame.left, y: y + frame.top };
      }
    }
    if (nearest) {
      this._showHint(nearest);
    } else {
      this._hideHint();
    }
  }

  _showHint({ mark, x, y }) {
    const hint = this._hint;
    const lines = this._describe(mark.point);
    fill(
      hint,
      el(
        "dl",
        {},
        lines.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
      ),
    );
    hint.dataset.kind = mark.kind;
    hint.dataset.value = String(mark.point.value);
    hint.hidden = false;
    const host = hint.parentElement;
    const isRight = x + TOOLTIP_GAP + hint.offsetWidth <= host.clientWidth;
    const left = isRight ? x + TOOLTIP_GAP : x - TOOLTIP_GAP - hint.offsetWidth;
    hint.style.left = `${Math.max(0, left)}px`;
    hint.style.top = `${Math.max(0, Math.min(y, host.clientHeight - hint.offsetHeight))}px`;
  }

  _hideHint() {
    this._hint.hidden = true;
  }
}

/** One mark, painted once: to copy it thousands of times is far faster than to paint it. */
function sprite(name, size, scale, outline) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(size * scale);
  canvas.height = canvas.width;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = colour(name);
  context.beginPath();
  outline(context, size);
  context.fill();
  return canvas;
}

function circle(name, scale) {
  return sprite(name, 5, scale, (context, size) => {
    context.globalAlpha = 0.65;
    context.arc(size / 2, size / 2, size / 2, 0, 2 * Math.PI);
  });
}

function diamond(name, scale) {
  return sprite(name, 10, scale, (context, size) =>
    polygon(context, [size / 2, 0], [size, size / 2], [size / 2, size], [0, size / 2]),
  );
}

function triangle(name, scale) {
  return sprite(name, 11, scale, (context, size) => polygon(context, [size / 2, 0], [size, size], [0, size]));
}

function polygon(context, ...corners) {
  corners.forEach(([x, y]) => context.lineTo(x, y));
}

/**
 * Charts: lines, steps, bars and thousands of points over days, times or numbers; also small ones without axes. The only
 * module that knows the library, uPlot, which draws on a canvas; whoever shows something says what in a Drawing.
 * @module charts
 */

import { leastStep, MARGIN_PX, xAxis, xRange, xText, yAxis, yRange } from "./chart-axes.js";
import { Hint } from "./chart-hint.js";
import { Legend } from "./chart-legend.js";
import { isStamp, nearestPoint, Stamps } from "./chart-stamps.js";
import { Tools } from "./chart-tools.js";
import { Zoom } from "./chart-zoom.js";
import { el, fill } from "./dom.js";
import { formatNumber, t } from "./i18n.js";
import { onThemeChange } from "./theme.js";

const LIBRARY = { script: "static/vendor/uplot.iife.min.js", style: "static/vendor/uplot.min.css" };
// What bars take of the space that there is for them.
const BAR_SHARE = 0.8;
const DOT_PX = 5;
const CURSOR_DOT_PX = 7;
const DOTS = [2, 3];
// A drag that is shorter in one direction selects in the other one only.
const DRAG_PX = { least: 5, both: 20 };
// Where it can be scrolled with a finger, a drag has to scroll the page.
const isTouch = matchMedia("(pointer: coarse)").matches;

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {"line" | "steps" | "bars" | "circles" | "diamonds" | "triangles" | "crosses"} look steps: a value holds
 *   until the next one. The last four are points, of which there may be many thousands
 * @property {string} colour a custom property of app.css, without the dashes
 * @property {string} [area] the colour of the area below a line
 * @property {(number | null)[]} y null: a gap
 * @property {boolean} [isDotted] a dotted line
 * @property {boolean} [hasDots] a dot at each value of a line; else only where there is room
 * @property {(value: number, place: number) => string} [format] what is told of a value
 */

/**
 * @typedef {object} Drawing
 * @property {number[]} x ascending, the same for all series; epoch milliseconds of a day (at midnight UTC) or instant
 * @property {Series[]} series later ones lie on top
 * @property {{kind: "day" | "time" | "number", range?: [number, number]}} xAxis times are shown in the viewer's zone
 * @property {{label?: string, isLog?: boolean, range?: [number, number]}} yAxis without a range: from zero
 * @property {number} points how many are shown
 * @property {{from: number, to: number, colour: string}[]} [spans] of x, behind everything
 * @property {{y: number, colour: string}[]} [levels] dotted lines from side to side
 * @property {(place: number) => Told} [describe] what is told of the point under the pointer; without it, the values of
 *   all series are told at the pointer's x
 * @property {boolean} [hasLegend] one in which series can be switched off and on
 * @property {string} [view] with another one, what was zoomed into or switched off is shown again
 */

/**
 * @typedef {object} Told
 * @property {string} [title]
 * @property {[string, string][]} lines names and values
 * @property {string} [kind] becomes data-kind
 * @property {number} [value] becomes data-value
 */

let loading = null;

function library() {
  loading ??= new Promise((resolve, reject) => {
    const failed = () => reject(new Error(t("chart.noLibrary")));
    let missing = 2;
    const loaded = () => {
      missing -= 1;
      if (missing === 0) {
        resolve();
      }
    };
    document.head.append(
      el("link", { rel: "stylesheet", href: LIBRARY.style, onload: loaded, onerror: failed }),
      el("script", { src: LIBRARY.script, onload: loaded, onerror: failed }),
    );
  });
  return loading;
}

// To ask for one has the browser compute styles, in the middle of a drawing.
const colours = new Map();
onThemeChange(() => colours.clear());

/**
 * A colour of the present theme.
 * @param {string} name of a custom property of app.css, without the dashes
 * @returns {string}
 */
export function colour(name) {
  if (!colours.has(name)) {
    colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return colours.get(name);
}

/**
 * A chart that is drawn anew when it is told so, at most once per frame, and not while nobody can see it.
 */
export class Chart {
  /**
   * @param {HTMLElement} host has the class chart, and gets data-points
   * @param {() => Drawing | null} build is called when it is drawn; null: there is nothing to draw yet
   * @param {{isSmall?: boolean}} [options] small: nothing but the series, as in a cell of a table
   */
  constructor(host, build, { isSmall = false } = {}) {
    this._host = host;
    this._build = build;
    this._isSmall = isSmall;
    this._frame = 0;
    this._isDue = false;
    this._isReady = false;
    this._isHeld = false;
    /** @type {Drawing | null} what is shown */
    this._drawing = null;
    this._plot = null;
    this._shape = "";
    this._hidden = new Set();
    this._area = el("div", { class: "plot" });
    this._legend = new Legend((name, isAlone) => this._switch(name, isAlone));
    this._hint = new Hint(host);
    this._stamps = new Stamps();
    this._zoom = new Zoom(() => this._plot?.redraw());
    fill(host, this._legend.element, this._area, !isSmall && !isTouch && new Tools(this._zoom).element, this._hint.element);
    library().then(
      () => this._start(),
      (error) => {
        host.classList.add("chart-failed");
        fill(host, el("p", { class: "error-text", role: "status" }, error.message));
      },
    );
  }

  _start() {
    this._isReady = true;
    this.refresh();
    onThemeChange(() => this.refresh());
    new ResizeObserver(() => this._fit()).observe(this._area);
    document.addEventListener("visibilitychange", () => this._isDue && this.refresh());
    // The axes must not move below the rectangle that is just being dragged.
    this._area.addEventListener("pointerdown", () => (this._isHeld = true), { capture: true });
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, () => this._release(), { capture: true });
    }
  }

  _release() {
    if (this._isHeld) {
      this._isHeld = false;
      // The library hears of it later.
      setTimeout(() => this._isDue && this.refresh());
    }
  }

  /** What the chart shows has changed. */
  refresh() {
    this._isDue = true;
    if (this._isReady && !document.hidden && !this._frame) {
      this._frame = requestAnimationFrame(() => {
        this._frame = 0;
        if (!this._isHeld) {
          this._draw();
        }
      });
    }
  }

  _draw() {
    const drawing = this._build();
    this._isDue = false;
    if (!drawing) {
      return;
    }
    if (drawing.view !== this._drawing?.view) {
      this._zoom.forget();
      this._hidden.clear();
    }
    this._drawing = drawing;
    this._legend.show(drawing.hasLegend ? drawing.series : [], this._hidden);
    const shape = shapeOf(drawing);
    if (shape === this._shape) {
      this._plot.setData(dataOf(drawing));
    } else {
      this._shape = shape;
      this._plot?.destroy();
      this._plot = new window.uPlot(this._options(), dataOf(drawing), this._area);
      this._zoom.attach(this._plot);
    }
    this._host.dataset.points = String(drawing.points);
  }

  _fit() {
    const { clientWidth: width, clientHeight: height } = this._area;
    if (this._plot && (width !== this._plot.width || height !== this._plot.height)) {
      this._plot.setSize({ width, height });
    }
  }

  _switch(name, isAlone) {
    const { series } = this._drawing;
    const others = series.filter((one) => one.name !== name).map((one) => one.name);
    if (isAlone) {
      const wasAlone = !this._hidden.has(name) && others.every((other) => this._hidden.has(other));
      this._hidden = new Set(wasAlone ? [] : others);
    } else if (!this._hidden.delete(name)) {
      this._hidden.add(name);
    }
    series.forEach((one, at) => this._plot.setSeries(at + 1, { show: !this._hidden.has(one.name) }));
    this._legend.show(series, this._hidden);
  }

  /** What the library is told once; all that may change is asked for at each drawing. */
  _options() {
    const now = () => this._drawing;
    const { clientWidth: width, clientHeight: height } = this._area;
    const isOfPoints = Boolean(now().describe);
    return {
      width,
      height,
      padding: this._isSmall ? [2, 2, 2, 2] : [MARGIN_PX.top, MARGIN_PX.right, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: () => this._zoom.range("x") ?? xRange(now()) },
        y: {
          distr: now().yAxis.isLog ? 3 : 1,
          range: (_, least, most) => this._zoom.range("y") ?? yRange(now().yAxis, least, most),
        },
      },
      axes: this._isSmall ? [{ show: false }, { show: false }] : [xAxis(now, colour), yAxis(now, colour)],
      series: [{}, ...now().series.map((_, at) => this._series(at))],
      cursor: {
        show: !this._isSmall,
        x: !isOfPoints,
        y: false,
        points: { size: (_, at) => (["line", "steps"].includes(now().series[at - 1].look) ? CURSOR_DOT_PX : 0) },
        drag: { setScale: false, x: !isTouch, y: !isTouch, dist: DRAG_PX.least, uni: DRAG_PX.both },
        bind: this._zoom.bindings(),
      },
      hooks: {
        drawClear: [(plot) => this._drawBehind(plot)],
        drawSeries: [(plot, at) => this._drawPoints(plot, at)],
        draw: [(plot) => this._drawLevels(plot)],
        setSelect: [() => this._zoom.select()],
        setCursor: [(plot) => this._tell(plot)],
      },
    };
  }

  _series(at) {
    const now = () => this._drawing.series[at];
    const { look, name, isDotted, hasDots, area } = now();
    const stroke = () => colour(now().colour);
    const common = { label: name, show: !this._hidden.has(name), stroke };
    if (isStamp(look)) {
      return { ...common, paths: () => null, points: { show: false } };
    }
    if (look === "bars") {
      return { ...common, width: 0, fill: stroke, points: { show: false }, paths: this._bars(at) };
    }
    const { linear, stepped } = window.uPlot.paths;
    return {
      ...common,
      width: isDotted || hasDots ? 2 : 1.5,
      dash: isDotted ? DOTS : undefined,
      fill: area && (() => colour(area)),
      paths: look === "steps" ? stepped({ align: 1 }) : linear(),
      points: { size: DOT_PX, fill: stroke, ...(look === "steps" ? { show: false } : hasDots && { show: true }) },
    };
  }

  /** Bars of several series stand side by side. */
  _bars(at) {
    const group = () => {
      const places = [...this._drawing.series.keys()].filter((place) => this._drawing.series[place].look === "bars");
      const width = (leastStep(this._drawing) * BAR_SHARE) / places.length;
      return { width, shift: (places.indexOf(at) - places.length / 2) * width };
    };
    const lefts = () => {
      const { shift } = group();
      return this._drawing.x.map((value) => value + shift);
    };
    return window.uPlot.paths.bars({
      disp: { x0: { unit: 1, values: lefts }, size: { unit: 1, values: () => [group().width] } },
    });
  }

  _drawBehind(plot) {
    const { left, top, width, height } = plot.bbox;
    inside(plot, (context) => {
      for (const { from, to, colour: name } of this._drawing.spans ?? []) {
        const start = Math.max(plot.valToPos(from, "x", true), left);
        const end = Math.min(plot.valToPos(to, "x", true), left + width);
        context.fillStyle = colour(name);
        context.fillRect(start, top, Math.max(end - start, 0), height);
      }
    });
  }

  _drawPoints(plot, at) {
    const { look, colour: name, y } = this._drawing.series[at - 1];
    if (isStamp(look)) {
      this._stamps.draw(plot, look, colour(name), y);
    }
  }

  _drawLevels(plot) {
    const { left, width } = plot.bbox;
    inside(plot, (context) => {
      for (const { y, colour: name } of this._drawing.levels ?? []) {
        const height = Math.round(plot.valToPos(y, "y", true)) + 0.5;
        context.strokeStyle = colour(name);
        context.lineWidth = devicePixelRatio;
        context.setLineDash(DOTS.map((length) => length * devicePixelRatio));
        context.beginPath();
        context.moveTo(left, height);
        context.lineTo(left + width, height);
        context.stroke();
      }
    });
  }

  /** Tell of what is under the pointer, wherever that is by now. */
  _tell(plot) {
    const { left, idx } = plot.cursor;
    if (idx === null || left < 0) {
      this._hint.hide();
    } else if (this._drawing.describe) {
      const found = nearestPoint(plot, this._drawing.series);
      this._showHint(found && { ...found, told: this._drawing.describe(found.place) });
    } else {
      const lines = this._linesAt(plot, idx);
      const told = { title: xText(this._drawing.xAxis.kind, this._drawing.x[idx]), lines };
      this._showHint(lines.length && { x: plot.valToPos(this._drawing.x[idx], "x"), y: 0, told });
    }
  }

  _linesAt(plot, place) {
    return this._drawing.series
      .filter(({ y }, at) => plot.series[at + 1].show && y[place] !== null && y[place] !== undefined)
      .map(({ name, y, format = (value) => formatNumber(value, 2) }) => [name, format(y[place], place)]);
  }

  _showHint(found) {
    if (found) {
      const over = this._plot.over;
      const { x, y } = over.getBoundingClientRect();
      const outer = this._host.getBoundingClientRect();
      this._hint.show(found.told, { x: found.x + x - outer.x, y: found.y + y - outer.y });
    } else {
      this._hint.hide();
    }
  }
}

/** What the library cannot be told later. */
function shapeOf({ series, xAxis: { kind }, yAxis: { isLog, label } }) {
  const looks = series.map(({ name, look, isDotted, hasDots, area }) => [name, look, isDotted, hasDots, area]);
  return JSON.stringify([looks, kind, isLog, label]);
}

function dataOf({ x, series }) {
  return [x, ...series.map(({ y }) => y)];
}

/** Paint within the axes, and leave the brush as it was. */
function inside(plot, paint) {
  const { left, top, width, height } = plot.bbox;
  const context = plot.ctx;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  paint(context);
  context.restore();
}

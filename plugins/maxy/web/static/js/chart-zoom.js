/**
 * What part of a chart is shown: all of it, or what somebody has chosen with the pointer or the buttons. It stays chosen
 * while the axes move on with the time.
 * @module chart-zoom
 */

const AXES = ["x", "y"];
const LINEAR = { to: (value) => value, from: (value) => value };
const LOGARITHMIC = { to: Math.log10, from: (value) => 10 ** value };

/** The zoom of one chart. */
export class Zoom {
  /** @param {() => void} onChange the axes are to be drawn anew */
  constructor(onChange) {
    this._onChange = onChange;
    this._ranges = {};
    this._plot = null;
    /** Whether a drag moves the chart, instead of choosing a part of it; it always does with the shift key. */
    this.isPanning = false;
  }

  /** @param {object} plot the library's chart, from now on */
  attach(plot) {
    this._plot = plot;
  }

  /** Show everything with the next drawing. */
  forget() {
    this._ranges = {};
  }

  /** Show everything. */
  reset() {
    this.forget();
    this._onChange();
  }

  /**
   * @param {"x" | "y"} axis
   * @returns {[number, number] | undefined} what was chosen
   */
  range(axis) {
    return this._ranges[axis];
  }

  /**
   * Show less or more around the middle.
   * @param {number} factor below 1: less
   */
  stretch(factor) {
    this._change(AXES, (_axis, [least, most]) => {
      const middle = (least + most) / 2;
      return [middle - (middle - least) * factor, middle + (most - middle) * factor];
    });
  }

  /**
   * Show what is beside.
   * @param {number} right how far, in parts of what is shown
   * @param {number} up
   */
  shift(right, up) {
    const by = { x: right, y: up };
    const moved = AXES.filter((axis) => by[axis]);
    this._change(moved, (axis, ends) => ends.map((end) => end + by[axis] * (ends[1] - ends[0])));
  }

  /** Show what was chosen by a drag. */
  select() {
    const plot = this._plot;
    const { left, top, width, height } = plot.select;
    const { clientWidth, clientHeight } = plot.over;
    if (width && width < clientWidth) {
      this._ranges.x = [left, left + width].map((place) => plot.posToVal(place, "x"));
    }
    if (height && height < clientHeight) {
      this._ranges.y = [top + height, top].map((place) => plot.posToVal(place, "y"));
    }
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this._onChange();
  }

  /** What the library does with the pointer's buttons. */
  bindings() {
    return {
      mousedown: (_plot, _target, choose) => (event) => {
        if (event.button === 0 && this.isPanning !== event.shiftKey) {
          this._pan(event);
        } else if (event.button === 0) {
          choose(event);
        }
      },
      dblclick: () => () => this.reset(),
    };
  }

  _pan(start) {
    const ends = new AbortController();
    const { clientWidth, clientHeight } = this._plot.over;
    let last = start;
    const move = (event) => {
      this.shift((last.clientX - event.clientX) / clientWidth, (event.clientY - last.clientY) / clientHeight);
      last = event;
    };
    addEventListener("mousemove", move, { signal: ends.signal });
    addEventListener("mouseup", () => ends.abort(), { signal: ends.signal });
  }

  /** Axes may be logarithmic: what is even to the eye is not so in their values. */
  _change(axes, change) {
    if (!this._plot) {
      return;
    }
    for (const axis of axes) {
      const { min, max, distr } = this._plot.scales[axis];
      const { to, from } = distr === 3 ? LOGARITHMIC : LINEAR;
      this._ranges[axis] = change(axis, [min, max].map(to)).map(from);
    }
    this._onChange();
  }
}

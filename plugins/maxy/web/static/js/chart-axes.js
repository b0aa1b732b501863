/**
 * The axes of charts: where they begin and end, which values are marked, and how those are written.
 * @module chart-axes
 */

import { formatClock, formatDay, formatMonth, formatNumber, formatTime } from "./i18n.js";
import { dayIn, zoneOffset } from "./time.js";

/** Left free beside the axes, so that labels at their ends find room. */
export const MARGIN_PX = { top: 8, right: 16 };

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MONTH = 30 * DAY;
// 1970 began on a Thursday.
const FIRST_MONDAY = 4 * DAY;
const FONT_PX = 12;
const LABEL_PX = 18;
const TICK_PX = 4;
const GAP_PX = 4;
const X_SIZE_PX = 26;
const Y_SPACE_PX = 32;
const LEAST_Y_SIZE_PX = 28;
// Above the largest value, some room.
const HEADROOM = 1.06;

const KINDS = {
  day: {
    space: 68,
    steps: [...[1, 2, 7, 14].map((count) => count * DAY), ...[1, 2, 3, 6, 12, 24, 60, 120].map((count) => count * MONTH)],
    marks: (least, most, step) => (step < MONTH ? days(least, most, step) : months(least, most, step)),
    label: (value, step) => (step < MONTH ? formatDay(dayIn(value, "UTC"), "brief") : formatMonth(value)),
    text: (value) => formatDay(dayIn(value, "UTC")),
  },
  time: {
    space: 76,
    steps: [
      ...[1, 2, 5, 10, 15, 30].map((count) => count * SECOND),
      ...[1, 2, 5, 10, 15, 30].map((count) => count * MINUTE),
      ...[1, 2, 3, 6, 12].map((count) => count * HOUR),
      ...[1, 2, 7, 14, 28, 91, 364].map((count) => count * DAY),
    ],
    marks: times,
    label: (value, step) =>
      step < DAY
        ? formatClock(value, step < MINUTE)
        : formatDay(new Date(value + zoneOffset(value)).toISOString().slice(0, 10), "brief"),
    text: formatTime,
  },
  number: {
    space: 56,
    label: (value, step) => formatNumber(value, digits(step)),
    text: (value) => formatNumber(value, 2),
  },
};

/**
 * How a place on the axis is told.
 * @param {"day" | "time" | "number"} kind
 * @param {number} value
 * @returns {string}
 */
export function xText(kind, value) {
  return KINDS[kind].text(value);
}

/**
 * How far values on the horizontal axis are from each other, at the least.
 * @param {import("./charts.js").Drawing} drawing
 * @returns {number}
 */
export function leastStep({ x, xAxis: { kind } }) {
  const steps = x.slice(1).map((value, place) => value - x[place]);
  return steps.length ? Math.min(...steps) : kind === "day" ? DAY : 1;
}

/**
 * From where to where an axis goes that nobody has zoomed into.
 * @param {import("./charts.js").Drawing} drawing
 * @returns {[number, number]}
 */
export function xRange(drawing) {
  const { x, series, xAxis: axis } = drawing;
  if (axis.range || x.length === 0) {
    return axis.range ?? [0, 1];
  }
  // A day and a bar have as much room on both sides.
  const isWide = axis.kind === "day" || x.length === 1 || series.some(({ look }) => look === "bars");
  const margin = isWide ? leastStep(drawing) / 2 : 0;
  return [x[0] - margin, x.at(-1) + margin];
}

/**
 * @param {{isLog?: boolean, range?: [number, number]}} axis
 * @param {number | null} least of the values that are shown; null: there is none
 * @param {number | null} most
 * @returns {[number, number]}
 */
export function yRange({ isLog, range }, least, most) {
  if (range) {
    return range;
  }
  if (isLog) {
    const power = (value, round) => 10 ** round(Math.log10(Math.max(value ?? 1, Number.MIN_VALUE)));
    const bottom = power(least, Math.floor);
    return [bottom, Math.max(power(most, Math.ceil), bottom * 10)];
  }
  const [bottom, top] = [Math.min(least ?? 0, 0) * HEADROOM, Math.max(most ?? 0, 0) * HEADROOM];
  return bottom === top ? [0, 1] : [bottom, top];
}

/**
 * The library's options for the horizontal axis.
 * @param {() => import("./charts.js").Drawing} now what is drawn
 * @param {(name: string) => string} colour
 * @returns {object}
 */
export function xAxis(now, colour) {
  const { space, steps, marks, label } = KINDS[now().xAxis.kind];
  return {
    ...common(colour),
    size: X_SIZE_PX,
    space,
    // As the library has it where there is nothing of our own.
    ...(steps && { incrs: steps }),
    ...(marks && { splits: (_plot, _axis, least, most, step) => marks(least, most, step) }),
    values: (_plot, values, _axis, _space, step) => values.map((value) => label(value, step)),
  };
}

/**
 * The library's options for the vertical axis, which is as wide as its labels.
 * @param {() => import("./charts.js").Drawing} now what is drawn
 * @param {(name: string) => string} colour
 * @returns {object}
 */
export function yAxis(now, colour) {
  const { isLog, label } = now().yAxis;
  const values = (_plot, found, _axis, _space, step) => found.map((value) => formatNumber(value, digits(isLog ? value : step)));
  return {
    ...common(colour),
    label,
    labelSize: LABEL_PX,
    space: Y_SPACE_PX,
    size: (plot, labels) => widest(plot, labels ?? []) + TICK_PX + GAP_PX,
    ...(isLog && { splits: (_plot, _axis, least, most) => powers(least, most), filter: (_plot, found) => found }),
    values,
  };
}

function common(colour) {
  const { fontFamily } = getComputedStyle(document.body);
  const font = `${FONT_PX}px ${fontFamily}`;
  const line = { stroke: () => colour("chart-grid"), width: 1 };
  return {
    stroke: () => colour("text"),
    font,
    labelFont: font,
    gap: GAP_PX,
    grid: line,
    ticks: { ...line, size: TICK_PX },
    border: { ...line, show: true },
  };
}

function widest(plot, labels) {
  const context = plot.ctx;
  context.save();
  const [font] = plot.axes[1].font;
  context.font = font;
  const widths = labels.map((label) => context.measureText(label).width / devicePixelRatio);
  context.restore();
  return Math.max(LEAST_Y_SIZE_PX, ...widths);
}

/** How many digits behind the point tell values apart that are so far from each other. */
function digits(step) {
  return Math.max(0, -Math.floor(Math.log10(step || 1)));
}

function days(least, most, step) {
  const first = Math.ceil((least - FIRST_MONDAY) / step) * step + FIRST_MONDAY;
  return sequence(first, most, step);
}

function months(least, most, step) {
  const count = Math.round(step / MONTH);
  const numberOf = (day) => new Date(day).getUTCFullYear() * 12 + new Date(day).getUTCMonth();
  return sequence(Math.ceil(numberOf(least) / count) * count, numberOf(most), count)
    .map((month) => Date.UTC(Math.floor(month / 12), month % 12))
    .filter((day) => day >= least);
}

/** Full hours and minutes of the clocks in the viewer's zone, also where those are put forward or back. */
function times(least, most, step) {
  const offset = zoneOffset(least);
  const first = Math.ceil((least + offset) / step) * step;
  return sequence(first, most + offset, step)
    .map((clock) => clock - zoneOffset(clock - offset))
    .filter((instant) => instant >= least && instant <= most);
}

/** Powers of ten; where there are too few of them, also what lies between. */
function powers(least, most) {
  const first = Math.floor(Math.log10(least));
  const all = sequence(first, Math.ceil(Math.log10(most)), 1).map((power) => 10 ** power);
  for (const factors of [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const found = all
      .flatMap((power) => factors.map((factor) => factor * power))
      .filter((value) => value >= least && value <= most);
    if (found.length > 1) {
      return found;
    }
  }
  const step = 10 ** Math.floor(Math.log10((most - least) / 2));
  return sequence(Math.ceil(least / step) * step, most, step);
}

function sequence(first, last, step) {
  const count = Math.floor((last - first) / step) + 1;
  return Array.from({ length: Math.max(0, count) }, (_, place) => first + place * step);
}

/**
 * A metric by day, with the same weekday of the week before beside it and the missing days marked.
 * @module history-chart
 */

import { Chart } from "./charts.js";
import { t } from "./i18n.js";
import { formatValue } from "./metrics.js";

const HALF_DAY_MS = 43_200_000;

/** The chart of the history page. */
export class HistoryChart {
  /** @param {HTMLElement} element */
  constructor(element) {
    this._shown = null;
    this._chart = new Chart(element, () => this._shown && drawing(this._shown));
  }

  /**
   * @param {object[]} days as the API tells them
   * @param {import("./metrics.js").Metric} metric
   * @param {boolean} asBars else as lines
   */
  show(days, metric, asBars) {
    this._shown = { days, metric, asBars };
    this._chart.refresh();
  }
}

function drawing({ days, metric, asBars }) {
  const x = days.map(({ stat_date }) => Date.parse(`${stat_date}T00:00:00Z`));
  const isMissing = days.map(({ state }) => state === "missing");
  const name = t(`metric.${metric.name}`);
  const common = { days, metric, asBars };
  const figures = series({ ...common, part: "figures", name, colour: "chart-1" });
  return {
    x,
    series: [
      series({ ...common, part: "week_before", name: t("history.weekBefore"), colour: "chart-2", isDotted: true }),
      figures,
      marks(isMissing),
    ],
    xAxis: { kind: "day" },
    yAxis: { label: metric.isTime ? t("history.secondsAxis") : name },
    spans: x
      .filter((_, place) => isMissing[place])
      .map((day) => ({ from: day - HALF_DAY_MS, to: day + HALF_DAY_MS, colour: "chart-missing" })),
    points: figures.y.filter((value) => value !== null).length,
    hasLegend: true,
    // Another range or metric has other axes.
    view: `${metric.name} ${days[0].stat_date} ${days.at(-1).stat_date}`,
  };
}

/** A gap is a day that is not known; a line over it would make one up. */
function series({ days, metric, asBars, part, name, colour, isDotted = false }) {
  const values = days.map((day) => day[part]?.[metric.name] ?? null);
  const look = asBars ? { look: "bars" } : { look: "line", isDotted, hasDots: true };
  return {
    ...look,
    name,
    colour,
    y: metric.isTime ? values.map((value) => value && value / 1000) : values,
    format: (_value, place) => formatValue(metric, values[place]),
  };
}

/** Missing days, besides their colour, as crosses at the ground, which also have a name in the legend. */
function marks(isMissing) {
  return {
    look: "crosses",
    name: t("state.missing"),
    colour: "bad",
    y: isMissing.map((is) => (is ? 0 : null)),
    format: () => t("history.notComputed"),
  };
}

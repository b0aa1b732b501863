/**
 * A metric by day, with the same weekday of the week before beside it and the missing days marked.
 * @module history-chart
 */

import { axis, Chart, colour, plainText } from "./charts.js";
import { t } from "./i18n.js";
import { formatValue } from "./metrics.js";

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
  const name = t(`metric.${metric.name}`);
  const missing = days.filter(({ state }) => state === "missing");
  const values = (part) => days.map((day) => day[part]?.[metric.name] ?? null);
  const common = { days, metric, asBars };
  const traces = [
    trace({ ...common, values: values("week_before"), name: t("history.weekBefore"), color: "chart-2", dash: "dot" }),
    trace({ ...common, values: values("figures"), name, color: "chart-1", dash: "solid" }),
    marks(missing),
  ];
  const { first, last } = { first: days[0].stat_date, last: days.at(-1).stat_date };
  return {
    traces,
    layout: {
      barmode: "group",
      hovermode: "x unified",
      // Another range or metric has other axes.
      uirevision: `${metric.name} ${first} ${last}`,
      shapes: missing.map(({ stat_date }) => band(stat_date)),
      xaxis: axis({
        type: "date",
        tickformat: t(days.length > 90 ? "history.tickMonth" : "history.tickDay"),
        hoverformat: "%Y-%m-%d (%a)",
      }),
      yaxis: axis({
        rangemode: "tozero",
        tickformat: ",~f",
        title: { text: metric.isTime ? t("history.secondsAxis") : name, standoff: 12 },
      }),
    },
    points: values("figures").filter((value) => value !== null).length,
  };
}

function trace({ days, metric, asBars, values, name, color, dash }) {
  const look = asBars
    ? { type: "bar", marker: { color: colour(color) } }
    : { type: "scatter", mode: "lines+markers", line: { color: colour(color), dash, width: 2 }, marker: { size: 5 } };
  return {
    ...look,
    name: plainText(name),
    x: days.map(({ stat_date }) => stat_date),
    y: metric.isTime ? values.map((value) => value && value / 1000) : values,
    // A gap is a day that is not known; a line over it would make one up.
    connectgaps: false,
    customdata: values.map((value) => plainText(formatValue(metric, value))),
    hovertemplate: "%{customdata}",
  };
}

/** Missing days, besides their colour, as crosses at the ground, which also have a name in the legend. */
function marks(missing) {
  return {
    type: "scatter",
    mode: "markers",
    name: plainText(t("state.missing")),
    x: missing.map(({ stat_date }) => stat_date),
    y: missing.map(() => 0),
    marker: { symbol: "x", size: 9, color: colour("bad") },
    cliponaxis: false,
    showlegend: missing.length > 0,
    hovertemplate: plainText(t("history.notComputed")),
  };
}

function band(day) {
  const noon = Date.parse(`${day}T00:00:00Z`);
  const text = (shift) => new Date(noon + shift).toISOString().slice(0, 19);
  const halfDay = 43_200_000;
  const common = { type: "rect", yref: "paper", y0: 0, y1: 1, layer: "below", line: { width: 0 } };
  return { ...common, x0: text(-halfDay), x1: text(halfDay), fillcolor: colour("chart-missing") };
}

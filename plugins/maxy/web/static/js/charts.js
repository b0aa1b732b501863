/**
 * What all charts share: the library, the colours of the theme, and when they are drawn.
 * @module charts
 */

import { el, fill } from "./dom.js";
import { language, t } from "./i18n.js";
import { onThemeChange } from "./theme.js";

const LIBRARY = "static/vendor/plotly.min.js";
const KOREAN = {
  moduleType: "locale",
  name: "ko",
  dictionary: {
    Autoscale: "전체 보기",
    "Double-click to zoom back out": "두 번 누르면 원래 크기로 돌아갑니다",
    Pan: "이동",
    Zoom: "확대",
    "Zoom in": "확대",
    "Zoom out": "축소",
  },
  format: {
    days: ["일요일", "월요일", "화요일", "수요일", "목요일", "금요일", "토요일"],
    shortDays: ["일", "월", "화", "수", "목", "금", "토"],
    months: Array.from({ length: 12 }, (_, month) => `${month + 1}월`),
    shortMonths: Array.from({ length: 12 }, (_, month) => `${month + 1}월`),
    date: "%Y-%m-%d",
    decimal: ".",
    thousands: ",",
    year: "%Y년",
    month: "%Y년 %-m월",
    dayMonth: "%-m월 %-d일",
    dayMonthYear: "%Y년 %-m월 %-d일",
  },
};
// Where it can be scrolled with a finger, a drag has to scroll the page.
const isTouch = matchMedia("(pointer: coarse)").matches;

let loading = null;

function library() {
  loading ??= new Promise((resolve, reject) => {
    const failed = () => reject(new Error(t("chart.noLibrary")));
    document.head.append(el("script", { src: LIBRARY, onload: resolve, onerror: failed }));
  }).then(() => window.Plotly.register(KOREAN));
  return loading;
}

/**
 * A text for Plotly, which takes tags and entities in texts for markup.
 * @param {string} text
 * @returns {string}
 */
export function plainText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * A colour of the present theme.
 * @param {string} name of a custom property of app.css, without the dashes
 * @returns {string}
 */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * @typedef {object} Drawing
 * @property {object[]} traces Plotly's
 * @property {object} layout Plotly's, besides what all charts have
 * @property {number} points how many are shown
 */

/**
 * A chart that is drawn anew when it is told so, at most once per frame, and not while nobody can see it.
 */
export class Chart {
  /**
   * @param {HTMLElement} element has the class chart, or is in such a one, which gets data-points
   * @param {() => Drawing | null} build is called when it is drawn; null: there is nothing to draw yet
   * @param {() => void} [onAxes] is called when the axes have moved: after each drawing, zoom or change of the size
   */
  constructor(element, build, onAxes) {
    this._element = element;
    this._build = build;
    this._onAxes = onAxes;
    this._frame = 0;
    this._isDue = false;
    this._isReady = false;
    this._isListening = false;
    this._isHeld = false;
    /** The ranges that were zoomed into, by axis. */
    this._zoom = {};
    library().then(
      () => {
        this._isReady = true;
        this.refresh();
      },
      (error) => {
        element.classList.add("chart-failed");
        fill(element, el("p", { class: "error-text", role: "status" }, error.message));
      },
    );
    onThemeChange(() => this.refresh());
    document.addEventListener("visibilitychange", () => this._isDue && this.refresh());
    // Drawn anew, it would forget the rectangle that is just being dragged.
    element.addEventListener("pointerdown", () => (this._isHeld = true), { capture: true });
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, () => this._release(), { capture: true });
    }
  }

  _release() {
    if (this._isHeld) {
      this._isHeld = false;
      // Plotly hears of it later.
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
    const layout = { ...commonLayout(), ...drawing.layout };
    this._keepZoom(layout);
    window.Plotly.react(this._element, drawing.traces, layout, config());
    this._listen();
    this._element.closest(".chart").dataset.points = String(drawing.points);
  }

  _listen() {
    if (this._isListening) {
      return;
    }
    this._isListening = true;
    this._element.on("plotly_relayout", (changes) => this._zoomed(changes));
    if (this._onAxes) {
      this._element.on("plotly_afterplot", this._onAxes);
      this._element.on("plotly_relayouting", this._onAxes);
      // The first time, it is plotted already.
      this._onAxes();
    }
  }

  /** Plotly keeps what was zoomed into only as long as the axes stand still; these move on with the time. */
  _keepZoom(layout) {
    if (layout.uirevision !== this._revision) {
      this._revision = layout.uirevision;
      this._zoom = {};
    }
    for (const [name, range] of Object.entries(this._zoom)) {
      layout[name] = { ...layout[name], range: [...range], autorange: false };
    }
  }

  _zoomed(changes) {
    for (const name of ["xaxis", "yaxis"]) {
      if (changes[`${name}.autorange`]) {
        delete this._zoom[name];
        this.refresh();
      } else if (`${name}.range[0]` in changes || `${name}.range` in changes) {
        this._zoom[name] = this._element.layout[name].range;
      }
    }
  }
}

function config() {
  return {
    responsive: true,
    displaylogo: false,
    locale: language,
    // No picture: the points on their own layer would be missing.
    modeBarButtons: [
      ["zoom2d", "pan2d"],
      ["zoomIn2d", "zoomOut2d", "autoScale2d"],
    ],
    doubleClick: "autosize",
    displayModeBar: isTouch ? false : "hover",
  };
}

function commonLayout() {
  return {
    autosize: true,
    uirevision: "kept",
    margin: { l: 56, r: 12, t: 28, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    dragmode: isTouch ? false : "zoom",
    hoverlabel: {
      align: "left",
      bgcolor: colour("card"),
      bordercolor: colour("control-line"),
      font: { color: colour("text") },
      namelength: -1,
    },
    modebar: { bgcolor: colour("card"), color: colour("muted"), activecolor: colour("accent") },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
  };
}

/**
 * An axis in the theme's colours.
 * @param {object} properties Plotly's
 * @returns {object}
 */
export function axis(properties) {
  const grid = colour("chart-grid");
  return { gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, ...properties };
}

/**
 * An axis of times of the day.
 * @param {object} properties Plotly's
 * @returns {object}
 */
export function timeAxis(properties) {
  const tickformatstops = [
    { dtickrange: [null, 59_999], value: "%H:%M:%S" },
    { dtickrange: [60_000, null], value: "%H:%M" },
  ];
  return axis({ type: "date", tickformatstops, ...properties });
}

/**
 * The points of a scatter that are not too old.
 * @module points
 */

/** For how long a point is shown. */
export const WINDOW_MS = 300_000;
/** Slow is above this. */
export const SLOW_MS = 1500;

/**
 * @typedef {object} Point
 * @property {number} at epoch milliseconds
 * @property {number} value milliseconds
 * @property {string | null} os
 * @property {string | null} page
 * @property {string | null} model
 * @property {string | null} version
 * @property {string | null} connection
 */

/** The points of one loop, kept up to date by the stream's events. */
export class PointWindow {
  constructor() {
    /** @type {Map<number, Point>} */
    this._points = new Map();
  }

  /** Forget all of them. */
  clear() {
    this._points.clear();
  }

  /**
   * Take in what an event tells.
   * @param {{reset: boolean, added: Object<string, any[]>, removed: number[]}} event columns, and ids
   */
  apply({ reset, added, removed }) {
    if (reset) {
      this._points.clear();
    }
    for (const id of removed) {
      this._points.delete(id);
    }
    added.id.forEach((id, row) =>
      this._points.set(id, {
        at: added.reg_dt_ms[row],
        value: added.value_ms[row],
        os: added.os_type[row],
        page: added.page[row],
        model: added.device_model[row],
        version: added.app_ver[row],
        connection: added.com_type[row],
      }),
    );
  }

  /**
   * Leave out what is too old by now.
   * @param {number} now epoch milliseconds
   */
  prune(now) {
    for (const [id, point] of this._points) {
      if (point.at < now - WINDOW_MS) {
        this._points.delete(id);
      }
    }
  }

  /**
   * @param {string | null} os only this system's; null: all
   * @returns {Point[]} by their time
   */
  list(os) {
    const shown = [];
    for (const point of this._points.values()) {
      if (os === null || point.os === os) {
        shown.push(point);
      }
    }
    return shown.sort((one, other) => one.at - other.at);
  }
}

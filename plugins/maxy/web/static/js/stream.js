/**
 * The server's events: one connection that comes back by itself.
 * @module stream
 */

import { apiUrl, whyRefused } from "./api.js";
import { noteServerTime, serverNow } from "./time.js";

// The server says something every 5 s. A connection can die without a word: a sleeping laptop, a proxy.
const SILENCE_MS = 20_000;
const RETRY_MS = [2_000, 5_000, 10_000, 30_000];
// A browser has six connections to a server over HTTP/1.1, for all of its tabs. Hidden ones give theirs back.
const HIDDEN_MS = 60_000;

/**
 * @typedef {object} Connection
 * @property {boolean} isOpen
 * @property {number} since epoch milliseconds of the server: of the last event, if the connection is broken
 * @property {import("./api.js").ApiError | null} error why it is broken, if that is known
 */

/** One live connection. */
export class LiveStream {
  /**
   * @param {Object<string, (data: any) => void>} handlers by the event's name; others are not listened to
   * @param {(connection: Connection) => void} onConnection is told when the connection breaks and when it is back
   */
  constructor(handlers, onConnection) {
    this._handlers = handlers;
    this._onConnection = onConnection;
    this._choice = null;
    this._source = null;
    this._failures = 0;
    this._lastEvent = 0;
    setInterval(() => this._watch(), 2_000);
    document.addEventListener("visibilitychange", () => this._visibilityChanged());
  }

  /**
   * Listen to the events of a choice.
   * @param {Object<string, string | number>} choice the parameters of the stream
   */
  open(choice) {
    this._choice = choice;
    this._failures = 0;
    this._connect();
  }

  _connect() {
    this._disconnect();
    this._heardAt = performance.now();
    const source = new EventSource(apiUrl("stream", this._choice));
    this._source = source;
    for (const name of Object.keys(this._handlers)) {
      source.addEventListener(name, (event) => this._heard(name, event));
    }
    source.addEventListener("error", () => this._failed(source));
  }

  _disconnect() {
    this._source?.close();
    this._source = null;
    clearTimeout(this._retry);
  }

  _heard(name, event) {
    const data = JSON.parse(event.data);
    if (data.at) {
      noteServerTime(data.at);
    }
    this._heardAt = performance.now();
    this._lastEvent = serverNow();
    this._failures = 0;
    this._onConnection({ isOpen: true, since: this._lastEvent, error: null });
    this._handlers[name](data);
  }

  async _failed(source) {
    this._onConnection({ isOpen: false, since: this._lastEvent, error: null });
    if (source.readyState !== EventSource.CLOSED) {
      return; // The browser is at it.
    }
    this._retryLater();
    const error = await whyRefused(source.url);
    if (error && this._source === source) {
      this._onConnection({ isOpen: false, since: this._lastEvent, error });
    }
  }

  _retryLater() {
    clearTimeout(this._retry);
    const wait = RETRY_MS[Math.min(this._failures, RETRY_MS.length - 1)];
    this._failures += 1;
    this._retry = setTimeout(() => this._connect(), wait);
  }

  _watch() {
    if (this._source?.readyState !== EventSource.CLOSED && this._source && this._isSilent()) {
      this._onConnection({ isOpen: false, since: this._lastEvent, error: null });
      this._connect();
    }
  }

  _isSilent() {
    return performance.now() - this._heardAt > SILENCE_MS;
  }

  _visibilityChanged() {
    clearTimeout(this._hidden);
    if (document.hidden) {
      this._hidden = setTimeout(() => this._disconnect(), HIDDEN_MS);
    } else if (!this._source && this._choice) {
      this._connect();
    }
  }
}

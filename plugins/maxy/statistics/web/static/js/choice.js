/**
 * The choice of package, server type and system: three lists that depend on each other. It is kept in the page's
 * address, so that a reload and a link keep it, and remembered for the next visit.
 * @module choice
 */

import { keepInAddress, onReturn } from "./address.js";
import { byId, el, fill } from "./dom.js";
import { showLinks } from "./page.js";
import { recall, remember } from "./storage.js";

const MEMORY = "maxy.choice";
const NAMES = ["package_nm", "server_type", "os_type"];

/**
 * @typedef {object} Choice
 * @property {string} package_nm
 * @property {number} server_type
 * @property {string} os_type
 */

/** The three lists of a page: elements #package_nm, #server_type and #os_type. */
export class Chooser {
  /** @param {(choice: Choice) => void} onChange is told of every new choice */
  constructor(onChange) {
    this._onChange = onChange;
    this._keys = [];
    /** @type {Choice | null} null until one is known */
    this.choice = given() ?? remembered();
    this._lists = NAMES.map((name) => byId(name));
    this._lists.forEach((list, place) => list.addEventListener("change", () => this._chosen(place)));
    this._show();
    if (this.choice) {
      this._keep();
    }
    onReturn(() => this._returned());
  }

  /**
   * Offer these keys. The present choice stays, also if it is not among them: it may be missing for a while only.
   * @param {{keys: Choice[], busiest: Choice | null}} answer of the API; the busiest is shown until one is chosen
   */
  offer({ keys, busiest }) {
    this._keys = keys;
    const before = this.choice;
    this.choice ??= busiest ?? keys[0] ?? null;
    this._show();
    if (!before && this.choice) {
      this._keep();
      this._onChange(this.choice);
    }
  }

  /** Somebody has gone back to another choice, or forth. */
  _returned() {
    const choice = given();
    if (choice && NAMES.some((name) => choice[name] !== this.choice?.[name])) {
      this.choice = choice;
      this._show();
      this._keep();
      this._onChange(choice);
    }
  }

  _chosen(place) {
    const wanted = this._lists.map((list) => list.value);
    const fits = (key, count) => NAMES.slice(0, count).every((name, at) => String(key[name]) === wanted[at]);
    // What is further to the right gives way to what was chosen.
    const best =
      this._keys.find((key) => fits(key, 3)) ??
      this._keys.find((key) => fits(key, place + 1) && String(key.os_type) === wanted[2]) ??
      this._keys.find((key) => fits(key, place + 1));
    this.choice = best ?? { package_nm: wanted[0], server_type: Number(wanted[1]), os_type: wanted[2] };
    this._show();
    this._keep({ isChoice: true });
    this._onChange(this.choice);
  }

  _keep(options) {
    remember(MEMORY, JSON.stringify(this.choice));
    keepInAddress(Object.fromEntries(NAMES.map((name) => [name, String(this.choice[name])])), options);
    showLinks();
  }

  _show() {
    let keys = this.choice ? [...this._keys, this.choice] : this._keys;
    this._lists.forEach((list, place) => {
      const name = NAMES[place];
      const values = [...new Set(keys.map((key) => key[name]))].sort(inOrder);
      fill(
        list,
        values.map((value) => el("option", { value, selected: value === this.choice?.[name] }, value)),
      );
      list.disabled = values.length === 0;
      keys = keys.filter((key) => key[name] === this.choice?.[name]);
    });
  }
}

function inOrder(one, other) {
  return typeof one === "number" ? one - other : one < other ? -1 : Number(one > other);
}

function given() {
  const query = new URLSearchParams(location.search);
  return NAMES.every((name) => query.has(name)) ? valid(Object.fromEntries(query)) : null;
}

function remembered() {
  try {
    return valid(JSON.parse(recall(MEMORY) ?? "null"));
  } catch {
    return null;
  }
}

function valid(choice) {
  const { package_nm, os_type } = choice ?? {};
  const server_type = /^\d+$/.test(choice?.server_type) ? Number(choice.server_type) : NaN;
  const isWhole = typeof package_nm === "string" && typeof os_type === "string" && Number.isSafeInteger(server_type);
  return isWhole ? { package_nm, server_type, os_type } : null;
}

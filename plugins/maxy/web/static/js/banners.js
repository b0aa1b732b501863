/**
 * What is wrong, said plainly at the top of the page. The container has role="status"; a banner that says the same as
 * before is left alone, so that it is read out once.
 * @module banners
 */

import { byId, el, fill } from "./dom.js";

/**
 * @typedef {object} Banner
 * @property {string} text
 * @property {"good" | "info" | "warn" | "bad"} tone
 * @property {string[]} [items] a list below the text
 */

/**
 * Show a banner, change it, or take it away.
 * @param {string} state what it is about: its place, and its data-state
 * @param {Banner | null} banner null: there is nothing to say
 * @param {HTMLElement} [container]
 */
export function setBanner(state, banner, container = byId("banners")) {
  const present = [...container.children].find((element) => element.dataset.state === state);
  if (!banner) {
    present?.remove();
    return;
  }
  const { text, tone, items = [] } = banner;
  const said = JSON.stringify(banner);
  if (present?.said === said) {
    return;
  }
  const element = present ?? el("div", { class: "banner", "data-state": state });
  element.said = said;
  element.dataset.tone = tone;
  fill(
    element,
    el("p", {}, text),
    items.length > 0 &&
      el(
        "ul",
        {},
        items.map((item) => el("li", {}, item)),
      ),
  );
  if (!present) {
    container.append(element);
  }
}

/**
 * Elements without HTML texts: what comes from outside is only ever a text node or an attribute's value.
 * @module dom
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Make an element.
 * @param {string} tag
 * @param {Object<string, string | number | boolean | null | undefined | EventListener>} [properties] attributes by
 *   their names; `on...` takes a listener; true is an attribute without a value; null, undefined, false leave it out
 * @param {...(Child | Child[])} children null, undefined and false are left out
 * @returns {HTMLElement}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...kept(children));
  return element;
}

/**
 * Replace what an element holds.
 * @param {Element} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...kept(children));
}

/**
 * Find the element with this id; pages and scripts belong together, so it is there.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) {
    throw new Error(`the page has no element #${id}`);
  }
  return element;
}

/**
 * Set a text, but leave the node alone if it says that already: a screen reader would read it again.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/**
 * Show these rows, but leave each cell alone that has not changed: whoever is on a link in it stays there.
 * @param {HTMLTableSectionElement} body
 * @param {HTMLElement[]} rows each a tr
 */
export function updateRows(body, rows) {
  rows.forEach((row, place) => {
    const former = body.rows[place];
    if (!former) {
      body.append(row);
    } else if (former.cells.length !== row.cells.length) {
      former.replaceWith(row);
    } else {
      updateRow(former, row);
    }
  });
  while (body.rows.length > rows.length) {
    body.rows[rows.length].remove();
  }
}

function updateRow(former, row) {
  for (const { name, value } of row.attributes) {
    former.setAttribute(name, value);
  }
  [...row.cells].forEach((cell, at) => {
    keepOpen(former.cells[at], cell);
    if (!former.cells[at].isEqualNode(cell)) {
      former.cells[at].replaceWith(cell);
    }
  });
}

/** What somebody has unfolded stays so. */
function keepOpen(former, cell) {
  const folds = cell.querySelectorAll("details");
  [...former.querySelectorAll("details")].forEach((fold, at) => folds[at]?.toggleAttribute("open", fold.open));
}

function kept(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

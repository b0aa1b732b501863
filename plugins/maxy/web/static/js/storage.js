/**
 * What the browser remembers. It may be forbidden to (a private window, a policy): then nothing is remembered.
 * @module storage
 */

/**
 * @param {string} name
 * @returns {string | null}
 */
export function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // The page works without.
  }
}

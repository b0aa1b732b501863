/**
 * Days that follow one another, as one.
 * @module day-runs
 */

import { formatDay } from "./i18n.js";
import { addDays } from "./time.js";

/**
 * @typedef {object} DayRun
 * @property {string} first YYYY-MM-DD
 * @property {string} last YYYY-MM-DD, the same for a single day
 */

/**
 * @param {string[]} days YYYY-MM-DD, oldest first
 * @returns {DayRun[]}
 */
export function dayRuns(days) {
  const runs = [];
  for (const day of days) {
    const former = runs.at(-1);
    if (former && addDays(former.last, 1) === day) {
      former.last = day;
    } else {
      runs.push({ first: day, last: day });
    }
  }
  return runs;
}

/**
 * The days of a run, oldest first.
 * @param {DayRun} run
 * @returns {string[]}
 */
export function daysOf({ first, last }) {
  const days = [first];
  while (days.at(-1) < last) {
    days.push(addDays(days.at(-1), 1));
  }
  return days;
}

/**
 * The address of the form that fills in these days.
 * @param {DayRun} run
 * @returns {string} the part behind the #
 */
export function backfillHash({ first, last }) {
  return first === last ? `#backfill=${first}` : `#backfill=${first}..${last}`;
}

/**
 * The other way round.
 * @param {string} hash
 * @returns {DayRun | null}
 */
export function fromBackfillHash(hash) {
  const found = /^#backfill=(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?$/.exec(hash);
  return found && { first: found[1], last: found[2] ?? found[1] };
}

/**
 * @param {DayRun} run
 * @returns {string}
 */
export function formatRun({ first, last }) {
  return first === last ? formatDay(first) : `${formatDay(first)} – ${formatDay(last)}`;
}

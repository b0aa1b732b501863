/**
 * Instants, days and zones. Airflow's user can choose a zone; else it is the browser's. The server's clock counts,
 * since the viewer's may be wrong by minutes, which is as long as the scatters look back.
 * @module time
 */

import { recall } from "./storage.js";

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
let serverAheadMs = 0;

/** @type {string} IANA name of the zone in which instants are shown */
export const viewerZone = chosenZone() ?? Intl.DateTimeFormat().resolvedOptions().timeZone;

function chosenZone() {
  try {
    // Airflow keeps it as JSON.
    const zone = JSON.parse(recall("timezone") ?? "null");
    return zone && Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
}

/**
 * Learn what time it is on the server.
 * @param {string} at an instant that the server has just told
 */
export function noteServerTime(at) {
  const instant = Date.parse(at);
  if (!Number.isNaN(instant)) {
    serverAheadMs = instant - Date.now();
  }
}

/**
 * The server's present instant.
 * @returns {number} epoch milliseconds
 */
export function serverNow() {
  return Date.now() + serverAheadMs;
}

const offsets = new Map();

/**
 * By how much a zone is ahead of UTC.
 * @param {number} instant epoch milliseconds
 * @param {string} [zone]
 * @returns {number} milliseconds
 */
export function zoneOffset(instant, zone = viewerZone) {
  // Zones change their offsets at full quarters of an hour, and asking for one is slow.
  const hour = Math.floor(instant / (HOUR_MS / 4));
  const key = `${zone} ${hour}`;
  let offset = offsets.get(key);
  if (offset === undefined) {
    const quarter = hour * (HOUR_MS / 4);
    offset = wallClock(quarter, zone) - quarter;
    if (offsets.size > 5000) {
      offsets.clear();
    }
    offsets.set(key, offset);
  }
  return offset;
}

function wallClock(instant, zone) {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(instant);
  const part = Object.fromEntries(parts.map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
}

/**
 * The day that an instant falls on in a zone.
 * @param {number} instant epoch milliseconds
 * @param {string} zone
 * @returns {string} YYYY-MM-DD
 */
export function dayIn(instant, zone) {
  return new Date(instant + zoneOffset(instant, zone)).toISOString().slice(0, 10);
}

/**
 * A day some days later; days are counted in the calendar, whatever the zone.
 * @param {string} day YYYY-MM-DD
 * @param {number} count may be negative
 * @returns {string} YYYY-MM-DD
 */
export function addDays(day, count) {
  return new Date(Date.parse(`${day}T00:00:00Z`) + count * DAY_MS).toISOString().slice(0, 10);
}

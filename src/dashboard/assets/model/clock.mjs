// @ts-check
// Formats times and dates in the reader's time zone or in UTC. Must never read a clock: every moment is an argument.

/** @typedef {"local" | "utc"} Zone */

const DAY_MS = 86_400_000;

/** @param {number} value @param {number} [digits] */
const padded = (value, digits = 2) => String(value).padStart(digits, "0");

/** @param {number} at milliseconds since 1970 @param {Zone} zone @returns {number[]} year, month, day, hours, minutes, seconds, milliseconds */
function parts(at, zone) {
  const date = new Date(Math.floor(at));
  return zone === "utc"
    ? [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds(), date.getUTCMilliseconds()]
    : [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds(), date.getMilliseconds()];
}

/** @param {number} at milliseconds since 1970 @param {Zone} zone @returns {string} `12:33:15.204` */
export function clockText(at, zone) {
  if (!Number.isFinite(at)) return "–";
  const [, , , hours, minutes, seconds, milliseconds] = parts(at, zone);
  return `${padded(hours)}:${padded(minutes)}:${padded(seconds)}.${padded(milliseconds, 3)}`;
}

/**
 * @param {number} at milliseconds since 1970 @param {Zone} zone
 * @returns {string} `12:33`, or with `seconds` `12:33:15`
 */
export function shortClock(at, zone, seconds = false) {
  return clockText(at, zone).slice(0, seconds ? 8 : 5);
}

/**
 * Formats a time of day, with the date before it if that is not today.
 * @param {number} at milliseconds since 1970 @param {number} now @param {Zone} zone
 * @returns {string} `12:33:15.204`, or `11-29 12:33:15`
 */
export function startText(at, now, zone) {
  if (!Number.isFinite(at)) return "–";
  const [, month, day] = parts(at, zone);
  const [, monthNow, dayNow] = parts(now, zone);
  const isToday = month === monthNow && day === dayNow && Math.abs(now - at) < DAY_MS * 2;
  return isToday ? clockText(at, zone) : `${padded(month)}-${padded(day)} ${shortClock(at, zone, true)}`;
}

/** @param {number} at milliseconds since 1970 @param {Zone} zone @returns {string} `2026-11-30 12:33:15.204 UTC`, or `UTC+01:00` instead of `UTC` */
export function fullClock(at, zone) {
  if (!Number.isFinite(at)) return "–";
  const [year, month, day] = parts(at, zone);
  const offset = zone === "utc" ? 0 : -new Date(at).getTimezoneOffset();
  const sign = offset < 0 ? "−" : "+";
  const mark = zone === "utc" ? "UTC" : `UTC${sign}${padded(Math.floor(Math.abs(offset) / 60))}:${padded(Math.abs(offset) % 60)}`;
  return `${year}-${padded(month)}-${padded(day)} ${clockText(at, zone)} ${mark}`;
}

// @ts-check
// Parses and formats timestamps, durations and ages.
// Must never read a clock: every "now" is an argument.

let cachedPrefix = "";
let cachedSeconds = NaN;

/**
 * Returns the whole seconds since 1970 of an RFC 3339 UTC timestamp, or NaN. Caches the last result, because
 * neighbouring events usually share their second.
 * @param {unknown} text
 * @returns {number}
 */
export function wholeSeconds(text) {
  if (typeof text !== "string" || text.length < 20) return NaN;
  // Compared in place: a substring for every event would cost more than the comparison.
  if (cachedPrefix === "" || !text.startsWith(cachedPrefix)) {
    const prefix = text.slice(0, 19);
    const seconds = Date.parse(prefix + "Z") / 1000;
    if (Number.isNaN(seconds)) return NaN;
    cachedSeconds = seconds;
    cachedPrefix = prefix;
  }
  return cachedSeconds;
}

/**
 * Returns the milliseconds from `originSeconds` to an RFC 3339 UTC timestamp, or NaN. Milliseconds since 1970 in a
 * double would lose everything below 250 ns; counted from an origin near the trace, they keep nanoseconds.
 * @param {unknown} text
 * @param {number} originSeconds
 * @returns {number}
 */
export function parseTimestamp(text, originSeconds) {
  const seconds = wholeSeconds(text);
  if (Number.isNaN(seconds)) return NaN;
  return (seconds - originSeconds) * 1000 + nanosecondsOf(/** @type {string} */ (text)) / 1e6;
}

const DOT = 46;
const ZERO = 48;

/**
 * Parses the digits after the second. Uses no regular expression, because it runs for every event.
 * @param {string} text @returns {number}
 */
function nanosecondsOf(text) {
  if (text.charCodeAt(19) !== DOT) return 0;
  let nanoseconds = 0;
  let digits = 0;
  for (; digits < 9; digits += 1) {
    const digit = text.charCodeAt(20 + digits) - ZERO;
    if (!(digit >= 0 && digit <= 9)) break;
    nanoseconds = nanoseconds * 10 + digit;
  }
  return nanoseconds * 10 ** (9 - digits);
}

/**
 * Returns milliseconds since 1970, or NaN. For clocks and ages, where a microsecond does not matter.
 * @param {unknown} text
 * @returns {number}
 */
export function epochMilliseconds(text) {
  return parseTimestamp(text, 0);
}

/**
 * Formats a duration, below one minute with up to three digits: `640 ns`, `12.3 µs`, `1.50 s`, `2 m 05 s`, `1 h 02 m`.
 * @param {number | null} milliseconds
 * @returns {string}
 */
export function formatDuration(milliseconds) {
  if (milliseconds === null || !Number.isFinite(milliseconds)) return "–";
  const sign = milliseconds < 0 ? "−" : "";
  const value = Math.abs(milliseconds);
  if (value === 0) return "0 ms";
  // The limits are where three digits would round up to the next unit: 999.6 µs is 1.00 ms, not 1000 µs.
  if (value < 0.0009995) return `${sign}${Math.max(1, Math.round(value * 1e6))} ns`;
  if (value < 0.9995) return `${sign}${threeDigits(value * 1000)} µs`;
  if (value < 999.5) return `${sign}${threeDigits(value)} ms`;
  if (value < 59_950) return `${sign}${threeDigits(value / 1000)} s`;
  return sign + formatLong(Math.round(value / 1000));
}

/**
 * Formats a duration that still grows, below one minute to tenths of a second: more digits would flicker.
 * @param {number} milliseconds
 * @returns {string}
 */
export function formatTicking(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "–";
  const value = Math.max(0, milliseconds);
  if (value < 59_950) return `${(value / 1000).toFixed(1)} s`;
  return formatLong(Math.max(60, Math.floor(value / 1000)));
}

/**
 * Formats the duration of an open span: with few digits while it grows, with all at a fixed moment.
 * @param {number} milliseconds @param {boolean} moving
 * @returns {string}
 */
export function formatOpen(milliseconds, moving) {
  return moving ? formatTicking(milliseconds) : formatDuration(Math.max(0, milliseconds));
}

/**
 * Formats how long ago something was, in one unit.
 * @param {number} milliseconds
 * @returns {string}
 */
export function formatAge(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "–";
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/**
 * Formats a moment inside a trace as an offset from its start: `+12.3 ms`.
 * @param {number} milliseconds
 * @returns {string}
 */
export function formatOffset(milliseconds) {
  const text = formatDuration(milliseconds);
  return text.startsWith("−") || text === "–" ? text : `+${text}`;
}

/**
 * Formats a timestamp as date and time in UTC, as sent, without the `T`.
 * @param {unknown} text
 * @returns {string}
 */
export function formatAbsolute(text) {
  return typeof text === "string" ? text.replace("T", " ").replace(/Z$/, " UTC") : "–";
}

/**
 * @param {number} milliseconds
 * @returns {string} in whole seconds, minutes or hours, so that the text rarely changes
 */
export function formatSeconds(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  return seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

// Creating a formatter takes longer than a hundred uses.
const COUNTS = new Intl.NumberFormat("en");

/** @param {number} count @returns {string} `1,200` */
export function formatCount(count) {
  // Most counts are small, and one use of the formatter takes as long as drawing a row.
  return count >= 0 && count < 1_000 && Number.isInteger(count) ? String(count) : COUNTS.format(count);
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 * @returns {string} `1 span`, `1,200 spans`
 */
export function plural(count, one, many = `${one}s`) {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** @param {number} value @returns {string} */
function threeDigits(value) {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** @param {number} seconds whole @returns {string} */
function formatLong(seconds) {
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} m`;
  return `${Math.floor(seconds / 86_400)} d ${two(Math.floor((seconds % 86_400) / 3600))} h`;
}

/** @param {number} value @returns {string} */
function two(value) {
  return String(value).padStart(2, "0");
}

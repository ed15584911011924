// @ts-check
// Compares a run's duration with the usual duration of its name, as a bar and as text. Each name has its own scale: on
// a common one, a job of minutes would reduce every request to a dot. Must never touch the DOM or a clock.

import { formatDuration } from "./time.mjs";

/**
 * @typedef {{count: number, p50: number, p95: number}} Usual milliseconds, over `count` ended runs
 * @typedef {{value: number, band: [number, number] | null, tick: number | null, beyond: boolean}} UsualBar parts of the track,
 *   from 0 to 1; `beyond`: the value does not fit
 */

/** The track ends at this multiple of the 95th percentile. */
export const TRACK_P95 = 1.6;
/** With too few earlier runs, the scale is logarithmic, from 1 ms to 10 min. */
const LOG_MIN = 0;
const LOG_MAX = Math.log10(600_000);
/** A run is slow beyond this multiple of the 95th percentile. The server's quantiles have an error of up to 3.2 %. */
const SLOW_BEYOND = 1.04;

/** @param {number} duration milliseconds @param {Usual | null} usual @returns {UsualBar} */
export function usualBar(duration, usual) {
  const length = Math.max(0, duration);
  if (usual === null) {
    const value = (Math.log10(Math.max(1, length)) - LOG_MIN) / (LOG_MAX - LOG_MIN);
    return { value: Math.min(1, Math.max(0.02, value)), band: null, tick: null, beyond: value > 1 };
  }
  const whole = Math.max(usual.p95 * TRACK_P95, 1e-6);
  const part = (/** @type {number} */ time) => Math.min(1, time / whole);
  return { value: Math.max(0.01, part(length)), band: [part(usual.p50), part(usual.p95)], tick: part(usual.p50), beyond: length > whole };
}

/**
 * @param {number} duration @param {Usual | null} usual
 * @returns {boolean} whether it took longer than SLOW_BEYOND times the 95th percentile
 */
export function isSlower(duration, usual) {
  return usual !== null && duration > usual.p95 * SLOW_BEYOND;
}

/** @param {number} duration @param {Usual} usual @returns {string} `5.1×`, `32×`, `< 0.1×` */
export function timesText(duration, usual) {
  const times = duration / Math.max(usual.p50, 1e-6);
  if (times < 0.05) return "< 0.1×";
  return `${times < 9.95 ? times.toFixed(1) : Math.min(times, 1e6).toFixed(0)}×`;
}

/** @param {Usual | null} usual @returns {string} what the bar means, for its title */
export function usualTitle(usual) {
  if (usual === null) return "Fewer than 5 runs of this name have ended, so the scale is logarithmic: 1 ms to 10 min";
  return `Usual for this name: half within ${formatDuration(usual.p50)}, 95 % within ${formatDuration(usual.p95)}, of ${usual.count} runs`;
}

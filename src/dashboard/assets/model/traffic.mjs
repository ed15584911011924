// @ts-check
// The traffic chart above the list: how many traces began in each bucket of time, and how many of them have errors.
// Must never touch the DOM or a clock: every "now" is an argument.

import { sequenceOf } from "./event-ids.mjs";
import { isOpenTrace } from "./list-model.mjs";
import { epochMilliseconds } from "./time.mjs";

/**
 * @typedef {import("./list-model.mjs").TraceList} TraceList
 * @typedef {import("./list-model.mjs").Summary} Summary
 * @typedef {{at: number, lost: number | null}} TimedGap `at`: time of arrival, in milliseconds since 1970; `lost`:
 *   null if unknown
 * @typedef {object} Traffic
 * @property {number} start of the first bucket, in milliseconds since 1970
 * @property {number} width of a bucket in milliseconds
 * @property {Uint32Array} started traces that began in a bucket
 * @property {Uint32Array} failed traces in `started` that have errors
 * @property {{lost: number | null, gaps: number}[]} gaps by bucket, sparse
 * @property {number} known the first bucket whose traces are all counted; BUCKETS if there is none
 * @property {number} total traces in the known buckets
 * @property {number} errors number of traces in the known buckets that have errors
 */

export const BUCKETS = 120;
/** Widths of a bucket in milliseconds; the window is BUCKETS of them, from 1 minute to 10 days. */
const WIDTHS = [500, 1_000, 2_500, 5_000, 7_500, 15_000, 30_000, 60_000, 180_000, 360_000, 720_000, 1_800_000, 7_200_000];

/**
 * @param {TraceList} list @param {number} now milliseconds since 1970
 * @param {{query: string}} shown with a search, `older` holds only matches, so it is not counted
 * @returns {Traffic}
 */
export function trafficOf(list, now, { query }) {
  const traces = query.trim() === "" ? [list.traces, list.older] : [list.traces];
  const covered = coveredFrom(list, query);
  const width = WIDTHS.find((one) => one * (BUCKETS - 1) >= now - covered.oldest) ?? WIDTHS[WIDTHS.length - 1];
  // Buckets are aligned to the clock, so that the traces of a bar do not change as time passes.
  const start = (Math.floor(now / width) - BUCKETS + 1) * width;
  const started = new Uint32Array(BUCKETS);
  const failed = new Uint32Array(BUCKETS);
  for (const some of traces) for (const trace of some.values()) {
    const bucket = Math.floor((epochMilliseconds(trace.startTimestamp) - start) / width);
    if (!(bucket >= 0 && bucket < BUCKETS)) continue;
    started[bucket] += 1;
    if ((trace.spans?.errors ?? 0) > 0) failed[bucket] += 1;
  }
  const known = Math.min(BUCKETS, Math.max(0, Math.ceil((covered.from - start) / width)));
  const sum = (/** @type {Uint32Array} */ counts) => counts.subarray(known).reduce((all, count) => all + count, 0);
  return { start, width, started, failed, gaps: gapsIn(list.timedGaps, start, width), known, total: sum(started), errors: sum(failed) };
}

/**
 * Returns the time from which on all traces are loaded. Ignores traces that are loaded only because they are open.
 * @param {TraceList} list @param {string} query
 * @returns {{from: number, oldest: number}} `from`: −Infinity if all traces are loaded
 */
function coveredFrom(list, query) {
  const floor = query.trim() === "" && list.olderFloor !== null ? list.olderFloor : list.floor;
  let oldest = Infinity;
  for (const some of query.trim() === "" ? [list.traces, list.older] : [list.traces]) for (const trace of some.values()) {
    if (isOpenTrace(trace) && floor > 0 && sequenceOf(trace.firstId) < floor) continue;
    const at = epochMilliseconds(trace.startTimestamp);
    if (at < oldest) oldest = at;
  }
  return { from: floor > 0 && !(query.trim() === "" && list.exhausted) ? oldest : -Infinity, oldest };
}

/** @param {TimedGap[]} timed @param {number} start @param {number} width @returns {Traffic["gaps"]} */
function gapsIn(timed, start, width) {
  /** @type {Traffic["gaps"]} */
  const gaps = [];
  for (const { at, lost } of timed) {
    const bucket = Math.floor((at - start) / width);
    if (!(bucket >= 0 && bucket < BUCKETS)) continue;
    const known = gaps[bucket] ?? { lost: 0, gaps: 0 };
    gaps[bucket] = { lost: known.lost === null || lost === null ? null : known.lost + lost, gaps: known.gaps + 1 };
  }
  return gaps;
}

/** @param {Traffic} traffic @returns {number} traces per second in the known buckets */
export function perSecond({ known, total, width }) {
  const seconds = ((BUCKETS - known) * width) / 1_000;
  return seconds > 0 ? total / seconds : 0;
}

/** @param {number} rate a second @returns {string} `8.1 /s`, `12 /min`, `3 /h` */
export function trafficRate(rate) {
  if (rate === 0) return "0 /s";
  if (rate >= 0.95) return `${rate < 9.95 ? rate.toFixed(1) : Math.round(rate)} /s`;
  return rate * 60 >= 0.95 ? `${(rate * 60).toFixed(rate * 60 < 9.95 ? 1 : 0)} /min` : `${(rate * 3_600).toFixed(rate * 3_600 < 9.95 ? 1 : 0)} /h`;
}

/**
 * Returns the stretch of time between two positions in the chart, rounded to whole buckets.
 * @param {Traffic} traffic @param {number} one from 0 to 1 @param {number} other
 * @returns {{since: number, until: number}}
 */
export function stretchAt({ start, width }, one, other) {
  const bucket = (/** @type {number} */ part) => Math.max(0, Math.min(BUCKETS - 1, Math.floor(part * BUCKETS)));
  return { since: start + bucket(Math.min(one, other)) * width, until: start + (bucket(Math.max(one, other)) + 1) * width };
}

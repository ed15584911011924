// @ts-check
// Converts time to pixels and back: the visible stretch, its compressed gaps, zoom and pan.
// Must never touch the DOM or a clock. All times are milliseconds after the trace's origin.

import { FLAG, STATE } from "./columns.mjs";
import { barEnd } from "./span.mjs";

/**
 * @typedef {{start: number, end: number}} Stretch of time
 * @typedef {{start: number, end: number, x: number, width: number}} DrawnGap
 */

/** Factor that leaves room at the right of a growing trace, so that the live edge does not touch the border. */
export const HEAD_ROOM = 1.05;
/** A gap counts if it is longer than this share of the visible stretch. */
export const GAP_SHARE_MIN = 0.05;
/** Width of a compressed gap in pixels: room for its label. */
export const GAP_WIDTH = 28;
/** The shortest stretch that can be zoomed to: 100 ns. */
export const STRETCH_MIN = 0.0001;

/**
 * @param {{start: number, end: number}} extent first start and last end, either may be NaN
 * @param {number | null} now the present while any span is open, else null
 * @returns {Stretch}
 */
export function wholeStretch(extent, now) {
  if (Number.isNaN(extent.start)) return { start: 0, end: 1 };
  const ended = Number.isNaN(extent.end) ? extent.start : extent.end;
  const elapsed = Math.max(ended, now ?? ended) - extent.start;
  // A trace of a single instant needs a length above 0, because the scale divides by the length.
  return { start: extent.start, end: extent.start + Math.max(0.001, now === null ? elapsed : elapsed * HEAD_ROOM) };
}

/**
 * Returns `now`, up to which open spans are drawn. For a file, callers pass its `fixedNow` as `now`.
 * @param {{trace: import("./model.mjs").Trace, now: number, moment: number | null}} frame
 * @returns {number | null} null if no span is open, or if a past moment is shown
 */
export function openEdge({ trace, now, moment }) {
  return trace.counts.open > 0 && moment === null ? now : null;
}

/** Maps times to pixels, piecewise linearly: gaps are narrower than the pieces between them. */
export class Scale {
  /**
   * @param {Stretch} stretch
   * @param {Stretch[]} gaps in order, without touching each other
   * @param {number} width in pixels
   */
  constructor(stretch, gaps, width) {
    this.start = stretch.start;
    this.end = stretch.end;
    this.width = width;
    this.allGaps = gaps;
    /** Border times of the pieces and their x positions, one more than there are pieces. @type {number[]} */
    this.times = [stretch.start];
    /** @type {number[]} */
    this.places = [0];
    /** @type {DrawnGap[]} */
    this.gaps = [];
    this.layOut();
    /** Changes whenever any time maps to another position. */
    this.key = `${this.start} ${this.end} ${width} ${this.gaps.map((gap) => `${gap.start},${gap.end}`).join(" ")}`;
  }

  layOut() {
    const length = this.end - this.start;
    const inside = this.allGaps
      .map((gap) => ({ start: Math.max(gap.start, this.start), end: Math.min(gap.end, this.end) }))
      .filter((gap) => gap.end - gap.start > length * GAP_SHARE_MIN);
    const idle = inside.reduce((sum, gap) => sum + gap.end - gap.start, 0);
    const busy = Math.max(length - idle, 0);
    // All gaps together take at most half of the width, unless they are the whole stretch.
    const gapWidth = inside.length === 0 ? 0 : busy === 0 ? this.width / inside.length : Math.min(GAP_WIDTH, this.width / 2 / inside.length);
    this.pixelsPerMillisecond = busy === 0 ? 0 : (this.width - gapWidth * inside.length) / busy;
    let x = 0;
    let time = this.start;
    for (const gap of inside) {
      x += (gap.start - time) * this.pixelsPerMillisecond;
      this.times.push(gap.start, gap.end);
      this.places.push(x, x + gapWidth);
      this.gaps.push({ ...gap, x, width: gapWidth });
      x += gapWidth;
      time = gap.end;
    }
    this.times.push(this.end);
    this.places.push(this.width);
  }

  /**
   * @param {number} time
   * @returns {number} pixels from the left border; outside the view for times outside the stretch
   */
  x(time) {
    return between(this.times, this.places, time);
  }

  /** @param {number} x @returns {number} */
  time(x) {
    return between(this.places, this.times, x);
  }

  /** @param {number} width @returns {Scale} */
  withWidth(width) {
    return new Scale({ start: this.start, end: this.end }, this.allGaps, width);
  }
}

/**
 * Interpolates from `from` to `to`; extrapolates beyond both ends.
 * @param {number[]} from @param {number[]} to @param {number} value @returns {number}
 */
function between(from, to, value) {
  let piece = 0;
  // A linear search is enough: there are few gaps, usually none.
  while (piece < from.length - 2 && value > from[piece + 1]) piece += 1;
  const length = from[piece + 1] - from[piece];
  if (length === 0) return to[piece];
  return to[piece] + ((value - from[piece]) / length) * (to[piece + 1] - to[piece]);
}

/**
 * Zooms in or out around `time`, which stays where it is on the screen.
 * @param {Stretch} stretch
 * @param {number} time
 * @param {number} factor below 1 zooms in
 * @param {Stretch} bounds
 * @returns {Stretch | null} null for the whole bounds
 */
export function zoomAbout(stretch, time, factor, bounds) {
  const length = Math.max(STRETCH_MIN, (stretch.end - stretch.start) * factor);
  const share = (time - stretch.start) / (stretch.end - stretch.start);
  return within({ start: time - share * length, end: time + (1 - share) * length }, bounds);
}

/**
 * @param {Stretch} stretch
 * @param {number} share share of the stretch's length; positive pans right
 * @param {Stretch} bounds
 * @returns {Stretch | null}
 */
export function pan(stretch, share, bounds) {
  const by = (stretch.end - stretch.start) * share;
  return within({ start: stretch.start + by, end: stretch.end + by }, bounds);
}

/**
 * Moves a stretch into the bounds. A stretch longer than the bounds becomes the bounds.
 * @param {Stretch} stretch @param {Stretch} bounds
 * @returns {Stretch | null} null for the whole bounds
 */
export function within(stretch, bounds) {
  const length = Math.max(STRETCH_MIN, stretch.end - stretch.start);
  if (length >= (bounds.end - bounds.start) * 0.9999) return null;
  const start = Math.min(Math.max(stretch.start, bounds.start), bounds.end - length);
  return { start, end: start + length };
}

/**
 * Returns a stretch with a margin of a tenth at both sides, or null for the whole bounds.
 * @param {Stretch} stretch @param {Stretch} bounds @returns {Stretch | null}
 */
export function fitTo(stretch, bounds) {
  const room = Math.max(STRETCH_MIN, stretch.end - stretch.start) * 0.1;
  return within({ start: stretch.start - room, end: stretch.end + room }, bounds);
}

const BUCKETS = 2_048;

/**
 * Returns the gaps between spans: no span without children runs in them, except spans that only wait. A gap is not idle
 * time, because a parent may work between its children; the reader decides whether it is compressed.
 * One pass counts spans per bucket; the borders of gaps are exact nevertheless.
 * @param {import("./model.mjs").Trace} trace
 * @param {number} now
 * @param {Stretch} stretch
 * @returns {Stretch[]} in order, each longer than GAP_SHARE_MIN of the stretch
 */
export function spanGaps(trace, now, stretch) {
  const { spans } = trace;
  const length = stretch.end - stretch.start;
  const perBucket = BUCKETS / length;
  const change = new Int32Array(BUCKETS + 2);
  const lastEnd = new Float64Array(BUCKETS + 1).fill(-Infinity);
  const firstStart = new Float64Array(BUCKETS + 1).fill(Infinity);
  for (let index = 0; index < spans.count; index += 1) {
    const state = spans.state[index];
    if (spans.firstChild[index] >= 0 || state === STATE.placeholder || state === STATE.waiting) continue;
    if (spans.has(index, FLAG.rests)) continue;
    const start = spans.start[index];
    const end = barEnd(trace, index, now);
    if (!(end >= stretch.start && start <= stretch.end)) continue;
    const from = Math.max(0, Math.min(BUCKETS, Math.floor((start - stretch.start) * perBucket)));
    const to = Math.max(0, Math.min(BUCKETS, Math.floor((end - stretch.start) * perBucket)));
    change[from] += 1;
    change[to + 1] -= 1;
    if (start < firstStart[from]) firstStart[from] = start;
    if (end > lastEnd[to]) lastEnd[to] = end;
  }
  // The time beyond the live edge has not happened yet.
  const edge = Math.min(stretch.end, trace.counts.open > 0 ? now : stretch.end);
  return emptyRuns(change, lastEnd, firstStart, { start: stretch.start, end: edge }, length);
}

/** @param {Int32Array} change @param {Float64Array} lastEnd @param {Float64Array} firstStart @param {Stretch} limits @param {number} length @returns {Stretch[]} */
function emptyRuns(change, lastEnd, firstStart, limits, length) {
  const gaps = [];
  let covered = 0;
  let from = -1;
  for (let bucket = 0; bucket <= BUCKETS; bucket += 1) {
    covered += change[bucket];
    if (covered === 0 && from < 0) from = bucket;
    const ends = covered > 0 || bucket === BUCKETS;
    if (!ends || from < 0) continue;
    const start = from === 0 ? limits.start : lastEnd[from - 1];
    const end = Math.min(limits.end, covered > 0 ? firstStart[bucket] : limits.end);
    if (end - start > length * GAP_SHARE_MIN) gaps.push({ start, end });
    from = -1;
  }
  return gaps;
}

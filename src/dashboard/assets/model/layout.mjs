// @ts-check
// Geometry of the waterfall and the lists: rows in view, bars, labels and ticks.
// Must never touch the DOM or a clock, nor read a trace.

import { formatDuration } from "./time.mjs";

/**
 * @typedef {{first: number, last: number, height: number}} RowWindow rows `first` up to but not including `last`
 * @typedef {{x: number, width: number, outside: "" | "left" | "right"}} Bar in pixels, clipped to the view;
 *   `outside`: the side of the view on which the whole bar lies
 * @typedef {{at: number, x: number, label: string}} Tick
 */

/** Minimum width of a bar, so that short spans stay visible. */
export const BAR_WIDTH_MIN = 2;
/** Pixels by which a clipped bar extends beyond the view, so that the cut does not look like the bar's end. */
export const CUT_MARGIN = 8;

/**
 * Returns the rows in the viewport, with some more above and below.
 * @param {{scrollTop: number, viewport: number, rowHeight: number, count: number, overscan: number}} options
 * @returns {RowWindow}
 */
export function rowWindow({ scrollTop, viewport, rowHeight, count, overscan }) {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - overscan);
  const last = Math.min(count, Math.ceil((scrollTop + viewport) / rowHeight) + overscan);
  return { first: Math.min(first, Math.max(0, last)), last: Math.max(0, last), height: count * rowHeight };
}

/**
 * Returns the scroll position that shows a row with the least movement.
 * @param {{index: number, scrollTop: number, viewport: number, rowHeight: number, margin: number, covered?: number}} options
 *   `covered`: height in pixels at the top of the view that sticky rows will cover
 * @returns {number}
 */
export function scrollToShow({ index, scrollTop, viewport, rowHeight, margin, covered = 0 }) {
  const top = index * rowHeight - Math.max(margin, covered);
  const bottom = (index + 1) * rowHeight + margin;
  if (top < scrollTop) return Math.max(0, top);
  return bottom > scrollTop + viewport ? bottom - viewport : scrollTop;
}

/**
 * @param {number} left where the span begins, in pixels
 * @param {number} right where it ends
 * @param {number} width of the waterfall
 * @returns {Bar}
 */
export function barGeometry(left, right, width) {
  if (right < 0) return { x: 0, width: 0, outside: "left" };
  if (left > width) return { x: width, width: 0, outside: "right" };
  const from = Math.max(-CUT_MARGIN, left);
  const to = Math.min(width + CUT_MARGIN, right);
  const barWidth = Math.max(BAR_WIDTH_MIN, to - from);
  // A short bar at the right border stays inside.
  return { x: left < 0 ? from : Math.min(from, Math.max(0, width - BAR_WIDTH_MIN)), width: barWidth, outside: "" };
}

/**
 * Places a bar's label: inside if it fits, else to the right, else to the left, else at the right border of the view.
 * @param {{x: number, width: number}} bar
 * @param {number} labelWidth
 * @param {number} width of the waterfall
 * @param {number} [faded] pixels at the right end of the bar that are too pale to write on
 * @returns {{side: "inside" | "right" | "left", x: number}}
 */
export function labelPlace(bar, labelWidth, width, faded = 0) {
  const padding = 6;
  // Event marks may be drawn at the bar's very end.
  const distance = 8;
  const from = Math.max(0, bar.x);
  const to = Math.min(width, bar.x + bar.width);
  if (to - from >= labelWidth + 2 * padding + faded) return { side: "inside", x: from + padding };
  const right = to + distance;
  if (right + labelWidth <= width) return { side: "right", x: right };
  const left = from - distance - labelWidth;
  return left >= 0 ? { side: "left", x: left } : { side: "inside", x: Math.max(0, width - labelWidth) };
}

/**
 * Minimum distance of ticks in pixels. Ticks are also at least about a fifth of the width apart. Half the minimum is
 * enough between the last tick before a gap and the first one after it.
 */
const TICK_DISTANCE_MIN = 72;

/**
 * Returns ticks at round distances from the origin, none of them inside a gap.
 * @param {import("./timescale.mjs").Scale} scale
 * @param {number} origin the time that the labels count from
 * @returns {Tick[]}
 */
export function axisTicks(scale, origin) {
  if (!(scale.width > 0) || !(scale.pixelsPerMillisecond > 0)) return [];
  const step = roundStep(Math.max(TICK_DISTANCE_MIN, scale.width / 4.99) / scale.pixelsPerMillisecond);
  /** @type {Tick[]} */
  const ticks = [];
  let start = scale.start;
  for (const gap of [...scale.gaps, { start: scale.end, end: NaN, x: scale.width }]) {
    // Multiplied, not added up: sums of 0.1 drift, so the last tick would appear and disappear.
    for (let count = Math.ceil((start - origin) / step - 1e-9); count * step <= gap.start - origin; count += 1) {
      const at = Number((count * step).toPrecision(14));
      const x = scale.x(origin + at);
      const last = ticks[ticks.length - 1];
      if (last === undefined || x - last.x >= TICK_DISTANCE_MIN / 2) ticks.push({ at, x, label: tickLabel(at, step) });
    }
    start = gap.end;
  }
  return ticks;
}

// Above a second, steps follow minutes, hours and days.
const STEPS_SECONDS = [
  1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800,
  18_000, 28_800, 43_200, 64_800, 86_400,
];
const STEPS_BELOW = [1, 1.5, 2, 3, 5, 7.5, 10];

/** @param {number} least milliseconds @returns {number} the smallest round distance of at least `least` */
export function roundStep(least) {
  if (least > 1000) {
    const seconds = STEPS_SECONDS.find((step) => step * 1000 >= least);
    return seconds === undefined ? Math.ceil(least / 86_400_000) * 86_400_000 : seconds * 1000;
  }
  const magnitude = 10 ** Math.floor(Math.log10(least));
  const factor = STEPS_BELOW.find((step) => step * magnitude >= least) ?? 10;
  return Number((factor * magnitude).toPrecision(6));
}

const UNITS = /** @type {const} */ ([["ns", 1e-6], ["µs", 1e-3], ["ms", 1], ["s", 1000]]);

/**
 * Formats a tick exactly, without insignificant digits: `5 ms`, and `12.3456 s` if the ticks are 100 µs apart.
 * @param {number} at milliseconds @param {number} step between ticks
 * @returns {string}
 */
export function tickLabel(at, step) {
  if (at === 0) return "0";
  const sign = at < 0 ? "−" : "";
  const value = Math.abs(at);
  if (value < 60_000) {
    const [unit, size] = UNITS.findLast(([, least]) => value >= least * 0.999999) ?? UNITS[0];
    return `${sign}${Number((value / size).toPrecision(12))} ${unit}`;
  }
  if (step >= 1000) return formatDuration(at).replace(/ 00 s$/, "").replace(/ 00 m$/, "");
  const minutes = Math.floor(value / 60_000);
  const hours = Math.floor(minutes / 60);
  const seconds = Number(((value - minutes * 60_000) / 1000).toPrecision(12));
  return `${sign}${hours > 0 ? `${hours} h ` : ""}${minutes % 60} m ${seconds} s`;
}

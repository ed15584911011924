// @ts-check
// Arithmetic of the waterfall and the lists: which rows, where, how wide, under which ticks.
// Must never touch the DOM or a clock. It writes two fields of a span, `row` and `depth`, and nothing else.

import { refreshErrorMarks, sortedChildren, sortedRoots } from "./tree.mjs";
import { formatDuration } from "./time.mjs";

/**
 * @typedef {import("./tree.mjs").Span} Span
 * @typedef {import("./tree.mjs").Tree} Tree
 * @typedef {{all: boolean, except: Set<string>}} Fold which spans are collapsed: all or none, but for the exceptions.
 *   In this shape "collapse all" costs nothing and holds for spans still to come
 * @typedef {{first: number, last: number, height: number}} RowWindow rows `first` up to but not including `last`
 * @typedef {{start: number, length: number}} Domain the stretch of time that the width of the waterfall shows
 */

/** Head-room at the right of a trace that still grows, so that the live edge does not touch the border. */
export const HEAD_ROOM = 1.05;
/** Bars are at least this wide, or a short span could not be seen. */
export const BAR_WIDTH_MIN = 2;

/** @returns {Fold} */
export function unfolded() {
  return { all: false, except: new Set() };
}

/** @param {Fold} fold @param {string} spanId @returns {boolean} */
export function isFolded(fold, spanId) {
  return fold.all !== fold.except.has(spanId);
}

/** @param {Fold} fold @param {string} spanId @param {boolean} folded */
export function setFolded(fold, spanId, folded) {
  if (fold.all === folded) fold.except.delete(spanId);
  else fold.except.add(spanId);
}

/**
 * The visible spans in reading order, parents before children. One pass over what is visible, without recursion.
 * @param {Tree} tree
 * @param {Fold} fold
 * @returns {Span[]}
 */
export function flatten(tree, fold) {
  refreshErrorMarks(tree);
  /** @type {Span[]} */
  const rows = [];
  const levels = [sortedRoots(tree)];
  const positions = [0];
  while (levels.length > 0) {
    const depth = levels.length - 1;
    const position = positions[depth];
    if (position === levels[depth].length) {
      levels.pop();
      positions.pop();
      continue;
    }
    positions[depth] = position + 1;
    const span = levels[depth][position];
    span.depth = depth;
    span.row = rows.length;
    rows.push(span);
    if (span.children.length > 0 && !isFolded(fold, span.id)) {
      levels.push(sortedChildren(span));
      positions.push(0);
    }
  }
  return rows;
}

/**
 * The row of a span, or of the nearest ancestor that is visible; −1 if there is none.
 * @param {Span[]} rows
 * @param {Span | null | undefined} span
 * @returns {number}
 */
export function rowOf(rows, span) {
  for (let step = span ?? null; step !== null; step = step.parent) if (rows[step.row] === step) return step.row;
  return -1;
}

/**
 * The rows that a viewport shows, and some beyond it.
 * @param {{scrollTop: number, viewport: number, rowHeight: number, count: number, overscan: number}} options
 * @returns {RowWindow}
 */
export function rowWindow({ scrollTop, viewport, rowHeight, count, overscan }) {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - overscan);
  const last = Math.min(count, Math.ceil((scrollTop + viewport) / rowHeight) + overscan);
  return { first: Math.min(first, Math.max(0, last)), last: Math.max(0, last), height: count * rowHeight };
}

/**
 * The scroll position that shows a row, moved as little as possible.
 * @param {{index: number, scrollTop: number, viewport: number, rowHeight: number, margin: number}} options
 * @returns {number}
 */
export function scrollToShow({ index, scrollTop, viewport, rowHeight, margin }) {
  const top = index * rowHeight - margin;
  const bottom = (index + 1) * rowHeight + margin;
  if (top < scrollTop) return Math.max(0, top);
  return bottom > scrollTop + viewport ? bottom - viewport : scrollTop;
}

/**
 * @param {{start: number, end: number}} extent first start and last end, either may be NaN
 * @param {number | null} now while anything is open, in tree time; else null
 * @returns {Domain}
 */
export function timeDomain(extent, now) {
  if (Number.isNaN(extent.start)) return { start: 0, length: 1 };
  const ended = Number.isNaN(extent.end) ? extent.start : extent.end;
  const elapsed = Math.max(ended, now ?? ended) - extent.start;
  // A trace of one instant still needs a width to divide by.
  return { start: extent.start, length: Math.max(0.001, now === null ? elapsed : elapsed * HEAD_ROOM) };
}

/**
 * @param {{start: number, end: number}} span
 * @param {Domain} domain
 * @param {number} width of the waterfall in pixels
 * @returns {{x: number, width: number}}
 */
export function barGeometry(span, domain, width) {
  const left = timeToX(span.start, domain, width);
  const right = timeToX(span.end, domain, width);
  const barWidth = Math.max(BAR_WIDTH_MIN, right - left);
  return { x: Math.max(0, Math.min(left, width - barWidth)), width: barWidth };
}

/** @param {number} time @param {Domain} domain @param {number} width @returns {number} */
export function timeToX(time, domain, width) {
  return ((time - domain.start) / domain.length) * width;
}

/** @param {number} x @param {Domain} domain @param {number} width @returns {number} */
export function xToTime(x, domain, width) {
  return domain.start + (x / width) * domain.length;
}

/**
 * Where a bar's label goes: inside if it fits, else to the right, else to the left.
 * @param {{x: number, width: number}} bar
 * @param {number} labelWidth
 * @param {number} width of the waterfall
 * @param {number} [faded] pixels at the right end of the bar that are too pale to write on
 * @returns {{side: "inside" | "right" | "left", x: number}}
 */
export function labelPlace(bar, labelWidth, width, faded = 0) {
  const padding = 6;
  // Event marks may stand on the bar's very end.
  const distance = 8;
  if (bar.width >= labelWidth + 2 * padding + faded) return { side: "inside", x: bar.x + padding };
  const right = bar.x + bar.width + distance;
  if (right + labelWidth <= width) return { side: "right", x: right };
  const left = bar.x - distance - labelWidth;
  return left >= 0 ? { side: "left", x: left } : { side: "inside", x: Math.max(0, width - labelWidth) };
}

/**
 * Four to five ticks at round distances from the start.
 * @param {number} length of the domain in milliseconds
 * @returns {{at: number, label: string}[]}
 */
export function axisTicks(length) {
  const step = roundStep(length / 4.99);
  const ticks = [];
  // Multiplied, not added up: sums of 0.1 drift, and the last tick would come and go.
  for (let index = 0; index * step <= length; index += 1) {
    const at = Number((index * step).toPrecision(12));
    ticks.push({ at, label: at === 0 ? "0" : tickLabel(at) });
  }
  return ticks;
}

// Above a second people count in sixties and twenty-fours.
const STEPS_SECONDS = [
  1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800,
  18_000, 28_800, 43_200, 64_800, 86_400,
];
const STEPS_BELOW = [1, 1.5, 2, 3, 5, 7.5, 10];

/** @param {number} least milliseconds @returns {number} the next round distance from `least` on */
function roundStep(least) {
  if (least > 1000) {
    const seconds = STEPS_SECONDS.find((step) => step * 1000 >= least);
    return seconds === undefined ? Math.ceil(least / 86_400_000) * 86_400_000 : seconds * 1000;
  }
  const magnitude = 10 ** Math.floor(Math.log10(least));
  const factor = STEPS_BELOW.find((step) => step * magnitude >= least) ?? 10;
  return Number((factor * magnitude).toPrecision(6));
}

/** @param {number} milliseconds @returns {string} without digits that say nothing: `5 ms`, not `5.00 ms` */
function tickLabel(milliseconds) {
  return formatDuration(milliseconds).replace(/(\.\d*?)0+ /, "$1 ").replace(". ", " ").replace(/ 00 s$/, "").replace(/ 00 m$/, "");
}

/**
 * The next span that is an error or lost, in reading order, around the end and back to the beginning.
 * @param {Span[]} rows all spans, nothing folded
 * @param {number} from index to start from, exclusive; −1 for the beginning
 * @param {1 | -1} direction
 * @returns {Span | null}
 */
export function nextBad(rows, from, direction) {
  const count = rows.length;
  const origin = from < 0 && direction < 0 ? 0 : from;
  for (let step = 1; step <= count; step += 1) {
    const span = rows[(((origin + step * direction) % count) + count) % count];
    if (span.state === "error" || span.state === "lost") return span;
  }
  return null;
}

// @ts-check
// Compares two runs. Aligns their spans by path of names and finds paths that became slower, are new or missing, or
// newly fail. Works on running traces, too. Must never touch the DOM, the network or a clock.

import { STATE, isBadState, isOpenState } from "./columns.mjs";
import { firstSpan, nameOf, serviceOf } from "./span.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{count: number, open: number, errors: number, time: number, first: number, last: number, example: number}}
 *   Side one run's spans at a path: their count, how many are open or failed, the time in which any of them ran
 *   (parallel ones count once), the first start and last end after the run's start, and the index of the first span;
 *   times in milliseconds
 * @typedef {"same" | "slower" | "faster" | "new" | "missing" | "later"} Verdict `later`: only one run has reached the
 *   path by the compared moment, the other reaches it afterwards
 * @typedef {object} Path
 * @property {number} parent index of the path above it, −1 for the root
 * @property {number} depth
 * @property {string} name
 * @property {string} service
 * @property {Side} a
 * @property {Side} b
 * @property {Verdict} verdict
 * @property {boolean} newlyFailed the second run has errors here, the first has none
 * @property {number} delta `b.time − a.time`
 * @property {number[]} children
 * @typedef {object} Comparison
 * @property {Path[]} paths the root first, parents before children
 * @property {number} moment the compared time, in milliseconds after each run's start; Infinity when both have ended
 * @property {{a: number, b: number}} total time of each run up to the moment
 * @property {Record<Verdict | "newlyFailed", number>} counts
 * @property {number} left number of spans left out because their paths exceed PATHS_MAX
 */

/** Maximum number of paths. Spans of further paths are only counted. */
export const PATHS_MAX = 5_000;
/** A smaller difference in time counts as none. */
const SAME_SHARE = 0.05;
const SAME_MS = 1;
/** Minimum share of the difference that a path must have to be named as its cause. */
const CAUSE_SHARE = 0.8;

/** Exceeds the number of names in a trace, so that one number can hold two name indexes. */
const NAMES = 2 ** 24;

/** @returns {Side} */
function none() {
  return { count: 0, open: 0, errors: 0, time: 0, first: NaN, last: NaN, example: -1 };
}

/**
 * @param {Trace} a the baseline @param {Trace} b the run that the page shows
 * @param {{a: number, b: number}} now the present of each run, in its own tree time
 * @returns {Comparison}
 */
export function compareTraces(a, b, now) {
  /** @type {Path[]} */
  const paths = [];
  /** @type {Map<string, number>} */
  const byKey = new Map();
  const elapsed = (/** @type {Trace} */ trace, /** @type {number} */ at) => (trace.counts.open > 0 ? Math.max(0, at - trace.start) : Infinity);
  const moment = Math.min(elapsed(a, now.a), elapsed(b, now.b));
  let left = 0;
  for (const [trace, side] of /** @type {[Trace, "a" | "b"][]} */ ([[a, "a"], [b, "b"]])) left += addRun(trace, side, { paths, byKey, until: moment, now: now[side] });
  /** @type {Comparison["counts"]} */
  const counts = { same: 0, slower: 0, faster: 0, new: 0, missing: 0, later: 0, newlyFailed: 0 };
  paths.forEach((path, index) => {
    judge(path);
    counts[path.verdict] += 1;
    if (path.newlyFailed) counts.newlyFailed += 1;
    if (path.parent >= 0) paths[path.parent].children.push(index);
  });
  const start = (/** @type {Path} */ { a: one, b: other }) => (Number.isNaN(other.first) ? one.first : other.first);
  for (const { children } of paths) children.sort((one, other) => start(paths[one]) - start(paths[other]) || one - other);
  return { paths, moment, total: { a: extent(a, moment), b: extent(b, moment) }, counts, left };
}

/** @param {Trace} trace @param {number} moment @returns {number} */
function extent(trace, moment) {
  const whole = trace.end - trace.start;
  return Number.isFinite(moment) ? Math.min(moment, trace.counts.open > 0 || Number.isNaN(whole) ? Infinity : whole) : Number.isNaN(whole) ? 0 : whole;
}

/**
 * Adds the spans of one run in order of start, so that one pass can add up the time of each path.
 * @param {Trace} trace @param {"a" | "b"} side
 * @param {{paths: Path[], byKey: Map<string, number>, until: number, now: number}} known `until`: milliseconds after the start
 * @returns {number} the number of spans left out
 */
function addRun(trace, side, { paths, byKey, until, now }) {
  const { spans } = trace;
  const pathOf = pathsOf(trace, paths, byKey);
  const order = [];
  let left = 0;
  for (let index = 0; index < spans.count; index += 1) {
    if (spans.state[index] === STATE.placeholder || Number.isNaN(spans.start[index])) continue;
    if (pathOf[index] < 0) left += 1;
    else order.push(index);
  }
  order.sort((one, other) => spans.start[one] - spans.start[other]);
  const limit = trace.start + until;
  const reached = new Float64Array(paths.length).fill(-Infinity);
  for (const index of order) {
    const start = spans.start[index];
    const path = paths[pathOf[index]];
    const own = path[side];
    if (start > limit) {
      // The run reaches this path only after the compared moment.
      if (own.example < 0) own.example = index;
      continue;
    }
    const end = Math.min(limit, Number.isNaN(spans.end[index]) ? now : spans.end[index]);
    if (own.count === 0) {
      own.first = start - trace.start;
      own.example = index;
    }
    own.count += 1;
    if (isOpenState(spans.state[index])) own.open += 1;
    if (isBadState(spans.state[index]) && !(spans.end[index] > limit)) own.errors += 1;
    const from = Math.max(start, reached[pathOf[index]]);
    if (end > from) {
      own.time += end - from;
      reached[pathOf[index]] = end;
    }
    own.last = Math.max(Number.isNaN(own.last) ? 0 : own.last, end - trace.start);
  }
  return left;
}

/** @param {Trace} trace @param {Path[]} paths @param {Map<string, number>} byKey @returns {Int32Array} the path of each span; −1 beyond PATHS_MAX */
function pathsOf(trace, paths, byKey) {
  const { spans } = trace;
  const root = firstSpan(trace);
  const pathOf = new Int32Array(spans.count).fill(-2);
  // Most spans repeat a path. For those, these maps save building a text key.
  /** @type {Map<number, number>[]} by parent path, then by service and name */
  const repeated = [];
  /** @type {number[]} */
  const chain = [];
  for (let index = 0; index < spans.count; index += 1) {
    let step = index;
    // In a cycle of parents, stop at the first span that was already visited.
    while (step >= 0 && pathOf[step] === -2) {
      pathOf[step] = -3;
      chain.push(step);
      step = spans.parent[step];
    }
    let above = step >= 0 && pathOf[step] !== -3 ? pathOf[step] : -1;
    let isLeftOut = step >= 0 && pathOf[step] === -1;
    while (chain.length > 0) {
      const one = /** @type {number} */ (chain.pop());
      // A placeholder has no name, so its children count as children of the path above it.
      if (spans.state[one] === STATE.placeholder) {
        pathOf[one] = above;
        continue;
      }
      const parent = one === root ? -1 : above;
      const repeats = (repeated[parent + 1] ??= new Map());
      const code = spans.service[one] * NAMES + spans.name[one];
      const path = isLeftOut ? -1 : ((one === root ? undefined : repeats.get(code)) ?? pathAt(trace, one, parent, one === root, paths, byKey));
      if (one !== root && !isLeftOut) repeats.set(code, path);
      isLeftOut ||= path < 0;
      pathOf[one] = above = path;
    }
  }
  return pathOf;
}

/** @param {Trace} trace @param {number} index @param {number} parent @param {boolean} isRoot @param {Path[]} paths @param {Map<string, number>} byKey @returns {number} */
function pathAt(trace, index, parent, isRoot, paths, byKey) {
  const name = nameOf(trace, index);
  const service = serviceOf(trace, index);
  // The first spans of both runs are aligned even if their names differ.
  const key = isRoot ? "" : `${parent} ${service}\0${name}`;
  const known = byKey.get(key);
  if (known !== undefined) return known;
  if (paths.length >= PATHS_MAX) return -1;
  byKey.set(key, paths.length);
  paths.push({ parent, depth: parent < 0 ? 0 : paths[parent].depth + 1, name, service, a: none(), b: none(), verdict: "same", newlyFailed: false, delta: 0, children: [] });
  return paths.length - 1;
}

/** @param {Path} path */
function judge(path) {
  const { a, b } = path;
  path.delta = b.time - a.time;
  path.newlyFailed = a.errors === 0 && b.errors > 0;
  if ((a.count === 0 && a.example >= 0) || (b.count === 0 && b.example >= 0)) path.verdict = "later";
  else if (a.count === 0) path.verdict = "new";
  else if (b.count === 0) path.verdict = "missing";
  else if (Math.abs(path.delta) <= Math.max(SAME_MS, SAME_SHARE * Math.max(a.time, b.time))) path.verdict = "same";
  else path.verdict = path.delta > 0 ? "slower" : "faster";
}

/**
 * Returns whether both runs are compared up to one moment, and so have the same length. A run that ended before that
 * moment has its own length.
 * @param {Comparison} comparison
 */
export function isCut({ moment, total }) {
  return Number.isFinite(moment) && Math.min(total.a, total.b) >= moment;
}

/**
 * Finds the cause of the difference: descends from the root while one path has most of the difference.
 * @param {Comparison} comparison
 * @returns {number[]} the paths below the root; empty if there is no difference or no single path has most of it
 */
export function causeOf({ paths, total }) {
  const whole = total.b - total.a;
  if (paths.length === 0 || Math.abs(whole) <= SAME_MS) return [];
  const cause = [];
  for (let at = 0; ;) {
    const most = paths[at].children.reduce((best, child) => (best < 0 || paths[child].delta * Math.sign(whole) > paths[best].delta * Math.sign(whole) ? child : best), -1);
    if (most < 0 || paths[most].delta / whole < CAUSE_SHARE) return cause;
    cause.push(most);
    at = most;
  }
}

/** @typedef {Verdict | "newlyFailed" | "all"} Kept the paths to show */

/**
 * Returns the rows to show, parents before children.
 * @param {Comparison} comparison
 * @param {{kept: Kept, order: "time" | "delta", closed: ReadonlySet<number>, terms?: string}} options `closed`: paths whose children are hidden
 * @returns {number[]} the matching paths and their ancestors
 */
export function comparedRows({ paths }, { kept, order, closed, terms = "" }) {
  if (paths.length === 0) return [];
  const text = terms.trim().toLowerCase();
  const matches = (/** @type {Path} */ path) => (kept === "all" || (kept === "newlyFailed" ? path.newlyFailed : path.verdict === kept)) && (text === "" || path.name.toLowerCase().includes(text));
  const isAll = kept === "all" && text === "";
  const shown = new Uint8Array(paths.length);
  // Children come after their parents, so one backward pass marks all ancestors of matches.
  for (let at = paths.length - 1; at >= 0; at -= 1) {
    if (isAll || matches(paths[at])) shown[at] = 1;
    if (shown[at] === 1 && paths[at].parent >= 0) shown[paths[at].parent] = 1;
  }
  const rows = [];
  const stack = paths.flatMap(({ parent }, at) => (parent < 0 ? [at] : [])).reverse();
  while (stack.length > 0) {
    const at = /** @type {number} */ (stack.pop());
    if (shown[at] === 0) continue;
    rows.push(at);
    if (closed.has(at)) continue;
    const children = order === "time" ? paths[at].children : [...paths[at].children].sort((one, other) => Math.abs(paths[other].delta) - Math.abs(paths[one].delta));
    for (let child = children.length - 1; child >= 0; child -= 1) stack.push(children[child]);
  }
  return rows;
}

/** @param {Path} path @returns {string} `+19 %`, `×135` from ten times on, empty unless both runs have time there */
export function deltaShareText({ a, b, verdict }) {
  if (verdict === "same" || !(a.time > 0) || b.count === 0) return "";
  const times = b.time / a.time;
  if (times >= 10) return `×${times.toFixed(0)}`;
  const percent = Math.round((times - 1) * 100);
  return percent === 0 ? "" : `${percent > 0 ? "+" : "−"}${Math.abs(percent)} %`;
}

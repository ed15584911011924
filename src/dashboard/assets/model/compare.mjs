// @ts-check
// Compares two runs. Aligns their spans by path of services and names. Finds paths that became slower, are new or
// missing, or newly fail. Works on running traces, too. Must never touch the DOM, the network or a clock.

import { FLAG, STATE, isBadState, isOpenState } from "./columns.mjs";
import { barEnd, childrenOf, firstSpan, isPartial, kindOf, nameOf, serviceOf, traceName } from "./span.mjs";
import { formatCount } from "./time.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {object} Side one run's spans at a path; times in milliseconds
 * @property {number} count
 * @property {number} open how many have no known end: open and lost spans
 * @property {number} errors
 * @property {number} time time in which any of them ran; parallel spans count once
 * @property {number} first first start, after the run's start
 * @property {number} last latest end, after the run's start; an open span lasts until the present
 * @property {number} example index of the first span, −1 for none
 * @property {number} median duration of those that ended; NaN if none has, or if both sides are complete
 * @property {boolean} isComplete whether all of its spans are known and have ended
 * @typedef {"same" | "slower" | "faster" | "new" | "missing" | "later" | "unfinished"} Verdict `later`: one run has not
 *   reached the path yet; `unfinished`: the path cannot be compared yet
 * @typedef {"time" | "call"} Basis whether the difference compares the whole time, or the median time of one call
 * @typedef {object} Path
 * @property {number} parent index of the path above it, −1 for the root
 * @property {number} depth
 * @property {string} name
 * @property {string} service
 * @property {Side} a
 * @property {Side} b
 * @property {Verdict} verdict
 * @property {Basis} basis
 * @property {boolean} newlyFailed the second run has errors here, the complete first run has none
 * @property {number} delta second run minus first, by `basis`; 0 if they cannot be compared
 * @property {number[]} children
 * @typedef {"ended" | "running" | "lost" | "incomplete"} RunState `incomplete`: some of its spans are missing
 * @typedef {object} Comparison
 * @property {Path[]} paths the root first, parents before children
 * @property {{a: RunState, b: RunState}} states
 * @property {{a: number, b: number}} total time of each run so far
 * @property {{after: number, a: number, b: number} | null} ended while a run is open: the number of spans of each run that
 *   had ended after the same time
 * @property {Record<Verdict | "newlyFailed", number>} counts
 * @property {number} left number of spans left out because their paths exceed PATHS_MAX
 */

/** Maximum number of paths. Spans of further paths are only counted. */
export const PATHS_MAX = 5_000;
/** A difference in time counts as none if it is at most 5 % of the longer time, or at most 1 ms over all calls. */
const SAME_SHARE = 0.05;
const SAME_MS = 1;
/** Minimum share of the difference that a path must have to be named as its cause. */
const CAUSE_SHARE = 0.8;
/** Kinds of spans that usually have a parent in another process. */
const REMOTE_KINDS = ["SERVER", "CONSUMER"];

/** Exceeds the number of names in a trace, so that one number can hold two name indexes. */
const NAMES = 2 ** 24;

/** @returns {Side} */
function none() {
  return { count: 0, open: 0, errors: 0, time: 0, first: NaN, last: NaN, example: -1, median: NaN, isComplete: false };
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
  const states = { a: runState(a), b: runState(b) };
  /** @type {{a: number[][], b: number[][]}} */
  const durations = { a: [], b: [] };
  let left = 0;
  const rootless = sideWithoutRoot(a, b, states);
  // The run with a root comes first, so that its root is the first path.
  for (const side of /** @type {const} */ (rootless === "a" ? ["b", "a"] : ["a", "b"])) {
    left += addRun(side === "a" ? a : b, side, { paths, byKey, now: now[side], durations: durations[side], hasRoot: side !== rootless });
  }
  /** Paths whose place below the root is known. @type {Set<Path | undefined>} */
  const placed = new Set();
  /** @type {Comparison["counts"]} */
  const counts = { same: 0, slower: 0, faster: 0, new: 0, missing: 0, later: 0, unfinished: 0, newlyFailed: 0 };
  paths.forEach((path, index) => {
    complete(path, paths[path.parent], states);
    if (!path.a.isComplete || !path.b.isComplete) for (const side of /** @type {const} */ (["a", "b"])) path[side].median = medianOf(durations[side][index]);
    if (index === 0 || placed.has(paths[path.parent]) || (path.parent < 0 && states.a !== "incomplete" && states.b !== "incomplete")) placed.add(path);
    judge(path, placed.has(path));
    counts[path.verdict] += 1;
    if (path.newlyFailed) counts.newlyFailed += 1;
    if (path.parent >= 0) paths[path.parent].children.push(index);
  });
  const start = (/** @type {Path} */ { a: one, b: other }) => (Number.isNaN(other.first) ? one.first : other.first);
  for (const { children } of paths) children.sort((one, other) => start(paths[one]) - start(paths[other]) || one - other);
  const total = { a: lengthOf(a, now.a), b: lengthOf(b, now.b) };
  return { paths, states, total, ended: endedAlike([a, b], total, states), counts, left };
}

/** @param {Trace} trace @returns {RunState} */
function runState(trace) {
  if (trace.counts.open > 0) return "running";
  if (trace.counts.lost > 0) return "lost";
  const isUnderway = [...trace.roots].some((index) => trace.spans.state[index] === STATE.placeholder && !isRemote(trace, index));
  return isUnderway || isPartial(trace) ? "incomplete" : "ended";
}

/**
 * Returns whether a parent that was never seen belongs to another process. A parent of the same process may still run,
 * if its sender reports only spans that have ended.
 * @param {Trace} trace @param {number} index of the placeholder
 */
function isRemote(trace, index) {
  return trace.spans.has(index, FLAG.remote) || childrenOf(trace, index).every((child) => REMOTE_KINDS.includes(kindOf(trace, child)));
}

/**
 * First spans are aligned whatever their names, but the first span of an incomplete run may belong anywhere.
 * @param {Trace} a @param {Trace} b @param {Comparison["states"]} states
 * @returns {"a" | "b" | null} the run whose first span is not its root
 */
function sideWithoutRoot(a, b, states) {
  if (traceName(a) === traceName(b)) return null;
  return states.b === "incomplete" ? "b" : states.a === "incomplete" ? "a" : null;
}

/** @param {Trace} trace @param {number} now @returns {number} */
function lengthOf(trace, now) {
  const length = (trace.counts.open > 0 ? now : trace.end) - trace.start;
  return Number.isNaN(length) ? 0 : Math.max(0, length);
}

/** @param {[Trace, Trace]} runs @param {Comparison["total"]} total @param {Comparison["states"]} states @returns {Comparison["ended"]} */
function endedAlike([a, b], total, states) {
  if (states.a !== "running" && states.b !== "running") return null;
  const after = Math.min(total.a, total.b);
  const countBy = (/** @type {Trace} */ { spans, start }) => {
    let count = 0;
    for (let index = 0; index < spans.count; index += 1) if (spans.end[index] <= start + after && spans.state[index] !== STATE.lost) count += 1;
    return count;
  };
  return { after, a: countBy(a), b: countBy(b) };
}

/**
 * Adds the spans of one run in order of start, so that one pass can add up the time of each path.
 * @param {Trace} trace @param {"a" | "b"} side
 * @param {{paths: Path[], byKey: Map<string, number>, now: number, durations: number[][], hasRoot: boolean}} known `durations`: by path; this function adds the durations of ended spans
 * @returns {number} the number of spans left out
 */
function addRun(trace, side, { paths, byKey, now, durations, hasRoot }) {
  const { spans } = trace;
  const pathOf = pathsOf(trace, hasRoot ? firstSpan(trace) : -1, paths, byKey);
  const order = [];
  let left = 0;
  for (let index = 0; index < spans.count; index += 1) {
    if (spans.state[index] === STATE.placeholder || Number.isNaN(spans.start[index])) continue;
    if (pathOf[index] < 0) left += 1;
    else order.push(index);
  }
  order.sort((one, other) => spans.start[one] - spans.start[other]);
  const reached = new Float64Array(paths.length).fill(-Infinity);
  for (const index of order) {
    const start = spans.start[index];
    const at = pathOf[index];
    const own = paths[at][side];
    const end = barEnd(trace, index, now);
    if (own.count === 0) {
      own.first = start - trace.start;
      own.example = index;
    }
    own.count += 1;
    if (isOpenState(spans.state[index]) || spans.state[index] === STATE.lost) own.open += 1;
    else (durations[at] ??= []).push(end - start);
    if (isBadState(spans.state[index])) own.errors += 1;
    const from = Math.max(start, reached[at]);
    if (end > from) {
      own.time += end - from;
      reached[at] = end;
    }
    own.last = Math.max(Number.isNaN(own.last) ? 0 : own.last, end - trace.start);
  }
  return left;
}

/** @param {Trace} trace @param {number} root @param {Path[]} paths @param {Map<string, number>} byKey @returns {Int32Array} the path of each span; −1 for none, for example beyond PATHS_MAX */
function pathsOf(trace, root, paths, byKey) {
  const { spans } = trace;
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
  paths.push({ parent, depth: parent < 0 ? 0 : paths[parent].depth + 1, name, service, a: none(), b: none(), verdict: "same", basis: "time", newlyFailed: false, delta: 0, children: [] });
  return paths.length - 1;
}

/**
 * Decides for each run whether the path is complete: all of its spans are known and have ended.
 * @param {Path} path @param {Path | undefined} above @param {Comparison["states"]} states
 */
function complete(path, above, states) {
  for (const [side, other] of /** @type {const} */ ([["a", "b"], ["b", "a"]])) {
    const own = path[side];
    // Missing spans may belong to any path.
    if (states[side] === "incomplete") continue;
    const isLast = above?.[side].isComplete === true || (own.count > 0 && states[other] === "ended" && own.count === path[other].count);
    own.isComplete = states[side] === "ended" || (own.open === 0 && isLast);
  }
}

/** @param {number[] | undefined} durations @returns {number} */
function medianOf(durations) {
  return durations === undefined ? NaN : Float64Array.from(durations).sort()[(durations.length - 1) >> 1];
}

/** @param {Path} path @param {boolean} isPlaced */
function judge(path, isPlaced) {
  const { a, b } = path;
  path.newlyFailed = a.errors === 0 && b.errors > 0 && a.isComplete && isPlaced;
  if (!isPlaced && (a.count === 0 || b.count === 0)) path.verdict = "unfinished";
  else if (a.count === 0) path.verdict = a.isComplete ? "new" : "later";
  else if (b.count === 0) path.verdict = b.isComplete ? "missing" : "later";
  else {
    const delta = b.time - a.time;
    const isEqual = Math.abs(delta) <= Math.max(SAME_MS, SAME_SHARE * Math.max(a.time, b.time));
    // The time of an unfinished side only grows. If it exceeds that of a complete side already, the verdict is final.
    const isFinal = a.isComplete ? b.isComplete || (!isEqual && delta > 0) : b.isComplete && !isEqual && delta < 0;
    if (isFinal) return settle(path, "time", delta, isEqual);
    const perCall = b.median - a.median;
    if (Number.isNaN(perCall)) path.verdict = "unfinished";
    else settle(path, "call", perCall, Math.abs(perCall) <= Math.max(SAME_MS / Math.max(a.count, b.count), SAME_SHARE * Math.max(a.median, b.median)));
    return;
  }
  path.delta = path.verdict === "new" || path.verdict === "missing" ? b.time - a.time : 0;
}

/** @param {Path} path @param {Basis} basis @param {number} delta @param {boolean} isEqual */
function settle(path, basis, delta, isEqual) {
  path.basis = basis;
  path.delta = delta;
  path.verdict = isEqual ? "same" : delta > 0 ? "slower" : "faster";
}

/**
 * Returns which run took longer, and by how much. A run that is not finished is only known to take at least its time
 * so far.
 * @param {Comparison} comparison
 * @returns {{delta: number, isEqual: boolean, isFinal: boolean} | null} `delta`: second run minus first; `isFinal`: both ended; null if it is not known yet
 */
export function differenceOf({ states, total }) {
  const delta = total.b - total.a;
  const isEqual = Math.abs(delta) <= Math.max(SAME_MS, SAME_SHARE * Math.max(total.a, total.b));
  const isFinal = states.a === "ended" && states.b === "ended";
  if (isFinal) return { delta, isEqual, isFinal };
  const isKnown = !isEqual && (delta > 0 ? states.a === "ended" : states.b === "ended");
  return isKnown ? { delta, isEqual, isFinal } : null;
}

/**
 * Finds the cause of the difference: descends from the root while one path has most of the difference.
 * @param {Comparison} comparison
 * @returns {number[]} the paths below the root; empty if the difference is small or unknown, or no single path has most of it
 */
export function causeOf(comparison) {
  const { paths, total } = comparison;
  const whole = total.b - total.a;
  if (paths.length === 0 || Math.abs(whole) <= SAME_MS || differenceOf(comparison) === null) return [];
  // A difference per call says nothing about the whole time.
  const shareOf = (/** @type {Path} */ path) => (path.basis === "time" ? path.delta / whole : -Infinity);
  const cause = [];
  for (let at = 0; ;) {
    const most = paths[at].children.reduce((best, child) => (best < 0 || shareOf(paths[child]) > shareOf(paths[best]) ? child : best), -1);
    if (most < 0 || shareOf(paths[most]) < CAUSE_SHARE) return cause;
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
    const children = order === "time" ? paths[at].children : [...paths[at].children].sort((one, other) => weightOf(paths[other]) - weightOf(paths[one]));
    for (let child = children.length - 1; child >= 0; child -= 1) stack.push(children[child]);
  }
  return rows;
}

/** @param {Path} path @returns {number} the size of its difference, to sort by */
function weightOf({ basis, delta, a, b }) {
  return Math.abs(delta) * (basis === "call" ? Math.max(a.count, b.count) : 1);
}

/** @param {Path} path @returns {string} `+19 %`, or `×135` from ten times on; empty unless the path is slower or faster */
export function deltaShareText({ a, b, verdict, basis }) {
  const [before, after] = basis === "call" ? [a.median, b.median] : [a.time, b.time];
  if ((verdict !== "slower" && verdict !== "faster") || !(before > 0)) return "";
  const times = after / before;
  if (times >= 10) return `×${times.toFixed(0)}`;
  const percent = Math.round((times - 1) * 100);
  return percent === 0 ? "" : `${percent > 0 ? "+" : "−"}${Math.abs(percent)} %`;
}

/** @param {Path} path @returns {string} `×12`, `12 → 14`, `701 of 1,000`, `0 → 3+`; empty without spans */
export function spansText({ a, b }) {
  if (a.count + b.count === 0) return "";
  if (a.isComplete && b.isComplete) return a.count === b.count ? `×${formatCount(a.count)}` : `${formatCount(a.count)} → ${formatCount(b.count)}`;
  if (a.isComplete && a.count > 0 && b.count <= a.count) return `${formatCount(b.count)} of ${formatCount(a.count)}`;
  return `${formatCount(a.count)}${a.isComplete ? "" : "+"} → ${formatCount(b.count)}${b.isComplete ? "" : "+"}`;
}

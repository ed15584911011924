// @ts-check
// The critical path of an ended trace: the stretches of spans that delayed its end. If they had been shorter, the
// trace would have ended sooner. Must never touch the DOM or a clock, nor recurse: a trace may be 100,000 spans deep.
//
// The rule is that of CRISP (Zhang et al., USENIX ATC 2022, §3.2) as Jaeger applies it. The walk begins at the end of
// a span and goes backwards to the child that ended last before the current moment. The child's start becomes the
// next moment in the parent. Children that overlap the moment ran in parallel to the path and are not on it. A child
// that outlives its parent counts only up to the parent's end. Several roots are treated as children of one nameless
// span.

import { STATE } from "./columns.mjs";
import { barEnd } from "./span.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{start: number, end: number}} Stretch
 * @typedef {{name: number, time: number, count: number, longest: number}} Share the spans of one name on the path:
 *   `name` is the index of the name in the trace's `strings`, `longest` the span with the most time on the path
 */

export class CriticalPath {
  /** @param {number} count */
  constructor(count) {
    /** By span: the index of its earliest segment, −1 for none. `next` links a segment to the span's next later one. */
    this.head = new Int32Array(count).fill(-1);
    /** @type {number[]} */
    this.next = [];
    /** @type {number[]} */
    this.start = [];
    /** @type {number[]} */
    this.end = [];
    /** By span: its time on the path. */
    this.time = new Float64Array(count);
    this.total = 0;
  }

  /** @param {number} index @param {number} start @param {number} end */
  add(index, start, end) {
    if (index < 0 || !(end > start)) return;
    this.next.push(this.head[index]);
    this.head[index] = this.start.length;
    this.start.push(start);
    this.end.push(end);
    this.time[index] += end - start;
    this.total += end - start;
  }

  /** @param {number} index @returns {Stretch[]} in order of time */
  segmentsOf(index) {
    const segments = [];
    for (let at = this.head[index] ?? -1; at >= 0; at = this.next[at]) segments.push({ start: this.start[at], end: this.end[at] });
    return segments;
  }

  /** @param {Trace} trace @returns {Share[]} the names on the path, most time first */
  shares({ spans }) {
    /** @type {Map<number, Share>} */
    const shares = new Map();
    for (let index = 0; index < this.head.length; index += 1) {
      const time = this.time[index];
      if (time === 0) continue;
      const share = shares.get(spans.name[index]);
      if (share === undefined) shares.set(spans.name[index], { name: spans.name[index], time, count: 1, longest: index });
      else {
        share.time += time;
        share.count += 1;
        if (time > this.time[share.longest]) share.longest = index;
      }
    }
    return [...shares.values()].sort((a, b) => b.time - a.time);
  }
}

/**
 * @param {Trace} trace without open spans
 * @returns {CriticalPath}
 */
export function criticalPath(trace) {
  const { spans } = trace;
  const path = new CriticalPath(spans.count);
  const endOf = (/** @type {number} */ index) => barEnd(trace, index, NaN);
  const enter = (/** @type {number} */ index, /** @type {number[]} */ children, /** @type {number} */ moment) => {
    // The child with the latest end is first. Of children that end together, the longest is first.
    const ends = new Map(children.map((child) => [child, Math.min(moment, endOf(child))]));
    const end = (/** @type {number} */ child) => /** @type {number} */ (ends.get(child));
    children.sort((a, b) => end(b) - end(a) || spans.start[a] - spans.start[b]);
    return { index, children, ends, moment, limit: moment, at: 0 };
  };
  const tops = topsOf(trace);
  const stack = [enter(-1, tops, tops.reduce((latest, index) => Math.max(latest, endOf(index)), -Infinity))];
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    let child = -1;
    while (child < 0 && top.at < top.children.length) {
      const candidate = top.children[top.at];
      top.at += 1;
      const end = Number(top.ends.get(candidate));
      if (end <= top.moment && spans.start[candidate] < end) child = candidate;
    }
    if (child < 0) {
      stack.pop();
      if (top.index < 0) continue;
      path.add(top.index, spans.start[top.index], top.moment);
      const parent = stack[stack.length - 1];
      parent.moment = Math.min(parent.moment, spans.start[top.index]);
      continue;
    }
    const end = Number(top.ends.get(child));
    path.add(top.index, Math.max(end, spans.start[top.index] ?? -Infinity), top.moment);
    top.moment = end;
    stack.push(enter(child, below(trace, child), end));
  }
  return path;
}

/** @param {Trace} trace @param {number} parent @returns {number[]} */
function below({ spans }, parent) {
  const children = [];
  for (let child = spans.firstChild[parent]; child >= 0; child = spans.nextSibling[child]) children.push(child);
  return children;
}

/** @param {Trace} trace @returns {number[]} the outermost spans that are not placeholders */
function topsOf(trace) {
  const tops = [];
  for (const root of trace.roots) {
    if (trace.spans.state[root] === STATE.placeholder) tops.push(...below(trace, root));
    else tops.push(root);
  }
  return tops;
}

/**
 * Returns at most `limit` stretches to draw. Merges those that would touch on the screen; if too many remain, keeps the
 * longest.
 * @param {Stretch[]} segments in order @param {number} gap too short to see @param {number} limit
 * @returns {Stretch[]}
 */
export function drawable(segments, gap, limit) {
  /** @type {Stretch[]} */
  const merged = [];
  for (const segment of segments) {
    const last = merged[merged.length - 1];
    if (last !== undefined && segment.start - last.end <= gap) last.end = segment.end;
    else merged.push({ ...segment });
  }
  if (merged.length <= limit) return merged;
  return merged.sort((a, b) => b.end - b.start - (a.end - a.start)).slice(0, limit);
}

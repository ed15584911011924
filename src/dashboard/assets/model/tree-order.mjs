// @ts-check
// Reading order: parents before children, children by start, regardless of folding and groups. Finds the next span in
// this order, and counts the spans before one. Must never touch the DOM or a clock, nor recurse. In a trace, it changes
// only the order of siblings.

import { FLAG, isBadState } from "./columns.mjs";
import { sortChildren, sortedRoots } from "./tree.mjs";

/** @typedef {import("./tree.mjs").Tree} Tree */

/**
 * Returns the next span that failed, was lost, or reports a failure, in reading order. Wraps around at the end.
 * @param {Tree} tree
 * @param {number} from span to start from, exclusive; −1 for the beginning
 * @param {1 | -1} direction
 * @returns {number} −1 if there is none
 */
export function nextBad(tree, from, direction) {
  return nextWhere(tree, from, direction, (index) => isBadState(tree.spans.state[index]) || tree.spans.has(index, FLAG.failing));
}

/**
 * Returns the next span with a property, in reading order. Wraps around at the end.
 * @param {Tree} tree
 * @param {number} from exclusive; −1 for the beginning
 * @param {1 | -1} direction
 * @param {(index: number) => boolean} has
 * @returns {number} −1 if there is none
 */
export function nextWhere(tree, from, direction, has) {
  const walk = new TreeWalk(tree, from, direction);
  for (let index = walk.next(); index >= 0; index = walk.next()) if (has(index)) return index;
  return -1;
}

/**
 * Visits all spans once, in reading order, and wraps around at the end. The tree may change between two steps: the
 * walk continues from the span visited last.
 */
export class TreeWalk {
  /** @param {Tree} tree @param {number} from exclusive; −1 for the beginning @param {1 | -1} direction */
  constructor(tree, from, direction) {
    this.tree = tree;
    this.direction = direction;
    this.index = from;
    this.steps = 0;
    this.structure = -1;
    /** @type {number[]} */
    this.roots = [];
    /** The place of the current root in `roots`. */
    this.at = -1;
  }

  /** @returns {number} −1 once every span was visited */
  next() {
    const { tree, direction } = this;
    const { spans } = tree;
    if (this.steps >= spans.count) return -1;
    if (tree.structure !== this.structure) this.findRoots();
    if (this.roots.length === 0) return -1;
    this.steps += 1;
    if (this.index >= 0) this.index = direction > 0 ? nextInTree(spans, this.index) : previousInTree(spans, this.index);
    if (this.index < 0) {
      this.at = (this.at + direction + this.roots.length) % this.roots.length;
      this.index = direction > 0 ? this.roots[this.at] : lastBelow(spans, this.roots[this.at]);
    }
    return this.index;
  }

  findRoots() {
    const { tree, direction } = this;
    this.structure = tree.structure;
    this.roots = sortedRoots(tree);
    this.at = this.roots.indexOf(rootOf(tree.spans, this.index));
    if (this.at >= 0) return;
    this.at = direction > 0 ? -1 : 0;
    this.index = -1;
  }
}

/**
 * Adds up marks, in one pass without sorting.
 * @param {Tree} tree @param {Uint8Array} marks 1 or 0 for each span
 * @returns {Int32Array} the number of marked spans in the subtree of each span, itself included
 */
export function countInSubtrees({ spans: { parent, count } }, marks) {
  const counts = new Int32Array(count);
  /** Number of children whose counts are not yet added; −1 once the span's own count is added to its parent's. */
  const left = new Int32Array(count);
  for (let index = 0; index < count; index += 1) {
    counts[index] = marks[index];
    if (parent[index] >= 0) left[parent[index]] += 1;
  }
  for (let leaf = 0; leaf < count; leaf += 1) {
    // Climbs from each leaf to parents whose children have all been added.
    for (let index = leaf; left[index] === 0; ) {
      left[index] = -1;
      const above = parent[index];
      if (above < 0) break;
      counts[above] += counts[index];
      left[above] -= 1;
      index = above;
    }
  }
  return counts;
}

/**
 * Returns the number of marked spans before a span in reading order.
 * @param {Tree} tree @param {number} index @param {Uint8Array} marks 1 or 0 for each span
 * @param {Int32Array} counts as returned by `countInSubtrees`
 * @returns {number}
 */
export function countBefore(tree, index, marks, counts) {
  const { spans } = tree;
  let before = 0;
  let step = index;
  for (let above = spans.parent[step]; above >= 0; step = above, above = spans.parent[step]) {
    sortChildren(spans, above);
    for (let sibling = spans.previousSibling[step]; sibling >= 0; sibling = spans.previousSibling[sibling]) before += counts[sibling];
    before += marks[above];
  }
  for (const root of sortedRoots(tree)) {
    if (root === step) break;
    before += counts[root];
  }
  return before;
}

/**
 * @param {import("./columns.mjs").SpanColumns} spans @param {number} index
 * @returns {number} −1 after the last span below its root
 */
function nextInTree(spans, index) {
  if (spans.firstChild[index] >= 0) {
    sortChildren(spans, index);
    return spans.firstChild[index];
  }
  for (let step = index; spans.parent[step] >= 0; step = spans.parent[step]) if (spans.nextSibling[step] >= 0) return spans.nextSibling[step];
  return -1;
}

/** @param {import("./columns.mjs").SpanColumns} spans @param {number} index @returns {number} −1 for a root */
function previousInTree(spans, index) {
  const before = spans.parent[index] < 0 ? -1 : spans.previousSibling[index];
  return before >= 0 ? lastBelow(spans, before) : spans.parent[index];
}

/**
 * @param {import("./columns.mjs").SpanColumns} spans @param {number} index
 * @returns {number} the last span below it in reading order, or the span itself if it has no children
 */
function lastBelow(spans, index) {
  let last = index;
  while (spans.firstChild[last] >= 0) {
    sortChildren(spans, last);
    last = spans.lastChild[last];
  }
  return last;
}

/** @param {import("./columns.mjs").SpanColumns} spans @param {number} index @returns {number} */
function rootOf({ parent }, index) {
  let root = index;
  while (root >= 0 && parent[root] >= 0) root = parent[root];
  return root;
}

// @ts-check
// Reading order: parents before children, children by start, regardless of folding and groups. Finds the next span in
// this order or visits all. Must never touch the DOM or a clock, nor recurse. Of a trace, it changes only the order
// of siblings.

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
  const roots = sortedRoots(tree);
  if (roots.length === 0) return -1;
  const { spans } = tree;
  const step = direction > 0 ? nextInTree : previousInTree;
  const enter = direction > 0 ? (/** @type {number} */ root) => root : (/** @type {number} */ root) => lastBelow(spans, root);
  let at = roots.indexOf(rootOf(spans, from));
  let index = from < 0 ? -1 : from;
  if (at < 0) {
    at = direction > 0 ? -1 : 0;
    index = -1;
  }
  for (let steps = 0; steps < spans.count; steps += 1) {
    index = index < 0 ? -1 : step(spans, index);
    if (index < 0) {
      at = (at + direction + roots.length) % roots.length;
      index = enter(roots[at]);
    }
    if (has(index)) return index;
  }
  return -1;
}

/** Visits every span, in reading order. @param {Tree} tree @param {(index: number) => void} visit */
export function visitInOrder(tree, visit) {
  for (const root of sortedRoots(tree)) for (let index = root; index >= 0; index = nextInTree(tree.spans, index)) visit(index);
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
 * @returns {number} the last span below it in reading order, or itself without children
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

// @ts-check
// The span tree of one trace: its links, counts, order of siblings, innermost open spans and error marks.
// Nearly every event updates these in amortised constant time.
// Must never parse an event (`model.mjs` does), touch the DOM, or recurse: a trace may be 100,000 spans deep.

import { FLAG, Journal, STATE, SpanColumns, Strings, isBadState, isOpenState } from "./columns.mjs";

/**
 * @typedef {{total: number, open: number, waiting: number, errors: number, panicked: number, cancelled: number, lost: number, placeholders: number}} Counts
 *   `errors` includes panicked spans and open ones that report a failure, but not lost ones
 * @typedef {object} Tree
 * @property {SpanColumns} spans
 * @property {Strings} strings
 * @property {Journal} journal
 * @property {Set<number>} roots
 * @property {Set<number>} openLeaves open spans without open children: the trace waits for these
 * @property {Counts} counts
 * @property {number} version grows with every change
 * @property {number} structure grows when rows appear, move or change order
 * @property {boolean} errorMarksStale some error marks may no longer have a cause
 */

/**
 * A parent with this many children is rolled up: its open and failed children and those with errors below are rows, and
 * one more row sums up all children.
 */
export const ROLLUP_MIN = 100;
/** Siblings of one name become a group from this many on. */
export const GROUP_MIN = 5;
// An insertion that would go further back marks the children unsorted; they are sorted before the next read.
const STEPS_BACK_MAX = 64;

/** @returns {Tree} */
export function createTree() {
  return {
    spans: new SpanColumns(), strings: new Strings(), journal: new Journal(),
    roots: new Set(), openLeaves: new Set(),
    counts: { total: 0, open: 0, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 },
    version: 0, structure: 0, errorMarksStale: false,
  };
}

/** @param {Tree} tree @param {number} index */
export function touch(tree, index) {
  tree.spans.stamp[index] = tree.version + 1;
  tree.journal.add(index);
}

/** @param {Tree} tree @param {string} id @returns {number} a span of which only the id is known */
export function addPlaceholder(tree, id) {
  const index = tree.spans.add(id);
  tree.roots.add(index);
  tree.counts.placeholders += 1;
  tree.structure += 1;
  touch(tree, index);
  return index;
}

/**
 * Moves a root under its parent. Refuses a link that would close a cycle: the span then stays a root and so stays
 * visible.
 * @param {Tree} tree
 * @param {number} child a root
 * @param {number} parent
 */
export function link(tree, child, parent) {
  const { spans } = tree;
  // Only a span that already has children can be its parent's ancestor, so the usual new leaf costs no walk.
  if (child === parent || (spans.firstChild[child] >= 0 && isAncestor(spans, child, parent))) return;
  tree.roots.delete(child);
  spans.parent[child] = parent;
  insertSorted(spans, child, parent);
  spans.childCount[parent] += 1;
  const state = spans.state[child];
  if (isOpenState(state)) childOpened(tree, parent);
  if (isBadState(state)) spans.childFailed[parent] += 1;
  if (hasBelow(spans, child)) spans.childBelow[parent] += 1;
  if (isBadState(state) || spans.has(child, FLAG.errorBelow | FLAG.failing)) markAncestors(tree, child);
  tree.structure += 1;
  touch(tree, parent);
}

/**
 * Moves a span to another state and updates counts, innermost open spans and error marks.
 * @param {Tree} tree
 * @param {number} index
 * @param {number} next
 */
export function setState(tree, index, next) {
  const { spans } = tree;
  const previous = spans.state[index];
  if (previous === next) return;
  const before = hasBelow(spans, index);
  spans.state[index] = next;
  countState(tree.counts, previous, -1);
  countState(tree.counts, next, 1);
  const parent = spans.parent[index];
  const opens = isOpenState(next);
  if (!isOpenState(previous) && opens) {
    if (spans.childOpen[index] === 0) tree.openLeaves.add(index);
    if (parent >= 0) childOpened(tree, parent);
  } else if (isOpenState(previous) && !opens) {
    tree.openLeaves.delete(index);
    if (parent >= 0) childClosed(tree, parent);
  }
  if (parent >= 0) spans.childBelow[parent] += Number(hasBelow(spans, index)) - Number(before);
  if (isBadState(next) && !isBadState(previous)) {
    if (parent >= 0) spans.childFailed[parent] += 1;
    markAncestors(tree, index);
  } else if (isBadState(previous) && !isBadState(next)) {
    if (parent >= 0) spans.childFailed[parent] -= 1;
    tree.errorMarksStale = true;
  }
  if (parent >= 0) {
    touch(tree, parent);
    // These states decide which children of a rolled-up parent and which members of a group are rows.
    if (spans.childCount[parent] >= GROUP_MIN) tree.structure += 1;
  }
  touch(tree, index);
}

/**
 * Sets or clears the failure that an open span reports. Such a span counts as an error, as in the server's list.
 * @param {Tree} tree @param {number} index @param {boolean} fails
 */
export function setFailing(tree, index, fails) {
  const { spans } = tree;
  if (spans.has(index, FLAG.failing) === fails) return;
  tree.counts.errors += fails ? 1 : -1;
  if (fails) {
    spans.set(index, FLAG.failing);
    markAncestors(tree, index);
  } else {
    spans.clear(index, FLAG.failing);
    tree.errorMarksStale = true;
  }
  touch(tree, index);
}

/** Sets or corrects a span's start. @param {Tree} tree @param {number} index @param {number} start */
export function setStart(tree, index, start) {
  const { spans } = tree;
  spans.start[index] = start;
  const parent = spans.parent[index];
  if (parent < 0) {
    // Roots are sorted by start.
    tree.structure += 1;
    return;
  }
  const key = sortKey(spans, index);
  const before = spans.previousSibling[index];
  const after = spans.nextSibling[index];
  if ((before >= 0 && sortKey(spans, before) > key) || (after >= 0 && sortKey(spans, after) < key)) {
    spans.set(parent, FLAG.unsorted);
    tree.structure += 1;
  }
}

/**
 * Recomputes all error marks. Needed only after an error was withdrawn, for example when a lost span's real end
 * arrives. That is rare, so a pass over the whole tree is acceptable, and normal events cost nothing.
 * @param {Tree} tree
 */
export function refreshErrorMarks(tree) {
  if (!tree.errorMarksStale) return;
  const { spans } = tree;
  for (let index = 0; index < spans.count; index += 1) {
    spans.childBelow[index] = 0;
    if (spans.has(index, FLAG.errorBelow)) {
      spans.clear(index, FLAG.errorBelow);
      touch(tree, index);
    }
  }
  tree.structure += 1;
  for (let index = 0; index < spans.count; index += 1) if (isBadState(spans.state[index]) || spans.has(index, FLAG.failing)) markAncestors(tree, index);
  tree.errorMarksStale = false;
}

/** Sorts the children by start; ties stay in order of arrival. @param {SpanColumns} spans @param {number} parent */
export function sortChildren(spans, parent) {
  if (!spans.has(parent, FLAG.unsorted)) return;
  spans.clear(parent, FLAG.unsorted);
  /** @type {number[]} */
  const children = [];
  for (let child = spans.firstChild[parent]; child >= 0; child = spans.nextSibling[child]) children.push(child);
  children.sort((a, b) => compare(sortKey(spans, a), sortKey(spans, b)));
  let previous = -1;
  for (const child of children) {
    spans.previousSibling[child] = previous;
    if (previous < 0) spans.firstChild[parent] = child;
    else spans.nextSibling[previous] = child;
    previous = child;
  }
  spans.nextSibling[previous] = -1;
  spans.lastChild[parent] = previous;
}

/** @param {Tree} tree @returns {number[]} */
export function sortedRoots(tree) {
  const { spans } = tree;
  return [...tree.roots].sort((a, b) => compare(sortKey(spans, a), sortKey(spans, b)));
}

/** @param {SpanColumns} spans @param {number} child @param {number} parent */
function insertSorted(spans, child, parent) {
  const key = sortKey(spans, child);
  const last = spans.lastChild[parent];
  let after = last;
  if (!spans.has(parent, FLAG.unsorted)) {
    for (let steps = 0; after >= 0 && sortKey(spans, after) > key; steps += 1) {
      if (steps === STEPS_BACK_MAX) {
        spans.set(parent, FLAG.unsorted);
        after = last;
        break;
      }
      after = spans.previousSibling[after];
    }
  }
  const next = after < 0 ? spans.firstChild[parent] : spans.nextSibling[after];
  spans.previousSibling[child] = after;
  spans.nextSibling[child] = next;
  if (after < 0) spans.firstChild[parent] = child;
  else spans.nextSibling[after] = child;
  if (next < 0) spans.lastChild[parent] = child;
  else spans.previousSibling[next] = child;
}

/**
 * @param {SpanColumns} spans @param {number} index
 * @returns {number} for a placeholder the start of its first child; an unknown start sorts last
 */
function sortKey(spans, index) {
  const own = spans.start[index];
  if (own === own) return own;
  const child = spans.firstChild[index];
  const first = child < 0 ? NaN : spans.start[child];
  return first === first ? first : Infinity;
}

/** @param {number} a @param {number} b @returns {number} */
function compare(a, b) {
  return a === b ? 0 : a - b;
}

/** @param {SpanColumns} spans @param {number} candidate @param {number} index @returns {boolean} */
function isAncestor(spans, candidate, index) {
  for (let step = spans.parent[index]; step >= 0; step = spans.parent[step]) if (step === candidate) return true;
  return false;
}

/**
 * Marks the ancestors of a failed span. Stops at the first marked one, because all above it are marked.
 * @param {Tree} tree @param {number} index
 */
function markAncestors(tree, index) {
  const { spans } = tree;
  for (let step = spans.parent[index]; step >= 0 && !spans.has(step, FLAG.errorBelow); step = spans.parent[step]) {
    spans.set(step, FLAG.errorBelow);
    const parent = spans.parent[step];
    if (parent >= 0 && !isBadState(spans.state[step])) {
      spans.childBelow[parent] += 1;
      // A marked span becomes a row of its rolled-up parent or its group.
      if (spans.childCount[parent] >= GROUP_MIN) tree.structure += 1;
    }
    touch(tree, step);
  }
}

/** @param {SpanColumns} spans @param {number} index @returns {boolean} whether spans below it failed but it did not */
export function hasBelow(spans, index) {
  return spans.has(index, FLAG.errorBelow) && !isBadState(spans.state[index]);
}

/** @param {Tree} tree @param {number} parent */
function childOpened(tree, parent) {
  tree.spans.childOpen[parent] += 1;
  tree.openLeaves.delete(parent);
}

/** @param {Tree} tree @param {number} parent */
function childClosed(tree, parent) {
  tree.spans.childOpen[parent] -= 1;
  if (tree.spans.childOpen[parent] === 0 && isOpenState(tree.spans.state[parent])) tree.openLeaves.add(parent);
}

/** @param {Counts} counts @param {number} state @param {1 | -1} by */
export function countState(counts, state, by) {
  if (state === STATE.placeholder) {
    counts.placeholders += by;
    return;
  }
  counts.total += by;
  if (isOpenState(state)) counts.open += by;
  if (state === STATE.waiting) counts.waiting += by;
  if (state === STATE.error || state === STATE.panicked) counts.errors += by;
  if (state === STATE.panicked) counts.panicked += by;
  if (state === STATE.cancelled) counts.cancelled += by;
  if (state === STATE.lost) counts.lost += by;
}

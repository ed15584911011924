// @ts-check
// Which spans are rows, and in which order: folding, rolling up, and the ways from row to row.
// Must never touch the DOM or a clock, nor recurse. It writes one column, `depth`, and nothing else of a trace.

import { FLAG, isBadState, isOpenState } from "./columns.mjs";
import { formatCount } from "./time.mjs";
import { ROLLUP_MIN, refreshErrorMarks, sortChildren, sortedRoots } from "./tree.mjs";

/**
 * @typedef {import("./tree.mjs").Tree} Tree
 * @typedef {"open" | "closed" | "rolled"} FoldState `rolled`: of many children only the open, the failed, and those with failures below are rows
 * @typedef {{depth: number, rollUp: boolean, except: Map<string, FoldState>}} Fold spans shallower than `depth` are open
 *   (those with many children rolled up, if `rollUp`), but for the exceptions, by span id. In this shape "collapse all"
 *   costs nothing and holds for spans still to come
 * @typedef {{count: number, spans: Int32Array, rowOf: Int32Array}} Rows `spans`: the index of each row's span; the
 *   complement (`~parent`, below 0) for the row that sums up the children of a rolled-up parent. `rowOf`: the row of each
 *   span, −1 where it is hidden
 */

/** Children of a rolled-up parent that are rows of their own. */
export const ROLLED_ROWS_MAX = 50;

/** @returns {Fold} */
export function unfolded() {
  return { depth: Infinity, rollUp: true, except: new Map() };
}

/** @param {number} depth @returns {Fold} all open to this depth, wide ones too; 0 closes everything */
export function openTo(depth) {
  return { depth, rollUp: depth !== Infinity, except: new Map() };
}

/**
 * Reads the span's depth, so it is true for spans that are rows.
 * @param {Tree} tree @param {Fold} fold @param {number} index
 * @returns {FoldState}
 */
export function foldOf({ spans }, fold, index) {
  if (fold.except.size > 0) {
    const exception = fold.except.get(spans.ids[index]);
    if (exception !== undefined) return exception;
  }
  if (spans.depth[index] >= fold.depth) return "closed";
  return fold.rollUp && spans.childCount[index] >= ROLLUP_MIN ? "rolled" : "open";
}

/** @returns {Rows} */
export function noRows() {
  return { count: 0, spans: new Int32Array(0), rowOf: new Int32Array(0) };
}

/**
 * The rows in reading order, parents before children. One pass over what is visible.
 * @param {Tree} tree
 * @param {Fold} fold
 * @param {Rows} [reuse] rows that nobody needs any more: their arrays are taken if they are large enough
 * @returns {Rows}
 */
export function flatten(tree, fold, reuse = noRows()) {
  refreshErrorMarks(tree);
  const { spans } = tree;
  // Each span is one row at most, and each rolled-up parent one more.
  const room = spans.count + Math.ceil(spans.count / ROLLUP_MIN) + 1;
  const rows = {
    count: 0,
    spans: reuse.spans.length >= room ? reuse.spans : new Int32Array(room + (room >> 2)),
    rowOf: reuse.rowOf.length >= spans.count ? reuse.rowOf : new Int32Array(room + (room >> 2)),
  };
  rows.rowOf.fill(-1);
  for (const root of sortedRoots(tree)) flattenBelow(tree, fold, rows, root);
  return rows;
}

/** @param {Tree} tree @param {Fold} fold @param {Rows} rows @param {number} root */
function flattenBelow(tree, fold, rows, root) {
  const { spans } = tree;
  /** The rolled-up parents we are below, and how many of their children are rows. @type {{parent: number, shown: number}[]} */
  const rolled = [];
  let depth = 0;
  let index = root;
  for (;;) {
    spans.depth[index] = depth;
    rows.rowOf[index] = rows.count;
    rows.spans[rows.count] = index;
    rows.count += 1;
    const state = spans.firstChild[index] < 0 ? "closed" : foldOf(tree, fold, index);
    let next = -1;
    if (state !== "closed") {
      sortChildren(spans, index);
      if (state === "rolled") rolled.push({ parent: index, shown: 0 });
      next = pick(tree, rolled, index, spans.firstChild[index]);
      if (next >= 0) depth += 1;
      else sumUp(rows, rolled, index);
    }
    // Up, until there is a sibling to go on with.
    while (next < 0) {
      const parent = spans.parent[index];
      if (index === root || parent < 0) return;
      next = pick(tree, rolled, parent, spans.nextSibling[index]);
      if (next >= 0) break;
      sumUp(rows, rolled, parent);
      index = parent;
      depth -= 1;
    }
    index = next;
  }
}

/** @param {Tree} tree @param {{parent: number, shown: number}[]} rolled @param {number} parent @param {number} from @returns {number} the first of these siblings that is a row */
function pick({ spans }, rolled, parent, from) {
  const top = rolled[rolled.length - 1];
  if (top === undefined || top.parent !== parent) return from;
  if (top.shown >= ROLLED_ROWS_MAX) return -1;
  for (let child = from; child >= 0; child = spans.nextSibling[child]) {
    const state = spans.state[child];
    if (isOpenState(state) || isBadState(state) || spans.has(child, FLAG.errorBelow)) {
      top.shown += 1;
      return child;
    }
  }
  return -1;
}

/** @param {Rows} rows @param {{parent: number, shown: number}[]} rolled @param {number} parent whose last child was a row */
function sumUp(rows, rolled, parent) {
  if (rolled.length === 0 || rolled[rolled.length - 1].parent !== parent) return;
  rolled.pop();
  rows.spans[rows.count] = ~parent;
  rows.count += 1;
}

/**
 * The row of a span, or of the nearest ancestor that is visible; −1 if there is none.
 * @param {Tree} tree
 * @param {Rows} rows
 * @param {number} index −1 for no span
 * @returns {number}
 */
export function nearestRow({ spans }, rows, index) {
  for (let step = index; step >= 0; step = spans.parent[step]) {
    // A span that came after the rows were made has none yet.
    const row = step < rows.rowOf.length ? rows.rowOf[step] : -1;
    if (row >= 0 && row < rows.count && rows.spans[row] === step) return row;
  }
  return -1;
}

/** @param {Rows} rows @param {number} row @returns {number} the span that the row is of, or sums up for; −1 beyond the rows */
export function spanOfRow(rows, row) {
  if (row < 0 || row >= rows.count) return -1;
  const index = rows.spans[row];
  return index < 0 ? ~index : index;
}

/**
 * Opens what hides a span.
 * @param {Tree} tree @param {Fold} fold @param {Rows} rows @param {number} index
 * @returns {boolean} whether anything had to be opened
 */
export function unhide(tree, fold, rows, index) {
  const { spans } = tree;
  let opened = false;
  for (let step = index; step >= 0; step = spans.parent[step]) {
    const parent = spans.parent[step];
    if (parent < 0) break;
    const state = foldOf(tree, fold, parent);
    const hidden = !(step < rows.rowOf.length && rows.rowOf[step] >= 0);
    if (state === "closed" || (state === "rolled" && hidden && !isRolledRow(tree, step))) {
      fold.except.set(spans.ids[parent], "open");
      opened = true;
    }
  }
  return opened;
}

/** @param {Tree} tree @param {number} index @returns {boolean} whether it is surely a row of its rolled-up parent */
function isRolledRow({ spans }, index) {
  const state = spans.state[index];
  const parent = spans.parent[index];
  const isOne = isOpenState(state) || isBadState(state) || spans.has(index, FLAG.errorBelow);
  return isOne && spans.childOpen[parent] + spans.childFailed[parent] + spans.childBelow[parent] <= ROLLED_ROWS_MAX;
}

/**
 * `412 of 1,000 done · 3 failed · 2 with errors below · 5 running`: the children of a span in one line.
 * @param {Tree} tree @param {number} index
 * @returns {string}
 */
export function rollUpText({ spans }, index) {
  const all = spans.childCount[index];
  const open = spans.childOpen[index];
  const failed = spans.childFailed[index];
  const below = spans.childBelow[index];
  const parts = [open === 0 && failed === 0 ? `${formatCount(all)} done` : `${formatCount(all - open)} of ${formatCount(all)} done`];
  if (failed > 0) parts.push(`${formatCount(failed)} failed`);
  if (below > 0) parts.push(`${formatCount(below)} with errors below`);
  if (open > 0) parts.push(`${formatCount(open)} running`);
  return parts.join(" · ");
}

/**
 * The next span that is an error or lost, or says that it fails, in reading order, around the end and back to the beginning.
 * @param {Tree} tree
 * @param {number} from span to start from, exclusive; −1 for the beginning
 * @param {1 | -1} direction
 * @returns {number} −1 if there is none
 */
export function nextBad(tree, from, direction) {
  return nextWhere(tree, from, direction, (index) => isBadState(tree.spans.state[index]) || tree.spans.has(index, FLAG.failing));
}

/**
 * The next span with some property, in reading order as if nothing were folded.
 * @param {Tree} tree
 * @param {number} from exclusive; −1 for the beginning
 * @param {1 | -1} direction
 * @param {(index: number) => boolean} has
 * @returns {number} −1 if there is none
 */
export function nextWhere(tree, from, direction, has) {
  const rows = flatten(tree, openTo(Infinity));
  const { count } = rows;
  const at = from < 0 ? -1 : rows.rowOf[from];
  const origin = at < 0 && direction < 0 ? 0 : at;
  for (let step = 1; step <= count; step += 1) {
    const index = rows.spans[(((origin + step * direction) % count) + count) % count];
    if (has(index)) return index;
  }
  return -1;
}

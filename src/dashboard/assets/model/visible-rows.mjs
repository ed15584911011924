// @ts-check
// Which spans are rows, and in which order. Implements folding, groups and rolling up, and finds the row of a span.
// Must never touch the DOM or a clock, nor recurse. It changes a trace in three ways only: it writes the column
// `depth`, sorts siblings and refreshes stale error marks.

import { FLAG, isBadState, isOpenState } from "./columns.mjs";
import { SHOWN, groupView, isMemberShown, nothingOpened, showMember } from "./group-views.mjs";
import { groupsOf } from "./groups.mjs";
import { formatCount } from "./time.mjs";
import { ROLLUP_MIN, refreshErrorMarks, sortChildren, sortedRoots } from "./tree.mjs";

/**
 * @typedef {import("./tree.mjs").Tree} Tree
 * @typedef {import("./groups.mjs").Groups} Groups
 * @typedef {"open" | "closed" | "rolled"} FoldState `rolled`: the parent has many children; only open ones, failed
 *   ones and those with errors below are rows
 * @typedef {{depth: number, rollUp: boolean, except: Map<string, FoldState>, groups: import("./group-views.mjs").GroupViews}} Fold spans
 *   shallower than `depth` are open, except those listed by span id in `except`. With `rollUp`, spans with many children
 *   are rolled up. "Collapse all" thus costs nothing and also applies to future spans
 * @typedef {object} Rows
 * @property {number} count
 * @property {Int32Array} spans the index of the row's span; for a row without a span, the bitwise complement (below
 *   0) of the parent's index for a sum, or of the group's id
 * @property {Uint8Array} kinds the kind of each row, one of ROW
 * @property {Int32Array} rowOf the row of each span, −1 where it is hidden
 * @property {Int32Array} rowOfGroup the row of each group by its id, −1 where it is hidden
 * @typedef {{parent: number, kinds: number[], values: number[], at: number}} Entries the rows below one parent, in
 *   order; `at` is the next one
 */

/** The kinds of rows. `member`: a span in an open group; `sum`: the line that describes the children of a rolled-up span. */
export const ROW = Object.freeze({ span: 0, member: 1, sum: 2, group: 3, chips: 4 });
/** Maximum number of children that a rolled-up parent shows as rows, not counting those in groups. */
export const ROLLED_ROWS_MAX = 50;

/** @param {boolean} [isGrouped] @returns {Fold} */
export function unfolded(isGrouped = true) {
  return { depth: Infinity, rollUp: true, except: new Map(), groups: nothingOpened(isGrouped, null) };
}

/**
 * @param {number} depth @param {boolean} [isGrouped]
 * @returns {Fold} a fold with every span shallower than this depth open; wide parents among them are rolled up. 0
 *   closes everything; Infinity opens everything: nothing is rolled up, and groups show all members
 */
export function openTo(depth, isGrouped = true) {
  return { depth, rollUp: depth !== Infinity, except: new Map(), groups: nothingOpened(isGrouped, depth === Infinity ? SHOWN.all : null) };
}

/**
 * Returns whether a span is open, closed or rolled up. Valid only for spans that are rows, because it reads their
 * depth.
 * @param {Tree} tree @param {Fold} fold @param {number} index
 * @returns {FoldState}
 */
export function foldOf(tree, fold, index) {
  const { spans } = tree;
  if (fold.except.size > 0) {
    const exception = fold.except.get(spans.ids[index]);
    if (exception !== undefined) return exception;
  }
  if (spans.depth[index] >= fold.depth) return "closed";
  if (!fold.rollUp || spans.childCount[index] < ROLLUP_MIN) return "open";
  const grouped = fold.groups.isOn ? groupsOf(tree).grouped[index] : 0;
  return spans.childCount[index] - grouped >= ROLLUP_MIN ? "rolled" : "open";
}

/** @returns {Rows} */
export function noRows() {
  return { count: 0, spans: new Int32Array(0), kinds: new Uint8Array(0), rowOf: new Int32Array(0), rowOfGroup: new Int32Array(0) };
}

/**
 * Returns the rows in reading order, parents before children, in one pass over the children of visible spans that
 * are not closed.
 * @param {Tree} tree
 * @param {Fold} fold
 * @param {Rows} [reuse] rows no longer needed, whose arrays are reused if they are large enough
 * @returns {Rows}
 */
export function flatten(tree, fold, reuse = noRows()) {
  refreshErrorMarks(tree);
  const { spans } = tree;
  const groups = fold.groups.isOn ? groupsOf(tree) : null;
  const ids = groups === null ? 0 : groups.heads.length;
  // At most one row per span, one more per rolled-up parent, and two per group. A group has at least five members.
  const room = spans.count + Math.ceil(spans.count / ROLLUP_MIN) + Math.ceil(spans.count / 5) * 2 + 1;
  const larger = room + (room >> 2);
  const rows = {
    count: 0,
    spans: reuse.spans.length >= room ? reuse.spans : new Int32Array(larger),
    kinds: reuse.kinds.length >= room ? reuse.kinds : new Uint8Array(larger),
    rowOf: reuse.rowOf.length >= spans.count ? reuse.rowOf : new Int32Array(larger),
    rowOfGroup: reuse.rowOfGroup.length >= ids ? reuse.rowOfGroup : new Int32Array(ids * 2),
  };
  rows.rowOf.fill(-1);
  rows.rowOfGroup.fill(-1);
  const pass = new Pass(tree, fold, rows, groups);
  for (const root of sortedRoots(tree)) pass.addBelow(root);
  return rows;
}

class Pass {
  /** The ancestors of the current span that have groups or are rolled up, outermost first. @type {Entries[]} */
  entries = [];

  /** @param {Tree} tree @param {Fold} fold @param {Rows} rows @param {Groups | null} groups */
  constructor(tree, fold, rows, groups) {
    this.tree = tree;
    this.fold = fold;
    this.rows = rows;
    this.groups = groups;
  }

  /** @param {number} kind @param {number} value */
  add(kind, value) {
    const { rows } = this;
    rows.kinds[rows.count] = kind;
    rows.spans[rows.count] = value;
    rows.count += 1;
  }

  /** @param {number} root */
  addBelow(root) {
    const { tree: { spans }, rows } = this;
    spans.depth[root] = 0;
    let index = root;
    let kind = /** @type {number} */ (ROW.span);
    for (;;) {
      rows.rowOf[index] = rows.count;
      this.add(kind, index);
      let next = this.first(index);
      // Climb until an ancestor has a next sibling.
      while (next < 0) {
        const parent = spans.parent[index];
        if (index === root || parent < 0) return;
        next = this.after(parent, index);
        if (next < 0) index = parent;
      }
      const top = this.top(spans.parent[next]);
      kind = top === null ? ROW.span : top.kinds[top.at - 1];
      spans.depth[next] = spans.depth[spans.parent[next]] + (kind === ROW.member ? 2 : 1);
      index = next;
    }
  }

  /** @param {number} parent @returns {Entries | null} */
  top(parent) {
    const top = this.entries[this.entries.length - 1];
    return top !== undefined && top.parent === parent ? top : null;
  }

  /** @param {number} parent @returns {number} the first span below it that is a row, −1 for none */
  first(parent) {
    const { tree, fold, groups } = this;
    const { spans } = tree;
    if (spans.firstChild[parent] < 0) return -1;
    const state = foldOf(tree, fold, parent);
    if (state === "closed") return -1;
    sortChildren(spans, parent);
    const isGrouped = groups !== null && groups.grouped[parent] > 0;
    if (state !== "rolled" && !isGrouped) return spans.firstChild[parent];
    const entries = { parent, kinds: [], values: [], at: 0 };
    if (isGrouped) this.fillGrouped(entries, groups, state === "rolled");
    else this.fillRolled(entries);
    this.entries.push(entries);
    return this.next(entries);
  }

  /** @param {number} parent @param {number} index its child that was a row @returns {number} the next one, −1 for none */
  after(parent, index) {
    const top = this.top(parent);
    return top === null ? this.tree.spans.nextSibling[index] : this.next(top);
  }

  /**
   * Returns the next span, −1 at the end. Adds the rows without a span that come before it.
   * @param {Entries} entries @returns {number}
   */
  next(entries) {
    const { kinds, values } = entries;
    while (entries.at < kinds.length) {
      const { at } = entries;
      entries.at += 1;
      if (kinds[at] <= ROW.member) return values[at];
      if (kinds[at] === ROW.group) this.rows.rowOfGroup[values[at]] = this.rows.count;
      this.add(kinds[at], ~values[at]);
    }
    this.entries.pop();
    return -1;
  }

  /** @param {Entries} entries */
  fillRolled({ parent, kinds, values }) {
    const { spans } = this.tree;
    for (let child = spans.firstChild[parent], shown = 0; child >= 0 && shown < ROLLED_ROWS_MAX; child = spans.nextSibling[child]) {
      if (!isTelling(this.tree, child)) continue;
      kinds.push(ROW.span);
      values.push(child);
      shown += 1;
    }
    kinds.push(ROW.sum);
    values.push(parent);
  }

  /**
   * Puts a group in the place of its first member.
   * @param {Entries} entries @param {Groups} groups @param {boolean} isRolled whether the remaining children are rolled up
   */
  fillGrouped({ parent, kinds, values }, groups, isRolled) {
    const { spans } = this.tree;
    /** Groups added so far. @type {Set<number>} */
    const met = new Set();
    let shown = 0;
    for (let child = spans.firstChild[parent]; child >= 0; child = spans.nextSibling[child]) {
      const group = groups.of(child);
      if (group === null) {
        if (isRolled && (shown >= ROLLED_ROWS_MAX || !isTelling(this.tree, child))) continue;
        shown += 1;
        kinds.push(ROW.span);
        values.push(child);
      } else if (!met.has(group.id)) {
        met.add(group.id);
        kinds.push(ROW.group);
        values.push(group.id);
        this.fillMembers({ parent, kinds, values, at: 0 }, groups, group, child);
      }
    }
    if (!isRolled) return;
    kinds.push(ROW.sum);
    values.push(parent);
  }

  /** @param {Entries} entries @param {Groups} groups @param {import("./groups.mjs").Group} group @param {number} first its first member */
  fillMembers({ kinds, values }, groups, group, first) {
    const { spans } = this.tree;
    const view = groupView(this.tree, this.fold.groups, group);
    if (view === null) return;
    kinds.push(ROW.chips);
    values.push(group.id);
    const slowest = view.shown & SHOWN.slowest ? groups.timesOf(this.tree, group).slowest : [];
    for (let child = first; child >= 0; child = spans.nextSibling[child]) {
      if (groups.idOf[child] !== group.id || !isMemberShown(this.tree, view, slowest, child)) continue;
      kinds.push(ROW.member);
      values.push(child);
    }
  }
}

/**
 * @param {Tree} tree @param {number} index
 * @returns {boolean} whether a rolled-up parent shows it, up to ROLLED_ROWS_MAX
 */
function isTelling({ spans }, index) {
  const state = spans.state[index];
  return isOpenState(state) || isBadState(state) || spans.has(index, FLAG.errorBelow);
}

/**
 * Returns the row of a span, or of its nearest visible group or ancestor; −1 if there is none.
 * @param {Tree} tree
 * @param {Rows} rows
 * @param {number} index −1 for no span
 * @param {Fold | null} [fold] if given, groups are considered
 * @returns {number}
 */
export function nearestRow(tree, rows, index, fold = null) {
  const { spans } = tree;
  const groups = fold?.groups.isOn === true ? groupsOf(tree) : null;
  for (let step = index; step >= 0; step = spans.parent[step]) {
    // A span newer than the rows has no row yet.
    const row = step < rows.rowOf.length ? rows.rowOf[step] : -1;
    if (row >= 0 && row < rows.count && rows.spans[row] === step) return row;
    const group = groups?.of(step) ?? null;
    const groupRow = group === null ? -1 : rowOfGroup(rows, group.id);
    if (groupRow >= 0) return groupRow;
  }
  return -1;
}

/** @param {Rows} rows @param {number} id of a group @returns {number} −1 where it is hidden */
export function rowOfGroup(rows, id) {
  const row = id < rows.rowOfGroup.length ? rows.rowOfGroup[id] : -1;
  return row >= 0 && row < rows.count && rows.kinds[row] === ROW.group && rows.spans[row] === ~id ? row : -1;
}

/**
 * @param {Rows} rows @param {number} row
 * @returns {number} the row's span, or the parent for a sum; −1 for a group or beyond the last row
 */
export function spanOfRow(rows, row) {
  if (row < 0 || row >= rows.count || rows.kinds[row] >= ROW.group) return -1;
  const index = rows.spans[row];
  return index < 0 ? ~index : index;
}

/** @param {Rows} rows @param {number} row @returns {number} the id of the row's group; −1 for other rows */
export function groupOfRow(rows, row) {
  return row >= 0 && row < rows.count && rows.kinds[row] >= ROW.group ? ~rows.spans[row] : -1;
}

/** Bound on the ancestors visited: a trace may be 100,000 spans deep, and this runs in every frame. */
const ABOVE_MAX = 1_000;

/**
 * Returns the rows of a row's ancestors, and of the groups that contain the row or an ancestor, outermost first. For a
 * very deep row, returns only the innermost ones.
 * @param {Tree} tree @param {Rows} rows @param {number} row
 * @returns {number[]}
 */
export function rowsAbove(tree, rows, row) {
  const above = [];
  const kind = rows.kinds[row];
  const groups = groupsOf(tree);
  let step = spanOfRow(rows, row);
  if (kind >= ROW.group) {
    const group = groups.byId(groupOfRow(rows, row));
    if (kind === ROW.chips && group !== null) above.push(rowOfGroup(rows, group.id));
    step = group === null ? -1 : group.parent;
    if (step >= 0) above.push(rows.rowOf[step]);
  } else if (kind === ROW.sum) above.push(rows.rowOf[step]);
  for (; step >= 0 && above.length < ABOVE_MAX; step = tree.spans.parent[step]) {
    const own = rows.rowOf[step];
    if (own >= 0 && rows.kinds[own] === ROW.member) above.push(rowOfGroup(rows, groups.of(step)?.id ?? -1));
    if (tree.spans.parent[step] >= 0) above.push(rows.rowOf[tree.spans.parent[step]]);
  }
  return above.filter((one) => one >= 0).reverse();
}

/**
 * Unfolds every ancestor and group that hides a span.
 * @param {Tree} tree @param {Fold} fold @param {Rows} rows @param {number} index
 * @returns {boolean} whether anything had to be opened
 */
export function unhide(tree, fold, rows, index) {
  const { spans } = tree;
  const groups = fold.groups.isOn ? groupsOf(tree) : null;
  let opened = false;
  for (let step = index; step >= 0; step = spans.parent[step]) {
    const parent = spans.parent[step];
    if (parent < 0) break;
    const state = foldOf(tree, fold, parent);
    const hidden = !(step < rows.rowOf.length && rows.rowOf[step] >= 0);
    const group = groups?.of(step) ?? null;
    if (group !== null && groups !== null && hidden && showMember(tree, fold.groups, groups, group, step)) opened = true;
    if (state === "closed" || (state === "rolled" && group === null && hidden && !isRolledRow(tree, step))) {
      fold.except.set(spans.ids[parent], "open");
      opened = true;
    }
  }
  return opened;
}

/**
 * @param {Tree} tree @param {number} index
 * @returns {boolean} whether its rolled-up parent certainly shows it, because few enough siblings are eligible
 */
function isRolledRow(tree, index) {
  const { spans } = tree;
  const parent = spans.parent[index];
  return isTelling(tree, index) && spans.childOpen[parent] + spans.childFailed[parent] + spans.childBelow[parent] <= ROLLED_ROWS_MAX;
}

/**
 * Describes the children of a span in one line: `412 of 1,000 done · 3 failed · 2 with errors below · 5 running`.
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

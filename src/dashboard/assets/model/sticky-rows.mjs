// @ts-check
// Which rows stay at the top while what is below them is scrolled: the ancestors of the first row in view, and the groups that
// they are in. Must never touch the DOM or a clock, nor know what a row looks like.

import { rowsAbove } from "./visible-rows.mjs";

/** Rows that stay; of a longer chain the first and the last ones. */
export const STICKY_MAX = 5;

/**
 * @param {import("./tree.mjs").Tree} tree @param {import("./visible-rows.mjs").Rows} rows
 * @param {number} scrollTop in pixels @param {number} rowHeight in pixels @param {number} [max] rows
 * @returns {number[]} rows, outermost first
 */
export function stickyRows(tree, rows, scrollTop, rowHeight, max = STICKY_MAX) {
  /** @type {number[]} */
  let shown = [];
  // Rows that stay cover others: the first one in view is the one below them.
  for (let lines = 0; lines <= max; lines += 1) {
    const row = Math.ceil((scrollTop + lines * rowHeight) / rowHeight);
    if (row >= rows.count) break;
    const above = trimmed(rowsAbove(tree, rows, row), max);
    shown = above.filter((one, line) => one * rowHeight < scrollTop + line * rowHeight);
    if (shown.length <= lines) break;
  }
  return shown;
}

/** @param {import("./tree.mjs").Tree} tree @param {import("./visible-rows.mjs").Rows} rows @param {number} row @param {number} [max] @returns {number} how many rows will stay above it */
export function stickyCount(tree, rows, row, max = STICKY_MAX) {
  return Math.min(max, rowsAbove(tree, rows, row).length);
}

/** @param {number[]} above @param {number} max @returns {number[]} */
function trimmed(above, max) {
  return above.length <= max ? above : [above[0], ...above.slice(1 - max)];
}

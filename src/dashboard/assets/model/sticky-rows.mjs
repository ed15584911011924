// @ts-check
// Which rows stick to the top while the rows below are scrolled: the ancestors of the first visible row, and the
// groups that contain them. Must never touch the DOM or a clock, nor depend on the look of a row.

import { rowsAbove } from "./visible-rows.mjs";

/** Maximum number of sticky rows; a longer chain shows its first and its last ones. */
export const STICKY_MAX = 5;

/**
 * @param {import("./tree.mjs").Tree} tree @param {import("./visible-rows.mjs").Rows} rows
 * @param {number} scrollTop in pixels @param {number} rowHeight in pixels @param {number} [max] rows
 * @returns {number[]} rows, outermost first
 */
export function stickyRows(tree, rows, scrollTop, rowHeight, max = STICKY_MAX) {
  /** @type {number[]} */
  let shown = [];
  // Sticky rows cover others, so the first visible row is the one below them.
  for (let lines = 0; lines <= max; lines += 1) {
    const row = Math.ceil((scrollTop + lines * rowHeight) / rowHeight);
    if (row >= rows.count) break;
    const above = trimmed(rowsAbove(tree, rows, row), max);
    shown = above.filter((one, line) => one * rowHeight < scrollTop + line * rowHeight);
    if (shown.length <= lines) break;
  }
  return shown;
}

/**
 * @param {import("./tree.mjs").Tree} tree @param {import("./visible-rows.mjs").Rows} rows @param {number} row @param {number} [max]
 * @returns {number} the number of sticky rows above it
 */
export function stickyCount(tree, rows, row, max = STICKY_MAX) {
  return Math.min(max, rowsAbove(tree, rows, row).length);
}

/** @param {number[]} above @param {number} max @returns {number[]} */
function trimmed(above, max) {
  return above.length <= max ? above : [above[0], ...above.slice(1 - max)];
}

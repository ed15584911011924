// @ts-check
// Row height of the waterfall and the positions within a row. On a phone the text is above its bar, which has the
// whole width. The style sheet has the same numbers as `--row` and `--head`.

/** In pixels: height of a row, height of its text, and top of its bar. */
export const rowSize = { isTall: false, height: 28, head: 28, bar: 7 };

/** @param {boolean} isTall whether the text is above the bar */
export function setRowSize(isTall) {
  Object.assign(rowSize, isTall ? { isTall, height: 46, head: 26, bar: 26 } : { isTall, height: 28, head: 28, bar: 7 });
}

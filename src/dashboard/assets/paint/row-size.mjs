// @ts-check
// How high a row of the waterfall is, and where its parts lie. On a phone the text stands above its bar, which then has the
// whole width. The style sheet has the same numbers as `--row` and `--head`.

/** In pixels: a row, the line of its text, and the top of its bar. */
export const rowSize = { isTall: false, height: 28, head: 28, bar: 7 };

/** @param {boolean} isTall whether text stands above bars */
export function setRowSize(isTall) {
  Object.assign(rowSize, isTall ? { isTall, height: 46, head: 26, bar: 26 } : { isTall, height: 28, head: 28, bar: 7 });
}

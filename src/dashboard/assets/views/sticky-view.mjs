// @ts-check
// Draws the sticky rows at the top of the waterfall: the ancestors of the first visible row. They repeat rows of the
// tree, so they are hidden from assistive technology and never get the focus.

import { STICKY_MAX, stickyRows } from "../model/sticky-rows.mjs";
import { RowCanvas } from "../paint/row-paint.mjs";
import { rowSize } from "../paint/row-size.mjs";
import { byId, element, setShown, setStyle } from "./dom.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("./span-row-view.mjs").SpanRow} SpanRow
 */

/** On a phone, rows are tall and few. */
const STICKY_TALL_MAX = 2;

/** @returns {number} the maximum number of sticky rows */
export function stickyMax() {
  return rowSize.isTall ? STICKY_TALL_MAX : STICKY_MAX;
}

export class StickyView {
  root = byId("sticky-rows");
  painted = new RowCanvas();
  edge = element("span", { class: "sticky-edge" });
  /** @type {{node: HTMLElement, row: SpanRow}[]} */
  slots = [];
  /** The rows shown. @type {number[]} */
  rows = [];

  /** @param {(at: (row: SpanRow) => number) => {node: HTMLElement, row: SpanRow}} make @param {(row: SpanRow, at: number, node: HTMLElement) => boolean} drawRow */
  constructor(make, drawRow) {
    this.make = () => make((row) => this.rows[this.slots.findIndex((slot) => slot.row === row)] ?? -1);
    this.drawRow = drawRow;
    this.root.append(this.painted.canvas, this.edge);
  }

  /** @param {TraceFrame} frame @param {number} scrollTop @param {{nameWidth: number, textWidth: number}} widths @returns {() => void} paints their bars; called after all text of the page is written */
  draw(frame, scrollTop, { nameWidth, textWidth }) {
    this.rows = stickyRows(frame.trace, frame.rows, scrollTop, rowSize.height, stickyMax());
    setShown(this.root, this.rows.length > 0);
    if (this.rows.length === 0) return () => {};
    while (this.slots.length < this.rows.length) {
      const slot = this.make();
      this.slots.push(slot);
      this.root.append(slot.node);
    }
    setStyle(this.root, "--name", `${textWidth}px`);
    let stale = false;
    for (const [at, { node, row }] of this.slots.entries()) {
      setShown(node, at < this.rows.length);
      setStyle(node, "top", `${at * rowSize.height}px`);
      if (at < this.rows.length && this.drawRow(row, this.rows[at], node)) stale = true;
    }
    const shown = this.slots.slice(0, this.rows.length).map(({ row }) => row);
    setStyle(this.edge, "top", `${shown.length * rowSize.height}px`);
    // The canvas has the size for the maximum number of rows. Otherwise its size would change in most frames of a
    // scroll, and each change would clear the canvas.
    return () => this.painted.draw(frame, shown, { first: 0, rowsMax: stickyMax(), nameWidth, stale });
  }
}

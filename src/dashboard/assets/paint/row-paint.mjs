// @ts-check
// Paints the waterfall's rows except their names: guides, fold marks, states, bars and their labels, on one canvas that
// moves with the rows. Must never decide which rows there are, nor define a colour.

import { STATE, isOpenState } from "../model/columns.mjs";
import { CUT_MARGIN, barGeometry, labelPlace } from "../model/layout.mjs";
import { pollingOf } from "../model/running.mjs";
import { barEnd, shownStateOf } from "../model/span.mjs";
import { ROW } from "../model/visible-rows.mjs";
import { calm, element, setStyle, shapePath } from "../views/dom.mjs";
import { EDGE, TWISTY, indentOf } from "../views/span-row-view.mjs";
import { hasMark, markOf, paintBar, paintDecoration } from "./bar-paint.mjs";
import { colours } from "./colours.mjs";
import { paintStrip } from "./group-paint.mjs";
import { rowSize } from "./row-size.mjs";

/**
 * @typedef {import("../views/trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("../views/span-row-view.mjs").SpanRow} SpanRow
 * @typedef {import("./bar-paint.mjs").Sheet} Sheet
 */

const ROW_BAR = 14;
const LABEL_CHARACTER = 6.7;
// Width of the arrow at the right end of a running bar.
const BAR_TIP = 8;
const ROW_DIMMED = 0.38;
/** Opacity of spans off the critical path, and minimum width in pixels of a segment on it. */
const OFF_PATH = 0.25;
const ON_PATH_MIN = 3;
const STRIPES_MS = 50;
const METER_WIDTH_MAX = 220;
/** A smaller share of work is not drawn. */
const WORK_MIN = 0.02;

export class RowCanvas {
  canvas = element("canvas", { class: "row-canvas", "aria-hidden": "true" });
  paintedFor = "";
  font = "";

  /**
   * @param {TraceFrame} frame
   * @param {SpanRow[]} rows in order
   * @param {{first: number, rowsMax: number, nameWidth: number, stale: boolean}} place `first`: the top row; `stale`:
   *   whether a row changed
   */
  draw(frame, rows, { first, rowsMax, nameWidth, stale }) {
    const edge = frame.live ? frame.scale.x(frame.now) : -1;
    const key = `${frame.key} ${Math.round(edge)} ${first} ${rows.length} ${rowsMax} ${nameWidth} ${colours().key} ${globalThis.devicePixelRatio}`;
    if ((key === this.paintedFor && !stale) || !(frame.scale.width > 0)) return;
    this.paintedFor = key;
    const pen = this.resize(nameWidth + frame.scale.width + CUT_MARGIN, rowsMax * rowSize.height);
    if (pen === null) return;
    setStyle(this.canvas, "top", `${first * rowSize.height}px`);
    const sheet = { pen, frame, colours: colours(), shift: calm.matches ? 0 : frame.now / STRIPES_MS };
    pen.textBaseline = "middle";
    pen.fillStyle = sheet.colours.by.line;
    paintGuides(pen, rows, indentOf(nameWidth));
    for (const [at, row] of rows.entries()) paintHead(sheet, row, at * rowSize.height);
    pen.globalAlpha = 1;
    pen.fillStyle = sheet.colours.by.line;
    if (nameWidth > 0) pen.fillRect(nameWidth - 1, 0, 1, rows.length * rowSize.height);
    pen.save();
    pen.translate(nameWidth, 0);
    pen.beginPath();
    pen.rect(0, 0, frame.scale.width + CUT_MARGIN, rowsMax * rowSize.height);
    pen.clip();
    for (const [at, row] of rows.entries()) paintTime(sheet, row, at * rowSize.height);
    pen.restore();
  }

  /**
   * @param {number} width @param {number} height
   * @returns {CanvasRenderingContext2D | null} the context of an empty canvas of this size
   */
  resize(width, height) {
    const ratio = globalThis.devicePixelRatio || 1;
    const pixels = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
    const pen = this.canvas.getContext("2d");
    if (this.canvas.width !== pixels.width || this.canvas.height !== pixels.height) {
      Object.assign(this.canvas, pixels);
      setStyle(this.canvas, "width", `${width}px`);
      setStyle(this.canvas, "height", `${height}px`);
    }
    if (pen === null) return null;
    if (this.font === "") this.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    // `clearRect` would first copy the picture that the page still shows; `reset` does not. In older browsers,
    // resizing clears.
    if (typeof pen.reset === "function") pen.reset();
    else this.canvas.width = pixels.width;
    pen.scale(ratio, ratio);
    pen.font = this.font;
    return pen;
  }
}

/**
 * Paints the guides of the levels, each one continuous over the rows that have that level.
 * @param {CanvasRenderingContext2D} pen @param {SpanRow[]} rows @param {number} step from level to level
 */
function paintGuides(pen, rows, step) {
  const levels = rows.reduce((most, row) => Math.max(most, row.levels), 0);
  for (let level = 0; level < levels; level += 1) {
    for (let from = 0; from < rows.length; from += 1) {
      let to = from;
      while (to < rows.length && rows[to].levels > level) to += 1;
      if (to > from) pen.fillRect(EDGE + level * step + Math.min(6, step / 2), from * rowSize.height, 1, (to - from) * rowSize.height);
      from = to;
    }
  }
}

/** Paints the fold mark and the state of a row. @param {Sheet} sheet @param {SpanRow} row @param {number} y */
function paintHead(sheet, row, y) {
  const { pen, colours: { by, services }, frame: { trace, palette } } = sheet;
  pen.globalAlpha = row.dimmed ? ROW_DIMMED : 1;
  if (row.deep !== "") {
    pen.fillStyle = by.faint;
    pen.fillText(row.deep, row.inset, y + rowSize.head / 2);
  }
  if (row.kind === ROW.sum || row.index < 0) return;
  const state = trace.spans.state[row.index];
  pen.fillStyle = state === STATE.placeholder ? by.faint : services[palette.slotOf(trace, row.index)];
  pen.fillRect(0, y, 3, rowSize.height);
  if (row.kind === ROW.chips) return;
  if (row.twisty !== "") paintShape(sheet, row.twisty === "open" ? "unfolded" : "chevron", by.muted, { x: row.left + 2, y: y + rowSize.head / 2 - 6, size: 12 });
  if (row.kind === ROW.group) return paintShape(sheet, "group", by.muted, { x: row.left + TWISTY, y: y + rowSize.head / 2 - 7, size: 14 });
  const name = shownStateOf(trace, row.index);
  paintShape(sheet, name, stateColour(by, name), { x: row.left + TWISTY, y: y + rowSize.head / 2 - 7, size: 14 });
  if (name === "panicked") paintBurst(sheet, { x: row.left + TWISTY, y: y + rowSize.head / 2 - 7, size: 14 });
  if (name === "below") paintSpot(sheet, row.left + TWISTY + 12, y + rowSize.head / 2 + 4);
}

/** @param {Sheet} sheet @param {string} shape @param {string} colour @param {{x: number, y: number, size: number}} place */
function paintShape({ pen }, shape, colour, { x, y, size }) {
  pen.save();
  pen.translate(x, y);
  pen.scale(size / 16, size / 16);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.9;
  pen.lineCap = pen.lineJoin = "round";
  pen.stroke(shapePath(shape));
  pen.restore();
}

/**
 * Paints a filled burst with its mark cut out.
 * @param {Sheet} sheet @param {{x: number, y: number, size: number}} place
 */
function paintBurst(sheet, { x, y, size }) {
  const { pen, colours: { by } } = sheet;
  pen.save();
  pen.translate(x, y);
  pen.scale(size / 16, size / 16);
  pen.fillStyle = by.error;
  pen.fill(shapePath("panicked"));
  pen.strokeStyle = by.panel;
  pen.lineWidth = 2;
  pen.lineCap = "round";
  pen.stroke(shapePath("panicked", "inner"));
  pen.restore();
}

/** @param {Record<string, string>} by @param {import("../model/span.mjs").ShownState} state @returns {string} */
function stateColour(by, state) {
  return state === "failing" || state === "panicked" ? by.error : state === "below" ? by.ok : (by[state] ?? by.faint);
}

/** Paints the dot for errors in descendants. @param {Sheet} sheet @param {number} x @param {number} y */
function paintSpot({ pen, colours: { by } }, x, y) {
  pen.beginPath();
  pen.arc(x, y, 2.6, 0, 7);
  pen.fillStyle = by.error;
  pen.fill();
}

/** Paints the bar with its marks and label. @param {Sheet} sheet @param {SpanRow} row @param {number} y */
function paintTime(sheet, row, y) {
  const { pen, colours: { by, services }, frame: { trace, scale, now, palette } } = sheet;
  pen.globalAlpha = row.dimmed ? ROW_DIMMED : 1;
  if (row.kind >= ROW.sum) paintEdge(sheet, y, row.kind === ROW.sum ? { from: 0, to: Math.min(METER_WIDTH_MAX, scale.width * 0.6) + 70 } : null);
  if (row.kind === ROW.sum) return paintMeter(sheet, row, y);
  const { spans } = trace;
  const { index } = row;
  if (index < 0 || row.kind === ROW.chips) return;
  if (row.kind === ROW.group) return paintStrip(sheet, row.group, y + rowSize.bar - 1, services[palette.slotOf(trace, index)]);
  const state = spans.state[index];
  const start = spans.start[index];
  if (state === STATE.placeholder || Number.isNaN(start)) {
    pen.strokeStyle = by["line-strong"];
    pen.lineWidth = 1;
    pen.setLineDash([4, 3]);
    pen.strokeRect(-1, y + rowSize.bar + ROW_BAR / 2 + 0.5, scale.width + 2, 0);
    return pen.setLineDash([]);
  }
  const bar = barGeometry(scale.x(start), scale.x(barEnd(trace, index, now)), scale.width);
  const box = { x: bar.x, y: y + rowSize.bar, width: bar.width, height: ROW_BAR };
  const isPath = row.stretches.some(({ kind }) => kind === "off-path");
  let isShaped = false;
  if (isPath) pen.globalAlpha *= OFF_PATH;
  if (bar.outside === "") isShaped = paintBar(sheet, box, services[palette.slotOf(trace, index)], { state });
  if (isPath) paintOnPath(sheet, row, box, services[palette.slotOf(trace, index)], state);
  const shown = shownStateOf(trace, index);
  if (bar.outside === "" && (shown === "failing" || shown === "below")) {
    pen.fillStyle = by.error;
    pen.fillRect(bar.x, y + rowSize.bar + ROW_BAR, bar.width, 2);
  }
  if (bar.outside === "" && isOpenState(state)) paintWork(sheet, index, y + rowSize.bar + ROW_BAR + 3);
  for (const stretch of row.stretches) if (stretch.kind === "usual") paintDecoration(sheet, stretch, y + rowSize.bar - 3, ROW_BAR + 6);
  for (const mark of row.marks) paintMark(sheet, mark, y + rowSize.bar + ROW_BAR / 2);
  const label = paintTimeLabel(sheet, row, bar, { y: y + rowSize.bar + ROW_BAR / 2, state, isShaped, isPale: isPath });
  paintEdge(sheet, y, label);
}

/**
 * Paints the live edge, interrupted where a label is.
 * @param {Sheet} sheet @param {number} y @param {{from: number, to: number} | null} label
 */
function paintEdge({ pen, colours: { by }, frame: { live, scale, now } }, y, label) {
  const x = Math.round(scale.x(now));
  if (!live || x < 0 || x > scale.width || (label !== null && x > label.from - 3 && x < label.to + 2)) return;
  pen.save();
  pen.globalAlpha = 0.36;
  pen.fillStyle = by.running;
  pen.fillRect(x, y, 1, rowSize.height);
  pen.restore();
}

/**
 * Paints the segments on the critical path over the pale bar.
 * @param {Sheet} sheet @param {SpanRow} row @param {import("./bar-paint.mjs").Box} box @param {string} colour @param {number} state
 */
function paintOnPath(sheet, row, box, colour, state) {
  const { pen, frame: { scale } } = sheet;
  pen.globalAlpha = row.dimmed ? ROW_DIMMED : 1;
  for (const { kind, start, end } of row.stretches) {
    if (kind !== "critical" || start === undefined) continue;
    const from = Math.max(-CUT_MARGIN, scale.x(start));
    const wide = Math.max(ON_PATH_MIN, Math.min(scale.width + CUT_MARGIN, scale.x(end ?? start)) - from);
    pen.save();
    pen.beginPath();
    pen.rect(from, box.y - 3, wide, box.height + 6);
    pen.clip();
    paintBar(sheet, { ...box, width: Math.max(box.width, ON_PATH_MIN) }, colour, { state });
    pen.restore();
  }
}

/**
 * Paints a line below a task's bar where the task worked; the line is higher the larger the share of work.
 * @param {Sheet} sheet @param {number} index @param {number} y
 */
function paintWork({ pen, colours: { by }, frame: { trace, scale, now } }, index, y) {
  const work = trace.live.get(index)?.work;
  const polling = pollingOf(trace, index, now);
  pen.fillStyle = by.muted;
  for (const { from, to, share } of work?.stretches ?? []) {
    const [left, right] = [Math.max(0, scale.x(from)), Math.min(scale.width, scale.x(to))];
    const height = share < WORK_MIN ? 0 : 1 + Math.round(share * 2);
    if (right > left) pen.fillRect(left, y + 3 - height, right - left, height);
  }
  if (polling === null) return;
  // The current poll: its start is known, but its time is counted only when it ends.
  const [left, right] = [Math.max(0, scale.x(polling.since)), Math.min(scale.width, scale.x(now))];
  if (polling.isBlocked) pen.fillStyle = by.error;
  if (right > left) pen.fillRect(left, y - (polling.isBlocked ? 1 : 0), right - left, polling.isBlocked ? 4 : 3);
}

/**
 * Paints span events as hollow dots, log records as filled dots, warnings as diamonds, errors as squares.
 * @param {Sheet} sheet @param {import("../views/span-row-view.mjs").Mark} mark @param {number} y
 */
function paintMark({ pen, colours: { by }, frame: { scale } }, { at, kind }, y) {
  const x = scale.x(at);
  if (x < -1 || x > scale.width + 1) return;
  pen.beginPath();
  const isMarked = kind === "exception" || kind === "warning";
  // Log records are many, so they are at the foot of the bar, where they do not cover its label.
  if (kind === "log" || kind === "warning") y += ROW_BAR / 2;
  if (kind === "exception") pen.rect(x - 3, y - 3, 6, 6);
  else if (kind === "warning") for (const [toX, toY] of [[x, y - 4.5], [x + 4.5, y], [x, y + 4.5], [x - 4.5, y], [x, y - 4.5]]) pen.lineTo(toX, toY);
  else pen.arc(x, y, kind === "log" ? 2 : 2.5, 0, 7);
  pen.fillStyle = kind === "exception" ? by.error : kind === "warning" ? by.waiting : kind === "log" ? by.text : by.panel;
  pen.strokeStyle = isMarked || kind === "log" ? by.panel : by.text;
  pen.lineWidth = isMarked || kind === "log" ? 1 : 1.5;
  pen.fill();
  pen.stroke();
}

/**
 * @param {Sheet} sheet @param {SpanRow} row @param {import("../model/layout.mjs").Bar} bar @param {{y: number, state: number, isShaped: boolean, isPale: boolean}} look
 * @returns {{from: number, to: number} | null} the place of the label, if it is beside its bar
 */
function paintTimeLabel({ pen, colours: { by }, frame: { scale } }, { label }, bar, { y, state, isShaped, isPale }) {
  const parts = label.split(" · ");
  const short = label.split(/ · |, /)[0];
  if (bar.outside !== "") {
    // The whole bar is out of view, so the label shows on which side.
    const left = bar.outside === "left";
    const text = left ? `‹ ${short}` : `${short} ›`;
    pen.fillStyle = by.faint;
    const at = left ? 4 : Math.max(0, scale.width - text.length * LABEL_CHARACTER - 4);
    pen.fillText(text, at, y);
    return { from: at, to: at + text.length * LABEL_CHARACTER };
  }
  const mark = isShaped && hasMark(state) ? markOf(ROW_BAR) : 0;
  const placeOf = (/** @type {string} */ text) => labelPlace(bar, text.length * LABEL_CHARACTER, scale.width, state === STATE.running ? BAR_TIP : mark);
  // A label inside its bar is shortened until it fits.
  const fits = (/** @type {string} */ one) => placeOf(one).side !== "inside" || one.length * LABEL_CHARACTER <= bar.width - mark;
  const text = fits(label) ? label : (parts.slice(1).map((_, at) => parts.slice(0, -1 - at).join(" · ")).find(fits) ?? short);
  const place = placeOf(text);
  const width = text.length * LABEL_CHARACTER;
  const inside = place.side === "inside";
  const x = place.x + (inside ? mark : 0);
  const isStriped = state === STATE.waiting || state === STATE.lost;
  if (inside && (isStriped || isPale)) {
    // The label gets a background, because text on stripes, or across pale and full parts, would be illegible.
    pen.fillStyle = by.panel;
    pen.fillRect(x - 3, y - 7, width + 6, 14);
  }
  pen.fillStyle = isStriped || isPale || state === STATE.cancelled ? by.text : inside ? by["on-bar"] : by.muted;
  pen.fillText(text, x, y);
  return inside ? null : { from: x, to: x + width };
}

/**
 * Paints the shares of children that are done, failed and open.
 * @param {Sheet} sheet @param {SpanRow} row @param {number} y
 */
function paintMeter({ pen, colours: { by }, frame: { trace, scale } }, { index, label }, y) {
  const { spans } = trace;
  const width = Math.min(METER_WIDTH_MAX, scale.width * 0.6);
  const all = spans.childCount[index];
  const shares = [[spans.childFailed[index] + spans.childBelow[index], by.error], [spans.childOpen[index], by.running]];
  pen.fillStyle = by.ok;
  pen.fillRect(0, y + rowSize.bar + 3, width, 8);
  let x = width;
  // Painted from the right, so that the done share is at the left. A gap of a pixel separates the shares even without colour.
  for (const [count, colour] of /** @type {[number, string][]} */ (shares.reverse())) {
    if (count === 0) continue;
    const part = Math.max(2, (count / all) * width);
    x -= part;
    pen.fillStyle = by.panel;
    pen.fillRect(x - 1, y + rowSize.bar + 3, 1, 8);
    pen.fillStyle = colour;
    pen.fillRect(x, colour === by.error ? y + 8 : y + rowSize.bar + 3, part, colour === by.error ? 12 : 8);
  }
  pen.fillStyle = by.accent;
  pen.fillText(label, width + 10, y + rowSize.bar + ROW_BAR / 2);
}

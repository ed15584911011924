// @ts-check
// Paints bars on the canvases of the waterfall and the flame view: one look per state, and decorations such as the
// usual durations.
// Must never decide the position of a span, nor define a colour.

import { STATE, isBadState } from "../model/columns.mjs";
import { CUT_MARGIN } from "../model/layout.mjs";

/**
 * @typedef {object} Sheet the canvas to paint on
 * @property {CanvasRenderingContext2D} pen
 * @property {import("./colours.mjs").Colours} colours
 * @property {import("../views/trace-view.mjs").TraceFrame} frame
 * @property {number} shift pixels by which the stripes of running spans are shifted
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 */

const STRIPE = 8;
const MARK = 12;

/** In narrower bars, the look of a state does not fit. */
const SHAPE_MIN = 7;

/**
 * @param {Sheet} sheet @param {Box} box @param {string} colour
 * @param {{state: number, plain?: boolean}} look `plain`: the bar represents many spans
 * @returns {boolean} whether the look of its state was painted
 */
export function paintBar(sheet, box, colour, { state, plain }) {
  if (!plain && box.width >= SHAPE_MIN) {
    BARS[state](sheet, box, colour);
    return true;
  }
  const { pen, colours } = sheet;
  const isBad = isBadState(state);
  pen.fillStyle = isBad ? colours.by.error : state === STATE.placeholder ? colours.by.faint : colour;
  // A failure is 2 pixels taller here, to be visible without the look of its state.
  pen.fillRect(box.x, box.y - (isBad ? 2 : 0), box.width, box.height + (isBad ? 2 : 0));
  return false;
}

/** The painter of each state, by code. @type {((sheet: Sheet, box: Box, colour: string) => void)[]} */
const BARS = [];

BARS[STATE.ok] = ({ pen }, { x, y, width, height }, colour) => {
  pen.fillStyle = colour;
  pen.fillRect(x, y, width, height);
};

/** Striped, with an arrow at the right end: the span continues. */
BARS[STATE.running] = (sheet, { x, y, width, height }, colour) => {
  const { pen, colours } = sheet;
  const right = x + width;
  const tip = Math.min(8, width / 2);
  pen.beginPath();
  for (const [toX, toY] of [[x, y], [right - tip, y], [right, y + height / 2], [right - tip, y + height], [x, y + height]]) pen.lineTo(toX, toY);
  pen.fillStyle = colour;
  pen.fill();
  pen.save();
  pen.globalAlpha *= 0.2;
  pen.fillStyle = pattern(sheet, "slant", colours.by.text);
  pen.fill();
  pen.restore();
};

/** Framed, with upright stripes. */
BARS[STATE.waiting] = (sheet, box, colour) => {
  sheet.pen.fillStyle = pattern(sheet, "upright", colour);
  sheet.pen.fillRect(box.x, box.y, box.width, box.height);
  frameOf(sheet, box, colour, []);
};

/** Framed, with a cross in its own field if there is room. */
BARS[STATE.error] = (sheet, box, colour) => paintFailed(sheet, box, colour, (pen, x, y) => {
  for (const sign of [-1, 1]) {
    pen.moveTo(x - 3, y - 3 * sign);
    pen.lineTo(x + 3, y + 3 * sign);
  }
});

/** Like an error, with another mark and a burst right end. */
BARS[STATE.panicked] = (sheet, box, colour) => {
  paintFailed(sheet, box, colour, (pen, x, y) => {
    pen.moveTo(x, y - 4);
    pen.lineTo(x, y + 1);
    pen.moveTo(x, y + 2.6);
    pen.lineTo(x, y + 4.4);
  });
  const { pen } = sheet;
  const right = box.x + box.width;
  pen.fillStyle = sheet.colours.by.error;
  pen.beginPath();
  pen.moveTo(right - 1, box.y - 2);
  for (let tooth = 0; tooth < 6; tooth += 1) pen.lineTo(right + (tooth % 2 === 0 ? 4 : 0), box.y - 1 + ((tooth + 0.5) * (box.height + 2)) / 6);
  pen.lineTo(right - 1, box.y + box.height + 2);
  pen.fill();
};

/** @param {Sheet} sheet @param {Box} box @param {string} colour @param {(pen: CanvasRenderingContext2D, x: number, y: number) => void} mark draws the mark around the centre of its field */
function paintFailed({ pen, colours }, { x, y, width, height }, colour, mark) {
  pen.fillStyle = colour;
  pen.fillRect(x, y, width, height);
  pen.lineWidth = 2;
  pen.strokeStyle = colours.by.error;
  pen.strokeRect(x + 1, y + 1, width - 2, height - 2);
  const side = Math.min(markOf(height), width);
  // If the bar begins before the view, its mark stays in the view.
  const left = Math.min(Math.max(0, x), x + width - side);
  pen.fillStyle = colours.by.error;
  pen.fillRect(left, y, side, height);
  if (side < MARK) return;
  pen.beginPath();
  mark(pen, left + side / 2, y + height / 2);
  pen.strokeStyle = colours.by["on-bar"];
  pen.stroke();
}

/** @param {number} state @returns {boolean} whether a bar has a field with a mark at its left end */
export function hasMark(state) {
  return state === STATE.error || state === STATE.panicked;
}

/** @param {number} height of a bar @returns {number} the width of the field with the mark */
export function markOf(height) {
  return Math.max(MARK, height - 4);
}

/** Pale, framed and struck through. */
BARS[STATE.cancelled] = (sheet, box, colour) => {
  const { pen, colours } = sheet;
  pen.save();
  pen.globalAlpha *= 0.3;
  pen.fillStyle = colour;
  pen.fillRect(box.x, box.y, box.width, box.height);
  pen.restore();
  frameOf(sheet, box, colour, []);
  pen.fillStyle = colours.by.cancelled;
  pen.fillRect(box.x, box.y + box.height / 2 - 0.5, box.width, 1);
};

/** Hatched, with a torn right edge. */
BARS[STATE.lost] = (sheet, { x, y, width, height }, colour) => {
  const { pen, colours } = sheet;
  const right = x + width;
  pen.fillStyle = pattern(sheet, "slant", colour);
  pen.fillRect(x, y, width - 3, height);
  pen.lineWidth = 1.5;
  pen.strokeStyle = colours.by.lost;
  pen.beginPath();
  for (const [toX, toY] of [[right - 3, 0.5], [x + 0.5, 0.5], [x + 0.5, height - 0.5], [right - 3, height - 0.5]]) pen.lineTo(toX, y + toY);
  for (let tooth = 0; tooth <= 6; tooth += 1) pen.lineTo(right - (tooth % 2 === 0 ? 3 : 0), y + height - 0.5 - (tooth * (height - 1)) / 6);
  pen.stroke();
};

/** An empty dashed frame. */
BARS[STATE.placeholder] = (sheet, box) => frameOf(sheet, box, sheet.colours.by.faint, [4, 3]);

/** @param {Sheet} sheet @param {Box} box @param {string} colour @param {number[]} dashes */
function frameOf({ pen }, { x, y, width, height }, colour, dashes) {
  pen.lineWidth = 1;
  pen.strokeStyle = colour;
  pen.setLineDash(dashes);
  pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  pen.setLineDash([]);
}

/**
 * Paints the stretch of a decoration, such as the usual durations, as a pale area with a line at both ends.
 * @param {Sheet} sheet @param {import("../views/span-row-view.mjs").Decoration} decoration
 * @param {number} y @param {number} height
 */
export function paintDecoration({ pen, frame, colours }, { start, end }, y, height) {
  if (start === undefined) return;
  const from = Math.max(-CUT_MARGIN, frame.scale.x(start));
  const to = Math.min(frame.scale.width + CUT_MARGIN, frame.scale.x(end ?? start));
  if (to < from) return;
  const wide = Math.max(2, to - from);
  pen.fillStyle = colours.by.muted;
  pen.fillRect(from, y, 1.5, height);
  pen.fillRect(from + wide - 1.5, y, 1.5, height);
  pen.save();
  pen.globalAlpha *= 0.13;
  pen.fillRect(from, y, wide, height);
  pen.restore();
}

/** @type {Map<string, CanvasPattern>} */
const patterns = new Map();
const PATTERNS_MAX = 64;

/** @param {Sheet} sheet @param {"slant" | "upright"} kind @param {string} colour @returns {CanvasPattern | string} */
export function pattern({ pen, shift }, kind, colour) {
  const key = `${kind} ${colour}`;
  let made = patterns.get(key);
  if (made === undefined) {
    made = /** @type {CanvasPattern} */ (pen.createPattern(tileOf(kind, colour), "repeat"));
    // A page has few themes and services. If their colours keep changing, the map is cleared.
    if (patterns.size >= PATTERNS_MAX) patterns.clear();
    patterns.set(key, made);
  }
  if (kind === "slant") made.setTransform(new DOMMatrix([1, 0, 0, 1, shift % STRIPE, 0]));
  return made;
}

/** @param {"slant" | "upright"} kind @param {string} colour @returns {HTMLCanvasElement} the tile of the pattern */
function tileOf(kind, colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = STRIPE;
  const pen = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 2.6;
  if (kind === "upright") pen.fillRect(0, 0, 3, STRIPE);
  for (const shift of kind === "slant" ? [-STRIPE, 0, STRIPE] : []) {
    pen.beginPath();
    pen.moveTo(shift - 1, STRIPE + 1);
    pen.lineTo(shift + STRIPE + 1, -1);
    pen.stroke();
  }
  return tile;
}

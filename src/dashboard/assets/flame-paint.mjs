// @ts-check
// Paints the bars of the flame view. States are told by shape as well as by colour, as in the waterfall. It must never
// decide where a span lies, nor hold a colour of its own.

import { STATE, isOpenState } from "./columns.mjs";
import { barOfSpan, visitVisible } from "./flame.mjs";
import { barEnd, shownName } from "./span.mjs";
import { formatDuration, formatTicking } from "./time.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("./flame.mjs").Seen} Seen
 * @typedef {object} Picture what is painted
 * @property {CanvasRenderingContext2D} pen
 * @property {TraceFrame} frame
 * @property {import("./flame.mjs").FlameLayout} layout
 * @property {import("./colours.mjs").Colours} colours
 * @property {number} top pixels above the picture
 * @property {number} width
 * @property {number} height
 * @property {string} font
 * @property {number} selected −1 for no span
 * @property {number} hovered −1 for no span
 * @property {import("./span-row-view.mjs").Decorator[]} decorators what other views add to bars
 */

export const FLAME_ROW = 22;
const BAR = 18;
const BAR_TOP = 2;
/** Pixels beyond the view that a cut bar still has, so that its cut end is not taken for an end. */
const CUT_MARGIN = 8;
/** Narrower bars have no room for a shape of their own. */
const SHAPE_MIN = 7;
/** From this width on, a bar leaves a pixel free before the next. */
const SEAM_MIN = 3;
const MARK = 12;
const CHARACTER_WIDTH = 6;
const LABEL_MIN = 30;
const DIMMED = 0.3;
/** Of those that share a pixel, so many are asked whether they match. */
const ASKED_MAX = 256;

/** @param {Picture} picture */
export function paintFlame(picture) {
  const { pen, frame, layout, top, width, height } = picture;
  pen.clearRect(0, 0, width, height);
  pen.font = picture.font;
  pen.textBaseline = "middle";
  const view = { ...frame, first: Math.floor(top / FLAME_ROW), last: Math.ceil((top + height) / FLAME_ROW) };
  visitVisible(layout, view, (seen) => paintBar(picture, seen));
  pen.globalAlpha = 1;
  outline(picture, picture.hovered, 1, picture.colours.by.muted);
  outline(picture, picture.selected, 2, picture.colours.by.text);
}

/** @param {Picture} picture @param {Seen} seen */
function paintBar(picture, seen) {
  const { pen, frame, colours, top, width } = picture;
  const state = frame.trace.spans.state[seen.index];
  const colour = colours.services[frame.palette.slotOf(frame.trace, seen.index)];
  const from = Math.max(-CUT_MARGIN, seen.x);
  const box = { x: from, y: seen.row * FLAME_ROW - top + BAR_TOP, width: Math.min(width + CUT_MARGIN, seen.x + seen.width) - from };
  // What follows in the same colour is another bar.
  if (box.width > SEAM_MIN) box.width -= 1;
  pen.globalAlpha = isDimmed(picture, seen) ? DIMMED : 1;
  if (seen.spans > 1 || box.width < SHAPE_MIN) {
    pen.fillStyle = seen.bad > 0 ? colours.by.error : state === STATE.placeholder ? colours.by.faint : colour;
    // A failure that is a pixel wide stands out by its height as well.
    pen.fillRect(box.x, box.y - (seen.bad > 0 ? BAR_TOP : 0), box.width, BAR + (seen.bad > 0 ? BAR_TOP : 0));
    return;
  }
  SHAPES[state](picture, box, colour);
  if (box.width >= LABEL_MIN) paintLabel(picture, seen.index, box);
  for (const decorator of picture.decorators) for (const decoration of decorator(seen.index, frame)) paintDecoration(picture, decoration, box.y);
}

/** The critical path as a line along the bar; usual durations as a pale field with a border at either end. @param {Picture} picture @param {import("./span-row-view.mjs").Decoration} decoration @param {number} y */
function paintDecoration({ pen, frame, colours, width }, { kind, start, end }, y) {
  if (start === undefined) return;
  const from = Math.max(-CUT_MARGIN, frame.scale.x(start));
  const to = Math.min(width + CUT_MARGIN, frame.scale.x(end ?? start));
  if (to < from) return;
  const wide = Math.max(2, to - from);
  if (kind === "critical") {
    pen.fillStyle = colours.by.panel;
    pen.fillRect(from, y + BAR - 4, wide, 4);
    pen.fillStyle = colours.by.text;
    pen.fillRect(from, y + BAR - 3, wide, 3);
    return;
  }
  pen.fillStyle = colours.by.muted;
  pen.fillRect(from, y + 2, 1.5, BAR - 4);
  pen.fillRect(from + wide - 1.5, y + 2, 1.5, BAR - 4);
  pen.save();
  pen.globalAlpha *= 0.13;
  pen.fillRect(from, y + 2, wide, BAR - 4);
  pen.restore();
}

/** @param {Picture} picture @param {Seen} seen @returns {boolean} whether something is looked for, and this is not it */
function isDimmed({ frame, layout }, seen) {
  const { matches } = frame.ui;
  if (matches === null) return false;
  for (let at = 0; at < Math.min(seen.spans, ASKED_MAX); at += 1) if (matches.bits[layout.order[seen.place + at]] === 1) return false;
  return true;
}

/** @typedef {{x: number, y: number, width: number}} Box */

/** One way to paint for each state, by its code. @type {((picture: Picture, box: Box, colour: string) => void)[]} */
const SHAPES = [];

SHAPES[STATE.ok] = ({ pen }, box, colour) => {
  pen.fillStyle = colour;
  pen.fillRect(box.x, box.y, box.width, BAR);
};

/** Striped, and its right end points on: it is not over. */
SHAPES[STATE.running] = (picture, box, colour) => {
  const { pen, colours } = picture;
  const tip = Math.min(8, box.width / 2);
  pen.beginPath();
  pen.moveTo(box.x, box.y);
  pen.lineTo(box.x + box.width - tip, box.y);
  pen.lineTo(box.x + box.width, box.y + BAR / 2);
  pen.lineTo(box.x + box.width - tip, box.y + BAR);
  pen.lineTo(box.x, box.y + BAR);
  pen.fillStyle = colour;
  pen.fill();
  pen.save();
  pen.globalAlpha *= 0.2;
  pen.fillStyle = pattern(picture, "slant", colours.by.text);
  pen.fill();
  pen.restore();
};

/** Upright stripes in a frame, as of something that stands. */
SHAPES[STATE.waiting] = (picture, box, colour) => {
  const { pen } = picture;
  pen.fillStyle = pattern(picture, "upright", colour);
  pen.fillRect(box.x, box.y, box.width, BAR);
  frameOf(pen, box, colour, []);
};

/** With a cross in a field of its own, and framed. */
SHAPES[STATE.error] = ({ pen, colours }, box, colour) => {
  pen.fillStyle = colour;
  pen.fillRect(box.x, box.y, box.width, BAR);
  pen.lineWidth = 2;
  pen.strokeStyle = colours.by.error;
  pen.strokeRect(box.x + 1, box.y + 1, box.width - 2, BAR - 2);
  const side = Math.min(MARK + 2, box.width);
  // Where the bar begins before the view, the mark stays in it.
  const x = Math.min(Math.max(0, box.x), box.x + box.width - side);
  pen.fillStyle = colours.by.error;
  pen.fillRect(x, box.y, side, BAR);
  if (side < MARK) return;
  pen.beginPath();
  for (const [from, to] of [[4, 10], [10, 4]]) {
    pen.moveTo(x + from, box.y + 6);
    pen.lineTo(x + to, box.y + 12);
  }
  pen.strokeStyle = colours.by["on-bar"];
  pen.stroke();
};

/** Pale, framed and struck through. */
SHAPES[STATE.cancelled] = ({ pen, colours }, box, colour) => {
  pen.save();
  pen.globalAlpha *= 0.3;
  pen.fillStyle = colour;
  pen.fillRect(box.x, box.y, box.width, BAR);
  pen.restore();
  frameOf(pen, box, colour, []);
  pen.fillStyle = colours.by.cancelled;
  pen.fillRect(box.x, box.y + BAR / 2 - 0.5, box.width, 1);
};

/** Hatched, and its right edge is torn off. */
SHAPES[STATE.lost] = (picture, box, colour) => {
  const { pen, colours } = picture;
  const right = box.x + box.width;
  pen.fillStyle = pattern(picture, "slant", colour);
  pen.fillRect(box.x, box.y, box.width - 3, BAR);
  pen.lineWidth = 1.5;
  pen.strokeStyle = colours.by.lost;
  pen.beginPath();
  pen.moveTo(right - 3, box.y + 0.5);
  pen.lineTo(box.x + 0.5, box.y + 0.5);
  pen.lineTo(box.x + 0.5, box.y + BAR - 0.5);
  pen.lineTo(right - 3, box.y + BAR - 0.5);
  for (let tooth = 0; tooth <= 6; tooth += 1) pen.lineTo(right - (tooth % 2 === 0 ? 3 : 0), box.y + BAR - 0.5 - (tooth * (BAR - 1)) / 6);
  pen.stroke();
};

/** A dashed frame with nothing in it. */
SHAPES[STATE.placeholder] = ({ pen, colours }, box) => frameOf(pen, box, colours.by.faint, [4, 3]);

/** @param {CanvasRenderingContext2D} pen @param {Box} box @param {string} colour @param {number[]} dashes */
function frameOf(pen, box, colour, dashes) {
  pen.lineWidth = 1;
  pen.strokeStyle = colour;
  pen.setLineDash(dashes);
  pen.strokeRect(box.x + 0.5, box.y + 0.5, box.width - 1, BAR - 1);
  pen.setLineDash([]);
}

/** @param {Picture} picture @param {number} index @param {Box} box */
function paintLabel({ pen, frame, colours, width }, index, box) {
  const { trace } = frame;
  const state = trace.spans.state[index];
  const left = Math.max(0, box.x) + 5 + (state === STATE.error ? MARK : 0);
  const room = Math.min(width, box.x + box.width) - left - (isOpenState(state) ? 10 : 5);
  const characters = Math.floor(room / CHARACTER_WIDTH);
  if (characters < 3) return;
  const name = shownName(trace, index);
  const timed = state === STATE.placeholder ? name : `${name}  ${durationText(frame, index)}`;
  const text = timed.length <= characters ? timed : shortened(name, characters);
  // A little high, so that the critical path has room below.
  const y = box.y + BAR / 2 - 0.5;
  if (state === STATE.ok || state === STATE.running || state === STATE.error) {
    pen.fillStyle = colours.by["on-bar"];
  } else {
    // Nothing can be read on stripes.
    pen.fillStyle = colours.by.panel;
    pen.fillRect(left - 2, box.y + 2, Math.min(room, pen.measureText(text).width) + 4, BAR - 4);
    pen.fillStyle = colours.by.text;
  }
  pen.fillText(text, left, y, room);
}

/** @param {string} name @param {number} characters @returns {string} */
function shortened(name, characters) {
  if (name.length <= characters) return name;
  // Half a character would be drawn as a box.
  return `${name.slice(0, characters - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** @param {TraceFrame} frame @param {number} index @returns {string} */
export function durationText({ trace, now }, index) {
  const { start, state } = trace.spans;
  const length = barEnd(trace, index, now) - start[index];
  if (Number.isNaN(length)) return "";
  return isOpenState(state[index]) ? formatTicking(length) : formatDuration(length);
}

/** @param {Picture} picture @param {number} index @param {number} thickness @param {string} colour */
function outline({ pen, frame, layout, colours, top, width }, index, thickness, colour) {
  const bar = barOfSpan(layout, frame, index);
  if (bar === null || bar.x > width || bar.x + bar.width < 0) return;
  const from = Math.max(-CUT_MARGIN, bar.x);
  const to = Math.min(width + CUT_MARGIN, bar.x + bar.width);
  const y = bar.row * FLAME_ROW - top + BAR_TOP;
  // A line of the ground between bar and frame: the frame is seen on any colour.
  for (const [distance, line, style] of /** @type {[number, number, string][]} */ ([[0.5, 1, colours.by.panel], [1 + thickness / 2, thickness, colour]])) {
    pen.lineWidth = line;
    pen.strokeStyle = style;
    pen.strokeRect(from - distance, y - distance, to - from + 2 * distance, BAR + 2 * distance);
  }
}

/** @type {Map<string, CanvasPattern>} */
const patterns = new Map();
const PATTERNS_MAX = 64;

/** @param {Picture} picture @param {"slant" | "upright"} kind @param {string} colour @returns {CanvasPattern | string} */
function pattern({ pen }, kind, colour) {
  const key = `${kind} ${colour}`;
  const known = patterns.get(key);
  if (known !== undefined) return known;
  const tile = document.createElement("canvas");
  tile.width = 8;
  tile.height = 8;
  const tilePen = tile.getContext("2d");
  if (tilePen === null) return colour;
  tilePen.strokeStyle = colour;
  tilePen.fillStyle = colour;
  tilePen.lineWidth = 2.6;
  if (kind === "upright") tilePen.fillRect(0, 0, 3, 8);
  for (const shift of kind === "slant" ? [-8, 0, 8] : []) {
    tilePen.beginPath();
    tilePen.moveTo(shift - 1, 9);
    tilePen.lineTo(shift + 9, -1);
    tilePen.stroke();
  }
  const made = pen.createPattern(tile, "repeat");
  if (made === null) return colour;
  // Themes and services are few; whoever changes them for ever starts anew.
  if (patterns.size >= PATTERNS_MAX) patterns.clear();
  patterns.set(key, made);
  return made;
}

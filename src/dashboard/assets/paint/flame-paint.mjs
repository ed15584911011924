// @ts-check
// Paints the bars of the flame view. As in the waterfall, states differ in shape as well as in colour. Must never
// decide the position of a span, nor define a colour.

import { STATE, isOpenState } from "../model/columns.mjs";
import { barOfSpan, visitVisible } from "../model/flame.mjs";
import { CUT_MARGIN } from "../model/layout.mjs";
import { percentAt } from "../model/running.mjs";
import { barEnd, shownName } from "../model/span.mjs";
import { formatDuration, formatOpen } from "../model/time.mjs";
import { shortened } from "../views/dom.mjs";
import { hasMark, markOf, paintBar, paintDecoration } from "./bar-paint.mjs";

/**
 * @typedef {import("../views/trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("../model/flame.mjs").Seen} Seen
 * @typedef {import("./bar-paint.mjs").Sheet & Extra} Picture everything that the picture depends on
 * @typedef {object} Extra
 * @property {import("../model/flame.mjs").FlameLayout} layout
 * @property {number} top scroll position: pixels above the picture
 * @property {number} width
 * @property {number} height
 * @property {string} font
 * @property {number} selected −1 for no span
 * @property {number} hovered −1 for no span
 * @property {import("../views/span-row-view.mjs").Decorator[]} decorators what other views add to bars
 */

export const FLAME_ROW = 22;
const FLAME_BAR = 18;
const FLAME_BAR_TOP = 2;
/** A bar wider than this leaves one pixel free at its end. */
const SEAM_MIN = 3;
const FLAME_CHARACTER = 6;
const LABEL_MIN = 30;
const FLAME_DIMMED = 0.3;
/** Bound on the spans of one pixel that are checked for a match. */
const ASKED_MAX = 256;

/** @param {Picture} picture */
export function paintFlame(picture) {
  const { pen, frame, layout, top, width, height } = picture;
  pen.clearRect(0, 0, width, height);
  pen.font = picture.font;
  pen.textBaseline = "middle";
  const view = { ...frame, first: Math.floor(top / FLAME_ROW), last: Math.ceil((top + height) / FLAME_ROW) };
  visitVisible(layout, view, (seen) => paintSeen(picture, seen));
  pen.globalAlpha = 1;
  outline(picture, picture.hovered, 1, picture.colours.by.muted);
  outline(picture, picture.selected, 2, picture.colours.by.text);
}

/** @param {Picture} picture @param {Seen} seen */
function paintSeen(picture, seen) {
  const { pen, frame, colours, top, width } = picture;
  const { index, spans, bad } = seen;
  const from = Math.max(-CUT_MARGIN, seen.x);
  const box = { x: from, y: seen.row * FLAME_ROW - top + FLAME_BAR_TOP, width: Math.min(width + CUT_MARGIN, seen.x + seen.width) - from, height: FLAME_BAR };
  // The gap separates neighbours of the same colour.
  if (box.width > SEAM_MIN) box.width -= 1;
  pen.globalAlpha = isDimmed(picture, seen) ? FLAME_DIMMED : 1;
  const state = bad > 0 && spans > 1 ? STATE.error : frame.trace.spans.state[index];
  const hasShape = paintBar(picture, box, colours.services[frame.palette.slotOf(frame.trace, index)], spans > 1 ? { state, plain: true } : { state });
  if (!hasShape) return;
  if (box.width >= LABEL_MIN) paintFlameLabel(picture, index, box);
  for (const decorator of picture.decorators) for (const decoration of decorator(index, frame)) paintDecoration(picture, decoration, box.y, FLAME_BAR);
}

/** @param {Picture} picture @param {Seen} seen @returns {boolean} whether a search is active and cannot match any of the checked spans */
function isDimmed({ frame, layout }, seen) {
  const { matches } = frame.ui;
  if (matches === null) return false;
  for (let at = 0; at < Math.min(seen.spans, ASKED_MAX); at += 1) if (matches.mayMatch(layout.order[seen.place + at])) return false;
  return true;
}

/** @param {Picture} picture @param {number} index @param {import("./bar-paint.mjs").Box} box */
function paintFlameLabel({ pen, frame, colours, width }, index, box) {
  const { trace } = frame;
  const state = trace.spans.state[index];
  const left = Math.max(0, box.x) + 5 + (hasMark(state) ? markOf(FLAME_BAR) - 2 : 0);
  const room = Math.min(width, box.x + box.width) - left - (isOpenState(state) ? 10 : 5);
  const characters = Math.floor(room / FLAME_CHARACTER);
  if (characters < 3) return;
  const name = shownName(trace, index);
  const percent = isOpenState(state) ? percentAt(trace, index) : "";
  const timed = state === STATE.placeholder ? name : `${name}  ${durationText(frame, index)}${percent === "" ? "" : ` · ${percent}`}`;
  const text = timed.length <= characters ? timed : shortened(name, characters);
  // Slightly above the middle, to leave room for the critical path.
  const y = box.y + FLAME_BAR / 2 - 0.5;
  if (state === STATE.ok || state === STATE.running || hasMark(state)) {
    pen.fillStyle = colours.by["on-bar"];
  } else {
    // Text on stripes would be illegible.
    pen.fillStyle = colours.by.panel;
    pen.fillRect(left - 2, box.y + 2, Math.min(room, pen.measureText(text).width) + 4, FLAME_BAR - 4);
    pen.fillStyle = colours.by.text;
  }
  pen.fillText(text, left, y, room);
}

/** @param {TraceFrame} frame @param {number} index @returns {string} */
export function durationText({ trace, now, moving }, index) {
  const { start, state } = trace.spans;
  const length = barEnd(trace, index, now) - start[index];
  if (Number.isNaN(length)) return "";
  return isOpenState(state[index]) ? formatOpen(length, moving) : formatDuration(length);
}

/** @param {Picture} picture @param {number} index @param {number} thickness @param {string} colour */
function outline({ pen, frame, layout, colours, top, width }, index, thickness, colour) {
  const bar = barOfSpan(layout, frame, index);
  if (bar === null || bar.x > width || bar.x + bar.width < 0) return;
  const from = Math.max(-CUT_MARGIN, bar.x);
  const to = Math.min(width + CUT_MARGIN, bar.x + bar.width);
  const y = bar.row * FLAME_ROW - top + FLAME_BAR_TOP;
  // A line in the panel's colour separates bar and frame, so that the frame is visible on any colour.
  for (const [distance, line, style] of /** @type {[number, number, string][]} */ ([[0.5, 1, colours.by.panel], [1 + thickness / 2, thickness, colour]])) {
    pen.lineWidth = line;
    pen.strokeStyle = style;
    pen.strokeRect(from - distance, y - distance, to - from + 2 * distance, FLAME_BAR + 2 * distance);
  }
}

// @ts-check
// Paints the strip of a group: how many of its spans were active over time, where some failed, and since when some
// are open.
// Must never walk the spans of a group.

import { groupsOf } from "../model/groups.mjs";
import { pattern } from "./bar-paint.mjs";

/** @typedef {import("./bar-paint.mjs").Sheet} Sheet */

const COLUMN = 6;
export const STRIP_HEIGHT = 16;
const FOOT_HEIGHT = 3;
/** Minimum height of activity, so that it is visible. */
const HEIGHT_MIN = 2;

/** @param {Sheet} sheet @param {number} id of the group @param {number} y the top of the strip @param {string} colour */
export function paintStrip(sheet, id, y, colour) {
  const { pen, colours: { by }, frame: { trace, scale, now } } = sheet;
  const groups = groupsOf(trace);
  const group = groups.byId(id);
  if (group === null) return;
  const strip = groups.stripOf(group);
  const { most } = strip.activity();
  if (strip.length === 0 || most === 0) return;
  const end = (strip.base + strip.length) * strip.width;
  const [begin, last] = [scale.x(strip.first), scale.x(group.open > 0 ? Math.max(strip.last, now) : strip.last)];
  const left = Math.max(0, begin);
  const right = Math.min(scale.width, Math.max(last, begin + 2));
  const foot = y + STRIP_HEIGHT;
  /** @type {number[]} */
  const failures = [];
  pen.fillStyle = colour;
  pen.save();
  pen.globalAlpha *= 0.7;
  for (let x = left; x < right; x += COLUMN) {
    const from = scale.time(x);
    // A bucket that only begins at the end of a column belongs to the next column.
    const to = Math.max(from, scale.time(x + COLUMN) - strip.width * 0.01);
    const { active, failed } = from >= end ? { active: group.open, failed: false } : strip.between(from, to);
    if (failed) failures.push(x);
    if (active === 0) continue;
    const height = Math.max(HEIGHT_MIN, Math.round((active / most) * STRIP_HEIGHT));
    pen.fillRect(x, foot - height, Math.min(COLUMN - 1, right - x), height);
  }
  pen.restore();
  const since = group.open > 0 ? strip.openSince() : NaN;
  if (!Number.isNaN(since)) {
    const from = Math.max(0, scale.x(since));
    const to = Math.min(scale.width, scale.x(now));
    if (to > from) {
      pen.fillRect(from, foot + 1, to - from, FOOT_HEIGHT);
      pen.save();
      pen.globalAlpha *= 0.35;
      pen.fillStyle = pattern(sheet, "slant", by.panel);
      pen.fillRect(from, foot + 1, to - from, FOOT_HEIGHT);
      pen.restore();
    }
  }
  pen.fillStyle = by.error;
  for (const x of failures) pen.fillRect(x, y - 1, COLUMN - 2, STRIP_HEIGHT + 1);
}

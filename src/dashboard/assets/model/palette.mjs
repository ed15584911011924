// @ts-check
// One colour per name, computed from the name alone, so that it is the same at each load, in each tab and for every
// reader. A trace of several services is coloured by service, a trace of one service by the names of its spans.
// Must never use red, which means error.

import { nameOf, serviceOf } from "./span.mjs";

/** The style sheet defines `--service-0` to `--service-11` for light and dark. */
export const SERVICE_COLOURS = 12;
const REMEMBERED_MAX = 5_000;

/**
 * @param {import("./model.mjs").Trace} trace @param {number} index
 * @returns {string} the name that determines a span's colour
 */
export function colourKey(trace, index) {
  return trace.services.size > 1 ? serviceOf(trace, index) : nameOf(trace, index);
}

/** Colour slots by name. They are computed; the map is a cache, since a frame reads thousands. */
export class Palette {
  /** @type {Map<string, number>} */
  slots = new Map();

  /** @param {string} key a service, or the name of a span @returns {number} from 0 to SERVICE_COLOURS − 1 */
  slot(key) {
    let slot = this.slots.get(key);
    if (slot === undefined) {
      slot = hash(key) % SERVICE_COLOURS;
      if (this.slots.size >= REMEMBERED_MAX) this.slots.clear();
      this.slots.set(key, slot);
    }
    return slot;
  }

  /** @param {import("./model.mjs").Trace} trace @param {number} index @returns {number} */
  slotOf(trace, index) {
    return this.slot(colourKey(trace, index));
  }

  /** @param {string} key @returns {string} for a CSS property set from script */
  colour(key) {
    return `var(--service-${this.slot(key)})`;
  }
}

/**
 * FNV-1a with a final mix, so that the low bits depend on the whole text.
 * @param {string} text @returns {number} of 32 bits
 */
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

// @ts-check
// One colour per service, given out in the order in which services are first seen, and remembered, so that a reload or
// another trace does not repaint a service. A trace of one service is coloured by the names of its spans instead.
// Must never hand out a red: red means error.

import { nameOf, serviceOf } from "./span.mjs";

/** The style sheet defines `--service-0` to `--service-11` for light and dark. */
export const SERVICE_COLOURS = 12;
const REMEMBERED_MAX = 200;
/** No name of a service begins with it: what it begins is the name of a span. */
const NAME_MARK = "\u0000";

/** @param {import("./model.mjs").Trace} trace @param {number} index @returns {string} what decides on a span's colour */
export function colourKey(trace, index) {
  return trace.services.size > 1 ? serviceOf(trace, index) : NAME_MARK + nameOf(trace, index);
}

/** Slots by service name. */
export class Palette {
  /** @param {string[]} names in the order first seen */
  constructor(names) {
    /** @type {Map<string, number>} */
    this.slots = new Map();
    /** Of span names: for this page only. @type {Map<string, number>} */
    this.nameSlots = new Map();
    for (const name of names.slice(0, REMEMBERED_MAX)) this.slot(name);
  }

  /** @param {string} key a service, or what `colourKey` says @returns {number} from 0 to SERVICE_COLOURS − 1 */
  slot(key) {
    const slots = key.startsWith(NAME_MARK) ? this.nameSlots : this.slots;
    let slot = slots.get(key);
    if (slot === undefined) {
      slot = slots.size % SERVICE_COLOURS;
      // Past the bound all get one colour, without growing the map for ever.
      if (slots.size < REMEMBERED_MAX) slots.set(key, slot);
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

  /** @returns {string[]} */
  names() {
    return [...this.slots.keys()];
  }
}

// @ts-check
// One colour per service, given out in the order in which services are first seen, and remembered, so that a reload or
// another trace does not repaint a service. Must never hand out a red: red means error.

/** The style sheet defines `--service-0` to `--service-11` for light and dark. */
export const SERVICE_COLOURS = 12;
const REMEMBERED_MAX = 200;

/** Slots by service name. */
export class Palette {
  /** @param {string[]} names in the order first seen */
  constructor(names) {
    /** @type {Map<string, number>} */
    this.slots = new Map();
    for (const name of names.slice(0, REMEMBERED_MAX)) this.slot(name);
  }

  /** @param {string} service @returns {number} from 0 to SERVICE_COLOURS − 1 */
  slot(service) {
    let slot = this.slots.get(service);
    if (slot === undefined) {
      slot = this.slots.size % SERVICE_COLOURS;
      // Past the bound a name gets a colour that is stable for this page, without growing the map for ever.
      if (this.slots.size < REMEMBERED_MAX) this.slots.set(service, slot);
    }
    return slot;
  }

  /** @param {string} service @returns {string} for a CSS property set from script */
  colour(service) {
    return `var(--service-${this.slot(service)})`;
  }

  /** @returns {string[]} */
  names() {
    return [...this.slots.keys()];
  }
}

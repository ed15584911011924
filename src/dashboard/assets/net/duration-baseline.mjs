// @ts-check
// The usual durations of spans by name, from the server's statistics. Requested for the names that the page shows,
// and cached for a while, with a bound on the number of names. Must never touch the DOM; requests and the clock are
// passed in.

import { durationsRoute } from "./api.mjs";

/**
 * @typedef {{count: number, p50: number, p95: number}} Usual milliseconds, over `count` ended spans
 * @typedef {{usual: Usual | null, asked: number}} Known
 */

/** Minimum number of ended spans for a baseline. */
export const COUNT_MIN = 5;
const NAMES_MAX = 300;
const ASKED_AT_ONCE = 3;
const KEPT_MS = 20_000;
// The server truncates longer names, so it has no statistics for them.
const NAME_LENGTH_MAX = 256;

export class Expectations {
  /** @type {Map<string, Known>} */
  known = new Map();
  asking = 0;

  /** @param {{getJson: (route: string) => Promise<{status: number, body: any}>, now: () => number, changed: () => void}} world */
  constructor(world) {
    this.world = world;
  }

  /**
   * Returns the cached baseline. Requests it if it is missing or old.
   * @param {string} service @param {string} name
   * @returns {Usual | null}
   */
  of(service, name) {
    if (name === "" || name.length > NAME_LENGTH_MAX || service.length > NAME_LENGTH_MAX) return null;
    const key = `${service}\0${name}`;
    const known = this.known.get(key);
    if ((known === undefined || this.world.now() - known.asked > KEPT_MS) && this.asking < ASKED_AT_ONCE) void this.ask(key, service, name);
    return known?.usual ?? null;
  }

  /** @param {string} key @param {string} service @param {string} name */
  async ask(key, service, name) {
    const before = this.known.get(key)?.usual ?? null;
    this.known.delete(key);
    this.known.set(key, { usual: before, asked: this.world.now() });
    // The map is in the order of requests, so its first entry is the oldest.
    if (this.known.size > NAMES_MAX) for (const oldest of this.known.keys()) {
      this.known.delete(oldest);
      break;
    }
    this.asking += 1;
    const { status, body } = await this.world.getJson(durationsRoute(service, name));
    this.asking -= 1;
    const known = this.known.get(key);
    if (known !== undefined && status === 200) known.usual = usualOf(body);
    this.world.changed();
  }
}

/** @param {any} body @returns {Usual | null} */
function usualOf(body) {
  const { count, p50, p95 } = body ?? {};
  return Number(count) >= COUNT_MIN && Number.isFinite(p50) && Number.isFinite(p95) ? { count, p50, p95 } : null;
}

/** @param {Usual} usual @param {number} duration @returns {string} `3.2× the median` */
export function timesUsual(usual, duration) {
  const times = duration / Math.max(usual.p50, 1e-6);
  return `${times < 10 ? times.toFixed(1) : Math.min(times, 1e6).toFixed(0)}× the median`;
}

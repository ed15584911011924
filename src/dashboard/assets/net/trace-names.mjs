// @ts-check
// The names of the traces whose log records are shown. A name is requested once its trace is drawn, many names at a
// time.

import { shortId } from "../model/ids.mjs";

/** Minimum time between two requests. */
const INTERVAL_MS = 500;
/** Minimum time after a request that failed. */
const PAUSE_MS = 5_000;
/** Bounds on the names in one request, and on the names kept. */
export const NAMES_ASKED_MAX = 50;
const NAMES_MAX = 10_000;

export class TraceNames {
  /** Names, by the id of the trace. @type {Map<string, string>} */
  known = new Map();
  /** Ids of traces to ask for. @type {Set<string>} */
  wanted = new Set();
  /** Grows when a name becomes known. */
  version = 0;
  /** No request begins before this time. */
  waitUntil = -Infinity;
  isAsking = false;
  /** @type {any} */
  timer = null;

  /**
   * @param {{now: () => number, setTimeout: (callback: () => void, milliseconds: number) => any, changed: () => void,
   *   namesOf: (traceIds: string[]) => Promise<[string, string][] | null>}} world `namesOf` returns null if the request fails
   */
  constructor(world) {
    this.world = world;
  }

  /** Returns the name of a trace. Until it is known, returns the short id, and requests the name. @param {string} traceId @returns {string} */
  of(traceId) {
    const name = this.known.get(traceId);
    if (name === undefined && this.wanted.size < NAMES_MAX) this.wanted.add(traceId);
    return name ?? shortId(traceId);
  }

  /** Requests the wanted names, now or as soon as the interval is over. */
  async ask() {
    if (this.wanted.size === 0 || this.isAsking || this.timer !== null) return;
    const wait = this.waitUntil - this.world.now();
    if (wait > 0) {
      this.timer = this.world.setTimeout(() => {
        this.timer = null;
        void this.ask();
      }, wait);
      return;
    }
    this.isAsking = true;
    const ids = [...this.wanted].slice(0, NAMES_ASKED_MAX);
    const names = await this.world.namesOf(ids);
    this.isAsking = false;
    this.waitUntil = this.world.now() + (names === null ? PAUSE_MS : INTERVAL_MS);
    if (names !== null) this.learn(ids, names);
    void this.ask();
  }

  /** @param {string[]} ids @param {[string, string][]} names */
  learn(ids, names) {
    if (this.known.size > NAMES_MAX) this.known.clear();
    for (const id of ids) {
      this.wanted.delete(id);
      // The server no longer has this trace, so its short id stands for its name.
      this.known.set(id, shortId(id));
    }
    for (const [id, name] of names) this.known.set(id, name);
    this.version += 1;
    this.world.changed();
  }
}

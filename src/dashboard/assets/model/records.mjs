// @ts-check
// Log records of a trace, in order of time and by span, as many as a page can keep: the newest.
// Must never touch the DOM or a clock.

import { isRepeated } from "./event-ids.mjs";

/**
 * @typedef {{data: any, id: string, time: number}} LogRecord `time` in tree time, NaN where it is none
 */

/** Log records kept of one trace: the newest, so that a reader who follows sees what comes. */
export const LOGS_MAX = 50_000;
/** So many of the oldest go at once, because each time costs a pass over all of them. */
const LOGS_SLACK = 5_000;

export class TraceLogs {
  /** In order of time; of one moment, in order of arrival. @type {LogRecord[]} */
  all = [];
  /** By span id, in order of arrival. @type {Map<string, LogRecord[]>} */
  bySpan = new Map();
  /** The oldest ones that were let go. */
  refused = 0;
  /** Grows when `all` changes elsewhere than at its end: whoever has a place in it must look anew. */
  moves = 0;
  version = 0;

  /** @param {any} data @param {string} id of its event, empty where it has none @param {number} time @returns {boolean} false for a repetition */
  add(data, id, time) {
    const key = typeof data.spanId === "string" ? data.spanId : "";
    const record = { data, id, time };
    const known = this.bySpan.get(key);
    if (known === undefined) this.bySpan.set(key, [record]);
    else {
      // The records of a span come in the order of their numbers.
      if (isRepeated(id, known[known.length - 1].id)) return false;
      known.push(record);
    }
    let place = this.all.length;
    // Nearly always the end.
    while (place > 0 && this.all[place - 1].time > time) place -= 1;
    if (place === this.all.length) this.all.push(record);
    else {
      this.all.splice(place, 0, record);
      this.moves += 1;
    }
    this.version += 1;
    if (this.all.length >= LOGS_MAX + LOGS_SLACK) this.trim();
    return true;
  }

  trim() {
    const gone = new Set(this.all.splice(0, this.all.length - LOGS_MAX));
    this.refused += gone.size;
    this.moves += 1;
    for (const [key, records] of this.bySpan) {
      const left = records.filter((record) => !gone.has(record));
      if (left.length > 0) this.bySpan.set(key, left);
      else this.bySpan.delete(key);
    }
  }
}

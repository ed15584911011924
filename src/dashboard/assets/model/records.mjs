// @ts-check
// Log records of a trace, in order of time and by span. Keeps the newest up to a bound.
// Must never touch the DOM or a clock.

import { isRepeated } from "./event-ids.mjs";

/**
 * @typedef {{data: any, id: string, time: number}} LogRecord `time` in tree time (see
 *   `originSeconds` in `model.mjs`), NaN if invalid
 */

/** Number of the newest log records of a trace that remain after a removal. */
export const LOGS_MAX = 50_000;
/** Up to this many more are kept, and then removed at once, because a removal costs a pass over all records. */
const LOGS_SLACK = 5_000;

export class TraceLogs {
  /** In order of time, ties in order of arrival. @type {LogRecord[]} */
  all = [];
  /** By span id, in order of arrival. @type {Map<string, LogRecord[]>} */
  bySpan = new Map();
  /** Number of oldest records removed. */
  refused = 0;
  /** Grows when `all` changes before its end: positions in it are then invalid. */
  moves = 0;
  version = 0;

  /** @param {any} data @param {string} id id of its event, empty without one @param {number} time @returns {boolean} false for a repetition */
  add(data, id, time) {
    const key = typeof data.spanId === "string" ? data.spanId : "";
    const record = { data, id, time };
    const known = this.bySpan.get(key);
    if (known === undefined) this.bySpan.set(key, [record]);
    else {
      // Records of one span arrive in order of their sequence numbers.
      if (isRepeated(id, known[known.length - 1].id)) return false;
      known.push(record);
    }
    let place = this.all.length;
    // The place is nearly always the end.
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

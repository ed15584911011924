// @ts-check
// Storage for the spans of one trace: one column per field, one index per span. At 100,000 spans, an object per span
// would take five times the memory, and a walk over all spans would miss the cache at every step.
// Must never parse events (`model.mjs` does) or maintain the tree's invariants (`tree.mjs` does).

/** Codes of the span states, for a column of bytes. The order is that of STATE_NAMES. */
export const STATE = Object.freeze({ running: 0, waiting: 1, ok: 2, error: 3, cancelled: 4, lost: 5, placeholder: 6, panicked: 7 });
/** @typedef {"running" | "waiting" | "ok" | "error" | "cancelled" | "lost" | "placeholder" | "panicked"} SpanState */
/** @type {readonly SpanState[]} */
export const STATE_NAMES = Object.freeze(["running", "waiting", "ok", "error", "cancelled", "lost", "placeholder", "panicked"]);

/**
 * Bits of the column `flags`. `errorBelow`: a descendant is an error, panicked or lost, or is open and reports a
 * failure. `remote`: a placeholder for a parent in another process. `unsorted`: the children must be sorted by start
 * before they are read in order. `failing`: the span is open, and its updates report a failure. `rests`: the span does
 * no work in this process.
 */
export const FLAG = Object.freeze({ errorBelow: 1, remote: 2, unsorted: 4, failing: 8, rests: 16 });

const CAPACITY_FIRST = 256;

/** @param {number} state @returns {boolean} */
export function isOpenState(state) {
  return state <= STATE.waiting;
}

/** Errors, panics and lost spans. @param {number} state @returns {boolean} */
export function isBadState(state) {
  return state === STATE.error || state === STATE.lost || state === STATE.panicked;
}

/**
 * @typedef {SpanState | "failing" | "below"} ShownState the state that the page shows: `failing` is open with a
 *   failure in it or below, `below` is ok itself with errors below
 */

/**
 * @param {SpanState} state @param {boolean} errors whether there are errors below it, or in the trace
 * @returns {ShownState}
 */
export function shownState(state, errors) {
  if (errors && (state === "running" || state === "waiting")) return "failing";
  return errors && state === "ok" ? "below" : state;
}

/** Interned strings: each distinct text is stored once and has a number. */
export class Strings {
  constructor() {
    /** @type {string[]} */
    this.list = [""];
    this.ids = new Map([["", 0]]);
  }

  /** @param {string} text @returns {number} */
  add(text) {
    const known = this.ids.get(text);
    if (known !== undefined) return known;
    this.list.push(text);
    this.ids.set(text, this.list.length - 1);
    return this.list.length - 1;
  }
}

/**
 * The columns. Growing replaces the arrays, so callers must not keep one across a change. Relations are indexes, −1
 * for none; times are milliseconds after the trace's origin, NaN if unknown.
 */
export class SpanColumns {
  constructor() {
    this.count = 0;
    /** @type {string[]} */
    this.ids = [];
    /** @type {Map<string, number>} */
    this.byId = new Map();
    /** `started` with the updates since, or `ended`; null for a placeholder. @type {any[]} */
    this.events = [];
    this.parent = new Int32Array(CAPACITY_FIRST);
    this.firstChild = new Int32Array(CAPACITY_FIRST);
    this.lastChild = new Int32Array(CAPACITY_FIRST);
    this.nextSibling = new Int32Array(CAPACITY_FIRST);
    this.previousSibling = new Int32Array(CAPACITY_FIRST);
    /** Number of direct children: all, the open ones, and the failed or lost ones. */
    this.childCount = new Int32Array(CAPACITY_FIRST);
    this.childOpen = new Int32Array(CAPACITY_FIRST);
    this.childFailed = new Int32Array(CAPACITY_FIRST);
    /** Number of direct children that did not fail but have errors below them. */
    this.childBelow = new Int32Array(CAPACITY_FIRST);
    this.start = new Float64Array(CAPACITY_FIRST);
    /** NaN while open. */
    this.end = new Float64Array(CAPACITY_FIRST);
    this.state = new Uint8Array(CAPACITY_FIRST);
    this.flags = new Uint8Array(CAPACITY_FIRST);
    this.name = new Int32Array(CAPACITY_FIRST);
    this.service = new Int32Array(CAPACITY_FIRST);
    this.scope = new Int32Array(CAPACITY_FIRST);
    this.kind = new Int32Array(CAPACITY_FIRST);
    /** Rank of the span's first event among the first events of all spans, from 1; 0 for a placeholder. */
    this.seen = new Int32Array(CAPACITY_FIRST);
    /** Depth of the row. Only `visible-rows.mjs` writes this. */
    this.depth = new Int32Array(CAPACITY_FIRST);
    /** The trace's version at the span's last change. */
    this.stamp = new Float64Array(CAPACITY_FIRST);
  }

  /** @param {string} id @returns {number} the index of a new span of which only the id is known */
  add(id) {
    if (this.count === this.parent.length) this.grow();
    const index = this.count;
    this.count += 1;
    this.ids.push(id);
    this.byId.set(id, index);
    this.events.push(null);
    this.parent[index] = -1;
    this.firstChild[index] = -1;
    this.lastChild[index] = -1;
    this.nextSibling[index] = -1;
    this.previousSibling[index] = -1;
    this.start[index] = NaN;
    this.end[index] = NaN;
    this.state[index] = STATE.placeholder;
    return index;
  }

  /** Doubles the capacity, so that the cost of copying is constant per span. */
  grow() {
    const columns = /** @type {Record<string, any>} */ (/** @type {unknown} */ (this));
    for (const [name, column] of Object.entries(columns)) {
      if (!ArrayBuffer.isView(column)) continue;
      const larger = new /** @type {any} */ (column.constructor)(/** @type {any} */ (column).length * 2);
      larger.set(column);
      columns[name] = larger;
    }
  }

  /** @param {number} index @param {number} flag @returns {boolean} */
  has(index, flag) {
    return (this.flags[index] & flag) !== 0;
  }

  /** @param {number} index @param {number} flag */
  set(index, flag) {
    this.flags[index] |= flag;
  }

  /** @param {number} index @param {number} flag */
  clear(index, flag) {
    this.flags[index] &= ~flag;
  }
}

const JOURNAL_LENGTH = 1 << 16;

/** A ring of the last changed spans. Code that keeps data per span needs to visit only these spans. */
export class Journal {
  constructor() {
    this.ring = new Int32Array(JOURNAL_LENGTH);
    this.written = 0;
  }

  /** @param {number} index */
  add(index) {
    this.ring[this.written % JOURNAL_LENGTH] = index;
    this.written += 1;
  }

  /** @param {number} place @returns {boolean} whether the ring still has all changes since `place` */
  knows(place) {
    return place >= 0 && this.written - place <= JOURNAL_LENGTH;
  }

  /** @param {number} place a place that the ring still has @returns {number} the span that changed */
  at(place) {
    return this.ring[place % JOURNAL_LENGTH];
  }

  /**
   * Visits the spans that changed since `place`, or all spans if the ring no longer has these changes. May visit a
   * span twice.
   * @param {number} place the result of the last call; −1 for the first call
   * @param {number} count number of spans
   * @param {(index: number) => void} visit
   * @returns {number} the place for the next call
   */
  read(place, count, visit) {
    if (!this.knows(place)) {
      for (let index = 0; index < count; index += 1) visit(index);
    } else {
      for (let at = place; at < this.written; at += 1) visit(this.at(at));
    }
    return this.written;
  }
}

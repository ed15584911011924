// @ts-check
// How the spans of one trace are held: a column per fact, a number per span. An object per span would cost five times the
// memory at 100,000 spans, and a walk over all of them would miss the cache at every step.
// Must never parse an event (`model.mjs` does) or know what a tree needs to stay true (`tree.mjs` does).

/** What a span can be, as codes: a column of bytes. The order is that of STATE_NAMES. */
export const STATE = Object.freeze({ running: 0, waiting: 1, ok: 2, error: 3, cancelled: 4, lost: 5, placeholder: 6, panicked: 7 });
/** @typedef {"running" | "waiting" | "ok" | "error" | "cancelled" | "lost" | "placeholder" | "panicked"} SpanState */
/** @type {readonly SpanState[]} */
export const STATE_NAMES = Object.freeze(["running", "waiting", "ok", "error", "cancelled", "lost", "placeholder", "panicked"]);

/**
 * Bits of the column `flags`. `errorBelow`: some descendant is an error, panicked or lost. `remote`: a placeholder whose child said
 * that its parent lives elsewhere. `unsorted`: the children must be sorted by start before they are read in order.
 * `failing`: it is open, and its updates say that it fails.
 */
export const FLAG = Object.freeze({ errorBelow: 1, remote: 2, unsorted: 4, failing: 8 });

const CAPACITY_FIRST = 256;

/** @param {number} state @returns {boolean} */
export function isOpenState(state) {
  return state <= STATE.waiting;
}

/** Errors, panics and lost spans: what a reader looks for first. @param {number} state @returns {boolean} */
export function isBadState(state) {
  return state === STATE.error || state === STATE.lost || state === STATE.panicked;
}

/**
 * @typedef {SpanState | "failing" | "below"} ShownState as people are told it: `failing` is open and fails, itself or below,
 *   `below` is ok itself with errors below
 */

/** @param {SpanState} state @param {boolean} errors whether there are any below, or in the trace @returns {ShownState} */
export function shownState(state, errors) {
  if (errors && (state === "running" || state === "waiting")) return "failing";
  return errors && state === "ok" ? "below" : state;
}

/** Texts that many spans share, each held once under a number. */
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
 * The columns. They are replaced when they grow, so nobody may keep one across a change. Relations are indexes, −1 for
 * none; times are milliseconds after the trace's origin, NaN where not known.
 */
export class SpanColumns {
  constructor() {
    this.count = 0;
    /** @type {string[]} */
    this.ids = [];
    /** @type {Map<string, number>} */
    this.byId = new Map();
    /** The newest `started` or `ended` object, null for a placeholder. @type {any[]} */
    this.events = [];
    this.parent = new Int32Array(CAPACITY_FIRST);
    this.firstChild = new Int32Array(CAPACITY_FIRST);
    this.lastChild = new Int32Array(CAPACITY_FIRST);
    this.nextSibling = new Int32Array(CAPACITY_FIRST);
    this.previousSibling = new Int32Array(CAPACITY_FIRST);
    /** Direct children: all of them, the open ones, the failed and lost ones. */
    this.childCount = new Int32Array(CAPACITY_FIRST);
    this.childOpen = new Int32Array(CAPACITY_FIRST);
    this.childFailed = new Int32Array(CAPACITY_FIRST);
    /** Direct children that are no failures themselves, and have some below them. */
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
    /** The place of its first own event among those of all spans, from 1; 0 for a placeholder. */
    this.seen = new Int32Array(CAPACITY_FIRST);
    /** Of the row; written when rows are made, and by nobody else. */
    this.depth = new Int32Array(CAPACITY_FIRST);
    /** The trace's version at the span's last change. */
    this.stamp = new Float64Array(CAPACITY_FIRST);
  }

  /** @param {string} id @returns {number} the index of a new span of which nothing is known but its id */
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

  /** Twice the room: the cost of a copy, spread over the spans that it makes room for, stays constant. */
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

/** The last changed spans, so that a reader who keeps something per span looks at those only. */
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

  /** @param {number} place @returns {boolean} whether all changes since then are known */
  knows(place) {
    return place >= 0 && this.written - place <= JOURNAL_LENGTH;
  }

  /**
   * Visits what changed since `place`, or every span where that is no longer known. A span may be visited twice.
   * @param {number} place what the last call answered; −1 for the first
   * @param {number} count spans there are
   * @param {(index: number) => void} visit
   * @returns {number} the place for the next call
   */
  read(place, count, visit) {
    if (!this.knows(place)) {
      for (let index = 0; index < count; index += 1) visit(index);
    } else {
      for (let at = place; at < this.written; at += 1) visit(this.ring[at % JOURNAL_LENGTH]);
    }
    return this.written;
  }
}

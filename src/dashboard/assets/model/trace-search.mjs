// @ts-check
// A search over the spans of one trace. It runs in slices of time and tests spans again as they change. Names,
// services and scopes are tested once per distinct text. Attributes are read only if the result still depends on them.
// Must never touch the DOM or a clock: the caller says when a slice has to end.

import { STATE, STATE_NAMES, isBadState, isOpenState } from "./columns.mjs";
import { logsOf, shownStateOf } from "./model.mjs";
import { compares, contains, dependsOnTime, parseQuery } from "./search.mjs";
import { formatCount, plural } from "./time.mjs";
import { TreeWalk, countBefore, countInSubtrees } from "./tree-order.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {import("./search.mjs").Term} Term
 * @typedef {{term: Term, tested: Uint8Array, has: (given: unknown) => boolean}} Test `tested`: the cached result by
 *   distinct text: 0 unknown, 1 no, 2 yes
 */

/** Number of spans tested between two checks of the time left. */
const CHUNK = 64;
/** Interval at which a search that depends on time tests open spans again. */
const RELOOK_MS = 250;
const hasAllTime = () => true;

export class TraceSearch {
  query = "";
  /** @type {import("./search.mjs").Wrong | null} */
  wrong = null;
  /** Whether there is a search. */
  active = false;
  /** Whether spans are left to test, so that `count` is only a part. */
  isRunning = false;
  /** Number of matches among the spans tested so far. */
  count = 0;
  /** Grows when the matches change. */
  version = 0;
  /** By span: 1 for a match. A span that was not tested in this round has the result of an earlier one. */
  bits = new Uint8Array(0);
  /** By span: the last round in which it was tested, from 1. */
  rounds = new Uint32Array(0);
  /** A round tests all spans once. Another one is needed only if the journal has lost changes. */
  round = 0;
  /** All spans before this one have been tested in this round. */
  tested = 0;
  /** @type {Trace | null} */
  trace = null;
  /** @type {Test[]} */
  tests = [];
  /** The journal's next entry. */
  place = -1;
  spans = 0;
  now = NaN;
  timed = false;
  /** Open spans, which may match or stop matching with time alone. @type {Set<number>} */
  open = new Set();
  /** Open spans that are still to be tested again. @type {number[]} */
  openLeft = [];
  openAt = -Infinity;
  /** The pending step to another match. @type {{walk: TreeWalk, from: number, direction: 1 | -1, steps: number} | null} */
  step = null;
  /** @type {Int32Array} */
  sums = new Int32Array(0);
  sumsFor = "";

  /**
   * Continues the search until all spans are tested or there is no time left.
   * @param {Trace} trace
   * @param {string} query
   * @param {number} now in tree time
   * @param {() => boolean} [hasTime] called after each chunk of spans
   * @returns {TraceSearch | null} null without a search
   */
  update(trace, query, now, hasTime = hasAllTime) {
    // The number of spans shrinks only with time travel, which renumbers them.
    if (query !== this.query || trace !== this.trace || trace.spans.count < this.spans) this.begin(trace, query);
    this.spans = trace.spans.count;
    if (!this.active) return null;
    if (this.bits.length < trace.spans.count) this.grow(trace.spans.parent.length);
    if (!trace.journal.knows(this.place)) this.beginRound(trace);
    this.now = now;
    const isCaughtUp = this.testNew(trace, hasTime) && this.testChanged(trace, hasTime);
    const isOpenTested = this.testOpen(hasTime, isCaughtUp);
    this.isRunning = !isCaughtUp || (this.isRunning && !isOpenTested);
    return this;
  }

  /** @param {Trace} trace @param {string} query */
  begin(trace, query) {
    const { terms, wrong } = parseQuery(query, "trace");
    Object.assign(this, { trace, query, wrong, active: terms.length > 0, isRunning: false, timed: dependsOnTime(terms), place: -1, round: 0, count: 0, step: null, sumsFor: "" });
    // Terms on columns come before terms on attributes, so most spans are decided without reading attributes.
    const isCostly = (/** @type {Term} */ { key }) => Number(key === "" || key.startsWith("@"));
    this.tests = terms.sort((a, b) => isCostly(a) - isCostly(b)).map((term) => ({ term, tested: new Uint8Array(0), has: inside(term.value) }));
    this.bits = new Uint8Array(0);
    this.rounds = new Uint32Array(0);
    this.open.clear();
    this.version += 1;
  }

  /** @param {number} room */
  grow(room) {
    const { bits, rounds } = this;
    this.bits = new Uint8Array(room);
    this.bits.set(bits);
    this.rounds = new Uint32Array(room);
    this.rounds.set(rounds);
  }

  /** @param {Trace} trace */
  beginRound(trace) {
    Object.assign(this, { round: this.round + 1, place: trace.journal.written, tested: 0, count: 0, isRunning: true, openLeft: [], openAt: -Infinity });
    this.open.clear();
  }

  /** @param {Trace} trace @param {() => boolean} hasTime @returns {boolean} whether all are tested */
  testNew(trace, hasTime) {
    while (this.tested < trace.spans.count) {
      for (const end = Math.min(trace.spans.count, this.tested + CHUNK); this.tested < end; this.tested += 1) this.isMatch(this.tested);
      if (!hasTime()) break;
    }
    return this.tested >= trace.spans.count;
  }

  /** @param {Trace} trace @param {() => boolean} hasTime @returns {boolean} whether all are tested */
  testChanged({ journal }, hasTime) {
    while (this.place < journal.written) {
      for (const end = Math.min(journal.written, this.place + CHUNK); this.place < end; this.place += 1) {
        const index = journal.at(this.place);
        if (this.rounds[index] === this.round) this.test(index);
      }
      if (!hasTime()) break;
    }
    return this.place >= journal.written;
  }

  /**
   * Tests open spans again, at the end of a round and then at intervals.
   * @param {() => boolean} hasTime @param {boolean} isCaughtUp whether all spans were tested once
   * @returns {boolean} whether all are tested
   */
  testOpen(hasTime, isCaughtUp) {
    if (!this.timed) return true;
    if (!isCaughtUp) return false;
    // Earlier slices tested their spans with an earlier `now`.
    const isDue = this.isRunning ? this.openAt !== this.now : Math.abs(this.now - this.openAt) >= RELOOK_MS;
    if (this.openLeft.length === 0 && isDue) {
      this.openAt = this.now;
      this.openLeft = [...this.open];
    }
    while (this.openLeft.length > 0) {
      for (const index of this.openLeft.splice(-CHUNK)) this.test(index);
      if (!hasTime()) break;
    }
    return this.openLeft.length === 0;
  }

  /** @param {number} index @returns {boolean} whether it matches or has never been tested */
  mayMatch(index) {
    return this.bits[index] === 1 || this.rounds[index] === 0;
  }

  /** @param {number} index @returns {boolean} whether it matches; tests it now if it was not yet tested */
  isMatch(index) {
    if (this.rounds[index] !== this.round) this.test(index);
    return this.bits[index] === 1;
  }

  /** @param {number} index */
  test(index) {
    const trace = /** @type {Trace} */ (this.trace);
    // Nothing is known of a placeholder, so neither a term nor its negation matches it.
    const seen = trace.spans.state[index] !== STATE.placeholder;
    const found = seen && this.tests.every((test) => holds(trace, index, test, this.now) !== test.term.negated) ? 1 : 0;
    if (this.timed) {
      if (isOpenState(trace.spans.state[index])) this.open.add(index);
      else this.open.delete(index);
    }
    this.count += found - (this.rounds[index] === this.round ? this.bits[index] : 0);
    this.rounds[index] = this.round;
    if (found === this.bits[index]) return;
    this.bits[index] = found;
    this.version += 1;
  }

  /**
   * Begins a step to the next match, wrapping around. If the same step is still pending, the step goes one match
   * further.
   * @param {number} from −1 for the beginning
   * @param {1 | -1} direction
   */
  beginStep(from, direction) {
    if (this.trace === null || !this.active) return;
    if (this.step?.direction === direction && this.step.from === from) this.step.steps += 1;
    else this.step = { walk: new TreeWalk(this.trace, from, direction), from, direction, steps: 1 };
  }

  /**
   * Continues a step. Tests the spans on its way, so that it does not skip a match that the search has not tested yet.
   * @param {() => boolean} [hasTime]
   * @returns {number | null} the match; −1 for none; null if there is no step, or if it needs more time
   */
  continueStep(hasTime = hasAllTime) {
    for (let left = CHUNK; this.step !== null; left -= 1) {
      if (left === 0) {
        if (!hasTime()) return null;
        left = CHUNK;
      }
      const { walk, direction } = this.step;
      const index = walk.next();
      if (index >= 0 && !this.isMatch(index)) continue;
      this.step.steps -= 1;
      if (index < 0 || this.step.steps === 0) {
        this.step = null;
        return index;
      }
      this.step.walk = new TreeWalk(walk.tree, index, direction);
    }
    return null;
  }

  /** @returns {Int32Array} for each span, the number of matches in its subtree; of a running search, so far */
  inSubtrees() {
    const trace = /** @type {Trace} */ (this.trace);
    const key = `${this.version} ${trace.structure} ${trace.spans.count}`;
    if (key !== this.sumsFor) {
      this.sumsFor = key;
      this.sums = countInSubtrees(trace, this.bits);
    }
    return this.sums;
  }

  /** @param {number} index of a match @returns {number} its rank among the matches in reading order, from 1 */
  rankOf(index) {
    return countBefore(/** @type {Trace} */ (this.trace), index, this.bits, this.inSubtrees()) + 1;
  }
}

/**
 * @param {Pick<TraceSearch, "count" | "isRunning">} search
 * @param {number} rank of the selected span among the matches, 0 if it is none
 * @returns {string} the number of matches; a running search marks it as a part
 */
export function countText({ count, isRunning }, rank) {
  if (isRunning) return count === 0 ? "searching…" : `${formatCount(count)} so far…`;
  if (count === 0) return "no match";
  return rank === 0 ? plural(count, "match", "matches") : `${formatCount(rank)} of ${formatCount(count)}`;
}

/** @param {Trace} trace @param {number} index @param {Test} test @param {number} now @returns {boolean} */
function holds(trace, index, test, now) {
  const { spans } = trace;
  const { key, value, operator, number } = test.term;
  const state = spans.state[index];
  switch (key) {
    case "": return textHolds(trace, index, test);
    case "name": return passes(trace, test, spans.name[index]);
    case "service": return passes(trace, test, spans.service[index]);
    case "scope": return passes(trace, test, spans.scope[index]);
    case "span": case "id": return spans.ids[index].startsWith(value);
    case "state": return STATE_NAMES[state] === value || shownStateOf(trace, index) === value;
    case "status": return isBadState(state) === (value === "error");
    case "kind": return trace.strings.list[spans.kind[index]].toLowerCase() === value;
    case "duration": {
      const end = isOpenState(state) ? Math.max(now, spans.start[index]) : spans.end[index];
      return compares(Math.round((end - spans.start[index]) * 1e6), operator, number);
    }
    default: return attributeHolds(trace, index, test);
  }
}

/**
 * Returns whether the string with this number contains the value. Caches the result.
 * @param {Trace} trace @param {Test} test @param {number} id @returns {boolean}
 */
function passes({ strings }, test, id) {
  if (test.tested.length <= id) {
    const larger = new Uint8Array(Math.max(256, strings.list.length * 2));
    larger.set(test.tested);
    test.tested = larger;
  }
  if (test.tested[id] === 0) test.tested[id] = test.has(strings.list[id]) ? 2 : 1;
  return test.tested[id] === 2;
}

/**
 * Returns a test whether a value of any type contains the text. Numbers are formatted only if the text may occur in
 * one.
 * @param {string} value folded
 * @returns {(given: unknown) => boolean}
 */
function inside(value) {
  const text = contains(value);
  const numeric = /^[-+.e\d]*$/.test(value);
  return (given) => {
    if (typeof given === "string") return text(given);
    if (typeof given === "number") return numeric && String(given).includes(value);
    return given !== undefined && given !== null && text(JSON.stringify(given));
  };
}

/** @param {Trace} trace @param {number} index @param {Test} test @returns {boolean} */
function textHolds(trace, index, test) {
  const { spans } = trace;
  if (passes(trace, test, spans.name[index]) || passes(trace, test, spans.service[index]) || passes(trace, test, spans.scope[index])) return true;
  if (spans.ids[index].startsWith(test.term.value)) return true;
  const { has } = test;
  const event = spans.events[index];
  if (anyHolds(event?.attributes, has) || has(event?.status?.message)) return true;
  for (const one of Array.isArray(event?.events) ? event.events : []) if (has(one?.name) || anyHolds(one?.attributes, has)) return true;
  if (has(event?.panic?.message) || has(event?.awaiting?.name)) return true;
  return trace.logs.bySpan.size > 0 && logsOf(trace, index).some(({ data }) => has(data.body) || anyHolds(data.attributes, has));
}

/** @param {Record<string, unknown> | undefined} attributes @param {(given: unknown) => boolean} has @returns {boolean} */
function anyHolds(attributes, has) {
  for (const key in attributes) if (has(attributes[key])) return true;
  return false;
}

/** @param {Trace} trace @param {number} index @param {Test} test @returns {boolean} */
function attributeHolds(trace, index, { term, has }) {
  const key = term.key.slice(1);
  const attributes = trace.spans.events[index]?.attributes;
  if (attributes === undefined || !Object.hasOwn(attributes, key)) return false;
  const actual = attributes[key];
  if (term.operator !== "") return compares(Number(actual), term.operator, term.number);
  if (term.value === "") return true;
  // Numbers and booleans must match exactly: 40 does not find 402.
  if (typeof actual === "number") return actual === term.number;
  return typeof actual === "boolean" ? String(actual) === term.value : has(actual);
}

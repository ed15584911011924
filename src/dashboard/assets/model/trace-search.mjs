// @ts-check
// A search over the spans of one trace that is updated as spans arrive. Names, services and scopes are tested once
// per distinct text. Each span then costs a comparison of numbers; attributes are read only if the result still
// depends on them.
// Must never touch the DOM or a clock.

import { STATE, STATE_NAMES, isBadState, isOpenState } from "./columns.mjs";
import { logsOf, readChanges, shownStateOf } from "./model.mjs";
import { compares, contains, dependsOnTime, parseQuery } from "./search.mjs";
import { nextWhere, visitInOrder } from "./tree-order.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {import("./search.mjs").Term} Term
 * @typedef {{term: Term, tested: Uint8Array, has: (given: unknown) => boolean}} Test `tested`: the cached result by
 *   distinct text: 0 unknown, 1 no, 2 yes
 */

export class TraceSearch {
  query = "";
  /** @type {import("./search.mjs").Wrong | null} */
  wrong = null;
  /** Whether there is a search. */
  active = false;
  count = 0;
  /** Grows when the matches change. */
  version = 0;
  bits = new Uint8Array(0);
  /** @type {Trace | null} */
  trace = null;
  /** @type {Test[]} */
  tests = [];
  place = -1;
  spans = 0;
  timed = false;
  /** Open spans that may match or stop matching with time alone. @type {number[]} */
  waiting = [];
  waitingAt = -Infinity;
  /** @type {number[]} */
  order = [];
  orderFor = "";

  /**
   * @param {Trace} trace
   * @param {string} query
   * @param {number} now in tree time
   * @returns {TraceSearch | null} null without a search
   */
  update(trace, query, now) {
    // The number of spans shrinks only with time travel, which renumbers them.
    if (query !== this.query || trace !== this.trace || trace.spans.count < this.spans) this.begin(trace, query);
    this.spans = trace.spans.count;
    if (!this.active) return null;
    if (this.bits.length < trace.spans.count) {
      const larger = new Uint8Array(trace.spans.parent.length);
      larger.set(this.bits);
      this.bits = larger;
    }
    if (this.place < 0) this.waiting = [];
    this.place = readChanges(trace, this.place, (index) => this.look(index, now));
    if (this.timed && Math.abs(now - this.waitingAt) >= RELOOK_MS) this.lookAgain(trace, now);
    return this;
  }

  /** @param {Trace} trace @param {string} query */
  begin(trace, query) {
    const { terms, wrong } = parseQuery(query, "trace");
    Object.assign(this, { trace, query, wrong, active: terms.length > 0, timed: dependsOnTime(terms), place: -1, count: 0, orderFor: "", waiting: [] });
    // Terms on columns come before terms on attributes, so most spans are decided without reading attributes.
    const isCostly = (/** @type {Term} */ { key }) => Number(key === "" || key.startsWith("@"));
    this.tests = terms.sort((a, b) => isCostly(a) - isCostly(b)).map((term) => ({ term, tested: new Uint8Array(0), has: inside(term.value) }));
    this.bits = new Uint8Array(this.active ? trace.spans.parent.length : 0);
    this.version += 1;
  }

  /** @param {number} index @param {number} now */
  look(index, now) {
    const trace = /** @type {Trace} */ (this.trace);
    // Nothing is known of a placeholder, so neither a term nor its negation matches it.
    const seen = trace.spans.state[index] !== STATE.placeholder;
    const found = seen && this.tests.every((test) => holds(trace, index, test, now) !== test.term.negated) ? 1 : 0;
    if (this.timed && this.waiting.length < trace.spans.count * 2 && isOpenState(trace.spans.state[index])) this.waiting.push(index);
    if (found === this.bits[index]) return;
    this.bits[index] = found;
    this.count += found === 1 ? 1 : -1;
    this.version += 1;
  }

  /** Tests open spans again, because their durations grow without an event. @param {Trace} trace @param {number} now */
  lookAgain(trace, now) {
    this.waitingAt = now;
    const open = new Set(this.waiting.filter((index) => isOpenState(trace.spans.state[index])));
    this.waiting = [];
    for (const index of open) this.look(index, now);
  }

  /** @returns {number[]} in reading order */
  list() {
    const trace = this.trace;
    if (trace === null) return [];
    const key = `${this.version} ${trace.structure}`;
    if (key !== this.orderFor) {
      this.orderFor = key;
      this.order = [];
      visitInOrder(trace, (index) => {
        if (this.bits[index] === 1) this.order.push(index);
      });
    }
    return this.order;
  }

  /**
   * @param {number} from −1 for the beginning
   * @param {1 | -1} direction
   * @returns {number} the next match, wrapping around; −1 for none
   */
  next(from, direction) {
    if (this.trace === null || this.count === 0) return -1;
    return nextWhere(this.trace, from, direction, (index) => this.bits[index] === 1);
  }
}

const RELOOK_MS = 250;

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

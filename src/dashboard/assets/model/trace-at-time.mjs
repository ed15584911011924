// @ts-check
// A trace as it looked at a past moment, computed from the columns; only updates of open spans are replayed. Spans are
// sorted by first appearance once. A moment then shows the first n of them, and one pass finds which of those were
// open. Must never touch the DOM or a clock, nor change the original trace.

import { FLAG, Journal, STATE, SpanColumns, isBadState, isOpenState } from "./columns.mjs";
import { ProgressWindow, progressOf } from "./progress.mjs";
import { parseTimestamp } from "./time.mjs";
import { countState } from "./tree.mjs";
import { isObject, saysFailing, withUpdate } from "./updates.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{start: any, updates: {time: number, data: any}[]}} Past the events of one span before its end
 * @typedef {Map<string, Past>} History by span id
 */

/** Maximum number of newest updates from which the speed of an open span is computed. */
const WINDOW_UPDATES = 100;

/**
 * Collects the events that a span's end supersedes: each span's start and its updates.
 * @param {Iterable<any>} events
 * @param {number} originSeconds
 * @returns {History}
 */
export function historyOf(events, originSeconds) {
  /** @type {History} */
  const history = new Map();
  for (const data of events) {
    if (data?.type !== "started" && data?.type !== "updated") continue;
    let past = history.get(data.spanId);
    if (past === undefined) history.set(data.spanId, (past = { start: null, updates: [] }));
    if (data.type === "started") past.start ??= data;
    else past.updates.push({ time: parseTimestamp(data.timestamp, originSeconds), data });
  }
  return history;
}

/** A trace at each moment of its past. Built from one version of the trace; a newer version needs a new `Moments`. */
export class Moments {
  /** @param {Trace} trace @param {History | null} history @param {number} now the present, in tree time: open spans extend to it */
  constructor(trace, history, now) {
    this.trace = trace;
    this.history = history;
    /** The version of the trace that this was built from. */
    this.version = trace.version;
    this.start = trace.start;
    this.end = Math.max(Number.isNaN(trace.end) ? trace.start : trace.end, trace.counts.open > 0 ? now : -Infinity);
    /** The moment that `view` shows. */
    this.moment = NaN;
    this.appears = appearances(trace);
    this.order = orderOf(this.appears);
    /** Times of all starts and ends, in order. */
    this.times = timesOf(trace);
    /** Times of the ends that were failures, in order. */
    this.failures = failuresOf(trace);
    this.fixed = this.permuted();
    /** @type {Trace} */
    this.view = this.emptyView();
    /** Spans whose state, name or fields change between start and end. @type {number[]} */
    this.updated = this.updatedSpans();
    /**
     * By open span: its event at the moment, and how many of its updates are merged in.
     * @type {Map<number, {event: any, updates: number}>}
     */
    this.folded = new Map();
  }

  /**
   * Reuses the view object of an older `Moments` of the same trace, so that the dashboard's views keep one object.
   * @param {Moments} before
   */
  succeed(before) {
    const { version, structure, journal } = before.view;
    this.view = Object.assign(before.view, this.view, { version, structure, journal });
  }

  /** Returns the columns that are the same at every moment, in order of appearance. */
  permuted() {
    const { spans } = this.trace;
    const { order } = this;
    const place = new Int32Array(order.length);
    for (let index = 0; index < order.length; index += 1) place[order[index]] = index;
    const parent = pickNumbers(spans.parent, order);
    for (let index = 0; index < parent.length; index += 1) if (parent[index] >= 0) parent[index] = place[parent[index]];
    return {
      place, parent, start: pickTimes(spans.start, order), end: pickTimes(spans.end, order), state: pickBytes(spans.state, order), flags: pickBytes(spans.flags, order),
      name: pickNumbers(spans.name, order), service: pickNumbers(spans.service, order), scope: pickNumbers(spans.scope, order), kind: pickNumbers(spans.kind, order),
      ids: pickTexts(spans.ids, order), seen: pickNumbers(spans.seen, order), appears: pickTimes(this.appears, order),
    };
  }

  /** @returns {Trace} */
  emptyView() {
    const { trace, fixed, order } = this;
    const size = order.length;
    const spans = new SpanColumns();
    const numbers = () => new Int32Array(size);
    Object.assign(spans, {
      ids: fixed.ids, parent: fixed.parent, name: fixed.name.slice(), service: fixed.service, scope: fixed.scope, kind: fixed.kind, seen: fixed.seen,
      firstChild: numbers(), lastChild: numbers(), nextSibling: numbers(), previousSibling: numbers(),
      childCount: numbers(), childOpen: numbers(), childFailed: numbers(), childBelow: numbers(), depth: numbers(),
      start: new Float64Array(size), end: new Float64Array(size), stamp: new Float64Array(size),
      state: new Uint8Array(size), flags: new Uint8Array(size),
      events: new Proxy([], { get: (_none, key) => (typeof key === "string" && /^\d+$/.test(key) ? this.eventAt(Number(key)) : undefined) }),
      byId: { get: (/** @type {string} */ id) => this.indexOf(id), has: (/** @type {string} */ id) => this.indexOf(id) !== undefined },
    });
    const byPlace = (/** @type {Map<number, any>} */ map) => lazyMap((index) => map.get(order[index]));
    return {
      ...trace, spans, journal: new Journal(), roots: new Set(), openLeaves: new Set(), services: new Map(),
      counts: { total: 0, open: 0, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 },
      end: this.end, newest: -1, version: 0, structure: 0, errorMarksStale: false,
      live: lazyMap((index) => this.liveAt(index), () => this.updated.filter((index) => index < this.view.spans.count && isOpenState(this.view.spans.state[index]))), parentIds: byPlace(trace.parentIds),
      lost: byPlace(trace.lost), logs: /** @type {any} */ (new LogsAt(trace.logs)),
    };
  }

  /** @returns {number[]} */
  updatedSpans() {
    const updated = [];
    for (const [id, { start, updates }] of this.history ?? []) {
      const from = this.trace.spans.byId.get(id);
      if (from === undefined) continue;
      const isRenamed = start !== null && start.name !== this.trace.spans.events[from]?.name;
      if (isRenamed || start?.state === "waiting" || updates.length > 0) updated.push(this.fixed.place[from]);
    }
    return updated;
  }

  /**
   * Returns the trace at a moment: always the same object, changed in place, with higher version numbers after each
   * change.
   * @param {number} moment in tree time
   * @returns {Trace}
   */
  at(moment) {
    if (moment === this.moment) return this.view;
    this.moment = moment;
    const { view, fixed } = this;
    const { spans, counts } = view;
    spans.count = countUpTo(fixed.appears, moment);
    view.version += 1;
    view.structure += 1;
    // Forces readers of the journal to visit every span again.
    view.journal.written += view.journal.ring.length + 1;
    /** @type {LogsAt} */ (/** @type {any} */ (view.logs)).look(moment);
    this.setStates(moment);
    for (const column of [spans.firstChild, spans.lastChild, spans.nextSibling, spans.previousSibling]) column.fill(-1, 0, spans.count);
    for (const column of [spans.childCount, spans.childOpen, spans.childFailed, spans.childBelow]) column.fill(0, 0, spans.count);
    spans.stamp.fill(view.version, 0, spans.count);
    view.roots.clear();
    view.openLeaves.clear();
    view.services.clear();
    Object.assign(counts, { total: 0, open: 0, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 });
    for (let index = 0; index < spans.count; index += 1) this.place(index);
    for (let index = 0; index < spans.count; index += 1) {
      if (isOpenState(spans.state[index]) && spans.childOpen[index] === 0) view.openLeaves.add(index);
    }
    return view;
  }

  /** @param {number} moment */
  setStates(moment) {
    const { fixed, view: { spans } } = this;
    for (let index = 0; index < spans.count; index += 1) {
      const start = fixed.start[index];
      const end = fixed.end[index];
      spans.flags[index] = fixed.flags[index] & (FLAG.remote | FLAG.rests);
      spans.start[index] = start <= moment ? start : NaN;
      spans.end[index] = end <= moment ? end : NaN;
      if (!(start <= moment)) spans.state[index] = STATE.placeholder;
      else if (end <= moment) spans.state[index] = fixed.state[index];
      else spans.state[index] = STATE.running;
    }
    for (const index of this.updated) {
      if (!(index < spans.count)) continue;
      spans.name[index] = fixed.name[index];
      if (spans.state[index] !== STATE.running) continue;
      const event = this.foldedAt(index);
      if (event.state === "waiting") spans.state[index] = STATE.waiting;
      if (typeof event.name === "string") spans.name[index] = this.view.strings.add(event.name);
      if (saysFailing(event)) spans.set(index, FLAG.failing);
    }
    // Without history for a span that is waiting now, assume that it was waiting at the moment, too.
    for (let index = 0; index < spans.count; index += 1) {
      if (spans.state[index] === STATE.running && fixed.state[index] === STATE.waiting && this.past(index) === undefined) spans.state[index] = STATE.waiting;
    }
  }

  /** Links a span to its parent and adds it to the counts. @param {number} index */
  place(index) {
    const { spans, roots, counts, services, strings } = this.view;
    const state = spans.state[index];
    const parent = spans.parent[index];
    const isBad = isBadState(state);
    countState(counts, state, 1);
    const fails = spans.has(index, FLAG.failing);
    if (fails) counts.errors += 1;
    if (state !== STATE.placeholder) {
      this.view.newest = index;
      const name = strings.list[spans.service[index]];
      const service = services.get(name);
      if (service === undefined) services.set(name, { name, spans: 1 });
      else service.spans += 1;
    }
    if (parent < 0) roots.add(index);
    else {
      const last = spans.lastChild[parent];
      spans.previousSibling[index] = last;
      if (last < 0) spans.firstChild[parent] = index;
      else {
        spans.nextSibling[last] = index;
        // Siblings come in order of appearance. A parent appears with its first child, so it may have started later.
        if (!(spans.start[last] <= spans.start[index])) spans.set(parent, FLAG.unsorted);
      }
      spans.lastChild[parent] = index;
      spans.childCount[parent] += 1;
      if (isOpenState(state)) spans.childOpen[parent] += 1;
      if (isBad) spans.childFailed[parent] += 1;
    }
    // Stops at an ancestor that is marked already, because those above it are marked, too.
    for (let step = isBad || fails ? parent : -1; step >= 0 && !spans.has(step, FLAG.errorBelow); step = spans.parent[step]) {
      spans.set(step, FLAG.errorBelow);
      if (spans.parent[step] >= 0 && !isBadState(spans.state[step])) spans.childBelow[spans.parent[step]] += 1;
    }
  }

  /** @param {string} id @returns {number | undefined} */
  indexOf(id) {
    const from = this.trace.spans.byId.get(id);
    if (from === undefined || from >= this.order.length) return undefined;
    const index = this.fixed.place[from];
    return index < this.view.spans.count ? index : undefined;
  }

  /** @param {number} index @returns {Past | undefined} */
  past(index) {
    return this.history?.get(this.fixed.ids[index]);
  }

  /** @param {number} index @returns {any} the span's newest event at the moment, computed on demand */
  eventAt(index) {
    if (!(index < this.view.spans.count) || this.view.spans.state[index] === STATE.placeholder) return null;
    const event = this.trace.spans.events[this.order[index]];
    return event === null || !isOpenState(this.view.spans.state[index]) ? event : this.foldedAt(index);
  }

  /**
   * Returns an open span's event at the moment. Continues from the result for an earlier moment if there is one.
   * @param {number} index @returns {any}
   */
  foldedAt(index) {
    const past = this.past(index);
    const known = this.folded.get(index);
    const count = past === undefined ? 0 : countUpToTime(past.updates, this.moment);
    const from = known !== undefined && known.updates <= count ? known : { event: this.beginning(index, past), updates: 0 };
    let { event } = from;
    for (let at = from.updates; at < count; at += 1) event = withUpdate(event, /** @type {Past} */ (past).updates[at].data);
    this.folded.set(index, { event, updates: count });
    // The newest event lists all events of the span, even if the updates that brought them are not loaded.
    const happened = this.upToNow(this.trace.spans.events[this.order[index]]?.events);
    return happened.length > 0 ? { ...event, events: happened } : event;
  }

  /**
   * Returns a span's first event. Without history, it is the newest event minus the fields that only come later.
   * @param {number} index @param {Past | undefined} past @returns {any}
   */
  beginning(index, past) {
    const event = this.trace.spans.events[this.order[index]];
    const { status, links, events, lost, panic, panicked, cancelled, task, awaiting, state, startTimestamp, ...rest } = event;
    // The time comes from the newest event. The other fields come from the start event if it has them.
    return { ...rest, ...past?.start, type: "started", timestamp: startTimestamp ?? rest.timestamp, attributes: past?.start?.attributes ?? rest.attributes ?? {}, attributeTypes: past?.start?.attributeTypes ?? (past?.start ? {} : rest.attributeTypes) ?? {} };
  }

  /** Returns the progress speed of a span at the moment. @param {number} index @returns {any} */
  liveAt(index) {
    const past = isOpenState(this.view.spans.state[index]) ? this.past(index) : undefined;
    if (past === undefined) return undefined;
    const speed = new ProgressWindow();
    let progressVersion = 0;
    const count = countUpToTime(past.updates, this.moment);
    let attributes = {};
    for (const { time, data } of past.updates.slice(Math.max(0, count - WINDOW_UPDATES), count)) {
      if (!isObject(data.attributes)) continue;
      attributes = { ...attributes, ...data.attributes };
      // The total may come from an earlier update, so it is taken from the merged attributes.
      const progress = progressOf({ ...this.foldedAt(index).attributes, ...attributes });
      if (progress === null || !("progress.current" in data.attributes)) continue;
      speed.add(progress, time);
      progressVersion = time + 1;
    }
    return { speed, progressVersion, work: null, changed: new Map() };
  }

  /** @param {any[] | undefined} list @returns {any[]} */
  upToNow(list) {
    return (list ?? []).filter((one) => parseTimestamp(one?.timestamp, this.trace.originSeconds) <= this.moment);
  }

  /**
   * Returns the next or previous moment at which a span starts or ends. If there is none, returns the trace's end or
   * start.
   * @param {number} moment @param {1 | -1} direction @returns {number}
   */
  step(moment, direction) {
    const { times } = this;
    if (times.length === 0) return moment;
    const after = countUpTo(times, moment);
    if (direction > 0) return after < times.length ? times[after] : this.end;
    let before = after - 1;
    while (before >= 0 && times[before] === moment) before -= 1;
    return before < 0 ? this.start : times[before];
  }
}

/**
 * Returns when each span appears: at its own start, or, if that is earlier, at the first start of a span below it.
 * @param {Trace} trace
 * @returns {Float64Array}
 */
function appearances({ spans }) {
  const appears = spans.start.slice(0, spans.count);
  const byStart = orderOf(appears);
  for (const index of byStart) {
    // Spans are visited in order of start, so the first visit of an ancestor has its earliest time.
    const start = spans.start[index];
    for (let step = spans.parent[index]; step >= 0 && !(appears[step] <= start); step = spans.parent[step]) appears[step] = start;
  }
  return appears;
}

/** @param {Float64Array} keys @returns {Uint32Array} indexes sorted by key, NaN last; stable */
function orderOf(keys) {
  const order = new Uint32Array(keys.length);
  const known = new Float64Array(keys.length);
  let isSorted = true;
  for (let index = 0; index < keys.length; index += 1) {
    order[index] = index;
    known[index] = keys[index] === keys[index] ? keys[index] : Infinity;
    isSorted &&= index === 0 || known[index - 1] <= known[index];
  }
  return isSorted ? order : order.sort((a, b) => (known[a] === known[b] ? a - b : known[a] - known[b]));
}

// Four functions with the same body, because an engine optimizes a loop for one kind of array.

/** @param {Float64Array} column @param {Uint32Array} order @returns {Float64Array} the values in this order */
function pickTimes(column, order) {
  const picked = new Float64Array(order.length);
  for (let index = 0; index < order.length; index += 1) picked[index] = column[order[index]];
  return picked;
}

/** @param {Int32Array} column @param {Uint32Array} order @returns {Int32Array} the values in this order */
function pickNumbers(column, order) {
  const picked = new Int32Array(order.length);
  for (let index = 0; index < order.length; index += 1) picked[index] = column[order[index]];
  return picked;
}

/** @param {Uint8Array} column @param {Uint32Array} order @returns {Uint8Array} the values in this order */
function pickBytes(column, order) {
  const picked = new Uint8Array(order.length);
  for (let index = 0; index < order.length; index += 1) picked[index] = column[order[index]];
  return picked;
}

/** @param {string[]} column @param {Uint32Array} order @returns {string[]} the values in this order */
function pickTexts(column, order) {
  const picked = [];
  for (let index = 0; index < order.length; index += 1) picked.push(column[order[index]]);
  return picked;
}

/** @param {Trace} trace @returns {Float64Array} */
function timesOf({ spans: { start, end, count } }) {
  const times = new Float64Array(count * 2);
  let length = 0;
  for (let index = 0; index < count; index += 1) {
    if (start[index] === start[index]) times[length++] = start[index];
    if (end[index] === end[index]) times[length++] = end[index];
  }
  return times.subarray(0, length).sort();
}

/** @param {Trace} trace @returns {Float64Array} */
function failuresOf({ spans }) {
  const times = [];
  for (let index = 0; index < spans.count; index += 1) if (isBadState(spans.state[index]) && !Number.isNaN(spans.end[index])) times.push(spans.end[index]);
  return Float64Array.from(times).sort();
}

/**
 * @param {ArrayLike<number>} sorted NaN last @param {number} limit
 * @returns {number} the number of values up to and including the limit
 */
export function countUpTo(sorted, limit) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * @param {{time: number}[]} updates in order @param {number} moment
 * @returns {number} the number of updates up to and including the moment
 */
function countUpToTime(updates, moment) {
  let low = 0;
  let high = updates.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (updates[middle].time <= moment) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A view of the trace's log records that ends at a moment. */
class LogsAt {
  /** @param {import("./records.mjs").TraceLogs} logs */
  constructor(logs) {
    this.logs = logs;
    this.moment = NaN;
    this.version = 0;
    this.moves = 0;
    this.refused = logs.refused;
    /** @type {import("./records.mjs").LogRecord[] | null} */
    this.made = null;
    const upTo = (/** @type {import("./records.mjs").LogRecord[] | undefined} */ records) => records?.filter(({ time }) => time <= this.moment);
    this.bySpan = { get: (/** @type {string} */ id) => upTo(this.logs.bySpan.get(id)), get size() { return logs.bySpan.size; } };
  }

  /** @param {number} moment */
  look(moment) {
    this.moment = moment;
    this.made = null;
    this.version += 1;
    this.moves += 1;
  }

  get all() {
    return (this.made ??= this.logs.all.slice(0, countUpToTime(this.logs.all, this.moment)));
  }
}

/**
 * A read-only stand-in for a `Map` that computes each value on demand.
 * @param {(index: number) => any} find @param {() => number[]} [keys] @returns {any}
 */
function lazyMap(find, keys = () => []) {
  return { get: find, has: (/** @type {number} */ index) => find(index) !== undefined, keys, size: 0 };
}

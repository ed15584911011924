// @ts-check
// The state of the list of traces, the reducer that applies events to it, and the selection of its rows.
// Must never touch the DOM, the network or a clock. The reducer changes the state in place and returns it.

import { shownState } from "./columns.mjs";
import { sequenceOf } from "./event-ids.mjs";
import { addGap, droppedOf, noLosses } from "./gaps.mjs";
import { ProgressWindow, progressFrom } from "./progress.mjs";
import { traceMatches } from "./search.mjs";
import { epochMilliseconds, formatCount, plural } from "./time.mjs";

/**
 * @typedef {object} Summary one trace, as `GET traces` and `traces/sse` describe it
 * @property {string} traceId
 * @property {string} name
 * @property {string} service
 * @property {string} [kind] of the root
 * @property {"running" | "waiting" | "ok" | "error" | "panicked" | "cancelled" | "lost"} state
 * @property {string | null} rootSpanId
 * @property {string} startTimestamp
 * @property {string | null} endTimestamp
 * @property {string} lastTimestamp
 * @property {number | null} durationMs
 * @property {{total: number, open: number, errors: number, lost: number}} spans
 * @property {{name: string, spans: number, errors: number}[]} services
 * @property {{events: number, spans: number | null}} [evicted] what retention removed from it
 * @property {{spanId: string | null, name: string | null, field: string, text: string}} [match] where the server's
 *   search found the text
 * @property {any} [progress] its progress: `{current, total, units, message}`
 * @property {{name: string, since: string}} [awaiting] the await point that has waited longest
 * @property {boolean} [kept] whether the trace is kept beyond retention
 * @property {{events: number}} [partial] set if the summary covers only the trace's first `events` events
 * @property {string} [firstId] id of its first event; the server's list is in this order
 * @property {Record<string, unknown>} [rootAttributes] attributes of its root that distinguish it from other traces
 * @property {{spanId: string, name: string, message: string}} [error] the first error that has a message
 * @typedef {object} TraceList
 * @property {Map<string, Summary>} traces the newest traces, and open ones
 * @property {Map<string, Summary>} older traces from pages of history, cleared when the search changes
 * @property {Map<string, ProgressWindow>} speeds by open trace that reports progress
 * @property {Map<string, NonNullable<Summary["match"]>>} matches where the server found matches of the current search
 *   in a trace's events
 * @property {number} floor `traces` holds every trace from this sequence number on; 0 if it holds all traces
 * @property {number | null} olderFloor the next page of history ends at this sequence number; null before the first
 *   page
 * @property {boolean} exhausted history has no more for this search
 * @property {boolean} loaded the first snapshot or page has arrived
 * @property {number} max
 * @property {number} goneWithLog traces of earlier epochs, removed from the list when the log restarted
 * @property {string | null} epoch
 * @property {{starts: number, ends: number, other: number}} hostDropped
 * @property {boolean} degraded the store is failing
 * @property {import("./gaps.mjs").Losses} losses losses of the log that the list's stream reported
 * @property {import("./traffic.mjs").TimedGap[]} timedGaps gaps received live, the newest TIMED_GAPS_MAX
 * @property {number} version
 */

/** Maximum number of timed gaps kept, for the traffic chart. */
export const TIMED_GAPS_MAX = 100;
/** Maximum number of newest summaries kept in the page. */
export const LIST_MAX = 2_000;
/** Maximum number of summaries of history kept in the page. */
export const OLDER_MAX = 10_000;
/** Number of summaries requested in the live snapshot. */
export const LIST_LIMIT = 500;

/** @param {number} [max] @returns {TraceList} */
export function createList(max = LIST_MAX) {
  return {
    traces: new Map(), older: new Map(), speeds: new Map(), matches: new Map(), floor: 0, olderFloor: null, exhausted: false, loaded: false, max, goneWithLog: 0, epoch: null,
    hostDropped: droppedOf(null), degraded: false, losses: noLosses(), timedGaps: [], version: 0,
  };
}

/** @param {TraceList} list @returns {TraceList} an independent copy */
export function copyList(list) {
  const losses = { ...list.losses, gaps: new Set(list.losses.gaps) };
  const speeds = new Map([...list.speeds].map(([traceId, speed]) => [traceId, speed.copy()]));
  return { ...list, traces: new Map(list.traces), older: new Map(list.older), matches: new Map(list.matches), speeds, losses, timedGaps: [...list.timedGaps] };
}

/**
 * Applies an event of `traces/sse`, or `page` with the body of `GET traces`. Ignores unknown types.
 * @param {TraceList} list
 * @param {{type: string, id?: string, data: any}} event
 * @returns {TraceList} the same object
 */
export function reduceList(list, event) {
  const data = event.data;
  if (data === null || typeof data !== "object") return list;
  if (event.type === "hello") {
    // The log restarted: traces that ran in the old epoch cannot be followed in the new one.
    if (list.epoch !== null && list.epoch !== data.epoch) {
      list.goneWithLog += list.traces.size + list.older.size;
      list.traces.clear();
      forgetOlder(list);
    }
    list.epoch = data.epoch ?? null;
    list.degraded = false;
  } else if (event.type === "traces") {
    if (data.snapshot === true) {
      list.traces.clear();
      forgetOlder(list);
    }
    for (const trace of summaries(data.traces)) (list.older.has(trace.traceId) ? list.older : list.traces).set(trace.traceId, trace);
    for (const traceId of Array.isArray(data.removed) ? data.removed : []) {
      list.traces.delete(traceId);
      list.older.delete(traceId);
    }
    if (data.snapshot === true) list.floor = Number(data.next ?? 0);
    list.loaded = true;
  } else if (event.type === "page") {
    for (const { match, ...trace } of summaries(data.traces)) {
      if (match != null) list.matches.set(trace.traceId, match);
      if (!list.traces.has(trace.traceId)) list.older.set(trace.traceId, trace);
    }
    list.exhausted = data.next == null;
    list.olderFloor = Number(data.next ?? 0);
    list.loaded = true;
  } else if (event.type === "ping") {
    if (data.dropped) list.hostDropped = droppedOf(data.dropped);
  } else if (event.type === "degraded" || event.type === "gap") {
    // A `gap` event also means that an outage of the store is over.
    list.degraded = event.type === "degraded";
    if (event.type === "gap") addGap(list.losses, data, event.id ?? "");
  } else {
    return list;
  }
  trim(list);
  list.version += 1;
  return list;
}

/**
 * Records the progress speeds from an event. Separate from `reduceList`, because the hub, which only keeps summaries
 * for tabs, does not need them.
 * @param {TraceList} list
 * @param {{type: string, data: any}} event
 */
export function recordSpeeds(list, { type, data }) {
  if (type === "traces") for (const trace of summaries(data?.traces)) recordProgress(list, trace);
  for (const traceId of list.speeds.keys()) if (!list.traces.has(traceId) && !list.older.has(traceId)) list.speeds.delete(traceId);
}

/** @param {TraceList} list @param {Summary} trace */
function recordProgress({ speeds }, trace) {
  const progress = isOpenTrace(trace) ? progressFrom(trace.progress) : null;
  if (progress === null) {
    speeds.delete(trace.traceId);
    return;
  }
  let speed = speeds.get(trace.traceId);
  if (speed === undefined) speeds.set(trace.traceId, (speed = new ProgressWindow()));
  // Summaries also arrive for other reasons. Only a summary with a changed amount or total is a step.
  if (speed.steps.at(-1)?.current !== progress.current || speed.total !== progress.total) speed.add(progress, epochMilliseconds(trace.lastTimestamp));
}

/**
 * Records the arrival time of a gap, since gap events have no timestamp.
 * @param {TraceList} list @param {any} data @param {number} at milliseconds since 1970
 */
export function noteGapTime(list, data, at) {
  if (data.reason === "epoch" || !Number.isFinite(at)) return;
  const lost = typeof data.lost === "number" ? data.lost : data.lost ? Object.values(droppedOf(data.lost)).reduce((sum, count) => sum + count, 0) : null;
  list.timedGaps = [...list.timedGaps, { at, lost }].slice(-TIMED_GAPS_MAX);
}

/** Removes the pages of history, because they belong to one search. @param {TraceList} list */
export function forgetOlder(list) {
  list.older.clear();
  list.matches.clear();
  list.olderFloor = null;
  list.exhausted = false;
  list.version += 1;
}

/**
 * @param {TraceList} list @param {boolean} [deep] whether the search needs the events, which summaries lack
 * @returns {boolean} whether there may be older traces, and room for them
 */
export function hasOlder(list, deep = false) {
  return list.loaded && !list.exhausted && (deep || list.floor > 0) && list.older.size < OLDER_MAX;
}

/** @param {import("./search.mjs").Term} term @returns {boolean} whether a summary alone can rule out a match */
export function isDecided({ key }) {
  return key !== "" && key !== "scope" && key !== "span" && !key.startsWith("@");
}

/**
 * @param {TraceList} list @param {Summary} trace @param {import("./search.mjs").Term[]} terms of the current search, or some of them
 * @param {number} now @returns {boolean} whether its summary or its events match
 */
export function listMatches(list, trace, terms, now) {
  if (!list.matches.has(trace.traceId)) return traceMatches(trace, terms, now);
  return traceMatches(trace, terms.filter(isDecided), now);
}

/** @param {NonNullable<Summary["match"]>} match @returns {string} `http.route=/foo`, `log: card declined` */
export function matchText({ field, text }) {
  if (field.startsWith("attributes.")) return `${field.slice("attributes.".length)}=${text}`;
  const [kind] = field.split(".");
  return `${{ status: "error", events: "event" }[kind] ?? kind}: ${text}`;
}

/**
 * Returns the matching rows in order: newest first, or open ones before the others.
 * @param {TraceList} list
 * @param {{terms: import("./search.mjs").Term[], order: "running" | "newest", now: number, within?: (trace: Summary) => boolean}} options
 * @returns {Summary[]}
 */
export function selectTraces(list, { terms, order, now, within = () => true }) {
  const rows = [];
  for (const traces of [list.traces, list.older]) for (const trace of traces.values()) if (within(trace) && listMatches(list, trace, terms, now)) rows.push(trace);
  rows.sort(newestFirst);
  if (order === "newest") return rows;
  return [...rows.filter(isOpenTrace), ...rows.filter((trace) => !isOpenTrace(trace))];
}

/** @param {Summary} trace @returns {import("./columns.mjs").ShownState} its state, marked if any of its spans failed */
export function shownStateOfSummary(trace) {
  return shownState(trace.state, (trace.spans?.errors ?? 0) > 0);
}

/**
 * @typedef {{total: number, open: number, failing: number, failed: number, panicked: number, cancelled: number, below: number}} ListCounts
 *   `failing`: open with errors; `failed`: ended as error, panicked or lost; `below`: ended ok, with errors below
 */

/** @param {TraceList} list @returns {ListCounts} counts of the loaded traces */
export function listCounts(list) {
  const counts = { total: list.traces.size + list.older.size, open: 0, failing: 0, failed: 0, panicked: 0, cancelled: 0, below: 0 };
  for (const traces of [list.traces, list.older]) for (const trace of traces.values()) {
    const state = shownStateOfSummary(trace);
    if (isOpenTrace(trace)) counts.open += 1;
    if (state === "failing") counts.failing += 1;
    if (state === "error" || state === "panicked" || state === "lost") counts.failed += 1;
    if (state === "panicked" || state === "cancelled") counts[state] += 1;
    if (state === "below") counts.below += 1;
  }
  return counts;
}

/** @param {ListCounts} counts @returns {string} `12 running, 1 of them failing · 3 failed, 1 of them panicked · 2 ok, errors below · 1 cancelled` */
export function countsWords({ open, failing, failed, panicked, cancelled, below }) {
  const parts = [`${formatCount(open)} running${failing > 0 ? `, ${formatCount(failing)} of them failing` : ""}`];
  parts.push(`${formatCount(failed)} failed${panicked > 0 ? `, ${formatCount(panicked)} of them panicked` : ""}`);
  if (below > 0) parts.push(`${formatCount(below)} ok, errors below`);
  if (cancelled > 0) parts.push(`${formatCount(cancelled)} cancelled`);
  return parts.join(" · ");
}

/** @param {Summary} trace @returns {string} `312 of 1,756 kept`, `first 20,000 events only`, or `incomplete`; empty if
 * nothing is missing */
export function keptText({ evicted, partial, spans }) {
  if (partial != null) return `first ${plural(Number(partial.events) || 0, "event")} only`;
  if (evicted === undefined || evicted === null) return "";
  if (evicted.spans === null) return "incomplete";
  return `${formatCount(Math.max(0, (spans?.total ?? 0) - evicted.spans))} of ${formatCount(spans?.total ?? 0)} kept`;
}

/** @param {Summary} trace @returns {string} its first error, and the span of the error */
export function reasonOf({ name, error }) {
  if (typeof error?.message !== "string") return "";
  return typeof error.name !== "string" || error.name === name ? error.message : `${error.message} in ${error.name}`;
}

/** @param {Summary} trace @returns {boolean} */
export function isOpenTrace(trace) {
  return trace.state === "running" || trace.state === "waiting";
}

/** @param {unknown} traces @returns {Summary[]} */
function summaries(traces) {
  return Array.isArray(traces) ? traces.filter((trace) => typeof trace?.traceId === "string") : [];
}

/**
 * Removes the oldest traces, finished ones before open ones. While history is loaded, removed traces move to `older`,
 * so that no trace is missing between the two; otherwise the server still has them.
 * @param {TraceList} list
 */
function trim(list) {
  if (list.traces.size > list.max) {
    const rows = [...list.traces.values()].sort(newestFirst);
    const order = [...rows.filter(isOpenTrace), ...rows.filter((trace) => !isOpenTrace(trace))];
    for (const trace of order.slice(list.max)) {
      list.traces.delete(trace.traceId);
      if (list.olderFloor !== null) list.older.set(trace.traceId, trace);
      list.floor = Math.max(list.floor, sequenceOf(trace.firstId) + 1);
    }
  }
  if (list.older.size <= OLDER_MAX) return;
  for (const trace of [...list.older.values()].sort(newestFirst).slice(OLDER_MAX)) list.older.delete(trace.traceId);
}

/** Timestamps are fixed-width, so text order is time order. @param {Summary} a @param {Summary} b @returns {number} */
function newestFirst(a, b) {
  if (a.startTimestamp !== b.startTimestamp) return a.startTimestamp < b.startTimestamp ? 1 : -1;
  return a.traceId < b.traceId ? -1 : 1;
}

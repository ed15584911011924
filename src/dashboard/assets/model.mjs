// @ts-check
// One trace as a state that events are applied to: `(state, event) => state`.
// Must never touch the DOM, the network or a clock. The state is changed in place behind that signature, because a copy
// per event would make 100,000 spans quadratic: keep no reference into it across a call, look at the version numbers.

import { addPlaceholder, createTree, isOpen, link, setState } from "./tree.mjs";
import { parseTimestamp, wholeSeconds } from "./time.mjs";

/**
 * @typedef {import("./tree.mjs").Span} Span
 * @typedef {import("./tree.mjs").SpanState} SpanState
 * @typedef {{type: string, id?: string, data: any}} ModelEvent an event of a stream, or `snapshot` with the body of
 *   `GET traces/{traceId}`
 * @typedef {object} Losses what this reader could have had and did not get
 * @property {number} evicted events that retention had let go
 * @property {number} starts
 * @property {number} ends
 * @property {number} other
 * @property {boolean} unknown something of unknown size is missing
 * @property {boolean} atMost `evicted` is a limit: the count was of several traces together
 * @typedef {object} Trace
 * @property {string} traceId
 * @property {import("./tree.mjs").Tree} tree
 * @property {number} originSeconds whole seconds since 1970 that all times in the tree count from; NaN before the first
 * @property {number} start smallest start, NaN while there is none; placeholders never count
 * @property {number} end largest end seen, NaN while there is none
 * @property {Map<string, {name: string, spans: number}>} services in the order first seen
 * @property {Map<string, any>} processes
 * @property {Span | null} newest the span that appeared last
 * @property {string | null} epoch
 * @property {number} restarts epochs that ended while this trace was watched
 * @property {string} heard what the server's clock last said; text, because it may be heard before the origin is known
 * @property {boolean} unknownToServer
 * @property {boolean} degraded
 * @property {string | null} ended reason of the last `end` event
 * @property {Losses} losses
 * @property {{starts: number, ends: number, other: number}} hostDropped as the last `ping` counts it, over the whole log
 * @property {number} refusedSpans not kept, because SPANS_MAX was reached
 * @property {number} refusedLogs
 * @property {number} logs
 * @property {Set<string>} seen keys of log records and gaps, which have no key of their own
 * @property {number} version grows with every change
 */

/** Spans kept of one trace; more are counted, not kept, so that a page's memory has a bound. */
export const SPANS_MAX = 250_000;
/** Log records kept of one trace. */
export const LOGS_MAX = 50_000;

/**
 * @param {string} traceId
 * @returns {Trace}
 */
export function createTrace(traceId) {
  return {
    traceId, tree: createTree(), originSeconds: NaN, start: NaN, end: NaN,
    services: new Map(), processes: new Map(), newest: null,
    epoch: null, restarts: 0, heard: "", unknownToServer: false, degraded: false, ended: null,
    losses: { evicted: 0, starts: 0, ends: 0, other: 0, unknown: false, atMost: false },
    hostDropped: { starts: 0, ends: 0, other: 0 },
    refusedSpans: 0, refusedLogs: 0, logs: 0, seen: new Set(), version: 0,
  };
}

/** @type {Record<string, (trace: Trace, data: any, id: string) => void>} */
const HANDLERS = {
  started, ended, updated, log, process, hello, ping, gap,
  snapshot,
  degraded(trace) {
    trace.degraded = true;
  },
  end(trace, data) {
    trace.ended = text(data.reason);
  },
};

/**
 * Applies one event. Types, fields and traces it does not know change nothing.
 * @param {Trace} trace
 * @param {ModelEvent} event
 * @returns {Trace} the same object
 */
export function reduceTrace(trace, event) {
  const data = event.data;
  if (!Object.hasOwn(HANDLERS, event.type) || data === null || typeof data !== "object") return trace;
  if (typeof data.traceId === "string" && data.traceId !== trace.traceId) return trace;
  HANDLERS[event.type](trace, data, event.id ?? "");
  trace.version += 1;
  return trace;
}

/**
 * The attributes as they stand: those of the start with later updates laid over, or the final ones.
 * @param {Span} span
 * @returns {Record<string, unknown>}
 */
export function attributesOf(span) {
  return { ...(span.event?.attributes ?? {}), ...(span.changes ?? {}) };
}

/** @param {Span} span @returns {Record<string, string>} */
export function attributeTypesOf(span) {
  return { ...(span.event?.attributeTypes ?? {}), ...(span.changedTypes ?? {}) };
}

/**
 * Where a span's bar ends: its end, for a lost one the moment it was last heard, for an open one `now`.
 * @param {Span} span
 * @param {number} now in tree time
 * @returns {number}
 */
export function barEnd(span, now) {
  if (span.loss !== null && !Number.isNaN(span.loss.lastHeard)) return Math.max(span.start, span.loss.lastHeard);
  return span.end ?? Math.max(span.start, now);
}

/**
 * The state of the whole trace: open while anything is, else what its roots say.
 * @param {Trace} trace
 * @returns {SpanState}
 */
export function traceState(trace) {
  const { counts } = trace.tree;
  if (counts.total === 0) return "placeholder";
  if (counts.open > 0) return counts.waiting === counts.open ? "waiting" : "running";
  if (counts.lost > 0) return "lost";
  const roots = topSpans(trace).map((span) => span.state);
  if (roots.includes("error")) return "error";
  return roots.includes("cancelled") ? "cancelled" : "ok";
}

/** @param {Trace} trace @returns {string} the root's name, or that of the earliest top span */
export function traceName(trace) {
  let best = null;
  for (const span of topSpans(trace)) {
    if (best === null || rank(span) < rank(best) || (rank(span) === rank(best) && span.start < best.start)) best = span;
  }
  return best?.name ?? "";
}

/**
 * What the trace is waiting for: innermost open spans, longest running first.
 * @param {Trace} trace
 * @param {number} limit
 * @returns {{spans: Span[], total: number}}
 */
export function waitingFor(trace, limit) {
  /** @type {Span[]} */
  const spans = [];
  let looked = 0;
  for (const span of trace.tree.openLeaves) {
    // Leaves opened long ago stand first in the set, so a bounded look finds the longest running.
    if (++looked > 1_000) break;
    spans.push(span);
  }
  spans.sort((a, b) => a.start - b.start);
  return { spans: spans.slice(0, limit), total: trace.tree.openLeaves.size };
}

/**
 * Time spent in the span and in none of its children, or null while it is open.
 * @param {Span} span
 * @returns {number | null}
 */
export function selfTime(span) {
  if (span.end === null || Number.isNaN(span.start)) return null;
  const intervals = span.children
    .filter((child) => !Number.isNaN(child.start))
    .map((child) => [Math.max(span.start, child.start), Math.min(Number(span.end), child.end ?? Infinity)])
    .sort((a, b) => a[0] - b[0]);
  let covered = 0;
  let reached = span.start;
  for (const [from, to] of intervals) {
    if (to <= reached) continue;
    covered += to - Math.max(from, reached);
    reached = to;
  }
  return span.end - span.start - covered;
}

/** @param {Losses} losses @returns {number} */
export function lostEvents(losses) {
  return losses.evicted + losses.starts + losses.ends + losses.other;
}

/** @param {Trace} trace @returns {Span[]} spans without a known parent */
function topSpans(trace) {
  /** @type {Span[]} */
  const spans = [];
  for (const root of trace.tree.roots) {
    if (root.state === "placeholder") spans.push(...root.children.slice(0, 100));
    else spans.push(root);
  }
  return spans;
}

/** @param {Span} span @returns {number} */
function rank(span) {
  return span.event?.parentSpanId == null ? 0 : 1;
}

/** @param {Trace} trace @param {any} body */
function snapshot(trace, body) {
  for (const event of list(body.processes)) process(trace, event);
  for (const event of list(body.spans)) {
    if (event?.type === "ended") ended(trace, event);
    else if (event?.type === "started") started(trace, event);
  }
  for (const event of list(body.updates)) updated(trace, event);
  for (const event of list(body.logs)) log(trace, event, "");
  hearClock(trace, body.now);
}

/** @param {Trace} trace @param {any} data */
function started(trace, data) {
  const span = spanFor(trace, data.spanId);
  if (span === null) return;
  // Invariant: a start never reopens what has ended, except where the end was only our own guess.
  const guessed = span.loss !== null && span.loss.local;
  if (span.state !== "placeholder" && !guessed) return;
  span.loss = null;
  span.end = null;
  fill(trace, span, data, data.timestamp);
  setState(trace.tree, span, data.state === "waiting" ? "waiting" : "running");
}

/** @param {Trace} trace @param {any} data */
function ended(trace, data) {
  const span = spanFor(trace, data.spanId);
  if (span === null) return;
  const real = span.event !== null && span.event.type === "ended" && span.event.lost == null;
  // A second real end is a repetition, and a loss announced after a real end knows less than it.
  if (real) return;
  span.changes = null;
  span.changedTypes = null;
  span.renamed = false;
  fill(trace, span, data, data.startTimestamp ?? data.timestamp);
  const end = timeOf(trace, data.timestamp);
  span.end = Number.isNaN(end) ? span.start : Math.max(end, span.start);
  span.loss = data.lost
    ? { reason: text(data.lost.reason), lastHeard: timeOf(trace, data.lost.lastHeard), local: false }
    : null;
  setState(trace.tree, span, endState(data));
  const reached = barEnd(span, span.end);
  if (!(trace.end >= reached)) trace.end = reached;
}

/** @param {any} data @returns {SpanState} */
function endState(data) {
  if (data.lost) return "lost";
  if (data.state === "cancelled" || data.cancelled === true) return "cancelled";
  return data.status?.code === "ERROR" ? "error" : "ok";
}

/**
 * Takes over what `started` and `ended` have in common.
 * @param {Trace} trace
 * @param {Span} span
 * @param {any} data
 * @param {unknown} startText
 */
function fill(trace, span, data, startText) {
  const first = span.event === null;
  span.event = data;
  if (!span.renamed) span.name = text(data.name);
  const start = timeOf(trace, startText);
  if (start !== span.start) {
    span.start = start;
    if (span.parent !== null) span.parent.unsorted = true;
    if (!first || span.parent !== null || span.children.length > 0) trace.tree.structure += 1;
  }
  if (!(trace.start <= start) && !Number.isNaN(start)) trace.start = start;
  if (first) {
    span.service = text(data.service);
    const service = trace.services.get(span.service);
    if (service) service.spans += 1;
    else trace.services.set(span.service, { name: span.service, spans: 1 });
    trace.newest = span;
    trace.unknownToServer = false;
    adopt(trace, span, data);
  }
  span.version += 1;
}

/** Finds or makes the parent. @param {Trace} trace @param {Span} span @param {any} data */
function adopt(trace, span, data) {
  if (typeof data.parentSpanId !== "string" || data.parentSpanId === "") return;
  span.parentId = data.parentSpanId;
  const parent = spanFor(trace, data.parentSpanId);
  if (parent === null || span.parent !== null) return;
  if (parent.state === "placeholder" && data.parentRemote === true) parent.remote = true;
  link(trace.tree, span, parent);
}

/** @param {Trace} trace @param {any} data */
function updated(trace, data) {
  const span = spanFor(trace, data.spanId);
  // The end is self-contained: an update from before it has nothing to add.
  if (span === null || (span.end !== null && span.loss === null)) return;
  if (data.attributes) span.changes = { ...(span.changes ?? {}), ...data.attributes };
  if (data.attributeTypes) span.changedTypes = { ...(span.changedTypes ?? {}), ...data.attributeTypes };
  if (typeof data.name === "string") {
    span.name = data.name;
    span.renamed = true;
  }
  if (isOpen(span.state) && (data.state === "waiting" || data.state === "running")) {
    setState(trace.tree, span, data.state);
  }
  span.version += 1;
}

/** @param {Trace} trace @param {any} data @param {string} id */
function log(trace, data, id) {
  const key = `log ${id || `${data.spanId} ${data.timestamp} ${data.severity} ${data.body}`}`;
  if (trace.seen.has(key)) return;
  if (trace.logs >= LOGS_MAX) {
    trace.refusedLogs += 1;
    return;
  }
  const span = spanFor(trace, data.spanId);
  if (span === null) return;
  trace.seen.add(key);
  trace.logs += 1;
  if (span.logs === null) span.logs = [];
  span.logs.push(data);
  span.version += 1;
}

/** @param {Trace} trace @param {any} data */
function process(trace, data) {
  if (typeof data.process === "string") trace.processes.set(data.process, data);
}

/** @param {Trace} trace @param {any} data */
function hello(trace, data) {
  const epoch = text(data.epoch);
  if (trace.epoch !== null && trace.epoch !== epoch) {
    trace.restarts += 1;
    forgetOpen(trace);
  }
  trace.epoch = epoch;
  trace.ended = null;
  hearClock(trace, data.now);
}

/** @param {Trace} trace @param {any} data */
function ping(trace, data) {
  if (data.dropped) trace.hostDropped = numbers(data.dropped);
  if (data.known === false) trace.unknownToServer = trace.tree.counts.total === 0;
  hearClock(trace, data.now);
}

/** @param {Trace} trace @param {any} data @param {string} id */
function gap(trace, data, id) {
  trace.degraded = false;
  const key = `gap ${id || `${data.reason} ${data.from} ${data.to}`}`;
  if (data.reason === "epoch") {
    trace.losses.unknown = true;
    forgetOpen(trace);
  } else if (!trace.seen.has(key)) {
    trace.seen.add(key);
    if (data.traces > 1) trace.losses.atMost = true;
    if (typeof data.lost === "number") trace.losses.evicted += data.lost;
    else if (data.lost) {
      const lost = numbers(data.lost);
      trace.losses.starts += lost.starts;
      trace.losses.ends += lost.ends;
      trace.losses.other += lost.other;
    } else trace.losses.unknown = true;
  }
}

/**
 * The log that would have told the ends of these spans is gone: nobody may be shown them as running. A guess, so a later
 * `started` or `ended` from the new log takes it back.
 * @param {Trace} trace
 */
function forgetOpen(trace) {
  const clock = parseTimestamp(trace.heard, trace.originSeconds);
  const heard = Number.isNaN(clock) ? trace.end : clock;
  for (const span of trace.tree.spans.values()) {
    if (!isOpen(span.state)) continue;
    span.end = Math.max(span.start, Number.isNaN(heard) ? span.start : heard);
    span.loss = { reason: "restarted", lastHeard: span.end, local: true };
    setState(trace.tree, span, "lost");
    if (!(trace.end >= span.end)) trace.end = span.end;
    span.version += 1;
  }
}

/** @param {Trace} trace @param {unknown} id @returns {Span | null} null when the trace is full or the id is none */
function spanFor(trace, id) {
  if (typeof id !== "string" || id === "") return null;
  const known = trace.tree.spans.get(id);
  if (known !== undefined) return known;
  if (trace.tree.spans.size >= SPANS_MAX) {
    trace.refusedSpans += 1;
    return null;
  }
  return addPlaceholder(trace.tree, id);
}

/** @param {Trace} trace @param {unknown} timestamp @returns {number} */
function timeOf(trace, timestamp) {
  if (Number.isNaN(trace.originSeconds)) trace.originSeconds = wholeSeconds(timestamp);
  return parseTimestamp(timestamp, trace.originSeconds);
}

/** @param {Trace} trace @param {unknown} timestamp */
function hearClock(trace, timestamp) {
  if (typeof timestamp === "string") trace.heard = timestamp;
}

/** @param {any} value @returns {{starts: number, ends: number, other: number}} */
function numbers(value) {
  return { starts: Number(value.starts) || 0, ends: Number(value.ends) || 0, other: Number(value.other) || 0 };
}

/** @param {unknown} value @returns {string} */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {any[]} */
function list(value) {
  return Array.isArray(value) ? value : [];
}

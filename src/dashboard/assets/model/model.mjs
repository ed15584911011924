// @ts-check
// The state of one trace and the reducer that applies events to it: `(state, event) => state`.
// Must never touch the DOM, the network or a clock. The reducer changes the state in place: a copy per event would make
// 100,000 spans quadratic. So callers keep no reference into the state across a call; they compare version numbers.

import { FLAG, STATE, isBadState, isOpenState } from "./columns.mjs";
import { addGap, droppedOf, noLosses } from "./gaps.mjs";
import { isRepeated } from "./event-ids.mjs";
import { ProgressWindow } from "./progress.mjs";
import { TraceLogs } from "./records.mjs";
import { WorkTimes } from "./running.mjs";
import { barEnd, progressAt } from "./span.mjs";
import { parseTimestamp, wholeSeconds } from "./time.mjs";
import { addPlaceholder, createTree, link, setFailing, setStart, setState, touch } from "./tree.mjs";
import { isObject, saysFailing, withUpdate, withUpdatesOf } from "./updates.mjs";

export * from "./span.mjs";

/**
 * @typedef {{type: string, id?: string, data: any}} ModelEvent an event of a stream, or `snapshot` with the body of
 *   `GET traces/{traceId}`
 * @typedef {{reason: string, lastHeard: number, local: boolean}} Loss `local`: this page inferred the loss; the
 *   server did not report it
 * @typedef {object} Live
 * @property {string} id id of the last update, empty if that update had no id
 * @property {string} timestamp timestamp of the last update
 * @property {any} early merged updates that arrived before the start; null after the start has arrived
 * @property {number} progressVersion the trace's version at the last progress update, 0 before the first
 * @property {Map<string, {before: any, at: number}>} changed attributes that changed in updates: the value before the
 *   last change, and the time of that change
 * @property {ProgressWindow | null} speed progress per time, null if the span reports no progress
 * @property {WorkTimes | null} work when the span worked, null if no update reported a task
 * @typedef {object} Facts the state of a trace besides its tree
 * @property {string} traceId
 * @property {number} originSeconds whole seconds since 1970, NaN before the first timestamp. All times of the trace are
 *   milliseconds after it: this is called tree time
 * @property {number} start smallest start, NaN while there is none; placeholders never count
 * @property {number} end largest end seen, NaN while there is none
 * @property {Map<string, {name: string, spans: number}>} services in order of first appearance
 * @property {Map<string, any>} processes
 * @property {number} newest index of the newest span, −1 before the first
 * @property {number} introduced spans with an event of their own; placeholders do not count
 * @property {number} latest the latest activity that an event reported, NaN before the first; does not depend on the
 *   page's clock
 * @property {{events: number, spans: number | null} | null} evicted the server's count of this trace's evicted events
 *   and spans
 * @property {{reason: string, lost: number | null} | null} incomplete why the server's answer lacks a part of the
 *   trace, null if the server reported no such reason
 * @property {number} lastParent the parent found by the last look-up
 * @property {Map<number, Live>} live by open span that reported an update or progress
 * @property {TraceLogs} logs
 * @property {Map<number, Loss>} lost
 * @property {Map<number, string>} parentIds by span whose parent could not be linked
 * @property {string | null} epoch
 * @property {number} restarts number of epochs that ended while this page followed the trace
 * @property {boolean} unknownToServer
 * @property {boolean} degraded
 * @property {string | null} ended reason of the last `end` event
 * @property {import("./gaps.mjs").Losses} losses
 * @property {{starts: number, ends: number, other: number}} hostDropped as the last `ping` counts it, over the whole log
 * @property {number} refusedSpans number of times that a new span was refused: the trace had SPANS_MAX
 *   spans, or the id TWINS_MAX twins
 * @typedef {import("./tree.mjs").Tree & Facts} Trace
 */

/** Two `ended` events with one id report the same span if they agree in these fields. */
const SAME = ["name", "startTimestamp", "timestamp", "parentSpanId"];
/** Maximum number of further spans under one id. Each gets the id with another first hex digit, of which 15 exist. */
const TWINS_MAX = 15;
/** Maximum number of spans in a trace, which bounds the page's memory. Further spans are only counted. */
export const SPANS_MAX = 250_000;

/**
 * @param {string} traceId
 * @returns {Trace}
 */
export function createTrace(traceId) {
  return {
    ...createTree(), traceId, originSeconds: NaN, start: NaN, end: NaN,
    services: new Map(), processes: new Map(), newest: -1, introduced: 0, latest: NaN, evicted: null, incomplete: null, lastParent: -1,
    live: new Map(), logs: new TraceLogs(), lost: new Map(), parentIds: new Map(),
    epoch: null, restarts: 0, unknownToServer: false, degraded: false, ended: null,
    losses: noLosses(), hostDropped: droppedOf(null),
    refusedSpans: 0,
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
 * Applies one event. Ignores events of unknown types and of other traces.
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

/** @param {Trace} trace @param {string | null} spanId @returns {number} −1 when there is no such span */
export function indexOf(trace, spanId) {
  return spanId === null ? -1 : (trace.spans.byId.get(spanId) ?? -1);
}

/**
 * Visits the spans that changed since `place`. Visits every span if `place` is −1 or older than the journal's start.
 * @param {Trace} trace @param {number} place @param {(index: number) => void} visit
 * @returns {number} the place for the next call
 */
export function readChanges(trace, place, visit) {
  return trace.journal.read(place, trace.spans.count, visit);
}

/** @param {Trace} trace @param {any} body */
function snapshot(trace, body) {
  for (const event of list(body.processes)) process(trace, event);
  for (const event of list(body.spans)) {
    if (event?.type === "ended") ended(trace, event);
    else if (event?.type === "started") started(trace, event);
  }
  for (const event of list(body.updates)) updated(trace, event, "");
  for (const event of list(body.logs)) log(trace, event, "");
  trace.evicted = evictedOf(body.evicted ?? body.summary?.evicted) ?? trace.evicted;
  trace.incomplete = incompleteOf(body.incomplete) ?? trace.incomplete;
}

/** @param {any} data @returns {Facts["evicted"]} */
export function evictedOf(data) {
  const events = Number(data?.events) || 0;
  const spans = Number.isFinite(data?.spans) ? Number(data.spans) : null;
  return events > 0 || Number(spans) > 0 ? { events, spans } : null;
}

/** @param {any} data @returns {Facts["incomplete"]} */
export function incompleteOf(data) {
  return typeof data?.reason === "string" ? { reason: data.reason, lost: Number.isFinite(data.lost) ? Number(data.lost) : null } : null;
}

/** @param {Trace} trace @param {any} data */
function started(trace, data) {
  const index = spanFor(trace, data.spanId);
  if (index < 0) return;
  const { spans } = trace;
  // Invariant: a start reopens an ended span only if the page itself had guessed that end.
  const guessed = trace.lost.get(index)?.local === true;
  if (spans.state[index] !== STATE.placeholder && !guessed) return;
  trace.lost.delete(index);
  spans.end[index] = NaN;
  const live = trace.live.get(index);
  const early = live?.early ?? null;
  if (live !== undefined) live.early = null;
  const event = early === null ? data : withUpdate(data, early);
  fill(trace, index, event, data.timestamp);
  setState(trace, index, event.state === "waiting" ? STATE.waiting : STATE.running);
  setFailing(trace, index, early !== null && saysFailing(event));
  if (reportsProgress(event)) liveOf(trace, index).progressVersion = trace.version + 1;
}

/** @param {Trace} trace @param {any} data */
function ended(trace, data) {
  let index = spanFor(trace, data.spanId);
  if (index < 0) return;
  const { spans } = trace;
  const before = spans.events[index];
  if (before !== null && before.type === "ended" && before.lost == null) {
    // A loss reported after a real end adds nothing.
    if (data.lost != null) return;
    index = twinFor(trace, index, data);
    if (index < 0) return;
  }
  // A real end has the span's final fields, so it replaces earlier updates. A lost end repeats only the start.
  if (data.lost != null && before !== null && before.type !== "ended") data = withUpdatesOf(data, before);
  if (trace.live.size > 0) trace.live.delete(index);
  const wasFailing = spans.has(index, FLAG.failing);
  if (wasFailing) {
    // From now on the span's state records the failure. Its ancestors' error marks stay valid only if the state is bad.
    spans.clear(index, FLAG.failing);
    trace.counts.errors -= 1;
    trace.errorMarksStale ||= !isBadState(endState(data));
  }
  fill(trace, index, data, data.startTimestamp ?? data.timestamp);
  const start = spans.start[index];
  const end = timeOf(trace, data.timestamp);
  spans.end[index] = Number.isNaN(end) ? start : Math.max(end, start);
  // A lost span's end timestamp is when the loss was noticed, so it does not count as activity.
  advanceLatest(trace, data.lost ? timeOf(trace, data.lost.lastHeard) : end);
  if (data.lost) trace.lost.set(index, { reason: text(data.lost.reason), lastHeard: timeOf(trace, data.lost.lastHeard), local: false });
  else if (trace.lost.size > 0) trace.lost.delete(index);
  setState(trace, index, endState(data));
  reach(trace, barEnd(trace, index, spans.end[index]));
}

/**
 * Finds the span for a second real end under one id. Either the end is a repetition, or two spans share the id, as
 * client and server spans of Zipkin do. The second of these spans gets a derived id.
 * @param {Trace} trace @param {number} first @param {any} data
 * @returns {number} the index of the second span; −1 for a repetition, or if the id already has TWINS_MAX twins
 */
function twinFor(trace, first, data) {
  const { spans } = trace;
  const id = spans.ids[first];
  for (let index = first, n = 1; ; n += 1) {
    if (SAME.every((field) => spans.events[index]?.[field] === data[field])) return -1;
    if (n > TWINS_MAX) break;
    const own = ((parseInt(id[0], 16) || 0) ^ n).toString(16) + id.slice(1);
    const known = indexOf(trace, own);
    if (known < 0) return spanFor(trace, own);
    index = known;
  }
  trace.refusedSpans += 1;
  return -1;
}

/** Advances `latest`. @param {Trace} trace @param {number} time of an event of the log */
function advanceLatest(trace, time) {
  if (!(trace.latest >= time) && !Number.isNaN(time)) trace.latest = time;
}

/** @param {Trace} trace @param {number} end */
function reach(trace, end) {
  if (!(trace.end >= end)) trace.end = end;
}

/** @param {any} data @returns {number} */
function endState(data) {
  if (data.lost) return STATE.lost;
  if (data.panicked === true) return STATE.panicked;
  if (data.state === "cancelled" || data.cancelled === true) return STATE.cancelled;
  return data.status?.code === "ERROR" ? STATE.error : STATE.ok;
}

/**
 * Copies the fields that `started` and `ended` have in common.
 * @param {Trace} trace
 * @param {number} index
 * @param {any} data
 * @param {unknown} startText
 */
function fill(trace, index, data, startText) {
  const { spans } = trace;
  const first = spans.events[index] === null;
  spans.events[index] = data;
  markResting(trace, index);
  rename(trace, index, text(data.name));
  const start = timeOf(trace, startText);
  advanceLatest(trace, start);
  if (start !== spans.start[index]) setStart(trace, index, start);
  if (!(trace.start <= start) && !Number.isNaN(start)) trace.start = start;
  if (first) introduce(trace, index, data);
  shareTexts(trace, index, data);
  touch(trace, index);
}

/**
 * Sets or clears the flag of a span that does no work in this process: a step of a durable workflow, or a wait or
 * sleep. Passes over all spans read the flag, because reading 100,000 events would be slow.
 * @param {Trace} trace @param {number} index
 */
function markResting({ spans }, index) {
  const event = spans.events[index];
  const kind = event?.attributes?.["workflow.step.kind"];
  if (event?.durable === true || kind === "sleep" || kind === "wait") spans.set(index, FLAG.rests);
  else if (spans.has(index, FLAG.rests)) spans.clear(index, FLAG.rests);
}

/** @param {Trace} trace @param {number} index @param {string} name */
function rename(trace, index, name) {
  const { spans, strings } = trace;
  const number = strings.add(name);
  if (number === spans.name[index]) return;
  // The new name may move the span to another group.
  if (spans.name[index] !== 0) trace.structure += 1;
  spans.name[index] = number;
}

/**
 * Replaces repeated texts with one shared copy: each parsed event brings its own copies.
 * @param {Trace} trace @param {number} index @param {any} data
 */
function shareTexts({ traceId, spans, strings }, index, data) {
  if (data.traceId === traceId) data.traceId = traceId;
  // The second of two spans that share an id has another id here than in its event.
  if (data.spanId === spans.ids[index]) data.spanId = spans.ids[index];
  const parent = spans.parent[index];
  if (parent >= 0 && data.parentSpanId === spans.ids[parent]) data.parentSpanId = spans.ids[parent];
  if (data.name === strings.list[spans.name[index]]) data.name = strings.list[spans.name[index]];
  if (data.scope === strings.list[spans.scope[index]]) data.scope = strings.list[spans.scope[index]];
}

/**
 * Fills the fields that only a span's first event sets.
 * @param {Trace} trace @param {number} index @param {any} data
 */
function introduce(trace, index, data) {
  const { spans, strings } = trace;
  spans.service[index] = strings.add(text(data.service));
  spans.scope[index] = strings.add(text(data.scope));
  spans.kind[index] = strings.add(text(data.kind));
  const name = text(data.service);
  const service = trace.services.get(name);
  if (service) service.spans += 1;
  else trace.services.set(name, { name, spans: 1 });
  trace.newest = index;
  trace.introduced += 1;
  spans.seen[index] = trace.introduced;
  trace.unknownToServer = false;
  adopt(trace, index, data);
}

/**
 * Links a span to its parent, creating a placeholder for an unknown parent. Notes the parent's id if that fails.
 * @param {Trace} trace @param {number} index @param {any} data
 */
function adopt(trace, index, data) {
  if (typeof data.parentSpanId !== "string" || data.parentSpanId === "") return;
  const { spans } = trace;
  // Siblings arrive in runs, and this comparison is cheaper than a look-up.
  const parent = data.parentSpanId === spans.ids[trace.lastParent] ? trace.lastParent : spanFor(trace, data.parentSpanId);
  trace.lastParent = parent;
  if (parent >= 0 && spans.parent[index] < 0) {
    if (spans.state[parent] === STATE.placeholder && data.parentRemote === true) spans.set(parent, FLAG.remote);
    link(trace, index, parent);
  }
  if (spans.parent[index] < 0) trace.parentIds.set(index, data.parentSpanId);
}

/** @param {Trace} trace @param {any} data @param {string} id */
function updated(trace, data, id) {
  const index = spanFor(trace, data.spanId);
  if (index < 0) return;
  const { spans } = trace;
  if (!Number.isNaN(spans.end[index]) && trace.lost.get(index)?.local !== true) {
    // After a real end, a late update adds nothing. A lost end has less than the updates, so they are merged into it.
    const lost = spans.events[index];
    if (lost?.lost == null) return;
    spans.events[index] = withUpdatesOf(lost, withUpdate(lost, data));
    markResting(trace, index);
    rename(trace, index, text(spans.events[index].name));
    return touch(trace, index);
  }
  const timestamp = text(data.timestamp);
  const live = liveOf(trace, index);
  // Updates of a snapshot have no id. Their timestamps share one format, so comparing them as texts is correct.
  if (id === "" || live.id === "" ? timestamp <= live.timestamp : isRepeated(id, live.id)) return;
  live.id = id;
  live.timestamp = timestamp;
  const time = timeOf(trace, data.timestamp);
  advanceLatest(trace, time);
  if (spans.events[index] === null) live.early = withUpdate(live.early ?? {}, data);
  else {
    // A complete update repeats what earlier updates said.
    if (data.complete !== true) recordChanges(live, spans.events[index].attributes ?? {}, data.attributes, time);
    const event = (spans.events[index] = withUpdate(spans.events[index], data));
    markResting(trace, index);
    rename(trace, index, text(event.name));
    setFailing(trace, index, isOpenState(spans.state[index]) && saysFailing(event));
    if (isOpenState(spans.state[index])) setState(trace, index, event.state === "waiting" ? STATE.waiting : STATE.running);
    if (reportsProgress(data)) recordProgress(trace, index, live, time);
    if (data.task != null) (live.work ??= new WorkTimes()).add(data.task, time, spans.start[index]);
  }
  touch(trace, index);
}

/** @param {Live} live @param {Record<string, unknown>} before @param {any} fresh @param {number} time */
function recordChanges({ changed }, before, fresh, time) {
  if (!isObject(fresh)) return;
  for (const key in fresh) if (Object.hasOwn(before, key) && before[key] !== fresh[key]) changed.set(key, { before: before[key], at: time });
}

/** @param {any} data @returns {boolean} */
function reportsProgress(data) {
  return isObject(data.attributes) && "progress.current" in data.attributes;
}

/** @param {Trace} trace @param {number} index @returns {Live} */
function liveOf(trace, index) {
  let live = trace.live.get(index);
  if (live === undefined) trace.live.set(index, (live = { id: "", timestamp: "", early: null, progressVersion: 0, changed: new Map(), speed: null, work: null }));
  return live;
}

/** @param {Trace} trace @param {number} index @param {Live} live @param {number} time */
function recordProgress(trace, index, live, time) {
  live.progressVersion = trace.version + 1;
  const progress = progressAt(trace, index);
  if (progress !== null) (live.speed ??= new ProgressWindow()).add(progress, time);
}

/** @param {Trace} trace @param {any} data @param {string} id */
function log(trace, data, id) {
  if (data.traceId !== trace.traceId) return;
  const time = timeOf(trace, data.timestamp);
  // A log record creates no span: a filter may hide a span and still pass its log records.
  if (!trace.logs.add(data, id, time)) return;
  advanceLatest(trace, time);
  const index = indexOf(trace, typeof data.spanId === "string" ? data.spanId : null);
  if (index >= 0) touch(trace, index);
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
}

/** @param {Trace} trace @param {any} data */
function ping(trace, data) {
  if (data.dropped) trace.hostDropped = droppedOf(data.dropped);
  if (data.known === false) trace.unknownToServer = trace.counts.total === 0;
}

/** @param {Trace} trace @param {any} data @param {string} id */
function gap(trace, data, id) {
  trace.degraded = false;
  addGap(trace.losses, data, id);
  if (data.reason === "epoch") forgetOpen(trace);
}

/**
 * Marks all open spans as lost: the log that would have reported their ends is gone. This is a guess, so a later
 * `started` or `ended` from the new log reverts it. Only the lost log knew when each span was last active. Their bars
 * therefore end at the trace's latest activity, which does not depend on the page's clock.
 * @param {Trace} trace
 */
function forgetOpen(trace) {
  const { latest } = trace;
  const { spans } = trace;
  for (let index = 0; index < spans.count; index += 1) {
    if (!isOpenState(spans.state[index])) continue;
    const start = spans.start[index];
    const end = Math.max(start, Number.isNaN(latest) ? start : latest);
    spans.end[index] = end;
    trace.lost.set(index, { reason: "restarted", lastHeard: NaN, local: true });
    setFailing(trace, index, false);
    setState(trace, index, STATE.lost);
    reach(trace, end);
  }
}

/**
 * @param {Trace} trace @param {unknown} id
 * @returns {number} the span's index, created if new; −1 if the trace is full, or the id is empty or no text
 */
function spanFor(trace, id) {
  if (typeof id !== "string" || id === "") return -1;
  const known = trace.spans.byId.get(id);
  if (known !== undefined) return known;
  if (trace.spans.count >= SPANS_MAX) {
    trace.refusedSpans += 1;
    return -1;
  }
  return addPlaceholder(trace, id);
}

/** @param {Trace} trace @param {unknown} timestamp @returns {number} */
function timeOf(trace, timestamp) {
  if (Number.isNaN(trace.originSeconds)) trace.originSeconds = wholeSeconds(timestamp);
  return parseTimestamp(timestamp, trace.originSeconds);
}

/** @param {unknown} value @returns {string} */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {any[]} */
function list(value) {
  return Array.isArray(value) ? value : [];
}

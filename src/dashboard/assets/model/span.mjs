// @ts-check
// Names, states, times and texts of a trace and its spans. Of a trace, it changes only the order of siblings.
// Must never touch the DOM, the network or a clock: every "now" is an argument.

import { FLAG, STATE, STATE_NAMES, isOpenState, shownState } from "./columns.mjs";
import { shortId } from "./ids.mjs";
import { progressOf } from "./progress.mjs";
import { formatCount, formatOpen, parseTimestamp, plural } from "./time.mjs";
import { sortChildren } from "./tree.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {import("./columns.mjs").SpanState} SpanState
 * @typedef {import("./columns.mjs").ShownState} ShownState
 */

/** @param {Trace} trace @param {number} index @returns {string} */
export function nameOf({ spans, strings }, index) {
  return strings.list[spans.name[index]];
}

/** @param {Trace} trace @param {number} index @returns {string} */
export function serviceOf({ spans, strings }, index) {
  return strings.list[spans.service[index]];
}

/** @param {Trace} trace @param {number} index @returns {string} */
export function scopeOf({ spans, strings }, index) {
  return strings.list[spans.scope[index]];
}

/** @param {Trace} trace @param {number} index @returns {string} */
export function kindOf({ spans, strings }, index) {
  return strings.list[spans.kind[index]];
}

/** @param {Trace} trace @param {number} index @returns {SpanState} */
export function stateOf({ spans }, index) {
  return STATE_NAMES[spans.state[index]];
}

/** @param {Trace} trace @param {number} index @returns {ShownState} its state, marked if a span below it failed */
export function shownStateOf({ spans }, index) {
  return shownState(STATE_NAMES[spans.state[index]], spans.has(index, FLAG.errorBelow | FLAG.failing));
}

/** @param {Trace} trace @param {number} index @returns {string} its name, or a description of a span without events */
export function shownName(trace, index) {
  const { spans } = trace;
  if (spans.state[index] !== STATE.placeholder) return nameOf(trace, index) || "(no name)";
  const id = shortId(spans.ids[index]);
  return spans.has(index, FLAG.remote) ? `remote parent ${id}` : `parent not seen ${id}`;
}

/** @param {Trace} trace @param {number} index @returns {any} `started` with the updates since, or `ended`; null for a placeholder */
export function eventOf({ spans }, index) {
  return spans.events[index];
}

/**
 * @param {Trace} trace @param {number} index
 * @returns {Record<string, unknown>} the current attributes, or the final ones after its end
 */
export function attributesOf(trace, index) {
  return trace.spans.events[index]?.attributes ?? {};
}

/** @param {Trace} trace @param {number} index @returns {Record<string, string>} */
export function attributeTypesOf(trace, index) {
  return trace.spans.events[index]?.attributeTypes ?? {};
}

/** @param {Trace} trace @param {number} index @returns {import("./records.mjs").LogRecord[]} its log records, in order of arrival */
export function logsOf(trace, index) {
  return trace.logs.bySpan.get(trace.spans.ids[index]) ?? [];
}

/**
 * @param {Trace} trace @param {number} index
 * @returns {import("./progress.mjs").Progress | null} null if the span reports none
 */
export function progressAt(trace, index) {
  return progressOf(trace.spans.events[index]?.attributes);
}

/** @param {Trace} trace @param {number} index @returns {import("./model.mjs").Loss | null} */
export function lossOf(trace, index) {
  return trace.lost.get(index) ?? null;
}

/** @param {Trace} trace @param {number} index @returns {number[]} in order of start */
export function childrenOf({ spans }, index) {
  sortChildren(spans, index);
  const children = [];
  for (let child = spans.firstChild[index]; child >= 0; child = spans.nextSibling[child]) children.push(child);
  return children;
}

/**
 * Returns where a span's bar ends: at its end, for a lost span when it was last active, for an open span at `now`.
 * @param {Trace} trace @param {number} index
 * @param {number} now in tree time
 * @returns {number}
 */
export function barEnd({ spans, lost }, index, now) {
  const start = spans.start[index];
  if (spans.state[index] === STATE.lost) {
    const lastHeard = lost.get(index)?.lastHeard ?? NaN;
    if (!Number.isNaN(lastHeard)) return Math.max(start, lastHeard);
  }
  const end = spans.end[index];
  return Number.isNaN(end) ? Math.max(start, now) : end;
}

/**
 * Returns the time during which the span ran and none of its children did; null while it is open.
 * @param {Trace} trace @param {number} index
 * @returns {number | null}
 */
export function selfTime({ spans }, index) {
  const start = spans.start[index];
  const end = spans.end[index];
  if (Number.isNaN(end) || Number.isNaN(start)) return null;
  sortChildren(spans, index);
  let covered = 0;
  let reached = start;
  for (let child = spans.firstChild[index]; child >= 0; child = spans.nextSibling[child]) {
    if (Number.isNaN(spans.start[child])) continue;
    const from = Math.max(reached, spans.start[child]);
    const to = Math.min(end, Number.isNaN(spans.end[child]) ? Infinity : spans.end[child]);
    if (to <= from) continue;
    covered += to - from;
    reached = to;
  }
  return end - start - covered;
}

/**
 * The state of the whole trace: open while any span is, else lost if any span is, else the worst state of its top
 * spans.
 * @param {Trace} trace
 * @returns {SpanState}
 */
export function traceState(trace) {
  const { counts } = trace;
  if (counts.total === 0) return "placeholder";
  if (counts.open > 0) return waits(trace) ? "waiting" : "running";
  if (counts.lost > 0) return "lost";
  const roots = topSpans(trace).map((index) => trace.spans.state[index]);
  if (roots.includes(STATE.panicked)) return "panicked";
  if (roots.includes(STATE.error)) return "error";
  return roots.includes(STATE.cancelled) ? "cancelled" : "ok";
}

/** @param {Trace} trace @returns {ShownState} */
export function shownTraceState(trace) {
  return shownState(traceState(trace), trace.counts.errors + trace.counts.lost > 0);
}

/**
 * Returns whether spans are missing, so that views don't present the rest as the whole trace. If the server
 * counts the missing spans, other removed events don't matter: an end repeats its start, so a trace with all its ends
 * is complete. Without that count, any removed event matters.
 * @param {Trace} trace
 * @returns {boolean}
 */
export function isPartial({ evicted, losses, incomplete }) {
  const isEvicted = evicted === null ? losses.evicted > 0 : evicted.spans !== 0;
  return isEvicted || incomplete !== null;
}

/** @param {Trace} trace @returns {string} `1,444 of 1,756 spans are no longer kept`, empty if all are kept */
export function evictedText({ evicted, losses, counts }) {
  if (evicted !== null && evicted.spans !== null && evicted.spans > 0) {
    return `${formatCount(evicted.spans)} of ${plural(evicted.spans + counts.total, "span")} ${evicted.spans === 1 ? "is" : "are"} no longer kept`;
  }
  const events = evicted?.events ?? losses.evicted;
  return events === 0 ? "" : `${evicted === null && losses.atMost ? "up to " : ""}${eventsText(events)} no longer kept`;
}

/** @param {Trace} trace @returns {string} why the server's answer lacks a part of the trace; empty if it does not */
export function incompleteText({ incomplete }) {
  if (incomplete === null) return "";
  const { reason, lost } = incomplete;
  if (reason === "evicted") return lost === null ? "a part of this trace was evicted while it was read" : `${plural(lost, "event")} of this trace ${lost === 1 ? "was" : "were"} evicted while it was read`;
  if (reason === "damaged") return lost === null ? "a stored part of this trace is damaged" : `${eventsText(lost)} damaged in the store`;
  return reason === "unreadable" ? "the store could not be read to the end of this trace" : `a part of this trace is missing (${reason.slice(0, 40)})`;
}

/** @param {number} count @returns {string} */
function eventsText(count) {
  return `${plural(count, "event")} of this trace ${count === 1 ? "is" : "are"}`;
}

/**
 * Returns whether a span waits and each running span has an open child. The server's list uses the same rule.
 * @param {Trace} trace
 */
function waits({ counts, spans }) {
  if (counts.waiting === 0 || counts.waiting === counts.open) return counts.waiting > 0;
  const excused = new Set();
  for (let index = 0; index < spans.count; index += 1) if (isOpenState(spans.state[index])) excused.add(spans.parent[index]);
  for (let index = 0; index < spans.count; index += 1) if (spans.state[index] === STATE.running && !excused.has(index)) return false;
  return true;
}

/** @param {Trace} trace @returns {string} the name of its first span */
export function traceName(trace) {
  const first = firstSpan(trace);
  return first < 0 ? "" : nameOf(trace, first);
}

/**
 * Results of `firstSpan`, each valid for one structure version.
 * @type {WeakMap<Trace, {structure: number, first: number}>}
 */
const firstSpans = new WeakMap();

/**
 * Returns the span that names the trace, by the rule of the server's list. Of the spans without a known parent, it is
 * the one that started first; in a tie, the one whose first event comes first in the log. If parents form a cycle,
 * all its spans are candidates.
 * @param {Trace} trace
 * @returns {number} −1 if no span has events
 */
export function firstSpan(trace) {
  const known = firstSpans.get(trace);
  if (known !== undefined && known.structure === trace.structure) return known.first;
  const { spans } = trace;
  let first = -1;
  const look = (/** @type {number} */ index) => {
    if (spans.state[index] !== STATE.placeholder && (first < 0 || startsBefore(spans, index, first))) first = index;
  };
  for (const root of trace.roots) {
    look(root);
    if (spans.state[root] === STATE.placeholder) {
      // Sorted children: only those that start together with the first one are candidates.
      const earliest = spans.has(root, FLAG.unsorted) ? Infinity : spans.start[spans.firstChild[root]];
      for (let child = spans.firstChild[root]; child >= 0 && !(spans.start[child] > earliest); child = spans.nextSibling[child]) look(child);
    } else if (trace.parentIds.size > 0) circleOf(trace, root).forEach(look);
  }
  firstSpans.set(trace, { structure: trace.structure, first });
  return first;
}

/** @param {import("./columns.mjs").SpanColumns} spans @param {number} one @param {number} other */
function startsBefore({ start, seen }, one, other) {
  return start[one] < start[other] || (start[one] === start[other] && seen[one] < seen[other]);
}

/**
 * @param {Trace} trace @param {number} root
 * @returns {number[]} if the parent that the root names is a descendant of the root: that parent, and the spans between
 *   it and the root; otherwise empty
 */
function circleOf({ spans, parentIds }, root) {
  const circle = [];
  let step = spans.byId.get(parentIds.get(root) ?? "") ?? -1;
  for (; step >= 0 && step !== root; step = spans.parent[step]) circle.push(step);
  return step === root ? circle : [];
}

const EVENT_SHOWN_MAX = 60;

/**
 * Describes the wait of a workflow step, as far as its attributes say: `for approval, gives up in 4 m 10 s`.
 * @param {Trace} trace @param {number} index
 * @param {number} now in tree time @param {boolean} moving whether time advances
 * @returns {string} empty for a span that does not wait
 */
export function waitText(trace, index, now, moving = true) {
  if (trace.spans.state[index] !== STATE.waiting) return "";
  const attributes = attributesOf(trace, index);
  const event = attributes["workflow.wait.event"];
  const wakes = attributes["workflow.sleep.until"];
  const until = parseTimestamp(wakes ?? attributes["workflow.wait.until"], trace.originSeconds);
  const parts = typeof event === "string" && event !== "" ? [`for ${event.slice(0, EVENT_SHOWN_MAX)}`] : [];
  if (until > now) parts.push(`${wakes === undefined ? "gives up" : "wakes"} in ${formatOpen(until - now, moving)}`);
  return parts.join(", ");
}

const TOP_MAX = 1_000;

/** @param {Trace} trace @returns {number[]} spans without a known parent, at most TOP_MAX */
function topSpans(trace) {
  const { spans } = trace;
  const top = [];
  for (const root of trace.roots) {
    if (top.length >= TOP_MAX) break;
    if (spans.state[root] !== STATE.placeholder) top.push(root);
    else for (let child = spans.firstChild[root]; child >= 0 && top.length < TOP_MAX; child = spans.nextSibling[child]) top.push(child);
  }
  return top;
}

/** One span with a getter per field, for code that reads few spans. */
export class SpanFacts {
  /** @param {Trace} trace @param {number} index */
  constructor(trace, index) {
    this.trace = trace;
    this.index = index;
  }

  get id() { return this.trace.spans.ids[this.index]; }
  /** @returns {string | null} */
  get parentId() {
    const parent = this.parent;
    return parent >= 0 ? this.trace.spans.ids[parent] : (this.trace.parentIds.get(this.index) ?? null);
  }

  /** @returns {number} −1 for a root */
  get parent() { return this.trace.spans.parent[this.index]; }
  get name() { return nameOf(this.trace, this.index); }
  get service() { return serviceOf(this.trace, this.index); }
  get scope() { return scopeOf(this.trace, this.index); }
  get kind() { return kindOf(this.trace, this.index); }
  get start() { return this.trace.spans.start[this.index]; }
  /** @returns {number | null} null while open */
  get end() {
    const end = this.trace.spans.end[this.index];
    return Number.isNaN(end) ? null : end;
  }

  get state() { return stateOf(this.trace, this.index); }
  get loss() { return lossOf(this.trace, this.index); }
  get event() { return eventOf(this.trace, this.index); }
  get logs() { return logsOf(this.trace, this.index); }
  get progress() { return progressAt(this.trace, this.index); }
  get childCount() { return this.trace.spans.childCount[this.index]; }
  get childOpen() { return this.trace.spans.childOpen[this.index]; }
  get childFailed() { return this.trace.spans.childFailed[this.index]; }
  get remote() { return this.trace.spans.has(this.index, FLAG.remote); }
  get errorBelow() { return this.trace.spans.has(this.index, FLAG.errorBelow); }
  get depth() { return this.trace.spans.depth[this.index]; }
  get stamp() { return this.trace.spans.stamp[this.index]; }
}

/** @param {Trace} trace @param {number} index @returns {SpanFacts} */
export function spanAt(trace, index) {
  return new SpanFacts(trace, index);
}

// @ts-check
// The list of traces as a state that events are applied to, and the selection of rows from it.
// Must never touch the DOM, the network or a clock. Changed in place behind `(state, event) => state`.

/**
 * @typedef {object} Summary one trace, as `GET traces` and `traces/sse` describe it
 * @property {string} traceId
 * @property {string} name
 * @property {string} service
 * @property {"running" | "waiting" | "ok" | "error" | "cancelled" | "lost"} state
 * @property {string | null} rootSpanId
 * @property {string} startTimestamp
 * @property {string | null} endTimestamp
 * @property {string} lastTimestamp
 * @property {number | null} durationMs
 * @property {{total: number, open: number, errors: number, lost: number}} spans
 * @property {{name: string, spans: number, errors: number}[]} services
 * @typedef {object} TraceList
 * @property {Map<string, Summary>} traces
 * @property {boolean} loaded the first snapshot or page has arrived
 * @property {number} max
 * @property {number} droppedHere summaries this page let go to stay within `max`
 * @property {number} goneWithLog traces of earlier lives of the log that were on show when it was restarted
 * @property {string | null} epoch
 * @property {{starts: number, ends: number, other: number}} hostDropped
 * @property {string | null} next the page token for older traces; null when there are none
 * @property {boolean} paged a page has been loaded since the last snapshot, so that `next` means something
 * @property {number} version
 */

/** Summaries kept in the page. */
export const TRACES_MAX = 2_000;

/**
 * @param {number} [max]
 * @returns {TraceList}
 */
export function createList(max = TRACES_MAX) {
  return {
    traces: new Map(), loaded: false, max, droppedHere: 0, goneWithLog: 0, epoch: null,
    hostDropped: { starts: 0, ends: 0, other: 0 }, next: null, paged: false, version: 0,
  };
}

/**
 * Applies an event of `traces/sse`, or `page` with the body of `GET traces`. Unknown types change nothing.
 * @param {TraceList} list
 * @param {{type: string, data: any}} event
 * @returns {TraceList} the same object
 */
export function reduceList(list, event) {
  const data = event.data;
  if (data === null || typeof data !== "object") return list;
  if (event.type === "hello") {
    // Another life of the log: what was running in the old one cannot be followed in the new one.
    if (list.epoch !== null && list.epoch !== data.epoch) {
      list.goneWithLog += list.traces.size;
      list.traces.clear();
    }
    list.epoch = data.epoch ?? null;
  } else if (event.type === "traces") {
    if (data.snapshot === true) {
      list.traces.clear();
      list.next = null;
      list.paged = false;
      list.droppedHere = 0;
    }
    upsert(list, data.traces);
    for (const traceId of Array.isArray(data.removed) ? data.removed : []) list.traces.delete(traceId);
    list.loaded = true;
  } else if (event.type === "page") {
    upsert(list, data.traces);
    list.next = data.next ?? null;
    list.paged = true;
    list.loaded = true;
  } else if (event.type === "ping") {
    if (data.dropped) list.hostDropped = data.dropped;
  } else {
    return list;
  }
  trim(list);
  list.version += 1;
  return list;
}

/**
 * The rows to show, in order: those that match, newest first, or the open ones before the others.
 * @param {TraceList} list
 * @param {{query: string, order: "running" | "newest"}} options
 * @returns {Summary[]}
 */
export function selectTraces(list, options) {
  const terms = parseQuery(options.query);
  const rows = [];
  for (const trace of list.traces.values()) if (matches(trace, terms)) rows.push(trace);
  rows.sort(newestFirst);
  if (options.order === "newest") return rows;
  return [...rows.filter(isOpenTrace), ...rows.filter((trace) => !isOpenTrace(trace))];
}

/** @param {TraceList} list @returns {{total: number, open: number, errors: number}} */
export function listCounts(list) {
  let open = 0;
  let errors = 0;
  for (const trace of list.traces.values()) {
    if (isOpenTrace(trace)) open += 1;
    if (trace.state === "error" || trace.state === "lost") errors += 1;
  }
  return { total: list.traces.size, open, errors };
}

/** @param {Summary} trace @returns {boolean} */
export function isOpenTrace(trace) {
  return trace.state === "running" || trace.state === "waiting";
}

/**
 * @typedef {{text: string, key: string, excluded: boolean}} Term
 * @param {string} query words that must all match; `-word` must not; `state:`, `service:`, `name:` and `id:` look in one
 *   place; double quotes keep spaces
 * @returns {Term[]}
 */
export function parseQuery(query) {
  const terms = [];
  for (const found of query.toLowerCase().matchAll(/(-?)(?:(state|service|name|id):)?(?:"([^"]*)"?|(\S+))/g)) {
    const text = found[3] ?? found[4];
    if (text !== "") terms.push({ text, key: found[2] ?? "", excluded: found[1] === "-" });
  }
  return terms;
}

/** @param {Summary} trace @param {Term[]} terms @returns {boolean} */
function matches(trace, terms) {
  return terms.every((term) => places(trace, term.key).some((place) => place.includes(term.text)) !== term.excluded);
}

/** @param {Summary} trace @param {string} key @returns {string[]} */
function places(trace, key) {
  const services = [trace.service, ...(trace.services ?? []).map((service) => service.name)];
  /** @type {Record<string, (string | undefined)[]>} */
  const by = { state: [trace.state], service: services, name: [trace.name], id: [trace.traceId] };
  return (by[key] ?? Object.values(by).flat()).map((place) => String(place ?? "").toLowerCase());
}

/** @param {TraceList} list @param {unknown} traces */
function upsert(list, traces) {
  if (!Array.isArray(traces)) return;
  for (const trace of traces) {
    if (trace !== null && typeof trace?.traceId === "string") list.traces.set(trace.traceId, trace);
  }
}

/** Lets the oldest finished go first, and open ones only when nothing else is left. @param {TraceList} list */
function trim(list) {
  const excess = list.traces.size - list.max;
  if (excess <= 0) return;
  const rows = [...list.traces.values()].sort(newestFirst);
  const order = [...rows.filter(isOpenTrace), ...rows.filter((trace) => !isOpenTrace(trace))];
  for (const trace of order.slice(list.max)) list.traces.delete(trace.traceId);
  list.droppedHere += excess;
}

/** Timestamps are fixed-width, so text order is time order. @param {Summary} a @param {Summary} b @returns {number} */
function newestFirst(a, b) {
  if (a.startTimestamp !== b.startTimestamp) return a.startTimestamp < b.startTimestamp ? 1 : -1;
  return a.traceId < b.traceId ? -1 : 1;
}

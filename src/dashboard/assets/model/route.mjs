// @ts-check
// Parses and builds the page's address.
// Must never touch the DOM, the history or a clock. Invalid parts of an address are ignored.

import { within } from "./timescale.mjs";

/**
 * @typedef {import("./timescale.mjs").Stretch} Stretch
 * @typedef {{from: number | null, to: number | null, at: number | null}} Look zoom and moment, in milliseconds after the
 *   trace's start, so that an address shows the same to everyone
 * @typedef {{trace: string | null, span: string | null, query: string, find: string, order: "running" | "newest",
 *   page: "traces" | "logs" | "operations", view: "waterfall" | "flame" | "logs", since: number | null, until: number | null, mine: boolean, compare: string | null} & Look} Route
 *   `page`: the list shown if there is no trace; `query` searches the list, `find` the trace; `since`, `until` (in
 *   milliseconds since 1970) and `mine` narrow the list; `compare`: the baseline that the trace is compared with
 */

/** Zoomed out, at the present moment. @type {Look} */
export const WHOLE = Object.freeze({ from: null, to: null, at: null });

const FILE = "file:";
/** Decimals of a millisecond in an address: nanoseconds. */
const DECIMALS = 6;

/** @param {string} search the query of an address @returns {Route} */
export function parseRoute(search) {
  const query = new URLSearchParams(search);
  const trace = traceIn(query.get("trace") ?? "");
  const from = numberIn(query.get("from"));
  const to = numberIn(query.get("to"));
  const isZoom = trace !== null && from !== null && to !== null && from < to;
  return {
    trace,
    span: trace === null ? null : spanIn(query.get("span") ?? "", trace),
    query: query.get("q") ?? "",
    find: trace === null ? "" : (query.get("find") ?? ""),
    order: query.get("order") === "newest" ? "newest" : "running",
    page: pageIn(query.get("page")),
    view: viewIn(query.get("view")),
    from: isZoom ? from : null,
    to: isZoom ? to : null,
    at: trace === null ? null : numberIn(query.get("at")),
    compare: trace === null ? null : traceIn(query.get("compare") ?? ""),
    since: numberIn(query.get("since")),
    until: numberIn(query.get("until")),
    mine: query.get("mine") === "1",
  };
}

/** @param {string} hash the hash of a page that is a file; trace ids in it have no file prefix @returns {Route} */
export function parseFileRoute(hash) {
  const query = new URLSearchParams(hash);
  const trace = query.get("trace") ?? "";
  if (/^[0-9a-f]{32}$/i.test(trace)) query.set("trace", FILE + trace.toLowerCase());
  return { ...parseRoute(query.toString()), page: "traces" };
}

/** @param {Route} route @returns {string} the hash of its address, without the `#` */
export function fileRouteText(route) {
  return routeText({ ...route, trace: route.trace?.startsWith(FILE) ? route.trace.slice(FILE.length) : route.trace });
}

/** @param {string | null} text @returns {Route["page"]} */
function pageIn(text) {
  return text === "logs" || text === "operations" ? text : "traces";
}

/** @param {string | null} text @returns {Route["view"]} */
function viewIn(text) {
  return text === "flame" || text === "logs" ? text : "waterfall";
}

/** @param {string} text @returns {string | null} */
function traceIn(text) {
  if (text.startsWith(FILE)) return text;
  return /^[0-9a-f]{32}$/i.test(text) ? text.toLowerCase() : null;
}

/** @param {string} text @param {string} trace @returns {string | null} */
function spanIn(text, trace) {
  if (trace.startsWith(FILE)) return text || null;
  return /^[0-9a-f]{16}$/i.test(text) ? text.toLowerCase() : null;
}

/** @param {string | null} text @returns {number | null} */
function numberIn(text) {
  if (text === null || !/^-?\d{1,15}(\.\d{1,9})?$/.test(text)) return null;
  return Number(text);
}

/** @param {Route} route @returns {string} the query of its address, without the `?` */
export function routeText(route) {
  const query = new URLSearchParams();
  if (route.trace !== null) {
    query.set("trace", route.trace);
    if (route.span !== null) query.set("span", route.span);
    if (route.find !== "") query.set("find", route.find);
    if (route.compare !== null) query.set("compare", route.compare);
  }
  if (route.page !== "traces") query.set("page", route.page);
  if (route.query !== "") query.set("q", route.query);
  if (route.order !== "running") query.set("order", route.order);
  for (const name of /** @type {const} */ (["since", "until"])) {
    const value = route[name];
    if (value !== null) query.set(name, numberText(value));
  }
  if (route.mine) query.set("mine", "1");
  if (route.trace !== null) {
    if (route.view !== "waterfall") query.set("view", route.view);
    for (const name of /** @type {const} */ (["from", "to", "at"])) {
      const value = route[name];
      if (value !== null) query.set(name, numberText(value));
    }
  }
  return query.toString();
}

/** @param {number} value @returns {string} without an exponent */
function numberText(value) {
  const text = value.toFixed(DECIMALS).replace(/\.?0+$/, "");
  return text === "-0" ? "0" : text;
}

/**
 * @param {Route} route @param {string | null} trace @param {string | null} span
 * @returns {Route} the route to another trace or span; another trace resets `find`, comparison, zoom and moment
 */
export function elsewhere(route, trace, span) {
  return trace === route.trace ? { ...route, span } : { ...route, trace, span, find: "", compare: null, ...WHOLE };
}

/** @param {{zoom: Stretch | null, moment: number | null}} shown @param {number} start of the trace @returns {Look} */
export function lookOf({ zoom, moment }, start) {
  const offset = (/** @type {number | undefined | null} */ time) => (time === undefined || time === null ? null : Number((time - start).toFixed(DECIMALS)));
  return { from: offset(zoom?.start), to: offset(zoom?.end), at: offset(moment) };
}

/**
 * @param {Look} look @param {Stretch} whole of the trace
 * @returns {{zoom: Stretch | null, moment: number | null}} the zoom and moment in this trace's time; the zoom lies
 *   within the trace, and the moment not before its start
 */
export function shownBy({ from, to, at }, whole) {
  const zoom = from === null || to === null ? null : within({ start: whole.start + from, end: whole.start + to }, whole);
  return { zoom, moment: at === null ? null : whole.start + Math.max(0, at) };
}

/** @param {Look} one @param {Look} other @returns {boolean} */
export function isSameLook(one, other) {
  return one.from === other.from && one.to === other.to && one.at === other.at;
}

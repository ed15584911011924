// @ts-check
// The server's statistics by service and span name, as rows and figures of the page. Invalid parts of the response
// are left out. Must never touch the DOM, the network or a clock.

import { parseQuery } from "./search.mjs";

/**
 * @typedef {{traceId: string, spanId: string, start: string, duration: number, state: string}} Run
 * @typedef {{from: number, to: number, count: number, errors: number}} Range milliseconds
 * @typedef {object} Operation durations in milliseconds
 * @property {string} service
 * @property {string} name
 * @property {string} kind
 * @property {number} count
 * @property {string | null} since when the first counted span ended
 * @property {number} perSecond
 * @property {{count: number, errors: number}[]} rate the oldest first
 * @property {number | null} p50
 * @property {number | null} p95
 * @property {number | null} p99
 * @property {number} total
 * @property {number} errors
 * @property {number} errorShare
 * @property {number} running
 * @property {Range[]} histogram
 * @property {Run | null} slowest of all counted spans; its trace may be gone
 * @property {Run[]} last the newest last
 * @property {number | null} p50Recent
 * @property {number | null} p50Before
 * @typedef {{operations: Operation[], more: number, others: number, bucketSeconds: number}} Operations
 * @typedef {"time" | "rate" | "p95" | "max" | "errors" | "slower"} Order
 * @typedef {"all" | "entry" | "slower" | "errors" | "running"} Kept
 */

/** A smaller change of the median counts as no change. */
export const TREND_MIN = 0.05;
/** From this change on, an operation counts as slower. */
export const TREND_SLOWER = 0.1;
/** Share of errors at which the bar of errors is full. */
export const ERRORS_FULL = 0.2;
const ENTRY_KINDS = ["SERVER", "CONSUMER"];

/** @param {any} body of `GET operations` @returns {Operations | null} */
export function operationsOf(body) {
  if (!Array.isArray(body?.operations)) return null;
  const operations = body.operations.filter((/** @type {any} */ one) => typeof one?.name === "string").map(operationOf);
  return { operations, more: number(body.more), others: number(body.others), bucketSeconds: number(body.bucketSeconds) || 15 };
}

/** @param {any} one @returns {Operation} */
function operationOf(one) {
  const list = (/** @type {unknown} */ value) => (Array.isArray(value) ? value.filter((part) => part !== null && typeof part === "object") : []);
  return {
    service: String(one.service ?? ""), name: one.name, kind: String(one.kind ?? ""), count: number(one.count), since: typeof one.since === "string" ? one.since : null, perSecond: number(one.perSecond),
    rate: list(one.rate).map(({ count, errors }) => ({ count: number(count), errors: number(errors) })),
    p50: quantile(one.p50), p95: quantile(one.p95), p99: quantile(one.p99), total: number(one.total), errors: number(one.errors), errorShare: number(one.errorShare), running: number(one.running),
    histogram: list(one.histogram).map(({ from, to, count, errors }) => ({ from: number(from), to: number(to), count: number(count), errors: number(errors) })),
    slowest: list([one.slowest]).filter(isRun).map(runOf)[0] ?? null, last: list(one.last).filter(isRun).map(runOf),
    p50Recent: quantile(one.p50Recent), p50Before: quantile(one.p50Before),
  };
}

/** @param {any} run @returns {boolean} whether it has the ids that a link to it needs */
function isRun({ traceId, spanId }) {
  return typeof traceId === "string" && traceId !== "" && typeof spanId === "string" && spanId !== "";
}

/** @param {any} run @returns {Run} */
function runOf({ traceId, spanId, start, duration, state }) {
  return { traceId, spanId, start: String(start ?? ""), duration: number(duration), state: String(state ?? "") };
}

/** @param {unknown} value @returns {number} */
function number(value) {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : 0;
}

/** @param {unknown} value @returns {number | null} */
function quantile(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** @param {Operation} operation @returns {string} its unique key */
export function operationKey({ service, name }) {
  return `${service}\0${name}`;
}

/** @param {Operation} operation @returns {boolean} whether it receives requests or messages from outside */
export function isEntry({ kind }) {
  return ENTRY_KINDS.includes(kind);
}

/**
 * @param {Operation} operation
 * @returns {number | null} the change of the median in the last minutes against the time before: 0.18 is 18 % more
 */
export function trendOf({ p50Recent, p50Before }) {
  return p50Recent === null || p50Before === null || p50Before <= 0 ? null : p50Recent / p50Before - 1;
}

/** @param {number | null} trend @returns {"up" | "slower" | "faster" | "steady" | ""} */
export function trendKind(trend) {
  if (trend === null) return "";
  if (trend >= TREND_SLOWER) return "slower";
  return trend >= TREND_MIN ? "up" : trend <= -TREND_MIN ? "faster" : "steady";
}

/** @param {number | null} trend @returns {string} `+18 %`, `−9 %`, `0 %`, from a factor of ten on `×12` */
export function trendText(trend) {
  if (trend === null) return "";
  if (trend >= 9) return `×${(trend + 1).toFixed(0)}`;
  const percent = Math.round(trend * 100);
  return `${percent > 0 ? "+" : percent < 0 ? "−" : ""}${Math.abs(percent)} %`;
}

/** @type {Record<Kept, (operation: Operation) => boolean>} */
const KEPT = {
  all: () => true, entry: isEntry, slower: (operation) => trendKind(trendOf(operation)) === "slower", errors: ({ errors }) => errors > 0, running: ({ running }) => running > 0,
};

/** @type {Record<Order, (operation: Operation) => number>} */
const ORDERS = { time: ({ total }) => total, rate: ({ perSecond, count }) => perSecond + count * 1e-9, p95: ({ p95 }) => p95 ?? -1, max: ({ slowest }) => slowest?.duration ?? -1, errors: ({ errorShare, errors }) => errorShare + errors * 1e-9, slower: (operation) => trendOf(operation) ?? -Infinity };

/** @param {Operation[]} operations @returns {Record<Kept, number>} */
export function operationCounts(operations) {
  return /** @type {Record<Kept, number>} */ (Object.fromEntries(Object.entries(KEPT).map(([kept, holds]) => [kept, operations.filter(holds).length])));
}

/**
 * @param {Operation[]} operations @param {{kept: Kept, order: Order, query: string}} options `query`: text, `name:`,
 *   `service:` and `kind:` are applied; terms about single traces are ignored
 * @returns {Operation[]} those that match, the largest first, ties by name
 */
export function selectOperations(operations, { kept, order, query }) {
  const { terms } = parseQuery(query, "list");
  const rank = ORDERS[order];
  return operations.filter((operation) => KEPT[kept](operation) && terms.every((term) => holds(operation, term) !== term.negated))
    .sort((a, b) => rank(b) - rank(a) || (operationKey(a) < operationKey(b) ? -1 : 1));
}

/** @param {Operation} operation @param {import("./search.mjs").Term} term @returns {boolean} */
function holds({ name, service, kind }, { key, value, negated }) {
  const has = (/** @type {string} */ text) => text.toLowerCase().includes(value);
  if (key === "") return has(name) || has(service);
  if (key === "name") return has(name);
  if (key === "service") return has(service);
  return key === "kind" ? kind.toLowerCase() === value : !negated;
}

/**
 * @param {Run} run @param {number | null} p95
 * @returns {"error" | "slow" | "cancelled" | "running" | "ok"} the style of its bar
 */
export function runLook({ state, duration }, p95) {
  if (state === "running") return "running";
  if (state === "error" || state === "panicked" || state === "lost") return "error";
  if (state === "cancelled") return "cancelled";
  return p95 !== null && duration > p95 * 1.04 ? "slow" : "ok";
}

/**
 * @param {Operation[]} operations
 * @returns {{spans: number, since: string | null}} the number of spans that their figures cover; `since`: when the
 *   first of these spans ended
 */
export function coverage(operations) {
  const times = operations.flatMap(({ since }) => (since === null ? [] : [since])).sort();
  return { spans: operations.reduce((sum, { count }) => sum + count, 0), since: times[0] ?? null };
}

/** @param {Operation} operation @returns {Run[]} the slowest of the last runs, the slowest first */
export function slowestRuns({ last }) {
  return [...last].sort((a, b) => b.duration - a.duration).slice(0, 5);
}

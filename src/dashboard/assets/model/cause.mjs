// @ts-check
// The cause of a failure: the path from a span down to the deepest span that failed, with its message and stack
// trace. Reads the columns, changes nothing. Must never touch the DOM or a clock.

import { FLAG, STATE, isBadState } from "./columns.mjs";
import { lastLineOf } from "./log-lines.mjs";
import { severityOf, ERROR } from "./severity.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{index: number, message: string, type: string, stack: string, at: number, chain: number[], more: number}}
 *   Cause `at`: the end of the cause, in ms after the trace's origin; `chain`: its ancestors, up to the given span;
 *   `more`: other failed children along the path
 */

/** Maximum number of steps down, which also ends a cycle. */
const DEPTH_MAX = 200;
const MESSAGE_MAX = 2_000;
const CHILDREN_MAX = 5_000;

/** @param {Trace} trace @param {number} index @returns {boolean} whether the span or one below it failed */
function hasFailed({ spans }, index) {
  return isBadState(spans.state[index]) || spans.has(index, FLAG.errorBelow) || spans.has(index, FLAG.failing);
}

/**
 * @param {Trace} trace @param {number} index
 * @returns {Cause | null} null if nothing failed, if the search does not reach the failed span, or if only the given
 *   span failed and gives no reason
 */
export function causeBelow(trace, index) {
  const { spans } = trace;
  if (!hasFailed(trace, index)) return null;
  let more = 0;
  const way = [index];
  for (let at = index; way.length <= DEPTH_MAX;) {
    /** @type {number} */
    let next = -1;
    let seen = 0;
    for (let child = spans.firstChild[at]; child >= 0 && seen < CHILDREN_MAX; child = spans.nextSibling[child], seen += 1) {
      if (!hasFailed(trace, child)) continue;
      if (next >= 0) more += 1;
      if (next < 0 || isWorse(trace, child, next)) next = child;
    }
    if (next < 0) break;
    way.push((at = next));
  }
  const deepest = way[way.length - 1];
  if (!isBadState(spans.state[deepest]) && deepest !== index && spans.events[deepest]?.status?.code !== "ERROR") return null;
  const words = wordsOf(trace, deepest);
  return words === null && deepest === index ? null : { index: deepest, ...(words ?? { message: "", type: "", stack: "" }), at: spans.end[deepest], chain: way.slice(0, -1).reverse(), more };
}

/**
 * Ranks panics above other failures, then later ends above earlier ones: of several retries the last one counts. An
 * open span ranks as the latest.
 * @param {Trace} trace @param {number} one @param {number} other
 */
function isWorse({ spans }, one, other) {
  const panics = (/** @type {number} */ index) => Number(spans.state[index] === STATE.panicked);
  if (panics(one) !== panics(other)) return panics(one) > panics(other);
  const end = (/** @type {number} */ index) => (Number.isNaN(spans.end[index]) ? Infinity : spans.end[index]);
  return end(one) > end(other);
}

/**
 * Returns a span's failure: its panic, else its last exception, else its status, else its last log record if that is
 * an error.
 * @param {Trace} trace @param {number} index
 * @returns {{message: string, type: string, stack: string} | null}
 */
export function wordsOf(trace, index) {
  const event = trace.spans.events[index];
  const text = (/** @type {unknown} */ value) => (typeof value === "string" ? value.slice(0, MESSAGE_MAX) : "");
  const exceptions = (Array.isArray(event?.events) ? event.events : []).filter((/** @type {any} */ one) => one?.name === "exception");
  const attributes = exceptions[exceptions.length - 1]?.attributes ?? {};
  const stack = typeof attributes["exception.stacktrace"] === "string" ? attributes["exception.stacktrace"] : "";
  if (event?.panic) return { message: text(event.panic.message) || "panicked", type: "panic", stack };
  if (exceptions.length > 0) return { message: text(attributes["exception.message"]) || text(event?.status?.message), type: text(attributes["exception.type"]), stack };
  if (text(event?.status?.message) !== "") return { message: text(event.status.message), type: "", stack };
  const last = lastLineOf(trace, index, Infinity);
  return last !== null && severityOf(last.data) >= ERROR ? { message: last.text.slice(0, MESSAGE_MAX), type: "", stack } : null;
}

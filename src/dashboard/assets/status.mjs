// @ts-check
// The one status word of the page, and what stands behind it. Pure: it must never touch the DOM.

import { LOGS_MAX, SPANS_MAX, lostEvents } from "./model.mjs";
import { plural } from "./time.mjs";

/**
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {"connecting" | "live" | "reconnecting" | "gap" | "ended" | "paused" | "degraded"} PageState
 * @typedef {{state: PageState, text: string, title: string}} PageStatus
 */

/** @type {Record<string, string>} */
const REASONS = {
  refused: "the server refuses or does not answer",
  "connection lost": "the connection was lost",
  silent: "nothing was heard, not even a ping",
  shutdown: "the server is shutting down",
  overload: "the server has too many viewers",
  expired: "access has expired: reload the page to sign in again",
  complete: "the trace is complete",
  unknown: "the trace never appeared; click to wait again",
};

/**
 * @param {StreamStatus} status
 * @param {import("./model.mjs").Trace | null} trace null on the list
 * @param {{starts: number, ends: number, other: number}} hostDropped over the whole log
 * @returns {PageStatus}
 */
export function pageStatus(status, trace, hostDropped) {
  const title = titleLines(status, trace, hostDropped).join("\n");
  if (status.word !== "live") return { state: status.word, text: notLive(status), title };
  if (trace?.degraded) return { state: "degraded", text: "Degraded", title };
  if (trace !== null) {
    const lost = lostEvents(trace.losses);
    if (lost > 0) return { state: "gap", text: `Gap · ${lost.toLocaleString("en")} lost`, title };
    if (trace.losses.unknown) return { state: "gap", text: "Gap · log restarted", title };
  }
  return { state: "live", text: "Live", title };
}

/**
 * @param {import("./model.mjs").Trace} trace
 * @returns {string} what this page did not keep, or nothing
 */
export function refusedText(trace) {
  const parts = [];
  if (trace.refusedSpans > 0) parts.push(`${SPANS_MAX.toLocaleString("en")} spans (${plural(trace.refusedSpans, "event")} of others left out)`);
  if (trace.refusedLogs > 0) parts.push(`${LOGS_MAX.toLocaleString("en")} log records (${trace.refusedLogs.toLocaleString("en")} left out)`);
  return parts.length === 0 ? "" : `This trace is larger than a page can keep: ${parts.join(" and ")}.`;
}

/** @param {StreamStatus} status @returns {string} */
function notLive(status) {
  if (status.word === "connecting") return "Connecting";
  if (status.word === "paused") return "Paused";
  if (status.word === "ended") return "Ended";
  return status.attempt > 1 ? `Reconnecting · ${status.attempt}` : "Reconnecting";
}

/**
 * @param {StreamStatus} status
 * @param {import("./model.mjs").Trace | null} trace
 * @param {{starts: number, ends: number, other: number}} hostDropped
 * @returns {string[]}
 */
function titleLines(status, trace, hostDropped) {
  const lines = [];
  if (status.reason !== "") lines.push(REASONS[status.reason] ?? status.reason);
  if (status.lastId !== "") lines.push(`last event ${status.lastId}`);
  if (trace !== null) {
    const { evicted, starts, ends, other, unknown } = trace.losses;
    if (evicted > 0) lines.push(`${evicted} events had been evicted before this page could read them`);
    if (starts + ends + other > 0) lines.push(`lost in this log: ${starts} starts, ${ends} ends, ${other} other events`);
    if (unknown) lines.push("the log was restarted: events in between are lost, their number is unknown");
    else if (trace.restarts > 0) lines.push("the log was restarted while this trace was on show");
    if (trace.degraded) lines.push("the store is failing: events are live, but cannot be replayed");
  }
  lines.push(`dropped by the host, ever: ${hostDropped.starts} starts, ${hostDropped.ends} ends, ${hostDropped.other} other`);
  if (status.malformed > 0) lines.push(`${status.malformed} events could not be read`);
  return lines;
}

// @ts-check
// The status word of the page and its details. Pure: it must never touch the DOM.

import { lostEvents } from "./gaps.mjs";
import { SPANS_MAX } from "./model.mjs";
import { LOGS_MAX } from "./records.mjs";
import { evictedText, incompleteText, isPartial } from "./span.mjs";
import { shortClock } from "./clock.mjs";
import { formatCount, formatDuration, formatSeconds, plural } from "./time.mjs";

/**
 * @typedef {import("../net/stream.mjs").StreamStatus} StreamStatus
 * @typedef {"connecting" | "live" | "reconnecting" | "gap" | "ended" | "paused" | "degraded" | "file"} PageState
 * @typedef {{state: PageState, text: string, lines: string[]}} PageStatus `lines`: the details
 * @typedef {object} Watched the feed that the page follows
 * @property {StreamStatus} status
 * @property {boolean} paused
 * @property {number} news number of events received while paused
 * @property {number | null} lag
 * @property {string} [head] last known head of the log
 * @property {string} [file] name of the file, for a feed from a file
 * @typedef {{hostDropped: import("./gaps.mjs").Dropped, losses: import("./gaps.mjs").Losses, restarts: number, degraded: boolean, zone: import("./clock.mjs").Zone, past?: string}} Known
 *   the model's fields about the log; `zone`: of times of day; `past`: the shown moment, if it is not now
 */

/** @type {Record<string, string>} */
const REASONS = {
  refused: "the server refuses or does not answer",
  "connection lost": "the connection was lost",
  silent: "nothing was received, not even a ping",
  asleep: "this computer, or this page, was asleep",
  shutdown: "the program announced that it ends",
  overload: "the server has too many viewers",
  expired: "access has expired: reload the page to sign in again",
  complete: "the trace is complete",
  unknown: "the trace never appeared; click to wait again",
  crowded: "other tabs use all connections; close one of them",
};

/** How long the status shows that an outage has ended. */
export const HEALED_MS = 10_000;

/**
 * @param {Watched} feed
 * @param {Known} known
 * @param {number} now by this machine's clock, in milliseconds since 1970
 * @returns {PageStatus}
 */
export function pageStatus(feed, known, now) {
  if (feed.file !== undefined) return { state: "file", text: known.past === undefined ? "File" : `At ${known.past}`, lines: [`from the file ${feed.file}`, "nothing of it was sent to the server"] };
  return { ...word(feed, known, now), lines: detailLines(feed, known, now) };
}

/** @param {Watched} feed @param {Known} known @param {number} now @returns {{state: PageState, text: string}} */
function word({ status, paused, news }, { losses, degraded, zone, past }, now) {
  if (past !== undefined) return { state: "paused", text: `At ${past}` };
  if (paused) return { state: "paused", text: news > 0 ? `Paused · ${formatCount(news)} new` : "Paused" };
  if (status.word === "reconnecting") return { state: "reconnecting", text: status.since > 0 ? `Reconnecting · ${formatSeconds(now - status.since)}` : "Reconnecting" };
  if (status.word === "connecting") return { state: "connecting", text: status.reason === "crowded" ? "Waiting" : "Connecting" };
  if (status.word === "paused") return { state: "paused", text: "Paused" };
  if (status.word === "ended") {
    const what = status.reason === "shutdown" ? "Program ended" : "Ended";
    return { state: "ended", text: status.since > 0 ? `${what} at ${shortClock(status.since, zone, true)}` : what };
  }
  if (degraded) return { state: "degraded", text: "Degraded" };
  const lost = lostEvents(losses);
  if (lost > 0) return { state: "gap", text: `Gap · ${losses.atMost ? "up to " : ""}${formatCount(lost)} lost` };
  if (losses.unknown) return { state: "gap", text: "Gap · log restarted" };
  const healed = healedFor(status, now);
  return { state: "live", text: healed === null ? "Live" : `Live · reconnected after ${formatDuration(healed)}` };
}

/**
 * @param {StreamStatus} status @param {number} now
 * @returns {number | null} the length of an outage that ended less than HEALED_MS ago, else null
 */
function healedFor({ word: is, outage }, now) {
  return is === "live" && outage !== null && Math.abs(now - outage.at) < HEALED_MS ? outage.milliseconds : null;
}

/**
 * @param {Watched} feed
 * @param {Known} known
 * @param {number} now
 * @returns {string[]}
 */
function detailLines({ status, paused, news, lag, head }, { losses, restarts, degraded, hostDropped, zone, past }, now) {
  const lines = past === undefined ? [] : ["the trace as it was then; click to go back to now"];
  const { outage } = status;
  if (status.reason !== "") lines.push(REASONS[status.reason] ?? status.reason);
  lines.push(...outageLines(status, zone, now));
  if (paused && news > 0) lines.push(`${plural(news, "event")} ${news === 1 ? "is" : "are"} held until you resume`);
  if (degraded) lines.push("the store is failing: new events arrive late or cannot be replayed");
  const { evicted, starts, ends, other, unknown, atMost } = losses;
  if (evicted > 0) lines.push(`${atMost ? "at most " : ""}${plural(evicted, "event")} had been evicted before this page could read them`);
  if (starts + ends + other > 0) lines.push(`lost in this log: ${starts} starts, ${ends} ends, ${other} other events`);
  if (unknown) lines.push("the log was restarted: an unknown number of events in between is lost");
  if (restarts > 0 && !losses.unknown) lines.push("the server was restarted while this page was open");
  if (outage !== null) lines.push(`back ${ago(now - outage.at)}, after ${formatDuration(outage.milliseconds)}: ${REASONS[outage.reason] ?? outage.reason}`);
  if (status.lastId !== "") lines.push(`last event ${status.lastId}`);
  if (head) lines.push(`the log's last event ${head}`);
  if (lag !== null) lines.push(`the newest event was ${formatDuration(lag)} old when it arrived`);
  lines.push(`dropped in the program since it began: ${hostDropped.starts} starts, ${hostDropped.ends} ends, ${hostDropped.other} other`);
  if (status.malformed > 0) lines.push(`${plural(status.malformed, "event")} could not be read`);
  return lines;
}

/**
 * Returns since when nothing was received, and when the next attempt follows.
 * @param {StreamStatus} status @param {import("./clock.mjs").Zone} zone @param {number} now @returns {string[]}
 */
function outageLines({ word: is, reason, since, next, attempt }, zone, now) {
  if (is !== "reconnecting" && !(is === "ended" && reason === "shutdown")) return [];
  const lines = since > 0 ? [`${is === "ended" ? "ended at" : "nothing received since"} ${shortClock(since, zone, true)}, ${formatSeconds(now - since)} ago`] : [];
  if (next > now) lines.push(`next try in ${formatSeconds(next - now)}, the ${ordinal(attempt)}; click to try now`);
  else lines.push("trying now");
  return lines;
}

/** @param {number} count @returns {string} */
function ordinal(count) {
  const last = count % 100 >= 11 && count % 100 <= 13 ? 0 : count % 10;
  return `${count}${["th", "st", "nd", "rd"][last] ?? "th"}`;
}

/** @param {number} milliseconds @returns {string} in whole minutes, so that the text rarely changes */
function ago(milliseconds) {
  return milliseconds < 60_000 ? "just now" : `${Math.floor(milliseconds / 60_000)} min ago`;
}

/**
 * @param {import("./model.mjs").Trace} trace
 * @returns {string} what the log or this page did not keep; empty if all is kept
 */
export function partialText(trace) {
  const evicted = evictedText(trace);
  const missing = [evicted === "" ? "" : `${evicted}: retention removed them`, incompleteText(trace)].filter((part) => part !== "");
  const parts = missing.map((part) => `${part[0].toUpperCase()}${part.slice(1)}.`);
  if (isPartial(trace)) parts.push("Critical path, self time and time between spans are not shown for an incomplete trace. Durations and errors cover only the spans that are left.");
  const refused = refusedText(trace);
  return (refused === "" ? parts : [...parts, refused]).join(" ");
}

/**
 * @param {{refusedSpans: number, logs: {refused: number}}} trace
 * @returns {string} what this page did not keep; empty if all is kept
 */
export function refusedText(trace) {
  const parts = [];
  if (trace.refusedSpans > 0) parts.push(`${formatCount(SPANS_MAX)} spans (${plural(trace.refusedSpans, "event")} of others left out)`);
  if (trace.logs.refused > 0) parts.push(`the newest ${formatCount(LOGS_MAX)} log records (${formatCount(trace.logs.refused)} before them left out)`);
  return parts.length === 0 ? "" : `This trace is larger than a page can keep: ${parts.join(" and ")}.`;
}

/**
 * Returns the announcement for screen readers when the status changes.
 * @param {PageStatus} before
 * @param {PageStatus} after
 * @returns {string} empty if the change is not worth announcing
 */
export function statusNews(before, after) {
  if (before.state === after.state && (before.text === after.text || after.state === "paused" || after.state === "reconnecting")) return "";
  // The note about an ended outage disappears by itself, which is no news.
  if (before.state === "live" && after.text === "Live") return "";
  // The scrubber announces its moments itself.
  if (after.text.startsWith("At ")) return "";
  return after.lines.length > 0 && after.state !== "live" ? `${after.text}: ${after.lines[0]}` : after.text;
}

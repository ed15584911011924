// @ts-check
// The current activity of an open span: what it awaits, whether it works or waits, and which thread it blocks.
// Must never touch the DOM or a clock: every "now" is an argument.

import { percentText, progressText } from "./progress.mjs";
import { attributesOf, progressAt } from "./span.mjs";
import { formatCount, formatDuration, formatOpen, parseTimestamp } from "./time.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{name: string, since: number, isLong: boolean}} Awaiting `since` in tree time
 * @typedef {{thread: string, since: number, isBlocked: boolean}} Polling
 * @typedef {{from: number, to: number, share: number}} Stretch a stretch of time, and the share of it in which a span
 *   worked
 */

/** A longer wait at an await point is marked as long. */
export const AWAITING_LONG_MS = 10_000;
/** A longer poll counts as blocking its thread. */
export const BLOCKED_MS = 1_000;
const NAME_MAX = 120;
/** Maximum number of stretches of one span; beyond it, neighbours are merged in pairs. */
export const STRETCHES_MAX = 256;
// Neighbouring stretches whose shares differ by less are merged.
const SHARE_STEP = 0.08;

/** @param {Trace} trace @param {number} index of an open span @param {number} now @returns {Awaiting | null} */
export function awaitingOf(trace, index, now) {
  const awaiting = trace.spans.events[index]?.awaiting;
  if (awaiting == null || typeof awaiting.name !== "string") return null;
  const since = parseTimestamp(awaiting.since, trace.originSeconds);
  return { name: awaiting.name.slice(0, NAME_MAX), since, isLong: now - since >= AWAITING_LONG_MS };
}

/**
 * @param {Trace} trace @param {number} index of an open span @param {number} now
 * @returns {Polling | null} the current poll
 */
export function pollingOf(trace, index, now) {
  const polling = trace.spans.events[index]?.task?.polling;
  if (polling == null) return null;
  const since = parseTimestamp(polling.since, trace.originSeconds);
  if (Number.isNaN(since)) return null;
  return { thread: String(polling.thread ?? "").slice(0, NAME_MAX) || "unnamed", since, isBlocked: now - since >= BLOCKED_MS };
}

/**
 * @param {Trace} trace @param {number} now @returns {number[]} open spans that block their thread, the longest first
 */
export function blockedSpans(trace, now) {
  const blocked = [];
  for (const index of trace.live.keys()) {
    const polling = pollingOf(trace, index, now);
    if (polling?.isBlocked) blocked.push({ index, since: polling.since });
  }
  return blocked.sort((a, b) => a.since - b.since).map(({ index }) => index);
}

/** @param {any} task @returns {string} `works 43 %, waits 57 % · 31 polls · longest 220 ms`, or empty */
export function taskText(task) {
  const [busy, idle, polls, longest] = [task?.busyNanos, task?.idleNanos, task?.polls, task?.longestPollNanos].map(Number);
  const parts = [];
  if (busy + idle > 0) {
    const share = Math.round((busy / (busy + idle)) * 100);
    parts.push(`works ${share} %, waits ${100 - share} %`);
  }
  if (polls >= 0) parts.push(polls === 1 ? "1 poll" : `${formatCount(polls)} polls`);
  if (longest > 0) parts.push(`longest ${formatDuration(longest / 1e6)}`);
  return parts.join(" · ");
}

/**
 * @param {Trace} trace @param {number} index @param {number} now @param {boolean} moving
 * @returns {string} `awaits redis get for 12.1 s`, or empty
 */
export function awaitingText(trace, index, now, moving) {
  const awaiting = awaitingOf(trace, index, now);
  if (awaiting === null) return "";
  return `awaits ${awaiting.name}${Number.isNaN(awaiting.since) ? "" : ` for ${formatOpen(Math.max(0, now - awaiting.since), moving)}`}`;
}

/** @param {Trace} trace @param {number} index @param {number} now @param {boolean} moving @returns {string} `polled for 4.1 s on thread tokio-worker-3` */
export function pollingText(trace, index, now, moving) {
  const polling = pollingOf(trace, index, now);
  return polling === null || !polling.isBlocked ? "" : `polled for ${formatOpen(now - polling.since, moving)} on thread ${polling.thread}`;
}

/**
 * @param {Trace} trace @param {number} index @param {number} now
 * @returns {string} `190 of 270 pages · 70 % · 3.4/s · about 24 s left`, or empty
 */
export function progressTextAt(trace, index, now) {
  const progress = progressAt(trace, index);
  return progress === null ? "" : progressText(progress, trace.live.get(index)?.speed ?? null, now);
}

/**
 * Returns the span whose progress stands for the whole trace, by the rule of the server's list: the root if it has
 * progress, else the open span that reported progress last.
 * @param {Trace} trace @param {number} first its first span
 * @returns {number} −1 if none reports progress
 */
export function progressingSpan(trace, first) {
  if (first >= 0 && hasProgress(trace, first)) return first;
  let found = -1;
  let last = 0;
  for (const index of trace.live.keys()) {
    const version = trace.live.get(index)?.progressVersion ?? 0;
    if (version <= last || !hasProgress(trace, index)) continue;
    found = index;
    last = version;
  }
  return found;
}

/** @param {Trace} trace @param {number} index */
function hasProgress(trace, index) {
  return "progress.current" in attributesOf(trace, index) && progressAt(trace, index) !== null;
}

/** @param {Trace} trace @param {number} index @returns {string} `70 %`, or empty */
export function percentAt(trace, index) {
  const progress = index < 0 ? null : progressAt(trace, index);
  return progress === null ? "" : percentText(progress);
}

/** The share of time in which a span worked, by stretch, computed from its updates. */
export class WorkTimes {
  /** In order of time, without overlaps. @type {Stretch[]} */
  stretches = [];
  at = NaN;
  busy = 0;

  /** @param {any} task @param {number} at @param {number} start of the span */
  add(task, at, start) {
    const busy = Number(task?.busyNanos) / 1e6;
    if (!(busy >= 0) || Number.isNaN(at)) return;
    const from = Number.isNaN(this.at) ? start : this.at;
    if (!(at > from) || busy < this.busy) return;
    const share = Math.min(1, (busy - this.busy) / (at - from));
    const last = this.stretches[this.stretches.length - 1];
    if (last !== undefined && Math.abs(last.share - share) < SHARE_STEP) joinStretch(last, { from, to: at, share });
    else this.stretches.push({ from, to: at, share });
    this.at = at;
    this.busy = busy;
    if (this.stretches.length <= STRETCHES_MAX) return;
    const halved = [];
    for (let place = 0; place < this.stretches.length; place += 2) {
      const [one, other] = [this.stretches[place], this.stretches[place + 1]];
      if (other !== undefined) joinStretch(one, other);
      halved.push(one);
    }
    this.stretches = halved;
  }
}

/** @param {Stretch} one @param {Stretch} next */
function joinStretch(one, next) {
  const [before, after] = [one.to - one.from, next.to - next.from];
  one.share = (one.share * before + next.share * after) / (before + after);
  one.to = next.to;
}

// @ts-check
// The phases of a long job: the children of its root by name, the phases still to come according to an earlier run,
// and the estimated time left. Must never touch the DOM or a clock: every "now" is an argument.

import { FLAG, isBadState, isOpenState } from "./columns.mjs";
import { childrenOf, nameOf } from "./span.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{name: string, start: number, end: number, open: number, failed: boolean, spans: number}} Phase an
 *   observed phase; `end` is the latest end of its spans so far, NaN before the first
 * @typedef {{name: string, duration: number, spans: number}} EarlierPhase a phase of a successful earlier run; durations are in
 *   milliseconds
 * @typedef {object} ShownPhase
 * @property {string} name
 * @property {"done" | "running" | "expected"} kind
 * @property {boolean} failed
 * @property {number} start NaN for an expected phase
 * @property {number} end the present if the phase is running
 * @property {number} duration so far
 * @property {number} usual its usual duration, NaN if unknown
 * @property {number} left its estimated time left, NaN without an estimate
 * @property {boolean} late whether it runs far longer than usual, and has no estimate for that reason
 * @property {number} names number of phases merged into this one
 */

/** Shorter jobs have no strip of phases. */
export const LONG_JOB_MS = 10_000;
/** Maximum number of phases shown; beyond it, the smallest are merged. */
export const PHASES_MAX = 8;
/** Maximum number of names among the children of a root. Children with more names are items of the job, not phases. */
export const PHASE_NAMES_MAX = 100;
/** A phase is late if it exceeds its usual duration by this factor and also by these milliseconds. */
const LATE_TIMES = 1.5;
const LATE_MS = 5_000;
/** Bound on the children of the root that are read. */
const CHILDREN_MAX = 250_000;

/** @param {Trace} trace @param {number} root @returns {Phase[]} in order of start; none if there are more than PHASE_NAMES_MAX */
export function phasesOf(trace, root) {
  const { spans } = trace;
  /** @type {Map<string, Phase>} */
  const phases = new Map();
  for (const child of childrenOf(trace, root).slice(0, CHILDREN_MAX)) {
    const name = nameOf(trace, child);
    if (Number.isNaN(spans.start[child])) continue;
    let phase = phases.get(name);
    if (phase === undefined && phases.size === PHASE_NAMES_MAX) return [];
    if (phase === undefined) phases.set(name, (phase = { name, start: spans.start[child], end: NaN, open: 0, failed: false, spans: 0 }));
    phase.spans += 1;
    if (isOpenState(spans.state[child])) phase.open += 1;
    else if (!(phase.end >= spans.end[child])) phase.end = spans.end[child];
    phase.failed ||= isBadState(spans.state[child]) || spans.has(child, FLAG.errorBelow | FLAG.failing);
  }
  return [...phases.values()];
}

/**
 * Returns the observed phases. While the job runs, also returns the phases that came after these in an earlier run.
 * @param {Phase[]} phases @param {EarlierPhase[]} earlier
 * @param {{now: number, isOpen: boolean, usual: (name: string) => number, leftOf: (name: string) => number}} given `isOpen`: the job runs;
 *   `usual`, `leftOf`: in milliseconds, NaN if unknown
 * @returns {ShownPhase[]}
 */
export function shownPhases(phases, earlier, { now, isOpen, usual, leftOf }) {
  const before = new Map(earlier.map((phase) => [phase.name, phase]));
  const usualOf = (/** @type {string} */ name, spans = 0) => {
    const known = before.get(name);
    // The statistics are those of one span, so they say nothing about a phase of several spans.
    const one = Math.max(spans, known?.spans ?? 1) > 1 ? NaN : usual(name);
    return Number.isNaN(one) ? (known?.duration ?? NaN) : one;
  };
  /** @type {ShownPhase[]} */
  const shown = phases.map(({ name, start, end, open, failed, spans }) => {
    // Between two of its spans, a phase has no open span, but it is not done.
    const hasMore = isOpen && spans < (before.get(name)?.spans ?? 0) && !phases.some((other) => other.start >= end);
    const isRunning = open > 0 || hasMore;
    const until = isRunning ? Math.max(now, start) : end;
    const usually = usualOf(name, spans);
    const reported = isRunning ? leftOf(name) : 0;
    const isReported = !Number.isNaN(reported);
    const late = !isReported && until - start > Math.max(LATE_TIMES * usually, usually + LATE_MS);
    const left = isReported ? reported : late ? NaN : Math.max(0, usually - (until - start));
    return { name, kind: isRunning ? "running" : "done", failed, start, end: until, duration: until - start, usual: usually, left, late, names: 1 };
  });
  if (!isOpen) return shown;
  const seen = new Set(phases.map(({ name }) => name));
  const last = earlier.findLastIndex(({ name }) => seen.has(name));
  // The job has no phase in common with the earlier run, so that was a different job.
  if (phases.length > 0 && last < 0) return shown;
  for (const { name } of earlier.slice(last + 1)) {
    shown.push({ name, kind: "expected", failed: false, start: NaN, end: NaN, duration: 0, usual: usualOf(name), left: usualOf(name), late: false, names: 1 });
  }
  return shown;
}

/**
 * Merges the smallest neighbouring phases until at most `max` are left.
 * @param {ShownPhase[]} phases @param {number} [max] @returns {ShownPhase[]}
 */
export function mergedPhases(phases, max = PHASES_MAX) {
  const merged = [...phases];
  const size = (/** @type {ShownPhase} */ one) => Math.max(one.duration, one.kind === "done" ? 0 : one.usual || 0);
  while (merged.length > max) {
    let at = 0;
    for (let place = 1; place < merged.length - 1; place += 1) if (size(merged[place]) + size(merged[place + 1]) < size(merged[at]) + size(merged[at + 1])) at = place;
    const [one, next] = [merged[at], merged[at + 1]];
    const names = one.names + next.names;
    merged.splice(at, 2, {
      name: `${names} phases`, kind: one.kind === next.kind ? one.kind : "running", failed: one.failed || next.failed,
      start: Math.min(one.start, Number.isNaN(next.start) ? Infinity : next.start), end: Math.max(one.end, Number.isNaN(next.end) ? -Infinity : next.end),
      duration: one.duration + next.duration, usual: one.usual + next.usual, left: one.left + next.left, late: one.late || next.late, names,
    });
  }
  return merged;
}

/**
 * @param {ShownPhase[]} phases
 * @returns {number} the estimated milliseconds left; NaN if an unfinished phase has no estimate or all phases are done
 */
export function timeLeft(phases) {
  const open = phases.filter(({ kind }) => kind !== "done");
  return open.length === 0 ? NaN : open.reduce((sum, { left }) => sum + left, 0);
}

/** @param {ShownPhase} phase @returns {number} its share of the strip, as a weight */
export function weightOf({ kind, duration, usual }) {
  return Math.max(1, kind === "done" || Number.isNaN(usual) ? duration : Math.max(duration, usual));
}

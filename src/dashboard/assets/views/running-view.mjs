// @ts-check
// The progress of an open span, its await point and the thread that it blocks, as flags beside its name and as text.
// Must never decide these facts: `running.mjs` and `progress.mjs` do.

import { isOpenState } from "../model/columns.mjs";
import { amountText, isCounted, shareOf } from "../model/progress.mjs";
import { awaitingOf, awaitingText, pollingOf, pollingText, progressTextAt } from "../model/running.mjs";
import { progressAt } from "../model/span.mjs";

/** @typedef {import("./span-row-view.mjs").Decoration} Decoration */

/** @param {number} index @param {import("./trace-view.mjs").TraceFrame} frame @returns {Decoration[]} */
export function decorateRunning(index, frame) {
  const { trace, now, moving } = frame;
  if (!isOpenState(trace.spans.state[index])) return [];
  const decorations = [];
  const polling = pollingOf(trace, index, now);
  if (polling?.isBlocked) decorations.push({ kind: "blocked", flag: `blocks ${polling.thread}`, title: "The current poll has taken so long that it blocks its thread" });
  const awaiting = awaitingOf(trace, index, now);
  if (awaiting !== null) decorations.push({ kind: awaiting.isLong ? "awaits-long" : "awaits", flag: `awaits ${awaiting.name}`, title: awaiting.isLong ? "The span has awaited this for more than 10 seconds" : "What the span awaits now" });
  const progress = progressAt(trace, index);
  if (progress !== null) decorations.push({ kind: "progress", flag: isCounted(progress) || progress.message === "" ? amountText({ ...progress, units: "" }) : progress.message, share: shareOf(progress), title: progress.message || null });
  return decorations;
}

/**
 * @param {number} index @param {import("./trace-view.mjs").TraceFrame} frame
 * @returns {string[]} the same facts as text, the most urgent first
 */
export function runningWords(index, { trace, now, moving }) {
  if (!isOpenState(trace.spans.state[index])) return [];
  return [pollingText(trace, index, now, moving), awaitingText(trace, index, now, moving), progressTextAt(trace, index, now)].filter((text) => text !== "");
}

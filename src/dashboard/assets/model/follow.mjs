// @ts-check
// Which span follow mode keeps in view: the newest span of one branch, until that branch has ended. If many branches
// ran at once and the newest span of all was followed, the view would jump between the branches.
// Must never touch the DOM or a clock.

import { isOpenState } from "./columns.mjs";
import { indexOf, readChanges } from "./model.mjs";

/** @typedef {import("./model.mjs").Trace} Trace */

/** Minimum time between two movements of the view, in milliseconds. */
export const FOLLOW_EVERY_MS = 1_000;

export class Follower {
  /** @type {Trace | null} */
  trace = null;
  /** Id of the topmost span of the branch. Ids stay valid when time travel renumbers the spans. */
  branch = "";
  /** Id of the span to keep in view. */
  goal = "";
  place = -1;
  changedAt = -Infinity;

  /**
   * @param {Trace} trace
   * @param {number} at milliseconds of a clock that only goes forward
   * @returns {number} the span to keep in view, −1 for none; changes at most once in FOLLOW_EVERY_MS
   */
  target(trace, at) {
    if (trace !== this.trace) {
      this.trace = trace;
      this.branch = this.goal = "";
      this.changedAt = -Infinity;
    }
    if (at - this.changedAt >= FOLLOW_EVERY_MS) this.choose(trace, at);
    return indexOf(trace, this.goal);
  }

  /** @param {Trace} trace @param {number} at */
  choose(trace, at) {
    const { spans } = trace;
    const branch = indexOf(trace, this.branch);
    let goal = -1;
    if (branch >= 0 && isOpenState(spans.state[branch])) {
      const before = indexOf(trace, this.goal);
      goal = before;
      this.place = readChanges(trace, this.place, (index) => {
        if (spans.seen[index] > (goal < 0 ? 0 : spans.seen[goal]) && isBelow(spans, index, branch)) goal = index;
      });
    } else if (trace.newest >= 0) {
      goal = trace.newest;
      this.branch = spans.ids[branchOf(trace, goal)];
      this.place = trace.journal.written;
    }
    const id = goal < 0 ? "" : spans.ids[goal];
    if (id === this.goal) return;
    this.goal = id;
    this.changedAt = at;
  }
}

/**
 * @param {import("./columns.mjs").SpanColumns} spans @param {number} index @param {number} branch
 * @returns {boolean} whether the span is the branch or below it
 */
function isBelow({ parent }, index, branch) {
  for (let step = index; step >= 0; step = parent[step]) if (step === branch) return true;
  return false;
}

/**
 * @param {Trace} trace @param {number} index
 * @returns {number} of the span and its ancestors, the topmost open one with open siblings; if there is none, the
 *   topmost open one
 */
function branchOf({ spans }, index) {
  let highest = index;
  let forked = -1;
  for (let step = index; step >= 0; step = spans.parent[step]) {
    if (!isOpenState(spans.state[step])) continue;
    highest = step;
    const parent = spans.parent[step];
    if (parent >= 0 && spans.childOpen[parent] > 1) forked = step;
  }
  return forked >= 0 ? forked : highest;
}

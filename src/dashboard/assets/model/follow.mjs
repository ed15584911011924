// @ts-check
// Which span follow mode keeps in view: the newest one of one branch, until that branch has ended. In a trace that runs
// 30 things at once, the newest span of all is somewhere else 30 times a second, and nobody can read what jumps.
// Must never touch the DOM or a clock.

import { isOpenState } from "./columns.mjs";
import { indexOf, readChanges } from "./model.mjs";

/** @typedef {import("./model.mjs").Trace} Trace */

/** The picture moves once in this time at most, in milliseconds. */
export const FOLLOW_EVERY_MS = 1_000;

export class Follower {
  /** @type {Trace | null} */
  trace = null;
  /** The topmost span of the branch, by its id: a journey in time renumbers. */
  branch = "";
  /** The span to keep in view, by id. */
  goal = "";
  place = -1;
  changedAt = -Infinity;

  /**
   * @param {Trace} trace
   * @param {number} at milliseconds of a clock that only goes forward
   * @returns {number} the span to keep in view, −1 for none: another one than before once a second at most
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

/** @param {import("./columns.mjs").SpanColumns} spans @param {number} index @param {number} branch @returns {boolean} whether it is the branch or below it */
function isBelow({ parent }, index, branch) {
  for (let step = index; step >= 0; step = parent[step]) if (step === branch) return true;
  return false;
}

/** @param {Trace} trace @param {number} index @returns {number} the highest open span above it, or itself, that has open siblings; without any, the highest open one */
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

// @ts-check
// Opens groups automatically: those of the followed branch, and those of spans that block their thread. A group stays
// open until another span is followed or the blocking span ends.
// Must never open a group that the reader closed.

import { isOpenState } from "../model/columns.mjs";
import { groupKey } from "../model/group-views.mjs";
import { groupsOf } from "../model/groups.mjs";
import { indexOf } from "../model/model.mjs";
import { blockedSpans } from "../model/running.mjs";

/** Maximum number of blocked spans that open groups at the same time. */
const BLOCKED_MAX = 3;

export class AutomaticGroups {
  /** Id of the last followed span. */
  followed = "";
  /**
   * Ids of spans that were blocked. A span stays here until it ends, even if its thread is free again.
   * @type {Set<string>}
   */
  blocked = new Set();

  /** @param {import("../model/follow.mjs").Follower} follower */
  constructor(follower) {
    this.follower = follower;
  }

  forget() {
    this.followed = "";
    this.blocked.clear();
  }

  /** @param {Pick<import("./trace-view.mjs").TraceFrame, "trace" | "ui" | "live" | "now">} frame */
  refresh({ trace, ui, live, now }) {
    if (!ui.isGrouped) return;
    if (ui.follow && live) this.followed = this.follower.goal;
    for (const id of this.blocked) if (!isOpenState(trace.spans.state[indexOf(trace, id)] ?? NaN)) this.blocked.delete(id);
    if (live) for (const index of blockedSpans(trace, now).slice(0, BLOCKED_MAX - this.blocked.size)) this.blocked.add(trace.spans.ids[index]);
    const groups = groupsOf(trace);
    const keys = new Set();
    for (const id of [this.followed, ...this.blocked]) {
      for (let step = indexOf(trace, id); step >= 0; step = trace.spans.parent[step]) {
        const group = groups.of(step);
        if (group !== null) keys.add(groupKey(trace, group));
      }
    }
    ui.setAutomaticGroups(keys);
  }
}

// @ts-check
// Follow mode: keeps the newest span in view until the reader interacts with the page. Afterwards a button shows the
// number of new spans. Must never scroll the page itself (`trace-view.mjs` does that), nor change the model.

import { indexOf } from "../model/model.mjs";
import { besideText } from "../model/span-title.mjs";
import { formatCount } from "../model/time.mjs";
import { byId, setAttribute, setShown, setText, shortened } from "./dom.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

const BRANCH_LENGTH_MAX = 24;
const FOLLOW_TITLE = "Keep the newest span in view (shift L)";

export class FollowView {
  /** @param {import("./ui-state.mjs").Ui} ui @param {HTMLElement} scroller */
  constructor(ui, scroller) {
    this.ui = ui;
    /** Number of spans when the reader stopped following. */
    this.seen = 0;
    this.wasFollowing = false;
    this.scroller = scroller;
    /** Scroll position that follow mode set itself. */
    this.expected = 0;
    const pill = byId("resume-follow");
    pill.addEventListener("click", () => ui.setFollow(true));
    for (const type of ["wheel", "pointerdown", "touchmove"]) {
      byId("tree").addEventListener(type, (event) => {
        if (event.target !== pill) ui.touch();
      }, { passive: true });
    }
    // Scroll bars and keys only cause scroll events. A position that follow mode did not set came from the reader.
    scroller.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = scroller;
      // When rows are folded away, the browser limits the position to the new end.
      const isLimited = scrollTop < this.expected && scrollTop + clientHeight >= scrollHeight - 1;
      if (isLimited) this.expected = scrollTop;
      if (ui.follow && Math.abs(scrollTop - this.expected) > 2) ui.touch();
    }, { passive: true });
  }

  reset() {
    this.seen = 0;
    this.wasFollowing = false;
    this.expected = 0;
  }

  /** Starts following an open trace, unless the address names a span, a zoom or a moment. @param {TraceFrame} frame */
  decide({ trace, ui, live }) {
    if (ui.followDecided || trace.counts.total === 0) return;
    ui.followDecided = true;
    ui.follow = ui.spanId === null && ui.zoom === null && live;
    this.seen = trace.counts.total;
  }

  /** @param {TraceFrame} frame @param {import("../model/follow.mjs").Follower} follower */
  draw({ trace, ui, live, titles }, follower) {
    const { total, open } = trace.counts;
    if (ui.follow || this.wasFollowing) this.seen = total;
    this.wasFollowing = ui.follow;
    setAttribute(byId("follow"), "aria-pressed", String(ui.follow));
    setShown(byId("follow"), live || ui.follow);
    const branch = ui.follow ? indexOf(trace, follower.branch) : -1;
    // A branch that is the root needs no name, because it is the whole trace.
    const title = branch < 0 || trace.spans.parent[branch] < 0 ? null : titles.of(branch);
    const name = title === null ? "" : title.beside.length > 0 ? besideText(title.beside[0]) : title.text;
    setText(byId("follow-text"), ui.follow ? `Following ${shortened(name, BRANCH_LENGTH_MAX)}`.trim() : "Follow");
    setAttribute(byId("follow"), "aria-label", ui.follow ? `Following ${name}`.trim() : "Follow");
    setAttribute(byId("follow"), "title", title === null ? FOLLOW_TITLE : `Following ${shortened([title.text, ...title.beside.map(besideText)].join(" "))} until it ends (shift L)`);
    const fresh = total - this.seen;
    const pill = byId("resume-follow");
    setShown(pill, !ui.follow && live && open > 0 && fresh > 0);
    setText(pill, `Follow again · ${formatCount(fresh)} new`);
  }
}

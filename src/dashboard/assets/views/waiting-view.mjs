// @ts-check
// Draws the line above the waterfall: the spans that an open trace waits for, or the critical path of an ended one.
// Also adds the critical path and usual durations to rows.
// Must never walk the spans itself: `waits-for.mjs` and `critical-path.mjs` do so.

import { STATE, isOpenState } from "../model/columns.mjs";
import { criticalPath, drawable } from "../model/critical-path.mjs";
import { indexOf } from "../model/model.mjs";
import { identityOf } from "../model/identity.mjs";
import { awaitingOf, awaitingText, blockedSpans, percentAt, pollingOf } from "../model/running.mjs";
import { isPartial, nameOf, serviceOf, shownName, stateOf, waitText } from "../model/span.mjs";
import { formatCount, formatDuration, formatOpen } from "../model/time.mjs";
import { nextWhere } from "../model/tree-order.mjs";
import { isSlower } from "../model/usual-bar.mjs";
import { waitingChains } from "../model/waits-for.mjs";
import { timesUsual } from "../net/duration-baseline.mjs";
import { byId, element, icon, setAttribute, setIcon, setShown, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("./span-row-view.mjs").Decoration} Decoration
 */

const CHAINS_MAX = 3;
const SHARES_MAX = 3;
/** Minimum widths of the line's parts, in pixels. They decide how many parts are shown. */
const LINK_WIDTH = 80;
const LEAD_WIDTH = 70;
const LEAF_WIDTH = 190;
const AWAITS_WIDTH = 210;
const BLOCKED_WIDTH = 240;
const SHARE_WIDTH = 186;
const LINKS_MAX = 4;
const LINK_LENGTH_MAX = 48;
const LOOK_EVERY_MS = 200;
const RELOOK_MS = 1_000;
const HOLD_MS = 1_200;
// A trace that has just ended may continue. Its critical path is computed once the trace has not changed for this long.
const QUIET_MS = 300;
const SEGMENTS_MAX = 6;

export class WaitingView {
  node = byId("waiting-for");
  /** Width in pixels, from the last resize event: reading the node's width while drawing would force a layout. */
  width = 0;
  drawnFor = "";
  lookedAt = -Infinity;
  /** Until this time, links under the pointer do not change, so that a click hits the link that the reader sees. */
  heldUntil = -Infinity;
  /** @type {import("../model/waits-for.mjs").Chain[]} */
  chains = [];
  total = 0;
  lead = element("span", { class: "lead" });
  /** @type {Line[]} reused, so that a link keeps the focus */
  lines = [];
  more = element("button", { type: "button", class: "chip", title: "Go to the next innermost open span", hidden: true, on: { click: () => this.next() } });
  rest = element("span", { class: "faint rest" });
  blockedId = "";
  blocked = element("button", { type: "button", class: "chip blocked", title: "The current poll of this span has taken so long that it blocks its thread", hidden: true, on: { click: () => this.actions.goTo(this.blockedId) } });
  /** @type {import("../model/model.mjs").Trace | null} */
  trace = null;
  version = -1;
  changedAt = -Infinity;
  /** @type {import("../model/critical-path.mjs").CriticalPath | null} */
  path = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;

  /**
   * @param {import("./ui-state.mjs").Ui} ui @param {{goTo: (spanId: string) => void}} actions
   * @param {import("../net/duration-baseline.mjs").Expectations} expectations
   */
  constructor(ui, actions, expectations) {
    this.ui = ui;
    this.actions = actions;
    this.expectations = expectations;
    this.node.append(this.blocked, this.lead, this.more, this.rest);
    byId("critical").addEventListener("click", () => ui.setCriticalPath(!ui.criticalPath));
    new ResizeObserver(() => {
      this.width = this.node.clientWidth;
      ui.changed();
    }).observe(this.node);
    this.node.addEventListener("pointermove", () => (this.heldUntil = performance.now() + HOLD_MS), { passive: true });
    this.node.addEventListener("pointerleave", () => (this.heldUntil = -Infinity));
  }

  /** @param {TraceFrame} frame */
  draw(frame) {
    const { trace } = frame;
    const at = performance.now();
    if (trace !== this.trace || trace.version !== this.version) {
      if (trace !== this.trace) this.lookedAt = this.heldUntil = -Infinity;
      this.trace = trace;
      this.version = trace.version;
      this.changedAt = at;
      this.path = null;
    }
    const open = trace.counts.open > 0;
    // Without all spans, the critical path would be wrong.
    setShown(byId("critical"), !open && trace.counts.total > 0 && !isPartial(trace));
    setAttribute(byId("critical"), "aria-pressed", String(this.ui.criticalPath));
    const wait = open ? this.drawWaiting(frame, at) : this.drawPath(frame, at);
    // A separate timer, because the page's ticks stop with the stream.
    if (wait < Infinity) this.timer ??= setTimeout(() => {
      this.timer = null;
      this.ui.changed();
    }, wait);
  }

  /**
   * @param {TraceFrame} frame @param {number} at
   * @returns {number} milliseconds until the next draw without input; Infinity for none
   */
  drawWaiting(frame, at) {
    const { trace } = frame;
    const due = Math.max(this.lookedAt + LOOK_EVERY_MS, this.heldUntil);
    // A wait becomes long without any event, so chains are also recomputed at intervals.
    if ((this.changedAt > this.lookedAt || at - this.lookedAt >= RELOOK_MS) && at >= due) {
      this.lookedAt = at;
      ({ chains: this.chains, total: this.total } = waitingChains(trace, frame.now));
    }
    const taken = this.blocked.hidden ? 0 : BLOCKED_WIDTH;
    const room = Math.max(1, Math.floor((this.width - taken) / LEAF_WIDTH));
    const shown = this.chains.slice(0, Math.min(CHAINS_MAX, room));
    const awaiting = shown.filter(({ leaf }) => awaitingOf(trace, leaf, frame.now) !== null).length;
    const links = Math.max(1, Math.min(LINKS_MAX, Math.floor((this.width - taken - LEAD_WIDTH - shown.length * LEAF_WIDTH - awaiting * AWAITS_WIDTH) / LINK_WIDTH / Math.max(1, shown.length))));
    const more = this.total - shown.length;
    const key = `${identityOf(trace)} ${more} ${links} ${shown.map((chain) => `${chain.links.map((link) => `${link} ${stateOf(trace, link)} ${trace.spans.name[link]}`)} ${chain.hidden}`).join("\n")}`;
    if (key !== this.drawnFor) {
      this.drawnFor = key;
      setText(this.lead, shown.every(({ leaf }) => trace.spans.state[leaf] === STATE.waiting) ? "Waits in" : "Waits for");
      for (const [place, chain] of shown.entries()) this.line(place).showChain(trace, chain, links);
      this.finish(shown.length, more > 0 ? `+${formatCount(more)} more` : "", "");
    }
    for (const [place, { leaf }] of shown.entries()) {
      const { time, slow, awaits } = this.lines[place];
      const elapsed = frame.now - trace.spans.start[leaf];
      setText(time, [formatOpen(elapsed, frame.moving), waitText(trace, leaf, frame.now, frame.moving), percentAt(trace, leaf)].filter((part) => part !== "").join(" "));
      setText(awaits, awaitingText(trace, leaf, frame.now, frame.moving));
      setAttribute(awaits, "data-long", awaitingOf(trace, leaf, frame.now)?.isLong === true);
      const usual = trace.spans.state[leaf] === STATE.waiting ? null : this.usual(frame, leaf);
      setText(slow, usual !== null && isSlower(elapsed, usual) ? `slower than usual: ${timesUsual(usual, elapsed)}` : "");
    }
    this.drawBlocked(frame);
    return this.changedAt > this.lookedAt ? Math.max(0, due - at) : Infinity;
  }

  /** Draws the span that has blocked its thread for the longest time. @param {TraceFrame} frame */
  drawBlocked(frame) {
    const { trace, now, moving } = frame;
    const [worst, ...others] = trace.counts.open > 0 ? blockedSpans(trace, now) : [];
    setShown(this.blocked, worst !== undefined);
    this.blockedId = worst === undefined ? "" : trace.spans.ids[worst];
    if (worst === undefined) return;
    const polling = /** @type {import("../model/running.mjs").Polling} */ (pollingOf(trace, worst, now));
    const more = others.length === 0 ? "" : ` · ${formatCount(others.length)} more`;
    setText(this.blocked, `${shortened(shownName(trace, worst), LINK_LENGTH_MAX)} has blocked ${polling.thread} for ${formatOpen(now - polling.since, moving)}${more}`);
  }

  /** @param {number} place @returns {Line} */
  line(place) {
    while (this.lines.length <= place) {
      const line = new Line(this.actions);
      this.lines.push(line);
      this.more.before(line.node);
    }
    return this.lines[place];
  }

  /**
   * Draws the end of the line.
   * @param {number} lines number of shown lines @param {string} more @param {string} rest
   */
  finish(lines, more, rest) {
    for (const [place, line] of this.lines.entries()) setShown(line.node, place < lines);
    setShown(this.lead, lines > 0 || rest !== "");
    setShown(this.more, more !== "");
    setText(this.more, more);
    setShown(this.rest, rest !== "");
    setText(this.rest, rest);
  }

  /** Selects the next innermost open span, in reading order. */
  next() {
    const { trace } = this;
    if (trace === null) return;
    const index = nextWhere(trace, indexOf(trace, this.ui.spanId), 1, (candidate) => trace.openLeaves.has(candidate));
    if (index >= 0) this.actions.goTo(trace.spans.ids[index]);
  }

  /** @param {TraceFrame} frame @param {number} at @returns {number} */
  drawPath({ trace }, at) {
    const isWhole = !isPartial(trace);
    if (isWhole && trace.counts.total > 0 && this.path === null) {
      const wait = this.changedAt + QUIET_MS - at;
      // If nothing was drawn yet, the trace ended before it was opened, so do not wait.
      if (wait > 0 && this.drawnFor !== "") return wait;
      this.path = criticalPath(trace);
    }
    const room = Math.max(1, Math.min(SHARES_MAX, Math.floor((this.width - LEAF_WIDTH) / SHARE_WIDTH)));
    const key = `path ${identityOf(trace)} ${this.version} ${room} ${isWhole}`;
    if (key === this.drawnFor) return Infinity;
    this.drawnFor = key;
    const { path } = this;
    setText(this.lead, "Critical path");
    setShown(this.blocked, false);
    if (!isWhole) this.finish(0, "", "not shown: spans of this trace are missing");
    else if (path === null || path.total === 0) this.finish(0, "", "");
    else {
      const shares = path.shares(trace);
      for (const [place, share] of shares.slice(0, room).entries()) this.line(place).showShare(trace, share, path.total);
      this.finish(Math.min(room, shares.length), "", shares.length > room ? `and ${formatCount(shares.length - room)} more` : "");
    }
    return Infinity;
  }

  /** @param {TraceFrame} frame @param {number} index @returns {import("../net/duration-baseline.mjs").Usual | null} */
  usual({ trace, feed }, index) {
    // Statistics of this server do not apply to traces from a file.
    return /** @type {any} */ (feed).file ? null : this.expectations.of(serviceOf(trace, index), nameOf(trace, index));
  }

  /** Returns the decorations of a row. @param {number} index @param {TraceFrame} frame @returns {Decoration[]} */
  decorate(index, frame) {
    const { trace, scale, now, ui } = frame;
    const { spans } = trace;
    if (isOpenState(spans.state[index])) {
      const usual = spans.state[index] === STATE.running ? this.usual(frame, index) : null;
      return usual === null ? [] : expected(usual, spans.start[index], now);
    }
    if (!ui.criticalPath || this.path === null || trace !== this.trace) return [];
    const inView = this.path.segmentsOf(index).filter((segment) => segment.end >= scale.start && segment.start <= scale.end);
    const pixel = (scale.end - scale.start) / Math.max(1, scale.width);
    const start = spans.start[index];
    return [{ kind: "off-path", start, end: start }, ...drawable(inView, pixel * 2, SEGMENTS_MAX).map((segment) => ({ kind: "critical", ...segment }))];
  }
}

/** One chain of open spans, or one share of the critical path. Its elements are reused. */
class Line {
  /** @param {{goTo: (spanId: string) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.shape = icon("running");
    this.leaf = this.link("leaf");
    this.count = element("span", { class: "faint" });
    this.time = element("span", { class: "figure" });
    this.slow = element("span", { class: "slow" });
    this.awaits = element("span", { class: "awaits" });
    /** From the leaf up, so that on a narrow screen the span that is waited for stays visible. */
    this.above = Array.from({ length: LINKS_MAX }, () => ({ sign: element("span", { class: "faint" }), link: this.link("") }));
    this.node = element("span", { class: "chain" }, this.shape, this.leaf.node, this.count, this.time, this.awaits, this.slow, ...this.above.flatMap(({ sign, link }) => [sign, link.node]));
  }

  /** @param {string} kind */
  link(kind) {
    const link = { node: element("button", { type: "button", class: `link ${kind}`, on: { click: () => this.actions.goTo(link.spanId) } }), spanId: "" };
    return link;
  }

  /** @param {{node: HTMLElement, spanId: string}} link @param {import("../model/model.mjs").Trace} trace @param {number} index */
  lead(link, trace, index) {
    const name = shownName(trace, index);
    link.spanId = trace.spans.ids[index];
    setText(link.node, shortened(name, LINK_LENGTH_MAX));
    setAttribute(link.node, "title", name.slice(0, 500));
  }

  /** @param {import("../model/model.mjs").Trace} trace @param {import("../model/waits-for.mjs").Chain} chain @param {number} max links above the leaf */
  showChain(trace, { links, hidden, leaf }, max) {
    setAttribute(this.node, "data-kind", "chain");
    setIcon(this.shape, stateOf(trace, leaf));
    setAttribute(this.shape, "hidden", false);
    this.lead(this.leaf, trace, leaf);
    setText(this.count, "");
    const above = links.slice(0, -1).reverse();
    // The root is always shown, the others as far as there is room.
    const shown = above.length <= max ? above : [...above.slice(0, max - 1), above[above.length - 1]];
    const left = hidden + above.length - shown.length;
    for (const [place, { sign, link }] of this.above.entries()) {
      const isShown = place < shown.length;
      for (const node of [sign, link.node]) setShown(node, isShown);
      if (!isShown) continue;
      setText(sign, place === shown.length - 1 && left > 0 ? `‹ ${formatCount(left)} … ‹` : "‹");
      this.lead(link, trace, shown[place]);
    }
  }

  /** @param {import("../model/model.mjs").Trace} trace @param {import("../model/critical-path.mjs").Share} share @param {number} total */
  showShare(trace, { time, count, longest }, total) {
    setAttribute(this.node, "data-kind", "share");
    setAttribute(this.shape, "hidden", true);
    this.lead(this.leaf, trace, longest);
    setText(this.count, count > 1 ? `×${formatCount(count)}` : "");
    setText(this.time, `${formatDuration(time)} · ${Math.round((time / total) * 100)} %`);
    setText(this.slow, "");
    setText(this.awaits, "");
    for (const { sign, link } of this.above) for (const node of [sign, link.node]) setShown(node, false);
  }
}

/** @param {import("../net/duration-baseline.mjs").Usual} usual @param {number} start @param {number} now @returns {Decoration[]} */
function expected(usual, start, now) {
  const { p50, p95, count } = usual;
  const title = `Usually ${formatDuration(p50)} (median), ${formatDuration(p95)} (95th percentile), over ${formatCount(count)} earlier spans of this name`;
  const elapsed = now - start;
  return [
    { kind: "usual", start: start + p50, end: start + p95, title },
    isSlower(elapsed, usual) ? { kind: "slow", flag: timesUsual(usual, elapsed), title: `Slower than usual. ${title}` } : { kind: "eta", flag: `~${formatDuration(p50)}`, title },
  ];
}

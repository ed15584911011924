// @ts-check
// The line above the waterfall: what the trace waits for now, or, when it has ended, what took its time. Also what both,
// and usual durations, add to the rows. It must never walk the spans itself: `waits-for.mjs` and `critical-path.mjs` do.

import { STATE, isOpenState } from "../model/columns.mjs";
import { criticalPath, drawable } from "../model/critical-path.mjs";
import { indexOf } from "../model/model.mjs";
import { nameOf, serviceOf, shownName, stateOf, waitText } from "../model/span.mjs";
import { formatCount, formatDuration, formatTicking } from "../model/time.mjs";
import { nextWhere } from "../model/visible-rows.mjs";
import { waitingChains } from "../model/waits-for.mjs";
import { isSlow, timesUsual } from "../net/duration-baseline.mjs";
import { byId, element, icon, setAttribute, setShown, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("./span-row-view.mjs").Decoration} Decoration
 */

const CHAINS_MAX = 3;
const SHARES_MAX = 3;
const LINK_LENGTH_MAX = 48;
const LOOK_EVERY_MS = 200;
// A trace that has just ended may go on; the path is worth a walk over all spans only when it is quiet.
const QUIET_MS = 300;
const SEGMENTS_MAX = 6;

export class WaitingView {
  node = byId("waiting-for");
  drawnFor = "";
  lookedAt = -Infinity;
  /** @type {import("../model/waits-for.mjs").Chain[]} */
  chains = [];
  total = 0;
  /** @type {{time: HTMLElement, slow: HTMLElement, leaf: number}[]} */
  ticking = [];
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
    byId("critical").addEventListener("click", () => ui.setCriticalPath(!ui.criticalPath));
  }

  /** @param {TraceFrame} frame */
  draw(frame) {
    const { trace } = frame;
    const at = performance.now();
    if (trace !== this.trace || trace.version !== this.version) {
      if (trace !== this.trace) this.lookedAt = -Infinity;
      this.trace = trace;
      this.version = trace.version;
      this.changedAt = at;
      this.path = null;
    }
    const open = trace.counts.open > 0;
    setShown(byId("critical"), !open && trace.counts.total > 0);
    setAttribute(byId("critical"), "aria-pressed", String(this.ui.criticalPath));
    const wait = open ? this.drawWaiting(frame, at) : this.drawPath(frame, at);
    // Of its own: with the stream at its end, no clock of the page asks for frames.
    if (wait < Infinity) this.timer ??= setTimeout(() => {
      this.timer = null;
      this.ui.changed();
    }, wait);
  }

  /** @param {TraceFrame} frame @param {number} at @returns {number} milliseconds until it must look again; Infinity for never */
  drawWaiting(frame, at) {
    const { trace } = frame;
    if (this.changedAt > this.lookedAt && at - this.lookedAt >= LOOK_EVERY_MS) {
      this.lookedAt = at;
      ({ chains: this.chains, total: this.total } = waitingChains(trace));
    }
    const shown = this.chains.slice(0, CHAINS_MAX);
    const more = this.total - shown.length;
    const key = `${more} ${shown.map(({ links, hidden }) => `${links.map((link) => `${link} ${stateOf(trace, link)} ${trace.spans.name[link]}`)} ${hidden}`).join("\n")}`;
    if (key !== this.drawnFor) {
      this.drawnFor = key;
      this.ticking = [];
      this.node.replaceChildren(element("span", { class: "lead", text: shown.every(({ leaf }) => trace.spans.state[leaf] === STATE.waiting) ? "Waits in" : "Waits for" }),
        ...shown.map((chain) => this.chain(trace, chain)),
        ...(more > 0 ? [element("button", { type: "button", class: "chip", text: `+${formatCount(more)} more`, title: "Go to the next innermost open span", on: { click: () => this.next() } })] : []));
    }
    for (const { time, slow, leaf } of this.ticking) {
      const elapsed = frame.now - trace.spans.start[leaf];
      setText(time, [formatTicking(elapsed), waitText(trace, leaf, frame.now)].filter((part) => part !== "").join(" "));
      const usual = trace.spans.state[leaf] === STATE.waiting ? null : this.usual(frame, leaf);
      setText(slow, usual !== null && isSlow(usual, elapsed) ? `slower than usual: ${timesUsual(usual, elapsed)}` : "");
    }
    return this.changedAt > this.lookedAt ? Math.max(0, LOOK_EVERY_MS - (at - this.lookedAt)) : Infinity;
  }

  /** From the leaf up: what is waited for comes first, and survives on a narrow screen. @param {import("../model/model.mjs").Trace} trace @param {import("../model/waits-for.mjs").Chain} chain @returns {HTMLElement} */
  chain(trace, { links, hidden, leaf }) {
    const time = element("span", { class: "figure" });
    const slow = element("span", { class: "slow" });
    this.ticking.push({ time, slow, leaf });
    const parts = [icon(stateOf(trace, leaf)), this.link(trace, leaf, "leaf"), time, slow];
    const above = links.slice(0, -1);
    for (let at = above.length - 1; at >= 0; at -= 1) {
      parts.push(element("span", { class: "faint", text: at === 0 && hidden > 0 ? `‹ ${formatCount(hidden)} … ‹` : "‹" }), this.link(trace, above[at], ""));
    }
    return element("span", { class: "chain" }, ...parts);
  }

  /** @param {import("../model/model.mjs").Trace} trace @param {number} index @param {string} kind @returns {HTMLElement} */
  link(trace, index, kind) {
    const name = shownName(trace, index);
    return element("button", { type: "button", class: `link ${kind}`, text: shortened(name, LINK_LENGTH_MAX), title: name.slice(0, 500), on: { click: () => this.actions.goTo(trace.spans.ids[index]) } });
  }

  /** The next innermost open span, in reading order. */
  next() {
    const { trace } = this;
    if (trace === null) return;
    const index = nextWhere(trace, indexOf(trace, this.ui.spanId), 1, (candidate) => trace.openLeaves.has(candidate));
    if (index >= 0) this.actions.goTo(trace.spans.ids[index]);
  }

  /** @param {TraceFrame} frame @param {number} at @returns {number} */
  drawPath({ trace }, at) {
    if (trace.counts.total > 0 && this.path === null) {
      const wait = this.changedAt + QUIET_MS - at;
      // The first look at a trace that ended long ago needs no patience.
      if (wait > 0 && this.drawnFor !== "") return wait;
      this.path = criticalPath(trace);
    }
    const key = `path ${this.version} ${trace.traceId}`;
    if (key === this.drawnFor) return Infinity;
    this.drawnFor = key;
    const { path } = this;
    if (path === null || path.total === 0) {
      this.node.replaceChildren();
      return Infinity;
    }
    const shares = path.shares(trace);
    this.node.replaceChildren(element("span", { class: "lead", text: "Took longest" }), ...shares.slice(0, SHARES_MAX).map(({ time, count, longest }) => element("span", { class: "chain share" },
      this.link(trace, longest, "leaf"), count > 1 ? element("span", { class: "faint", text: `×${formatCount(count)}` }) : null,
      element("span", { class: "figure", text: formatDuration(time) }), element("span", { class: "faint", text: `${Math.round((time / path.total) * 100)} %` }))),
    shares.length > SHARES_MAX ? element("span", { class: "faint", text: `and ${formatCount(shares.length - SHARES_MAX)} more names` }) : "");
    return Infinity;
  }

  /** @param {TraceFrame} frame @param {number} index @returns {import("../net/duration-baseline.mjs").Usual | null} */
  usual({ trace, feed }, index) {
    // A file's programs are not those of this server.
    return /** @type {any} */ (feed).file ? null : this.expectations.of(serviceOf(trace, index), nameOf(trace, index));
  }

  /** What it adds to a row. @param {number} index @param {TraceFrame} frame @returns {Decoration[]} */
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
    return drawable(inView, pixel * 2, SEGMENTS_MAX).map((segment) => ({ kind: "critical", ...segment }));
  }
}

/** @param {import("../net/duration-baseline.mjs").Usual} usual @param {number} start @param {number} now @returns {Decoration[]} */
function expected(usual, start, now) {
  const { p50, p95, count } = usual;
  const title = `Usually ${formatDuration(p50)} (median), ${formatDuration(p95)} (95th percentile), over ${formatCount(count)} earlier spans of this name`;
  const elapsed = now - start;
  return [
    { kind: "usual", start: start + p50, end: start + p95, title },
    isSlow(usual, elapsed) ? { kind: "slow", flag: timesUsual(usual, elapsed), title: `Slower than usual. ${title}` } : { kind: "eta", flag: `~${formatDuration(p50)}`, title },
  ];
}

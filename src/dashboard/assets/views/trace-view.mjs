// @ts-check
// Draws a trace as tree and waterfall in one scroller. Also computes the frame for the other views of the trace: rows
// and time scale. Must never change the model.

import { rowWindow, scrollToShow } from "../model/layout.mjs";
import { FOLLOW_EVERY_MS } from "../model/follow.mjs";
import { groupKey, keepMembers, toggleGroup, toggleShown } from "../model/group-views.mjs";
import { groupsOf } from "../model/groups.mjs";
import { identityOf } from "../model/identity.mjs";
import { indexOf } from "../model/model.mjs";
import { barEnd } from "../model/span.mjs";
import { TraceTitles } from "../model/span-title.mjs";
import { stickyCount } from "../model/sticky-rows.mjs";
import { formatCount, plural } from "../model/time.mjs";
import { Scale, fitTo, openEdge, wholeStretch } from "../model/timescale.mjs";
import { ROW, foldOf, groupOfRow, nearestRow, rowOfGroup, unhide } from "../model/visible-rows.mjs";
import { RowCanvas } from "../paint/row-paint.mjs";
import { rowSize, setRowSize } from "../paint/row-size.mjs";
import { AutomaticGroups } from "./automatic-groups.mjs";
import { AxisView } from "./axis-view.mjs";
import { CHEAP_MS, SpanGaps, KeptRows } from "./cached-layouts.mjs";
import { RowPool, byId, element, setAttribute, setShown, setStyle } from "./dom.mjs";
import { FollowView } from "./follow-view.mjs";
import { drawChipsRow, drawGroupRow } from "./group-row-view.mjs";
import { MinimapView } from "./minimap-view.mjs";
import { SideView } from "./side-view.mjs";
import { drawRollUpRow, drawSpanRow, makeSpanRow, rowTitle } from "./span-row-view.mjs";
import { StickyView, stickyMax } from "./sticky-view.mjs";
import { titleChoice } from "./title-choice.mjs";
import { TitleView } from "./title-view.mjs";
import { TraceKeys } from "./trace-keys.mjs";
import { recall, remember } from "./ui-preferences.mjs";
import { attachPinch, attachWheel, attachZoom } from "./zoom-input.mjs";

/**
 * @typedef {import("../model/model.mjs").Trace} Trace
 * @typedef {import("../model/visible-rows.mjs").Rows} Rows
 * @typedef {object} TraceFrame the inputs of one draw of a trace
 * @property {Trace} trace
 * @property {import("../net/trace-feed.mjs").TraceFeed} feed
 * @property {number} identity number of the trace object; the same trace may be loaded again as another object
 * @property {import("./ui-state.mjs").Ui} ui
 * @property {number} now in tree time
 * @property {number | null} moment the moment of time travel, or null
 * @property {boolean} live a span is open and the page shows the present
 * @property {boolean} moving whether `now` advances
 * @property {import("../model/palette.mjs").Palette} palette
 * @property {Scale} scale of the waterfall
 * @property {Rows} rows
 * @property {import("../model/span-title.mjs").TraceTitles} titles
 * @property {string} key changes if bars move although their spans did not change
 * @typedef {object} TraceContext
 * @property {import("./ui-state.mjs").Ui} ui
 * @property {{select: (spanId: string | null) => void}} actions
 * @property {import("./span-row-view.mjs").Decorator[]} decorators
 * @property {import("../model/follow.mjs").Follower} follower
 */

// Each row makes every frame of a scroll slower; two extra rows are enough to be ready in time.
const OVERSCAN = 2;
const REST_MS = 100;
// Maximum time from the press of a pointer to its release.
const PRESS_MAX_MS = 10_000;
/** Maximum time from the release of a pointer to its click. */
const CLICK_MS = 300;
const FOLLOW_MARGIN_ROWS = 3;
/** The same width as in the style sheet. */
const phone = globalThis.matchMedia?.("(max-width: 480px)") ?? { matches: false };

export class TraceView {
  /** @type {TraceFrame | null} */
  frame = null;
  /** @type {Trace | null} */
  trace = null;
  spanGaps = new SpanGaps();
  titles = new TraceTitles(titleChoice);
  revealed = "";
  /** The span that is or was last selected. @type {string | null} */
  lastId = null;
  /**
   * The active row if it belongs to a group: the group's key, and the kind of the row.
   * @type {{key: string, kind: number} | null}
   */
  activeGroup = null;
  scrollTop = 0;
  /** Scroll position at the last draw of rows. */
  drawnTop = 0;
  isActiveDrawn = false;
  isBusy = false;
  /** Until this time of `performance.now()`, no row moves, because a pointer presses a row. */
  heldUntil = -Infinity;
  gapsWait = Infinity;
  /** Whether the first gaps of this trace were left to a later frame. */
  areGapsLate = false;
  leapt = false;
  /** When follow mode last moved the view. */
  jumpedAt = -Infinity;
  width = 0;
  nameWidth = 0;
  left = 0;
  viewport = 0;

  /** @param {TraceContext} context */
  constructor(context) {
    this.context = context;
    this.ui = context.ui;
    this.scroller = byId("tree-scroller");
    this.rowsNode = byId("tree-rows");
    const rowActions = {
      select: (/** @type {number} */ index) => this.select(index),
      toggle: (/** @type {number} */ index, /** @type {boolean} */ all) => this.toggle(index, all),
      openWide: (/** @type {number} */ index) => this.fold(index, "open"),
      toggleGroup: (/** @type {number} */ id) => this.toggleGroup(id),
      toggleShown: (/** @type {number} */ id, /** @type {number} */ bit) => this.toggleShown(id, bit),
    };
    this.pool = new RowPool(this.rowsNode, () => makeSpanRow(rowActions));
    this.sticky = new StickyView((rowOf) => {
      /** @type {{node: HTMLElement, row: import("./span-row-view.mjs").SpanRow}} */
      const made = makeSpanRow({ ...rowActions, select: () => this.steps.goToRow(rowOf(made.row)), toggleGroup: () => this.steps.goToRow(rowOf(made.row)) });
      return made;
    }, (row, at, node) => this.drawRow(row, at, node, this.activeRow()));
    this.painted = new RowCanvas();
    this.rowsNode.append(this.painted.canvas);
    this.kept = new KeptRows(this.ui);
    this.automatic = new AutomaticGroups(context.follower);
    this.title = new TitleView();
    this.axis = new AxisView();
    this.minimap = new MinimapView(context);
    this.follow = new FollowView(this.ui, this.scroller);
    this.side = new SideView(this.ui);
    this.ui.setGrouped(recall("groups", true));
    byId("groups").addEventListener("click", () => this.toggleGroups());
    this.emptyFor = "";
    this.steps = new TraceKeys(this);
    this.keys = this.steps.keys;
    this.listen();
  }

  listen() {
    new ResizeObserver(() => this.measure()).observe(byId("axis"));
    new ResizeObserver(() => this.measure()).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.ui.changed(), { passive: true });
    for (const [type, held] of /** @type {[string, number][]} */ ([["pointerdown", PRESS_MAX_MS], ["pointerup", CLICK_MS], ["pointercancel", 0]])) {
      this.scroller.addEventListener(type, () => (this.heldUntil = performance.now() + held), { passive: true });
    }
    const zoom = { scale: () => this.frame?.scale ?? null, bounds: () => this.whole(), left: () => this.left, ui: this.ui };
    attachZoom(this.scroller, zoom);
    attachZoom(byId("axis"), zoom);
    attachPinch(this.scroller, zoom);
    attachWheel(byId("minimap"), { ...zoom, scale: () => this.minimap.scale });
    const tree = byId("tree");
    tree.addEventListener("pointermove", (event) => this.pointAt(event.clientX - this.left));
    tree.addEventListener("pointerleave", () => this.pointAt(null));
    byId("axis").addEventListener("dblclick", () => this.ui.setZoom(null));
    // Tooltips are set on demand, because setting all of them would cost time at every scroll.
    this.rowsNode.addEventListener("pointerover", ({ target }) => this.entitle(/** @type {Element} */ (target).closest(".tree-row")));
  }

  measure() {
    const axis = byId("axis");
    this.width = axis.clientWidth;
    this.nameWidth = axis.offsetLeft;
    setRowSize(phone.matches);
    this.left = axis.getBoundingClientRect().left;
    this.viewport = this.scroller.clientHeight;
    this.ui.changed();
  }

  /** @param {Element | null} node of a row */
  entitle(node) {
    const id = node?.getAttribute("data-span-id") ?? null;
    const index = this.trace === null ? -1 : indexOf(this.trace, id);
    if (node?.hasAttribute("data-roll-up") === false && index < 0) return setAttribute(node, "title", node.hasAttribute("data-group") ? node.getAttribute("aria-label") : null);
    if (node !== null && this.trace !== null) setAttribute(node, "title", index < 0 ? "Show all of them" : rowTitle(this.trace, index));
  }

  /** Width for the text of a row: that of its column, or the whole width if the text is above the bar. */
  get textWidth() {
    return rowSize.isTall ? this.width : this.nameWidth;
  }

  /** @returns {import("../model/visible-rows.mjs").Rows} */
  get rows() {
    return this.kept.rows;
  }

  /** @param {number | null} x */
  pointAt(x) {
    if (x === this.axis.pointer) return;
    this.axis.pointer = x;
    this.ui.changed();
  }

  /** Discards the state of the shown trace. */
  reset() {
    this.ui.reset();
    this.trace = null;
    this.frame = null;
    this.kept = new KeptRows(this.ui);
    this.spanGaps = new SpanGaps();
    this.revealed = "";
    this.lastId = null;
    this.activeGroup = null;
    this.automatic.forget();
    this.follow.reset();
    this.scroller.scrollTop = 0;
    this.scrollTop = 0;
  }

  /**
   * Computes the rows and the time scale.
   * @param {Omit<TraceFrame, "identity" | "scale" | "rows" | "titles" | "key">} given
   * @returns {TraceFrame}
   */
  layOut(given) {
    const { trace, ui } = given;
    const began = performance.now();
    // Read before any write: afterwards, the browser would have to compute the layout to answer.
    this.scrollTop = this.scroller.scrollTop;
    if (trace !== this.trace) {
      this.trace = trace;
      this.kept.forget();
      this.spanGaps.forget();
      this.areGapsLate = false;
    }
    this.lastId = ui.spanId ?? this.lastId;
    this.automatic.refresh(given);
    this.kept.refresh(trace, this.heldUntil > began);
    this.titles.refresh(trace);
    const whole = wholeStretch(trace, openEdge(given));
    const stretch = ui.zoom ?? whole;
    // Rows, gaps and minimap each need a pass over all spans. If one was slow, the next ones wait for a later frame.
    this.isBusy = performance.now() - began > CHEAP_MS;
    this.gapsWait = this.findGaps(given, stretch);
    this.isBusy ||= performance.now() - began > CHEAP_MS;
    const scale = new Scale(stretch, ui.compress ? this.spanGaps.gaps : [], this.width);
    const identity = identityOf(trace);
    const key = `${identity} ${scale.key} ${trace.services.size > 1}`;
    this.frame = { ...given, identity, scale, rows: this.rows, titles: this.titles, key };
    return this.frame;
  }

  /**
   * @param {Pick<TraceFrame, "trace" | "now" | "live">} given @param {import("../model/timescale.mjs").Stretch} stretch the visible stretch
   * @returns {number} milliseconds until the gaps have to be found again
   */
  findGaps(given, stretch) {
    const isFirst = this.spanGaps.foundFor === "";
    if (!this.isBusy || (isFirst && (this.ui.compress || this.areGapsLate))) return this.spanGaps.refresh(given, stretch);
    // If the first frame is slow already, it leaves the gaps to the next frame, and requests that frame.
    this.areGapsLate = isFirst;
    if (isFirst) this.ui.changed();
    return 0;
  }

  /** @param {TraceFrame} frame @returns {number} milliseconds until the next change without input; Infinity for none */
  draw(frame) {
    const { trace, feed, ui } = frame;
    this.follow.decide(frame);
    this.revealOnce(frame);
    this.followNewest(frame);
    this.title.draw(frame);
    this.drawEmpty(feed, trace);
    this.axis.draw(frame, this.nameWidth);
    const overview = new Scale(this.whole(), this.ui.compress ? this.spanGaps.gaps : [], this.width);
    const minimapWait = this.minimap.draw(frame, overview, this.isBusy ? "spare" : "paint");
    const paint = this.drawRows(frame);
    setAttribute(byId("groups"), "aria-pressed", String(ui.isGrouped));
    this.side.draw(frame, this.spanGaps.gaps);
    this.follow.draw(frame, this.context.follower);
    // Painting text makes the browser compute all pending styles, so the rows are painted last.
    paint();
    const wait = Math.min(minimapWait, this.kept.wait(trace), this.gapsWait);
    // A separate timer, because the page's ticks may have stopped.
    if (this.leapt) setTimeout(this.ui.changed, REST_MS);
    if (!frame.live) return wait;
    // The time in which the live edge moves by one pixel, but at least 16 ms and at most 100 ms.
    return Math.min(wait, Math.max(16, Math.min(100, (frame.scale.end - frame.scale.start) / Math.max(1, this.width))));
  }

  /**
   * Scrolls to the newest span, at most once in FOLLOW_EVERY_MS.
   * @param {TraceFrame} frame
   */
  followNewest({ trace, ui, live }) {
    const at = performance.now();
    if (!ui.follow || !live) return;
    const target = this.context.follower.target(trace, at);
    if (at - this.jumpedAt < FOLLOW_EVERY_MS) return;
    if (this.scrollTo(nearestRow(trace, this.rows, target, ui.fold), FOLLOW_MARGIN_ROWS * rowSize.height)) this.jumpedAt = at;
  }

  /** @returns {import("../model/timescale.mjs").Stretch} the stretch of the whole trace */
  whole() {
    const { frame } = this;
    return frame === null ? { start: 0, end: 1 } : wholeStretch(frame.trace, openEdge(frame));
  }

  /** Draws the text of the rows. @param {TraceFrame} frame @returns {() => void} paints the bars */
  drawRows(frame) {
    // After a jump, draw only the visible rows at first.
    this.leapt = Math.abs(this.scrollTop - this.drawnTop) > this.viewport;
    this.drawnTop = this.scrollTop;
    const { first, last, height } = rowWindow({
      scrollTop: this.scrollTop, viewport: this.viewport, rowHeight: rowSize.height, count: this.rows.count, overscan: this.leapt ? 0 : OVERSCAN,
    });
    setStyle(this.rowsNode, "height", `${height}px`);
    setAttribute(this.rowsNode, "aria-rowcount", this.rows.count);
    setStyle(this.rowsNode, "--name", `${this.textWidth}px`);
    const active = Math.max(0, this.activeRow());
    const hadFocus = this.rowsNode.contains(document.activeElement);
    // If the active row is out of view, Tab goes to the tree itself.
    this.isActiveDrawn = active >= first && active < last;
    setAttribute(this.rowsNode, "tabindex", this.isActiveDrawn || this.rows.count === 0 ? -1 : 0);
    /** @type {import("./span-row-view.mjs").SpanRow[]} */
    const shown = [];
    let stale = false;
    this.pool.show(first, last, rowSize.height, (row, at, node) => {
      setAttribute(node, "aria-rowindex", at + 1);
      setAttribute(node, "tabindex", at === active ? 0 : -1);
      if (this.drawRow(row, at, node, active)) stale = true;
      shown.push(row);
    });
    const rowsMax = Math.ceil(this.viewport / rowSize.height) + 2 * OVERSCAN + 1;
    const paintSticky = this.sticky.draw(frame, this.scrollTop, { nameWidth: this.nameWidth, textWidth: this.textWidth });
    if (hadFocus) this.focusActive();
    return () => {
      this.painted.draw(frame, shown, { first, rowsMax, nameWidth: this.nameWidth, stale });
      paintSticky();
    };
  }

  /**
   * @param {import("./span-row-view.mjs").SpanRow} row @param {number} at index of the row @param {HTMLElement} node @param {number} active
   * @returns {boolean} whether its canvas must be painted again
   */
  drawRow(row, at, node, active) {
    const frame = /** @type {TraceFrame} */ (this.frame);
    const { trace, ui } = frame;
    const index = this.rows.spans[at];
    const kind = this.rows.kinds[at];
    const isSpan = kind < ROW.sum;
    const look = {
      fold: isSpan ? foldOf(trace, ui.fold, index) : /** @type {const} */ ("rolled"), selected: isSpan && trace.spans.ids[index] === ui.spanId, isActive: at === active,
      nameWidth: this.textWidth, decorators: this.context.decorators,
    };
    if (isSpan) return drawSpanRow(row, node, index, frame, look);
    return (kind === ROW.group ? drawGroupRow : kind === ROW.chips ? drawChipsRow : drawRollUpRow)(row, node, ~index, frame, look);
  }

  /** Focuses the active row, or the tree if that row is not drawn. */
  focusActive() {
    const row = this.isActiveDrawn ? this.pool.nodeAt(Math.max(0, this.activeRow())) : null;
    const node = row === null || row.hidden ? this.rowsNode : row;
    if (document.activeElement !== node) node.focus({ preventScroll: true });
  }

  /** @param {import("../net/trace-feed.mjs").TraceFeed} feed @param {Trace} trace */
  drawEmpty(feed, trace) {
    const node = byId("trace-empty");
    const empty = trace.spans.count === 0;
    setShown(node, empty);
    setAttribute(byId("tree"), "data-empty", empty);
    const { word } = feed.status;
    const phase = `${feed.phase} ${feed.error} ${feed.loaded} ${word}`;
    if (!empty || this.emptyFor === phase) return;
    this.emptyFor = phase;
    const words = {
      loading: word === "ended" ? ["The program has ended", "This trace was not loaded while the program was running. It appears here when a program that still has it starts."]
        : word === "reconnecting" ? ["The server does not answer", "The status above says since when, and when the page tries again."]
        : ["Loading…", feed.loaded > 0 ? `${formatCount(feed.loaded)} spans so far` : ""],
      open: ["No span yet", "The server knows this trace but keeps none of its spans."],
      waiting: ["Waiting for this trace", "The server has no event of this trace yet, or no longer keeps it. The trace appears here as soon as its first span starts."],
      refused: ["This trace cannot be shown", feed.error],
    }[feed.phase];
    node.replaceChildren(element("h2", { text: words[0] }), element("p", { class: "muted", text: words[1] }));
  }

  /** @param {number} row @param {number} margin @returns {boolean} whether the row was out of view */
  scrollTo(row, margin) {
    if (row < 0) return false;
    // Set the height first, since it limits the scroll position.
    setStyle(this.rowsNode, "height", `${this.rows.count * rowSize.height}px`);
    const before = this.scrollTop;
    const target = scrollToShow({ index: row, scrollTop: before, viewport: this.viewport, rowHeight: rowSize.height, margin, covered: this.trace === null ? 0 : stickyCount(this.trace, this.rows, row, stickyMax()) * rowSize.height });
    if (Math.abs(target - before) < 1) return false;
    this.scroller.scrollTop = target;
    this.scrollTop = this.scroller.scrollTop;
    this.follow.expected = this.scrollTop;
    return true;
  }

  // Selection and folding

  /** @returns {number} index of the selected span, or −1 */
  active() {
    return this.trace === null ? -1 : indexOf(this.trace, this.ui.spanId);
  }

  /** @returns {number} the active row for keys: that of a group, of the selected span, or of the last selected one */
  activeRow() {
    if (this.trace === null) return -1;
    if (this.activeGroup !== null) {
      const row = this.rowOfActiveGroup(this.trace, this.activeGroup);
      if (row >= 0) return row;
    }
    return nearestRow(this.trace, this.rows, indexOf(this.trace, this.lastId), this.ui.fold);
  }

  /** @param {Trace} trace @param {{key: string, kind: number}} active @returns {number} −1 if it is hidden */
  rowOfActiveGroup(trace, { key, kind }) {
    const [parent] = key.split(" ", 1);
    const group = groupsOf(trace).find(trace, indexOf(trace, parent), key.slice(parent.length + 1));
    const row = group === null ? -1 : rowOfGroup(this.rows, group.id);
    if (row < 0 || kind === ROW.group) return row;
    return this.rows.kinds[row + 1] === ROW.chips ? row + 1 : row;
  }

  /** Makes a group's row the active row for keys. @param {number} row */
  activateGroup(row) {
    const group = this.trace === null ? null : groupsOf(this.trace).byId(groupOfRow(this.rows, row));
    if (this.trace === null || group === null) return;
    this.ui.touch();
    this.activeGroup = { key: groupKey(this.trace, group), kind: this.rows.kinds[row] };
    this.ui.changed();
  }

  /** Turns grouping on or off. */
  toggleGroups() {
    this.ui.setGrouped(!this.ui.isGrouped);
    remember("groups", this.ui.isGrouped);
  }

  /** @param {number} id of a group */
  toggleGroup(id) {
    const group = this.trace === null ? null : groupsOf(this.trace).byId(id);
    if (this.trace === null || group === null) return;
    this.activateGroup(rowOfGroup(this.rows, id));
    toggleGroup(this.trace, this.ui.fold.groups, group);
    this.ui.foldChanged();
  }

  /** @param {number} id of a group @param {number} bit of SHOWN */
  toggleShown(id, bit) {
    const group = this.trace === null ? null : groupsOf(this.trace).byId(id);
    if (this.trace === null || group === null) return;
    this.ui.touch();
    toggleShown(this.trace, this.ui.fold.groups, group, bit);
    this.ui.foldChanged();
  }

  /** @param {number} index */
  select(index) {
    if (this.trace === null || index < 0) return;
    this.ui.touch();
    this.activeGroup = null;
    if (this.ui.isGrouped) keepMembers(this.trace, this.ui.fold.groups, groupsOf(this.trace), index);
    this.context.actions.select(this.trace.spans.ids[index]);
  }

  /** Selects a span, unfolding and scrolling as necessary. @param {string} spanId */
  goTo(spanId) {
    const index = this.trace === null ? -1 : indexOf(this.trace, spanId);
    if (index < 0) return;
    this.reveal(index);
    this.bringIntoStretch(index);
    this.select(index);
  }

  /** Zooms to the span if the current zoom does not show it. @param {number} index */
  bringIntoStretch(index) {
    const { frame, ui } = this;
    if (frame === null || ui.zoom === null) return;
    const start = frame.trace.spans.start[index];
    const end = barEnd(frame.trace, index, frame.now);
    if (end < ui.zoom.start || start > ui.zoom.end) ui.setZoom(fitTo({ start, end }, this.whole()));
  }

  /** Scrolls once to the selected span, as soon as it has loaded. @param {TraceFrame} frame */
  revealOnce({ trace, ui, identity }) {
    const key = `${identity} ${ui.spanId}`;
    const index = ui.spanId === null || this.revealed === key ? -1 : indexOf(trace, ui.spanId);
    if (index < 0) return;
    this.revealed = key;
    this.reveal(index);
  }

  /** @param {number} index */
  reveal(index) {
    const trace = /** @type {Trace} */ (this.trace);
    // Rows computed before this span arrived do not show whether it is hidden.
    this.kept.make(trace);
    if (unhide(trace, this.ui.fold, this.rows, index)) this.ui.foldChanged();
    this.kept.make(trace);
    if (this.frame !== null) this.frame.rows = this.rows;
    this.scrollTo(nearestRow(trace, this.rows, index, this.ui.fold), rowSize.height * 2);
  }

  /** @param {number} index @param {boolean} all whether all spans at the same depth are toggled */
  toggle(index, all) {
    if (this.trace === null || this.trace.spans.childCount[index] === 0) return;
    const { spans } = this.trace;
    const closed = foldOf(this.trace, this.ui.fold, index) === "closed";
    const depth = spans.depth[index];
    if (all) this.ui.openToDepth(closed ? depth + 1 : depth);
    else this.fold(index, closed ? (this.ui.fold.except.get(spans.ids[index]) === "closed" && this.ui.fold.depth > depth ? null : "open") : "closed");
  }

  /** @param {number} index @param {import("../model/visible-rows.mjs").FoldState | null} state null for the default state */
  fold(index, state) {
    if (this.trace === null) return;
    this.ui.touch();
    const id = this.trace.spans.ids[index];
    if (state !== null) this.ui.foldSpan(id, state);
    else if (this.ui.fold.except.delete(id)) this.ui.foldChanged();
  }

  /** @returns {string} the periodic announcement for screen readers: counts, not rows */
  announcement() {
    const counts = this.trace?.counts;
    if (counts === undefined || counts.total === 0) return "";
    const panicked = counts.panicked > 0 ? `, ${counts.panicked} of them panicked` : "";
    const cancelled = counts.cancelled > 0 ? `, ${counts.cancelled} cancelled` : "";
    return `${plural(counts.total, "span")}, ${formatCount(counts.open)} open, ${plural(counts.errors, "error")}${panicked}${cancelled}, ${counts.lost} lost`;
  }
}

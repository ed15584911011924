// @ts-check
// Draws one trace: title, tree and waterfall in one scroller. It must never change the model; it holds what belongs to
// the looking (folds, selection, follow), and nothing that an event brought.

import { RowPool, byId, element, icon, setAttribute, setIcon, setShown, setStyle, setText, STATE_WORDS } from "./dom.mjs";
import {
  axisTicks, flatten, isFolded, nextBad, rowOf, rowWindow, scrollToShow, setFolded, timeDomain, timeToX, unfolded,
} from "./layout.mjs";
import { traceName, traceState, waitingFor } from "./model.mjs";
import { formatDuration, formatTicking, plural } from "./time.mjs";
import { drawSpanRow, makeSpanRow } from "./span-row-view.mjs";

/**
 * @typedef {import("./tree.mjs").Span} Span
 * @typedef {import("./feed.mjs").TraceFeed} TraceFeed
 * @typedef {{select: (spanId: string | null) => void, changed: () => void}} TraceActions
 * @typedef {{feed: TraceFeed, spanId: string | null, now: number, palette: import("./palette.mjs").Palette}} TraceFrame
 *   `now` in tree time
 */

export const ROW_HEIGHT = 28;
const OVERSCAN = 12;
const TICK_LABEL_WIDTH = 60;
const FOLLOW_MARGIN = ROW_HEIGHT * 3;

export class TraceView {
  fold = unfolded();
  /** @type {Span[]} */
  rows = [];
  /** @type {TraceFeed | null} */
  feed = null;
  /** @type {string | null} */
  spanId = null;
  follow = false;
  followDecided = false;
  flattenedFor = "";
  foldVersion = 0;
  seenTotal = 0;
  expectedScroll = 0;
  revealed = "";
  servicesFor = "";
  width = 0;
  nameWidth = 0;

  /** @param {TraceActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.scroller = byId("tree-scroller");
    this.rowsNode = byId("tree-rows");
    this.pool = new RowPool(this.rowsNode, () => makeSpanRow({
      select: (spanId) => this.userSelect(spanId),
      toggle: (spanId) => this.toggle(spanId),
    }));
    new ResizeObserver(() => {
      this.width = byId("axis").clientWidth;
      this.nameWidth = byId("axis").offsetLeft;
      actions.changed();
    }).observe(byId("axis"));
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    byId("resume-follow").addEventListener("click", () => this.setFollow(true));
  }

  /** Forgets the trace that was on show. */
  reset() {
    this.fold = unfolded();
    this.rows = [];
    this.flattenedFor = "";
    this.foldVersion = 0;
    this.follow = false;
    this.followDecided = false;
    this.seenTotal = 0;
    this.expectedScroll = 0;
    this.revealed = "";
    this.servicesFor = "";
    this.feed = null;
    this.spanId = null;
    this.scroller.scrollTop = 0;
  }

  /** @param {TraceFrame} frame @returns {number} milliseconds until the next change by itself; Infinity for none */
  draw(frame) {
    this.feed = frame.feed;
    this.spanId = frame.spanId;
    const { model } = frame.feed;
    this.flattenIfChanged();
    this.decideFollow(frame);
    this.revealOnce(frame);
    if (this.follow) this.followNewest();
    const open = model.tree.counts.open > 0;
    const domain = timeDomain(model, open ? frame.now : null);
    this.drawTitle(frame);
    this.drawWaiting(frame);
    this.drawEmpty(frame.feed);
    this.drawAxis(domain, open ? frame.now : null);
    this.drawRows(frame, domain);
    this.drawFollow();
    if (!open) return Infinity;
    // As often as the live edge moves by a pixel, within what an eye and a battery want.
    return Math.max(16, Math.min(100, domain.length / Math.max(1, this.width)));
  }

  flattenIfChanged() {
    const feed = /** @type {TraceFeed} */ (this.feed);
    const { tree } = feed.model;
    const key = `${feed.generation} ${tree.structure} ${tree.errorMarksStale} ${this.foldVersion}`;
    if (key === this.flattenedFor) return;
    this.rows = flatten(tree, this.fold);
    this.flattenedFor = `${feed.generation} ${tree.structure} false ${this.foldVersion}`;
  }

  /** @param {TraceFrame} frame @param {import("./layout.mjs").Domain} domain */
  drawRows(frame, domain) {
    const { first, last, height } = rowWindow({
      scrollTop: this.scroller.scrollTop, viewport: this.scroller.clientHeight, rowHeight: ROW_HEIGHT,
      count: this.rows.length, overscan: OVERSCAN,
    });
    setStyle(this.rowsNode, "height", `${height}px`);
    setAttribute(byId("tree"), "aria-rowcount", this.rows.length + 1);
    const activeId = this.activeSpan()?.id ?? this.rows[0]?.id;
    const hadFocus = this.rowsNode.contains(document.activeElement);
    const place = `${frame.feed.generation} ${domain.start} ${domain.length} ${this.width}`;
    this.pool.show(first, last, ROW_HEIGHT, (row, index, node) => {
      const span = this.rows[index];
      setAttribute(node, "aria-rowindex", index + 2);
      setAttribute(node, "tabindex", span.id === activeId ? 0 : -1);
      drawSpanRow(row, node, span, {
        domain, width: this.width, nameWidth: this.nameWidth, now: frame.now, palette: frame.palette, trace: frame.feed.model, place,
        folded: isFolded(this.fold, span.id), selected: span.id === this.spanId,
      });
    });
    if (hadFocus) this.focusActive();
  }

  focusActive() {
    const index = Math.max(0, this.activeIndex());
    const node = this.pool.nodeAt(index);
    if (node !== null && !node.hidden && document.activeElement !== node) node.focus({ preventScroll: true });
  }

  /** @param {TraceFrame} frame */
  drawTitle({ feed, now, palette }) {
    const { model } = feed;
    const { counts } = model.tree;
    const state = traceState(model);
    const shape = byId("trace-state");
    if (shape.firstElementChild === null) shape.append(icon(state));
    setIcon(/** @type {any} */ (shape.firstElementChild), state);
    setAttribute(shape, "data-state", state);
    setAttribute(shape, "title", STATE_WORDS[state]);
    setAttribute(byId("trace-page"), "data-state", state);
    setText(byId("trace-name"), traceName(model) || (feed.phase === "loading" ? "Loading…" : "Trace"));
    setText(byId("trace-id"), feed.traceId.slice(0, 8));
    setAttribute(byId("trace-id"), "data-copy", feed.traceId);
    const elapsed = (counts.open > 0 ? Math.max(now, model.start) : model.end) - model.start;
    setText(byId("trace-duration"), counts.total === 0 ? "" : counts.open > 0 ? formatTicking(elapsed) : formatDuration(elapsed));
    const parts = counts.total === 0 ? [] : [plural(counts.total, "span")];
    if (counts.open > 0) parts.push(`${counts.open.toLocaleString("en")} open`);
    if (counts.errors > 0) parts.push(plural(counts.errors, "error"));
    if (counts.lost > 0) parts.push(`${counts.lost.toLocaleString("en")} lost`);
    setText(byId("trace-counts"), parts.join(" · "));
    const none = counts.errors + counts.lost === 0;
    for (const id of ["next-error", "previous-error"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = none;
    this.drawServices(model, palette);
  }

  /** @param {import("./model.mjs").Trace} model @param {import("./palette.mjs").Palette} palette */
  drawServices(model, palette) {
    const services = [...model.services.values()].slice(0, 8);
    const key = services.map((service) => `${service.name} ${service.spans}`).join("\n");
    if (key === this.servicesFor) return;
    this.servicesFor = key;
    byId("trace-services").replaceChildren(...services.map((service) => {
      const dot = element("span", { class: "service-dot" });
      setStyle(dot, "background", palette.colour(service.name));
      return element("span", { class: "chip" }, dot, element("span", { class: "chip-name", text: service.name || "(no service)" }),
        element("span", { class: "faint", text: service.spans.toLocaleString("en") }));
    }));
  }

  /** @param {TraceFrame} frame */
  drawWaiting({ feed, now }) {
    const node = byId("waiting-for");
    const { spans, total } = waitingFor(feed.model, 3);
    const parts = spans.map((span) => `${span.name || "(no name)"} (${formatTicking(now - span.start)})`);
    while (node.childElementCount > spans.length + 1 || (spans.length === 0 && node.childElementCount > 0)) node.lastElementChild?.remove();
    if (spans.length === 0) {
      const { counts } = feed.model.tree;
      setText(node, counts.total === 0 ? "" : "Nothing is running.");
      return;
    }
    if (node.childElementCount === 0) node.replaceChildren(element("span", { class: "muted" }));
    setText(/** @type {Node} */ (node.firstElementChild), total > spans.length ? `Waiting for ${total.toLocaleString("en")} spans, longest:` : "Waiting for:");
    for (const [index, span] of spans.entries()) {
      let button = node.children[index + 1];
      if (button === undefined) {
        button = this.goToButton();
        node.append(button);
      }
      setAttribute(button, "data-go-to", span.id);
      setText(button, parts[index]);
    }
  }

  /** @returns {HTMLButtonElement} goes to the span that its `data-go-to` names when it is pressed */
  goToButton() {
    const button = element("button", { type: "button", class: "link" });
    button.addEventListener("click", () => this.goTo(String(button.dataset.goTo)));
    return button;
  }

  /** @param {TraceFeed} feed */
  drawEmpty(feed) {
    const node = byId("trace-empty");
    const empty = feed.model.tree.spans.size === 0;
    setShown(node, empty);
    setAttribute(byId("tree"), "data-empty", empty);
    if (!empty) return;
    const words = {
      loading: ["Loading…", ""],
      open: ["No span yet", "The trace is known, but none of its spans is retained."],
      waiting: ["Waiting for this trace", "The server has not seen it yet, or no longer keeps it. It appears here the moment its first span starts."],
      refused: ["This trace cannot be shown", feed.error],
    }[feed.phase];
    if (node.dataset.phase === feed.phase) return;
    node.dataset.phase = feed.phase;
    node.replaceChildren(element("h2", { text: words[0] }), element("p", { class: "muted", text: words[1] }));
  }

  /** @param {import("./layout.mjs").Domain} domain @param {number | null} now */
  drawAxis(domain, now) {
    const axis = byId("axis");
    const guides = byId("guides");
    const ticks = axisTicks(domain.length);
    // On a narrow page only every second or third label has room.
    const every = Math.max(1, Math.ceil((TICK_LABEL_WIDTH * ticks.length) / Math.max(1, this.width)));
    setStyle(guides, "left", `${this.nameWidth}px`);
    setStyle(guides, "width", `${this.width}px`);
    while (axis.childElementCount < ticks.length) axis.append(element("span", { class: "tick" }));
    while (guides.childElementCount < ticks.length + 1) guides.append(element("span", { class: guides.childElementCount === 0 ? "edge" : "guide" }));
    for (const [index, node] of [...axis.children].entries()) {
      const guide = /** @type {HTMLElement} */ (guides.children[index + 1]);
      const tick = ticks[index];
      setShown(/** @type {HTMLElement} */ (node), tick !== undefined);
      setShown(guide, tick !== undefined);
      if (tick === undefined) continue;
      const x = (tick.at / domain.length) * this.width;
      setText(node, index % every === 0 ? tick.label : "");
      setStyle(/** @type {HTMLElement} */ (node), "transform", `translateX(${x.toFixed(1)}px)`);
      // The last label has to stay inside the border.
      setAttribute(node, "data-flip", x > this.width - 56);
      setStyle(guide, "transform", `translateX(${x.toFixed(1)}px)`);
    }
    const edge = /** @type {HTMLElement} */ (guides.children[0]);
    setShown(edge, now !== null);
    if (now !== null) setStyle(edge, "transform", `translateX(${timeToX(now, domain, this.width).toFixed(1)}px)`);
  }

  // Following.

  /** Follows a trace that is under way, unless the address names a span to look at. @param {TraceFrame} frame */
  decideFollow({ feed, spanId }) {
    if (this.followDecided || feed.model.tree.counts.total === 0) return;
    this.followDecided = true;
    this.follow = spanId === null && feed.model.tree.counts.open > 0;
    this.seenTotal = feed.model.tree.counts.total;
  }

  followNewest() {
    const index = rowOf(this.rows, this.feed?.model.newest);
    if (index < 0) return;
    this.scrollTo(index, FOLLOW_MARGIN);
  }

  /** @param {boolean} follow */
  setFollow(follow) {
    this.follow = follow;
    this.seenTotal = this.feed?.model.tree.counts.total ?? 0;
    this.actions.changed();
  }

  drawFollow() {
    setAttribute(byId("follow"), "aria-pressed", String(this.follow));
    const counts = this.feed?.model.tree.counts;
    const fresh = counts === undefined ? 0 : counts.total - this.seenTotal;
    const pill = byId("resume-follow");
    setShown(pill, !this.follow && counts !== undefined && counts.open > 0 && fresh > 0);
    setText(pill, `Resume live · ${fresh.toLocaleString("en")} new`);
  }

  scrolled() {
    // Only a position that we did not set ourselves is the reader's wish.
    if (this.follow && Math.abs(this.scroller.scrollTop - this.expectedScroll) > 2) this.setFollow(false);
    this.actions.changed();
  }

  /** @param {number} index @param {number} margin */
  scrollTo(index, margin) {
    // The height must be there before the position can be.
    setStyle(this.rowsNode, "height", `${this.rows.length * ROW_HEIGHT}px`);
    const before = this.scroller.scrollTop;
    const target = scrollToShow({ index, scrollTop: before, viewport: this.scroller.clientHeight, rowHeight: ROW_HEIGHT, margin });
    if (target !== before) this.scroller.scrollTop = target;
    this.expectedScroll = this.scroller.scrollTop;
  }

  // Selection and folds.

  /** @returns {Span | undefined} */
  activeSpan() {
    return this.spanId === null ? undefined : this.feed?.model.tree.spans.get(this.spanId);
  }

  /** @returns {number} */
  activeIndex() {
    return rowOf(this.rows, this.activeSpan());
  }

  /** @param {string} spanId */
  userSelect(spanId) {
    if (this.follow) this.setFollow(false);
    this.actions.select(spanId);
  }

  /** Shows a span wherever it hides, and selects it. @param {string} spanId */
  goTo(spanId) {
    this.reveal(spanId);
    this.userSelect(spanId);
  }

  /** The span of a deep link, as soon as it is there. @param {TraceFrame} frame */
  revealOnce({ feed, spanId }) {
    const key = `${feed.generation} ${spanId}`;
    if (spanId === null || this.revealed === key || !feed.model.tree.spans.has(spanId)) return;
    this.revealed = key;
    this.reveal(spanId);
  }

  /** @param {string} spanId */
  reveal(spanId) {
    const span = this.feed?.model.tree.spans.get(spanId);
    if (span === undefined) return;
    for (let step = span.parent; step !== null; step = step.parent) {
      if (isFolded(this.fold, step.id)) {
        setFolded(this.fold, step.id, false);
        this.foldVersion += 1;
      }
    }
    this.flattenIfChanged();
    this.scrollTo(rowOf(this.rows, span), ROW_HEIGHT * 2);
  }

  /** @param {number} by rows; ±Infinity for the ends */
  move(by) {
    if (this.rows.length === 0) return;
    const from = this.activeIndex();
    const start = from < 0 ? (by > 0 ? -1 : 0) : from;
    const index = Number.isFinite(by) ? Math.max(0, Math.min(this.rows.length - 1, start + by)) : by < 0 ? 0 : this.rows.length - 1;
    this.scrollTo(index, ROW_HEIGHT);
    this.userSelect(this.rows[index].id);
    requestAnimationFrame(() => requestAnimationFrame(() => this.focusActive()));
  }

  /** Collapses the span, or goes to its parent when there is nothing to collapse. */
  collapseOrParent() {
    const span = this.activeSpan();
    if (span === undefined) return;
    if (span.children.length > 0 && !isFolded(this.fold, span.id)) this.toggle(span.id);
    else if (span.parent !== null) this.goTo(span.parent.id);
  }

  /** Expands the span, or goes to its first child. */
  expandOrChild() {
    const span = this.activeSpan();
    if (span === undefined || span.children.length === 0) return;
    if (isFolded(this.fold, span.id)) this.toggle(span.id);
    else this.move(1);
  }

  /** @param {string} spanId */
  toggle(spanId) {
    setFolded(this.fold, spanId, !isFolded(this.fold, spanId));
    this.foldVersion += 1;
    this.actions.changed();
  }

  /** @param {boolean} folded */
  foldAll(folded) {
    this.fold = { all: folded, except: new Set() };
    this.foldVersion += 1;
    this.actions.changed();
  }

  /** @param {1 | -1} direction */
  goToError(direction) {
    if (this.feed === null) return;
    // All spans in reading order, as if nothing were folded. It overwrites the row numbers, so the rows are made anew.
    const all = flatten(this.feed.model.tree, unfolded());
    const span = this.activeSpan();
    const found = nextBad(all, span === undefined ? -1 : span.row, direction);
    this.flattenedFor = "";
    this.flattenIfChanged();
    if (found !== null) this.goTo(found.id);
  }

  /** @returns {string} what a screen reader is told from time to time: counts, not rows */
  announcement() {
    const counts = this.feed?.model.tree.counts;
    if (counts === undefined || counts.total === 0) return "";
    return `${counts.total} spans, ${counts.open} open, ${counts.errors} errors, ${counts.lost} lost`;
  }
}

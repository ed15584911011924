// @ts-check
// Draws the list of traces. Must never change the model: input becomes calls of `actions`.

import { rowWindow, scrollToShow } from "../model/layout.mjs";
import { identityOf } from "../model/identity.mjs";
import { isWithin, toggled, withoutEach } from "../model/list-filter.mjs";
import { OLDER_MAX, countsWords, isOpenTrace, listCounts, selectTraces } from "../model/list-model.mjs";
import { dependsOnTime, parseQuery } from "../model/search.mjs";
import { epochMilliseconds, formatCount, plural } from "../model/time.mjs";
import { RowPool, byId, element, setAttribute, setShown, setStyle, setText } from "./dom.mjs";
import { drawRow, makeRow } from "./list-row-view.mjs";
import { ListTools } from "./list-tools.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {{openTrace: (traceId: string, spanId?: string | null) => void, traceHref: (traceId: string, spanId?: string | null) => string, loadOlder: () => void, forgetOlder: () => void,
 *   changed: () => void, setOrder: (order: "running" | "newest") => void, search: (query: string) => void} & import("./list-tools.mjs").ToolActions} ListActions
 * @typedef {{feed: import("../net/list-feed.mjs").ListFeed, query: string, order: "running" | "newest", now: number, age: number,
 *   moving: boolean, hrefs: string, palette: import("../model/palette.mjs").Palette, zone: import("../model/clock.mjs").Zone,
 *   narrowed: import("../model/list-filter.mjs").Narrowed,
 *   titles: import("../model/list-titles.mjs").ListTitles, usual: (trace: Summary) => import("../model/usual-bar.mjs").Usual | null}} ListFrame
 * `now`: time up to which durations are known; `age`: time that ages count from, which advances even without a
 * connection; `moving`: whether `now` advances; `hrefs`: a key that changes whenever the links must be made again
 */

const LIST_OVERSCAN = 3;
const DURATION_TICK_MS = 100;
const AGE_TICK_MS = 1_000;
// Rows do not move for `HOLD_MS` after the pointer has moved, nor while it is pressed (but for `PRESS_MAX_MS` at most).
const HOLD_MS = 1_200;
const PRESS_MAX_MS = 10_000;
// The next page of history is requested this many rows before the end.
const PAGE_AHEAD = 20;

export const UNREACHABLE = "The status above says since when, and when the page tries again.";

export class ListView {
  /** @param {ListActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.scroller = byId("traces-scroller");
    this.rowsNode = byId("traces-rows");
    this.pool = new RowPool(this.rowsNode, () => makeRow(this.actions));
    /** @type {Summary[]} */
    this.rows = [];
    this.selectedFor = "";
    /** Number of running traces at the last draw. */
    this.open = 0;
    /** The last valid search. @type {import("../model/search.mjs").Term[]} */
    this.terms = [];
    this.parsed = "";
    /** @type {string | null} */
    this.activeId = null;
    this.emptyKind = "";
    this.isActiveDrawn = false;
    /** The trace whose row has the focus. @type {Summary | null} */
    this.focused = null;
    /** Number of new rows above the visible ones. */
    this.above = 0;
    this.heldUntil = -Infinity;
    this.scrollTop = 0;
    this.viewport = 0;
    this.rowHeight = 34;
    new ResizeObserver(() => this.measure()).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => actions.changed(), { passive: true });
    this.tools = new ListTools(this.rowsNode, actions);
    this.holdRows();
    byId("load-older").addEventListener("click", () => actions.loadOlder());
    byId("order-running").addEventListener("click", () => actions.setOrder("running"));
    byId("order-newest").addEventListener("click", () => actions.setOrder("newest"));
    byId("list-top").addEventListener("click", () => (this.scroller.scrollTop = 0));
  }

  /** Holds the rows while a pointer is about to press one of them. */
  holdRows() {
    const hold = (/** @type {number} */ milliseconds) => () => (this.heldUntil = performance.now() + milliseconds);
    const moved = hold(HOLD_MS);
    this.scroller.addEventListener("pointermove", (event) => event.buttons === 0 && moved(), { passive: true });
    this.scroller.addEventListener("pointerdown", hold(PRESS_MAX_MS), { passive: true });
    // The click follows the release.
    this.scroller.addEventListener("pointerup", moved, { passive: true });
    // For a finger, `pointerleave` comes before the click.
    this.scroller.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && (this.heldUntil = -Infinity));
    this.scroller.addEventListener("pointercancel", () => (this.heldUntil = -Infinity));
  }

  /** @returns {boolean} whether a pointer may be about to press a row */
  get isHeld() {
    return this.heldUntil > performance.now();
  }

  /** @param {ListFrame} frame @returns {number} milliseconds until the next change without input; Infinity for none */
  draw(frame) {
    const { feed, query, order } = frame;
    // Read before any write: afterwards, the browser would have to compute the layout to answer.
    this.scrollTop = this.scroller.scrollTop;
    const wait = this.select(frame);
    setAttribute(byId("order-running"), "aria-pressed", String(order === "running"));
    setAttribute(byId("order-newest"), "aria-pressed", String(order === "newest"));
    setText(byId("list-counts"), this.countsText(frame));
    setAttribute(this.rowsNode, "aria-rowcount", this.rows.length);
    this.drawFoot(frame);
    this.drawEmpty(frame);
    const { model } = feed;
    const { since, mine } = frame.narrowed;
    if (since !== null && mine === null && this.rows.length < PAGE_AHEAD && feed.hasOlder() && !feed.olderFailed && !reaches(model, since)) this.actions.loadOlder();
    if (this.scrollTop > 0) {
      const last = (this.scrollTop + this.viewport) / this.rowHeight;
      if (last > this.rows.length - PAGE_AHEAD && feed.hasOlder() && !feed.olderFailed) this.actions.loadOlder();
    } else if (query === "" && since === null && model.floor > 0 && model.older.size > 0) {
      // Back at the top, the pages of history are discarded. They can be loaded again.
      this.actions.forgetOlder();
    }
    return Math.min(wait, this.drawRows(frame));
  }

  /**
   * Selects the rows again if something changed.
   * @param {ListFrame} frame @returns {number} milliseconds until a held selection is due; Infinity if none is
   */
  select({ feed, query, order, now, narrowed }) {
    if (query !== this.parsed) {
      const { terms, wrong } = parseQuery(query, "list");
      if (wrong === null) this.terms = terms;
      this.parsed = query;
      this.scroller.scrollTop = this.scrollTop = 0;
      this.heldUntil = -Infinity;
    }
    const second = dependsOnTime(this.terms) ? Math.floor(now / 1000) : 0;
    const asked = ` ${order} ${query} ${second} ${narrowed.since} ${narrowed.until} ${narrowed.mine?.size}`;
    const selection = `${identityOf(feed.model)} ${feed.model.version}${asked}`;
    if (selection === this.selectedFor) return Infinity;
    const held = this.heldUntil - performance.now();
    if (held > 0 && this.selectedFor.endsWith(asked)) return held;
    this.selectedFor = selection;
    const before = this.rows;
    this.rows = selectTraces(feed.model, { terms: this.terms, order, now, within: (trace) => isWithin(trace, narrowed) });
    this.stay(before);
    return Infinity;
  }

  /** Keeps the visible rows in place when rows are added above them. @param {Summary[]} before */
  stay(before) {
    const { scrollTop, viewport, rowHeight: height } = this;
    if (scrollTop === 0 || before.length === 0) {
      this.above = 0;
      return;
    }
    const first = Math.floor(scrollTop / height);
    for (const trace of before.slice(first, first + Math.ceil(viewport / height))) {
      const index = this.rows.findIndex(({ traceId }) => traceId === trace.traceId);
      // A trace that has ended since the last draw moved because of its new state, so it is no anchor.
      if (index < 0 || isOpenTrace(this.rows[index]) !== isOpenTrace(trace)) continue;
      const moved = index - before.indexOf(trace);
      if (moved === 0) return;
      this.above = Math.max(0, this.above + moved);
      setStyle(this.rowsNode, "height", `${this.rows.length * height}px`);
      this.scroller.scrollTop = scrollTop + moved * height;
      this.scrollTop = this.scroller.scrollTop;
      return;
    }
  }

  /** @param {ListFrame} frame @returns {number} */
  drawRows(frame) {
    const { rowHeight, scrollTop, viewport } = this;
    const { first, last, height } = rowWindow({ scrollTop, viewport, rowHeight, count: this.rows.length, overscan: LIST_OVERSCAN });
    setStyle(this.rowsNode, "height", `${height}px`);
    setShown(byId("list-top"), this.above > 0);
    setText(byId("list-top"), `↑ ${formatCount(this.above)} new`);
    const { traces, older } = frame.feed.model;
    frame.titles.refresh(frame.feed.model);
    // Held rows keep their places, but show current data.
    const shown = this.rows.slice(first, last).map((trace) => traces.get(trace.traceId) ?? older.get(trace.traceId) ?? trace);
    if (this.activeIndex() < 0) this.activeId = this.rows[0]?.traceId ?? null;
    const hadFocus = this.rowsNode.contains(document.activeElement);
    const active = this.activeIndex();
    // If the active row is out of view, Tab goes to the list itself.
    this.isActiveDrawn = active >= first && active < last;
    setAttribute(this.rowsNode, "tabindex", this.isActiveDrawn || this.rows.length === 0 ? -1 : 0);
    this.pool.show(first, last, rowHeight, (row, index, node) => {
      const trace = shown[index - first];
      setAttribute(node, "aria-rowindex", index + 1);
      setAttribute(node, "tabindex", trace.traceId === this.activeId ? 0 : -1);
      drawRow(row, node, trace, frame, this.actions);
    });
    this.tools.draw(this.isActiveDrawn ? this.pool.nodeAt(active) : null, (traceId) => shown.find((trace) => trace.traceId === traceId), /** @type {any} */ (frame.feed).file === undefined);
    if (hadFocus) this.focusActive();
    this.focused = hadFocus ? (shown[active - first] ?? null) : null;
    if (frame.moving && shown.some(isOpenTrace)) return DURATION_TICK_MS;
    return this.rows.length > 0 ? AGE_TICK_MS : Infinity;
  }

  measure() {
    this.viewport = this.scroller.clientHeight;
    this.rowHeight = globalThis.matchMedia("(max-width: 760px)").matches ? 56 : 34;
    this.actions.changed();
  }

  /** @returns {number} */
  activeIndex() {
    return this.rows.findIndex((trace) => trace.traceId === this.activeId);
  }

  /** Focuses the active row, or the list if that row is not drawn. */
  focusActive() {
    const row = this.isActiveDrawn ? this.pool.nodeAt(this.activeIndex()) : null;
    const node = row === null || row.hidden ? this.rowsNode : row;
    // The tools of the active row may have the focus.
    if (row !== null && row === node && row.contains(document.activeElement)) return;
    if (document.activeElement !== node) node.focus({ preventScroll: true });
  }

  /** @param {number} by rows; ±Infinity for the ends */
  move(by) {
    if (this.rows.length === 0) return;
    const focused = this.rowsNode.contains(document.activeElement);
    const from = focused || !Number.isFinite(by) ? this.activeIndex() : this.activeIndex() - Math.sign(by);
    const index = Math.max(0, Math.min(this.rows.length - 1, from + by));
    this.activeId = this.rows[index].traceId;
    const { rowHeight, viewport } = this;
    this.scroller.scrollTop = scrollToShow({ index, scrollTop: this.scroller.scrollTop, viewport, rowHeight, margin: 0 });
    this.actions.changed();
    // The row may not be drawn yet, so it gets the focus after the next frame.
    requestAnimationFrame(() => requestAnimationFrame(() => this.focusActive()));
  }

  openActive() {
    if (this.activeId !== null) this.actions.openTrace(this.activeId);
  }

  /** @param {ListFrame} frame @returns {string} */
  countsText({ feed, query, narrowed }) {
    const counts = listCounts(feed.model);
    this.open = counts.open;
    if (counts.total === 0) return "";
    const gone = feed.model.goneWithLog;
    const restart = gone === 0 ? "" : ` · log restarted, ${plural(gone, "earlier trace")} gone`;
    if (query.trim() !== "" || narrowed.since !== null || narrowed.until !== null || narrowed.mine !== null) {
      const more = feed.loadingOlder ? feed.isDeep ? " · searching their events…" : " · searching older ones…" : feed.stoppedEarly ? " so far, not all was searched" : feed.hasOlder() ? " and more" : "";
      return `${plural(this.rows.length, "match", "matches")}${more}${restart}`;
    }
    return `${formatCount(counts.total)}${feed.hasOlder() ? "+" : ""} · ${countsWords(counts)}${restart}`;
  }

  /** @param {ListFrame} frame */
  drawFoot({ feed }) {
    const older = /** @type {HTMLButtonElement} */ (byId("load-older"));
    setShown(older, feed.hasOlder());
    setText(older, feed.loadingOlder ? "Loading…" : feed.olderFailed ? "Try again" : "Load older");
    older.disabled = feed.loadingOlder;
    const notes = [];
    if (feed.olderFailed) notes.push("The older traces could not be loaded.");
    if (feed.stoppedEarly && feed.hasOlder()) notes.push("The server stopped searching here to limit the time. Older traces may match, too.");
    if (feed.isDeep && feed.model.olderFloor !== null) notes.push("In newer traces only name, service and id are searched. Press Enter in the search field to search them completely.");
    if (feed.model.older.size >= OLDER_MAX) notes.push(`This page keeps ${formatCount(OLDER_MAX)} older traces at most. Search to find others.`);
    setText(byId("list-note"), notes.join(" "));
  }

  /** @param {ListFrame} frame */
  drawEmpty({ feed, query, narrowed, now }) {
    const { model } = feed;
    const any = model.traces.size + model.older.size > 0;
    const looking = feed.loadingOlder ? "looking" : "looked";
    const kind = this.rows.length > 0 ? "" : any ? `${looking} ${query}` : model.loaded ? "none" : isReachable(feed.status) ? "loading" : "unreachable";
    if (kind === this.emptyKind) return;
    this.emptyKind = kind;
    const node = byId("list-empty");
    setShown(node, kind !== "");
    setShown(byId("list-foot"), !["none", "loading", "unreachable"].includes(kind));
    if (kind === "none") node.replaceChildren(...nothingYet());
    else if (kind === "loading") node.replaceChildren(element("p", { text: "Connecting…", class: "muted" }));
    else if (kind === "unreachable") node.replaceChildren(element("h2", { text: "The server does not answer" }), element("p", { text: UNREACHABLE, class: "muted" }));
    else if (kind !== "") {
      node.replaceChildren(
        element("h2", { text: looking === "looking" ? "Searching older traces…" : "No trace matches" }),
        element("p", { class: "muted" }, "No loaded trace matches ", element("code", { text: query || "the filters of the list" }), "."),
        element("p", { class: "without" }, ...withoutEach(feed.model, query, narrowed, now).map(({ term, count }) => element("button", {
          type: "button", class: "filter-chip", "aria-label": `Without ${term}: ${plural(count, "trace")}`, on: { click: () => this.actions.search(toggled(query, term)) },
        }, element("code", { text: term }), " ✕ ", element("span", { class: "count figure", text: formatCount(count) })))),
      );
    }
  }
}

/** @param {{word: string}} status @returns {boolean} whether the page is connected, or tries for the first time */
export function isReachable({ word }) {
  return word !== "reconnecting" && word !== "ended";
}

/** @returns {HTMLElement[]} */
function nothingYet() {
  const code = [
    "let live = LiveSpans::builder().build()?;",
    "let provider = SdkTracerProvider::builder()",
    "    .with_span_processor(live.span_processor())",
    "    .build();",
  ].join("\n");
  return [
    element("h2", { text: "Waiting for the first span" }),
    element("p", { class: "muted", text: "The page is connected. A trace appears here as soon as its first span starts." }),
    element("p", { class: "muted", text: "If the program is already running, check that its tracer provider has livespan's processor:" }),
    element("pre", { text: code }),
    element("p", { class: "muted", text: "Spans of filtered scopes, and of traces that a sampler drops, are not shown." }),
  ];
}

/**
 * @param {import("../model/list-model.mjs").TraceList} list @param {number} since milliseconds since 1970
 * @returns {boolean} whether a trace that started before then was loaded
 */
function reaches({ older }, since) {
  for (const trace of older.values()) if (epochMilliseconds(trace.startTimestamp) < since) return true;
  return false;
}

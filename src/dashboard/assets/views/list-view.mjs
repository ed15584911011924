// @ts-check
// Draws the list of traces. It must never change the model: what a reader does comes out as calls of `actions`.

import { rowWindow, scrollToShow } from "../model/layout.mjs";
import { identityOf } from "../model/identity.mjs";
import { shortId } from "../model/ids.mjs";
import { OLDER_MAX, countsWords, isOpenTrace, keptText, listCounts, selectTraces, shownStateOfSummary } from "../model/list-model.mjs";
import { amountText, isCounted, leftText, percentText, progressFrom, progressText, shareOf } from "../model/progress.mjs";
import { AWAITING_LONG_MS } from "../model/running.mjs";
import { dependsOnTime, parseQuery } from "../model/search.mjs";
import { epochMilliseconds, formatAbsolute, formatAge, formatCount, formatDuration, formatOpen, formatSeconds, plural } from "../model/time.mjs";
import { RowPool, STATE_WORDS, byId, element, icon, setAttribute, setIcon, setShown, setStyle, setText, shortened } from "./dom.mjs";
import { ServiceChips } from "./service-chips.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {{openTrace: (traceId: string) => void, traceHref: (traceId: string) => string, loadOlder: () => void, forgetOlder: () => void,
 *   changed: () => void, setOrder: (order: "running" | "newest") => void}} ListActions
 * @typedef {{feed: import("../net/list-feed.mjs").ListFeed, query: string, order: "running" | "newest", now: number, age: number,
 *   moving: boolean, hrefs: string, palette: import("../model/palette.mjs").Palette}} ListFrame
 * `now`: up to when durations are known; `age`: what ages count from, which goes on when nothing is heard; `moving`: whether
 * `now` goes on; `hrefs`: what addresses depend on beside the trace
 * @typedef {ReturnType<typeof makeRow>["row"]} ListRow
 */

const CHIPS_MAX = 3;
const AWAITS_LENGTH = 40;
const LIST_OVERSCAN = 3;
const DURATION_TICK_MS = 100;
const AGE_TICK_MS = 1_000;
// Rows do not move away under a pointer that has just moved.
const HOLD_MS = 1_200;
// So near the end, the next page of history is asked for.
const PAGE_AHEAD = 20;

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
    /** The search that was last understood. @type {import("../model/search.mjs").Term[]} */
    this.terms = [];
    this.parsed = "";
    /** @type {string | null} */
    this.activeId = null;
    this.emptyKind = "";
    this.isActiveDrawn = false;
    /** Rows that came above what the reader looks at. */
    this.above = 0;
    this.heldUntil = -Infinity;
    this.scrollTop = 0;
    this.viewport = 0;
    this.rowHeight = 38;
    new ResizeObserver(() => this.measure()).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => actions.changed(), { passive: true });
    this.scroller.addEventListener("pointermove", () => (this.heldUntil = performance.now() + HOLD_MS), { passive: true });
    this.scroller.addEventListener("pointerleave", () => (this.heldUntil = -Infinity));
    byId("load-older").addEventListener("click", () => actions.loadOlder());
    byId("order-running").addEventListener("click", () => actions.setOrder("running"));
    byId("order-newest").addEventListener("click", () => actions.setOrder("newest"));
    byId("list-top").addEventListener("click", () => (this.scroller.scrollTop = 0));
  }

  /** @param {ListFrame} frame @returns {number} milliseconds until the next change by itself; Infinity for none */
  draw(frame) {
    const { feed, query, order } = frame;
    // Asked once, before anything is written: later, the browser would have to lay out the page to answer.
    this.scrollTop = this.scroller.scrollTop;
    const wait = this.select(frame);
    setAttribute(byId("order-running"), "aria-pressed", String(order === "running"));
    setAttribute(byId("order-newest"), "aria-pressed", String(order === "newest"));
    setText(byId("list-counts"), this.countsText(frame));
    setAttribute(this.rowsNode, "aria-rowcount", this.rows.length);
    this.drawFoot(frame);
    this.drawEmpty(frame);
    const { model } = feed;
    if (this.scrollTop > 0) {
      const last = (this.scrollTop + this.viewport) / this.rowHeight;
      if (last > this.rows.length - PAGE_AHEAD && feed.hasOlder() && !feed.olderFailed) this.actions.loadOlder();
    } else if (query === "" && model.floor > 0 && model.older.size > 0) {
      // Back at the top: what was loaded for looking back is let go, and can be loaded again.
      this.actions.forgetOlder();
    }
    return Math.min(wait, this.drawRows(frame));
  }

  /** Chooses the rows anew when something changed. @param {ListFrame} frame @returns {number} milliseconds until it must do so again */
  select({ feed, query, order, now }) {
    if (query !== this.parsed) {
      const { terms, wrong } = parseQuery(query, "list");
      if (wrong === null) this.terms = terms;
      this.parsed = query;
      this.scroller.scrollTop = this.scrollTop = 0;
      this.heldUntil = -Infinity;
    }
    const second = dependsOnTime(this.terms) ? Math.floor(now / 1000) : 0;
    const selection = `${identityOf(feed.model)} ${feed.model.version} ${order} ${query} ${second}`;
    if (selection === this.selectedFor) return Infinity;
    const held = this.heldUntil - performance.now();
    if (held > 0 && this.selectedFor.endsWith(` ${order} ${query} ${second}`)) return held;
    this.selectedFor = selection;
    const before = this.rows;
    this.rows = selectTraces(feed.model, { terms: this.terms, order, now });
    this.stay(before);
    return Infinity;
  }

  /** What the reader looks at stays where it is when rows come above it. @param {Summary[]} before */
  stay(before) {
    const { scrollTop, viewport, rowHeight: height } = this;
    if (scrollTop === 0 || before.length === 0) {
      this.above = 0;
      return;
    }
    const first = Math.floor(scrollTop / height);
    for (const trace of before.slice(first, first + Math.ceil(viewport / height))) {
      const index = this.rows.findIndex(({ traceId }) => traceId === trace.traceId);
      // One that ended moves for a reason of its own.
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
    // While rows are held, what they say is not.
    const shown = this.rows.slice(first, last).map((trace) => traces.get(trace.traceId) ?? older.get(trace.traceId) ?? trace);
    const longest = shown.reduce((most, trace) => Math.max(most, durationOf(trace, frame.now)), 1);
    if (this.activeIndex() < 0) this.activeId = this.rows[0]?.traceId ?? null;
    const hadFocus = this.rowsNode.contains(document.activeElement);
    const active = this.activeIndex();
    // Where the active row is out of view, the list itself is the way in.
    this.isActiveDrawn = active >= first && active < last;
    setAttribute(this.rowsNode, "tabindex", this.isActiveDrawn || this.rows.length === 0 ? -1 : 0);
    this.pool.show(first, last, rowHeight, (row, index, node) => {
      const trace = shown[index - first];
      setAttribute(node, "aria-rowindex", index + 1);
      setAttribute(node, "tabindex", trace.traceId === this.activeId ? 0 : -1);
      drawRow(row, node, trace, frame, longest, this.actions);
    });
    if (hadFocus) this.focusActive();
    if (frame.moving && shown.some(isOpenTrace)) return DURATION_TICK_MS;
    return this.rows.length > 0 ? AGE_TICK_MS : Infinity;
  }

  measure() {
    this.viewport = this.scroller.clientHeight;
    this.rowHeight = globalThis.matchMedia("(max-width: 760px)").matches ? 58 : 38;
    this.actions.changed();
  }

  /** @returns {number} */
  activeIndex() {
    return this.rows.findIndex((trace) => trace.traceId === this.activeId);
  }

  /** The row that is active has the focus, or, while that is not drawn, the list. */
  focusActive() {
    const row = this.isActiveDrawn ? this.pool.nodeAt(this.activeIndex()) : null;
    const node = row === null || row.hidden ? this.rowsNode : row;
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
    // The row may not be drawn yet; after the frame that draws it, it takes the focus.
    requestAnimationFrame(() => requestAnimationFrame(() => this.focusActive()));
  }

  openActive() {
    if (this.activeId !== null) this.actions.openTrace(this.activeId);
  }

  /** @param {ListFrame} frame @returns {string} */
  countsText({ feed, query }) {
    const counts = listCounts(feed.model);
    if (counts.total === 0) return "";
    const gone = feed.model.goneWithLog;
    const restart = gone === 0 ? "" : ` · log restarted, ${plural(gone, "earlier trace")} gone`;
    if (query.trim() !== "") {
      const more = feed.loadingOlder ? " · searching older ones…" : feed.stoppedEarly ? " so far, not all was searched" : feed.hasOlder() ? " and more" : "";
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
    if (feed.stoppedEarly && feed.hasOlder()) notes.push("The server stopped searching here, to be quick: older traces may match as well.");
    if (feed.model.older.size >= OLDER_MAX) notes.push(`This page keeps ${formatCount(OLDER_MAX)} older traces: search to find others.`);
    setText(byId("list-note"), notes.join(" "));
  }

  /** @param {ListFrame} frame */
  drawEmpty({ feed, query }) {
    const { model } = feed;
    const any = model.traces.size + model.older.size > 0;
    const looking = feed.loadingOlder ? "looking" : "looked";
    const kind = this.rows.length > 0 ? "" : any ? `${looking} ${query}` : model.loaded ? "none" : "loading";
    if (kind === this.emptyKind) return;
    this.emptyKind = kind;
    const node = byId("list-empty");
    setShown(node, kind !== "");
    setShown(byId("list-foot"), kind !== "none" && kind !== "loading");
    if (kind === "none") node.replaceChildren(...nothingYet());
    else if (kind === "loading") node.replaceChildren(element("p", { text: "Connecting…", class: "muted" }));
    else if (kind !== "") {
      node.replaceChildren(
        element("h2", { text: looking === "looking" ? "Searching older traces…" : "No trace matches" }),
        element("p", { class: "muted" }, "No trace at hand matches ", element("code", { text: query }), "."),
      );
    }
  }
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
    element("p", { class: "muted", text: "The stream is open. A trace appears here the moment its first span starts; nothing has to end first." }),
    element("p", { class: "muted", text: "If the program already does its work, see that its tracer provider has the processor of livespan:" }),
    element("pre", { text: code }),
    element("p", { class: "muted", text: "Spans of filtered scopes, and of traces that a sampler drops, are not shown." }),
  ];
}

/** @param {ListActions} actions */
function makeRow(actions) {
  const spans = element("span", { class: "c-spans", role: "gridcell" });
  const row = {
    traceId: "",
    started: element("span", { class: "c-started muted", role: "gridcell" }),
    shape: icon("running"),
    link: element("a", { class: "trace-link", tabindex: "-1" }),
    id: element("span", { class: "mono faint short-id" }),
    kept: element("span", { class: "chip kept", hidden: true }),
    linked: "",
    stateWord: element("span", { class: "state-word" }),
    total: element("span", { class: "figure" }),
    spans,
    chips: new ServiceChips(spans, CHIPS_MAX),
    chipsFor: "",
    duration: element("span", { class: "figure duration-text" }),
    bar: element("span", { class: "meter" }),
    progress: element("span", { class: "progress-text muted", hidden: true }),
    amount: element("span"),
    left: element("span", { class: "progress-left" }),
    errors: element("span", { class: "c-errors figure", role: "gridcell" }),
  };
  const node = element(
    "div", { class: "list-row", role: "row", tabindex: "-1" },
    row.started,
    element("span", { class: "c-name", role: "gridcell" }, row.link, row.id, row.kept),
    element("span", { class: "c-state", role: "gridcell" }, row.shape, row.stateWord),
    row.spans,
    element("span", { class: "c-duration", role: "gridcell" }, row.duration, row.bar, row.progress),
    row.errors,
  );
  row.spans.append(row.total);
  row.progress.append(row.amount, row.left);
  node.addEventListener("click", (event) => {
    // A click with a modifier is the browser's: it opens the link in a new tab.
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    actions.openTrace(row.traceId);
  });
  return { node, row };
}

/**
 * @param {ListRow} row @param {HTMLElement} node @param {Summary} trace @param {ListFrame} frame
 * @param {number} longest @param {ListActions} actions
 */
function drawRow(row, node, trace, frame, longest, actions) {
  const duration = durationOf(trace, frame.now);
  const open = isOpenTrace(trace);
  const state = shownStateOfSummary(trace);
  if (row.traceId !== trace.traceId) {
    row.traceId = trace.traceId;
    setAttribute(node, "data-trace-id", trace.traceId);
    setText(row.id, shortId(trace.traceId.replace(/^file:/, "")));
    setAttribute(row.id, "title", trace.traceId);
  }
  // The address has the search and the order as well.
  const linked = `${trace.traceId} ${frame.hrefs}`;
  if (row.linked !== linked) {
    row.linked = linked;
    setAttribute(row.link, "href", actions.traceHref(trace.traceId));
  }
  setAttribute(node, "data-state", state);
  const name = trace.name || "(no name)";
  setText(row.link, shortened(name));
  setAttribute(row.link, "title", name.slice(0, 1_000));
  const kept = keptText(trace);
  setShown(row.kept, kept !== "");
  setText(row.kept, kept);
  setAttribute(row.kept, "title", kept === "" ? null : trace.partial != null ? "Only the first events of this trace were read for the list" : "Retention has let go of the other spans of this trace");
  setText(row.started, formatAge(frame.age - epochMilliseconds(trace.startTimestamp)));
  setAttribute(row.started, "title", formatAbsolute(trace.startTimestamp));
  setIcon(row.shape, state);
  setText(row.stateWord, STATE_WORDS[state] ?? state);
  setText(row.total, spansText(trace));
  const length = open ? formatOpen(duration, frame.moving) : formatDuration(duration);
  setText(row.duration, kept === "" ? length : `≥ ${length}`);
  const progress = open ? progressFrom(trace.progress) : null;
  const share = progress === null ? null : shareOf(progress);
  const awaits = open ? awaitsText(trace, frame) : "";
  setShown(row.progress, progress !== null || awaits !== "");
  setAttribute(row.progress, "data-awaits", awaits !== "" && progress === null);
  if (progress !== null) {
    const left = leftText(frame.feed.model.speeds.get(trace.traceId)?.left(frame.now) ?? null);
    setText(row.amount, isCounted(progress) ? percentText(progress) || amountText(progress) : shortened(progress.message));
    setText(row.left, left === "" && awaits === "" ? "" : ` · ${left || awaits}`);
  } else {
    setText(row.amount, awaits);
    setText(row.left, "");
  }
  setAttribute(row.progress, "title", progress === null ? null : [progressText(progress, null, 0), progress.message].filter((part) => part !== "").join(": "));
  if (awaits !== "") setAttribute(row.progress, "title", awaits);
  setAttribute(row.bar, "data-progress", share !== null);
  setStyle(row.bar, "background-size", `${Math.max(1, (share ?? duration / longest) * 100).toFixed(1)}% 100%`);
  // Lost spans are among the errors.
  const errors = trace.spans?.errors ?? 0;
  setText(row.errors, errors > 0 ? formatCount(errors) : "");
  setAttribute(row.errors, "title", errors > 0 ? `${plural(errors, "error")}, of which ${formatCount(trace.spans?.lost ?? 0)} lost` : null);
  drawChips(row, trace, frame);
  // A duration that ticks would be told again and again: of what is open, the cell has it.
  setAttribute(node, "aria-label", [
    STATE_WORDS[state] ?? state, shortened(name), trace.service, open ? "" : row.duration.textContent, plural(trace.spans?.total ?? 0, "span"), errors > 0 ? plural(errors, "error") : "", kept, progress === null ? "" : progressText(progress, null, 0), awaits === "" ? "" : `awaits ${String(trace.awaiting?.name)}`,
  ].filter((part) => part !== "").join(", "));
}

/** @param {Summary} trace @param {ListFrame} frame @returns {string} `awaits redis get for 12 s`, once that takes long */
function awaitsText({ awaiting }, { now }) {
  if (typeof awaiting?.name !== "string") return "";
  const since = now - epochMilliseconds(awaiting.since);
  return since >= AWAITING_LONG_MS ? `awaits ${shortened(awaiting.name, AWAITS_LENGTH)} for ${formatSeconds(since)}` : "";
}

/** @param {Summary} trace @returns {string} */
function spansText(trace) {
  const total = formatCount(trace.spans?.total ?? 0);
  return trace.spans?.open > 0 ? `${total} · ${formatCount(trace.spans.open)} open` : total;
}

/** @param {ListRow} row @param {Summary} trace @param {ListFrame} frame */
function drawChips(row, trace, { palette }) {
  const services = trace.services ?? [];
  const key = services.map((service) => `${service.name} ${service.spans} ${service.errors}`).join("\n");
  if (row.chipsFor === key) return;
  row.chipsFor = key;
  row.chips.draw(services, (name) => palette.colour(name));
}

/** @param {Summary} trace @param {number} now @returns {number} */
function durationOf(trace, now) {
  if (trace.durationMs !== null && trace.durationMs !== undefined) return trace.durationMs;
  return Math.max(0, now - epochMilliseconds(trace.startTimestamp));
}

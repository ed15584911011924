// @ts-check
// Draws the list of traces. It must never change the model: what a reader does comes out as calls of `actions`.

import { RowPool, STATE_WORDS, byId, element, icon, setAttribute, setIcon, setShown, setStyle, setText } from "./dom.mjs";
import { rowWindow, scrollToShow } from "./layout.mjs";
import { isOpenTrace, listCounts, selectTraces } from "./list-model.mjs";
import { epochMilliseconds, formatAbsolute, formatAge, formatDuration, formatTicking, plural } from "./time.mjs";

/**
 * @typedef {import("./list-model.mjs").Summary} Summary
 * @typedef {{openTrace: (traceId: string) => void, traceHref: (traceId: string) => string, loadOlder: () => void,
 *   changed: () => void, setOrder: (order: "running" | "newest") => void}} ListActions
 * @typedef {{feed: import("./feed.mjs").ListFeed, query: string, order: "running" | "newest", now: number,
 *   palette: import("./palette.mjs").Palette}} ListFrame
 * @typedef {ReturnType<typeof makeRow>["row"]} ListRow
 */

const CHIPS_MAX = 3;
const OVERSCAN = 6;
const DURATION_TICK_MS = 100;
const AGE_TICK_MS = 1_000;

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
    /** @type {string | null} */
    this.activeId = null;
    this.emptyKind = "";
    this.scroller.addEventListener("scroll", () => actions.changed(), { passive: true });
    byId("load-older").addEventListener("click", () => actions.loadOlder());
    byId("order-running").addEventListener("click", () => actions.setOrder("running"));
    byId("order-newest").addEventListener("click", () => actions.setOrder("newest"));
  }

  /** @param {ListFrame} frame @returns {number} milliseconds until the next change by itself; Infinity for none */
  draw(frame) {
    const { feed, query, order } = frame;
    const selection = `${feed.model.version} ${order} ${query}`;
    if (selection !== this.selectedFor) {
      this.rows = selectTraces(feed.model, { query, order });
      this.selectedFor = selection;
    }
    setAttribute(byId("order-running"), "aria-pressed", String(order === "running"));
    setAttribute(byId("order-newest"), "aria-pressed", String(order === "newest"));
    setText(byId("list-counts"), this.countsText(frame));
    setAttribute(byId("traces"), "aria-rowcount", this.rows.length + 1);
    this.drawFoot(frame);
    this.drawEmpty(frame);
    return this.drawRows(frame);
  }

  /** @param {ListFrame} frame @returns {number} */
  drawRows(frame) {
    const rowHeight = this.rowHeight();
    const { first, last, height } = rowWindow({
      scrollTop: this.scroller.scrollTop, viewport: this.scroller.clientHeight, rowHeight,
      count: this.rows.length, overscan: OVERSCAN,
    });
    setStyle(this.rowsNode, "height", `${height}px`);
    let longest = 1;
    let ticking = false;
    for (const trace of this.rows.slice(first, last)) longest = Math.max(longest, durationOf(trace, frame.now));
    if (this.activeIndex() < 0) this.activeId = this.rows[0]?.traceId ?? null;
    const hadFocus = this.rowsNode.contains(document.activeElement);
    this.pool.show(first, last, rowHeight, (row, index, node) => {
      const trace = this.rows[index];
      if (isOpenTrace(trace)) ticking = true;
      setAttribute(node, "aria-rowindex", index + 2);
      setAttribute(node, "tabindex", trace.traceId === this.activeId ? 0 : -1);
      drawRow(row, node, trace, frame, longest, this.actions);
    });
    if (hadFocus) this.focusActive();
    if (ticking) return DURATION_TICK_MS;
    return this.rows.length > 0 ? AGE_TICK_MS : Infinity;
  }

  /** @returns {number} */
  rowHeight() {
    return globalThis.matchMedia("(max-width: 760px)").matches ? 58 : 38;
  }

  /** @returns {number} */
  activeIndex() {
    return this.rows.findIndex((trace) => trace.traceId === this.activeId);
  }

  focusActive() {
    this.pool.nodeAt(this.activeIndex())?.focus({ preventScroll: true });
  }

  /** @param {number} by rows; ±Infinity for the ends */
  move(by) {
    if (this.rows.length === 0) return;
    const focused = this.rowsNode.contains(document.activeElement);
    const from = focused || !Number.isFinite(by) ? this.activeIndex() : this.activeIndex() - Math.sign(by);
    const index = Math.max(0, Math.min(this.rows.length - 1, from + by));
    this.activeId = this.rows[index].traceId;
    const rowHeight = this.rowHeight();
    this.scroller.scrollTop = scrollToShow({
      index, scrollTop: this.scroller.scrollTop, viewport: this.scroller.clientHeight, rowHeight, margin: 0,
    });
    this.actions.changed();
    // The row may not be drawn yet; after the frame that draws it, it takes the focus.
    requestAnimationFrame(() => requestAnimationFrame(() => this.focusActive()));
  }

  openActive() {
    if (this.activeId !== null) this.actions.openTrace(this.activeId);
  }

  /** @param {ListFrame} frame @returns {string} */
  countsText({ feed, query }) {
    if (!feed.model.loaded || feed.model.traces.size === 0) return "";
    const { total, open, errors } = listCounts(feed.model);
    const shown = query.trim() === "" ? `${total.toLocaleString("en")}` : `${this.rows.length.toLocaleString("en")} of ${total.toLocaleString("en")}`;
    const gone = feed.model.goneWithLog;
    const restart = gone === 0 ? "" : ` · log restarted, ${plural(gone, "earlier trace")} gone`;
    return `${shown} · ${open} running · ${errors} with errors${restart}`;
  }

  /** @param {ListFrame} frame */
  drawFoot({ feed }) {
    const older = /** @type {HTMLButtonElement} */ (byId("load-older"));
    setShown(older, feed.hasOlder());
    setText(older, feed.loadingOlder ? "Loading…" : "Load older");
    older.disabled = feed.loadingOlder;
    const notes = [];
    if (feed.olderFailed) notes.push("The older traces could not be loaded.");
    if (feed.model.droppedHere > 0) {
      notes.push(`This page keeps ${feed.model.max.toLocaleString("en")} traces; ${feed.model.droppedHere.toLocaleString("en")} older ones were let go.`);
    }
    setText(byId("list-note"), notes.join(" "));
  }

  /** @param {ListFrame} frame */
  drawEmpty({ feed, query }) {
    const kind = this.rows.length > 0 ? "" : feed.model.traces.size > 0 ? `filter ${query}` : feed.model.loaded ? "none" : "loading";
    if (kind === this.emptyKind) return;
    this.emptyKind = kind;
    const node = byId("list-empty");
    setShown(node, kind !== "");
    setShown(byId("list-foot"), kind !== "none" && kind !== "loading");
    if (kind === "none") node.replaceChildren(...nothingYet());
    else if (kind === "loading") node.replaceChildren(element("p", { text: "Connecting…", class: "muted" }));
    else if (kind !== "") {
      node.replaceChildren(
        element("h2", { text: "No trace matches" }),
        element("p", { class: "muted" }, "None of the loaded traces matches ", element("code", { text: query }), "."),
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
  const row = {
    traceId: "",
    started: element("span", { class: "c-started muted", role: "gridcell" }),
    shape: icon("running"),
    link: element("a", { class: "trace-link", tabindex: "-1" }),
    id: element("span", { class: "mono faint short-id" }),
    stateWord: element("span", { class: "state-word" }),
    total: element("span", { class: "figure" }),
    chips: element("span", { class: "chips" }),
    chipsFor: "",
    duration: element("span", { class: "figure duration-text" }),
    bar: element("span", { class: "meter-fill" }),
    errors: element("span", { class: "c-errors figure", role: "gridcell" }),
  };
  const node = element(
    "div", { class: "list-row", role: "row", tabindex: "-1" },
    row.started,
    element("span", { class: "c-name", role: "gridcell" }, row.link, row.id),
    element("span", { class: "c-state", role: "gridcell" }, row.shape, row.stateWord),
    element("span", { class: "c-spans", role: "gridcell" }, row.total, row.chips),
    element("span", { class: "c-duration", role: "gridcell" }, row.duration, element("span", { class: "meter" }, row.bar)),
    row.errors,
  );
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
  if (row.traceId !== trace.traceId) {
    row.traceId = trace.traceId;
    setAttribute(node, "data-trace-id", trace.traceId);
    setAttribute(row.link, "href", actions.traceHref(trace.traceId));
    setText(row.id, trace.traceId.slice(0, 8));
    setAttribute(row.id, "title", trace.traceId);
  }
  setAttribute(node, "data-state", trace.state);
  setText(row.link, trace.name || "(no name)");
  setAttribute(row.link, "title", trace.name);
  setText(row.started, formatAge(frame.now - epochMilliseconds(trace.startTimestamp)));
  setAttribute(row.started, "title", formatAbsolute(trace.startTimestamp));
  setIcon(row.shape, trace.state);
  setText(row.stateWord, STATE_WORDS[trace.state] ?? trace.state);
  setText(row.total, spansText(trace));
  setText(row.duration, open ? formatTicking(duration) : formatDuration(duration));
  setStyle(row.bar, "width", `${Math.max(1, (duration / longest) * 100).toFixed(1)}%`);
  const errors = (trace.spans?.errors ?? 0) + (trace.spans?.lost ?? 0);
  setText(row.errors, errors > 0 ? errors.toLocaleString("en") : "");
  setAttribute(row.errors, "title", errors > 0 ? `${plural(trace.spans.errors, "error")}, ${trace.spans.lost} lost` : null);
  drawChips(row, trace, frame);
}

/** @param {Summary} trace @returns {string} */
function spansText(trace) {
  const total = (trace.spans?.total ?? 0).toLocaleString("en");
  return trace.spans?.open > 0 ? `${total} · ${trace.spans.open.toLocaleString("en")} open` : total;
}

/** @param {ListRow} row @param {Summary} trace @param {ListFrame} frame */
function drawChips(row, trace, { palette }) {
  const services = trace.services ?? [];
  const key = services.map((service) => `${service.name} ${service.spans} ${service.errors}`).join("\n");
  if (row.chipsFor === key) return;
  row.chipsFor = key;
  const chips = services.slice(0, CHIPS_MAX).map((service) => {
    const dot = element("span", { class: "service-dot" });
    setStyle(dot, "background", palette.colour(service.name));
    return element(
      "span", { class: "chip", "data-errors": service.errors > 0, title: `${service.name}: ${plural(service.spans, "span")}, ${plural(service.errors, "error")}` },
      dot, element("span", { class: "chip-name", text: service.name || "(no service)" }),
      element("span", { class: "faint", text: String(service.spans) }),
      service.errors > 0 ? element("span", { class: "bad", text: "!" }) : null,
    );
  });
  if (services.length > CHIPS_MAX) {
    chips.push(element("span", { class: "chip faint", text: `+${services.length - CHIPS_MAX}`, title: services.slice(CHIPS_MAX).map((service) => service.name).join("\n") }));
  }
  row.chips.replaceChildren(...chips);
}

/** @param {Summary} trace @param {number} now @returns {number} */
function durationOf(trace, now) {
  if (trace.durationMs !== null && trace.durationMs !== undefined) return trace.durationMs;
  return Math.max(0, now - epochMilliseconds(trace.startTimestamp));
}

// @ts-check
// Draws one row of the waterfall. It must never keep more than what it drew last: the same element shows another span
// after the next scroll.

import { STATE_WORDS, element, icon, setAttribute, setIcon, setShown, setStyle, setText } from "./dom.mjs";
import { barGeometry, labelPlace, timeToX } from "./layout.mjs";
import { barEnd } from "./model.mjs";
import { isOpen } from "./tree.mjs";
import { formatDuration, formatOffset, formatTicking, parseTimestamp } from "./time.mjs";

/**
 * @typedef {import("./tree.mjs").Span} Span
 * @typedef {ReturnType<typeof makeSpanRow>["row"]} SpanRow
 * @typedef {object} RowFrame
 * @property {import("./layout.mjs").Domain} domain
 * @property {number} width of the waterfall
 * @property {number} nameWidth of the column before it
 * @property {number} now in tree time
 * @property {import("./palette.mjs").Palette} palette
 * @property {import("./model.mjs").Trace} trace
 * @property {string} place changes whenever bars move for a reason that is not the span's own
 * @property {boolean} folded
 * @property {boolean} selected
 */

const INDENT = 14;
// Of the name column, so that a span 10,000 levels down still shows its name.
const INDENT_SHARE_MAX = 0.4;
const CHARACTER_WIDTH = 6.7;
// Of a running bar's right end, as the style sheet fades it.
const FADE_WIDTH = 22;
const MARKS_MAX = 24;

/** @param {{select: (spanId: string) => void, toggle: (spanId: string) => void}} actions */
export function makeSpanRow(actions) {
  const row = {
    /** @type {Span | null} */
    span: null,
    drawn: "",
    indent: element("span", { class: "indent" }),
    level: element("span", { class: "level faint" }),
    twisty: element("button", { type: "button", class: "twisty", tabindex: "-1" }, icon("chevron")),
    shape: icon("running"),
    name: element("span", { class: "span-name" }),
    service: element("span", { class: "span-service faint" }),
    below: element("span", { class: "below bad", text: "!", title: "An error or a lost span is inside" }),
    hidden: element("span", { class: "chip faint hidden-count" }),
    bar: element("span", { class: "span-bar" }),
    label: element("span", { class: "bar-label" }),
    marks: element("span", { class: "marks" }),
    marksFor: "",
    /** @type {{at: number, kind: string}[]} */
    markTimes: [],
  };
  const node = element(
    "div", { class: "tree-row", role: "row", tabindex: "-1" },
    element("span", { class: "t-name", role: "gridcell" },
      row.indent, row.level, row.twisty, row.shape, row.name, row.service, row.below, row.hidden),
    element("span", { class: "t-time", role: "gridcell" }, row.bar, row.marks, row.label),
  );
  row.twisty.addEventListener("click", (event) => {
    event.stopPropagation();
    if (row.span !== null) actions.toggle(row.span.id);
  });
  node.addEventListener("click", () => {
    if (row.span !== null) actions.select(row.span.id);
  });
  node.addEventListener("dblclick", () => {
    if (row.span !== null && row.span.children.length > 0) actions.toggle(row.span.id);
  });
  return { node, row };
}

/**
 * @param {SpanRow} row
 * @param {HTMLElement} node
 * @param {Span} span
 * @param {RowFrame} frame
 */
export function drawSpanRow(row, node, span, frame) {
  const drawn = `${span.id} ${span.version} ${span.children.length} ${span.depth} ${frame.folded} ${frame.selected} ${span.errorBelow} ${span.remote} ${frame.place}`;
  if (drawn === row.drawn && !isOpen(span.state)) return;
  row.drawn = drawn;
  row.span = span;
  drawName(row, node, span, frame);
  drawBar(row, span, frame);
  drawMarks(row, span, frame);
}

/** @param {SpanRow} row @param {HTMLElement} node @param {Span} span @param {RowFrame} frame */
function drawName(row, node, span, frame) {
  const parent = span.children.length > 0;
  const colour = span.state === "placeholder" ? "var(--faint)" : frame.palette.colour(span.service);
  setAttribute(node, "data-span-id", span.id);
  setAttribute(node, "data-state", span.state);
  setAttribute(node, "aria-level", span.depth + 1);
  setAttribute(node, "aria-expanded", parent ? String(!frame.folded) : null);
  setAttribute(node, "aria-selected", String(frame.selected));
  setStyle(node, "--service", colour);
  const levels = Math.min(span.depth, Math.floor((frame.nameWidth * INDENT_SHARE_MAX) / INDENT));
  setStyle(row.indent, "width", `${levels * INDENT}px`);
  setShown(row.level, span.depth > levels);
  if (span.depth > levels) setText(row.level, String(span.depth));
  setAttribute(row.twisty, "data-leaf", !parent);
  setAttribute(row.twisty, "aria-label", parent ? (frame.folded ? "Expand" : "Collapse") : null);
  setAttribute(row.twisty, "data-folded", frame.folded);
  setIcon(row.shape, span.state);
  setText(row.name, nameOf(span));
  setAttribute(row.name, "title", `${nameOf(span)}\n${STATE_WORDS[span.state]}${span.service === "" ? "" : ` · ${span.service}`}`);
  const ownService = span.parent === null || span.parent.service !== span.service;
  setText(row.service, ownService ? span.service : "");
  setShown(row.below, parent && frame.folded && span.errorBelow);
  setShown(row.hidden, parent && frame.folded);
  if (parent) setText(row.hidden, `${span.children.length.toLocaleString("en")}`);
}

/** @param {SpanRow} row @param {Span} span @param {RowFrame} frame */
function drawBar(row, span, frame) {
  const { domain, width, now } = frame;
  const placeholder = span.state === "placeholder" || Number.isNaN(span.start);
  setAttribute(row.bar, "data-kind", placeholder ? "placeholder" : span.state);
  if (placeholder) {
    setStyle(row.bar, "transform", "translateX(0px)");
    setStyle(row.bar, "width", `${width}px`);
    setText(row.label, "");
    return;
  }
  const bar = barGeometry({ start: span.start, end: barEnd(span, now) }, domain, width);
  setStyle(row.bar, "transform", `translateX(${bar.x.toFixed(1)}px)`);
  setStyle(row.bar, "width", `${bar.width.toFixed(1)}px`);
  const label = labelOf(span, frame);
  const place = labelPlace(bar, label.length * CHARACTER_WIDTH, width, span.state === "running" ? FADE_WIDTH : 0);
  setText(row.label, label);
  setAttribute(row.label, "data-side", place.side);
  setStyle(row.label, "transform", `translateX(${place.x.toFixed(1)}px)`);
}

/** @param {Span} span @param {RowFrame} frame @returns {string} */
function labelOf(span, { now, trace }) {
  if (span.loss !== null) {
    const heard = Number.isNaN(span.loss.lastHeard) ? "" : `, last heard ${formatOffset(span.loss.lastHeard - trace.start)}`;
    return `lost${heard}`;
  }
  if (span.end === null) return formatTicking(now - span.start);
  return formatDuration(span.end - span.start);
}

/** Span events as hollow dots, log records as full ones. @param {SpanRow} row @param {Span} span @param {RowFrame} frame */
function drawMarks(row, span, { domain, width, trace }) {
  const key = `${trace.traceId} ${span.id} ${span.version}`;
  if (row.marksFor !== key) {
    row.marksFor = key;
    row.markTimes = marksOf(span, trace.originSeconds);
    row.marks.replaceChildren(...row.markTimes.map((mark) => element("span", { class: "mark", "data-kind": mark.kind })));
  }
  for (const [index, mark] of row.markTimes.entries()) {
    const x = Math.max(0, Math.min(width, timeToX(mark.at, domain, width)));
    setStyle(/** @type {HTMLElement} */ (row.marks.children[index]), "transform", `translateX(${x.toFixed(1)}px)`);
  }
}

/** @param {Span} span @param {number} originSeconds @returns {{at: number, kind: string}[]} */
function marksOf(span, originSeconds) {
  const marks = [];
  const events = Array.isArray(span.event?.events) ? span.event.events : [];
  for (const event of events.slice(0, MARKS_MAX)) {
    marks.push({ at: parseTimestamp(event?.timestamp, originSeconds), kind: event?.name === "exception" ? "exception" : "event" });
  }
  for (const log of (span.logs ?? []).slice(0, MARKS_MAX - marks.length)) {
    marks.push({ at: parseTimestamp(log.timestamp, originSeconds), kind: log.severity === "ERROR" ? "exception" : "log" });
  }
  return marks.filter((mark) => !Number.isNaN(mark.at));
}

/**
 * @param {Span} span
 * @returns {string} its name, or what can be said about a span that was never seen
 */
export function nameOf(span) {
  if (span.state !== "placeholder") return span.name || "(no name)";
  return span.remote ? `remote parent ${span.id.slice(0, 8)}` : `parent not seen ${span.id.slice(0, 8)}`;
}

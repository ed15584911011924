// @ts-check
// Draws one row of the waterfall. It must never keep more than what it drew last: the same element shows another span
// after the next scroll.

import { FLAG, STATE, STATE_NAMES, isOpenState } from "./columns.mjs";
import { STATE_WORDS, element, icon, setAttribute, setIcon, setShown, setStyle, setText } from "./dom.mjs";
import { barGeometry, labelPlace } from "./layout.mjs";
import { colourKey } from "./palette.mjs";
import { rollUpText } from "./rows.mjs";
import { barEnd, serviceOf, shownName } from "./span.mjs";
import { formatDuration, formatOffset, formatTicking, parseTimestamp } from "./time.mjs";
import { ROLLUP_MIN } from "./tree.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {ReturnType<typeof makeSpanRow>["row"]} SpanRow
 * @typedef {{kind?: string, start?: number, end?: number, title?: string, flag?: string}} Decoration something that another
 *   view adds to a row: a stretch or a tick at a time, or a flag beside the name
 * @typedef {(index: number, frame: TraceFrame) => Decoration[]} Decorator
 * @typedef {object} RowLook what of the frame is this row's own
 * @property {import("./rows.mjs").FoldState} fold
 * @property {boolean} selected
 * @property {number} nameWidth of the column before the time
 * @property {Decorator[]} decorators
 */

const INDENT = 14;
// Of the name column, so that a span 10,000 levels down still shows its name.
const INDENT_SHARE_MAX = 0.4;
const CHARACTER_WIDTH = 6.7;
// Of a running bar's right end, as the style sheet fades it.
const FADE_WIDTH = 22;
const MARKS_MAX = 24;
const DECORATIONS_MAX = 8;
// Nobody reads more, and a name of 10,000 characters would cost a layout of them all.
const NAME_SHOWN_MAX = 300;

/** @param {{select: (index: number) => void, toggle: (index: number, all: boolean) => void, openWide: (index: number) => void}} actions */
export function makeSpanRow(actions) {
  const row = {
    /** The span, or for a roll-up row its parent; −1 before the first. */
    index: -1,
    rollUp: false,
    /** What the name, and what the bar was last drawn for. */
    drawn: "",
    placed: "",
    decorated: "",
    indent: element("span", { class: "indent" }),
    level: element("span", { class: "level faint" }),
    twisty: element("button", { type: "button", class: "twisty", tabindex: "-1" }, icon("chevron")),
    shape: icon("running"),
    name: element("span", { class: "span-name" }),
    service: element("span", { class: "span-service faint" }),
    flags: element("span", { class: "row-flags" }),
    below: element("span", { class: "below bad", text: "!", title: "An error or a lost span is inside" }),
    hidden: element("span", { class: "chip faint hidden-count" }),
    bar: element("span", { class: "span-bar" }),
    label: element("span", { class: "bar-label" }),
    marks: element("span", { class: "marks" }),
    decorations: element("span", { class: "decorations" }),
    shares: ["done", "failed", "open"].map((kind) => element("span", { class: "share", "data-kind": kind })),
    meter: element("span", { class: "roll-up-meter" }),
    marksFor: "",
    /** @type {{at: number, kind: string}[]} */
    markTimes: [],
  };
  row.meter.append(...row.shares);
  const node = element(
    "div", { class: "tree-row", role: "row", tabindex: "-1" },
    element("span", { class: "t-name", role: "gridcell" },
      row.indent, row.level, row.twisty, row.shape, row.name, row.service, row.flags, row.below, row.hidden),
    element("span", { class: "t-time", role: "gridcell" }, row.bar, row.decorations, row.marks, row.label, row.meter),
  );
  row.twisty.addEventListener("click", (event) => {
    event.stopPropagation();
    if (row.index >= 0 && !row.rollUp) actions.toggle(row.index, event.altKey);
  });
  node.addEventListener("click", () => {
    if (row.index < 0) return;
    if (row.rollUp) actions.openWide(row.index);
    else actions.select(row.index);
  });
  node.addEventListener("dblclick", () => {
    if (row.index >= 0 && !row.rollUp) actions.toggle(row.index, false);
  });
  return { node, row };
}

/** @param {SpanRow} row @param {HTMLElement} node @param {number} index @param {TraceFrame} frame @param {RowLook} look */
export function drawSpanRow(row, node, index, frame, look) {
  const { spans } = frame.trace;
  const state = spans.state[index];
  const { matches } = frame.ui;
  const match = matches === null ? "" : String(matches.bits[index] === 1);
  const drawn = `${frame.generation} ${index} ${spans.stamp[index]} ${spans.depth[index]} ${look.fold} ${look.selected} ${match} ${look.nameWidth} ${frame.trace.services.size > 1}`;
  const changed = drawn !== row.drawn;
  if (changed) {
    row.drawn = drawn;
    row.index = index;
    row.rollUp = false;
    setAttribute(node, "data-match", matches === null ? null : match);
    drawName(row, node, frame, look);
  }
  if (changed || frame.key !== row.placed || isOpenState(state)) {
    drawBar(row, frame);
    drawMarks(row, frame);
    row.placed = frame.key;
  }
  drawDecorations(row, frame, look.decorators);
}

/** The row that sums up what a rolled-up parent does not show. @param {SpanRow} row @param {HTMLElement} node @param {number} parent @param {TraceFrame} frame @param {RowLook} look */
export function drawRollUpRow(row, node, parent, frame, look) {
  const { spans } = frame.trace;
  const drawn = `~${parent} ${spans.stamp[parent]} ${spans.depth[parent]} ${look.nameWidth} ${frame.scale.width} ${frame.generation}`;
  if (drawn === row.drawn) return;
  row.drawn = drawn;
  row.placed = "";
  row.decorated = "";
  row.index = parent;
  row.rollUp = true;
  setAttribute(node, "data-span-id", null);
  setAttribute(node, "data-roll-up", spans.ids[parent]);
  setAttribute(node, "data-state", null);
  setAttribute(node, "data-match", null);
  setAttribute(node, "aria-level", spans.depth[parent] + 2);
  setAttribute(node, "aria-expanded", "false");
  setAttribute(node, "aria-selected", "false");
  drawIndent(row, spans.depth[parent] + 1, look.nameWidth);
  setAttribute(row.twisty, "data-leaf", true);
  setText(row.name, rollUpText(frame.trace, parent));
  setAttribute(row.name, "title", "Show all of them");
  setText(row.label, "show all");
  setAttribute(row.label, "data-side", "right");
  for (const hidden of [row.service, row.below, row.hidden, row.level]) setShown(hidden, false);
  row.flags.replaceChildren();
  const all = spans.childCount[parent];
  const meter = Math.min(220, frame.scale.width * 0.6);
  setStyle(row.meter, "width", `${meter.toFixed(0)}px`);
  setStyle(row.label, "left", `${(meter + 10).toFixed(0)}px`);
  const parts = [all - spans.childOpen[parent] - spans.childFailed[parent], spans.childFailed[parent], spans.childOpen[parent]];
  for (const [index, share] of row.shares.entries()) setStyle(share, "width", `${((parts[index] / all) * 100).toFixed(2)}%`);
}

/** @param {SpanRow} row @param {number} depth @param {number} nameWidth */
function drawIndent(row, depth, nameWidth) {
  const levels = Math.min(depth, Math.floor((nameWidth * INDENT_SHARE_MAX) / INDENT));
  setStyle(row.indent, "width", `${levels * INDENT}px`);
  setShown(row.level, depth > levels);
  if (depth > levels) setText(row.level, String(depth));
}

/** @param {SpanRow} row @param {HTMLElement} node @param {TraceFrame} frame @param {RowLook} look */
function drawName(row, node, frame, look) {
  const { trace } = frame;
  const { spans } = trace;
  const { index } = row;
  const state = STATE_NAMES[spans.state[index]];
  const children = spans.childCount[index];
  const closed = look.fold === "closed";
  setAttribute(node, "data-roll-up", null);
  setAttribute(node, "data-span-id", spans.ids[index]);
  setAttribute(node, "data-state", state);
  setAttribute(node, "aria-level", spans.depth[index] + 1);
  setAttribute(node, "aria-expanded", children > 0 ? String(!closed) : null);
  setAttribute(node, "aria-selected", String(look.selected));
  setStyle(node, "--service", state === "placeholder" ? "var(--faint)" : frame.palette.colour(colourKey(trace, index)));
  drawIndent(row, spans.depth[index], look.nameWidth);
  setAttribute(row.twisty, "data-leaf", children === 0);
  setAttribute(row.twisty, "aria-label", children > 0 ? (closed ? "Expand" : "Collapse") : null);
  setAttribute(row.twisty, "data-folded", closed);
  setIcon(row.shape, state);
  const name = shownName(trace, index);
  const service = serviceOf(trace, index);
  setText(row.name, name.length > NAME_SHOWN_MAX ? `${name.slice(0, NAME_SHOWN_MAX)}…` : name);
  setAttribute(row.name, "title", `${name.slice(0, 1_000)}\n${STATE_WORDS[state]}${service === "" ? "" : ` · ${service}`}`);
  const parent = spans.parent[index];
  setText(row.service, parent < 0 || spans.service[parent] !== spans.service[index] ? service : "");
  setShown(row.service, true);
  setShown(row.below, children > 0 && look.fold !== "open" && spans.has(index, FLAG.errorBelow));
  setShown(row.hidden, closed && children > 0);
  if (closed && children > 0) {
    const telling = children >= ROLLUP_MIN || spans.childOpen[index] > 0 || spans.childFailed[index] > 0;
    setText(row.hidden, telling ? rollUpText(trace, index) : children.toLocaleString("en"));
  }
}

/** @param {SpanRow} row @param {TraceFrame} frame */
function drawBar(row, frame) {
  const { trace, scale, now } = frame;
  const { spans } = trace;
  const { index } = row;
  const state = spans.state[index];
  const start = spans.start[index];
  if (state === STATE.placeholder || Number.isNaN(start)) {
    setAttribute(row.bar, "data-kind", "placeholder");
    setShown(row.bar, true);
    setStyle(row.bar, "left", "0px");
    setStyle(row.bar, "width", `${scale.width}px`);
    setText(row.label, "");
    return;
  }
  const bar = barGeometry(scale.x(start), scale.x(barEnd(trace, index, now)), scale.width);
  setAttribute(row.bar, "data-kind", STATE_NAMES[state]);
  setShown(row.bar, bar.outside === "");
  const label = labelOf(index, frame);
  if (bar.outside === "") {
    setStyle(row.bar, "left", `${bar.x.toFixed(1)}px`);
    setStyle(row.bar, "width", `${bar.width.toFixed(1)}px`);
    const place = labelPlace(bar, label.length * CHARACTER_WIDTH, scale.width, state === STATE.running ? FADE_WIDTH : 0);
    setText(row.label, label);
    setAttribute(row.label, "data-side", place.side);
    setStyle(row.label, "left", `${place.x.toFixed(1)}px`);
    return;
  }
  // Nothing of it is in view: say where it is.
  const left = bar.outside === "left";
  const text = left ? `‹ ${label}` : `${label} ›`;
  setText(row.label, text);
  setAttribute(row.label, "data-side", "outside");
  setStyle(row.label, "left", `${(left ? 4 : Math.max(0, scale.width - text.length * CHARACTER_WIDTH - 4)).toFixed(1)}px`);
}

/** @param {number} index @param {TraceFrame} frame @returns {string} */
function labelOf(index, { now, trace }) {
  const { spans } = trace;
  if (spans.state[index] === STATE.lost) {
    const heard = trace.lost.get(index)?.lastHeard ?? NaN;
    return Number.isNaN(heard) ? "lost" : `lost, last heard ${formatOffset(heard - trace.start)}`;
  }
  const end = spans.end[index];
  return Number.isNaN(end) ? formatTicking(now - spans.start[index]) : formatDuration(end - spans.start[index]);
}

/** Span events as hollow dots, log records as full ones. @param {SpanRow} row @param {TraceFrame} frame */
function drawMarks(row, { trace, scale, generation }) {
  const { index } = row;
  const key = `${generation} ${index} ${trace.spans.stamp[index]}`;
  if (row.marksFor !== key) {
    row.marksFor = key;
    row.markTimes = marksOf(trace, index);
    row.marks.replaceChildren(...row.markTimes.map((mark) => element("span", { class: "mark", "data-kind": mark.kind })));
  }
  for (let at = 0; at < row.markTimes.length; at += 1) {
    const x = scale.x(row.markTimes[at].at);
    const node = /** @type {HTMLElement} */ (row.marks.children[at]);
    setShown(node, x >= -1 && x <= scale.width + 1);
    setStyle(node, "left", `${Math.max(0, Math.min(scale.width, x)).toFixed(1)}px`);
  }
}

/** @param {import("./model.mjs").Trace} trace @param {number} index @returns {{at: number, kind: string}[]} */
function marksOf(trace, index) {
  const marks = [];
  const events = trace.spans.events[index]?.events;
  for (const event of Array.isArray(events) ? events.slice(0, MARKS_MAX) : []) {
    marks.push({ at: parseTimestamp(event?.timestamp, trace.originSeconds), kind: event?.name === "exception" ? "exception" : "event" });
  }
  for (const log of (trace.logs.get(index) ?? []).slice(0, MARKS_MAX - marks.length)) {
    marks.push({ at: parseTimestamp(log.timestamp, trace.originSeconds), kind: log.severity === "ERROR" ? "exception" : "log" });
  }
  return marks.filter((mark) => !Number.isNaN(mark.at));
}

/** @param {SpanRow} row @param {TraceFrame} frame @param {Decorator[]} decorators */
function drawDecorations(row, frame, decorators) {
  if (decorators.length === 0 && row.decorations.childElementCount === 0) return;
  const all = decorators.flatMap((decorator) => decorator(row.index, frame));
  const decorated = `${frame.key} ${all.map((one) => `${one.kind} ${one.start} ${one.end} ${one.flag} ${one.title}`).join("\n")}`;
  if (decorated === row.decorated) return;
  row.decorated = decorated;
  const stretches = all.filter((one) => one.start !== undefined).slice(0, DECORATIONS_MAX);
  const flags = all.filter((one) => one.flag !== undefined).slice(0, 2);
  while (row.decorations.childElementCount < stretches.length) row.decorations.append(element("span", { class: "decoration" }));
  const { scale } = frame;
  for (const [at, child] of [...row.decorations.children].entries()) {
    const node = /** @type {HTMLElement} */ (child);
    const one = stretches[at];
    const bar = one === undefined ? null : barGeometry(scale.x(Number(one.start)), scale.x(Number(one.end ?? one.start)), scale.width);
    setShown(node, bar !== null && bar.outside === "");
    if (bar === null || one === undefined) continue;
    setAttribute(node, "data-kind", one.kind ?? "");
    setAttribute(node, "data-tick", one.end === undefined || one.end === one.start);
    setAttribute(node, "title", one.title ?? null);
    setStyle(node, "left", `${bar.x.toFixed(1)}px`);
    setStyle(node, "width", `${bar.width.toFixed(1)}px`);
  }
  const text = flags.map((one) => `${one.kind} ${one.flag} ${one.title}`).join("\n");
  if (row.flags.dataset.drawn === text) return;
  row.flags.dataset.drawn = text;
  row.flags.replaceChildren(...flags.map((one) => element("span", { class: "row-flag", "data-kind": one.kind ?? "", title: one.title ?? null, text: String(one.flag) })));
}

// @ts-check
// Draws the name column of one row of the waterfall. `row-paint.mjs` paints bars, labels and shapes on one canvas,
// because elements for them would take longer than a frame.
// Must never keep more than the last drawn state: after a scroll, one element shows another span.

import { FLAG, STATE, isOpenState } from "../model/columns.mjs";
import { ERROR, WARN, severityOf } from "../model/severity.mjs";
import { leftText, percentText } from "../model/progress.mjs";
import { logsOf, progressAt, serviceOf, shownName, shownStateOf, waitText } from "../model/span.mjs";
import { besideText, reasonOf } from "../model/span-title.mjs";
import { formatCount, formatDuration, formatOffset, formatOpen, parseTimestamp } from "../model/time.mjs";
import { ROLLUP_MIN } from "../model/tree.mjs";
import { ROW, rollUpText } from "../model/visible-rows.mjs";
import { STATE_WORDS, element, setAttribute, setShown, setStyle, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {ReturnType<typeof makeSpanRow>["row"]} SpanRow
 * @typedef {{kind?: string, start?: number, end?: number, title?: string | null, flag?: string, share?: number | null}} Decoration something that another
 *   view adds to a row: a stretch or tick in time, or a flag beside the name, with a `share` of a whole if it has one
 * @typedef {(index: number, frame: TraceFrame) => Decoration[]} Decorator
 * @typedef {{at: number, kind: string}} Mark
 * @typedef {object} RowLook the part of the frame that concerns this row
 * @property {import("../model/visible-rows.mjs").FoldState} fold
 * @property {boolean} selected
 * @property {boolean} isActive whether it is the active row for keys
 * @property {number} nameWidth width of the name column
 * @property {Decorator[]} decorators
 */

const INDENT = 14;
// In a narrow column, names need the space.
const NARROW_INDENT = 7;
/** Left edge of the shapes in a row, and widths of fold mark and state, each with its margin. */
export const EDGE = 10;
export const TWISTY = 21;
const SHAPE = 19;
const DIGIT = 6;
const EXTRA_CHARACTER = 6;
const EXTRA_EDGE = 18;
/** Width of a progress bar with its margin. */
const METER = 69;
const FLAGS_FROM = 240;
// Maximum share of the name column for the indent, so that a span 10,000 levels deep still shows its name.
const INDENT_SHARE_MAX = 0.4;
const FLAG_LENGTH_MAX = 40;
const MARKS_MAX = 24;
const DECORATIONS_MAX = 8;

/**
 * @typedef {object} RowActions
 * @property {(index: number) => void} select
 * @property {(index: number, all: boolean) => void} toggle
 * @property {(index: number) => void} openWide
 * @property {(id: number) => void} toggleGroup
 * @property {(id: number, bit: number) => void} toggleShown
 */

/** @param {RowActions} actions */
export function makeSpanRow(actions) {
  const row = {
    /** The span; in a roll-up row its parent; −1 before the first draw. */
    index: -1,
    /** One of ROW. */
    kind: /** @type {number} */ (ROW.span),
    /** The id of the row's group. */
    group: -1,
    /** Hides the parts that only group rows have; set by `group-row-view.mjs`. */
    hideGroup: () => {},
    /** Called by the chips of the row. */
    toggleShown: (/** @type {number} */ bit) => actions.toggleShown(row.group, bit),
    title: /** @type {ReturnType<import("../model/span-title.mjs").TraceTitles["of"]> | null} */ (null),
    /** Keys of the last drawn text and decorations. */
    drawn: "",
    decorated: "",
    levels: 0,
    deep: "",
    /** Left edge of the row, and of its fold mark. */
    inset: 0,
    left: 0,
    /** @type {"" | "open" | "closed"} */
    twisty: "",
    dimmed: false,
    label: "",
    /** @type {Mark[]} */
    marks: [],
    /** @type {Decoration[]} */
    stretches: [],
    name: element("span", { class: "span-name" }),
    badge: element("span", { class: "span-badge", hidden: true }),
    beside: element("span", { class: "span-beside" }),
    service: element("span", { class: "span-service faint" }),
    cell: element("span", { class: "t-name", role: "gridcell" }),
    time: element("span", { role: "gridcell" }),
    /** The flags right of the name, created on demand because few rows have them. @type {HTMLElement | null} */
    extras: null,
    /** The flags in `extras`. Their width is estimated, because measuring would force a layout. */
    flags: /** @type {Decoration[]} */ ([]),
    isBadBelow: false,
    hidden: "",
    children: "",
    extrasFor: "",
  };
  row.cell.append(row.name, " ", row.badge, row.beside, row.service);
  const node = element("div", { class: "tree-row", role: "row", tabindex: "-1" }, row.cell, row.time);
  node.addEventListener("click", (event) => {
    if (row.index < 0) return;
    const x = event.clientX - node.getBoundingClientRect().left;
    if (row.kind === ROW.sum) actions.openWide(row.index);
    else if (row.kind === ROW.group) actions.toggleGroup(row.group);
    else if (row.kind === ROW.chips) return;
    else if (row.twisty !== "" && x >= row.left - 3 && x < row.left + TWISTY - 2) actions.toggle(row.index, event.altKey);
    else actions.select(row.index);
  });
  node.addEventListener("dblclick", (event) => {
    const x = event.clientX - node.getBoundingClientRect().left;
    if (row.index >= 0 && row.kind <= ROW.member && x >= row.left + TWISTY) actions.toggle(row.index, false);
  });
  return { node, row };
}

/**
 * @param {SpanRow} row @param {HTMLElement} node @param {number} index @param {TraceFrame} frame @param {RowLook} look
 * @returns {boolean} whether its canvas must be painted again
 */
export function drawSpanRow(row, node, index, frame, look) {
  const { spans } = frame.trace;
  const { matches } = frame.ui;
  const match = matches === null ? null : String(matches.isMatch(index));
  const parent = spans.parent[index];
  // The row's own service is shown only if it differs from the parent's, which may arrive later. Offsets count from
  // the trace's start.
  const around = `${parent < 0 ? -1 : spans.service[parent]} ${frame.trace.start} ${frame.trace.services.size > 1} ${frame.moving}`;
  const drawn = `${frame.identity} ${index} ${spans.stamp[index]} ${spans.depth[index]} ${look.fold} ${look.selected} ${match} ${look.nameWidth} ${frame.titles.version} ${around}`;
  const changed = drawn !== row.drawn;
  if (changed) {
    leaveGroup(row, node);
    row.drawn = drawn;
    row.index = index;
    row.dimmed = match === "false";
    setAttribute(node, "data-match", match);
    row.title = frame.titles.of(index);
    drawName(row, node, frame, look);
    row.marks = marksOf(frame.trace, index);
  }
  const isOpen = isOpenState(spans.state[index]);
  if (changed || isOpen) {
    row.label = labelOf(index, frame);
    setAttribute(row.time, "aria-label", row.label);
  }
  // Leave out the duration of an open span: a screen reader would announce each change. The cell has it.
  if (changed) setAttribute(node, "aria-label", spokenName(row, frame, isOpen ? "" : row.label));
  const decorated = drawDecorations(row, frame, look.decorators);
  if (decorated || changed) drawExtras(row, look.nameWidth);
  return decorated || changed || isOpen;
}

/**
 * Draws the row that sums up the hidden children of a rolled-up parent.
 * @param {SpanRow} row @param {HTMLElement} node @param {number} parent @param {TraceFrame} frame @param {RowLook} look
 * @returns {boolean} whether its canvas must be painted again
 */
export function drawRollUpRow(row, node, parent, frame, look) {
  const { spans } = frame.trace;
  const drawn = `~${parent} ${spans.stamp[parent]} ${spans.depth[parent]} ${look.nameWidth} ${frame.identity}`;
  if (drawn === row.drawn) return false;
  leaveGroup(row, node);
  leaveSpan(row, node, drawn, ROW.sum);
  row.index = parent;
  row.label = "show all";
  const text = rollUpText(frame.trace, parent);
  setAttributes(node, {
    "data-span-id": null, "data-roll-up": spans.ids[parent], "data-state": null, "data-match": null, "aria-label": `${text}, show all`,
    "data-errors": spans.childFailed[parent] + spans.childBelow[parent] > 0, "aria-level": spans.depth[parent] + 2, "aria-expanded": "false", "aria-selected": "false",
  });
  indent(row, spans.depth[parent] + 1, look.nameWidth);
  setText(row.name, text);
  setText(row.beside, "");
  setText(row.service, "");
  drawExtras(row, look.nameWidth);
  return true;
}

/**
 * Clears the span's parts of a row element.
 * @param {SpanRow} row @param {HTMLElement} node @param {string} drawn @param {number} kind one of ROW
 */
export function leaveSpan(row, node, drawn, kind) {
  Object.assign(row, { drawn, kind, decorated: "", twisty: "", dimmed: false, marks: [], stretches: [], label: "", flags: [], isBadBelow: false, hidden: "", extrasFor: "" });
  setAttributes(node, { "data-span-id": null, "data-roll-up": null, "data-state": null, "data-match": null, "aria-expanded": null });
  setAttribute(row.time, "aria-label", null);
  setShown(row.badge, false);
  setAttribute(row.cell, "data-badge", null);
  setShown(row.cell, kind !== ROW.chips);
  if (row.extras !== null) setShown(row.extras, false);
  row.hideGroup();
}

/** Clears the group's parts of a row element. @param {SpanRow} row @param {HTMLElement} node */
function leaveGroup(row, node) {
  if (row.kind >= ROW.group) {
    row.hideGroup();
    setShown(row.cell, true);
    setAttribute(node, "data-group", null);
  }
  row.kind = ROW.span;
  row.group = -1;
}

/** @param {Element} node @param {Record<string, unknown>} attributes */
function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
}

/** @param {number} nameWidth @returns {number} pixels per level */
export function indentOf(nameWidth) {
  return nameWidth < FLAGS_FROM ? NARROW_INDENT : INDENT;
}

/** @param {SpanRow} row @param {number} depth @param {number} nameWidth */
export function indent(row, depth, nameWidth) {
  const step = indentOf(nameWidth);
  row.levels = Math.min(depth, Math.floor((nameWidth * INDENT_SHARE_MAX) / step));
  row.deep = depth > row.levels ? String(depth) : "";
  row.inset = EDGE + row.levels * step;
  row.left = row.inset + (row.deep === "" ? 0 : row.deep.length * DIGIT + 5);
  setStyle(row.cell, "padding-left", `${row.left + TWISTY + SHAPE}px`);
}

/** @param {SpanRow} row @param {HTMLElement} node @param {TraceFrame} frame @param {RowLook} look */
function drawName(row, node, frame, look) {
  const { trace } = frame;
  const { spans } = trace;
  const { index } = row;
  const children = spans.childCount[index];
  const closed = look.fold === "closed";
  row.twisty = children === 0 ? "" : closed ? "closed" : "open";
  setAttributes(node, {
    "data-roll-up": null, "data-errors": null, "data-span-id": spans.ids[index], "data-state": shownStateOf(trace, index), "aria-level": spans.depth[index] + 1,
    "aria-expanded": children > 0 ? String(!closed) : null, "aria-selected": String(look.selected),
  });
  indent(row, spans.depth[index], look.nameWidth);
  drawTitle(row, frame, index);
  const parent = spans.parent[index];
  setText(row.service, parent < 0 || spans.service[parent] !== spans.service[index] ? serviceOf(trace, index) : "");
  row.isBadBelow = children > 0 && look.fold !== "open" && spans.has(index, FLAG.errorBelow);
  const telling = children >= ROLLUP_MIN || spans.childOpen[index] > 0 || spans.childFailed[index] > 0 || spans.childBelow[index] > 0;
  row.children = formatCount(children);
  row.hidden = !closed || children === 0 ? "" : telling ? rollUpText(trace, index) : formatCount(children);
}

/**
 * Draws the title, the distinguishing attributes and the failure message.
 * @param {SpanRow} row @param {TraceFrame} frame @param {number} index
 */
function drawTitle(row, { trace }, index) {
  const { title } = row;
  if (title === null) return;
  setText(row.name, shortened(title.text));
  setShown(row.badge, title.badge !== null);
  setAttribute(row.cell, "data-badge", title.badge !== null);
  setText(row.badge, title.badge?.text ?? "");
  setAttribute(row.badge, "data-tone", title.badge?.tone);
  const said = title.beside.map(besideText);
  const reason = reasonOf(trace, index);
  for (const one of [title.aside, reason]) if (one !== "") said.push(shortened(one));
  setText(row.beside, said.join("  "));
}

/** @param {SpanRow} row @param {number} nameWidth */
function drawExtras(row, nameWidth) {
  const key = `${nameWidth} ${row.isBadBelow} ${row.hidden} ${row.children} ${row.flags.map((flag) => `${flag.kind} ${flag.flag} ${flag.title} ${flag.share}`)}`;
  if (key === row.extrasFor) return;
  row.extrasFor = key;
  const extras = [
    // On a narrow page the name has priority.
    ...(nameWidth < FLAGS_FROM ? [] : row.flags).flatMap(flagNodes),
    ...(row.isBadBelow ? [element("span", { class: "below bad", text: "!", title: "There is an error or a lost span below" })] : []),
    ...(row.hidden === "" ? [] : [element("span", { class: "chip faint hidden-count", text: row.flags.some(({ kind }) => kind === "progress") ? row.children : row.hidden })]),
  ];
  if (row.extras === null) {
    if (extras.length === 0) return;
    row.cell.after(row.extras = element("span", { class: "row-extras", role: "presentation" }));
  }
  row.extras.replaceChildren(...extras);
  setShown(row.extras, extras.length > 0);
  const width = extras.reduce((sum, extra) => sum + (extra.className === "row-meter" ? METER : (extra.textContent ?? "").length * EXTRA_CHARACTER + EXTRA_EDGE), 0);
  setStyle(row.cell, "padding-right", `${8 + Math.min(width, nameWidth / 2)}px`);
}

/** @param {Decoration} flag @returns {HTMLElement[]} */
function flagNodes({ kind = "", flag, title = null, share = null }) {
  const text = element("span", { class: "row-flag", "data-kind": kind, title, text: shortened(String(flag), FLAG_LENGTH_MAX) });
  if (share === null) return [text];
  const meter = element("span", { class: "row-meter" });
  setStyle(meter, "background-size", `${(share * 100).toFixed(1)}% 100%`);
  return [meter, text];
}

/**
 * Returns the tooltip of a row.
 * @param {import("../model/model.mjs").Trace} trace @param {number} index @returns {string}
 */
export function rowTitle(trace, index) {
  const service = serviceOf(trace, index);
  return `${shownName(trace, index).slice(0, 1_000)}\n${STATE_WORDS[shownStateOf(trace, index)]}${service === "" ? "" : ` · ${service}`}`;
}

/**
 * Returns the accessible name of a row.
 * @param {SpanRow} row @param {TraceFrame} frame @param {string} duration
 * @returns {string} `error, POST /checkout 500, page=7, shop, 255 ms`
 */
function spokenName({ index, title }, { trace }, duration) {
  const { text, badge, beside } = title ?? { text: "", badge: null, beside: [] };
  const name = badge === null ? text : `${text} ${badge.text}`;
  return [STATE_WORDS[shownStateOf(trace, index)], shortened(name), ...beside.map(besideText), serviceOf(trace, index), duration].filter((part) => part !== "").join(", ");
}

/** @param {number} index @param {TraceFrame} frame @returns {string} */
function labelOf(index, { now, trace, moving }) {
  const { spans } = trace;
  if (spans.state[index] === STATE.placeholder || Number.isNaN(spans.start[index])) return "";
  if (spans.state[index] === STATE.lost) {
    const lastHeard = trace.lost.get(index)?.lastHeard ?? NaN;
    return Number.isNaN(lastHeard) ? "lost" : `lost, last heard ${formatOffset(lastHeard - trace.start)}`;
  }
  const end = spans.end[index];
  if (!Number.isNaN(end)) return formatDuration(end - spans.start[index]);
  const progress = progressAt(trace, index);
  const progressParts = progress === null ? [] : [percentText(progress), leftText(trace.live.get(index)?.speed?.left(now) ?? null)];
  return [formatOpen(now - spans.start[index], moving), waitText(trace, index, now, moving), ...progressParts].filter((part) => part !== "").join(" · ");
}

/**
 * Returns marks for span events and log records.
 * @param {import("../model/model.mjs").Trace} trace @param {number} index @returns {Mark[]}
 */
function marksOf(trace, index) {
  const events = trace.spans.events[index]?.events;
  const logs = logsOf(trace, index);
  if (logs.length === 0 && !Array.isArray(events)) return [];
  const marks = [];
  for (const event of Array.isArray(events) ? events.slice(0, MARKS_MAX) : []) {
    marks.push({ at: parseTimestamp(event?.timestamp, trace.originSeconds), kind: event?.name === "exception" ? "exception" : "event" });
  }
  // If there are too many, warnings and errors have priority.
  const shown = logs.length <= MARKS_MAX ? logs : [...logs.filter(({ data }) => severityOf(data) >= WARN), ...logs.filter(({ data }) => severityOf(data) < WARN)];
  for (const { data, time } of shown.slice(0, MARKS_MAX - marks.length)) marks.push({ at: time, kind: markOfLog(severityOf(data)) });
  return marks.filter((mark) => !Number.isNaN(mark.at));
}

/** @param {number} severity @returns {string} */
function markOfLog(severity) {
  return severity >= ERROR ? "exception" : severity >= WARN ? "warning" : "log";
}

/** @param {SpanRow} row @param {TraceFrame} frame @param {Decorator[]} decorators @returns {boolean} whether they changed */
function drawDecorations(row, frame, decorators) {
  const all = decorators.flatMap((decorator) => decorator(row.index, frame));
  const decorated = all.map((one) => `${one.kind} ${one.start} ${one.end} ${one.flag} ${one.title} ${one.share}`).join("\n");
  if (decorated === row.decorated) return false;
  row.decorated = decorated;
  row.stretches = all.filter((one) => one.start !== undefined).slice(0, DECORATIONS_MAX);
  const flags = all.filter((one) => one.flag !== undefined);
  // The span's own progress is better than an estimate from usual durations.
  row.flags = (flags.some(({ kind }) => kind === "progress") ? flags.filter(({ kind }) => kind !== "eta") : flags).slice(0, 2);
  return true;
}

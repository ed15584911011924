// @ts-check
// Draws the text of a group's row, and the row of chips below an open group. `group-paint.mjs` paints the strip. Must
// never walk the members of a group itself; `groups.mjs` has their counts.

import { isOpenState } from "../model/columns.mjs";
import { SHOWN, groupView } from "../model/group-views.mjs";
import { groupsOf, hasOutlier } from "../model/groups.mjs";
import { progressAt, serviceOf } from "../model/span.mjs";
import { formatCount, formatDuration, plural } from "../model/time.mjs";
import { ROW } from "../model/visible-rows.mjs";
import { element, icon, setAttribute, setShown, setStyle, setText, shortened } from "./dom.mjs";
import { indent, leaveSpan } from "./span-row-view.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("./span-row-view.mjs").SpanRow} SpanRow
 * @typedef {import("./span-row-view.mjs").RowLook} RowLook
 * @typedef {import("../model/groups.mjs").Group} Group
 */

/** Minimum widths of the name column for the median, the longest duration and a progress bar. */
const MEDIAN_FROM = 320;
const LONGEST_FROM = 420;
const METER_FROM = 540;
const FIGURES_PADDING = 12;
const FIGURE_CHARACTER = 6.6;

/** Creates the figures at the right end of a group's name column. */
function makeFigures() {
  const failedCount = element("span");
  const openCount = element("span");
  const failed = element("span", { class: "group-failed", title: "Failed, or with failures below" }, icon("error"), failedCount);
  const open = element("span", { class: "group-open", title: "Running" }, icon("running"), openCount);
  const meter = element("span", { class: "row-meter", title: "The share of the spans seen so far that has ended" });
  const p50 = element("span", { title: "The median duration of the spans that have ended" });
  const max = element("span", { title: "The longest duration of the spans that have ended" });
  return { node: element("span", { class: "row-extras group-figures", "aria-hidden": "true" }, meter, p50, max, failed, open), meter, p50, max, failed, failedCount, open, openCount };
}

/** Creates the chips that choose which members are rows. */
function makeChips(/** @type {(bit: number) => void} */ toggle) {
  const chip = (/** @type {string} */ text, /** @type {number} */ bit) => {
    const count = element("span", { class: "figure" });
    const node = element("button", { type: "button", class: "chip", "aria-pressed": "false", tabindex: "-1", on: { click: () => toggle(bit) } }, `${text} `, count);
    return { node, count, bit };
  };
  const chips = [chip("Open", SHOWN.open), chip("Failed", SHOWN.failed), chip("Slowest", SHOWN.slowest), chip("All", SHOWN.all)];
  return { node: element("span", { class: "group-chips", role: "gridcell" }, ...chips.map(({ node }) => node)), chips };
}

/**
 * Parts that only group rows need, by row.
 * @type {WeakMap<SpanRow, {figures: ReturnType<typeof makeFigures> | null, chips: ReturnType<typeof makeChips> | null}>}
 */
const parts = new WeakMap();

/** @param {SpanRow} row */
function partsOf(row) {
  let known = parts.get(row);
  if (known === undefined) {
    /** @type {{figures: ReturnType<typeof makeFigures> | null, chips: ReturnType<typeof makeChips> | null}} */
    const made = (known = { figures: null, chips: null });
    parts.set(row, made);
    row.hideGroup = () => {
      if (made.figures !== null) setShown(made.figures.node, false);
      if (made.chips !== null) setShown(made.chips.node, false);
    };
  }
  return known;
}

/**
 * @param {SpanRow} row @param {HTMLElement} node @param {number} id of the group @param {TraceFrame} frame @param {RowLook} look
 * @returns {boolean} whether its strip must be painted again
 */
export function drawGroupRow(row, node, id, frame, look) {
  const { trace, ui } = frame;
  const groups = groupsOf(trace);
  const group = groups.byId(id);
  if (group === null) return false;
  const depth = trace.spans.depth[group.parent] + 1;
  const isOpen = groupView(trace, ui.fold.groups, group) !== null;
  const found = (ui.matches === null ? null : matchesIn(trace, groups, ui.matches))?.[id] ?? -1;
  const drawn = `group ${frame.identity} ${id} ${group.version} ${depth} ${isOpen} ${look.nameWidth} ${found} ${look.selected}`;
  if (drawn === row.drawn) return group.open > 0;
  leaveSpan(row, node, drawn, ROW.group);
  row.group = id;
  row.index = groups.heads[id];
  row.twisty = isOpen ? "open" : "closed";
  row.dimmed = found === 0;
  const words = groupWords(frame, group);
  setAttribute(node, "data-group", trace.strings.list[group.name]);
  setAttribute(node, "data-match", found < 0 ? null : String(found > 0));
  setAttribute(node, "data-errors", group.failed + group.below > 0);
  setAttribute(node, "aria-level", depth + 1);
  setAttribute(node, "aria-expanded", String(isOpen));
  setAttribute(node, "aria-selected", "false");
  setAttribute(node, "aria-label", found > 0 ? `${words}, ${plural(found, "match", "matches")} inside` : words);
  indent(row, depth, look.nameWidth);
  setText(row.name, shortened(trace.strings.list[group.name] || "(no name)"));
  setShown(row.badge, true);
  setAttribute(row.cell, "data-badge", true);
  setText(row.badge, `×${formatCount(group.count)}`);
  setAttribute(row.badge, "data-tone", "count");
  setText(row.beside, found > 0 ? plural(found, "match", "matches") : "");
  setText(row.service, serviceOf(trace, row.index) === serviceOf(trace, group.parent) ? "" : serviceOf(trace, row.index));
  drawFigures(row, frame, group, look.nameWidth);
  return true;
}

/** @param {SpanRow} row @param {TraceFrame} frame @param {Group} group @param {number} nameWidth */
function drawFigures(row, { trace }, group, nameWidth) {
  const known = partsOf(row);
  if (known.figures === null) row.cell.after((known.figures = makeFigures()).node);
  const { node, meter, p50, max, failed, failedCount, open, openCount } = known.figures;
  const groups = groupsOf(trace);
  const times = groups.timesOf(trace, group);
  const isTimed = times.count > 0;
  const isMetered = nameWidth >= METER_FROM && group.open > 0;
  const bad = group.failed + group.below;
  setShown(node, true);
  setShown(meter, isMetered);
  if (isMetered) setStyle(meter, "background-size", `${(groups.shareDone(group, (index) => progressAt(trace, index)) * 100).toFixed(1)}% 100%`);
  const isFar = isTimed && hasOutlier(times);
  const isWide = nameWidth >= LONGEST_FROM;
  // If only one of them fits, it is the longest duration if that is far from the median, else the median.
  setText(p50, isTimed && nameWidth >= MEDIAN_FROM && (isWide || !isFar) ? `p50 ${formatDuration(times.p50)}` : "");
  setText(max, isTimed && (isWide || (isFar && nameWidth >= MEDIAN_FROM)) ? `max ${formatDuration(times.max)}` : "");
  setAttribute(max, "data-far", isFar);
  setShown(failed, bad > 0);
  setText(failedCount, formatCount(bad));
  setShown(open, group.open > 0);
  setText(openCount, formatCount(group.open));
  const texts = [p50, max, ...(bad > 0 ? [failedCount] : []), ...(group.open > 0 ? [openCount] : [])].map((one) => (one.textContent ?? "").length * FIGURE_CHARACTER + FIGURES_PADDING);
  const width = texts.reduce((sum, one) => sum + one, (bad > 0 ? 16 : 0) + (group.open > 0 ? 16 : 0) + (isMetered ? 69 : 0));
  setStyle(row.cell, "padding-right", `${8 + Math.min(width, nameWidth * 0.6)}px`);
}

/** @param {TraceFrame} frame @param {Group} group @returns {string} `group, analyse page, 67 spans, 1 failed, 3 running, median 45 ms, longest 1.21 s` */
export function groupWords({ trace }, group) {
  const times = groupsOf(trace).timesOf(trace, group);
  return [
    "group", shortened(trace.strings.list[group.name] || "(no name)"), plural(group.count, "span"), group.failed > 0 ? `${formatCount(group.failed)} failed` : "",
    group.below > 0 ? `${formatCount(group.below)} with errors below` : "", group.open > 0 ? `${formatCount(group.open)} running` : "",
    times.count > 0 ? `median ${formatDuration(times.p50)}, longest ${formatDuration(times.max)}` : "",
  ].filter((part) => part !== "").join(", ");
}

/** @param {SpanRow} row @param {HTMLElement} node @param {number} id of the group @param {TraceFrame} frame @param {RowLook} look @returns {boolean} */
export function drawChipsRow(row, node, id, frame, look) {
  const { trace, ui } = frame;
  const group = groupsOf(trace).byId(id);
  const view = group === null ? null : groupView(trace, ui.fold.groups, group);
  if (group === null || view === null) return false;
  const depth = trace.spans.depth[group.parent] + 2;
  const drawn = `chips ${frame.identity} ${id} ${group.version} ${depth} ${view.shown} ${look.nameWidth} ${look.isActive}`;
  if (drawn === row.drawn) return false;
  leaveSpan(row, node, drawn, ROW.chips);
  row.group = id;
  row.index = groupsOf(trace).heads[id];
  setAttribute(node, "aria-level", depth + 1);
  setAttribute(node, "aria-label", "spans shown of the group");
  setAttribute(node, "aria-selected", "false");
  indent(row, depth, look.nameWidth);
  for (const text of [row.name, row.beside, row.service]) setText(text, "");
  const known = partsOf(row);
  if (known.chips === null) row.cell.after((known.chips = makeChips((bit) => row.toggleShown(bit))).node);
  const { node: chips, chips: each } = known.chips;
  setShown(chips, true);
  setStyle(chips, "left", `${row.left + 4}px`);
  const counts = [group.open, group.failed + group.below, groupsOf(trace).timesOf(trace, group).slowest.length, group.count];
  for (const [at, { node: chip, count, bit }] of each.entries()) {
    setShown(chip, counts[at] > 0);
    setText(count, formatCount(counts[at]));
    setAttribute(chip, "aria-pressed", String((view.shown & bit) !== 0));
    setAttribute(chip, "tabindex", look.isActive ? 0 : -1);
  }
  return true;
}

const RANKS = ["slowest", "2nd slowest", "3rd slowest", "4th slowest", "5th slowest"];

/** Marks the slowest members of an open group with their rank. @type {import("./span-row-view.mjs").Decorator} */
export function decorateRank(index, { trace, rows, ui }) {
  if (!ui.fold.groups.isOn || rows.kinds[rows.rowOf[index]] !== ROW.member || isOpenState(trace.spans.state[index])) return [];
  const groups = groupsOf(trace);
  const group = groups.of(index);
  const rank = group === null ? -1 : groups.timesOf(trace, group).slowest.indexOf(index);
  return rank < 0 ? [] : [{ kind: "rank", flag: RANKS[rank] }];
}

/** @type {{counts: Int32Array, key: string, search: object | null}} */
let matched = { counts: new Int32Array(0), key: "", search: null };

/**
 * Counts the matches in each group, at any depth.
 * @param {import("../model/model.mjs").Trace} trace @param {import("../model/groups.mjs").Groups} groups @param {import("./ui-state.mjs").Matches} search
 * @returns {Int32Array | null} by id; null while the search runs
 */
function matchesIn(trace, groups, search) {
  if (search.isRunning) return null;
  const key = `${search.version} ${trace.structure} ${groups.heads.length}`;
  if (matched.search === search && matched.key === key) return matched.counts;
  const counts = new Int32Array(groups.heads.length);
  const inSubtrees = search.inSubtrees();
  for (let index = 0; index < inSubtrees.length; index += 1) if (groups.idOf[index] >= 0) counts[groups.idOf[index]] += inSubtrees[index];
  matched = { counts, key, search };
  return counts;
}

// @ts-check
// Compares two runs path by path: how long each took, how often, and what is new, missing or newly failed. Must never
// align traces: `compare.mjs` does.

import { clockText } from "../model/clock.mjs";
import { causeOf, compareTraces, comparedRows, deltaShareText, differenceOf, spansText } from "../model/compare.mjs";
import { identityOf } from "../model/identity.mjs";
import { rowWindow, scrollToShow } from "../model/layout.mjs";
import { evictedText, incompleteText, shownTraceState, traceName } from "../model/span.mjs";
import { formatCount, formatDuration, plural } from "../model/time.mjs";
import { RowPool, STATE_WORDS, byId, element, icon, setAttribute, setIcon, setShown, setStyle, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("../model/model.mjs").Trace} Trace
 * @typedef {import("../model/compare.mjs").Comparison} Comparison
 * @typedef {import("../model/compare.mjs").Path} Path
 * @typedef {import("../model/compare.mjs").Kept} Kept
 * @typedef {{a: Trace, b: Trace, now: {a: number, b: number}, moving: boolean, loading: boolean, missing: boolean, find: string,
 *   zone: import("../model/clock.mjs").Zone, palette: import("../model/palette.mjs").Palette}} CompareFrame `now` is the present of each run in its tree time
 * @typedef {{swap: () => void, open: (trace: Trace, index: number) => void, changed: () => void, announce: (text: string) => void}} CompareActions
 */

const ROW_HEIGHT = 28;
const OVERSCAN = 3;
const PAGE_ROWS = 15;
// Aligning two traces of 20,000 spans takes about 50 ms, so running traces are not aligned in every frame.
const COMPARE_EVERY_MS = 500;
const COST_SHARE = 10;
const LANES_MAX = 12;
const CAUSE_NAMES_MAX = 3;
const INDENT = 14;
const INDENT_MAX = 12;

/** @type {[Kept, string][]} */
const CHIPS = [["all", "All"], ["slower", "Slower"], ["faster", "Faster"], ["new", "New"], ["missing", "Missing"], ["newlyFailed", "Newly failed"], ["same", "Same"], ["later", "Not reached"], ["unfinished", "Unfinished"]];

export class CompareView {
  scroller = byId("compare-scroller");
  rowsNode = byId("compare-rows");
  /** @type {Comparison | null} */
  comparison = null;
  comparedFor = "";
  comparedAt = -Infinity;
  cost = 0;
  drawnFor = "";
  /** @type {number[]} */
  rows = [];
  /** @type {Kept} */
  kept = "all";
  /** @type {"time" | "delta"} */
  order = "time";
  /** Closed paths by their names, so that they stay closed after the next comparison. @type {Set<string>} */
  closed = new Set();
  active = 0;
  /** @type {CompareFrame | null} */
  frame = null;

  /** @param {CompareActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.pool = new RowPool(this.rowsNode, () => this.makeRow());
    this.chips = new Map(CHIPS.map(([kept, text]) => {
      const count = element("span", { class: "count figure" });
      const node = element("button", { type: "button", class: "filter-chip", "data-kept": kept, on: { click: () => this.keep(kept) } }, text, count);
      byId("compare-chips").append(node);
      return [kept, { node, count }];
    }));
    this.scroller.addEventListener("scroll", () => actions.changed(), { passive: true });
    new ResizeObserver(() => actions.changed()).observe(this.scroller);
    byId("compare-swap").append(icon("swap"));
    byId("compare-swap").addEventListener("click", () => actions.swap());
    for (const order of /** @type {const} */ (["time", "delta"])) byId(`compare-by-${order}`).addEventListener("click", () => this.sort(order));
  }

  /** @param {Kept} kept */
  keep(kept) {
    this.kept = this.kept === kept ? "all" : kept;
    this.scroller.scrollTop = 0;
    this.actions.changed();
  }

  /** @param {"time" | "delta"} [order] the other order if omitted */
  sort(order = this.order === "time" ? "delta" : "time") {
    this.order = order;
    this.actions.changed();
  }

  /** @param {CompareFrame} frame @returns {number} milliseconds until it changes without input */
  draw(frame) {
    this.frame = frame;
    const { a, b } = frame;
    const runs = frame.moving && a.counts.open + b.counts.open > 0;
    // A run that is still loading would look like one that did less.
    const isReady = !frame.loading && a.counts.total > 0 && b.counts.total > 0;
    setShown(byId("compare-empty"), !isReady);
    for (const id of ["compare-lanes", "compare-bar", "compare-grid"]) setShown(byId(id), isReady);
    if (!isReady) {
      setText(byId("compare-sentence"), "");
      setText(byId("compare-empty"), frame.loading ? "Loading the other run…" : "The other run is no longer kept, so there is nothing to compare with.");
      return Infinity;
    }
    const key = `${identityOf(a)} ${a.version} ${identityOf(b)} ${b.version}`;
    const since = performance.now() - this.comparedAt;
    const isOther = this.comparedFor.split(" ", 3).join() !== key.split(" ", 3).join();
    if (isOther || ((runs || key !== this.comparedFor) && since > Math.max(COMPARE_EVERY_MS, this.cost * COST_SHARE))) this.compare(frame, key);
    const comparison = /** @type {Comparison} */ (this.comparison);
    const drawn = `${this.comparedAt} ${this.kept} ${this.order} ${this.closed.size} ${frame.find} ${frame.zone}`;
    if (drawn !== this.drawnFor) {
      this.drawnFor = drawn;
      this.drawHead(comparison, frame);
      const closed = new Set(comparison.paths.flatMap((_, at) => (this.closed.has(keyOf(comparison, at)) ? [at] : [])));
      this.rows = comparedRows(comparison, { kept: this.kept, order: this.order, closed, terms: frame.find });
      this.active = Math.min(this.active, Math.max(0, this.rows.length - 1));
    }
    this.drawRows(comparison, frame);
    return runs ? COMPARE_EVERY_MS : Infinity;
  }

  /** @param {CompareFrame} frame @param {string} key */
  compare({ a, b, now }, key) {
    const began = performance.now();
    this.comparison = compareTraces(a, b, now);
    this.comparedAt = performance.now();
    this.cost = this.comparedAt - began;
    this.comparedFor = key;
  }

  /** @param {Comparison} comparison @param {CompareFrame} frame */
  drawHead(comparison, frame) {
    for (const side of /** @type {const} */ (["a", "b"])) drawRun(byId(`compare-${side}`), side, frame[side], comparison.total[side], frame.zone);
    const { counts, left } = comparison;
    byId("compare-sentence").replaceChildren(
      ...differenceNodes(comparison, frame),
      ...causeText(comparison),
      element("span", { class: "muted", text: ` · ${formatCount(counts.new)} new · ${formatCount(counts.missing)} missing` }),
      ...(counts.newlyFailed === 0 ? [] : [element("span", { class: "bad", text: ` · ${formatCount(counts.newlyFailed)} newly failed` })]),
      ...(left === 0 ? [] : [element("span", { class: "muted", text: ` · ${plural(left, "span")} on further paths not compared` })]),
    );
    for (const [kept, { node, count }] of this.chips) {
      const number = kept === "all" ? comparison.paths.length : counts[kept];
      setText(count, formatCount(number));
      setShown(node, kept === "all" || number > 0 || kept === this.kept);
      setAttribute(node, "aria-pressed", String(kept === this.kept));
    }
    for (const order of ["time", "delta"]) setAttribute(byId(`compare-by-${order}`), "aria-pressed", String(order === this.order));
    this.drawLanes(comparison, frame);
  }

  /**
   * Draws the longest of the root's children over time, one lane per run, on a common scale.
   * @param {Comparison} comparison @param {CompareFrame} frame
   */
  drawLanes({ paths, total }, { palette }) {
    const whole = Math.max(total.a, total.b, 1e-6);
    const phases = [...(paths[0]?.children ?? [])].sort((one, other) => Math.max(paths[other].a.time, paths[other].b.time) - Math.max(paths[one].a.time, paths[one].b.time)).slice(0, LANES_MAX);
    for (const side of /** @type {const} */ (["a", "b"])) {
      byId(`compare-lane-${side}`).replaceChildren(...phases.flatMap((at) => {
        const { name, verdict, [side]: own } = paths[at];
        if (own.count === 0) return [];
        const block = element("span", { class: "phase", "data-verdict": side === "b" ? verdict : null, title: `${name}: ${formatDuration(own.time)}${own.isComplete ? "" : " so far"}` }, element("span", { text: name }));
        setStyle(block, "left", `${((own.first / whole) * 100).toFixed(2)}%`);
        setStyle(block, "width", `${(Math.max(0.002, (own.last - own.first) / whole) * 100).toFixed(2)}%`);
        setStyle(block, "--c", palette.colour(name));
        return [block];
      }));
    }
  }

  /** @param {Comparison} comparison @param {CompareFrame} frame */
  drawRows(comparison, frame) {
    const { scrollTop, clientHeight: viewport } = this.scroller;
    const { first, last, height } = rowWindow({ scrollTop, viewport, rowHeight: ROW_HEIGHT, count: this.rows.length, overscan: OVERSCAN });
    setStyle(this.rowsNode, "height", `${height}px`);
    setAttribute(this.rowsNode, "aria-rowcount", this.rows.length);
    const hadFocus = this.rowsNode.contains(document.activeElement);
    const longest = comparison.paths.reduce((most, { a, b }) => Math.max(most, a.time, b.time), 1e-6);
    setAttribute(this.rowsNode, "tabindex", this.active >= first && this.active < last ? -1 : 0);
    this.pool.show(first, last, ROW_HEIGHT, (row, index, node) => {
      row.at = index;
      setAttribute(node, "aria-rowindex", index + 1);
      setAttribute(node, "tabindex", index === this.active ? 0 : -1);
      drawPath(row, node, comparison, this.rows[index], { longest, frame, isClosed: this.closed.has(keyOf(comparison, this.rows[index])) });
    });
    if (hadFocus) this.focusActive();
  }

  makeRow() {
    const row = {
      at: 0,
      twisty: element("button", { type: "button", class: "twisty", tabindex: "-1" }, icon("chevron")),
      name: element("span", { class: "path-name" }),
      tag: element("span", { class: "tag", hidden: true }),
      before: element("span", { class: "figure mono" }),
      after: element("span", { class: "figure mono" }),
      soFarA: element("span", { class: "so-far mono", text: "so far", hidden: true }),
      soFarB: element("span", { class: "so-far mono", text: "so far", hidden: true }),
      barA: element("span", { class: "mirror a" }),
      barB: element("span", { class: "mirror b" }),
      delta: element("span", { class: "k-delta figure", role: "gridcell" }),
      share: element("span", { class: "k-share figure", role: "gridcell" }),
      counts: element("span", { class: "k-count figure", role: "gridcell" }),
      errors: element("span", { class: "k-errors figure", role: "gridcell" }),
      path: element("span", { class: "k-path", role: "gridcell" }),
    };
    row.path.append(row.twisty, row.name, row.tag);
    const node = element("div", { class: "compare-row", role: "row", tabindex: "-1" }, row.path,
      element("span", { class: "k-bars", role: "gridcell" }, element("span", { class: "half left" }, row.before, row.soFarA, row.barA), element("span", { class: "half right" }, row.barB, row.after, row.soFarB)),
      row.delta, row.share, row.counts, row.errors);
    row.twisty.addEventListener("click", (event) => {
      event.stopPropagation();
      this.toggle(row.at);
    });
    node.addEventListener("click", () => {
      this.active = row.at;
      this.actions.changed();
      node.focus();
    });
    node.addEventListener("dblclick", () => this.openActive());
    return { node, row };
  }

  /** @param {number} row */
  toggle(row) {
    if (this.comparison === null || this.rows[row] === undefined) return;
    const key = keyOf(this.comparison, this.rows[row]);
    if (!this.closed.delete(key)) this.closed.add(key);
    this.drawnFor = "";
    this.actions.changed();
  }

  focusActive() {
    const node = this.pool.nodeAt(this.active);
    (node === null || node.hidden ? this.rowsNode : node).focus({ preventScroll: true });
  }

  /** @param {number} by rows */
  move(by) {
    if (this.rows.length === 0) return;
    this.active = Math.max(0, Math.min(this.rows.length - 1, this.active + by));
    this.scroller.scrollTop = scrollToShow({ index: this.active, scrollTop: this.scroller.scrollTop, viewport: this.scroller.clientHeight, rowHeight: ROW_HEIGHT, margin: 0 });
    this.actions.changed();
    requestAnimationFrame(() => requestAnimationFrame(() => this.focusActive()));
  }

  /** Opens an example span of the active path: of run B if it has one, else of run A. */
  openActive() {
    const path = this.comparison?.paths[this.rows[this.active]];
    if (path === undefined || this.frame === null) return;
    if (path.b.example >= 0) this.actions.open(this.frame.b, path.b.example);
    else this.actions.open(this.frame.a, path.a.example);
  }

  /** @type {import("../model/keys.mjs").Keys} */
  keys = {
    ArrowDown: () => this.move(1), j: () => this.move(1), ArrowUp: () => this.move(-1), k: () => this.move(-1),
    PageDown: () => this.move(PAGE_ROWS), PageUp: () => this.move(-PAGE_ROWS), Home: () => this.move(-Infinity), End: () => this.move(Infinity),
    ArrowLeft: () => this.toggle(this.active), ArrowRight: () => this.toggle(this.active), h: () => this.toggle(this.active), l: () => this.toggle(this.active),
    Enter: () => this.openActive(), x: () => this.actions.swap(), s: () => this.sort(),
  };
}

/** @param {Comparison} comparison @param {number} at @returns {string} */
function keyOf({ paths }, at) {
  const names = [];
  for (let step = at; step >= 0; step = paths[step].parent) names.push(paths[step].name);
  return names.join("\0");
}

/** @param {HTMLElement} node @param {"a" | "b"} side @param {Trace} trace @param {number} total @param {import("../model/clock.mjs").Zone} zone */
function drawRun(node, side, trace, total, zone) {
  const state = shownTraceState(trace);
  const errors = trace.counts.errors + trace.counts.lost;
  node.replaceChildren(
    element("span", { class: "run-mark", text: side.toUpperCase() }), icon(state), element("strong", { class: "run-name", text: shortened(traceName(trace) || "(no name)", 80) }),
    element("span", { class: "muted figure", text: `${formatDuration(total)}${trace.counts.open > 0 ? " so far" : ""} · ${clockText(trace.originSeconds * 1_000 + trace.start, zone)} · ${plural(trace.counts.total, "span")}` }),
    errors > 0 ? element("span", { class: "bad figure", text: plural(errors, "error") }) : "",
    element("span", { class: "visually-hidden", text: STATE_WORDS[state] ?? state }),
  );
}

/** @param {Comparison} comparison @returns {Node[]} the path that has most of the difference */
function causeText(comparison) {
  const cause = causeOf(comparison);
  if (cause.length === 0) return [];
  const { paths } = comparison;
  const last = paths[cause[cause.length - 1]];
  const names = cause.slice(-CAUSE_NAMES_MAX).map((at) => shortened(paths[at].name, 60)).join(" › ");
  return [element("span", { class: "muted", text: ", nearly all of it in " }), element("strong", { text: names }),
    element("span", { "data-verdict": last.verdict, text: ` ${signed(last.delta)}${last.b.count > 1 ? ` over ${formatCount(last.b.count)} calls` : ""}` })];
}

/**
 * @param {Comparison} comparison @param {CompareFrame} frame
 * @returns {Node[]} which run took longer; if that is not known yet, how far each run is
 */
function differenceNodes(comparison, frame) {
  const { states, total, ended } = comparison;
  const difference = differenceOf(comparison);
  if (difference?.isEqual) return [element("strong", { text: "B took as long as A" })];
  if (difference !== null) {
    const { delta, isFinal } = difference;
    // Of two runs that are not both finished, the one that already took longer comes first.
    const [one, other] = isFinal || delta > 0 ? ["B", "A"] : ["A", "B"];
    const words = isFinal && delta < 0 ? "less" : "longer";
    return [element("strong", {}, `${one} ${isFinal ? "took" : "has already taken"} `, element("span", { "data-verdict": delta > 0 ? "slower" : "faster", text: `${formatDuration(Math.abs(delta))} ${words}` }), ` than ${other}`)];
  }
  const part = (/** @type {"a" | "b"} */ side) => {
    const [run, time] = [side.toUpperCase(), formatDuration(total[side])];
    if (states[side] === "running") return `${run} has run for ${time} so far`;
    if (states[side] === "lost") return `${run} was lost after ${time}`;
    return states[side] === "ended" ? `${run} took ${time}` : `${run} is incomplete: ${evictedText(frame[side]) || incompleteText(frame[side]) || "its first span has not arrived"}`;
  };
  const progress = ended === null ? "" : ` · after ${formatDuration(ended.after)}, A had ended ${plural(ended.a, "span")}, B ${formatCount(ended.b)}`;
  return [element("strong", { text: `${part("b")}, ${part("a")}` }), element("span", { class: "muted", text: `${progress} · unfinished paths are compared per call` })];
}

/** @param {Path} path @param {"a" | "b"} side @returns {string} */
function timeText(path, side) {
  const { count, time, isComplete } = path[side];
  return count > 0 ? formatDuration(time) : isComplete ? `not in ${side.toUpperCase()}` : "not reached";
}

/** @param {number} delta milliseconds @returns {string} */
function signed(delta) {
  return `${delta < 0 ? "−" : "+"}${formatDuration(Math.abs(delta))}`;
}

/**
 * @param {ReturnType<CompareView["makeRow"]>["row"]} row @param {HTMLElement} node @param {Comparison} comparison @param {number} at
 * @param {{longest: number, frame: CompareFrame, isClosed: boolean}} known
 */
function drawPath(row, node, comparison, at, { longest, frame, isClosed }) {
  const path = comparison.paths[at];
  const { a, b, verdict, basis, delta } = path;
  setAttribute(node, "data-verdict", verdict);
  setAttribute(node, "data-failed", path.newlyFailed);
  setStyle(node, "--c", frame.palette.colour(path.name));
  setStyle(row.path, "padding-left", `${8 + Math.min(path.depth, INDENT_MAX) * INDENT}px`);
  setAttribute(row.twisty, "data-none", path.children.length === 0);
  setIcon(/** @type {SVGSVGElement} */ (row.twisty.firstElementChild), isClosed ? "chevron" : "unfolded");
  setAttribute(row.twisty, "aria-label", isClosed ? "Expand" : "Collapse");
  setText(row.name, shortened(path.name || "(no name)"));
  setAttribute(row.name, "title", `${path.name}${path.service === "" ? "" : `\n${path.service}`}`.slice(0, 1_000));
  const tag = path.newlyFailed ? `✕ ${formatCount(b.errors)} newly failed` : verdict === "new" || verdict === "missing" ? verdict : verdict === "later" ? "not reached yet" : "";
  setShown(row.tag, tag !== "");
  setText(row.tag, tag);
  // A square-root scale, so that a hundredth of the longest time is still visible.
  setStyle(row.barA, "width", `calc((100% - var(--figure)) * ${Math.sqrt(a.time / longest).toFixed(4)})`);
  setStyle(row.barB, "width", `calc((100% - var(--figure)) * ${Math.sqrt(b.time / longest).toFixed(4)})`);
  setText(row.before, timeText(path, "a"));
  setText(row.after, timeText(path, "b"));
  setShown(row.soFarA, a.count > 0 && !a.isComplete);
  setShown(row.soFarB, b.count > 0 && !b.isComplete);
  const isPerCall = basis === "call" && verdict !== "unfinished";
  setText(row.delta, verdict === "same" ? "≈" : verdict === "later" || verdict === "unfinished" ? "" : `${signed(delta)}${isPerCall ? " each" : ""}`);
  setAttribute(row.delta, "title", isPerCall ? `Median of the calls that ended: A ${formatDuration(a.median)}, B ${formatDuration(b.median)}` : null);
  setText(row.share, deltaShareText(path));
  setText(row.counts, spansText(path));
  setAttribute(row.counts, "title", a.isComplete && b.isComplete ? null : `A ${plural(a.count, "span")}${a.isComplete ? "" : " so far"}, B ${formatCount(b.count)}${b.isComplete ? "" : " so far"}`);
  setText(row.errors, a.errors === 0 && b.errors === 0 ? "" : a.errors === b.errors ? formatCount(a.errors) : `${formatCount(a.errors)} → ${formatCount(b.errors)}`);
  setAttribute(row.errors, "data-bad", b.errors > a.errors);
  setAttribute(node, "aria-level", path.depth + 1);
  setAttribute(node, "aria-label", [
    shortened(path.name), `A ${row.before.textContent}${row.soFarA.hidden ? "" : " so far"}`, `B ${row.after.textContent}${row.soFarB.hidden ? "" : " so far"}`,
    verdict === "same" ? "the same" : verdict === "later" ? "not reached yet" : verdict === "unfinished" ? "unfinished" : `${verdict} ${row.delta.textContent}`,
    a.count === b.count ? "" : `${row.counts.textContent} spans`, path.newlyFailed ? "newly failed" : "",
  ].filter((part) => part !== "").join(", "));
}

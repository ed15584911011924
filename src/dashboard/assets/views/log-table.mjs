// @ts-check
// A table of log lines with search, levels and follow mode, for one trace or for all. Must never decide which lines
// exist, nor keep a DOM element for each line.

import { fieldsOf, isSpanException, targetOf } from "../model/log-lines.mjs";
import { rowWindow, scrollToShow } from "../model/layout.mjs";
import { LEVELS } from "../model/severity.mjs";
import { valueText } from "../model/span-details.mjs";
import { formatAbsolute, formatCount } from "../model/time.mjs";
import { RowPool, element, icon, setAttribute, setIcon, setShown, setStyle, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("../model/log-lines.mjs").LogLine} LogLine
 * @typedef {object} LogSource the lines to show and how to show them
 * @property {LogLine[]} found
 * @property {Record<string, number>} counts by level, of all lines
 * @property {string} key changes whenever the content does
 * @property {(line: LogLine, before: LogLine | undefined) => string} time
 * @property {(line: LogLine) => string} name of its span, or of its trace
 * @property {(line: LogLine) => string} colour
 * @property {boolean} isClock whether times are times of day
 * @property {string} note which lines are missing, and why
 * @property {string} empty the text shown without lines
 * @property {string | null} spanId the span whose lines are marked
 * @typedef {{changed: () => void, select: (line: LogLine) => void, open: (line: LogLine) => void, copy: (text: string) => void,
 *   wanted: () => void, point: (line: LogLine | null) => void, top: () => void}} LogActions `top`: called when the reader reaches the oldest line
 */

export const LOG_ROW = 25;
const OVERSCAN = 4;
const TEXT_MAX = 400;
const FIELDS_SHOWN = 6;
const FIELD_MAX = 60;
const DETAIL_FIELDS_MAX = 60;

export class LogTable {
  text = "";
  levels = new Set(LEVELS.map(([level]) => level));
  isFollowing = true;
  /** @type {LogLine | null} */
  selected = null;
  /** @type {LogLine[]} */
  found = [];
  /** Number of lines that do not count as new. */
  seen = 0;
  expected = -1;
  viewport = 0;
  drawnFor = "";
  detailHeight = 0;
  /** @type {LogSource | null} */
  source = null;
  /** A line to scroll to at the next draw. @type {LogLine | null} */
  wantedLine = null;

  /** @param {HTMLElement} root @param {LogActions} actions @param {string} id */
  constructor(root, actions, id) {
    this.actions = actions;
    this.id = id;
    this.search = /** @type {HTMLInputElement} */ (element("input", { type: "search", class: "log-search", autocomplete: "off", spellcheck: "false", "aria-label": "Search records", placeholder: "Search records: text, key=value" }));
    this.chips = LEVELS.map(([level]) => {
      const count = element("span", { class: "figure" });
      const node = element("button", { type: "button", class: "chip level", "data-level": level, on: { click: () => this.toggle(level) } }, icon(SHAPES[level]), level, count);
      return { level, node, count };
    });
    this.extra = element("span", { class: "log-extra" });
    this.follow = element("button", { type: "button", class: "button quiet", text: "Follow", title: "Keep the newest record in view", on: { click: () => this.setFollowing(!this.isFollowing) } });
    this.note = element("p", { class: "muted log-note", hidden: true });
    this.rows = element("div", { class: "rows log-rows", role: "grid", "aria-label": "Records", tabindex: "0" });
    this.cell = element("div", { role: "gridcell" });
    this.detail = element("div", { class: "log-detail", role: "row", hidden: true }, this.cell);
    this.empty = element("p", { class: "muted log-empty", hidden: true });
    this.scroller = element("div", { class: "scroller" }, this.rows, this.empty);
    this.pill = element("button", { type: "button", class: "pill", hidden: true, on: { click: () => this.setFollowing(true) } });
    this.pool = new RowPool(this.rows, () => this.makeRow());
    root.append(element("div", { class: "log-bar" }, this.search, ...this.chips.map(({ node }) => node), element("span", { class: "grow" }), this.extra, this.follow), this.note, this.scroller, this.pill);
    this.rows.append(this.detail);
    this.listen();
  }

  listen() {
    const { scroller, search, actions } = this;
    new ResizeObserver(() => {
      this.viewport = scroller.clientHeight;
      this.drawnFor = "";
      actions.changed();
    }).observe(scroller);
    new ResizeObserver(() => {
      this.detailHeight = this.detail.hidden ? 0 : this.detail.offsetHeight;
      this.wantedLine = this.selected;
      this.drawnFor = "";
      actions.changed();
    }).observe(this.detail);
    scroller.addEventListener("scroll", () => {
      if (this.isFollowing && Math.abs(scroller.scrollTop - this.expected) > 2) this.setFollowing(false);
      if (scroller.scrollTop < LOG_ROW) actions.top();
      actions.changed();
    }, { passive: true });
    search.addEventListener("input", () => {
      this.text = search.value;
      actions.wanted();
    });
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" && event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Escape") this.text = search.value = "";
      this.rows.focus();
      actions.wanted();
    });
    this.rows.addEventListener("pointerleave", () => actions.point(null));
  }

  /** @param {boolean} following */
  setFollowing(following) {
    this.isFollowing = following;
    this.seen = this.found.length;
    this.actions.changed();
  }

  /** @param {string} level */
  toggle(level) {
    if (!this.levels.delete(level)) this.levels.add(level);
    this.actions.wanted();
  }

  makeRow() {
    const row = {
      /** @type {LogLine | null} */
      line: null,
      time: element("span", { class: "l-time mono", role: "gridcell" }),
      shape: icon("info"),
      level: element("span", { class: "l-word" }),
      dot: element("span", { class: "service-dot" }),
      name: element("span", { class: "l-name" }),
      mark: element("span", { class: "tag l-mark", text: "exception", title: "Recorded on the span, not logged", hidden: true }),
      text: element("span", { class: "l-what" }),
      fields: element("span", { class: "l-fields mono" }),
      target: element("span", { class: "l-target mono faint", role: "gridcell" }),
    };
    const node = element("div", { class: "log-row", role: "row" }, row.time, element("span", { class: "l-level", role: "gridcell" }, row.shape, row.level),
      element("span", { class: "l-span", role: "gridcell" }, row.dot, row.name), element("span", { class: "l-text", role: "gridcell" }, row.mark, row.text, " ", row.fields), row.target);
    node.addEventListener("click", () => row.line !== null && this.select(row.line));
    node.addEventListener("pointerenter", () => this.actions.point(row.line));
    return { node, row };
  }

  /** @param {LogLine | null} line if it is the selected line, its details are closed */
  select(line) {
    this.isFollowing = false;
    this.seen = this.found.length;
    this.selected = line === this.selected ? null : line;
    this.drawnFor = "";
    if (this.selected !== null) this.actions.select(this.selected);
    this.actions.changed();
  }

  /** @param {number} by lines; ±Infinity for the ends */
  move(by) {
    const { found } = this;
    if (found.length === 0) return;
    const at = this.selected === null ? -1 : found.indexOf(this.selected);
    const to = Math.max(0, Math.min(found.length - 1, at < 0 && Number.isFinite(by) ? this.firstInView() : at + by));
    if (found[to] !== this.selected) this.select(found[to]);
    this.wantedLine = found[to];
    this.rows.focus({ preventScroll: true });
  }

  firstInView() {
    return Math.ceil(this.scroller.scrollTop / LOG_ROW);
  }

  /** Scrolls to the first line of a span. @param {string | null} spanId */
  show(spanId) {
    // A jump to a line marks all present lines as seen.
    this.seen = this.found.length;
    const line = this.found.find((one) => one.spanId === spanId);
    if (line === undefined) return;
    this.isFollowing = false;
    this.wantedLine = line;
    this.actions.changed();
  }

  /** @param {LogSource} source */
  draw(source) {
    this.source = source;
    const { scroller } = this;
    const anchor = source.found === this.found || this.isFollowing ? undefined : this.found[this.firstInView()];
    const { found } = source;
    this.found = found;
    const height = found.length * LOG_ROW + this.detailHeight;
    for (const { level, node, count } of this.chips) {
      setAttribute(node, "aria-pressed", String(this.levels.has(level)));
      setText(count, formatCount(source.counts[level] ?? 0));
    }
    setAttribute(this.follow, "aria-pressed", String(this.isFollowing));
    setShown(this.note, source.note !== "");
    setText(this.note, source.note);
    setShown(this.empty, found.length === 0);
    setText(this.empty, source.empty);
    setStyle(this.rows, "height", `${height}px`);
    // The Tab key skips an empty table.
    setAttribute(this.rows, "tabindex", found.length === 0 ? -1 : 0);
    setAttribute(this.rows, "aria-rowcount", found.length);
    setAttribute(this.rows, "data-time", source.isClock ? "clock" : null);
    // Keep the visible lines in place when lines are added above them or filtered out.
    const place = anchor === undefined ? -1 : found.indexOf(anchor);
    if (place >= 0) this.scrollTo(scroller.scrollTop + (place - this.firstInView()) * LOG_ROW);
    if (this.isFollowing) this.scrollTo(height - this.viewport);
    else if (this.wantedLine !== null) this.bringIntoView(this.wantedLine);
    const fresh = found.length - this.seen;
    setShown(this.pill, !this.isFollowing && fresh > 0 && this.selected === null);
    setText(this.pill, `Follow again · ${formatCount(fresh)} new`);
    this.drawRows(source, scroller.scrollTop);
  }

  /** @param {number} top */
  scrollTo(top) {
    const { scroller } = this;
    if (Math.abs(scroller.scrollTop - top) > 1) scroller.scrollTop = top;
    this.expected = scroller.scrollTop;
  }

  /** @param {LogLine} line */
  bringIntoView(line) {
    this.wantedLine = null;
    const index = this.found.indexOf(line);
    const open = this.selected === null ? -1 : this.found.indexOf(this.selected);
    if (index < 0) return;
    const shift = open >= 0 && open < index ? this.detailHeight : 0;
    const top = shift + scrollToShow({ index, scrollTop: this.scroller.scrollTop - shift, viewport: this.viewport, rowHeight: LOG_ROW, margin: LOG_ROW * 2 });
    // The details below the line must be visible, too.
    const below = index === open ? (index + 1) * LOG_ROW + this.detailHeight - this.viewport : -Infinity;
    this.scroller.scrollTop = Math.max(top, Math.min(below, index * LOG_ROW));
  }

  /** @param {LogSource} source @param {number} scrollTop */
  drawRows(source, scrollTop) {
    const key = `${source.key} ${scrollTop} ${this.viewport} ${this.detailHeight} ${source.spanId}`;
    if (key === this.drawnFor) return;
    this.drawnFor = key;
    const { found } = this;
    const open = this.selected === null ? -1 : found.indexOf(this.selected);
    const first = rowWindow({ scrollTop: Math.max(0, scrollTop - this.detailHeight), viewport: this.viewport, rowHeight: LOG_ROW, count: found.length, overscan: OVERSCAN }).first;
    const { last } = rowWindow({ scrollTop, viewport: this.viewport, rowHeight: LOG_ROW, count: found.length, overscan: OVERSCAN });
    const top = (/** @type {number} */ index) => index * LOG_ROW + (open >= 0 && index > open ? this.detailHeight : 0);
    this.pool.show(first, last, LOG_ROW, (row, index, node) => {
      setStyle(node, "top", `${top(index)}px`);
      this.drawRow(row, node, found[index], found[index - 1]);
      setAttribute(node, "id", `${this.id}-${index}`);
      setAttribute(node, "aria-rowindex", index + 1);
    });
    setAttribute(this.rows, "aria-activedescendant", open >= first && open < last ? `${this.id}-${open}` : null);
    this.drawDetail(open < 0 ? null : found[open], top(open + 1) - this.detailHeight);
  }

  /** @param {ReturnType<LogTable["makeRow"]>["row"]} row @param {HTMLElement} node @param {LogLine} line @param {LogLine | undefined} before */
  drawRow(row, node, line, before) {
    const source = /** @type {LogSource} */ (this.source);
    const name = source.name(line);
    setText(row.time, source.time(line, before));
    setText(row.name, shortened(name, TEXT_MAX));
    setStyle(row.dot, "background", source.colour(line));
    setAttribute(node, "aria-selected", String(line === this.selected));
    setAttribute(node, "data-of", source.spanId !== null && line.spanId === source.spanId);
    if (row.line === line) return;
    row.line = line;
    setAttribute(node, "data-level", line.level);
    setIcon(row.shape, SHAPES[line.level]);
    setText(row.level, line.level);
    setShown(row.mark, isSpanException(line));
    setText(row.text, shortened(line.text, TEXT_MAX));
    setText(row.fields, fieldsOf(line).slice(0, FIELDS_SHOWN).map(([key, value]) => `${key}=${shortened(valueText(value), FIELD_MAX)}`).join(" "));
    setText(row.target, targetOf(line));
    setAttribute(row.time, "title", formatAbsolute(line.data.timestamp));
  }

  /** @param {LogLine | null} line @param {number} top */
  drawDetail(line, top) {
    setShown(this.detail, line !== null);
    if (line === null) {
      this.detailHeight = 0;
      return;
    }
    setStyle(this.detail, "top", `${top}px`);
    if (this.detail.dataset.of === detailKey(line)) return;
    this.detail.dataset.of = detailKey(line);
    const list = element("dl", { class: "facts" });
    const add = (/** @type {string} */ key, /** @type {string} */ value) => list.append(element("dt", { text: key }), element("dd", { class: "mono", text: value }));
    const entries = Object.entries(line.data.attributes ?? {});
    for (const [key, value] of entries.slice(0, DETAIL_FIELDS_MAX)) add(key, valueText(value));
    if (entries.length > DETAIL_FIELDS_MAX) add("…", `${formatCount(entries.length - DETAIL_FIELDS_MAX)} more are not shown; the copy button copies all`);
    const place = [formatAbsolute(line.data.timestamp), targetOf(line)].filter((part) => part !== "").join(" · ");
    this.cell.replaceChildren(
      element("p", { class: "log-message", text: line.text }), list,
      element("p", { class: "log-actions" }, element("span", { class: "faint", text: place }), element("span", { class: "grow" }),
        line.spanId === null ? null : element("button", { type: "button", class: "button go-to", text: "Go to span", on: { click: () => this.actions.open(line) } }),
        element("button", { type: "button", class: "button quiet", text: "Copy", on: { click: () => this.actions.copy(JSON.stringify(line.data, null, 2)) } })));
  }
}

/** @param {LogLine} line @returns {string} */
function detailKey({ data }) {
  return `${data.timestamp} ${data.spanId} ${valueText(data.body ?? data.name)}`;
}

/** @type {Record<string, string>} */
const SHAPES = { ERROR: "error", WARN: "warning", INFO: "info", DEBUG: "debug", TRACE: "placeholder" };

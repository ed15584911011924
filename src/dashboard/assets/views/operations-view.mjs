// @ts-check
// The operations of all services: how often they run, how long they take, how many fail, and their last runs. Must
// never count spans: the server does.

import { startText } from "../model/clock.mjs";
import { ERRORS_FULL, coverage, operationCounts, operationKey, operationsOf, runLook, selectOperations, slowestRuns, trendKind, trendOf, trendText } from "../model/operations.mjs";
import { quoteTerm } from "../model/search.mjs";
import { epochMilliseconds, formatCount, formatDuration, plural } from "../model/time.mjs";
import { trafficRate } from "../model/traffic.mjs";
import { operationsRoute } from "../net/api.mjs";
import { STATE_WORDS, byId, element, icon, setAttribute, setShown, setStyle, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("../model/operations.mjs").Operation} Operation
 * @typedef {{openTrace: (traceId: string, spanId: string) => void, hrefOf: (traceId: string, spanId: string) => string, search: (query: string) => void,
 *   list: (query: string) => void, getJson: (route: string) => Promise<{status: number, body: any}>, changed: () => void}} OperationsActions
 * @typedef {{query: string, now: number, zone: import("../model/clock.mjs").Zone, palette: import("../model/palette.mjs").Palette}} OperationsFrame
 */

/** Maximum number of rows requested and shown. */
const LIMIT = 200;
const EVERY_MS = 2_000;
const COST_SHARE = 5;

/** @type {[import("../model/operations.mjs").Kept, string][]} */
const CHIPS = [["all", "All"], ["entry", "Entry points"], ["slower", "Getting slower"], ["errors", "With errors"], ["running", "Running"]];
/** @type {[import("../model/operations.mjs").Order, string][]} */
const ORDERS = [["time", "Time spent"], ["rate", "Rate"], ["p95", "p95"], ["max", "max"], ["errors", "Errors"], ["slower", "Trend"]];

export class OperationsView {
  rowsNode = byId("operations-rows");
  /** @type {import("../model/operations.mjs").Operations | null} */
  known = null;
  failed = "";
  isOpen = false;
  asking = false;
  version = 0;
  drawnFor = "";
  /** @type {import("../model/operations.mjs").Kept} */
  kept = "all";
  /** @type {import("../model/operations.mjs").Order} */
  order = "time";
  /** Opened rows. @type {Set<string>} */
  opened = new Set();
  active = 0;
  /** @type {Operation[]} */
  rows = [];
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;

  /** @param {OperationsActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.chips = new Map(CHIPS.map(([kept, text]) => {
      const count = element("span", { class: "count figure" });
      const node = element("button", { type: "button", class: "filter-chip", on: { click: () => this.choose({ kept }) } }, text, count);
      byId("operations-chips").append(node);
      return [kept, { node, count }];
    }));
    this.orders = new Map(ORDERS.map(([order, text]) => {
      const node = element("button", { type: "button", text, on: { click: () => this.choose({ order }) } });
      byId("operations-order").append(node);
      return [order, node];
    }));
  }

  /** @param {{kept?: import("../model/operations.mjs").Kept, order?: import("../model/operations.mjs").Order}} choice */
  choose({ kept = this.kept, order = this.order }) {
    this.kept = kept;
    this.order = order;
    this.actions.changed();
  }

  /** Starts requesting data, until `close` is called. */
  open() {
    if (this.isOpen) return;
    this.isOpen = true;
    void this.ask();
  }

  close() {
    this.isOpen = false;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    const began = performance.now();
    const { status, body } = await this.actions.getJson(operationsRoute(LIMIT));
    this.asking = false;
    if (!this.isOpen) return;
    const answer = status === 200 ? operationsOf(body) : null;
    if (answer !== null) this.known = answer;
    this.failed = answer !== null ? "" : status === 403 ? "You have no permission to see statistics of the whole log." : status === 0 || status >= 500 ? "The server does not answer. These are the last known figures." : String(body?.error ?? `The server answered ${status}.`);
    this.version += 1;
    // A slow server is asked less often.
    this.timer = setTimeout(() => void this.ask(), Math.max(EVERY_MS, (performance.now() - began) * COST_SHARE));
    this.actions.changed();
  }

  /** Shows one operation with its details. @param {string} service @param {string} name */
  reveal(service, name) {
    this.kept = "all";
    this.opened = new Set([operationKey(/** @type {any} */ ({ service, name }))]);
  }

  /** @param {OperationsFrame} frame */
  draw(frame) {
    const key = `${this.version} ${this.kept} ${this.order} ${[...this.opened].join()} ${frame.query} ${frame.zone} ${this.active}`;
    if (key === this.drawnFor) return;
    this.drawnFor = key;
    const operations = this.known?.operations ?? [];
    const counts = operationCounts(operations);
    for (const [kept, { node, count }] of this.chips) {
      setText(count, formatCount(counts[kept]));
      setAttribute(node, "aria-pressed", String(kept === this.kept));
      setShown(node, kept === "all" || kept === this.kept || counts[kept] > 0);
    }
    for (const [order, node] of this.orders) setAttribute(node, "aria-pressed", String(order === this.order));
    this.rows = selectOperations(operations, { kept: this.kept, order: this.order, query: frame.query });
    this.active = Math.min(this.active, Math.max(0, this.rows.length - 1));
    setText(byId("operations-counts"), this.countsText(operations, frame));
    setText(byId("operations-note"), this.failed || (this.known === null ? "Loading…" : this.rows.length > 0 ? "" : operations.length === 0 ? "No span has ended yet." : "No operation matches."));
    this.drawRows(frame);
  }

  /** @param {Operation[]} operations @param {OperationsFrame} frame @returns {string} what the figures cover */
  countsText(operations, { now, zone }) {
    if (operations.length === 0 || this.known === null) return "";
    const { more, others } = this.known;
    const { spans, since } = coverage(operations);
    const services = new Set(operations.map(({ service }) => service)).size;
    return [
      `${plural(spans, "span")}${since === null ? "" : ` since ${startText(epochMilliseconds(since), now, zone)}`}`, `${plural(operations.length, "name")} in ${plural(services, "service")}`,
      more > 0 ? `${formatCount(more)} more names that took less time` : "", others > 0 ? `${plural(others, "span")} of names that are no longer counted` : "",
    ].filter((part) => part !== "").join(" · ");
  }

  /** Draws the rows and restores the focus. @param {OperationsFrame} frame */
  drawRows(frame) {
    const focused = this.rowsNode.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.key : undefined;
    this.rowsNode.replaceChildren(...this.rows.map((operation, at) => this.row(operation, at, frame)));
    setAttribute(this.rowsNode, "aria-rowcount", this.rows.length);
    if (focused === undefined) return;
    const again = /** @type {HTMLElement | null} */ (this.rowsNode.querySelector(`[data-key="${CSS.escape(focused)}"]`));
    (again ?? this.rowsNode).focus({ preventScroll: true });
  }

  /** @param {Operation} operation @param {number} at @param {OperationsFrame} frame @returns {HTMLElement} */
  row(operation, at, frame) {
    const { service, name, kind, count, since, p50, p95, p99, slowest, errors, errorShare, running } = operation;
    const key = operationKey(operation);
    const isOpened = this.opened.has(key);
    const dot = element("span", { class: "service-dot" });
    setStyle(dot, "background", frame.palette.colour(service));
    const trend = trendOf(operation);
    const share = `${errorShare > 0 && errorShare < 0.001 ? "< 0.1" : (errorShare * 100).toFixed(errorShare > 0 && errorShare < 0.0995 ? 1 : 0)} %`;
    const meter = element("span", { class: "error-meter" });
    setStyle(meter, "background-size", `${Math.min(100, (errorShare / ERRORS_FULL) * 100).toFixed(0)}% 100%`);
    const covers = `${plural(count, "span")}${since === null ? "" : ` since ${startText(epochMilliseconds(since), frame.now, frame.zone)}`}`;
    const head = element("div", { class: "operation-row", role: "row", tabindex: at === this.active ? 0 : -1, "data-key": key, "aria-expanded": String(isOpened), "aria-label": `${name}, ${service}, ${plural(count, "span")}, p50 ${formatDuration(p50)}, p95 ${formatDuration(p95)}${slowest === null ? "" : `, max ${formatDuration(slowest.duration)}`}, errors ${share}, ${running} running` },
      element("span", { class: "o-name", role: "gridcell" }, icon(isOpened ? "unfolded" : "chevron"), element("span", {}, element("strong", { text: shortened(name || "(no name)", 120), title: name.slice(0, 1_000) }), element("small", { class: "muted" }, dot, element("span", { text: `${service || "(no service)"}${kind === "" ? "" : ` · ${kind.toLowerCase()}`} · ${plural(count, "span")}`, title: covers })))),
      element("span", { class: "o-rate", role: "gridcell" }, sparkline(operation, this.known?.bucketSeconds ?? 15), element("span", { class: "figure", text: trafficRate(operation.perSecond) })),
      element("span", { class: "o-p figure muted", role: "gridcell", text: formatDuration(p50) }),
      element("span", { class: "o-p figure o-95", role: "gridcell", text: formatDuration(p95) }),
      element("span", { class: "o-p figure muted o-99", role: "gridcell", text: formatDuration(p99) }),
      element("span", { class: "o-p figure muted o-max", role: "gridcell" }, slowest === null ? "–" : this.runLink(slowest, `max ${key}`, { tabindex: -1, title: `The slowest of ${covers}. Click to open its trace` }, formatDuration(slowest.duration))),
      element("span", { class: "o-errors figure", role: "gridcell", "data-bad": errors > 0, title: plural(errors, "error") }, meter, share),
      element("span", { class: "o-running figure", role: "gridcell" }, ...(running > 0 ? [icon("running"), formatCount(running)] : ["0"])),
      element("span", { class: "o-last", role: "gridcell" }, this.runs(operation, "small", frame)),
      element("span", { class: "o-trend figure", role: "gridcell", "data-trend": trendKind(trend), title: "Median of the last minutes compared with the time before", text: { slower: "↗ ", up: "↗ ", faster: "↘ ", steady: "→ ", "": "" }[trendKind(trend)] + trendText(trend) }));
    setStyle(head, "--c", frame.palette.colour(service));
    head.addEventListener("click", () => {
      this.active = at;
      this.toggle(key);
    });
    return isOpened ? element("div", { role: "presentation" }, head, this.details(operation, frame)) : head;
  }

  /** @param {string} key */
  toggle(key) {
    if (!this.opened.delete(key)) this.opened.add(key);
    this.actions.changed();
  }

  /**
   * Draws the last runs as bars for the pointer. Keyboard users have the list of the slowest runs instead.
   * @param {Operation} operation @param {"small" | "large"} size @param {OperationsFrame} frame
   * @returns {HTMLElement}
   */
  runs(operation, size, { now, zone }) {
    const { last, p95 } = operation;
    const took = (/** @type {import("../model/operations.mjs").Run} */ run) => (run.state === "running" ? Math.max(run.duration, now - epochMilliseconds(run.start)) : run.duration);
    // If any run has ended, open runs do not count for the scale: a run that hangs would make the bars of the others
    // too small.
    const ended = last.filter(({ state }) => state !== "running");
    const longest = (ended.length > 0 ? ended : last).reduce((most, run) => Math.max(most, took(run)), 1e-6);
    return element("span", { class: `run-bars ${size}` }, ...last.map((run) => {
      const words = `${STATE_WORDS[run.state] ?? run.state}, ${formatDuration(took(run))}, ${startText(epochMilliseconds(run.start), now, zone)}`;
      const bar = this.runLink(run, `${size} ${run.spanId}`, { class: "run-bar", "data-look": runLook(run, p95), title: words, "aria-label": words, tabindex: -1 });
      setStyle(bar, "--h", `${Math.max(6, Math.min(100, (took(run) / longest) * 100)).toFixed(0)}%`);
      return bar;
    }));
  }

  /** @param {Operation} operation @param {OperationsFrame} frame @returns {HTMLElement} */
  details(operation, frame) {
    const { name, service, count, since, slowest } = operation;
    const query = [`name:${quoteTerm(name)}`, service === "" ? "" : `service:${quoteTerm(service)}`].join(" ").trim();
    const runItem = (/** @type {import("../model/operations.mjs").Run} */ run, kind = "slow") => element("li", {}, this.runLink(run, `${kind} ${run.spanId}`, {}, icon(run.state),
      element("span", { class: "figure muted", text: startText(epochMilliseconds(run.start), frame.now, frame.zone) }), element("strong", { class: "figure", text: `${formatDuration(run.duration)}${run.state === "running" ? " so far" : ""}` })));
    const parts = element("div", { class: "operation-details", role: "gridcell" },
      element("section", {}, element("h2", { text: `Duration · ${plural(count, "span")} ended${since === null ? "" : ` since ${startText(epochMilliseconds(since), frame.now, frame.zone)}`}` }), histogram(operation)),
      element("section", {}, element("h2", { text: "Last runs, newest at the right" }), this.runs(operation, "large", frame)),
      element("section", {}, ...(slowest === null ? [] : [element("h2", { text: "Slowest of all" }), element("ol", { class: "slowest" }, runItem(slowest, "slowest"))]), element("h2", { text: "Slowest of the last runs" }), element("ol", { class: "slowest" }, ...slowestRuns(operation).map((run) => runItem(run))), element("button", { type: "button", class: "link", "data-key": `list ${operationKey(operation)}`, text: "Traces that begin with this operation", on: { click: () => this.actions.list(query) } })));
    return element("div", { role: "row" }, parts);
  }

  /**
   * @param {import("../model/operations.mjs").Run} run @param {string} key identifies the link after the next draw @param {object} attributes @param {...(Node | string)} parts
   * @returns {HTMLElement} a link to the run's span
   */
  runLink({ traceId, spanId }, key, attributes, ...parts) {
    const link = element("a", { href: this.actions.hrefOf(traceId, spanId), "data-key": key, ...attributes }, ...parts);
    link.addEventListener("click", (event) => {
      event.stopPropagation();
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.actions.openTrace(traceId, spanId);
    });
    return link;
  }

  focusActive() {
    const row = this.rowsNode.querySelectorAll(".operation-row")[this.active];
    (/** @type {HTMLElement | undefined} */ (row) ?? this.rowsNode).focus({ preventScroll: true });
  }

  /** @param {number} by rows */
  move(by) {
    this.active = Math.max(0, Math.min(this.rows.length - 1, this.active + by));
    this.actions.changed();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      this.focusActive();
      document.activeElement?.scrollIntoView({ block: "nearest" });
    }));
  }

  openActive() {
    const operation = this.rows[this.active];
    if (operation !== undefined) this.toggle(operationKey(operation));
  }
}

/**
 * @param {Operation} operation @param {number} bucketSeconds
 * @returns {HTMLElement} the counts by bucket of time, with errors below the line
 */
function sparkline({ rate }, bucketSeconds) {
  const most = rate.reduce((max, { count }) => Math.max(max, count), 1);
  const canvas = /** @type {HTMLElement} */ (element("span", { class: "spark", title: `${plural(rate.length, "bucket")} of ${bucketSeconds} s`, "aria-hidden": "true" }));
  canvas.append(...rate.map(({ count, errors }) => {
    const bar = element("span", { "data-errors": errors > 0 });
    setStyle(bar, "--h", `${count === 0 ? 0 : Math.max(8, (count / most) * 100).toFixed(0)}%`);
    return bar;
  }));
  return canvas;
}

/** @param {Operation} operation @returns {HTMLElement} */
function histogram({ histogram: ranges, p50, p95, p99 }) {
  const most = ranges.reduce((max, { count }) => Math.max(max, count), 1);
  const chart = element("div", { class: "histogram", role: "img", "aria-label": `p50 ${formatDuration(p50)}, p95 ${formatDuration(p95)}, p99 ${formatDuration(p99)}` });
  for (const { from, to, count, errors } of ranges) {
    const bar = element("span", { title: `${formatDuration(from)} – ${formatDuration(to)}: ${formatCount(count)}${errors > 0 ? `, ${plural(errors, "error")}` : ""}` });
    setStyle(bar, "--h", `${count === 0 ? 0 : Math.max(2, (count / most) * 100).toFixed(0)}%`);
    setStyle(bar, "--e", `${count === 0 ? 0 : ((errors / count) * 100).toFixed(0)}%`);
    chart.append(bar);
  }
  for (const [name, value] of /** @type {[string, number | null][]} */ ([["p50", p50], ["p95", p95], ["p99", p99]])) {
    const at = value === null ? -1 : ranges.findIndex(({ to }) => value < to);
    if (at < 0) continue;
    const mark = element("i", { "data-name": name });
    setStyle(mark, "left", `${(((at + 0.5) / ranges.length) * 100).toFixed(1)}%`);
    chart.append(mark);
  }
  const ends = ranges.length === 0 ? [] : [ranges[0].from, ranges[ranges.length - 1].to];
  return element("div", {}, chart, element("div", { class: "traffic-axis figure" }, ...ends.map((end) => element("span", { text: formatDuration(end) }))));
}

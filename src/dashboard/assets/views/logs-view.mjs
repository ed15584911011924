// @ts-check
// The records of a trace below its time axis: log records and span events in order of time. Pointing at a line marks
// its time on the axis; a click selects its span. Must never decide which lines there are: `log-lines.mjs` does.

import { clockText } from "../model/clock.mjs";
import { FoundLines, LINES_MAX, TraceLines, spanNameOf } from "../model/log-lines.mjs";
import { identityOf } from "../model/identity.mjs";
import { indexOf } from "../model/model.mjs";
import { colourKey } from "../model/palette.mjs";
import { childrenOf } from "../model/span.mjs";
import { formatCount } from "../model/time.mjs";
import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";
import { CHEAP_MS } from "./cached-layouts.mjs";
import { LogTable } from "./log-table.mjs";
import { recall, remember } from "./ui-preferences.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("../model/log-lines.mjs").LogLine} LogLine
 */

/** In larger traces, span events are not counted before the view is opened. */
const COUNTED_SPANS_MAX = 20_000;
/** Pause after a costly search of the lines, as a multiple of its time. */
const PATIENCE = 8;
const TIMES = /** @type {const} */ (["trace", "clock", "since"]);
const NONE = "No records yet. This list has the span events and log records of the trace. livespan::layer() sends those of tracing, log_processor() those of the SDK's logger.";

export class LogsView {
  root = byId("logs");
  lines = new TraceLines();
  wanted = new FoundLines();
  /** @type {TraceFrame | null} */
  frame = null;
  /** Whether only records of the selected span and of spans below it are shown. */
  isScoped = false;
  /** @type {Set<string>} */
  scope = new Set();
  scopeFor = "";
  /** Id of a span. The next frame scrolls to its first record. @type {string | null} */
  toShow = null;
  time = recall("records-time", /** @type {string} */ ("trace"));
  shownOf = "";
  askedFor = "";
  nextLook = 0;
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;

  /** @param {{ui: import("./ui-state.mjs").Ui, actions: {select: (spanId: string | null) => void, goTo: (spanId: string) => void, copy: (text: string) => void, waterfall: () => void}, point: (x: number | null) => void}} context */
  constructor({ ui, actions, point }) {
    this.ui = ui;
    this.table = new LogTable(this.root, {
      changed: ui.changed, wanted: ui.changed, top: () => {}, copy: actions.copy,
      select: ({ spanId }) => {
        if (this.frame !== null && indexOf(this.frame.trace, spanId) >= 0) actions.select(spanId);
      },
      open: ({ spanId }) => {
        actions.waterfall();
        if (spanId !== null) actions.goTo(spanId);
      },
      point: (line) => point(line === null || this.frame === null ? null : this.frame.scale.x(line.time)),
    }, "record");
    this.only = element("button", { type: "button", class: "button quiet", text: "This span and below", on: { click: () => {
      this.isScoped = !this.isScoped;
      ui.changed();
    } } });
    this.timeButton = element("button", { type: "button", class: "button quiet", title: "Time in the trace, time of day, or time since the previous line (x)", on: { click: () => this.cycleTime() } });
    this.table.extra.append(this.only, this.timeButton);
  }

  cycleTime() {
    this.time = TIMES[(TIMES.indexOf(/** @type {any} */ (this.time)) + 1) % TIMES.length];
    remember("records-time", this.time);
    this.table.drawnFor = "";
    this.ui.changed();
  }

  /** Discards the trace's records when the reader leaves it. */
  forget() {
    this.lines = new TraceLines();
    this.wanted = new FoundLines();
    this.scope = new Set();
    this.scopeFor = this.shownOf = this.askedFor = "";
    this.frame = this.table.selected = this.table.source = null;
    this.table.found = [];
  }

  /** @param {string | null} spanId id of the span to whose first record the view scrolls */
  show(spanId) {
    this.toShow = spanId;
    this.ui.changed();
  }

  /** @param {TraceFrame} frame */
  draw(frame) {
    const { trace, ui } = frame;
    const isShown = ui.view === "logs";
    setShown(this.root, isShown);
    this.frame = frame;
    const began = performance.now();
    const isDue = began >= this.nextLook || this.lines.trace !== trace;
    if (isDue && (isShown || (frame.moment === null && trace.spans.count <= COUNTED_SPANS_MAX))) this.lines.update(trace);
    const counted = this.lines.trace === trace ? this.lines.lines.all.length + this.lines.lines.left : trace.logs.all.length;
    setText(byId("logs-count"), counted === 0 ? "" : formatCount(counted));
    if (!isShown) return;
    const { table } = this;
    const of = String(frame.identity);
    const isOther = of !== this.shownOf;
    if (isOther) {
      this.shownOf = of;
      table.selected = null;
      // In time travel, show the last record up to the moment.
      table.setFollowing((frame.live || frame.moment !== null) && this.toShow === null);
    }
    const { lines } = this.lines;
    const selected = indexOf(trace, ui.spanId);
    setShown(this.only, selected >= 0);
    setAttribute(this.only, "aria-pressed", String(this.isScoped));
    setText(this.timeButton, { trace: "+ in trace", clock: "Clock", since: "Since last" }[/** @type {"trace"} */ (this.time)] ?? "+ in trace");
    const isScoped = this.isScoped && selected >= 0;
    if (isScoped) this.scopeTo(frame, selected);
    const asked = `${table.text} ${[...table.levels].join()} ${isScoped ? this.scopeFor : ""}`;
    if (isDue || asked !== this.askedFor) {
      this.askedFor = asked;
      this.wanted.update(lines, {
        text: table.text, levels: table.levels, key: isScoped ? this.scopeFor : "", spanId: (spanId) => !isScoped || (spanId !== null && this.scope.has(spanId)),
      });
    }
    const { found } = this.wanted;
    // Lines that exist when the view opens do not count as new.
    if (isOther) table.seen = found.length;
    this.rest(began, isDue);
    if (this.toShow !== null && lines.all.length > 0) {
      table.found = found;
      table.show(this.toShow);
      this.toShow = null;
    }
    table.draw({ ...this.telling(frame), found, counts: lines.counts, isClock: this.time === "clock", spanId: ui.spanId, note: this.note(trace.logs.refused + lines.left), empty: lines.all.length === 0 ? NONE : "No record matches." });
  }

  /**
   * Plans the next pass. A record out of order causes a pass over all lines, which must not happen in every frame.
   * @param {number} began @param {boolean} isDue whether a pass ran now
   */
  rest(began, isDue) {
    const now = performance.now();
    if (isDue) this.nextLook = now - began > CHEAP_MS ? now + (now - began) * PATIENCE : now;
    else this.timer ??= setTimeout(() => {
      this.timer = null;
      this.ui.changed();
    }, this.nextLook - now);
  }

  /** @param {TraceFrame} frame */
  telling({ trace, identity, palette }) {
    return {
      key: `${identity} ${this.wanted.version} ${trace.structure} ${this.time} ${this.ui.zone} ${trace.services.size > 1}`,
      time: (/** @type {LogLine} */ line, /** @type {LogLine | undefined} */ before) => this.timeText(trace, line, before),
      name: (/** @type {LogLine} */ line) => spanNameOf(trace, line) || (line.spanId === null ? "" : `span ${line.spanId}`),
      colour: (/** @type {LogLine} */ line) => {
        const index = indexOf(trace, line.spanId);
        return index < 0 ? "transparent" : palette.colour(colourKey(trace, index));
      },
    };
  }

  /** @param {number} left @returns {string} */
  note(left) {
    return left === 0 ? "" : `Only the newest ${formatCount(LINES_MAX)} records are kept here; ${formatCount(left)} older ones were left out.`;
  }

  /** @param {import("../model/model.mjs").Trace} trace @param {LogLine} line @param {LogLine | undefined} before @returns {string} */
  timeText(trace, line, before) {
    if (Number.isNaN(line.time)) return "";
    if (this.time === "clock") return clockText(trace.originSeconds * 1_000 + line.time, this.ui.zone);
    const from = this.time === "since" ? (before?.time ?? line.time) : trace.start;
    return secondsText(line.time - from);
  }

  /** @param {TraceFrame} frame @param {number} selected */
  scopeTo({ trace, identity }, selected) {
    const key = `${identity} ${selected} ${trace.structure}`;
    if (key === this.scopeFor) return;
    this.scopeFor = key;
    this.scope = new Set();
    const todo = [selected];
    for (let index = todo.pop(); index !== undefined; index = todo.pop()) {
      this.scope.add(trace.spans.ids[index]);
      for (const child of childrenOf(trace, index)) todo.push(child);
    }
  }
}

/** @param {number} milliseconds @returns {string} `+23.412` */
export function secondsText(milliseconds) {
  return `${milliseconds < 0 ? "−" : "+"}${(Math.abs(milliseconds) / 1000).toFixed(3)}`;
}

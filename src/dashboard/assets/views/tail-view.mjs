// @ts-check
// The page of log records and exceptions of all traces. Must never send requests itself: its feed and its caller do.

import { clockText } from "../model/clock.mjs";
import { FoundLines } from "../model/log-lines.mjs";
import { LEVELS } from "../model/severity.mjs";
import { formatCount } from "../model/time.mjs";
import { TraceNames } from "../net/trace-names.mjs";
import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";
import { UNREACHABLE, isReachable } from "./list-view.mjs";
import { LOG_ROW, LogTable } from "./log-table.mjs";

const NONE = "No log records and no exceptions yet. To send logs, add livespan::layer() for tracing or log_processor() for the SDK's logger; a program in another language sends them by OTLP. See “Inside a span”, “Log records”, in livespan's guide.";
/** Maximum number of earlier pages that are searched automatically. */
const LOOKS_MAX = 5;

export class TailView {
  wanted = new FoundLines();
  /** Number of pages that may still be loaded automatically because the matches do not fill the view. */
  looks = LOOKS_MAX;

  /**
   * @param {import("../net/log-feed.mjs").LogFeed} feed
   * @param {{changed: () => void, openTrace: (traceId: string, spanId: string | null) => void, copy: (text: string) => void, zone: () => import("../model/clock.mjs").Zone,
   *   namesOf: (traceIds: string[]) => Promise<[string, string][] | null>}} actions
   */
  constructor(feed, actions) {
    this.feed = feed;
    this.actions = actions;
    this.names = new TraceNames({
      now: () => performance.now(), setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
      changed: actions.changed, namesOf: actions.namesOf,
    });
    this.olderButton = element("button", { type: "button", class: "button quiet", text: "Load older", on: { click: () => void feed.load(feed.before) } });
    this.table = new LogTable(byId("tail"), {
      changed: actions.changed, copy: actions.copy, select: () => {}, point: () => {},
      wanted: () => this.search(), top: () => this.older(),
      open: ({ traceId, spanId }) => traceId !== null && actions.openTrace(traceId, spanId),
    }, "tail-record");
    this.table.extra.append(this.olderButton);
  }

  /** Passes to the server the part of the search that it supports; the rest is applied to the loaded lines. */
  search() {
    const { text, levels } = this.table;
    const least = LEVELS.filter(([level]) => levels.has(level)).at(-1)?.[1] ?? 0;
    this.looks = LOOKS_MAX;
    this.feed.search(/[-"=:]/.test(text) ? "" : text, least === 1 ? 0 : least);
    this.actions.changed();
  }

  older() {
    if (this.feed.hasOlder() && !this.table.isFollowing) void this.feed.load(this.feed.before);
  }

  draw() {
    const { feed, table } = this;
    const { lines } = feed;
    const found = this.wanted.update(lines, { text: table.text, levels: table.levels, spanId: () => true, key: "" });
    table.draw({
      found, counts: lines.counts, isClock: true, key: `${this.wanted.version} ${this.names.version} ${this.actions.zone()}`, spanId: null, note: this.note(),
      empty: !feed.isLoaded && !isReachable(feed.status) ? `The server does not answer. ${UNREACHABLE}` : !feed.isLoaded && !feed.hasFailed ? "Loading…" : lines.all.length === 0 ? NONE : "No loaded record matches.",
      time: ({ time }) => clockText(time, this.actions.zone()), name: ({ traceId }) => this.nameOf(traceId), colour: ({ traceId }) => (traceId === null ? "transparent" : "var(--faint)"),
    });
    setShown(this.olderButton, feed.before !== null);
    setAttribute(this.olderButton, "aria-disabled", feed.isLoading ? "true" : null);
    if (this.looks > 0 && feed.hasOlder() && found.length * LOG_ROW < table.viewport) {
      this.looks -= 1;
      void feed.load(feed.before);
    }
    void this.names.ask();
    setText(byId("tail-counts"), lines.all.length === 0 ? "" : `${formatCount(lines.all.length)}${feed.before === null ? "" : "+"} lines from all traces`);
  }

  /** @returns {string} */
  note() {
    const { feed } = this;
    if (feed.hasFailed) return "Earlier records could not be loaded; new ones are shown.";
    const oldest = feed.lines.all[0]?.time ?? Infinity;
    if (oldest < feed.exceptionsFrom) return feed.exceptionsFrom === Infinity ? "Exceptions of spans are among the new lines only." : `Exceptions of spans are among the lines from ${clockText(feed.exceptionsFrom, this.actions.zone())} on.`;
    return feed.lines.left > 0 ? `This page keeps only the newest records; ${formatCount(feed.lines.left)} older ones were removed.` : "";
  }

  /** @param {string | null} traceId @returns {string} */
  nameOf(traceId) {
    return traceId === null ? "outside of spans" : this.names.of(traceId);
  }
}

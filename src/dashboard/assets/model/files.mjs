// @ts-check
// Traces read from a file, as feeds that never change after loading. Must never touch the DOM, the network or a clock.

import { isBadState } from "./columns.mjs";
import { createList, reduceList } from "./list-model.mjs";
import { attributesOf, createTrace, evictedOf, firstSpan, incompleteOf, nameOf, reduceTrace, traceName, traceState } from "./model.mjs";
import { evictedText, incompleteText, isPartial } from "./span.mjs";
import { reasonOf } from "./span-title.mjs";
import { epochMilliseconds, formatCount, parseTimestamp, plural } from "./time.mjs";
import { historyOf } from "./trace-at-time.mjs";

/** Prefix of a trace id from a file. Ids with it are never requested from the server. */
export const FILE_PREFIX = "file:";
/** Maximum number of traces read from one file. */
export const FILE_TRACES_MAX = 2_000;

/** @type {import("../net/stream.mjs").StreamStatus} */
const STILL = { word: "ended", reason: "", lastId: "", attempt: 0, malformed: 0, outage: null, since: 0, next: 0 };

/** One trace of a file, with the interface of a live feed. */
export class FileFeed {
  /** @param {string} file the file's name @param {string} traceId @param {Map<string, any>} processes of the whole file */
  constructor(file, traceId, processes) {
    this.file = file;
    this.traceId = FILE_PREFIX + traceId;
    this.model = createTrace(traceId);
    this.model.processes = processes;
    this.status = STILL;
    /** @type {"open" | "refused"} */
    this.phase = "open";
    this.error = "";
    this.paused = false;
    this.news = 0;
    this.lag = null;
    /** When the last event was, in tree time; NaN before the first. */
    this.last = NaN;
    /** When the file was made; empty if the file does not contain that time. */
    this.made = "";
    /** @type {any[]} */
    this.past = [];
    /** @type {import("./trace-at-time.mjs").History | null} */
    this.history = null;
  }

  /**
   * The time up to which open spans are drawn: the time of the trace's last event, or the time when the file was made,
   * if the file contains it and it is later.
   * @returns {number} in tree time
   */
  get fixedNow() {
    const made = parseTimestamp(this.made, this.model.originSeconds);
    return this.model.counts.open > 0 && made > this.last ? made : this.last;
  }

  /** @param {any} event */
  take(event) {
    if (event.type === "missing") {
      this.model.evicted ??= evictedOf(event.evicted);
      this.model.incomplete ??= incompleteOf(event.incomplete);
      return;
    }
    reduceTrace(this.model, { type: event.type, data: event });
    // Other programs write fewer than nine fractional digits, so the order of the texts is not the order of the times.
    for (const text of [event.timestamp, event.startTimestamp]) {
      const time = parseTimestamp(text, this.model.originSeconds);
      if (time > this.last || Number.isNaN(this.last)) this.last = time;
    }
    if (event.type === "started" || event.type === "updated") this.past.push(event);
  }

  /** @param {string} made when the file was made, or empty */
  finish(made) {
    this.made = made;
    this.history = historyOf(this.past, this.model.originSeconds);
    this.past = [];
  }

  open() {}
  close() {}
  pause() {}
  resume() {}
}

/**
 * Returns a refused feed for a trace whose file is no longer loaded, for example after a reload.
 * @param {string} traceId @returns {FileFeed}
 */
export function missingFile(traceId) {
  const feed = new FileFeed("", traceId.slice(FILE_PREFIX.length), new Map());
  feed.phase = "refused";
  feed.error = "This trace came from a file that is no longer loaded. Open the file again.";
  return feed;
}

/** All traces of one file. */
export class FileTraces {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    /** @type {Map<string, FileFeed>} by id */
    this.feeds = new Map();
    /** @type {Map<string, any>} */
    this.processes = new Map();
    this.refused = new Set();
    /** Counts of everything that the file reader left out. @type {[string, number][]} */
    this.left = [];
    /** Name of the tool that wrote the file, empty for our own or OpenTelemetry's formats. */
    this.source = "";
    /** Number of log records without a trace. */
    this.outside = 0;
    /** `gap` events, and `missing` events of the whole file: they apply to each of its traces. @type {any[]} */
    this.ofAll = [];
    this.list = new FileList(name);
  }

  /** @param {any[]} events */
  take(events) {
    for (const event of events) {
      if (event.type === "process" && typeof event.process === "string") this.processes.set(event.process, event);
      if (event.type === "gap" || (event.type === "missing" && event.traceId === undefined)) this.ofAll.push(event);
      if (typeof event.traceId !== "string") {
        if (event.type === "log") this.outside += 1;
        continue;
      }
      let feed = this.feeds.get(event.traceId);
      if (feed === undefined) {
        if (this.feeds.size >= FILE_TRACES_MAX) {
          this.refused.add(event.traceId);
          continue;
        }
        feed = new FileFeed(this.name, event.traceId, this.processes);
        this.feeds.set(event.traceId, feed);
      }
      feed.take(event);
    }
  }

  /** @returns {string[]} what the page leaves out of the file or changes, each with its count */
  leftOut() {
    const parts = this.left.map(([what, count]) => `${what} (${formatCount(count)})`);
    if (this.outside > 0) parts.push(`log records outside of traces (${formatCount(this.outside)})`);
    if (this.refused.size > 0) parts.push(`further traces (${formatCount(this.refused.size)})`);
    return parts;
  }

  /** @param {string} [made] when the file was made, if the file contains that time */
  finish(made = "") {
    for (const feed of this.feeds.values()) {
      for (const event of this.ofAll) feed.take(event);
      feed.finish(made);
    }
    const traces = [...this.feeds.values()].filter((feed) => feed.model.counts.total > 0).map(summaryOf);
    const hasOpen = [...this.feeds.values()].some((feed) => feed.model.counts.open > 0);
    const times = [...traces.map((trace) => trace.lastTimestamp), ...(hasOpen && made !== "" ? [made] : [])];
    this.list.fixedNow = Math.max(0, ...times.map(epochMilliseconds));
    reduceList(this.list.model, { type: "traces", data: { snapshot: true, traces, removed: [] } });
  }

  /** @param {string} traceId as in the address @returns {FileFeed | undefined} */
  feed(traceId) {
    return this.feeds.get(traceId.slice(FILE_PREFIX.length));
  }
}

/** Up to this many processes are named. If there are more, the text has their number and names only the first. */
const PROCESSES_NAMED = 2;

/**
 * Describes where a file comes from, and whether the traces in it are complete.
 * @param {FileTraces} file
 * @param {number} events in the file
 * @returns {{from: string, all: string, isWhole: boolean}}
 */
export function fileSummary({ feeds, processes }, events) {
  const all = [...processes.values()].map(processText).filter((text) => text !== "");
  const from = all.length <= PROCESSES_NAMED ? all.join(" and ") : `${plural(all.length, "process", "processes")}, ${all[0]} among them`;
  const models = [...feeds.values()].map(({ model }) => model).filter(({ counts }) => counts.total > 0);
  const counted = (/** @type {(model: import("./model.mjs").Trace) => number} */ of) => models.reduce((sum, model) => sum + of(model), 0);
  const what = [
    ...(models.length > 1 ? [plural(models.length, "trace")] : []), plural(counted(({ counts }) => counts.total), "span"),
    plural(counted(({ logs }) => logs.all.length), "record"), plural(events, "event"),
  ].join(", ");
  const partial = models.filter((model) => isPartial(model) || model.incomplete !== null);
  if (partial.length === 0) return { from, all: `complete: ${what}`, isWhole: true };
  const missing = models.length === 1 ? [evictedText(partial[0]), incompleteText(partial[0])].filter((text) => text !== "").join(", ") : `${formatCount(partial.length)} of ${plural(models.length, "trace")} are incomplete`;
  return { from, all: `incomplete: ${missing}; this file has ${what}`, isWhole: false };
}

/** @param {any} process @returns {string} `shop@web-3, pid 4112` */
function processText({ service, resource, pid }) {
  const host = resource?.["host.name"];
  const name = `${typeof service === "string" ? service : ""}${typeof host === "string" ? `@${host}` : ""}`;
  return [name, ...(typeof pid === "number" ? [`pid ${pid}`] : [])].filter((text) => text !== "").join(", ").slice(0, 200);
}

/** The list of a file's traces, with the interface of a live list feed. */
class FileList {
  /** @param {string} file */
  constructor(file) {
    this.file = file;
    this.model = createList();
    this.status = STILL;
    this.paused = false;
    this.news = 0;
    this.lag = null;
    /** Like `FileFeed.fixedNow`, but in milliseconds since 1970. */
    this.fixedNow = 0;
    this.loadingOlder = false;
    this.olderFailed = false;
    this.stoppedEarly = false;
  }

  hasOlder() {
    return false;
  }

  async loadOlder() {}
  search() {}
  forget() {}
  open() {}
  close() {}
  pause() {}
  resume() {}
}

/** @param {FileFeed} feed @returns {import("./list-model.mjs").Summary} */
function summaryOf({ model, traceId, last }) {
  const { spans, strings, counts } = model;
  /** @type {Map<string, {name: string, spans: number, errors: number}>} */
  const services = new Map([...model.services].map(([name, service]) => [name, { name, spans: service.spans, errors: 0 }]));
  for (let index = 0; index < spans.count; index += 1) {
    const service = services.get(strings.list[spans.service[index]]);
    if (service !== undefined && isBadState(spans.state[index])) service.errors += 1;
  }
  const state = traceState(model);
  const end = counts.open > 0 ? null : model.end;
  const first = firstSpan(model);
  const isRoot = first >= 0 && spans.parent[first] < 0 && !model.parentIds.has(first);
  return {
    traceId, name: traceName(model), service: strings.list[spans.service[first]] ?? "", kind: strings.list[spans.kind[first]] ?? "", state: state === "placeholder" ? "lost" : state,
    rootSpanId: isRoot ? spans.ids[first] : null, startTimestamp: wireTime(model.originSeconds, model.start),
    endTimestamp: end === null ? null : wireTime(model.originSeconds, end), lastTimestamp: wireTime(model.originSeconds, last),
    durationMs: end === null ? null : end - model.start,
    spans: { total: counts.total, open: counts.open, errors: counts.errors, lost: counts.lost }, services: [...services.values()],
    ...(first < 0 ? {} : { rootAttributes: attributesOf(model, first) ?? {} }), ...errorOf(model),
    ...(model.evicted === null ? {} : { evicted: model.evicted }),
  };
}

/**
 * @param {import("./model.mjs").Trace} model
 * @returns {Pick<import("./list-model.mjs").Summary, "error">} the earliest failure that has a message
 */
function errorOf(model) {
  const { spans } = model;
  let found = -1;
  for (let index = 0; index < spans.count; index += 1) {
    if (isBadState(spans.state[index]) && reasonOf(model, index) !== "" && (found < 0 || spans.end[index] < spans.end[found])) found = index;
  }
  return found < 0 ? {} : { error: { spanId: spans.ids[found], name: nameOf(model, found), message: reasonOf(model, found) } };
}

/** @param {number} originSeconds @param {number} time in tree time @returns {string} */
function wireTime(originSeconds, time) {
  if (Number.isNaN(time)) return "";
  const seconds = originSeconds + Math.floor(time / 1000);
  const nanoseconds = Math.min(999_999_999, Math.round((time - Math.floor(time / 1000) * 1000) * 1e6));
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, "0")}Z`;
}

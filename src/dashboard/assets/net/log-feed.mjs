// @ts-check
// The feed of log records of all traces: combines new records, pages of earlier ones, and the exceptions of spans that
// failed, in one list.
// Must never touch the DOM. Requests, streams and timers are passed in.

import { addGap, droppedOf, noLosses } from "../model/gaps.mjs";
import { epochOf, sequenceOf } from "../model/event-ids.mjs";
import { LINES_MAX, LogLines, isSpanException, lineOfEvent, lineOfLog } from "../model/log-lines.mjs";
import { valueText } from "../model/span-details.mjs";
import { epochMilliseconds } from "../model/time.mjs";
import { failedStreamRoute, logsRoute, logStreamRoute } from "./api.mjs";
import { TYPING_MS } from "./list-feed.mjs";
import { CONNECTING } from "./trace-feed.mjs";

/** @typedef {import("../model/log-lines.mjs").LogLine} LogLine */

/** Number of records in one page of history. */
export const LOGS_PAGE = 200;
/** Maximum number of records held while the page is paused. Further records are requested again later. */
export const LOGS_HELD_MAX = 5_000;
/** Number of newest events of the log in which exceptions are looked for when the page opens. */
export const EXCEPTION_EVENTS_MAX = 20_000;
/** Maximum number of exceptions that wait for the records around them. */
export const EXCEPTIONS_HELD_MAX = 2_000;

export class LogFeed {
  /** @param {import("./trace-feed.mjs").World} world */
  constructor(world) {
    this.world = world;
    this.lines = new LogLines();
    /** The fields of a trace's model that the status view reads. */
    this.model = { hostDropped: droppedOf(null), losses: noLosses(), degraded: false };
    this.status = CONNECTING;
    this.paused = false;
    this.news = 0;
    /** @type {LogLine[]} */
    this.held = [];
    /** @type {number | null} */
    this.lag = null;
    this.head = "";
    /** Where the next earlier page ends; null if there is none or it is not known yet. @type {string | null} */
    this.before = null;
    this.isLoaded = false;
    this.isLoading = false;
    this.hasFailed = false;
    this.loads = 0;
    this.query = "";
    this.severity = 0;
    /** @type {any} */
    this.typing = null;
    /** @type {import("./stream.mjs").Stream | null} */
    this.stream = null;
    /** The stream of spans that failed. @type {import("./stream.mjs").Stream | null} */
    this.failed = null;
    /** Exceptions older than the loaded records, by id, since the hub may repeat them. @type {Map<string, LogLine>} */
    this.early = new Map();
    /** From this time on all records are loaded; Infinity before the first page. */
    this.oldest = Infinity;
    /** Exceptions before this time may be missing; Infinity until the first failed span shows the time. */
    this.exceptionsFrom = -Infinity;
  }

  open() {
    this.stream ??= this.world.openStream({
      topic: "logs", key: logStreamRoute(), onEvent: (event) => this.receive(event),
      onStatus: (status) => {
        this.status = status;
        this.world.onChange();
      },
    });
  }

  close() {
    this.stream?.close();
    this.failed?.close();
    this.stream = this.failed = null;
    this.loads += 1;
    this.isLoading = false;
    this.world.clearTimeout(this.typing);
  }

  /** @param {import("./stream.mjs").StreamEvent} event */
  receive({ type, id, data }) {
    if (data.now) this.world.onClock(data.now);
    if (typeof data.head === "string") this.head = data.head;
    // Records missed before this stream began are in the newest page.
    if (type === "hello") {
      void this.load(null);
      this.openFailed(data);
    }
    else if (type === "log") this.take([id === "" ? data : { ...data, id }]);
    else if (type === "ping" && data.dropped) this.model.hostDropped = droppedOf(data.dropped);
    else if (type === "degraded" || type === "gap") this.model.degraded = type === "degraded";
    if (type === "gap") addGap(this.model.losses, data, id);
    this.world.onChange();
  }

  /**
   * Opens the stream of failed spans. It begins at most EXCEPTION_EVENTS_MAX events before the newest event.
   * @param {any} hello
   */
  openFailed(hello) {
    if (this.failed !== null) return;
    const from = Math.max(sequenceOf(hello.oldest) - 1, sequenceOf(hello.head) - EXCEPTION_EVENTS_MAX, 0);
    const isAll = from < sequenceOf(hello.oldest);
    this.failed = this.world.openStream({
      topic: "logs", key: failedStreamRoute(), lastEventId: from === 0 ? "" : `${epochOf(String(hello.head ?? ""))}-${from}`, onStatus: () => {},
      onEvent: ({ type, id, data }) => {
        if (type !== "ended" || !Array.isArray(data.events)) return;
        this.takeExceptions(data, id);
        this.world.onChange();
      },
    });
    if (!isAll) this.exceptionsFrom = Infinity;
  }

  /** @param {any} span that failed @param {string} id of its event */
  takeExceptions({ events, traceId, spanId, service, scope, timestamp }, id) {
    // The first span that arrives shows from when on exceptions are known.
    if (this.exceptionsFrom === Infinity) this.exceptionsFrom = epochMilliseconds(timestamp);
    events.forEach((/** @type {any} */ event, /** @type {number} */ at) => {
      if (event?.name === "exception") this.keepEarly(lineOfEvent({ ...event, service, scope, id: `${id}.${at}` }, epochMilliseconds(event.timestamp), spanId, traceId));
    });
    this.addExceptions();
  }

  /** @param {LogLine} line of an exception */
  keepEarly(line) {
    this.early.set(line.data.id, line);
    if (this.early.size > EXCEPTIONS_HELD_MAX) for (const oldest of this.early.keys()) {
      this.early.delete(oldest);
      break;
    }
  }

  /**
   * Adds the exceptions since the oldest loaded record. Without the records around them, earlier exceptions would look
   * like the only records of their time.
   */
  addExceptions() {
    const due = [...this.early.values()].filter(({ time }) => time >= this.oldest);
    for (const { data } of due) this.early.delete(data.id);
    if (due.length > 0) this.takeLines(due);
  }

  /** @param {any[]} records */
  take(records) {
    this.takeLines(records.map((data) => lineOfLog(data, epochMilliseconds(data.timestamp))));
  }

  /** @param {LogLine[]} taken */
  takeLines(taken) {
    const lines = taken.filter((line) => !Number.isNaN(line.time) && !this.has(line));
    if (!this.paused) return this.lines.add(lines);
    this.news += lines.length;
    // Records for which there is no room are in the page that `resume` requests.
    if (this.held.length < LOGS_HELD_MAX) this.held.push(...lines);
  }

  /**
   * Returns whether the record is known. A record may arrive twice: by the stream and in a page.
   * @param {LogLine} line @returns {boolean}
   */
  has(line) {
    const { all } = this.lines;
    for (let at = all.length - 1; at >= 0 && all[at].time >= line.time; at -= 1) if (all[at].time === line.time && keyOf(all[at]) === keyOf(line)) return true;
    return false;
  }

  pause() {
    this.paused = true;
    this.news = 0;
  }

  resume() {
    this.paused = false;
    const overflowed = this.held.length >= LOGS_HELD_MAX;
    this.lines.add(this.held.filter((line) => !this.has(line)));
    this.held = [];
    if (overflowed) void this.load(null);
    if (this.stream === null) this.open();
    else this.stream.resume();
  }

  /**
   * Sets the search for earlier records.
   * @param {string} query plain text @param {number} severity the lowest severity
   */
  search(query, severity) {
    if (query === this.query && severity === this.severity) return;
    Object.assign(this, { query, severity });
    this.world.clearTimeout(this.typing);
    this.typing = this.world.setTimeout(() => void this.load(null), TYPING_MS);
  }

  /** @returns {boolean} */
  hasOlder() {
    return this.before !== null && !this.isLoading && this.lines.all.length < LINES_MAX;
  }

  /** Loads one page. @param {string | null} before null for the newest @returns {Promise<void>} */
  async load(before) {
    const load = ++this.loads;
    this.isLoading = true;
    const { status, body } = await this.world.getJson(logsRoute({ limit: LOGS_PAGE, before, query: this.query, severity: this.severity }));
    if (load !== this.loads) return;
    this.isLoading = false;
    this.hasFailed = status !== 200 || !Array.isArray(body?.logs);
    if (!this.hasFailed) {
      const times = body.logs.map((/** @type {any} */ data) => epochMilliseconds(data?.timestamp));
      const oldest = Math.min(...times);
      const newest = this.lines.all[this.lines.all.length - 1]?.time;
      // If the page does not reach the loaded records, there is a hole. Drop those records; they can be loaded again.
      if (before === null && body.next != null && newest !== undefined && oldest > newest) {
        for (const line of this.lines.all.filter(isSpanException)) this.keepEarly(line);
        this.lines.clear();
        this.oldest = Infinity;
      }
      // The page is newest first. Reversed, records with equal times stay in order.
      this.take(body.logs.filter((/** @type {any} */ data) => data !== null && typeof data === "object").reverse());
      this.before = body.next == null ? null : String(body.next);
      this.oldest = this.before === null ? -Infinity : Math.min(this.oldest, oldest);
      this.addExceptions();
      this.isLoaded = true;
      this.world.onClock(body.now);
    }
    this.world.onChange();
  }
}

/** @param {LogLine} line @returns {string} */
function keyOf({ data }) {
  return typeof data.id === "string" ? data.id : `${data.timestamp} ${data.process} ${data.spanId} ${valueText(data.body)}`;
}

// @ts-check
// The feed of log records of all traces: combines new records and pages of earlier ones in one list.
// Must never touch the DOM. Requests, streams and timers are passed in.

import { addGap, droppedOf, noLosses } from "../model/gaps.mjs";
import { LINES_MAX, LogLines, lineOfLog } from "../model/log-lines.mjs";
import { valueText } from "../model/span-details.mjs";
import { epochMilliseconds } from "../model/time.mjs";
import { logsRoute, logStreamRoute } from "./api.mjs";
import { TYPING_MS } from "./list-feed.mjs";
import { CONNECTING } from "./trace-feed.mjs";

/** @typedef {import("../model/log-lines.mjs").LogLine} LogLine */

/** Number of records in one page of history. */
export const LOGS_PAGE = 200;
/** Maximum number of records held while paused; further ones are requested again. */
export const LOGS_HELD_MAX = 5_000;

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
    this.stream = null;
    this.loads += 1;
    this.isLoading = false;
    this.world.clearTimeout(this.typing);
  }

  /** @param {import("./stream.mjs").StreamEvent} event */
  receive({ type, id, data }) {
    if (data.now) this.world.onClock(data.now);
    if (typeof data.head === "string") this.head = data.head;
    // Records missed before this stream began are in the newest page.
    if (type === "hello") void this.load(null);
    else if (type === "log") this.take([id === "" ? data : { ...data, id }]);
    else if (type === "ping" && data.dropped) this.model.hostDropped = droppedOf(data.dropped);
    else if (type === "degraded" || type === "gap") this.model.degraded = type === "degraded";
    if (type === "gap") addGap(this.model.losses, data, id);
    this.world.onChange();
  }

  /** @param {any[]} records */
  take(records) {
    const lines = records.map((data) => lineOfLog(data, epochMilliseconds(data.timestamp))).filter((line) => !Number.isNaN(line.time) && !this.has(line));
    if (!this.paused) return this.lines.add(lines);
    this.news += lines.length;
    // Records without room are in the page that `resume` requests.
    if (this.held.length < LOGS_HELD_MAX) this.held.push(...lines);
  }

  /**
   * Returns whether the record is known: it may arrive by the stream and in a page.
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
      if (before === null && body.next != null && newest !== undefined && oldest > newest) this.lines.clear();
      // The page is newest first. Reversed, records with equal times stay in order.
      this.take(body.logs.filter((/** @type {any} */ data) => data !== null && typeof data === "object").reverse());
      this.before = body.next == null ? null : String(body.next);
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

// @ts-check
// The feed of log records over all traces: what comes, and pages of what was before it, brought into one list.
// Must never touch the DOM. Everything it needs of the world (requests, streams, timers) is handed to it.

import { addGap, droppedOf, noLosses } from "../model/gaps.mjs";
import { LINES_MAX, LogLines, lineOfLog } from "../model/log-lines.mjs";
import { valueText } from "../model/span-details.mjs";
import { epochMilliseconds } from "../model/time.mjs";
import { logsRoute, logStreamRoute } from "./api.mjs";
import { TYPING_MS } from "./list-feed.mjs";
import { CONNECTING } from "./trace-feed.mjs";

/** @typedef {import("../model/log-lines.mjs").LogLine} LogLine */

/** Records of one page of history. */
export const LOGS_PAGE = 200;
/** Records that wait while the page stands still; beyond, they are asked for anew. */
export const LOGS_HELD_MAX = 5_000;

export class LogFeed {
  /** @param {import("./trace-feed.mjs").World} world */
  constructor(world) {
    this.world = world;
    this.lines = new LogLines();
    /** What the status says of the log. */
    this.model = { hostDropped: droppedOf(null), losses: noLosses(), degraded: false };
    this.status = CONNECTING;
    this.paused = false;
    this.news = 0;
    /** @type {LogLine[]} */
    this.held = [];
    /** @type {number | null} */
    this.lag = null;
    this.head = "";
    /** Where the page before what is at hand ends; null where there is none, or not yet. @type {string | null} */
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
    // Whatever was missed before this stream began is in the newest page.
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
    // What has no room is in the page that is asked for afterwards.
    if (this.held.length < LOGS_HELD_MAX) this.held.push(...lines);
  }

  /** A record may come by the stream and in a page. @param {LogLine} line @returns {boolean} */
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

  /** What is looked for in what was before. @param {string} query plain text @param {number} severity this and above */
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

  /** One page. @param {string | null} before null for the newest @returns {Promise<void>} */
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
      // A page that does not reach what is at hand leaves a hole: what is before it is asked for again.
      if (before === null && body.next != null && newest !== undefined && oldest > newest) this.lines.clear();
      // The newest come first; of one moment, the later stay behind the earlier.
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

// @ts-check
// The feed of one trace: combines a snapshot and the stream that continues it in one model.
// Must never touch the DOM. Requests, streams and timers are passed in.

import { createTrace, reduceTrace } from "../model/model.mjs";
import { epochMilliseconds } from "../model/time.mjs";
import { traceRoute } from "./api.mjs";
import { BACKOFF_MAX_MS, ENDED_BACKOFF_MAX_MS } from "./stream.mjs";

/**
 * @typedef {import("./stream.mjs").Stream} Stream
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {import("./stream.mjs").StreamEvent} StreamEvent
 * @typedef {object} World
 * @property {(route: string) => Promise<{status: number, body: any}>} getJson
 * @property {(route: string, begin: () => (spans: any[]) => void) => Promise<{status: number, body: any}>}
 *   getSnapshot passes on the spans as they arrive
 * @property {(wanted: import("./hub-client.mjs").Wanted) => Stream} openStream
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {(serverNow: unknown) => void} onClock gets the time of the server's clock
 * @property {() => number} serverNow the server's present time, in milliseconds since 1970
 * @property {() => number} now milliseconds since 1970, by this machine's clock
 * @property {() => number} endedAt when the program announced its shutdown, 0 if it did not
 * @property {() => void} onChange called when the page may need to be redrawn
 */

/** Maximum number of events held while paused. Beyond it, the stream is closed and later resumed. */
export const HELD_MAX = 20_000;
const SNAPSHOT_RETRY_MS = 2_000;

const LAG_EVERY_MS = 250;
/** Minimum time between snapshots requested because of evicted events. */
const RELOAD_EVERY_MS = 5_000;

/** @type {StreamStatus} */
export const CONNECTING = { word: "connecting", reason: "", lastId: "", attempt: 0, malformed: 0, outage: null, since: 0, next: 0 };

/** One trace: its snapshot, then its stream. */
export class TraceFeed {
  /** @param {World} world @param {string} traceId */
  constructor(world, traceId) {
    this.world = world;
    this.traceId = traceId;
    this.model = createTrace(traceId);
    /** @type {StreamStatus} */
    this.status = CONNECTING;
    /** @type {"loading" | "open" | "waiting" | "refused"} */
    this.phase = "loading";
    this.error = "";
    /** @type {Stream | null} */
    this.stream = null;
    this.closed = false;
    this.paused = false;
    /** Events received while paused, in order. @type {StreamEvent[]} */
    this.held = [];
    /**
     * Number of events received while paused, without `hello` and `ping`. Events after HELD_MAX are not counted, but
     * they are not lost.
     */
    this.news = 0;
    /** Age of the newest event at its arrival, in milliseconds. @type {number | null} */
    this.lag = null;
    this.head = "";
    this.lagAt = -Infinity;
    /** @type {any} */
    this.retry = null;
    this.loads = 0;
    /** Number of failed snapshot requests in a row, and the time of the first. */
    this.attempt = 0;
    this.unreachableSince = 0;
    this.reloadedAt = -Infinity;
    /** Number of spans of the snapshot that have arrived. */
    this.loaded = 0;
  }

  open() {
    void this.load();
  }

  close() {
    this.closed = true;
    this.world.clearTimeout(this.retry);
    this.stream?.close();
    this.stream = null;
  }

  pause() {
    this.paused = true;
    this.news = 0;
  }

  resume() {
    this.paused = false;
    const held = this.held;
    this.held = [];
    for (const event of held) this.apply(event);
    this.stream?.resume();
  }

  /** Loads the snapshot into a new model and follows its stream. Without a snapshot, keeps the old model. */
  async load() {
    const load = ++this.loads;
    let fresh = createTrace(this.traceId);
    const answer = await this.world.getSnapshot(traceRoute(this.traceId), () => {
      const trace = createTrace(this.traceId);
      fresh = trace;
      return (spans) => {
        if (this.closed || load !== this.loads) return;
        reduceTrace(trace, { type: "snapshot", data: { spans } });
        this.loaded = trace.counts.total;
        this.world.onChange();
      };
    });
    // A later load has started, or the feed was closed.
    if (this.closed || load !== this.loads) return;
    if (answer.status === 200 && answer.body !== null) {
      const old = this.model;
      this.model = reduceTrace(fresh, { type: "snapshot", data: answer.body });
      this.model.restarts = old.restarts;
      if (old.losses.evicted > 0) this.model.losses = old.losses;
      // Keeps the epoch of the last `hello`: if the next `hello` names another one, the log has restarted again.
      if (old.restarts > 0) this.model.epoch = old.epoch;
      // A durable log still has all earlier spans. If the model has fewer now, report a loss of unknown size.
      if (this.model.counts.total < old.counts.total) this.model.losses.unknown = true;
      this.attempt = 0;
      this.unreachableSince = 0;
      this.phase = "open";
      this.world.onClock(answer.body.now);
      this.follow(answer.body.cursor);
    } else if (answer.status === 404) {
      if (this.model.counts.total === 0) this.phase = "waiting";
      if (this.stream === null) this.follow("");
    } else if (answer.status === 0 || answer.status >= 500 || answer.status === 429) {
      this.loadLater();
    } else {
      this.phase = "refused";
      this.error = String(answer.body?.error ?? `the server answered ${answer.status}`);
      this.status = { ...CONNECTING, word: "ended", reason: "refused" };
    }
    this.world.onChange();
  }

  /** Plans another attempt after a failure. After an announced shutdown, the failure is expected. */
  loadLater() {
    const now = this.world.now();
    const endedAt = this.world.endedAt();
    this.unreachableSince ||= now;
    const pause = Math.min(endedAt > 0 ? ENDED_BACKOFF_MAX_MS : BACKOFF_MAX_MS, SNAPSHOT_RETRY_MS * 2 ** Math.min(this.attempt, 10));
    this.attempt += 1;
    const word = endedAt > 0 ? /** @type {const} */ ("ended") : /** @type {const} */ ("reconnecting");
    this.status = { ...CONNECTING, word, reason: endedAt > 0 ? "shutdown" : "refused", attempt: this.attempt, since: endedAt || this.unreachableSince, next: now + pause };
    this.retry = this.world.setTimeout(() => void this.load(), pause);
  }

  /** @param {unknown} cursor */
  follow(cursor) {
    this.stream?.close();
    // Held events are in the snapshot or will be sent again.
    this.held = [];
    this.stream = this.world.openStream({
      topic: "trace",
      key: this.traceId,
      lastEventId: typeof cursor === "string" ? cursor : "",
      onEvent: (event) => this.receive(event),
      onStatus: (status) => {
        this.status = status;
        this.world.onChange();
      },
    });
  }

  /** @param {StreamEvent} event */
  receive(event) {
    if (event.data.now) this.world.onClock(event.data.now);
    if (typeof event.data.head === "string") this.head = event.data.head;
    else this.updateLag(event.data.timestamp);
    if (this.paused) this.hold(event);
    else this.apply(event);
    this.world.onChange();
  }

  /** @param {StreamEvent} event */
  hold(event) {
    // A ping describes only the present, so it is useless later.
    if (event.type === "ping") return;
    this.held.push(event);
    if (event.type !== "hello") this.news += 1;
    if (this.held.length >= HELD_MAX) this.stream?.pause();
  }

  /** @param {StreamEvent} event */
  apply(event) {
    const restarts = this.model.restarts;
    reduceTrace(this.model, event);
    if (this.phase === "waiting" && this.model.counts.total > 0) this.phase = "open";
    // The log restarted. Its replay has the new spans; the snapshot also shows what became of the old ones.
    if (this.model.restarts !== restarts) void this.load();
    // Ends may be among the evicted events. The snapshot shows for each span whether it is still running.
    else if (event.type === "gap" && event.data.reason === "evicted" && this.world.now() - this.reloadedAt >= RELOAD_EVERY_MS) {
      this.reloadedAt = this.world.now();
      void this.load();
    }
  }

  /**
   * Measures the lag, at most once in LAG_EVERY_MS, so that busy traces cost nothing extra.
   * @param {unknown} timestamp
   */
  updateLag(timestamp) {
    const now = this.world.serverNow();
    if (Math.abs(now - this.lagAt) < LAG_EVERY_MS) return;
    const lag = now - epochMilliseconds(timestamp);
    if (Number.isNaN(lag)) return;
    this.lagAt = now;
    this.lag = Math.max(0, lag);
  }
}

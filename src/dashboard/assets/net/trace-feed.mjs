// @ts-check
// The feed of one trace: a snapshot and the stream that goes on from it, brought into one model.
// Must never touch the DOM. Everything it needs of the world (requests, streams, timers) is handed to it.

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
 * @property {(route: string, begin: () => (spans: any[]) => void) => Promise<{status: number, body: any}>} getSnapshot
 *   hands on the spans while they come
 * @property {(wanted: import("./hub-client.mjs").Wanted) => Stream} openStream
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {(serverNow: unknown) => void} onClock hears what the server's clock says
 * @property {() => number} serverNow what it says now, in milliseconds since 1970
 * @property {() => number} now milliseconds since 1970, by this machine
 * @property {() => number} endedAt when the program said that it ends, 0 where it did not
 * @property {() => void} onChange something may look different now
 */

/** Events held while paused; for more, the stream is let go and asked again from its place. */
export const HELD_MAX = 20_000;
const SNAPSHOT_RETRY_MS = 2_000;

const LAG_EVERY_MS = 250;
/** The snapshot is not asked for more often than this because events were evicted. */
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
    /** What came while paused, in order. @type {StreamEvent[]} */
    this.held = [];
    /** Events that came while paused; those after HELD_MAX are not counted, but not lost either. */
    this.news = 0;
    /** How old the newest event was when it came, in milliseconds. @type {number | null} */
    this.lag = null;
    this.head = "";
    this.lagAt = -Infinity;
    /** @type {any} */
    this.retry = null;
    this.loads = 0;
    /** Snapshots asked for in vain, and since when. */
    this.attempt = 0;
    this.unreachableSince = 0;
    this.reloadedAt = -Infinity;
    /** Spans of the snapshot that have come. */
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

  /** Takes the snapshot into a fresh model and follows its stream; keeps the model at hand where there is no snapshot. */
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
    // A later load, or the reader's leaving, has overtaken this one.
    if (this.closed || load !== this.loads) return;
    if (answer.status === 200 && answer.body !== null) {
      const old = this.model;
      this.model = reduceTrace(fresh, { type: "snapshot", data: answer.body });
      this.model.restarts = old.restarts;
      if (old.losses.evicted > 0) this.model.losses = old.losses;
      // The snapshot is of the epoch just greeted: the next `hello` is news only if it names yet another.
      if (old.restarts > 0) this.model.epoch = old.epoch;
      // A durable log has everything from before; another one has less, and the reader must be told.
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

  /** Nobody answered. That is no fault where the program said that it ends. */
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
    // What was held is in the snapshot, or is told again.
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
    else this.hearLag(event.data.timestamp);
    if (this.paused) this.hold(event);
    else this.apply(event);
    this.world.onChange();
  }

  /** @param {StreamEvent} event */
  hold(event) {
    // A ping is only about its own moment.
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
    // The log was restarted. Its replay would tell the new spans, but not what became of the old: the snapshot does.
    if (this.model.restarts !== restarts) void this.load();
    // Ends may be among what was evicted: the snapshot knows of each span whether it runs.
    else if (event.type === "gap" && event.data.reason === "evicted" && this.world.now() - this.reloadedAt >= RELOAD_EVERY_MS) {
      this.reloadedAt = this.world.now();
      void this.load();
    }
  }

  /** A look now and then is enough for a reader, and costs a busy trace nothing. @param {unknown} timestamp */
  hearLag(timestamp) {
    const now = this.world.serverNow();
    if (Math.abs(now - this.lagAt) < LAG_EVERY_MS) return;
    const lag = now - epochMilliseconds(timestamp);
    if (Number.isNaN(lag)) return;
    this.lagAt = now;
    this.lag = Math.max(0, lag);
  }
}

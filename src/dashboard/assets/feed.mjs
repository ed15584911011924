// @ts-check
// Feeds: a snapshot and the stream that goes on from it, brought into one model.
// Must never touch the DOM. Everything it needs of the world (requests, streams, timers) is handed to it.

import { listRoute, listStreamRoute, traceRoute, traceStreamRoute } from "./api.mjs";
import { createList, reduceList } from "./list-model.mjs";
import { createTrace, reduceTrace } from "./model.mjs";

/**
 * @typedef {import("./stream.mjs").Stream} Stream
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {import("./stream.mjs").StreamEvent} StreamEvent
 * @typedef {object} World
 * @property {(route: string) => Promise<{status: number, body: any}>} getJson
 * @property {(options: {route: string, lastEventId?: string, onEvent: (event: StreamEvent) => void,
 *   onStatus: (status: StreamStatus) => void}) => Stream} openStream
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {(serverNow: unknown) => void} onClock hears what the server's clock says
 * @property {() => void} onChange something may look different now
 */

/** Summaries asked for in the live snapshot. */
export const LIST_LIMIT = 500;
/** Summaries asked for in one older page. */
export const PAGE_LIMIT = 200;
const SNAPSHOT_RETRY_MS = 2_000;

/** @type {StreamStatus} */
const CONNECTING = { word: "connecting", reason: "", lastId: "", attempt: 0, malformed: 0 };

/** The live list of traces. */
export class ListFeed {
  /** @param {World} world */
  constructor(world) {
    this.world = world;
    this.model = createList();
    this.status = CONNECTING;
    this.loadingOlder = false;
    this.olderFailed = false;
    /** @type {Stream | null} */
    this.stream = null;
  }

  /** Opens the stream; what is already in the model stays on show until the fresh snapshot replaces it. */
  open() {
    if (this.stream !== null) return;
    this.stream = this.world.openStream({
      route: listStreamRoute(LIST_LIMIT),
      onEvent: (event) => {
        if (event.data.now) this.world.onClock(event.data.now);
        reduceList(this.model, event);
        this.world.onChange();
      },
      onStatus: (status) => {
        this.status = status;
        this.world.onChange();
      },
    });
  }

  close() {
    this.stream?.close();
    this.stream = null;
  }

  pause() {
    this.stream?.pause();
  }

  resume() {
    if (this.stream === null) this.open();
    else this.stream.resume();
  }

  /** @returns {boolean} whether there may be traces older than those in the model, and room for them */
  hasOlder() {
    const { model } = this;
    if (!model.loaded || model.traces.size >= model.max) return false;
    return model.paged ? model.next !== null : model.traces.size >= LIST_LIMIT;
  }

  /** Loads older traces. The live snapshot has no page token, so the first call walks from the newest page down to news. */
  async loadOlder() {
    if (this.loadingOlder) return;
    this.loadingOlder = true;
    this.world.onChange();
    const before = this.model.traces.size;
    do {
      const answer = await this.world.getJson(listRoute(PAGE_LIMIT, this.model.paged ? this.model.next : null));
      this.olderFailed = answer.status !== 200;
      if (this.olderFailed) break;
      reduceList(this.model, { type: "page", data: answer.body });
    } while (this.model.traces.size === before && this.model.next !== null);
    this.loadingOlder = false;
    this.world.onChange();
  }
}

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
    this.pausedEarly = false;
    /** @type {any} */
    this.retry = null;
    /** Grows when the model is replaced: a view drops what it knew of the old one. */
    this.generation = 0;
    this.loads = 0;
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
    this.pausedEarly = true;
    this.stream?.pause();
  }

  resume() {
    this.pausedEarly = false;
    this.stream?.resume();
  }

  /** Takes the snapshot into a fresh model and follows its stream; keeps the model at hand where there is no snapshot. */
  async load() {
    const load = ++this.loads;
    const answer = await this.world.getJson(traceRoute(this.traceId));
    // A later load, or the reader's leaving, has overtaken this one.
    if (this.closed || load !== this.loads) return;
    if (answer.status === 200 && answer.body !== null) {
      const old = this.model;
      this.model = reduceTrace(createTrace(this.traceId), { type: "snapshot", data: answer.body });
      this.model.restarts = old.restarts;
      // The snapshot is of the epoch just greeted: the next `hello` is news only if it names yet another.
      if (old.restarts > 0) this.model.epoch = old.epoch;
      // A durable log has everything from before; another one has less, and the reader must be told.
      if (this.model.tree.counts.total < old.tree.counts.total) this.model.losses.unknown = true;
      this.generation += 1;
      this.phase = "open";
      this.world.onClock(answer.body.now);
      this.follow(answer.body.cursor);
    } else if (answer.status === 404) {
      if (this.model.tree.counts.total === 0) this.phase = "waiting";
      if (this.stream === null) this.follow("");
    } else if (answer.status === 0 || answer.status >= 500 || answer.status === 429) {
      this.status = { ...CONNECTING, word: "reconnecting", reason: "refused" };
      this.retry = this.world.setTimeout(() => void this.load(), SNAPSHOT_RETRY_MS);
    } else {
      this.phase = "refused";
      this.error = String(answer.body?.error ?? `the server answered ${answer.status}`);
      this.status = { ...CONNECTING, word: "ended", reason: "refused" };
    }
    this.world.onChange();
  }

  /** @param {unknown} cursor */
  follow(cursor) {
    this.stream?.close();
    this.stream = this.world.openStream({
      route: traceStreamRoute(this.traceId),
      lastEventId: typeof cursor === "string" ? cursor : "",
      onEvent: (event) => this.receive(event),
      onStatus: (status) => {
        this.status = status;
        this.world.onChange();
      },
    });
    if (this.pausedEarly) this.stream.pause();
  }

  /** @param {StreamEvent} event */
  receive(event) {
    if (event.data.now) this.world.onClock(event.data.now);
    const restarts = this.model.restarts;
    reduceTrace(this.model, event);
    if (this.phase === "waiting" && this.model.tree.counts.total > 0) this.phase = "open";
    // The log was restarted. Its replay would tell the new spans, but not what became of the old: the snapshot does.
    if (this.model.restarts !== restarts) void this.load();
    this.world.onChange();
  }
}

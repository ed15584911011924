// @ts-check
// The feed of the list: its live stream, and the pages of history below it, brought into one model.
// Must never touch the DOM. Everything it needs of the world (requests, streams, timers) is handed to it.

import { LIST_LIMIT, copyList, createList, forgetOlder, hasOlder, hearSpeeds, isDecided, noteGapTime, reduceList } from "../model/list-model.mjs";
import { parseQuery } from "../model/search.mjs";
import { listRoute, listStreamRoute } from "./api.mjs";
import { CONNECTING } from "./trace-feed.mjs";

/**
 * @typedef {import("./stream.mjs").StreamEvent} StreamEvent
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {import("../model/list-model.mjs").TraceList} TraceList
 */

/** Summaries asked for in one page of history. */
export const PAGE_LIMIT = 200;
/** History is not searched for every letter. */
export const TYPING_MS = 250;

/** The live list of traces. */
export class ListFeed {
  /** @param {import("./trace-feed.mjs").World} world */
  constructor(world) {
    this.world = world;
    this.model = createList();
    this.status = CONNECTING;
    /** While paused, events go into a copy that nobody sees. @type {TraceList | null} */
    this.hidden = null;
    /** Traces that came while paused. */
    this.news = 0;
    /** @type {number | null} */
    this.lag = null;
    this.head = "";
    this.query = "";
    /** @type {any} */
    this.typing = null;
    /** Answers to an earlier search come too late. */
    this.searches = 0;
    this.loadingOlder = false;
    this.olderFailed = false;
    /** The server did not look further, because that would have taken too long. */
    this.stoppedEarly = false;
    /** @type {import("./stream.mjs").Stream | null} */
    this.stream = null;
  }

  /** Opens the stream; what is already in the model stays on show until the fresh snapshot replaces it. */
  open() {
    if (this.stream !== null) return;
    this.stream = this.world.openStream({
      topic: "list",
      key: listStreamRoute(LIST_LIMIT),
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
    const hidden = this.hidden;
    if (hidden !== null && Array.isArray(event.data.traces)) {
      for (const trace of event.data.traces) if (!hidden.traces.has(trace?.traceId) && !hidden.older.has(trace?.traceId)) this.news += 1;
    }
    const list = reduceList(hidden ?? this.model, event);
    hearSpeeds(list, event);
    // What is replayed happened at a time that nobody tells.
    if (event.type === "gap" && list.loaded) noteGapTime(list, event.data, this.world.serverNow());
    if (event.type === "traces" && event.data.snapshot === true) this.searchOlder();
    this.world.onChange();
  }

  close() {
    this.stream?.close();
    this.stream = null;
    this.world.clearTimeout(this.typing);
  }

  get paused() {
    return this.hidden !== null;
  }

  pause() {
    this.news = 0;
    this.hidden ??= copyList(this.model);
  }

  resume() {
    if (this.hidden !== null) this.model = this.hidden;
    this.hidden = null;
    if (this.stream === null) this.open();
    else this.stream.resume();
  }

  /** @returns {TraceList[]} */
  lists() {
    return this.hidden === null ? [this.model] : [this.model, this.hidden];
  }

  /** What the reader looks for. The rows at hand are searched by the view; here history is. @param {string} query */
  search(query) {
    if (query === this.query) return;
    this.query = query;
    this.forget();
    this.searchOlder();
  }

  searchOlder() {
    this.world.clearTimeout(this.typing);
    const { terms } = parseQuery(this.query, "list");
    if (terms.length > 0) this.typing = this.world.setTimeout(() => void this.loadOlder(), TYPING_MS);
  }

  /** Lets history go. */
  forget() {
    this.searches += 1;
    this.loadingOlder = false;
    this.olderFailed = this.stoppedEarly = false;
    for (const list of this.lists()) forgetOlder(list);
  }

  /** Whether the events of traces are searched: then also those of the newest, which only the server has. */
  get isDeep() {
    return parseQuery(this.query, "list").terms.some((term) => !isDecided(term));
  }

  /** Searches anew what came since: the summaries that come do not say what is in their events. */
  searchAgain() {
    if (!this.isDeep) return;
    this.forget();
    void this.loadOlder();
  }

  /** @returns {boolean} whether there may be traces older than those in the model, and room for them */
  hasOlder() {
    return hasOlder(this.model, this.isDeep) && parseQuery(this.query, "list").wrong === null;
  }

  /** Loads one more page of history. */
  async loadOlder() {
    if (this.loadingOlder || !this.hasOlder()) return;
    const search = this.searches;
    this.loadingOlder = true;
    this.world.onChange();
    const before = this.model.olderFloor ?? (this.isDeep ? null : this.model.floor);
    const answer = await this.world.getJson(listRoute({ limit: PAGE_LIMIT, before, query: this.query }));
    if (search !== this.searches) return;
    this.loadingOlder = false;
    this.olderFailed = answer.status !== 200;
    this.stoppedEarly = answer.body?.stoppedEarly === true;
    if (!this.olderFailed) for (const list of this.lists()) reduceList(list, { type: "page", data: answer.body });
    this.world.onChange();
  }
}

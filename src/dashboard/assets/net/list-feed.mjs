// @ts-check
// The feed of the list: combines its live stream and pages of history in one model.
// Must never touch the DOM. Requests, streams and timers are passed in.

import { LIST_LIMIT, copyList, createList, forgetOlder, hasOlder, isDecided, noteGapTime, recordSpeeds, reduceList } from "../model/list-model.mjs";
import { parseQuery } from "../model/search.mjs";
import { listRoute, listStreamRoute } from "./api.mjs";
import { CONNECTING } from "./trace-feed.mjs";

/**
 * @typedef {import("./stream.mjs").StreamEvent} StreamEvent
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {import("../model/list-model.mjs").TraceList} TraceList
 */

/** Number of summaries requested in one page of history. */
export const PAGE_LIMIT = 200;
/** Delay before a search of history, so that not every letter starts one. */
export const TYPING_MS = 250;

/** The live list of traces. */
export class ListFeed {
  /** @param {import("./trace-feed.mjs").World} world */
  constructor(world) {
    this.world = world;
    this.model = createList();
    this.status = CONNECTING;
    /** While paused, a copy that receives the events and is not shown. @type {TraceList | null} */
    this.hidden = null;
    /** Number of traces that arrived while paused. */
    this.news = 0;
    /** @type {number | null} */
    this.lag = null;
    this.head = "";
    this.query = "";
    /** @type {any} */
    this.typing = null;
    /** Number of the current search; answers to an earlier one are ignored. */
    this.searches = 0;
    this.loadingOlder = false;
    this.olderFailed = false;
    /** Whether the server ended the search early because it would have taken too long. */
    this.stoppedEarly = false;
    /** @type {import("./stream.mjs").Stream | null} */
    this.stream = null;
  }

  /** Opens the stream. The model's traces stay visible until the new snapshot replaces them. */
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
    recordSpeeds(list, event);
    // The time of replayed gaps is unknown, so only live gaps get a time.
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

  /**
   * Sets the reader's search. This method searches history; the view searches the loaded rows.
   * @param {string} query
   */
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

  /** Discards the pages of history. */
  forget() {
    this.searches += 1;
    this.loadingOlder = false;
    this.olderFailed = this.stoppedEarly = false;
    for (const list of this.lists()) forgetOlder(list);
  }

  /** Returns whether the search needs the events of traces, which only the server has. */
  get isDeep() {
    return parseQuery(this.query, "list").terms.some((term) => !isDecided(term));
  }

  /** Repeats a search of events, because new summaries do not show whether their events match. */
  searchAgain() {
    if (!this.isDeep) return;
    this.forget();
    void this.loadOlder();
  }

  /** @returns {boolean} whether there may be traces that are not in the model, and room for them */
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

// @ts-check
// The connections of the hub. A connection carries up to 32 traces, or one live list, or the log records. A line is one
// connection; it stores the resume point of each subscription, so each gets the events it lacks, once and in order.
// Must never touch the DOM.

import { epochOf, sequenceOf } from "../model/event-ids.mjs";
import { createList, reduceList } from "../model/list-model.mjs";
import { eventsRoute } from "./api.mjs";
import { ResilientStream, parseObject } from "./stream.mjs";

/**
 * @typedef {import("./hub.mjs").Hub} Hub
 * @typedef {import("./hub.mjs").Subscription} Subscription
 * @typedef {import("./stream.mjs").RawEvent} RawEvent
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 */

/** Traces per connection: the server's limit for `traceId`. */
export const TRACES_MAX = 32;
/** Time for which events, and requests for traces, are gathered. */
export const GATHER_MS = 8;
/** A trace without subscriptions stays on its connection this long, since another trace often replaces it soon. */
const LINGER_MS = 5_000;

/** One connection, or one that waits for a free slot. */
export class Line {
  /** @param {Hub} hub @param {"trace" | "list" | "logs"} topic @param {string} key */
  constructor(hub, topic, key) {
    this.hub = hub;
    this.topic = topic;
    this.key = key;
    /** @type {Set<Subscription>} */
    this.subscriptions = new Set();
    /** @type {import("./stream.mjs").ResilientStream | null} */
    this.stream = null;
    /**
     * Events repeated to later subscriptions, by type: the last `hello`, the last `ping`, and `degraded` during an
     * outage.
     * @type {Map<string, {event: RawEvent, at: number}>}
     */
    this.greetings = new Map();
  }

  /** @param {Subscription} subscription @param {string} _lastId */
  add(subscription, _lastId) {
    this.subscriptions.add(subscription);
  }

  /** @param {Subscription} subscription */
  remove(subscription) {
    this.subscriptions.delete(subscription);
    if (this.subscriptions.size > 0) return;
    this.stream?.close();
    this.hub.forget(this);
  }

  start() {}

  /** @param {string} route @param {string} lastEventId */
  listen(route, lastEventId) {
    const url = new URL(route, this.hub.base).href;
    if (this.stream !== null) return this.stream.redirect(url, lastEventId);
    this.stream = new ResilientStream({
      url, lastEventId, environment: this.hub.environment,
      onEvent: (event) => {
        if (event.type === "hello") this.greetings.clear();
        if (event.type === "gap") this.greetings.delete("degraded");
        if (GREETINGS.has(event.type)) this.greetings.set(event.type, { event, at: this.hub.environment.now() });
        this.receive(event);
      },
      onStatus: (status) => this.tell(status),
    });
    this.stream.connect();
  }

  /** @param {RawEvent} _event */
  receive(_event) {}

  /** @param {StreamStatus} status */
  tell(status) {
    for (const subscription of this.subscriptions) {
      // If the connection is replaced because of a new subscription, the other subscriptions stay live, so their tabs
      // need not know.
      if (status.word === "connecting" && subscription.word === "live") continue;
      subscription.word = status.word;
      subscription.tab.post(["status", subscription.n, status]);
    }
  }

  /** @param {Subscription} subscription @param {RawEvent} event */
  send({ tab, n }, { type, id, text }) {
    tab.post(["event", n, type, id, text]);
  }

  /** @param {Subscription} subscription the subscription to send the stored greetings to */
  greet(subscription) {
    if (this.stream === null) return;
    subscription.word = this.stream.word;
    subscription.tab.post(["status", subscription.n, this.stream.status()]);
    for (const { event, at } of this.greetings.values()) {
      // The server's time in the event is out of date, so add the time since its arrival.
      const data = parseObject(event.text);
      const now = Date.parse(String(data?.now)) + this.hub.environment.now() - at;
      const text = Number.isNaN(now) ? event.text : JSON.stringify({ ...data, now: new Date(now).toISOString() });
      this.send(subscription, { type: event.type, id: subscription.skip, text });
    }
  }
}

/**
 * The live list at one address. The stream begins with a snapshot, so the hub maintains one for later subscriptions.
 */
export class ListLine extends Line {
  /** @param {Hub} hub @param {string} route */
  constructor(hub, route) {
    super(hub, "list", route);
    this.list = createList();
  }

  /** @param {Subscription} subscription @param {string} lastId */
  add(subscription, lastId) {
    super.add(subscription, lastId);
    this.greet(subscription);
    if (!this.list.loaded) return;
    const data = { type: "traces", snapshot: true, traces: [...this.list.traces.values()], removed: [], next: this.list.floor || null };
    this.send(subscription, { type: "traces", id: "", text: JSON.stringify(data) });
  }

  start() {
    if (this.stream === null) this.listen(this.key, "");
  }

  /** @param {RawEvent} event */
  receive(event) {
    reduceList(this.list, { type: event.type, data: parseObject(event.text) });
    for (const subscription of this.subscriptions) this.send(subscription, event);
  }
}

/** Number of failed spans that are repeated to later subscriptions. */
export const FAILED_KEPT_MAX = 500;

/**
 * New log records, or spans that failed. A later subscriber requests the earlier records from the server; the failed
 * spans, which no route returns, are repeated.
 */
export class LogLine extends Line {
  /** @param {Hub} hub @param {string} route */
  constructor(hub, route) {
    super(hub, "logs", route);
    this.from = "";
    /** @type {RawEvent[]} */
    this.failed = [];
  }

  /** @param {Subscription} subscription @param {string} lastId */
  add(subscription, lastId) {
    super.add(subscription, lastId);
    this.from ||= lastId;
    this.greet(subscription);
    for (const event of this.failed) this.send(subscription, event);
  }

  start() {
    if (this.stream === null) this.listen(this.key, this.from);
  }

  /** @param {RawEvent} event */
  receive(event) {
    if (event.type === "ended" && this.failed.push(event) > FAILED_KEPT_MAX) this.failed.shift();
    for (const subscription of this.subscriptions) this.send(subscription, event);
  }
}

/**
 * Traces that share a connection. Each subscription has its own resume point; the connection resumes at the earliest.
 */
export class TraceLine extends Line {
  /** @param {Hub} hub */
  constructor(hub) {
    super(hub, "trace", "");
    /** @type {Set<string>} the traces that the connection carries */
    this.asked = new Set();
    this.epoch = "";
    /** @type {{timer: any, milliseconds: number} | null} */
    this.plan = null;
  }

  /** @param {string} key @returns {boolean} */
  hasRoomFor(key) {
    const wanted = this.wanted();
    return wanted.has(key) || wanted.size < TRACES_MAX;
  }

  /** @returns {Set<string>} */
  wanted() {
    return new Set([...this.subscriptions].map((subscription) => subscription.key));
  }

  /** @param {Subscription} subscription @param {string} lastId */
  add(subscription, lastId) {
    super.add(subscription, lastId);
    const { stream } = this;
    if (stream === null) return;
    // The connection serves the subscription if it carries the trace already and has not passed the resume point.
    const follows = stream.word === "live" && this.asked.has(subscription.key) && epochOf(lastId) === this.epoch;
    subscription.ready = follows && sequenceOf(stream.lastId) <= sequenceOf(lastId);
    if (subscription.ready) this.greet(subscription);
    else this.askSoon(GATHER_MS);
  }

  /** @param {Subscription} subscription */
  remove(subscription) {
    super.remove(subscription);
    if (!this.wanted().has(subscription.key)) this.askSoon(LINGER_MS);
  }

  start() {
    if (this.stream === null) this.askSoon(GATHER_MS);
  }

  /** Schedules one new request for all changes that come together. @param {number} milliseconds */
  askSoon(milliseconds) {
    const { environment } = this.hub;
    if (this.plan !== null && this.plan.milliseconds <= milliseconds) return;
    if (this.plan !== null) environment.clearTimeout(this.plan.timer);
    const timer = environment.setTimeout(() => {
      this.plan = null;
      if (this.subscriptions.size > 0) this.ask();
    }, milliseconds);
    this.plan = { timer, milliseconds };
  }

  ask() {
    for (const subscription of this.subscriptions) {
      subscription.skip = this.placeOf(subscription);
      subscription.ready = true;
    }
    this.asked = this.wanted();
    this.listen(eventsRoute([...this.asked]), this.firstPlace());
  }

  /** @param {Subscription} subscription @returns {string} the id up to which the subscription has all events */
  placeOf({ skip, ready }) {
    const reached = this.stream?.lastId ?? "";
    if (!ready || reached === "") return skip;
    const isAhead = epochOf(skip) === epochOf(reached) ? sequenceOf(skip) > sequenceOf(reached) : epochOf(skip) === this.epoch;
    return skip !== "" && isAhead ? skip : reached;
  }

  /** @returns {string} the earliest resume point of all subscriptions */
  firstPlace() {
    const places = [...this.subscriptions].map((subscription) => subscription.skip);
    // Resume points of other epochs cannot be compared here. The server can map them, so one of them is preferred.
    const foreign = places.filter((id) => id !== "" && this.epoch !== "" && epochOf(id) !== this.epoch);
    const candidates = places.includes("") || foreign.length === 0 ? places : foreign;
    return candidates.reduce((first, id) => (sequenceOf(id) < sequenceOf(first) ? id : first));
  }

  /** @param {RawEvent} event */
  receive(event) {
    const { type, id } = event;
    const mixed = this.asked.size > 1;
    const data = mixed || type === "hello" || type === "gap" ? parseObject(event.text) : null;
    if (type === "hello") this.epoch = String(data?.epoch ?? "");
    for (const subscription of this.subscriptions) {
      if (!subscription.ready || (mixed && (data?.traceId ?? subscription.key) !== subscription.key)) continue;
      // Browsers give an event without id the id of the event before it, so the type decides.
      if (CONTROL_TYPES.has(type)) this.send(subscription, { ...event, id: this.placeOf(subscription) });
      else if (type === "gap" && data?.reason === "epoch") this.sendRestart(subscription, event);
      else if (type === "gap" && data?.reason !== "dropped") this.sendEvicted(subscription, event, data);
      else if (this.isNew(subscription, id)) this.send(subscription, event);
    }
  }

  /** @param {Subscription} subscription @param {string} id @returns {boolean} */
  isNew(subscription, id) {
    if (subscription.skip !== "" && sequenceOf(id) <= sequenceOf(subscription.skip)) return false;
    subscription.skip = "";
    return true;
  }

  /**
   * Forwards a gap for an unknown resume point, except to subscriptions that already have events of the present epoch.
   * @param {Subscription} subscription @param {RawEvent} event
   */
  sendRestart(subscription, event) {
    if (epochOf(this.placeOf(subscription)) === this.epoch) return;
    subscription.skip = "";
    this.send(subscription, { ...event, id: "" });
  }

  /**
   * Forwards a gap of removed events, except to subscriptions that already had all of them.
   * @param {Subscription} subscription @param {RawEvent} event @param {any} data
   */
  sendEvicted(subscription, event, data) {
    if (subscription.skip !== "" && sequenceOf(data?.to) <= sequenceOf(subscription.skip)) return;
    // The count covers the whole connection. It is exact for a single trace and an upper bound for each of several.
    const text = this.asked.size > 1 ? JSON.stringify({ ...data, traces: this.asked.size }) : event.text;
    this.send(subscription, { ...event, id: "", text });
  }
}

const GREETINGS = new Set(["hello", "ping", "degraded"]);
/** Control events have no id. EventSource gives them the id of the event before. */
const CONTROL_TYPES = new Set(["hello", "ping", "degraded", "end"]);

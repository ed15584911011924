// @ts-check
// A tab's end of the shared streams: it keeps the tab's own places, reads what the hub sends, and finds the hub again when
// it is gone. It must never open a connection itself, nor read a clock that was not handed to it.

import { parseObject } from "./stream.mjs";

/**
 * @typedef {import("./stream.mjs").Stream} Stream
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {import("./stream.mjs").StreamEvent} StreamEvent
 * @typedef {import("./hub.mjs").Port} Port
 * @typedef {object} Wanted
 * @property {"trace" | "list" | "logs"} topic
 * @property {string} key the id of a trace, or the route of what is live
 * @property {string} [lastEventId] where to resume; empty is "everything retained"
 * @property {(event: StreamEvent) => void} onEvent
 * @property {(status: StreamStatus) => void} onStatus
 * @typedef {object} HubClientOptions
 * @property {() => Port} reach makes a way to the hub
 * @property {() => void} fail hears that the hub that was reached never said a word
 * @property {Pick<import("./stream.mjs").Environment, "setTimeout" | "now">} environment
 */

/** Silence after which the hub counts as gone. It hears pings, or tells of its attempts, more often than this. */
export const HUB_SILENT_MS = 90_000;
const LOOK_MS = 10_000;
/** A look this late means that the page slept. Browsers let the timers of hidden pages ring once a minute, which is no sleep. */
export const NAP_MS = 90_000;
/** After a wake-up, or a question, the hub has this long to answer. */
const GRACE_MS = 20_000;

export class HubClient {
  /** @param {HubClientOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {Map<number, SharedStream>} */
    this.streams = new Map();
    this.nextNumber = 1;
    this.heard = 0;
    this.looked = 0;
    /** @type {Port | null} */
    this.port = null;
    this.answered = false;
    this.looking = false;
    this.resting = false;
  }

  /** @param {Wanted} wanted @returns {Stream} */
  open(wanted) {
    const stream = new SharedStream(this, wanted);
    stream.ask();
    if (!this.looking) this.look();
    return stream;
  }

  /** @param {import("./hub.mjs").Request} request */
  say(request) {
    if (this.port === null) {
      const port = this.options.reach();
      port.onmessage = ({ data }) => {
        if (this.port === port) this.receive(data);
      };
      this.port = port;
      this.answered = false;
      this.heard = this.options.environment.now();
    }
    this.port.postMessage(request);
  }

  /** @param {import("./hub.mjs").Reply} reply */
  receive(reply) {
    this.answered = true;
    this.heard = this.options.environment.now();
    if ("detached" in reply) {
      // This tab did not read for a while: it asks again, each stream from its own place.
      this.askAgain();
      return;
    }
    for (const item of reply.items) this.streams.get(item[1])?.receive(item);
    if (reply.items.length > 0) this.say({ do: "ack", message: reply.message });
  }

  /** The machine woke, the network came back, or the reader came to look. */
  wake() {
    if (this.streams.size === 0) return;
    this.grant();
    this.say({ do: "wake" });
  }

  /** Leaves the hub, which is gone or not to be had, and begins with another. */
  renew() {
    this.port = null;
    this.resting = false;
    this.askAgain();
  }

  askAgain() {
    if (!this.looking) this.look();
    for (const stream of [...this.streams.values()]) stream.ask();
  }

  /** Lets go of all connections until `renew`; each stream keeps its place. */
  rest() {
    this.resting = true;
    for (const stream of this.streams.values()) this.say({ do: "close", n: stream.n });
  }

  /** The page is not left after all, or is back. */
  stay() {
    if (!this.resting) return;
    this.resting = false;
    this.askAgain();
  }

  /** Nothing heard is no fault of the hub's while this page slept. */
  grant() {
    this.heard = Math.max(this.heard, this.options.environment.now() - HUB_SILENT_MS + GRACE_MS);
  }

  look() {
    this.looking = true;
    this.looked = this.options.environment.now();
    this.options.environment.setTimeout(() => {
      const now = this.options.environment.now();
      if (now < this.heard) this.heard = now;
      const slept = now - this.looked;
      if (slept > NAP_MS) for (const stream of this.streams.values()) stream.slept(slept, now);
      if (slept > 2 * LOOK_MS) this.wake();
      const waits = !this.resting && [...this.streams.values()].some((stream) => stream.waits());
      const silent = now - this.heard;
      if (waits && !this.answered && silent > GRACE_MS) this.options.fail();
      if (waits && silent > (this.answered ? HUB_SILENT_MS : GRACE_MS)) this.renew();
      this.looking = waits;
      if (waits) this.look();
    }, LOOK_MS);
  }
}

/** @implements {Stream} */
class SharedStream {
  /** @param {HubClient} client @param {Wanted} wanted */
  constructor(client, wanted) {
    this.client = client;
    this.n = 0;
    this.wanted = wanted;
    this.lastId = wanted.lastEventId ?? "";
    this.malformed = 0;
    /** The page's own sleep, which the hub may not have shared. @type {import("./stream.mjs").Outage | null} */
    this.nap = null;
    /** @type {StreamStatus} */
    this.told = { word: "connecting", reason: "", lastId: this.lastId, attempt: 0, malformed: 0, outage: null, since: 0, next: 0 };
  }

  /** @returns {boolean} whether it expects to hear something */
  waits() {
    // A program that was shut down may be started again.
    return this.told.word !== "paused" && (this.told.word !== "ended" || this.told.reason === "shutdown");
  }

  ask() {
    if (!this.waits()) return;
    // A new number each time: what is still on its way under the old one comes again under this one.
    this.client.streams.delete(this.n);
    this.n = this.client.nextNumber++;
    this.client.streams.set(this.n, this);
    const { topic, key } = this.wanted;
    this.client.say({ do: "open", n: this.n, topic, key, lastId: this.lastId });
  }

  /** @returns {StreamStatus} */
  status() {
    const { outage } = this.told;
    const last = this.nap !== null && this.nap.at > (outage?.at ?? 0) ? this.nap : outage;
    return { ...this.told, outage: last, lastId: this.lastId, malformed: this.malformed };
  }

  /** @param {StreamStatus} status */
  report(status) {
    this.told = status;
    this.wanted.onStatus(this.status());
  }

  /** @param {number} milliseconds @param {number} at */
  slept(milliseconds, at) {
    if (!this.waits()) return;
    this.nap = { reason: "asleep", milliseconds, at };
    this.wanted.onStatus(this.status());
  }

  /** @param {import("./hub.mjs").Item} item */
  receive(item) {
    if (item[0] === "status") return this.report(item[2]);
    const [, , type, id, text] = item;
    if (id !== "") this.lastId = id;
    const data = parseObject(text);
    if (data === null) this.malformed += 1;
    else this.wanted.onEvent({ type, id, data });
  }

  /** Ends the stream for good. */
  close() {
    if (this.client.streams.delete(this.n)) this.client.say({ do: "close", n: this.n });
  }

  /** Lets go of the connection and remembers the place. */
  pause() {
    if (this.told.word === "paused") return;
    this.close();
    this.report({ ...this.told, word: "paused", reason: "" });
  }

  /** Goes on from the place where the stream was paused, or where it ended. */
  resume() {
    if (this.waits()) return;
    this.report({ ...this.told, word: "connecting", reason: "", attempt: 0 });
    this.ask();
    if (!this.client.looking) this.client.look();
  }
}

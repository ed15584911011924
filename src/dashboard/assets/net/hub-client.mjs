// @ts-check
// A tab's side of the shared streams. Keeps the tab's own resume points, receives the hub's messages, and reconnects
// if the hub is gone. Must never open a connection itself, nor read a clock that was not passed in.

import { parseObject } from "./stream.mjs";

/**
 * @typedef {import("./stream.mjs").Stream} Stream
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {import("./stream.mjs").StreamEvent} StreamEvent
 * @typedef {import("./hub.mjs").Port} Port
 * @typedef {object} Wanted
 * @property {"trace" | "list" | "logs"} topic
 * @property {string} key the id of a trace, or the route of a live stream
 * @property {string} [lastEventId] where to resume; empty means everything retained
 * @property {(event: StreamEvent) => void} onEvent
 * @property {(status: StreamStatus) => void} onStatus
 * @typedef {object} HubClientOptions
 * @property {() => Port} reach opens a port to the hub
 * @property {() => void} fail called each time that a new hub does not answer within GRACE_MS
 * @property {Pick<import("./stream.mjs").Environment, "setTimeout" | "now">} environment
 */

/** Silence after which the hub counts as gone. A working hub passes on pings or reports its attempts more often. */
export const HUB_SILENT_MS = 90_000;
const LOOK_MS = 10_000;
/** If the previous check is this long ago, the page was asleep. Timers of hidden pages fire once a minute, which is
 * not sleep. */
export const NAP_MS = 90_000;
/** Time for the hub to answer after a wake-up or a request. */
const GRACE_MS = 20_000;

export class HubClient {
  /** @param {HubClientOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {Map<number, SharedStream>} */
    this.streams = new Map();
    this.nextNumber = 1;
    this.lastMessageAt = 0;
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
      this.lastMessageAt = this.options.environment.now();
    }
    this.port.postMessage(request);
  }

  /** @param {import("./hub.mjs").Reply} reply */
  receive(reply) {
    this.answered = true;
    this.lastMessageAt = this.options.environment.now();
    if ("detached" in reply) {
      // This tab was too slow, and the hub detached it. Each stream is requested again from its own resume point.
      this.askAgain();
      return;
    }
    for (const item of reply.items) this.streams.get(item[1])?.receive(item);
    if (reply.items.length > 0) this.say({ do: "ack", message: reply.message });
  }

  /** Called when the machine wakes, the network is back, or the page becomes visible. */
  wake() {
    if (this.streams.size === 0) return;
    this.grant();
    this.say({ do: "wake" });
  }

  /** Opens a new port to a hub, and requests the streams again. Called if the hub is gone or unreachable. */
  renew() {
    this.port = null;
    this.resting = false;
    this.askAgain();
  }

  askAgain() {
    if (!this.looking) this.look();
    for (const stream of [...this.streams.values()]) stream.ask();
  }

  /** Closes this tab's streams until `stay` or `renew`. Each stream keeps its resume point. */
  rest() {
    this.resting = true;
    for (const stream of this.streams.values()) this.say({ do: "close", n: stream.n });
  }

  /** Called if the page is not left after all, or was restored. */
  stay() {
    if (!this.resting) return;
    this.resting = false;
    this.askAgain();
  }

  /** Gives the hub at least GRACE_MS from now to answer, because no message could arrive while the page slept. */
  grant() {
    this.lastMessageAt = Math.max(this.lastMessageAt, this.options.environment.now() - HUB_SILENT_MS + GRACE_MS);
  }

  look() {
    this.looking = true;
    this.looked = this.options.environment.now();
    this.options.environment.setTimeout(() => {
      const now = this.options.environment.now();
      if (now < this.lastMessageAt) this.lastMessageAt = now;
      const slept = now - this.looked;
      if (slept > NAP_MS) for (const stream of this.streams.values()) stream.slept(slept, now);
      if (slept > 2 * LOOK_MS) this.wake();
      const waits = !this.resting && [...this.streams.values()].some((stream) => stream.waits());
      const silent = now - this.lastMessageAt;
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
    /** When this page last slept. The hub may have run meanwhile. @type {import("./stream.mjs").Outage | null} */
    this.nap = null;
    /** @type {StreamStatus} */
    this.lastStatus = { word: "connecting", reason: "", lastId: this.lastId, attempt: 0, malformed: 0, outage: null, since: 0, next: 0 };
  }

  /** @returns {boolean} whether the stream expects events */
  waits() {
    // After a shutdown, the program may be started again.
    return this.lastStatus.word !== "paused" && (this.lastStatus.word !== "ended" || this.lastStatus.reason === "shutdown");
  }

  ask() {
    if (!this.waits()) return;
    // A new number for each request. Messages under the old number are dropped, and their events are sent again.
    this.client.streams.delete(this.n);
    this.n = this.client.nextNumber++;
    this.client.streams.set(this.n, this);
    const { topic, key } = this.wanted;
    this.client.say({ do: "open", n: this.n, topic, key, lastId: this.lastId });
  }

  /** @returns {StreamStatus} */
  status() {
    const { outage } = this.lastStatus;
    const last = this.nap !== null && this.nap.at > (outage?.at ?? 0) ? this.nap : outage;
    return { ...this.lastStatus, outage: last, lastId: this.lastId, malformed: this.malformed };
  }

  /** @param {StreamStatus} status */
  report(status) {
    this.lastStatus = status;
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

  /** Closes the stream at the hub. */
  close() {
    if (this.client.streams.delete(this.n)) this.client.say({ do: "close", n: this.n });
  }

  /** Closes the connection and keeps the resume point. */
  pause() {
    if (this.lastStatus.word === "paused") return;
    this.close();
    this.report({ ...this.lastStatus, word: "paused", reason: "" });
  }

  /** Resumes where the stream was paused or ended. */
  resume() {
    if (this.waits()) return;
    this.report({ ...this.lastStatus, word: "connecting", reason: "", attempt: 0 });
    this.ask();
    if (!this.client.looking) this.client.look();
  }
}

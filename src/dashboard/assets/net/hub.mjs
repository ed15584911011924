// @ts-check
// Carries the streams of all tabs of a browser over few connections. On HTTP/1.1, a browser opens at most six
// connections to a host over all tabs. A connection carries up to 32 traces, or one address of the live list, or the
// log records. Runs in a shared worker, or in the page itself if there is none. Must never touch the DOM, nor queue
// without bound for a tab that does not read. A detached tab requests its streams again from its resume point, so it
// gets each event once and in order.

import { GATHER_MS, ListLine, LogLine, TraceLine } from "./hub-lines.mjs";

/**
 * @typedef {import("./hub-lines.mjs").Line} Line
 * @typedef {import("./stream.mjs").StreamStatus} StreamStatus
 * @typedef {{postMessage: (message: any) => void, onmessage: ((event: {data: any}) => void) | null}} Port
 * @typedef {{do: "open", n: number, topic: "trace" | "list" | "logs", key: string, lastId: string} | {do: "close", n: number}
 *   | {do: "resume", n: number} | {do: "ack", message: number} | {do: "wake"}} Request a message from a tab; `n` is the
 *   number that the tab gave to a subscription, `key` a trace id or the route of a list
 * @typedef {["event", number, string, string, string] | ["status", number, StreamStatus]} Item
 * @typedef {{message: number, items: Item[]} | {detached: true}} Reply a message to a tab
 * @typedef {{tab: Tab, n: number, key: string, skip: string, ready: boolean, word: string}} Subscription `skip`: the
 *   tab has all events up to this id; `ready`: the connection carries all events after `skip`; `word`: the status word
 *   last sent
 */

/** Maximum number of connections, of a browser's six. The others are for snapshots, files, and tabs of another
 * version. */
export const CONNECTIONS_MAX = 4;
/** Bounds on the events that a tab has not acknowledged, and on the time that it leaves them so. Beyond either, the hub
 * detaches the tab, which has to request its streams again. */
export const UNREAD_MAX = 20_000;
export const UNREAD_MS = 60_000;
/** Maximum number of events in a message. */
const MESSAGE_MAX = 1_000;
const SWEEP_MS = 10_000;

/** @type {StreamStatus} */
const CROWDED = { word: "connecting", reason: "crowded", lastId: "", attempt: 0, malformed: 0, outage: null, since: 0, next: 0 };

export class Hub {
  /** @param {{environment: import("./stream.mjs").Environment, base: string}} options `base`: the page's address */
  constructor(options) {
    this.environment = options.environment;
    this.base = options.base;
    /** @type {Set<Tab>} */
    this.tabs = new Set();
    /** @type {Line[]} in order of opening; lines beyond CONNECTIONS_MAX wait */
    this.lines = [];
    /** @type {any} */
    this.sweeper = null;
  }

  /** @param {Port} port */
  connect(port) {
    const tab = new Tab(port, this);
    port.onmessage = ({ data }) => tab.receive(data);
    port.postMessage({ message: 0, items: [] });
  }

  /** @param {Subscription} subscription @param {"trace" | "list" | "logs"} topic @param {string} lastId */
  open(subscription, topic, lastId) {
    const { key } = subscription;
    let line = this.lines.find((one) => one.topic === topic && (topic === "trace" ? one.hasRoomFor(key) : one.key === key));
    if (line === undefined) {
      line = topic === "list" ? new ListLine(this, key) : topic === "logs" ? new LogLine(this, key) : new TraceLine(this);
      this.lines.push(line);
    }
    line.add(subscription, lastId);
    this.startWaiting();
    if (this.lines.indexOf(line) >= CONNECTIONS_MAX) line.tell(CROWDED);
    return line;
  }

  /** @param {Line} line */
  forget(line) {
    this.lines = this.lines.filter((one) => one !== line);
    this.startWaiting();
  }

  startWaiting() {
    for (const line of this.lines.slice(0, CONNECTIONS_MAX)) line.start();
  }

  wake() {
    for (const line of this.lines) line.stream?.wake();
  }

  /** @param {Tab} tab */
  join(tab) {
    this.tabs.add(tab);
    if (this.sweeper === null) this.sweep();
  }

  /** Repeatedly detaches tabs that do not acknowledge, because they are frozen or were closed without a message. */
  sweep() {
    this.sweeper = this.environment.setTimeout(() => {
      for (const tab of this.tabs) if (tab.unreadSince + UNREAD_MS < this.environment.now()) tab.detach();
      if (this.tabs.size > 0) this.sweep();
      else this.sweeper = null;
    }, SWEEP_MS);
  }
}

/** The hub's side of a port to one page. */
class Tab {
  /** @param {Port} port @param {Hub} hub */
  constructor(port, hub) {
    this.port = port;
    this.hub = hub;
    /** @type {Map<number, {subscription: Subscription, line: Line}>} */
    this.open = new Map();
    /** @type {Item[]} */
    this.items = [];
    this.gathering = false;
    this.sent = 0;
    /** Sizes of unread messages by number. @type {Map<number, number>} */
    this.unread = new Map();
    this.unreadEvents = 0;
    this.unreadSince = Infinity;
  }

  /** @param {Request} request */
  receive(request) {
    if (request.do === "open") {
      this.hub.join(this);
      /** @type {Subscription} */
      const subscription = { tab: this, n: request.n, key: request.key, skip: request.lastId, ready: false, word: "" };
      const line = this.hub.open(subscription, request.topic, request.lastId);
      this.open.set(request.n, { subscription, line });
    } else if (request.do === "close") {
      this.close(request.n);
    } else if (request.do === "resume") {
      this.open.get(request.n)?.line.stream?.resume();
    } else if (request.do === "ack") {
      this.read(request.message);
    } else if (request.do === "wake") {
      this.hub.wake();
      // Answer at once, so that the tab knows that the hub is there.
      this.flush();
      this.port.postMessage({ message: this.sent, items: [] });
    }
  }

  /** @param {number} n */
  close(n) {
    const found = this.open.get(n);
    if (found === undefined) return;
    this.open.delete(n);
    found.line.remove(found.subscription);
    if (this.open.size === 0) this.hub.tabs.delete(this);
  }

  /** @param {Item} item */
  post(item) {
    this.items.push(item);
    if (this.items.length >= MESSAGE_MAX) {
      this.flush();
      // Messages already sent remain readable, so even a tab that is always slow makes progress.
      if (this.unreadEvents > UNREAD_MAX) this.detach();
    } else if (!this.gathering) {
      this.gathering = true;
      this.hub.environment.setTimeout(() => {
        this.gathering = false;
        this.flush();
      }, GATHER_MS);
    }
  }

  flush() {
    if (this.items.length === 0) return;
    this.sent += 1;
    this.unread.set(this.sent, this.items.length);
    this.unreadEvents += this.items.length;
    if (this.unreadSince === Infinity) this.unreadSince = this.hub.environment.now();
    this.port.postMessage({ message: this.sent, items: this.items });
    this.items = [];
  }

  /** @param {number} message */
  read(message) {
    this.unreadEvents -= this.unread.get(message) ?? 0;
    this.unread.delete(message);
    this.unreadSince = this.unread.size === 0 ? Infinity : this.hub.environment.now();
  }

  /** Closes the tab's streams and reports this in a message. When the page reads the message, it requests its
   * streams again. */
  detach() {
    for (const n of [...this.open.keys()]) this.close(n);
    this.flush();
    this.unread.clear();
    this.unreadEvents = 0;
    this.unreadSince = Infinity;
    this.port.postMessage({ detached: true });
  }
}

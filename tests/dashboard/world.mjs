// @ts-check
// A fake environment for a stream: a clock that a test moves, and connections that a test controls.
// Contains no test.

import { ResilientStream } from "../../src/dashboard/assets/net/stream.mjs";

/** The listeners and the state of one connection, as in a browser. */
export class FakeEventSource {
  /** @param {string} url @param {FakeWorld} world */
  constructor(url, world) {
    this.url = url;
    this.readyState = 0;
    this.lastEventId = "";
    /** @type {Map<string, ((event: any) => void)[]>} */
    this.listeners = new Map();
    world.sources.push(this);
  }

  /** @param {string} type @param {(event: any) => void} listener */
  addEventListener(type, listener) {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  close() {
    this.readyState = 2;
  }

  /** @param {string} type @param {any} event */
  fire(type, event) {
    for (const listener of this.listeners.get(type) ?? []) listener(event);
  }

  open() {
    this.readyState = 1;
    this.fire("open", {});
  }

  /** @param {string} type @param {any} data an object, or text that is sent unchanged @param {string} [id] */
  send(type, data, id) {
    if (id !== undefined) this.lastEventId = id;
    this.fire(type, { data: typeof data === "string" ? data : JSON.stringify(data), lastEventId: this.lastEventId });
  }

  /** The connection was lost. The browser reconnects by itself. */
  breakOff() {
    this.readyState = 0;
    this.fire("error", {});
  }

  /** The response was not 200, so the browser gives up. */
  refuse() {
    this.readyState = 2;
    this.fire("error", {});
  }
}

export class FakeWorld {
  constructor() {
    /** @type {FakeEventSource[]} */
    this.sources = [];
    this.time = 0;
    /** @type {Map<number, {at: number, callback: () => void}>} */
    this.timers = new Map();
    this.nextTimer = 1;
  }

  /** @returns {any} */
  environment() {
    const world = this;
    return {
      EventSource: class extends FakeEventSource {
        /** @param {string} url */
        constructor(url) {
          super(url, world);
        }
      },
      setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ milliseconds) => {
        this.timers.set(this.nextTimer, { at: this.time + milliseconds, callback });
        return this.nextTimer++;
      },
      clearTimeout: (/** @type {number} */ timer) => this.timers.delete(timer),
      now: () => this.time,
      random: () => 1,
    };
  }

  /** @returns {FakeEventSource} */
  last() {
    return this.sources[this.sources.length - 1];
  }

  /**
   * Moves the clock while nothing runs, as when the machine sleeps. Timers that became due fire
   * afterwards.
   * @param {number} milliseconds
   */
  sleep(milliseconds) {
    this.time += milliseconds;
    this.pass(0);
  }

  /**
   * Moves the clock, and fires the timers that become due, in order.
   * @param {number} milliseconds
   */
  pass(milliseconds) {
    const end = this.time + milliseconds;
    for (;;) {
      const due = [...this.timers.entries()].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (due === undefined) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].callback();
    }
    this.time = end;
  }
}

/** A stream that has been opened. @param {any} options @returns {ResilientStream} */
export function openStream(options) {
  const stream = new ResilientStream(options);
  stream.connect();
  return stream;
}

// @ts-check
// One event stream that stays open: the only module that knows EventSource.
// It opens, resumes, watches and reports; it must never interpret a span, touch the DOM or read a clock that was not
// handed to it.

/**
 * @typedef {{type: string, id: string, data: any}} StreamEvent
 * @typedef {{type: string, id: string, text: string}} RawEvent an event as it came: whoever wants its content reads it
 * @typedef {"connecting" | "live" | "reconnecting" | "ended" | "paused"} StatusWord
 * @typedef {{reason: string, milliseconds: number, at: number}} Outage why and for how long nothing came, and when it was
 *   over, in milliseconds since 1970
 * @typedef {{word: StatusWord, reason: string, lastId: string, attempt: number, malformed: number, outage: Outage | null, since: number,
 *   next: number}} StreamStatus `outage` is the last one that is over; `since`: when this one began, or the server said that
 *   it ends, and `next`: when it is tried again, in milliseconds since 1970, 0 for never
 * @typedef {object} Environment what the stream needs of the world, so that a test can be the world
 * @property {new (url: string) => EventSource} EventSource
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now milliseconds since 1970: the clock of the wall, because others stand still in a sleep
 * @property {() => number} random 0 to 1, for jitter
 * @typedef {object} StreamOptions
 * @property {string} url absolute, without a resume point
 * @property {string} [lastEventId] where to resume; empty is "everything retained"
 * @property {(event: RawEvent) => void} onEvent
 * @property {(status: StreamStatus) => void} onStatus
 * @property {Environment} [environment]
 * @typedef {{close: () => void, pause: () => void, resume: () => void, status: () => StreamStatus}} Stream
 */

/** The types listened for. EventSource drops every other named event, which is what the protocol asks of a client. */
export const EVENT_TYPES = Object.freeze([
  "hello", "ping", "gap", "degraded", "end", "process", "started", "ended", "updated", "log", "traces",
]);

/** Silence that counts as a dead connection, in pings. */
export const SILENT_PINGS_MAX = 3;
/** The ping interval assumed until `hello` names the real one. */
export const DEFAULT_PING_SECONDS = 15;
export const BACKOFF_FIRST_MS = 1_000;
export const BACKOFF_MAX_MS = 30_000;
/** The same after a program has ended: whoever works on it starts it again, and looks here. */
export const ENDED_BACKOFF_MAX_MS = 5_000;
/** How often a live connection is looked at. */
export const PULSE_MS = 5_000;
/** A pulse that comes this much late means that the machine, or the page, slept. */
export const SLEEP_MS = 30_000;

const CLOSED = 2;
// What the server says about these does not pass by waiting, so the stream stops until the reader asks again.
const FINAL_REASONS = new Set(["complete", "unknown"]);
// After these, asking again at once would be rude: the server is full, or will refuse until somebody signs in.
const SLOW_REASONS = new Set(["overload", "expired"]);

/** @returns {Environment} */
export function browserEnvironment() {
  return {
    EventSource: globalThis.EventSource,
    setTimeout: (callback, milliseconds) => globalThis.setTimeout(callback, milliseconds),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
  };
}

/**
 * A stream that stays open from `connect` until `close`.
 *
 * EventSource reconnects by itself after a broken connection, without saying when, gives up for ever on any answer other
 * than 200, and never notices a connection that is open and dead. All of it is repaired here: it is made anew, with a
 * growing pause and the last id in the query.
 */
export class ResilientStream {
  /** @param {StreamOptions} options */
  constructor(options) {
    this.options = options;
    this.environment = options.environment ?? browserEnvironment();
    /** @type {EventSource | null} */
    this.source = null;
    /** @type {StatusWord} */
    this.word = "connecting";
    this.reason = "";
    this.lastId = options.lastEventId ?? "";
    this.attempt = 0;
    this.pingSeconds = DEFAULT_PING_SECONDS;
    this.lastHeard = 0;
    this.due = 0;
    /** When the server said that it shuts down, 0 when it did not. Until another one answers, that is no fault. */
    this.over = 0;
    /** When it is tried again, 0 while nothing is planned. */
    this.next = 0;
    /** When the outage that is under way began, and why; null while there is none. @type {{reason: string, since: number} | null} */
    this.cut = null;
    /** @type {Outage | null} */
    this.outage = null;
    /** @type {any} */
    this.pulse = null;
    /** @type {any} */
    this.retry = null;
  }

  /** @returns {StreamStatus} */
  status() {
    const { word, reason, lastId, attempt, outage, next } = this;
    return { word, reason, lastId, attempt, malformed: 0, outage, since: this.over || (this.cut?.since ?? 0), next };
  }

  /** Ends the stream for good. */
  close() {
    this.release();
  }

  /** Lets go of the connection and remembers the place: a paused page costs the server nothing. */
  pause() {
    if (this.word === "paused") return;
    this.release();
    this.cut = null;
    this.over = 0;
    this.report("paused", "");
  }

  /** Goes on from the place where the stream was paused, or where it ended. */
  resume() {
    if (this.word !== "paused" && this.word !== "ended") return;
    this.attempt = 0;
    this.connect();
  }

  /** Goes on at another address, from another place; an outage that is under way stays one. @param {string} url @param {string} lastEventId */
  redirect(url, lastEventId) {
    this.options = { ...this.options, url };
    this.lastId = lastEventId;
    this.attempt = 0;
    this.connect();
  }

  /** Looks now instead of later: the machine woke, the network came back, or a reader came to look. */
  wake() {
    if (this.retry !== null) {
      this.attempt = 0;
      this.connect();
    } else if (this.source !== null) {
      this.look();
    }
  }

  connect() {
    this.release();
    this.report(this.attempt === 0 && this.cut === null ? "connecting" : this.outWord(), this.reason);
    const source = new this.environment.EventSource(withLastEventId(this.options.url, this.lastId));
    this.source = source;
    for (const type of EVENT_TYPES) {
      source.addEventListener(type, (event) => {
        // A closed source may still have events in the page's task queue.
        if (this.source === source) this.receive(type, /** @type {MessageEvent} */ (event));
      });
    }
    source.addEventListener("open", () => {
      if (this.source === source) this.lastHeard = this.environment.now();
    });
    source.addEventListener("error", () => {
      if (this.source === source) this.failed(source);
    });
    this.lastHeard = this.environment.now();
    this.beat();
  }

  /** @param {string} type @param {MessageEvent} event */
  receive(type, event) {
    this.lastHeard = this.environment.now();
    if (event.lastEventId) this.lastId = event.lastEventId;
    const text = String(event.data);
    if (type === "hello") this.greeted(parseObject(text));
    else if (this.word !== "live") this.live();
    this.options.onEvent({ type, id: event.lastEventId, text });
    if (type === "end" && this.source !== null) this.finished(String(parseObject(text)?.reason ?? ""));
  }

  /** @param {any} hello */
  greeted(hello) {
    this.attempt = 0;
    if (hello?.pingSeconds > 0) this.pingSeconds = Number(hello.pingSeconds);
    this.live();
  }

  live() {
    this.over = 0;
    if (this.cut !== null) {
      const at = this.environment.now();
      this.outage = { reason: this.cut.reason, milliseconds: Math.max(0, at - this.cut.since), at };
      this.cut = null;
    }
    this.report("live", "");
  }

  /** @param {string} reason */
  finished(reason) {
    if (FINAL_REASONS.has(reason)) {
      this.release();
      this.cut = null;
      this.report("ended", reason);
    } else if (SLOW_REASONS.has(reason)) {
      this.attempt = Math.max(this.attempt, 3);
      this.reconnectLater(reason);
    } else if (reason === "shutdown") {
      this.over = this.environment.now();
      this.reconnectLater(reason);
    } else if (reason !== "") {
      // A reason from a newer server. The body ends next.
      this.cutOff(reason);
      this.report("reconnecting", reason);
    }
  }

  /** @returns {StatusWord} what to call it that nothing is heard */
  outWord() {
    return this.over > 0 ? "ended" : "reconnecting";
  }

  /** A browser that comes back by itself does not say when, so it is done here. @param {EventSource} source */
  failed(source) {
    this.reconnectLater(this.reason || (source.readyState === CLOSED ? "refused" : "connection lost"));
  }

  /** An outage begins with the last thing heard. @param {string} reason */
  cutOff(reason) {
    if (this.cut === null) this.cut = { reason, since: this.lastHeard };
  }

  /** @param {string} reason */
  reconnectLater(reason) {
    this.release();
    this.cutOff(reason);
    const ceiling = Math.min(this.over > 0 ? ENDED_BACKOFF_MAX_MS : BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.attempt, 10));
    this.attempt += 1;
    // Half fixed, half random: many pages that lost one server must not come back in step.
    const pause = ceiling / 2 + (ceiling / 2) * this.environment.random();
    this.next = this.environment.now() + pause;
    this.report(this.outWord(), reason);
    this.retry = this.environment.setTimeout(() => this.connect(), pause);
  }

  /** One timer per connection, not one per event: at 10,000 events a second re-arming would be the larger cost. */
  beat() {
    this.due = this.environment.now() + PULSE_MS;
    this.pulse = this.environment.setTimeout(() => {
      this.pulse = null;
      this.look();
    }, PULSE_MS);
  }

  /** A dead connection is never an error to a browser: it is told by its silence. */
  look() {
    const silent = this.silence();
    if (this.environment.now() - this.due > SLEEP_MS && silent > SLEEP_MS) this.afterSleep();
    else if (silent >= SILENT_PINGS_MAX * this.pingSeconds * 1000) this.reconnectLater(this.reason || "silent");
    else if (this.pulse === null) this.beat();
  }

  /** A connection that slept is dead more often than not, and asking anew costs a live one nothing. */
  afterSleep() {
    this.cutOff("asleep");
    this.attempt = 0;
    this.reason = "asleep";
    this.connect();
  }

  /** @returns {number} milliseconds; a clock that was set back means nothing was missed yet */
  silence() {
    const now = this.environment.now();
    if (now < this.lastHeard) this.lastHeard = now;
    return now - this.lastHeard;
  }

  release() {
    if (this.source !== null) this.source.close();
    this.source = null;
    for (const timer of [this.pulse, this.retry]) if (timer !== null) this.environment.clearTimeout(timer);
    this.pulse = null;
    this.retry = null;
    this.next = 0;
  }

  /** @param {StatusWord} word @param {string} reason */
  report(word, reason) {
    this.word = word;
    this.reason = reason;
    this.options.onStatus(this.status());
  }
}

/** @param {string} url @param {string} lastId @returns {string} */
function withLastEventId(url, lastId) {
  if (lastId === "") return url;
  return `${url}${url.includes("?") ? "&" : "?"}lastEventId=${encodeURIComponent(lastId)}`;
}

/** @param {unknown} text @returns {any} an object, or null for anything else */
export function parseObject(text) {
  try {
    const value = JSON.parse(String(text));
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

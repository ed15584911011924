// @ts-check
// One event stream that stays open: the only module that knows EventSource.
// It opens, resumes, watches and reports; it must never interpret a span, touch the DOM or read a clock that was not
// handed to it.

/**
 * @typedef {{type: string, id: string, data: any}} StreamEvent
 * @typedef {"connecting" | "live" | "reconnecting" | "ended" | "paused"} StatusWord
 * @typedef {{word: StatusWord, reason: string, lastId: string, attempt: number, malformed: number}} StreamStatus
 * @typedef {object} Environment what the stream needs of the world, so that a test can be the world
 * @property {new (url: string) => EventSource} EventSource
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now milliseconds, only ever subtracted from each other
 * @property {() => number} random 0 to 1, for jitter
 * @typedef {object} StreamOptions
 * @property {string} url absolute, without a resume point
 * @property {string} [lastEventId] where to resume; empty is "everything retained"
 * @property {(event: StreamEvent) => void} onEvent
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

const CLOSED = 2;
// What the server says about these does not pass by waiting, so the stream stops until the reader asks again.
const FINAL_REASONS = new Set(["complete", "unknown"]);
// After these, asking again at once would be rude: the server is full, or will refuse until somebody signs in.
const SLOW_REASONS = new Set(["overload", "expired"]);

/**
 * Opens a stream and keeps it open until `close`.
 *
 * EventSource reconnects by itself after a broken connection, but gives up for ever on any answer other than 200, and
 * never notices a connection that is open and dead. Both are repaired here: it is made anew, with a growing pause and
 * the last id in the query.
 * @param {StreamOptions} options
 * @returns {Stream}
 */
export function openStream(options) {
  const stream = new ResilientStream(options);
  stream.connect();
  return stream;
}

/** @returns {Environment} */
function browser() {
  return {
    EventSource: globalThis.EventSource,
    setTimeout: (callback, milliseconds) => globalThis.setTimeout(callback, milliseconds),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    now: () => performance.now(),
    random: () => Math.random(),
  };
}

class ResilientStream {
  /** @param {StreamOptions} options */
  constructor(options) {
    this.options = options;
    this.environment = options.environment ?? browser();
    /** @type {EventSource | null} */
    this.source = null;
    /** @type {StatusWord} */
    this.word = "connecting";
    this.reason = "";
    this.lastId = options.lastEventId ?? "";
    this.attempt = 0;
    this.malformed = 0;
    this.pingSeconds = DEFAULT_PING_SECONDS;
    this.lastHeard = 0;
    /** @type {any} */
    this.watchdog = null;
    /** @type {any} */
    this.retry = null;
  }

  /** @returns {StreamStatus} */
  status() {
    return { word: this.word, reason: this.reason, lastId: this.lastId, attempt: this.attempt, malformed: this.malformed };
  }

  /** Ends the stream for good. */
  close() {
    this.release();
  }

  /** Lets go of the connection and remembers the place: a paused page costs the server nothing. */
  pause() {
    if (this.word === "paused") return;
    this.release();
    this.report("paused", "");
  }

  /** Goes on from the place where the stream was paused, or where it ended. */
  resume() {
    if (this.word !== "paused" && this.word !== "ended") return;
    this.attempt = 0;
    this.connect();
  }

  connect() {
    this.release();
    this.report(this.attempt === 0 ? "connecting" : "reconnecting", this.reason);
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
    this.watch(this.silenceLimit());
  }

  /** @param {string} type @param {MessageEvent} event */
  receive(type, event) {
    this.lastHeard = this.environment.now();
    if (event.lastEventId) this.lastId = event.lastEventId;
    const data = parseObject(event.data);
    if (data === null) {
      this.malformed += 1;
      return;
    }
    if (type === "hello") {
      this.greeted(data);
    } else if (this.word !== "live" && this.source !== null) {
      this.report("live", "");
    }
    this.options.onEvent({ type, id: event.lastEventId, data });
    if (type === "end" && this.source !== null) this.finished(String(data.reason ?? ""));
  }

  /** @param {any} hello */
  greeted(hello) {
    this.attempt = 0;
    if (typeof hello.pingSeconds === "number" && hello.pingSeconds > 0) {
      this.pingSeconds = hello.pingSeconds;
      // The watchdog may sleep on the longer interval assumed before.
      this.watch(this.silenceLimit());
    }
    this.report("live", "");
  }

  /** @param {string} reason */
  finished(reason) {
    if (FINAL_REASONS.has(reason)) {
      this.release();
      this.report("ended", reason);
    } else if (SLOW_REASONS.has(reason)) {
      this.attempt = Math.max(this.attempt, 3);
      this.reconnectLater(reason);
    } else {
      // A shutdown, or a reason from a newer server: the body ends next, and EventSource comes back by itself.
      this.report("reconnecting", reason);
    }
  }

  /** @param {EventSource} source */
  failed(source) {
    if (source.readyState === CLOSED) {
      this.reconnectLater(this.reason || "refused");
    } else {
      this.report("reconnecting", this.reason || "connection lost");
    }
  }

  /** @param {string} reason */
  reconnectLater(reason) {
    this.release();
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.attempt, 10));
    this.attempt += 1;
    this.report("reconnecting", reason);
    // Half fixed, half random: many pages that lost one server must not come back in step.
    const pause = ceiling / 2 + (ceiling / 2) * this.environment.random();
    this.retry = this.environment.setTimeout(() => this.connect(), pause);
  }

  silenceLimit() {
    return SILENT_PINGS_MAX * this.pingSeconds * 1000;
  }

  /**
   * One sleeping timer per connection, not one per event: at 10,000 events a second re-arming would be the larger cost.
   * @param {number} milliseconds
   */
  watch(milliseconds) {
    if (this.watchdog !== null) this.environment.clearTimeout(this.watchdog);
    this.watchdog = this.environment.setTimeout(() => {
      this.watchdog = null;
      const silent = this.environment.now() - this.lastHeard;
      if (silent >= this.silenceLimit()) {
        this.reconnectLater("silent");
      } else {
        this.watch(this.silenceLimit() - silent);
      }
    }, milliseconds);
  }

  release() {
    if (this.source !== null) this.source.close();
    this.source = null;
    if (this.watchdog !== null) this.environment.clearTimeout(this.watchdog);
    this.watchdog = null;
    if (this.retry !== null) this.environment.clearTimeout(this.retry);
    this.retry = null;
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
function parseObject(text) {
  try {
    const value = JSON.parse(String(text));
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

// @ts-check
// An event stream that reconnects. This is the only module that knows EventSource. Must never interpret a span, touch
// the DOM or read a clock that was not passed in.

/**
 * @typedef {{type: string, id: string, data: any}} StreamEvent
 * @typedef {{type: string, id: string, text: string}} RawEvent an event whose data is not parsed
 * @typedef {"connecting" | "live" | "reconnecting" | "ended" | "paused"} StatusWord
 * @typedef {{reason: string, milliseconds: number, at: number}} Outage a time without events: its cause, its length,
 *   and its end in milliseconds since 1970
 * @typedef {{word: StatusWord, reason: string, lastId: string, attempt: number, malformed: number, outage: Outage | null, since: number,
 *   next: number}} StreamStatus `outage` is the last outage that has ended; `since`: when the current one began, or when
 *   the server announced its shutdown; `next`: when the next attempt follows. Both are in milliseconds since 1970, 0 for
 *   none
 * @typedef {object} Environment the browser functions that the stream needs; tests pass their own
 * @property {new (url: string) => EventSource} EventSource
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now milliseconds since 1970 by the wall clock, because monotonic clocks may stop during
 *   sleep
 * @property {() => number} random from 0 to 1, for jitter
 * @typedef {object} StreamOptions
 * @property {string} url absolute, without a resume point
 * @property {string} [lastEventId] where to resume; empty means everything retained
 * @property {(event: RawEvent) => void} onEvent
 * @property {(status: StreamStatus) => void} onStatus
 * @property {Environment} [environment]
 * @typedef {{close: () => void, pause: () => void, resume: () => void, status: () => StreamStatus}} Stream
 */

/** The event types listened for. Events of other types are ignored. */
export const EVENT_TYPES = Object.freeze([
  "hello", "ping", "gap", "degraded", "end", "process", "started", "ended", "updated", "log", "traces",
]);

/** Number of missed pings after which a silent connection counts as dead. */
export const SILENT_PINGS_MAX = 3;
/** The ping interval assumed until `hello` names the real one. */
export const DEFAULT_PING_SECONDS = 15;
export const BACKOFF_FIRST_MS = 1_000;
export const BACKOFF_MAX_MS = 30_000;
/** A shorter maximum after a shutdown, since a developer probably restarts the program and watches this page. */
export const ENDED_BACKOFF_MAX_MS = 5_000;
/** Interval between checks of a live connection. */
export const PULSE_MS = 5_000;
/** If a check is this late and nothing was received for as long, the machine or the page was asleep. */
export const SLEEP_MS = 30_000;

const CLOSED = 2;
// A retry would not help after these reasons, so the stream stops until the reader resumes it.
const FINAL_REASONS = new Set(["complete", "unknown"]);
// For these reasons, an immediate retry would fail again: the server is full, or refuses until somebody signs in.
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
 * An event stream that reconnects until it is closed, paused, or ended for a final reason.
 *
 * EventSource reconnects after a broken connection without reporting when. It gives up for ever after any status
 * other than 200, and never notices a dead connection. So this class opens each new EventSource itself, with back-off
 * and the last id in the query.
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
    /** When the server announced its shutdown, 0 if it did not. Until a server answers again, failures are expected. */
    this.over = 0;
    /** When the next attempt follows, 0 if none is planned. */
    this.next = 0;
    /** Start and cause of the current outage; null without one. @type {{reason: string, since: number} | null} */
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

  /** Ends the stream permanently. */
  close() {
    this.release();
  }

  /** Closes the connection and keeps the resume point, so a paused page costs the server nothing. */
  pause() {
    if (this.word === "paused") return;
    this.release();
    this.cut = null;
    this.over = 0;
    this.report("paused", "");
  }

  /** Resumes where the stream was paused or ended. */
  resume() {
    if (this.word !== "paused" && this.word !== "ended") return;
    this.attempt = 0;
    this.connect();
  }

  /**
   * Switches to another address and resume point. A current outage continues.
   * @param {string} url @param {string} lastEventId
   */
  redirect(url, lastEventId) {
    this.options = { ...this.options, url };
    this.lastId = lastEventId;
    this.attempt = 0;
    this.connect();
  }

  /** Retries or checks at once. Called when the machine woke, the network is back or the page became visible. */
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
      // An unknown reason, from a newer server. The response ends next.
      this.cutOff(reason);
      this.report("reconnecting", reason);
    }
  }

  /** @returns {StatusWord} the status word while nothing is received */
  outWord() {
    return this.over > 0 ? "ended" : "reconnecting";
  }

  /**
   * Reconnects here, because the browser's own reconnect does not report when it happens.
   * @param {EventSource} source
   */
  failed(source) {
    this.reconnectLater(this.reason || (source.readyState === CLOSED ? "refused" : "connection lost"));
  }

  /** Begins an outage at the time of the last event. @param {string} reason */
  cutOff(reason) {
    if (this.cut === null) this.cut = { reason, since: this.lastHeard };
  }

  /** @param {string} reason */
  reconnectLater(reason) {
    this.release();
    this.cutOff(reason);
    const ceiling = Math.min(this.over > 0 ? ENDED_BACKOFF_MAX_MS : BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.attempt, 10));
    this.attempt += 1;
    // Half fixed, half random, so that pages that lost the same server do not return in step.
    const pause = ceiling / 2 + (ceiling / 2) * this.environment.random();
    this.next = this.environment.now() + pause;
    this.report(this.outWord(), reason);
    this.retry = this.environment.setTimeout(() => this.connect(), pause);
  }

  /**
   * Starts the timer of the next check. Events do not reset it: at 10,000 events a second, that would be expensive.
   */
  beat() {
    this.due = this.environment.now() + PULSE_MS;
    this.pulse = this.environment.setTimeout(() => {
      this.pulse = null;
      this.look();
    }, PULSE_MS);
  }

  /**
   * Checks whether the connection is dead. Browsers report no error for a dead connection; only its silence shows it.
   */
  look() {
    const silent = this.silence();
    if (this.environment.now() - this.due > SLEEP_MS && silent > SLEEP_MS) this.afterSleep();
    else if (silent >= SILENT_PINGS_MAX * this.pingSeconds * 1000) this.reconnectLater(this.reason || "silent");
    else if (this.pulse === null) this.beat();
  }

  /** Reconnects after sleep: the connection is probably dead, and if not, a new one loses nothing. */
  afterSleep() {
    this.cutOff("asleep");
    this.attempt = 0;
    this.reason = "asleep";
    this.connect();
  }

  /** @returns {number} milliseconds; starts again at 0 if the clock was set back */
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

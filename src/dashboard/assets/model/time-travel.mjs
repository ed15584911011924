// @ts-check
// Time travel: the shown moment, when its `Moments` are rebuilt, and playing. Must never touch the DOM.

import { identityOf } from "./identity.mjs";
import { Moments, historyOf } from "./trace-at-time.mjs";

/**
 * @typedef {import("./trace-at-time.mjs").History} History
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{model: Trace, traceId: string, history?: History | null, fixedNow?: number}} Travelled the feed of a
 *   trace; if it comes from a file, `history` is set
 * @typedef {object} TravelWorld
 * @property {(traceId: string) => Promise<any[] | null>} events the events of a trace, or null if they cannot be fetched
 * @property {() => number} clock milliseconds; only differences are used
 * @property {() => void} changed requests a frame
 */

/** In larger traces the log is not fetched. A span that was open at the shown moment then has the attributes of its end. */
export const HISTORY_SPANS_MAX = 20_000;
/** Playing speeds, in milliseconds of the trace per millisecond of real time. */
export const SPEEDS = [0.001, 0.01, 0.1, 1, 10, 100];
// The `Moments` of a growing trace are rebuilt at most this often, and for at most a twentieth of the time.
const REFRESH_MS = 1_000;
const REFRESH_SHARE = 20;
// The log of a growing trace is fetched again at most this often.
const HISTORY_EVERY_MS = 5_000;

export class Travel {
  /** @param {TravelWorld} world */
  constructor(world) {
    this.world = world;
    /** @type {Moments | null} */
    this.moments = null;
    this.key = "";
    this.madeAt = -Infinity;
    this.cost = 0;
    /**
     * The fetched log, and the trace's version at that time.
     * @type {{model: Trace, history: History | null, version: number, at: number} | null}
     */
    this.loaded = null;
    this.speed = 1;
    /** Moment and time at which playing began; null while it is paused. @type {{moment: number, at: number} | null} */
    this.play = null;
  }

  /**
   * Returns the trace to draw: the live one, or the trace at the shown moment.
   * @param {Travelled} feed
   * @param {{moment: number | null}} ui its `moment` is advanced while playing
   * @param {number} liveNow in tree time
   * @returns {{trace: Trace, now: number | null}} `now` is null for the live trace
   */
  shown(feed, ui, liveNow) {
    if (ui.moment === null || feed.model.spans.count === 0) {
      this.play = null;
      return { trace: feed.model, now: null };
    }
    const moments = this.momentsOf(feed, liveNow);
    if (this.play !== null) ui.moment = this.play.moment + (this.world.clock() - this.play.at) * this.speed;
    if (ui.moment >= moments.end) {
      // At the right end, switch back to the live trace.
      this.play = null;
      ui.moment = null;
      return { trace: feed.model, now: null };
    }
    ui.moment = Math.max(moments.start, ui.moment);
    return { trace: moments.at(ui.moment), now: ui.moment };
  }

  /** @param {Travelled} feed @param {number} liveNow @returns {Moments} */
  momentsOf(feed, liveNow) {
    const { model } = feed;
    const history = feed.history ?? this.historyFor(feed);
    const key = `${identityOf(model)} ${history === null}`;
    const begin = this.world.clock();
    const isOld = begin - this.madeAt > Math.max(REFRESH_MS, this.cost * REFRESH_SHARE);
    const hasGrown = this.moments !== null && (this.moments.version !== model.version || model.counts.open > 0);
    if (this.moments === null || key !== this.key || (hasGrown && isOld)) {
      const before = this.moments;
      this.moments = new Moments(model, history, feed.fixedNow ?? liveNow);
      // For the same trace, keep the view object, so that drawing continues with its caches.
      if (before !== null && key === this.key) this.moments.succeed(before);
      this.key = key;
      this.madeAt = this.world.clock();
      this.cost = this.madeAt - begin;
    }
    return this.moments;
  }

  /** @param {Travelled} feed @returns {History | null} null while it is loading, or if it is not loaded at all */
  historyFor({ model, traceId }) {
    const at = this.world.clock();
    const known = this.loaded?.model === model ? this.loaded : null;
    // A log fetched earlier lacks the later updates of open spans.
    const isStale = known !== null && known.version !== model.version && at - known.at > HISTORY_EVERY_MS;
    if (known !== null && !isStale) return known.history;
    const loaded = { model, history: known?.history ?? null, version: model.version, at };
    this.loaded = loaded;
    if (model.spans.count <= HISTORY_SPANS_MAX) {
      void this.world.events(traceId).then((events) => {
        if (events === null || this.loaded !== loaded) return;
        loaded.history = historyOf(events, model.originSeconds);
        // The `Moments` built without the history are out of date.
        this.madeAt = -Infinity;
        this.world.changed();
      });
    }
    return loaded.history;
  }

  /** Discards everything about the current trace. */
  forget() {
    this.moments = null;
    this.loaded = null;
    this.play = null;
  }

  /**
   * Starts or pauses playing.
   * @param {{moment: number | null}} ui @param {number} start of the trace, where playing begins if the live trace is shown
   */
  toggle(ui, start) {
    ui.moment ??= start;
    this.play = this.play === null ? this.from(ui.moment) : null;
    this.world.changed();
  }

  /** @param {number} moment @returns {{moment: number, at: number}} */
  from(moment) {
    return { moment, at: this.world.clock() };
  }

  /** Continues playing from a new moment or at a new speed. @param {{moment: number | null}} ui */
  restart(ui) {
    if (this.play !== null && ui.moment !== null) this.play = this.from(ui.moment);
  }
}

/**
 * @param {number} milliseconds of a trace
 * @returns {number} the slowest speed at which the trace plays within 20 seconds, but at most real time
 */
export function speedFor(milliseconds) {
  return SPEEDS.find((speed) => speed === 1 || milliseconds / speed <= 20_000) ?? 1;
}

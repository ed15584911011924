// @ts-check
// Time travel of the page: which moment is on show, when its index is made anew, and playing. Must never touch the DOM.

import { identityOf } from "./identity.mjs";
import { Moments, historyOf } from "./trace-at-time.mjs";

/**
 * @typedef {import("./trace-at-time.mjs").History} History
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{model: Trace, traceId: string, history?: History | null, fixedNow?: number}} Travelled a feed;
 *   one of a file has its history at hand
 * @typedef {object} TravelWorld
 * @property {(traceId: string) => Promise<any[] | null>} events the log of a trace, or null when there is none
 * @property {() => number} clock milliseconds, only ever subtracted from each other
 * @property {() => void} changed asks for a frame
 */

/** Beyond this the log of a trace is not fetched: an open span then shows the attributes that it ended with. */
export const HISTORY_SPANS_MAX = 20_000;
/** Speeds of playing, in milliseconds of the trace per millisecond of the reader. */
export const SPEEDS = [0.001, 0.01, 0.1, 1, 10, 100];
// The index of a trace that still grows is made anew at most this often, and at most this share of the time.
const REFRESH_MS = 1_000;
const REFRESH_SHARE = 20;
// Of a trace that goes on, its log is read again at most this often.
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
    /** The log as it was read, and of which version of the trace. @type {{model: Trace, history: History | null, version: number, at: number} | null} */
    this.loaded = null;
    this.speed = 1;
    /** Where and when playing began; null while it stands. @type {{moment: number, at: number} | null} */
    this.play = null;
  }

  /**
   * What is to be drawn: the live trace, or the one of the moment.
   * @param {Travelled} feed
   * @param {{moment: number | null}} ui its moment moves while playing
   * @param {number} liveNow in tree time
   * @returns {{trace: Trace, now: number | null}} `now` null when it is the live trace
   */
  shown(feed, ui, liveNow) {
    if (ui.moment === null || feed.model.spans.count === 0) {
      this.play = null;
      return { trace: feed.model, now: null };
    }
    const moments = this.momentsOf(feed, liveNow);
    if (this.play !== null) ui.moment = this.play.moment + (this.world.clock() - this.play.at) * this.speed;
    if (ui.moment >= moments.end) {
      // The right end is now.
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
      // The same trace: whoever drew it goes on with what it has.
      if (before !== null && key === this.key) this.moments.succeed(before);
      this.key = key;
      this.madeAt = this.world.clock();
      this.cost = this.madeAt - begin;
    }
    return this.moments;
  }

  /** @param {Travelled} feed @returns {History | null} null until it is there, or when it will not be */
  historyFor({ model, traceId }) {
    const at = this.world.clock();
    const known = this.loaded?.model === model ? this.loaded : null;
    // What open spans were told since is not in a log that was read before.
    const isStale = known !== null && known.version !== model.version && at - known.at > HISTORY_EVERY_MS;
    if (known !== null && !isStale) return known.history;
    const loaded = { model, history: known?.history ?? null, version: model.version, at };
    this.loaded = loaded;
    if (model.spans.count <= HISTORY_SPANS_MAX) {
      void this.world.events(traceId).then((events) => {
        if (events === null || this.loaded !== loaded) return;
        loaded.history = historyOf(events, model.originSeconds);
        // What was made without it is out of date.
        this.madeAt = -Infinity;
        this.world.changed();
      });
    }
    return loaded.history;
  }

  /** Another trace, or none. */
  forget() {
    this.moments = null;
    this.loaded = null;
    this.play = null;
  }

  /** Plays or stands. @param {{moment: number | null}} ui @param {number} start of the trace, from where the right end plays */
  toggle(ui, start) {
    ui.moment ??= start;
    this.play = this.play === null ? this.from(ui.moment) : null;
    this.world.changed();
  }

  /** @param {number} moment @returns {{moment: number, at: number}} */
  from(moment) {
    return { moment, at: this.world.clock() };
  }

  /** The reader set the moment, or the speed: playing goes on from there. @param {{moment: number | null}} ui */
  restart(ui) {
    if (this.play !== null && ui.moment !== null) this.play = this.from(ui.moment);
  }
}

/** @param {number} milliseconds of a trace @returns {number} the speed at which it plays in some seconds, and never faster than it was */
export function speedFor(milliseconds) {
  return SPEEDS.find((speed) => speed === 1 || milliseconds / speed <= 20_000) ?? 1;
}

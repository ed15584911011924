// @ts-check
// The reader's view: page, selection, folding, zoom. The page has one such object; the views read it. Must never touch
// the DOM or a model.

import { openTo, unfolded } from "../model/visible-rows.mjs";

/**
 * @typedef {import("../model/timescale.mjs").Stretch} Stretch
 * @typedef {import("../model/trace-search.mjs").TraceSearch} Matches the spans that a search finds
 */

export class Ui {
  /** @type {string | null} */
  traceId = null;
  /** @type {string | null} */
  spanId = null;
  query = "";
  /** @type {"running" | "newest"} */
  order = "running";
  /** The zone in which times of day are shown. @type {import("../model/clock.mjs").Zone} */
  zone = "local";
  /** @type {"waterfall" | "flame" | "logs"} */
  view = "waterfall";
  /** The zoomed stretch in tree time; null for the whole trace as it grows. @type {Stretch | null} */
  zoom = null;
  /** The moment of time travel, in tree time; null for now. @type {number | null} */
  moment = null;
  fold = unfolded();
  /** Grows with every change of `fold`. */
  foldVersion = 0;
  /** Whether siblings of one name are grouped. */
  isGrouped = true;
  compress = false;
  follow = false;
  /** Whether `follow` was decided for this trace, by the reader or by default. */
  followDecided = false;
  /** @type {Matches | null} */
  matches = null;
  criticalPath = false;

  /** @param {() => void} changed requests a frame */
  constructor(changed) {
    this.changed = changed;
  }

  /** Resets zoom, moment, matches, gaps, follow mode and folding for another trace. */
  reset() {
    this.zoom = null;
    this.moment = null;
    this.matches = null;
    this.compress = false;
    this.follow = false;
    this.followDecided = false;
    this.setFold(unfolded(this.isGrouped));
  }

  /** Stops follow mode, because the reader interacts with the view. */
  touch() {
    this.followDecided = true;
    if (!this.follow) return;
    this.follow = false;
    this.changed();
  }

  /** @param {boolean} follow */
  setFollow(follow) {
    this.follow = follow;
    this.followDecided = true;
    if (follow) this.zoom = null;
    this.changed();
  }

  /** @param {Stretch | null} zoom */
  setZoom(zoom) {
    this.zoom = zoom;
    this.touch();
    this.changed();
  }

  /** @param {"waterfall" | "flame" | "logs"} view */
  setView(view) {
    this.view = view;
    this.changed();
  }

  /** @param {number | null} moment */
  setMoment(moment) {
    this.moment = moment;
    this.changed();
  }

  /** @param {boolean} compress */
  setCompress(compress) {
    this.compress = compress;
    this.changed();
  }

  /** @param {import("../model/clock.mjs").Zone} zone */
  setZone(zone) {
    this.zone = zone;
    this.changed();
  }

  /** @param {boolean} criticalPath */
  setCriticalPath(criticalPath) {
    this.criticalPath = criticalPath;
    this.changed();
  }

  /** @param {import("../model/visible-rows.mjs").Fold} fold */
  setFold(fold) {
    this.fold = fold;
    this.foldChanged();
  }

  /**
   * Folds one span independently of the others.
   * @param {string} spanId @param {import("../model/visible-rows.mjs").FoldState} state
   */
  foldSpan(spanId, state) {
    this.fold.except.set(spanId, state);
    this.foldChanged();
  }

  /** @param {boolean} isGrouped */
  setGrouped(isGrouped) {
    this.isGrouped = isGrouped;
    this.fold.groups.isOn = isGrouped;
    this.foldChanged();
  }

  /** Sets the groups that are opened automatically. @param {ReadonlySet<string>} keys */
  setAutomaticGroups(keys) {
    const { groups } = this.fold;
    if (keys.size === groups.automatic.size && [...keys].every((key) => groups.automatic.has(key))) return;
    groups.automatic = keys;
    // Called while drawing a frame, so no further frame is requested.
    this.foldVersion += 1;
  }

  /** @param {number} depth 0 closes everything, Infinity opens everything */
  openToDepth(depth) {
    this.setFold(openTo(depth, this.isGrouped));
    this.touch();
  }

  foldChanged() {
    this.foldVersion += 1;
    this.changed();
  }
}

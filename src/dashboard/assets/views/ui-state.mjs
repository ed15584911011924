// @ts-check
// How a reader looks: what is open, selected, folded, zoomed. One object for the page; everybody reads it, and each field
// is written by one setter. Must never touch the DOM or a model.

import { openTo, unfolded } from "../model/visible-rows.mjs";

/**
 * @typedef {import("../model/timescale.mjs").Stretch} Stretch
 * @typedef {{query: string, count: number, version: number, bits: Uint8Array, list: () => number[]}} Matches spans that a search found;
 *   `bits` by index, `list` in reading order, `version` grows with every change
 */

export class Ui {
  /** @type {string | null} */
  traceId = null;
  /** @type {string | null} */
  spanId = null;
  query = "";
  /** @type {"running" | "newest"} */
  order = "running";
  /** Whose clock times of day are told by. @type {import("../model/clock.mjs").Zone} */
  zone = "local";
  /** @type {"waterfall" | "flame" | "logs"} */
  view = "waterfall";
  /** What the waterfall shows, in tree time; null for the whole trace as it grows. @type {Stretch | null} */
  zoom = null;
  /** The moment looked at, in tree time; null for now. @type {number | null} */
  moment = null;
  fold = unfolded();
  /** Grows with every change of `fold`. */
  foldVersion = 0;
  /** Whether siblings of one name are one row. */
  isGrouped = true;
  compress = false;
  follow = false;
  /** Whether somebody decided on `follow` for this trace: the reader, or the first look. */
  followDecided = false;
  /** @type {Matches | null} */
  matches = null;
  criticalPath = false;

  /** @param {() => void} changed asks for a frame */
  constructor(changed) {
    this.changed = changed;
  }

  /** Another trace: what was said about the old one is void. */
  reset() {
    this.zoom = null;
    this.moment = null;
    this.matches = null;
    this.compress = false;
    this.follow = false;
    this.followDecided = false;
    this.setFold(unfolded(this.isGrouped));
  }

  /** The reader took the picture in hand: it stays where it is. */
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

  /** @param {Matches | null} matches */
  setMatches(matches) {
    this.matches = matches;
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

  /** One span otherwise than the others. @param {string} spanId @param {import("../model/visible-rows.mjs").FoldState} state */
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

  /** Groups that are open for what happens in them. @param {ReadonlySet<string>} keys */
  setAutomaticGroups(keys) {
    const { groups } = this.fold;
    if (keys.size === groups.automatic.size && [...keys].every((key) => groups.automatic.has(key))) return;
    groups.automatic = keys;
    // Asked for within a frame, for this frame.
    this.foldVersion += 1;
  }

  /** @param {number} depth 0 closes all, Infinity opens all */
  openToDepth(depth) {
    this.setFold(openTo(depth, this.isGrouped));
    this.touch();
  }

  foldChanged() {
    this.foldVersion += 1;
    this.changed();
  }
}

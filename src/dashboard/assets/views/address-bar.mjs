// @ts-check
// The address of the page and its history: what is looked at is in it, and what it says is looked at. It must never know
// how anything is drawn.

import { fileRouteText, isSameLook, lookOf, parseFileRoute, parseRoute, routeText, shownBy } from "../model/route.mjs";
import { wholeStretch } from "../model/timescale.mjs";

/** @typedef {import("../model/route.mjs").Route} Route */

// Browsers refuse an address that changes with every frame of a zoom.
const ADDRESS_MS = 300;

export class AddressBar {
  /** @type {Route} */
  route;
  /** Whether the address names a zoom or a moment of a trace that is not there yet. */
  isLookDue = true;
  /** @type {ReturnType<typeof setTimeout> | null} */
  due = null;

  /** @param {(route: Route) => void} follow hears where to go @param {"query" | "hash"} place a file has no server that ignores its query, and of its traces each is its own */
  constructor(follow, place) {
    this.follow = follow;
    this.place = place;
    this.route = this.parse();
  }

  /** @returns {Route} */
  parse() {
    return this.place === "query" ? parseRoute(location.search) : parseFileRoute(location.hash.slice(1));
  }

  /** @param {Route} to @returns {string} */
  hrefOf(to) {
    // The path as it was opened: under an axum `.nest`, the one with a slash at its end is not answered.
    const url = new URL(location.href);
    if (this.place === "hash") url.hash = fileRouteText(to);
    else {
      url.search = routeText(to);
      url.hash = "";
    }
    return url.href;
  }

  /** Another page: a step that "back" undoes. @param {Route} to */
  go(to) {
    // What was zoomed to a moment ago is what "back" leads to.
    this.settle();
    history.pushState(null, "", this.hrefOf(to));
    this.route = to;
    this.follow(to);
  }

  /** The same page, looked at otherwise: no step of its own. @param {Route} to */
  replace(to) {
    this.route = to;
    this.write();
    this.follow(to);
  }

  write() {
    this.forget();
    history.replaceState(null, "", this.hrefOf(this.route));
  }

  /** Writes what waits to be written. */
  settle() {
    if (this.due !== null) this.write();
  }

  forget() {
    if (this.due !== null) clearTimeout(this.due);
    this.due = null;
  }

  /** To what the address says, which may be anything. */
  arrive() {
    this.forget();
    this.isLookDue = true;
    this.route = this.parse();
    this.follow(this.route);
  }

  /** Takes zoom and moment from the address, once there is a trace; from then on, the address has those on show. @param {import("../model/model.mjs").Trace} trace @param {import("./ui-state.mjs").Ui} ui @param {number} liveNow */
  keepLook(trace, ui, liveNow) {
    if (this.isLookDue) {
      this.isLookDue = false;
      const { zoom, moment } = shownBy(this.route, wholeStretch(trace, trace.counts.open > 0 ? liveNow : null));
      if (zoom !== ui.zoom) ui.setZoom(zoom);
      if (moment !== ui.moment) ui.setMoment(moment);
    }
    const look = lookOf(ui, trace.start);
    if (isSameLook(look, this.route)) return;
    this.route = { ...this.route, ...look };
    this.due ??= setTimeout(() => this.write(), ADDRESS_MS);
  }
}

// @ts-check
// Keeps the page's address and history in step with what the page shows. Must never know how anything is drawn.

import { fileRouteText, isSameLook, lookOf, parseFileRoute, parseRoute, routeText, shownBy } from "../model/route.mjs";
import { wholeStretch } from "../model/timescale.mjs";

/** @typedef {import("../model/route.mjs").Route} Route */

// Browsers limit how often a page may change its address, so the page does not change it in every frame of a zoom.
const ADDRESS_MS = 300;

export class AddressBar {
  /** @type {Route} */
  route;
  /** Whether a zoom or moment from the address still waits for its trace to load. */
  isLookDue = true;
  /** @type {ReturnType<typeof setTimeout> | null} */
  due = null;

  /** @param {(route: Route) => void} follow called with the route to show @param {"query" | "hash"} place the part of the address that holds the route; a page that is a file uses the hash */
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
    // Keep the path as it was opened: an axum `.nest` does not serve it with an added slash.
    const url = new URL(location.href);
    if (this.place === "hash") url.hash = fileRouteText(to);
    else {
      url.search = routeText(to);
      url.hash = "";
    }
    return url.href;
  }

  /** Goes to another page or view, as a new history entry. @param {Route} to */
  go(to) {
    // Write a pending zoom first, so that "back" returns to it.
    this.settle();
    history.pushState(null, "", this.hrefOf(to));
    this.route = to;
    this.follow(to);
  }

  /** Changes what the page shows, without a new history entry. @param {Route} to */
  replace(to) {
    this.route = to;
    this.write();
    this.follow(to);
  }

  write() {
    this.forget();
    history.replaceState(null, "", this.hrefOf(this.route));
  }

  /** Writes a pending change. */
  settle() {
    if (this.due !== null) this.write();
  }

  forget() {
    if (this.due !== null) clearTimeout(this.due);
    this.due = null;
  }

  /** Shows the page that the address names. The address may be anything. */
  arrive() {
    this.forget();
    this.isLookDue = true;
    this.route = this.parse();
    this.follow(this.route);
  }

  /**
   * Applies zoom and moment of the address once the trace has loaded. Afterwards writes the current ones into the
   * address.
   * @param {import("../model/model.mjs").Trace} trace @param {import("./ui-state.mjs").Ui} ui @param {number} liveNow
   */
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

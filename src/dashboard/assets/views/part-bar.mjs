// @ts-check
// The line that says that a part of the page is on its way, or could not be loaded, and lets a reader try again. It must never
// load anything by itself but what is on show.

import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";

/** A part that is there sooner is not worth a line. */
const PATIENCE_MS = 400;

export class PartBar {
  said = "";
  /** When the part that is on its way was wanted; null while none is. @type {number | null} */
  since = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;

  /** @param {import("../net/on-demand.mjs").OnDemand<any, any>} onDemand @param {{announce: (text: string) => void, changed: () => void}} actions */
  constructor(onDemand, actions) {
    this.onDemand = onDemand;
    this.actions = actions;
    this.text = element("span", {});
    this.again = element("button", { type: "button", class: "button", text: "Try again", on: { click: () => onDemand.again() } });
    this.reload = element("button", { type: "button", class: "button quiet", text: "Reload the page", on: { click: () => location.reload() } });
    byId("part-bar").append(this.text, element("span", { class: "grow" }), this.again, this.reload);
  }

  /** @param {string} wanted the part that is on show, or "" */
  draw(wanted) {
    if (wanted !== "") this.onDemand.want();
    const { state } = this.onDemand;
    const isLoading = wanted !== "" && state === "loading";
    const isFailed = state === "failed" && (wanted !== "" || this.onDemand.waiting.length > 0);
    this.since = isLoading ? (this.since ?? performance.now()) : null;
    const wait = this.since === null ? 0 : PATIENCE_MS - (performance.now() - this.since);
    if (wait > 0) this.timer ??= setTimeout(() => {
      this.timer = null;
      this.actions.changed();
    }, wait);
    this.say(isFailed ? `${wanted || "This part of the page"} could not be loaded: the server does not answer, or is another version.` : isLoading && wait <= 0 ? `Loading ${wanted.toLowerCase()}…` : "");
    setAttribute(byId("part-bar"), "data-kind", isFailed ? "error" : "reading");
    setShown(this.again, isFailed);
    setShown(this.reload, isFailed);
  }

  /** @param {string} text */
  say(text) {
    if (text === this.said) return;
    this.said = text;
    setText(this.text, text);
    setShown(byId("part-bar"), text !== "");
    if (text !== "") this.actions.announce(text);
  }
}

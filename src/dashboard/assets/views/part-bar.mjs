// @ts-check
// The notice that a part of the page is loading or could not be loaded, with a button to try again. Must load only the
// shown part.

import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";

/** Parts that load faster than this get no notice. */
const PATIENCE_MS = 400;

export class PartBar {
  said = "";
  /** When the loading part was first wanted; null if none is loading. @type {number | null} */
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

  /** @param {string} wanted the shown part, or "" */
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
    this.say(isFailed ? `${wanted || "This part of the page"} could not be loaded: the server does not answer or has another version.` : isLoading && wait <= 0 ? `Loading ${wanted.toLowerCase()}…` : "");
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

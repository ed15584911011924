// @ts-check
// The buttons for bells and for keeping a trace, and the browser's notifications. Must never decide what is news:
// `bells.mjs` does.

import { Bells, bellsOf, messageOf } from "../model/bells.mjs";
import { setKept } from "../net/keep.mjs";
import { byId, element, icon, setAttribute, setShown, shortened } from "./dom.mjs";
import { recall, remember } from "./ui-preferences.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {{announce: (text: string) => void, changed: () => void, openTrace: (traceId: string) => void, own: (traceId: string) => void,
 *   getJson: (route: string) => Promise<{status: number, body: any}>}} BellActions
 */

/** Minimum interval between two checks. The news of one check is combined in one notification. */
const CHECK_EVERY_MS = 2_000;

export class BellView {
  bells = new Bells(bellsOf(recall("bells", /** @type {unknown[]} */ ([]))));
  button = element("button", { id: "bell", type: "button", class: "button quiet icon-only", "aria-label": "Notify me", title: "Notify me when it ends, fails, hangs or is lost (b)" }, icon("bell"));
  keep = element("button", { id: "keep", type: "button", class: "button quiet icon-only", "aria-label": "Keep", title: "Keep this trace beyond retention" }, icon("keep"));
  search = byId("bell-search");
  traceId = "";
  name = "";
  query = "";
  /** Whether the server keeps the shown trace; null while unknown. @type {boolean | null} */
  kept = null;
  checkedFor = "";
  checkedAt = -Infinity;

  /** @param {HTMLElement} root @param {BellActions} actions */
  constructor(root, actions) {
    this.actions = actions;
    this.button.addEventListener("click", () => this.ring());
    this.keep.addEventListener("click", () => void this.toggleKeep());
    this.search.append(icon("bell"));
    this.search.addEventListener("click", () => this.toggle({ kind: "search", of: this.query.trim(), name: this.query.trim() }));
    root.prepend(this.button, this.keep);
  }

  /** @returns {boolean} whether the list's stream is needed even if the list is not shown */
  get isListening() {
    return this.bells.bells.length > 0;
  }

  /** Toggles the bell of the shown trace. */
  ring() {
    if (this.traceId !== "" && !this.button.hidden) this.toggle({ kind: "trace", of: this.traceId, name: this.name });
  }

  /** @param {import("../model/bells.mjs").Bell} bell @returns {string} the announced text */
  toggle(bell) {
    if (bell.of === "") return "";
    const text = this.hang(bell);
    this.actions.announce(text);
    this.actions.changed();
    return text;
  }

  /** @param {import("../model/bells.mjs").Bell} bell @returns {string} */
  hang(bell) {
    const refused = this.bells.toggle(bell);
    if (refused !== "") return refused;
    remember("bells", this.bells.bells);
    const isOn = this.bells.has(bell.kind, bell.of);
    if (isOn && bell.kind === "trace") this.actions.own(bell.of);
    // Browsers allow this request only after a click or key. Without permission, the page still announces the news.
    if (isOn && typeof Notification !== "undefined" && Notification.permission === "default") void Notification.requestPermission();
    const what = `${bell.kind === "search" ? "a trace that matches " : ""}${shortened(bell.name, 60)}`;
    return isOn ? `You will be notified when ${what} ends, fails, hangs or is lost` : "The bell is removed";
  }

  /** @param {{traceId: string, name: string, isOpen: boolean, isFile: boolean} | null} trace the shown trace @param {string} query of the list */
  draw(trace, query) {
    this.query = query;
    setShown(this.search, trace === null && query.trim() !== "");
    setAttribute(this.search, "aria-pressed", String(this.bells.has("search", query.trim())));
    if (trace === null) return;
    if (trace.traceId !== this.traceId) {
      this.traceId = trace.traceId;
      this.kept = null;
      if (!trace.isFile) void this.askKept(trace.traceId);
    }
    this.name = trace.name;
    setShown(this.button, !trace.isFile && (trace.isOpen || this.bells.has("trace", trace.traceId)));
    setAttribute(this.button, "aria-pressed", String(this.bells.has("trace", trace.traceId)));
    setShown(this.keep, this.kept !== null);
    setAttribute(this.keep, "aria-pressed", String(this.kept === true));
  }

  /** @param {string} traceId */
  async askKept(traceId) {
    const { status, body } = await this.actions.getJson(`traces?limit=1&traceId=${encodeURIComponent(traceId)}`);
    if (traceId !== this.traceId || status !== 200) return;
    const summary = body?.traces?.[0];
    this.kept = summary === undefined ? null : summary.kept === true;
    this.actions.changed();
  }

  async toggleKeep() {
    const { traceId, kept } = this;
    const { ok, text } = await setKept(traceId, kept !== true);
    if (traceId === this.traceId && ok) this.kept = kept !== true;
    this.actions.announce(text);
    this.actions.changed();
  }

  /**
   * Checks the list for news.
   * @param {import("../model/list-model.mjs").TraceList} list @param {(trace: Summary) => {p95: number} | null} usual @param {number} now
   */
  check(list, usual, now) {
    const key = `${list.version} ${Math.floor(now / CHECK_EVERY_MS)} ${this.bells.bells.length}`;
    if (!this.isListening || key === this.checkedFor || performance.now() - this.checkedAt < CHECK_EVERY_MS) return;
    this.checkedFor = key;
    this.checkedAt = performance.now();
    const before = this.bells.bells.length;
    const news = this.bells.check(list.traces.values(), usual, now);
    if (this.bells.bells.length !== before) remember("bells", this.bells.bells);
    if (news.length > 0) this.notify(messageOf(news));
  }

  /** @param {{title: string, body: string, traceId: string}} message */
  notify({ title, body, traceId }) {
    this.actions.announce(title);
    if (typeof Notification === "undefined" || Notification.permission !== "granted") return;
    try {
      const shown = new Notification(title, { body, tag: `livespan ${traceId}` });
      shown.addEventListener("click", () => {
        window.focus();
        this.actions.openTrace(traceId);
        shown.close();
      });
    } catch {
      // Some mobile browsers define `Notification` but reject it. The title was already announced.
    }
  }
}

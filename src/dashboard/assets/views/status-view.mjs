// @ts-check
// The status pill, its details on hover and focus, the banner about missing data, and the text of the pause button.
// Must never decide what the status is.

import { senderLines } from "../model/senders.mjs";
import { HEALED_MS, pageStatus, partialText, statusNews } from "../model/status.mjs";
import { formatOffset } from "../model/time.mjs";
import { statusRoute } from "../net/api.mjs";
import { byId, element, setAttribute, setShown, setText, shortened } from "./dom.mjs";

const SECOND_MS = 1_000;
/** Minimum time between requests for the senders, which are made only when the details appear. */
const ASK_EVERY_MS = 2_000;
const LINE_MAX = 400;

export class StatusView {
  /** @type {import("../model/status.mjs").PageStatus | null} */
  shown = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  due = null;
  /** Lines about the senders, from the last answer. @type {string[]} */
  senders = [];
  nextAsk = 0;

  /** @param {{announce: (text: string) => void, changed: () => void, getJson: typeof import("../net/api.mjs").getJson,
   *   zone: () => import("../model/clock.mjs").Zone}} context */
  constructor({ announce, changed, getJson, zone }) {
    this.announce = announce;
    this.changed = changed;
    this.getJson = getJson;
    this.zone = zone;
    const look = () => void this.ask();
    byId("status-place").addEventListener("pointerenter", look);
    byId("status-place").addEventListener("focusin", look);
  }

  async ask() {
    const now = performance.now();
    if (now < this.nextAsk) return;
    this.nextAsk = now + ASK_EVERY_MS;
    // Without permission to read the status, there are no lines about senders.
    const { body } = await this.getJson(statusRoute());
    this.senders = senderLines(body).map((line) => shortened(line, LINE_MAX));
    this.changed();
  }

  /** @param {any} feed a feed of a trace or list, from the server or a file @param {import("../model/model.mjs").Trace | null} trace the trace of the feed, or null @param {number | null} moment the moment of time travel */
  draw(feed, trace, moment) {
    const { hostDropped, losses, degraded } = feed.model;
    const past = trace === null || moment === null ? undefined : formatOffset(moment - trace.start);
    const status = pageStatus(feed, { hostDropped, losses, restarts: trace?.restarts ?? 0, degraded: degraded === true, zone: this.zone(), past }, Date.now());
    // A file has no senders.
    this.drawPill(feed.file === undefined ? { ...status, lines: [...status.lines, ...this.senders] } : status, feed.status.lastId);
    const news = this.shown === null ? "" : statusNews(this.shown, status);
    this.shown = status;
    if (news !== "") this.announce(news);
    // The note about an ended outage disappears without an event, and the text about a current outage counts the
    // seconds.
    const wait = status.state === "live" && status.text !== "Live" ? HEALED_MS : feed.status.next > 0 || status.state === "reconnecting" ? SECOND_MS : 0;
    if (wait > 0) {
      this.due ??= setTimeout(() => {
        this.due = null;
        this.changed();
      }, wait);
    }
    const banner = trace === null ? "" : partialText(trace);
    setShown(byId("banner"), banner !== "");
    setText(byId("banner"), banner);
    const pause = byId("pause");
    setShown(pause, feed.file === undefined);
    setAttribute(pause, "aria-pressed", String(feed.paused));
    setText(pause, feed.paused ? "Resume" : "Pause");
  }

  /** @param {import("../model/status.mjs").PageStatus} status @param {string} lastId */
  drawPill({ state, text, lines }, lastId) {
    const pill = byId("status");
    setAttribute(pill, "data-state", state);
    setAttribute(pill, "data-last-id", lastId);
    setText(byId("status-text"), text);
    const detail = byId("status-detail");
    while (detail.childElementCount < lines.length) detail.append(element("li", {}));
    for (const [index, line] of [...detail.children].entries()) {
      setShown(/** @type {HTMLElement} */ (line), index < lines.length);
      setText(line, lines[index] ?? "");
    }
  }
}

// @ts-check
// The status pill, what stands behind it on hover and focus, and the banner of what the page did not keep. It must never
// decide what the status is.

import { HEALED_MS, pageStatus, partialText, statusNews } from "../model/status.mjs";
import { formatOffset } from "../model/time.mjs";
import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";

const SECOND_MS = 1_000;

export class StatusView {
  /** @type {import("../model/status.mjs").PageStatus | null} */
  shown = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  due = null;

  /** @param {{announce: (text: string) => void, changed: () => void}} context */
  constructor({ announce, changed }) {
    this.announce = announce;
    this.changed = changed;
  }

  /** @param {any} feed of a trace or of the list, of the server or of a file @param {import("../model/model.mjs").Trace | null} trace when it is of one @param {number | null} moment looked at */
  draw(feed, trace, moment) {
    const { hostDropped, losses, degraded } = feed.model;
    const past = trace === null || moment === null ? undefined : formatOffset(moment - trace.start);
    const status = pageStatus(feed, { hostDropped, losses, restarts: trace?.restarts ?? 0, degraded: degraded === true, past }, Date.now());
    this.drawPill(status, feed.status.lastId);
    const news = this.shown === null ? "" : statusNews(this.shown, status);
    this.shown = status;
    if (news !== "") this.announce(news);
    // The word that an outage is over goes away even when nothing else happens; that it goes on is told by the second.
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

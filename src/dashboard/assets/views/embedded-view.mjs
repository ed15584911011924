// @ts-check
// The page when it is opened as a file: reads the traces in the file, and shows where the file comes from and whether
// it is complete. Must never send a request.

import { EmbeddedEvents } from "../model/embedded-events.mjs";
import { FileTraces, fileSummary } from "../model/files.mjs";
import { formatAbsolute } from "../model/time.mjs";
import { embeddedText } from "../net/embedded-data.mjs";
import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";

/** Interval at which reading yields so that the browser can draw. */
const DRAW_MS = 60;
const KILOBYTE = 1_000;

/** @returns {HTMLElement | null} the element with the data if this page is a file, else null */
export function embeddedData() {
  return document.documentElement.hasAttribute("data-embedded") ? byId("embedded-data") : null;
}

export class EmbeddedView {
  /** @param {HTMLElement} node the element with the data @param {{opened: (file: FileTraces) => void, announce: (text: string) => void}} actions */
  constructor(node, actions) {
    this.node = node;
    this.actions = actions;
    /** @type {FileTraces | null} the open file */
    this.file = null;
    this.text = element("span", {});
    this.bar = element("progress", { max: 1, "aria-label": "Read so far" });
    byId("file-bar").replaceChildren(this.text, this.bar);
    setAttribute(byId("status"), "data-state", "file");
    setText(byId("status-text"), "File");
    byId("home").after(element("span", { class: "file-tag", text: "Trace file" }));
  }

  async read() {
    this.say("reading", "Reading the trace in this file…");
    if (typeof DecompressionStream === "undefined") {
      return this.say("error", "This browser cannot decompress the trace in this file. Chromium 80, Firefox 113, Safari 16.4 and later ones can.");
    }
    try {
      this.finish(await this.readAll());
    } catch (error) {
      // A truncated file ends in the middle of the data.
      this.say("error", `This file is damaged or incomplete, so nothing is shown: ${String(/** @type {Error} */ (error)?.message ?? error)}`);
    }
  }

  /** @returns {Promise<{traces: FileTraces, events: EmbeddedEvents}>} */
  async readAll() {
    const traces = new FileTraces(fileName());
    const events = new EmbeddedEvents();
    let drawnAt = performance.now();
    for await (const piece of embeddedText(this.node.textContent ?? "", (share) => (this.bar.value = share))) {
      traces.take(events.read(piece));
      if (performance.now() - drawnAt < DRAW_MS) continue;
      await new Promise((resolve) => setTimeout(resolve));
      drawnAt = performance.now();
    }
    return { traces, events };
  }

  /** @param {{traces: FileTraces, events: EmbeddedEvents}} read */
  finish({ traces, events }) {
    traces.finish(events.about?.made);
    if (traces.list.model.traces.size === 0) return this.say("error", "This file has no spans.");
    const { about } = events;
    const { from, all, isWhole } = fileSummary(traces, events.count);
    const kilobytes = Math.ceil((this.node.textContent?.length ?? 0) / KILOBYTE);
    const size = kilobytes < KILOBYTE ? `${kilobytes} kB` : `${(kilobytes / KILOBYTE).toFixed(1)} MB`;
    this.file = traces;
    setAttribute(byId("file-bar"), "data-kind", "embedded");
    setShown(this.bar, false);
    const part = (/** @type {string} */ label, /** @type {string} */ text) => (text === "" ? "" : element("span", { class: "file-part" }, `${label} `, element("b", { text })));
    byId("file-bar").replaceChildren(
      part("Made", formatAbsolute(about?.made).replace(/\.\d+/, "")), part("from", from), part("by", String(about?.by ?? "").replace("/", " ")),
      element("span", { class: "file-whole", "data-whole": isWhole, text: all }),
      element("span", { class: "grow" }),
      element("span", { class: "muted", text: `${size}, all in this page; nothing is sent anywhere` }),
      element("button", { type: "button", class: "button", text: "Event log", title: "Save the events in this page as JSON lines, which livespan can open", on: { click: () => void this.save() } }),
    );
    this.actions.announce(`Trace file: ${all}`);
    this.actions.opened(traces);
  }

  /** Saves the events as a separate file. */
  async save() {
    const events = new EmbeddedEvents();
    /** @type {string[]} */
    const lines = [];
    for await (const piece of embeddedText(this.node.textContent ?? "", () => {})) {
      for (const event of events.read(piece)) if (event.type !== "missing") lines.push(`${JSON.stringify(event)}\n`);
    }
    const link = element("a", { href: URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" })), download: fileName().replace(/\.html?$/, "") + ".events.jsonl" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href));
  }

  /** @param {"reading" | "error"} kind @param {string} text */
  say(kind, text) {
    setAttribute(byId("file-bar"), "data-kind", kind);
    setShown(byId("file-bar"), true);
    setShown(this.bar, kind === "reading");
    setText(this.text, text);
    this.actions.announce(text);
  }
}

/** @returns {string} */
function fileName() {
  const last = location.pathname.split("/").pop() ?? "";
  try {
    return decodeURIComponent(last) || "trace.html";
  } catch {
    return last;
  }
}

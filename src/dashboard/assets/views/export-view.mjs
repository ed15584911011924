// @ts-check
// The trace's menu of exports, and the button for time travel. Must never fetch anything: its own entries are links to
// files that the browser saves.

import { address, exportRoute } from "../net/api.mjs";
import { element, setAttribute, setShown } from "./dom.mjs";
import { attachMenu } from "./menu.mjs";

export class ExportMenu {
  /** @param {HTMLElement} root @param {import("./travel-view.mjs").TravelView} travelView @param {(items: HTMLElement) => void} [more] adds further entries */
  constructor(root, travelView, more = (/** @type {HTMLElement} */ items) => void items) {
    this.travelView = travelView;
    this.shownFor = "";
    this.history = element("button", {
      id: "history", type: "button", class: "button quiet", title: "The trace as it looked at any moment (,)", text: "History", on: { click: () => travelView.toggleOpen() },
    });
    this.otlp = element("a", { id: "export-otlp" }, "OTLP/JSON", element("small", { text: "Ended spans, for other tools" }));
    this.events = element("a", { id: "export-events" }, "Event log, JSON lines", element("small", { text: "All events, including those of open spans" }));
    this.button = element("button", { id: "export", type: "button", class: "button quiet", text: "Export", title: "Save this trace as a file" });
    this.html = element("a", { id: "export-html" }, "One file, HTML", element("small", { text: "Replays the trace in any browser, with no server" }));
    const items = element("div", { class: "menu-items" }, this.html, this.otlp, this.events);
    more(items);
    attachMenu(this.button, items);
    root.append(this.history, this.button, items);
  }

  /** @param {{traceId: string, file?: string, model: import("../model/model.mjs").Trace}} feed */
  draw({ traceId, file, model }) {
    setAttribute(this.history, "aria-pressed", String(this.travelView.open));
    this.history.disabled = model.spans.count === 0;
    // A trace from a file is not exported again.
    setShown(this.button, file === undefined && model.counts.total > 0);
    if (this.shownFor === traceId) return;
    this.shownFor = traceId;
    const name = `trace-${model.traceId}`;
    for (const [link, format, ending] of /** @type {const} */ ([[this.html, "html", "html"], [this.otlp, "otlp", "otlp.json"], [this.events, "jsonl", "events.jsonl"]])) {
      setAttribute(link, "href", address(exportRoute(traceId, format)));
      setAttribute(link, "download", `${name}.${ending}`);
    }
  }
}

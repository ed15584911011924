// @ts-check
// The trace's own menu: its files, and the way to its past. It must never fetch anything: the browser saves what a link
// points to.

import { address, exportRoute } from "../net/api.mjs";
import { element, setAttribute, setShown } from "./dom.mjs";

export class ExportMenu {
  /** @param {HTMLElement} root @param {import("./travel-view.mjs").TravelView} travelView */
  constructor(root, travelView) {
    this.travelView = travelView;
    this.shownFor = "";
    this.history = element("button", {
      id: "history", type: "button", class: "button quiet", title: "The trace as it looked at any moment (,)", text: "History", on: { click: () => travelView.toggleOpen() },
    });
    this.otlp = element("a", { id: "export-otlp" }, "OTLP/JSON", element("small", { text: "Ended spans, for other tools" }));
    this.events = element("a", { id: "export-events" }, "Event log, JSON lines", element("small", { text: "Everything, spans that still run too" }));
    const items = element("div", { class: "menu-items" }, this.otlp, this.events);
    this.menu = element("details", { class: "menu" }, element("summary", { class: "button quiet", text: "Export" }), items);
    items.addEventListener("click", () => this.menu.removeAttribute("open"));
    this.menu.addEventListener("focusout", (event) => {
      if (!this.menu.contains(/** @type {Node | null} */ (event.relatedTarget))) this.menu.removeAttribute("open");
    });
    this.menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.menu.open) return;
      event.stopPropagation();
      this.menu.removeAttribute("open");
    });
    root.append(this.history, this.menu);
  }

  /** @param {{traceId: string, file?: string, model: import("../model/model.mjs").Trace}} feed */
  draw({ traceId, file, model }) {
    setAttribute(this.history, "aria-pressed", String(this.travelView.open));
    this.history.disabled = model.spans.count === 0;
    // A file is a file already.
    setShown(this.menu, file === undefined && model.counts.total > 0);
    if (this.shownFor === traceId) return;
    this.shownFor = traceId;
    const name = `trace-${model.traceId.slice(0, 16)}`;
    for (const [link, format, ending] of /** @type {const} */ ([[this.otlp, "otlp", "otlp.json"], [this.events, "jsonl", "events.jsonl"]])) {
      setAttribute(link, "href", address(exportRoute(traceId, format)));
      setAttribute(link, "download", `${name}.${ending}`);
    }
  }
}

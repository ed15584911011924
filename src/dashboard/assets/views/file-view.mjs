// @ts-check
// Opens files that a person chooses or drops on the window. A worker reads them, and a bar shows progress and errors.
// Must never send any part of a file to a server.

import { FileTraces } from "../model/files.mjs";
import { plural } from "../model/time.mjs";
import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";

/**
 * @typedef {object} FileActions
 * @property {(file: FileTraces) => void} opened
 * @property {() => void} closed
 * @property {(text: string) => void} announce
 */

export class FileView {
  /** @param {FileActions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {FileTraces | null} the open file */
    this.file = null;
    /** @type {Worker | null} */
    this.worker = null;
    /** The number of elements that a drag has entered and not left; 0 once it has left the window. */
    this.depth = 0;
    /** The message shown for the open file. */
    this.summary = "";
    this.input = element("input", { id: "file-input", type: "file", "aria-label": "File", accept: ".json,.jsonl,.ndjson,application/json", hidden: true, on: { change: () => this.chosen() } });
    this.text = element("span", {});
    this.bar = element("progress", { max: 1, "aria-label": "Read so far" });
    this.button = element("button", { type: "button", class: "button quiet", on: { click: () => this.close() } });
    byId("file-bar").append(this.text, this.bar, element("span", { class: "grow" }), this.button);
    byId("open-file").after(this.input);
    byId("open-file").addEventListener("click", () => this.input.click());
    this.listen();
  }

  listen() {
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    const drag = (/** @type {number} */ by) => (/** @type {DragEvent} */ event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.depth = Math.max(0, this.depth + by);
      setShown(byId("file-drop"), this.depth > 0);
    };
    addEventListener("dragenter", drag(1));
    addEventListener("dragleave", drag(-1));
    addEventListener("dragover", drag(0));
    addEventListener("drop", (event) => {
      drag(-Infinity)(event);
      const file = event.dataTransfer?.files[0];
      if (file !== undefined) this.read(file);
    });
  }

  chosen() {
    const file = this.input.files?.[0];
    if (file !== undefined) this.read(file);
    // Allows the same file to be chosen again.
    this.input.value = "";
  }

  /** @param {File} file */
  read(file) {
    this.stop();
    const traces = new FileTraces(file.name);
    const worker = new Worker(new URL(IMPORT_WORKER_FILE, import.meta.url), { type: "module" });
    this.worker = worker;
    this.say("reading", `Reading ${file.name}…`, "Cancel");
    this.bar.value = 0;
    worker.onerror = () => this.failed(file, "this browser cannot read it");
    worker.onmessage = ({ data }) => {
      if (this.worker !== worker) return;
      if (typeof data.error === "string") this.failed(file, data.error);
      else if (data.done) {
        Object.assign(traces, { left: data.left, source: data.source });
        this.finish(traces);
      }
      else {
        traces.take(data.events);
        this.bar.value = data.share;
        worker.postMessage("next");
      }
    };
    worker.postMessage(file);
  }

  /** @param {File} file @param {string} why */
  failed(file, why) {
    this.stop();
    this.say("error", `${file.name} was not opened. ${why[0].toUpperCase()}${why.slice(1)}`, "Dismiss");
  }

  /** @param {FileTraces} traces */
  finish(traces) {
    this.stop();
    traces.finish();
    const count = traces.list.model.traces.size;
    const left = traces.leftOut();
    const without = left.length === 0 ? "" : ` Left out or changed: ${left.join(", ")}.`;
    if (count === 0) {
      const why = without || " An OTLP export has only ended spans; open ones are in the event log.";
      return this.say("error", `There is no span in ${traces.name}.${why}`, "Dismiss");
    }
    this.file = traces;
    const source = traces.source === "" ? "" : ` of ${traces.source}`;
    this.summary = `From the file ${traces.name}${source}: ${plural(count, "trace")}.${without} Nothing of it was sent to the server.`;
    this.say("file", this.summary, "Close file");
    this.actions.opened(traces);
  }

  /** @param {"reading" | "error" | "file"} kind @param {string} text @param {string} button */
  say(kind, text, button) {
    setAttribute(byId("file-bar"), "data-kind", kind);
    setShown(byId("file-bar"), true);
    setShown(this.bar, kind === "reading");
    setText(this.text, text);
    setText(this.button, button);
    this.actions.announce(text);
  }

  /** The bar's button: cancels reading, dismisses an error, or closes the file. */
  close() {
    const wasOpen = this.file !== null && byId("file-bar").dataset.kind === "file";
    this.stop();
    setShown(byId("file-bar"), false);
    if (wasOpen) {
      this.file = null;
      this.actions.closed();
    } else if (this.file !== null) {
      this.say("file", this.summary, "Close file");
    }
  }

  stop() {
    this.worker?.terminate();
    this.worker = null;
  }
}

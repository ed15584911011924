// @ts-check
// Further exports in the trace's menu: a text tree, a link, and the JSON of Perfetto and Chrome. Must never send
// anything: the result is copied or saved.

import { chromeTrace, textTree } from "../model/elsewhere.mjs";
import { element } from "./dom.mjs";

/** @typedef {{copy: (text: string) => void, trace: () => {model: import("../model/model.mjs").Trace, now: number} | null}} ElsewhereActions */

/** @param {HTMLElement} items @param {ElsewhereActions} actions */
export function addElsewhere(items, { copy, trace }) {
  const entry = (/** @type {string} */ id, /** @type {string} */ text, /** @type {string} */ hint, /** @type {() => void} */ click) => element("button", { type: "button", id, class: "menu-item", on: { click } }, text, element("small", { text: hint }));
  items.append(
    entry("export-chrome", "Chrome JSON", "For Perfetto and chrome://tracing", () => {
      const known = trace();
      if (known !== null) save(`trace-${known.model.traceId}.chrome.json`, JSON.stringify(chromeTrace(known.model, known.now)));
    }),
    entry("copy-tree", "Copy as a text tree", "For a chat or an issue", () => {
      const known = trace();
      if (known !== null) copy(textTree(known.model, known.now));
    }),
    entry("copy-link", "Copy a link to this view", "With the current trace, span, zoom and moment", () => copy(location.href)),
  );
}

/** @param {string} name @param {string} text */
function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url));
}

// @ts-check
// The traces that a reader opened in this browser, or put a bell on: "mine" in the list. The browser keeps a bounded number.

import { recall, remember } from "./ui-preferences.mjs";

/** Ids that are kept; the one that was opened longest ago goes first. */
export const OWN_MAX = 200;

export class OwnTraces {
  /** @type {Set<string>} */
  ids = new Set(recall("own-traces", /** @type {unknown[]} */ ([])).flatMap((id) => (typeof id === "string" ? [id] : [])).slice(-OWN_MAX));

  /** @param {string} traceId */
  add(traceId) {
    this.ids.delete(traceId);
    this.ids.add(traceId);
    for (const oldest of this.ids) {
      if (this.ids.size <= OWN_MAX) break;
      this.ids.delete(oldest);
    }
    remember("own-traces", [...this.ids]);
  }
}

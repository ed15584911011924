// @ts-check
// The traces that the reader opened in this browser or put a bell on: "mine" in the list. A bounded number is stored.

import { recall, remember } from "./ui-preferences.mjs";

/** Number of stored ids; the one opened longest ago is removed first. */
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

// @ts-check
// Asks the server to keep a trace beyond retention, or to stop keeping it. Must never touch the DOM.

import { address, traceRoute } from "./api.mjs";

/** @param {string} traceId @param {boolean} isKept from now on @returns {Promise<{ok: boolean, text: string}>} whether the server did it, and what to tell the reader */
export async function setKept(traceId, isKept) {
  try {
    const response = await fetch(address(`${traceRoute(traceId)}/keep`), { method: isKept ? "PUT" : "DELETE" });
    if (response.ok) return { ok: true, text: isKept ? "This trace is kept beyond retention" : "Retention may remove this trace again" };
    const body = await response.json().catch(() => null);
    return { ok: false, text: `${isKept ? "The trace is not kept" : "The trace is still kept"}: ${String(body?.error ?? response.status)}` };
  } catch {
    return { ok: false, text: "The server does not answer" };
  }
}

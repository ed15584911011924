// @ts-check
// Connects the page to the hub of all tabs: starts the shared worker, and closes the page's streams when the page is
// left. Without a shared worker, also closes them while the page is hidden. Must never open a stream itself, nor read
// the hub's messages.

import { HubClient } from "../net/hub-client.mjs";
import { Hub } from "../net/hub.mjs";
import { browserEnvironment } from "../net/stream.mjs";

/** @typedef {import("../net/hub.mjs").Port} Port */

/** If the page is still there after this time, it is not being left. */
const LEAVE_MS = 3_000;

/**
 * Returns the client of the worker's hub. Without shared workers, or if the worker fails, the hub runs in the page. It
 * then keeps connections only while the page is visible, so that many tabs do not exhaust the browser's connections.
 * @returns {HubClient}
 */
export function pageHubClient() {
  let alone = typeof SharedWorker === "undefined";
  const client = new HubClient({
    environment: browserEnvironment(),
    fail: () => {
      alone = true;
    },
    reach: () => {
      if (alone) return hubInPage();
      // The file name contains a hash, so tabs of two versions, which may be incompatible, use different workers.
      const worker = new SharedWorker(new URL(HUB_WORKER_FILE, import.meta.url), { type: "module", name: "livespan" });
      worker.onerror = () => {
        alone = true;
        client.renew();
      };
      return worker.port;
    },
  });
  document.addEventListener("visibilitychange", () => {
    if (!alone && !document.hidden) client.wake();
    else if (alone && document.hidden) client.rest();
    else if (alone) client.renew();
  });
  const stay = () => {
    if (!alone || !document.hidden) client.stay();
  };
  // In the back-forward cache, a shared worker is frozen with its last page, and messages sent from `pagehide` arrive
  // too late. So connections are closed on `beforeunload`. If the page stays after all, `stay` opens them again.
  addEventListener("beforeunload", () => {
    client.rest();
    setTimeout(stay, LEAVE_MS);
  });
  addEventListener("pageshow", stay);
  for (const type of ["online", "pageshow"]) addEventListener(type, () => client.wake());
  document.addEventListener("resume", () => client.wake());
  return client;
}

/**
 * Creates a hub in the page. Its messages from the page are synchronous, because a page that is being left runs no
 * later task.
 * @returns {Port}
 */
function hubInPage() {
  /** @type {Port} */
  const page = { onmessage: null, postMessage: (data) => hub.onmessage?.({ data }) };
  /** @type {Port} */
  const hub = { onmessage: null, postMessage: (data) => queueMicrotask(() => page.onmessage?.({ data })) };
  new Hub({ environment: browserEnvironment(), base: document.baseURI }).connect(hub);
  return page;
}

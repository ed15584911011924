// @ts-check
// Joins the page to the hub of all tabs: finds the shared worker, and lets go of connections when the page is hidden, left or
// frozen. It must never open a stream itself, nor read what the hub sends.

import { HubClient } from "../net/hub-client.mjs";
import { Hub } from "../net/hub.mjs";
import { browserEnvironment } from "../net/stream.mjs";

/** @typedef {import("../net/hub.mjs").Port} Port */

/** How long leaving a page may take before it counts as staying. */
const LEAVE_MS = 3_000;

/**
 * The page's client of the worker's hub, or, in a browser without shared workers, of a hub in the page itself. The latter
 * keeps its connections only while the page is seen, so that many tabs do not use up what the browser has.
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
      // The file's name has its hash: tabs of two versions, which may not understand each other, have a worker each.
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
  // In the back-forward cache a shared worker sleeps with its last page, and what the page says as it goes there comes too
  // late. So the connections are let go when the page is about to be left, which it may not be after all.
  addEventListener("beforeunload", () => {
    client.rest();
    setTimeout(stay, LEAVE_MS);
  });
  addEventListener("pageshow", stay);
  for (const type of ["online", "pageshow"]) addEventListener(type, () => client.wake());
  document.addEventListener("resume", () => client.wake());
  return client;
}

/** The hub hears at once: a page that is left has no later. @returns {Port} */
function hubInPage() {
  /** @type {Port} */
  const page = { onmessage: null, postMessage: (data) => hub.onmessage?.({ data }) };
  /** @type {Port} */
  const hub = { onmessage: null, postMessage: (data) => queueMicrotask(() => page.onmessage?.({ data })) };
  new Hub({ environment: browserEnvironment(), base: document.baseURI }).connect(hub);
  return page;
}

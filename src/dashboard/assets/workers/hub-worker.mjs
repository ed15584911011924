// @ts-check
// The shared worker: one hub for all tabs with the same address. Must keep no state except the hub.

import { Hub } from "../net/hub.mjs";
import { browserEnvironment } from "../net/stream.mjs";

// The worker's file is one folder below the page.
const hub = new Hub({ environment: browserEnvironment(), base: new URL("../", import.meta.url).href });

const scope = /** @type {any} */ (globalThis);
scope.onconnect = (/** @type {MessageEvent} */ event) => hub.connect(/** @type {any} */ (event.ports[0]));

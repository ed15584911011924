// @ts-check
// The routes of livespan as addresses and requests. It must never keep state, and never build an address that is not
// below the page's own: the page is served under any prefix.

/**
 * @typedef {{status: number, body: any}} Answer `status` 0 means that no answer came; `body` is then null
 */

/**
 * @param {string} traceId
 * @returns {string} the route of one trace's snapshot
 */
export function traceRoute(traceId) {
  return `traces/${encodeURIComponent(traceId)}`;
}

/** @param {string[]} traceIds at most 32 @returns {string} the stream of these traces together */
export function eventsRoute(traceIds) {
  return `sse?${traceIds.map((traceId) => `traceId=${encodeURIComponent(traceId)}`).join("&")}`;
}

/** @param {number} limit @returns {string} */
export function listStreamRoute(limit) {
  return `traces/sse?limit=${limit}`;
}

/**
 * @param {{limit: number, before?: number | null, query?: string, linkedTo?: string}} wanted `before`: a sequence number, and
 *   only traces whose first event came before it
 * @returns {string}
 */
export function listRoute({ limit, before = null, query = "", linkedTo = "" }) {
  const parameters = new URLSearchParams({ limit: String(limit) });
  if (before !== null) parameters.set("after", String(before));
  if (query.trim() !== "") parameters.set("q", query);
  if (linkedTo !== "") parameters.set("linkedTo", linkedTo);
  return `traces?${parameters}`;
}

/** @returns {string} the stream of log records that come */
export function logStreamRoute() {
  return "sse?type=log&replay=none";
}

/** @param {{limit: number, before: string | null, query: string, severity: number}} wanted @returns {string} a page of log records, the newest first */
export function logsRoute({ limit, before, query, severity }) {
  const parameters = new URLSearchParams({ limit: String(limit) });
  if (before !== null) parameters.set("after", before);
  if (query.trim() !== "") parameters.set("q", query);
  if (severity > 0) parameters.set("severity", String(severity));
  return `logs?${parameters}`;
}

/** @param {string} service @param {string} name @returns {string} how long spans of that name took */
export function durationsRoute(service, name) {
  return `stats/durations?${new URLSearchParams({ service, name })}`;
}

/** @returns {string} what the server says of itself, and of who sends to it */
export function statusRoute() {
  return "status";
}

/** @param {number} limit @returns {string} figures by service and span name */
export function operationsRoute(limit) {
  return `operations?limit=${limit}`;
}

/**
 * @param {string} route relative to the page
 * @returns {string} absolute
 */
export function address(route) {
  return new URL(route, document.baseURI).href;
}

/** @param {string} traceId @param {"otlp" | "jsonl" | "html"} format @returns {string} a file of the trace */
export function exportRoute(traceId, format) {
  return `${traceRoute(traceId)}?format=${format}`;
}

/**
 * The retained events of a trace. Never rejects.
 * @param {string} traceId
 * @returns {Promise<any[] | null>} null when they could not be had
 */
export async function getEvents(traceId) {
  try {
    const response = await fetch(address(exportRoute(traceId, "jsonl")), { cache: "no-store" });
    const lines = response.ok ? (await response.text()).split("\n") : null;
    return lines?.filter((line) => line !== "").map((line) => JSON.parse(line)) ?? null;
  } catch {
    return null;
  }
}

/**
 * Asks for a JSON route. Never rejects: what went wrong is the status.
 * @param {string} route
 * @returns {Promise<Answer>}
 */
export async function getJson(route) {
  try {
    const response = await fetch(address(route), { headers: { Accept: "application/json" }, cache: "no-store" });
    return { status: response.status, body: await response.json().catch(() => null) };
  } catch {
    return { status: 0, body: null };
  }
}

// @ts-check
// The routes of livespan's server, and requests for them. Must never keep state. All routes must be relative to the
// page's address, because the page may be served under any prefix.

/**
 * @typedef {{status: number, body: any}} Answer `status` is 0 if no answer came; `body` is null without valid JSON
 */

/**
 * @param {string} traceId
 * @returns {string} the route of one trace's snapshot
 */
export function traceRoute(traceId) {
  return `traces/${encodeURIComponent(traceId)}`;
}

/** @param {string[]} traceIds at most 32 @returns {string} one stream of all these traces */
export function eventsRoute(traceIds) {
  return `sse?${traceIds.map((traceId) => `traceId=${encodeURIComponent(traceId)}`).join("&")}`;
}

/** @param {number} limit @returns {string} */
export function listStreamRoute(limit) {
  return `traces/sse?limit=${limit}`;
}

/**
 * @param {{limit: number, before?: number | null, query?: string, linkedTo?: string}} wanted `before`: a sequence
 *   number; only traces whose first event comes before it are returned
 * @returns {string}
 */
export function listRoute({ limit, before = null, query = "", linkedTo = "" }) {
  const parameters = new URLSearchParams({ limit: String(limit) });
  if (before !== null) parameters.set("after", String(before));
  if (query.trim() !== "") parameters.set("q", query);
  if (linkedTo !== "") parameters.set("linkedTo", linkedTo);
  return `traces?${parameters}`;
}

/** @returns {string} the stream of new log records */
export function logStreamRoute() {
  return "sse?type=log&replay=none";
}

/** @param {string[]} traceIds @returns {string} the route of the summaries of these traces */
export function namesRoute(traceIds) {
  return `traces?${new URLSearchParams([["limit", String(traceIds.length)], ...traceIds.map((id) => ["traceId", id])])}`;
}

/** @returns {string} the stream of spans that failed, which may have exceptions */
export function failedStreamRoute() {
  return "sse?type=ended&status=error";
}

/**
 * @param {{limit: number, before: string | null, query: string, severity: number}} wanted
 * @returns {string} the route of a page of log records, newest first
 */
export function logsRoute({ limit, before, query, severity }) {
  const parameters = new URLSearchParams({ limit: String(limit) });
  if (before !== null) parameters.set("after", before);
  if (query.trim() !== "") parameters.set("q", query);
  if (severity > 0) parameters.set("severity", String(severity));
  return `logs?${parameters}`;
}

/** @param {string} service @param {string} name @returns {string} the route of the duration statistics of that name */
export function durationsRoute(service, name) {
  return `stats/durations?${new URLSearchParams({ service, name })}`;
}

/** @returns {string} the route of the status of the server and its senders */
export function statusRoute() {
  return "status";
}

/** @param {number} limit @returns {string} the route of the statistics by service and span name */
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

/**
 * @param {string} traceId @param {"otlp" | "jsonl" | "html"} format
 * @returns {string} the route of the trace as a file
 */
export function exportRoute(traceId, format) {
  return `${traceRoute(traceId)}?format=${format}`;
}

/**
 * Fetches the retained events of a trace. Never rejects.
 * @param {string} traceId
 * @returns {Promise<any[] | null>} null on failure
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
 * Requests a JSON route. Never rejects; a failure is in the status.
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

// @ts-check
// Status lines about the processes that send OTLP: their names, when each last sent something, and how much was
// rejected. Pure: it must never touch the DOM, nor ask the server.

import { epochMilliseconds, formatAge, formatCount, formatDuration, plural } from "./time.mjs";

/** Maximum number of senders with a line of their own; those that sent something last come first. */
export const SENDERS_SHOWN_MAX = 8;
/** Maximum number of services named as senders of ended spans only. */
export const SERVICES_NAMED_MAX = 3;

/**
 * @typedef {{service: string, language: string, sdk: string, sdkVersion: string, lastHeard: string, spans: number, logRecords: number, openSpans: number, rejected: number, lastRejection?: string, repeated?: number, endedOnly: boolean, clockAheadMillis?: number}} Sender
 * @typedef {{senders: Sender[], refusedRequests: number, lastRefusal?: {reason: string, timestamp: string, sender: string}, openSpansNotFollowed: number}} OtlpReport
 */

/**
 * @param {{now: string, otlp?: OtlpReport} | null} status the response of `GET /status`, or null
 * @returns {string[]} empty if the server has no OTLP receiver
 */
export function senderLines(status) {
  if (!Array.isArray(status?.otlp?.senders)) return [];
  const { senders, refusedRequests, lastRefusal, openSpansNotFollowed } = status.otlp;
  const ago = (/** @type {string} */ time) => formatAge(Math.max(0, epochMilliseconds(status.now) - epochMilliseconds(time)));
  const byTime = [...senders].sort((a, b) => epochMilliseconds(b.lastHeard) - epochMilliseconds(a.lastHeard));
  const lines = byTime.slice(0, SENDERS_SHOWN_MAX).map((sender) => senderLine(sender, ago(sender.lastHeard)));
  if (senders.length === 0) lines.push("OTLP: no other process has sent anything yet");
  if (senders.length > SENDERS_SHOWN_MAX) lines.push(`OTLP: ${plural(senders.length - SENDERS_SHOWN_MAX, "other sender")}, whose last requests are older`);
  const services = [...new Set(byTime.filter(({ endedOnly }) => endedOnly).map(({ service }) => service))];
  if (services.length > 0) lines.push(endedOnlyLine(services));
  if (openSpansNotFollowed > 0) lines.push(`OTLP: ${plural(openSpansNotFollowed, "open span")} beyond the limit: they appear when they end`);
  if (refusedRequests > 0) {
    const last = lastRefusal === undefined ? "" : `, the last ${ago(lastRefusal.timestamp)}${lastRefusal.sender === "" ? "" : ` from ${lastRefusal.sender}`}: ${lastRefusal.reason}`;
    lines.push(`OTLP: ${plural(refusedRequests, "request")} rejected${last}`);
  }
  return lines;
}

/** @param {Sender} sender @param {string} age @returns {string} */
function senderLine({ service, language, sdk, sdkVersion, spans, logRecords, openSpans, rejected, lastRejection, repeated = 0, clockAheadMillis = 0 }, age) {
  const by = [language, [sdk, sdkVersion].filter((part) => part !== "").join(" ")].filter((part) => part !== "").join(", ");
  const parts = [`last request ${age}`, plural(spans, "span")];
  if (openSpans > 0) parts.push(`${formatCount(openSpans)} open now`);
  if (logRecords > 0) parts.push(plural(logRecords, "log record"));
  if (rejected > 0) parts.push(`${formatCount(rejected)} rejected${lastRejection === undefined ? "" : `: ${lastRejection}`}`);
  if (repeated > 0) parts.push(`${formatCount(repeated)} repeated and left out`);
  if (clockAheadMillis > 0) parts.push(`its clock is ${formatDuration(clockAheadMillis)} ahead`);
  return `OTLP from ${service}${by === "" ? "" : ` (${by})`}: ${parts.join(", ")}`;
}

/** @param {string[]} services @returns {string} */
function endedOnlyLine(services) {
  const left = services.length - SERVICES_NAMED_MAX;
  const named = `${services.slice(0, SERVICES_NAMED_MAX).join(", ")}${left > 0 ? ` and ${formatCount(left)} more` : ""}`;
  return `${named}: only ended spans are received. With a start sender, spans appear while they are open: see “Other languages” in livespan's guide`;
}

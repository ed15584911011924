// @ts-check
// Bells: requests to be notified about one trace, or about the traces that a search finds. Finds news in summaries: a
// trace ended, failed, hangs or was lost. Must never touch the DOM, the browser's storage or a clock.

import { isOpenTrace, reasonOf, shownStateOfSummary } from "./list-model.mjs";
import { parseQuery, traceMatches } from "./search.mjs";
import { epochMilliseconds, formatDuration } from "./time.mjs";

/**
 * @typedef {import("./list-model.mjs").Summary} Summary
 * @typedef {{kind: "trace" | "search", of: string, name: string}} Bell `of`: the id of a trace, or a search
 * @typedef {"ended" | "failed" | "hangs" | "lost"} News
 * @typedef {{traceId: string, name: string, news: News, text: string, done: boolean}} Notice `done`: the last
 *   notification about this trace
 */

/** Maximum number of bells. */
export const BELLS_MAX = 20;
/** A running trace hangs if it takes longer than this multiple of the 95th percentile of the durations of its name. */
export const HANGS_P95 = 3;
/** Maximum number of traces whose last notification is remembered, so that none is repeated. */
export const REPORTED_MAX = 2_000;
const OF_MAX = 500;

/** @param {unknown} kept the value from the browser's storage, which may be anything @returns {Bell[]} */
export function bellsOf(kept) {
  if (!Array.isArray(kept)) return [];
  return kept.filter((one) => (one?.kind === "trace" || one?.kind === "search") && typeof one.of === "string" && one.of !== "" && one.of.length <= OF_MAX && typeof one.name === "string")
    .slice(0, BELLS_MAX).map(({ kind, of, name }) => ({ kind, of, name: name.slice(0, 200) }));
}

/**
 * @param {Summary} trace @param {{p95: number} | null} usual @param {number} now
 * @returns {News | null} the news about the trace; null if there are none
 */
export function newsOf(trace, usual, now) {
  const state = shownStateOfSummary(trace);
  if (isOpenTrace(trace)) {
    if (state === "failing") return "failed";
    // A waiting trace does not hang.
    const took = now - epochMilliseconds(trace.startTimestamp);
    return trace.state === "running" && usual !== null && took > usual.p95 * HANGS_P95 ? "hangs" : null;
  }
  if (state === "lost") return "lost";
  return state === "error" || state === "panicked" ? "failed" : "ended";
}

/** The bells, and what was reported for each trace. */
export class Bells {
  /** @type {Map<string, News | "">} by trace: the last news reported; "" if it was seen without news */
  reported = new Map();

  /** @param {Bell[]} bells */
  constructor(bells) {
    this.bells = bells;
  }

  /** @param {Bell["kind"]} kind @param {string} of @returns {boolean} */
  has(kind, of) {
    return this.bells.some((bell) => bell.kind === kind && bell.of === of);
  }

  /** Adds or removes a bell. @param {Bell} bell @returns {string} why it was not added; "" if it was added or removed */
  toggle(bell) {
    if (this.has(bell.kind, bell.of)) {
      this.bells = this.bells.filter((one) => one.kind !== bell.kind || one.of !== bell.of);
      return "";
    }
    if (bell.of.length > OF_MAX) return `A bell's search has at most ${OF_MAX} characters: shorten it first`;
    if (this.bells.length >= BELLS_MAX) return `${BELLS_MAX} bells are set: remove one first`;
    this.bells = [...this.bells, bell];
    return "";
  }

  /**
   * Returns the news in some summaries. For a search, only traces that were seen open count: earlier ends are no news.
   * @param {Iterable<Summary>} traces @param {(trace: Summary) => {p95: number} | null} usual @param {number} now milliseconds since 1970
   * @returns {Notice[]}
   */
  check(traces, usual, now) {
    if (this.bells.length === 0) return [];
    const searches = this.bells.filter(({ kind }) => kind === "search").map(({ of }) => parseQuery(of, "list").terms).filter((terms) => terms.length > 0);
    /** @type {Notice[]} */
    const news = [];
    for (const trace of traces) {
      const isOwn = this.has("trace", trace.traceId);
      if (!isOwn && !searches.some((terms) => traceMatches(trace, terms, now)) && !this.reported.has(trace.traceId)) continue;
      const before = this.reported.get(trace.traceId);
      const found = newsOf(trace, usual(trace), now);
      const isOpen = isOpenTrace(trace);
      if (before === undefined && !isOpen && !isOwn) continue;
      if (found === (before || null)) {
        if (before === undefined) this.remember(trace.traceId, "");
        continue;
      }
      this.remember(trace.traceId, found ?? "");
      if (found === null || (before === "failed" && found === "hangs")) continue;
      news.push({ traceId: trace.traceId, name: trace.name || "(no name)", news: found, text: textOf(trace, found, now), done: !isOpen });
      if (!isOpen) this.bells = this.bells.filter(({ kind, of }) => kind !== "trace" || of !== trace.traceId);
    }
    return news;
  }

  /** @param {string} traceId @param {News | ""} news */
  remember(traceId, news) {
    this.reported.delete(traceId);
    this.reported.set(traceId, news);
    for (const oldest of this.reported.keys()) {
      if (this.reported.size <= REPORTED_MAX) break;
      this.reported.delete(oldest);
    }
  }
}

/** @param {Summary} trace @param {News} news @param {number} now @returns {string} */
function textOf(trace, news, now) {
  const took = formatDuration(trace.durationMs ?? Math.max(0, now - epochMilliseconds(trace.startTimestamp)));
  const open = isOpenTrace(trace);
  if (news === "hangs") return `has run for ${took}, more than three times the 95th percentile of its runs`;
  const why = reasonOf(trace);
  const words = news === "lost" ? "is lost: its process ended, or its end was lost" : news === "failed" ? (open ? "has failed spans and still runs" : `failed after ${took}`) : `ended after ${took}`;
  return why === "" ? words : `${words}: ${why}`;
}

/**
 * @param {Notice[]} news
 * @returns {{title: string, body: string, traceId: string}} one notification for all news that came together
 */
export function messageOf(news) {
  const [first] = news;
  if (news.length === 1) return { title: `${first.name} ${first.text.split(":")[0]}`, body: first.text, traceId: first.traceId };
  const counts = /** @type {Record<string, number>} */ ({});
  for (const { news: one } of news) counts[one] = (counts[one] ?? 0) + 1;
  return { title: Object.entries(counts).map(([one, count]) => `${count} ${one}`).join(", "), body: news.slice(0, 5).map(({ name, text }) => `${name} ${text}`).join("\n"), traceId: first.traceId };
}

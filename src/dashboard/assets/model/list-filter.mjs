// @ts-check
// The filters of the list beside the typed search: chips (terms of the search), a range of time, the reader's own
// traces, and saved searches.
// Must never touch the DOM, the browser's storage or a clock.

import { listMatches } from "./list-model.mjs";
import { parseQuery, quoteTerm, traceMatches } from "./search.mjs";
import { epochMilliseconds } from "./time.mjs";

/**
 * @typedef {import("./list-model.mjs").TraceList} TraceList
 * @typedef {import("./list-model.mjs").Summary} Summary
 * @typedef {import("./search.mjs").Term} Term
 * @typedef {{since: number | null, until: number | null, mine: ReadonlySet<string> | null}} Narrowed `since`, `until`:
 *   milliseconds since 1970; `mine`: if set, only these traces are shown
 * @typedef {{term: string, count: number}} Count
 * @typedef {{states: Count[], services: Count[], mine: number}} ChipCounts
 * @typedef {{name: string, query: string}} SavedSearch
 */

/** Terms of the state chips, in display order. */
export const STATE_TERMS = Object.freeze(["state:running", "state:waiting", "errors>0", "status:error", "state:panicked", "state:cancelled", "state:lost"]);
/** Maximum number of service chips: the services with the most traces. */
export const SERVICE_CHIPS_MAX = 6;
/** Maximum number of saved searches, one for each digit key. */
export const SAVED_MAX = 9;
const SAVED_LENGTH_MAX = 500;
/** Terms of the same kind exclude each other, so a new one replaces the old one. */
const KINDS = [/^-?(state:|status:|errors>)/, /^-?service:/];

/** @param {string} query @returns {string[]} its words; a quoted text is one word */
export function wordsIn(query) {
  return query.match(/(?:"(?:\\.|[^"\\])*"?|[^\s"])+/g) ?? [];
}

/**
 * @param {string} query @param {string} term
 * @returns {"" | "with" | "without"} whether the query contains the term, or its negation, or neither
 */
export function holds(query, term) {
  const words = wordsIn(query);
  return words.includes(term) ? "with" : words.includes(`-${term}`) ? "without" : "";
}

/**
 * Returns the query with the term added, or removed if it was there. A term that is not negated replaces another of its
 * kind.
 * @param {string} query @param {string} term @param {boolean} negated adds the negated term
 * @returns {string}
 */
export function toggled(query, term, negated = false) {
  const wanted = negated ? `-${term}` : term;
  const words = wordsIn(query);
  if (words.includes(wanted)) return words.filter((word) => word !== wanted).join(" ");
  const kind = KINDS.find((one) => one.test(term));
  return [...words.filter((word) => word !== term && word !== `-${term}` && (negated || kind === undefined || word.startsWith("-") || !kind.test(word))), wanted].join(" ");
}

/** @param {string} name @returns {string} */
export function serviceTerm(name) {
  return `service:${quoteTerm(name)}`;
}

/** @param {Summary} trace @param {Narrowed} narrowed @returns {boolean} */
export function isWithin(trace, { since, until, mine }) {
  if (mine !== null && !mine.has(trace.traceId)) return false;
  if (since === null && until === null) return true;
  const at = epochMilliseconds(trace.startTimestamp);
  return (since === null || at >= since) && (until === null || at < until);
}

/**
 * Counts the traces that each chip would show: those that match the query without terms of the chip's own kind.
 * @param {TraceList} list @param {string} query @param {Narrowed} narrowed @param {ReadonlySet<string>} mine @param {number} now
 * @returns {ChipCounts}
 */
export function chipCounts(list, query, narrowed, mine, now) {
  const [byState, byService] = KINDS.map((kind) => termsOf(wordsIn(query).filter((word) => !kind.test(word)).join(" ")));
  const all = termsOf(query);
  const states = STATE_TERMS.map((term) => ({ term, terms: termsOf(term), count: 0 }));
  /** @type {Map<string, number>} */
  const services = new Map();
  let own = 0;
  for (const traces of [list.traces, list.older]) for (const trace of traces.values()) {
    if (mine.has(trace.traceId) && isWithin(trace, { ...narrowed, mine: null }) && listMatches(list, trace, all, now)) own += 1;
    if (!isWithin(trace, narrowed)) continue;
    if (listMatches(list, trace, byState, now)) for (const one of states) if (traceMatches(trace, one.terms, now)) one.count += 1;
    if (listMatches(list, trace, byService, now)) for (const { name } of trace.services ?? []) services.set(name, (services.get(name) ?? 0) + 1);
  }
  const most = [...services].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, SERVICE_CHIPS_MAX);
  return { states: states.map(({ term, count }) => ({ term, count })), services: most.map(([name, count]) => ({ term: serviceTerm(name), count })), mine: own };
}

/** @param {string} query @returns {Term[]} empty if the query is invalid */
function termsOf(query) {
  return parseQuery(query, "list").terms;
}

/**
 * Returns the terms of a search without results, each with the number of traces that it alone excludes.
 * @param {TraceList} list @param {string} query @param {Narrowed} narrowed @param {number} now
 * @returns {Count[]} `count`: loaded traces that match all other terms
 */
export function withoutEach(list, query, narrowed, now) {
  const words = wordsIn(query);
  return words.map((term, at) => {
    const terms = termsOf(words.filter((_, other) => other !== at).join(" "));
    let count = 0;
    for (const traces of [list.traces, list.older]) for (const trace of traces.values()) if (isWithin(trace, narrowed) && listMatches(list, trace, terms, now)) count += 1;
    return { term, count };
  });
}

/**
 * @param {TraceList} list @param {string} query @param {number} now
 * @returns {number} the number of loaded traces that match
 */
export function matchCount(list, query, now) {
  const { terms, wrong } = parseQuery(query, "list");
  if (wrong !== null) return 0;
  let count = 0;
  for (const traces of [list.traces, list.older]) for (const trace of traces.values()) if (traceMatches(trace, terms, now)) count += 1;
  return count;
}

/** @param {unknown} kept the value from the browser's storage, which may be anything @returns {SavedSearch[]} */
export function savedSearches(kept) {
  if (!Array.isArray(kept)) return [];
  const searches = kept.filter((one) => typeof one?.name === "string" && typeof one.query === "string" && one.query.trim() !== "" && one.name.length + one.query.length <= SAVED_LENGTH_MAX);
  return searches.slice(0, SAVED_MAX).map(({ name, query }) => ({ name, query }));
}

/**
 * @param {SavedSearch[]} searches @param {string} name @param {string} query
 * @returns {SavedSearch[]} the searches with a new one at the end, which replaces one with the same query; unchanged if
 *   SAVED_MAX others exist
 */
export function withSaved(searches, name, query) {
  const wanted = query.trim().slice(0, SAVED_LENGTH_MAX / 2);
  if (wanted === "") return searches;
  const others = searches.filter((one) => one.query !== wanted);
  return others.length >= SAVED_MAX ? searches : [...others, { name: name.trim().slice(0, 60) || wanted, query: wanted }];
}

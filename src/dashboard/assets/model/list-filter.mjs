// @ts-check
// What a reader narrows the list by, beside what is typed: chips that are terms of the search, a stretch of time, the
// traces of one's own, and searches that are kept. Must never touch the DOM, the browser's store or a clock.

import { listMatches } from "./list-model.mjs";
import { parseQuery, quoteTerm, traceMatches } from "./search.mjs";
import { epochMilliseconds } from "./time.mjs";

/**
 * @typedef {import("./list-model.mjs").TraceList} TraceList
 * @typedef {import("./list-model.mjs").Summary} Summary
 * @typedef {import("./search.mjs").Term} Term
 * @typedef {{since: number | null, until: number | null, mine: ReadonlySet<string> | null}} Narrowed milliseconds since 1970;
 *   `mine`: the only traces to show
 * @typedef {{term: string, count: number}} Count
 * @typedef {{states: Count[], services: Count[], mine: number}} ChipCounts
 * @typedef {{name: string, query: string}} SavedSearch
 */

/** Terms of the chips of states, in their order. */
export const STATE_TERMS = Object.freeze(["state:running", "state:waiting", "errors>0", "status:error", "state:panicked", "state:cancelled", "state:lost"]);
/** Services that have a chip: those with the most traces. */
export const SERVICE_CHIPS_MAX = 6;
/** Searches that are kept, one for each digit. */
export const SAVED_MAX = 9;
const SAVED_LENGTH_MAX = 500;
/** Terms of these keys exclude each other: one takes the place of another. */
const KINDS = [/^-?(state:|status:|errors>)/, /^-?service:/];

/** @param {string} query @returns {string[]} its words, a quoted text as one */
export function wordsIn(query) {
  return query.match(/(?:"(?:\\.|[^"\\])*"?|[^\s"])+/g) ?? [];
}

/** @param {string} query @param {string} term @returns {"" | "with" | "without"} whether it has the term, or its negation */
export function holds(query, term) {
  const words = wordsIn(query);
  return words.includes(term) ? "with" : words.includes(`-${term}`) ? "without" : "";
}

/**
 * The query with the term, or without it where it has it. A state takes the place of another state.
 * @param {string} query @param {string} term @param {boolean} negated asks for all but those
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
 * How many traces each chip would show: of those that match all but the chip's own kind.
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

/** @param {string} query @returns {Term[]} none where it cannot be read */
function termsOf(query) {
  return parseQuery(query, "list").terms;
}

/**
 * The terms of a search that finds nothing, with the number that each of them keeps away.
 * @param {TraceList} list @param {string} query @param {Narrowed} narrowed @param {number} now
 * @returns {Count[]} `count`: traces at hand that match all the others
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

/** @param {TraceList} list @param {string} query @param {number} now @returns {number} traces at hand that match */
export function matchCount(list, query, now) {
  const { terms, wrong } = parseQuery(query, "list");
  if (wrong !== null) return 0;
  let count = 0;
  for (const traces of [list.traces, list.older]) for (const trace of traces.values()) if (traceMatches(trace, terms, now)) count += 1;
  return count;
}

/** @param {unknown} kept what the browser kept, which may be anything @returns {SavedSearch[]} */
export function savedSearches(kept) {
  if (!Array.isArray(kept)) return [];
  const searches = kept.filter((one) => typeof one?.name === "string" && typeof one.query === "string" && one.query.trim() !== "" && one.name.length + one.query.length <= SAVED_LENGTH_MAX);
  return searches.slice(0, SAVED_MAX).map(({ name, query }) => ({ name, query }));
}

/** @param {SavedSearch[]} searches @param {string} name @param {string} query @returns {SavedSearch[]} with this one at the end; of one query there is one. The same when there are SAVED_MAX others */
export function withSaved(searches, name, query) {
  const wanted = query.trim().slice(0, SAVED_LENGTH_MAX / 2);
  if (wanted === "") return searches;
  const others = searches.filter((one) => one.query !== wanted);
  return others.length >= SAVED_MAX ? searches : [...others, { name: name.trim().slice(0, 60) || wanted, query: wanted }];
}

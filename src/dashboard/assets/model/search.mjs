// @ts-check
// The search grammar for lists of traces and for the spans of one trace. The server implements the same grammar in
// `src/trace/search.rs`; both are tested with `tests/search.json`. Must never touch the DOM or a clock.

import { shownState } from "./columns.mjs";

/**
 * @typedef {"<" | "<=" | ">" | ">=" | "="} Operator
 * @typedef {object} Term
 * @property {boolean} negated
 * @property {number} at place in the query, in code units from 0
 * @property {string} key "" for text; an attribute's key begins with `@`
 * @property {string} value as returned by `fold`
 * @property {Operator | ""} operator "" for a search for contained text
 * @property {number} number the value as a number, in nanoseconds for `duration`; NaN if the value is not a number
 * @typedef {{message: string, at: number, length: number}} Wrong a syntax error and its position
 * @typedef {{terms: Term[], wrong: Wrong | null}} Query
 * @typedef {"list" | "trace"} Subject whether traces or the spans of one trace are searched
 */

const KEYS = {
  list: ["name", "service", "trace", "id", "state", "status", "kind", "duration", "spans", "errors"],
  trace: ["name", "service", "scope", "span", "id", "state", "status", "kind", "duration"],
};
/** @type {Record<string, string[]>} */
const VALUES = {
  state: ["running", "waiting", "ok", "error", "panicked", "cancelled", "lost", "failing", "below"],
  status: ["OK", "ERROR"],
  kind: ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"],
};
const COUNTED = ["spans", "errors"];
/** @type {Record<string, number>} */
const NANOSECONDS = { ns: 1, us: 1e3, "µs": 1e3, "μs": 1e3, ms: 1e6, "": 1e6, s: 1e9, m: 60e9, min: 60e9, h: 3600e9 };

/**
 * @param {string} text
 * @param {Subject} subject
 * @returns {Query} without terms if there is an error
 */
export function parseQuery(text, subject) {
  try {
    return { terms: wordsOf(text).map((word) => termOf(word, subject)), wrong: null };
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    // The server counts characters from 1, too.
    const character = [...text.slice(0, refused.at)].length + 1;
    return { terms: [], wrong: { message: `${refused.message}, at character ${character}`, at: refused.at, length: refused.length } };
  }
}

class Refused extends Error {
  at = 0;
  length = 1;
}

/** @param {string} message @param {number} [at] @param {number} [length] */
function refuse(message, at = 0, length = 1) {
  return Object.assign(new Refused(message), { at, length });
}

/**
 * Returns text in the form used for comparison: case-folded, normalized, with all white space as blanks. Applies NFD,
 * then lower, upper and lower case, then NFC. The result equals Unicode case folding, except that `ı` equals `i`.
 * @param {string} text @returns {string}
 */
export function fold(text) {
  if (isAscii(text)) return text.toLowerCase().replace(/[\t-\r]/g, " ");
  // `toLowerCase` writes a final sigma at the end of a word, which must equal any other sigma.
  const lower = text.normalize("NFD").toLowerCase().toUpperCase().toLowerCase().replaceAll("ς", "σ");
  return lower.replace(/\p{White_Space}/gu, " ").normalize("NFC");
}

/** @param {string} text @returns {boolean} */
function isAscii(text) {
  return !/[^\0-\x7f]/.test(text);
}

/**
 * Returns a function that tells whether a text contains the folded value. ASCII texts are matched by a regular
 * expression without a copy: nearly all texts are ASCII, and a trace may have a million of them.
 * @param {string} value folded
 * @returns {(text: string) => boolean}
 */
export function contains(value) {
  const escaped = value.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll(" ", "[\t-\r ]");
  const pattern = isAscii(value) ? new RegExp(escaped, "i") : null;
  return (text) => (isAscii(text) ? pattern !== null && pattern.test(text) : fold(text).includes(value));
}

/** @typedef {{at: number, end: number, text: string, negated: boolean, quoted: boolean}} Word */

/** @param {string} query @returns {Word[]} */
function wordsOf(query) {
  /** @type {Word[]} */
  const words = [];
  /** @type {Word | null} */
  let word = null;
  let quote = -1;
  for (let at = 0; at < query.length; at += 1) {
    const character = query[at];
    if (quote < 0 && /\p{White_Space}/u.test(character)) {
      word = null;
      continue;
    }
    if (word === null) words.push((word = { at, end: at, text: "", negated: false, quoted: false }));
    word.end = at + 1;
    // Only `\"` and `\\` within quotes are escapes, so `C:\temp` keeps its backslash.
    if (quote >= 0 && character === "\\" && /["\\]/.test(query[at + 1] ?? "")) {
      at += 1;
      word.text += query[at];
      continue;
    }
    if (character !== '"') {
      word.text += character;
      continue;
    }
    quote = quote < 0 ? at : -1;
    if (word.text === "-" && word.at + 1 === at) {
      word.negated = true;
      word.text = "";
    }
    word.quoted ||= word.text === "" && quote >= 0;
  }
  if (quote >= 0) throw refuse("a quote is not closed", quote, query.length - quote);
  for (const one of words) {
    if (one.quoted || one.text.length < 2 || !one.text.startsWith("-")) continue;
    one.negated = true;
    one.text = one.text.slice(1);
  }
  return words;
}

/** @param {Word} word @param {Subject} subject @returns {Term} */
function termOf(word, subject) {
  try {
    return { negated: word.negated, at: word.at, ...(word.quoted ? asText(word.text) : testOf(word.text, subject)) };
  } catch (refused) {
    if (refused instanceof Refused) Object.assign(refused, { at: word.at, length: word.end - word.at });
    throw refused;
  }
}

/** @typedef {Omit<Term, "negated" | "at">} Test */

/** @param {string} text @returns {Test} */
function asText(text) {
  return { key: "", value: fold(text), operator: "", number: NaN };
}

/** @param {string} text @param {Subject} subject @returns {Test} */
function testOf(text, subject) {
  const found = /^(@?)([A-Za-z_][\w.-]*)(:(?!:|\/\/)|[<>=]+)(.*)$/s.exec(text);
  if (found === null) return asText(text);
  const [, mark, key, operator, value] = found;
  const known = mark === "" && KEYS[subject].includes(key);
  if (known && (key === "duration" || COUNTED.includes(key))) return comparison(key, operator === ":" ? value : operator + value);
  const number = /^-?(\d+\.?\d*|\.\d+)$/.test(value) ? Number(value) : NaN;
  // A comparison needs a number: a word such as `a>b` is plain text.
  if (operator !== ":" && (Number.isNaN(number) || (known && subject === "trace"))) return asText(text);
  if (operator === ":" && known) return property(key, value);
  if (subject === "trace" && mark === "" && KEYS.list.includes(key)) throw refuse(`"${key}" searches the list of traces: put @ before it to search an attribute`);
  return { key: `@${key}`, value: fold(value), operator: operator === ":" ? "" : operatorOf(operator), number };
}

/** @param {string} key @param {string} value @returns {Test} */
function property(key, value) {
  const allowed = VALUES[key];
  const shown = key === "state" ? value.toLowerCase() : value;
  if (allowed !== undefined && !allowed.some((one) => one.toLowerCase() === value.toLowerCase())) {
    throw refuse(`the ${key} "${shown}" is not one of ${allowed.join(", ")}`);
  }
  return { ...asText(value), key };
}

/** @param {string} key @param {string} text `>10ms` @returns {Test} */
function comparison(key, text) {
  const number = text.replace(/^[<>=]+/, "");
  const operator = operatorOf(text.slice(0, text.length - number.length));
  if (key === "duration") return { key, value: "", operator, number: nanosecondsIn(number) };
  if (!/^\d+$/.test(number)) throw refuse(`"${number}" is not a whole number`);
  return { key, value: "", operator, number: Number(number) };
}

/** @param {string} text @returns {Operator} */
function operatorOf(text) {
  if (!["", "<", "<=", ">", ">=", "="].includes(text)) throw refuse(`"${text}" is not one of <, <=, >, >=, =`);
  return /** @type {Operator} */ (text || "=");
}

/** @param {string} text @returns {number} */
function nanosecondsIn(text) {
  const found = /^(\d+\.?\d*|\.\d+)(\p{L}*)$/u.exec(text);
  if (found === null) throw refuse(`"${text}" is not a duration, such as 10ms`);
  if (!Object.hasOwn(NANOSECONDS, found[2])) throw refuse(`"${found[2]}" is not one of ns, us, ms, s, m, h`);
  return Math.round(Number(found[1]) * NANOSECONDS[found[2]]);
}

/** @param {number} actual @param {Operator | ""} operator @param {number} wanted @returns {boolean} */
export function compares(actual, operator, wanted) {
  if (operator === "<") return actual < wanted;
  if (operator === "<=") return actual <= wanted;
  if (operator === ">") return actual > wanted;
  return operator === ">=" ? actual >= wanted : actual === wanted;
}

/** @param {string} text @returns {string} a term that finds exactly this text */
export function quoteTerm(text) {
  if (/^[^\p{White_Space}"-][^\p{White_Space}"]*$/u.test(text)) return text;
  // A search field has one line, and a blank in a term matches any white space.
  return `"${text.replace(/["\\]/g, "\\$&").replace(/\p{White_Space}/gu, " ")}"`;
}

/**
 * Returns whether a trace of the list matches. `now` is in milliseconds since 1970. A trace with a `match` always
 * matches, because the server's search found it.
 * @param {import("./list-model.mjs").Summary} trace @param {Term[]} terms @param {number} now
 * @returns {boolean}
 */
export function traceMatches(trace, terms, now) {
  return trace.match !== undefined || terms.every((term) => traceHolds(trace, term, now) !== term.negated);
}

/** @param {import("./list-model.mjs").Summary} trace @param {Term} term @param {number} now @returns {boolean} */
function traceHolds(trace, { key, value, operator, number }, now) {
  const contained = contains(value);
  const has = (/** @type {unknown} */ text) => contained(String(text ?? ""));
  const services = () => (trace.services ?? []).some((service) => has(service.name));
  // The id of a trace from a file begins with the file prefix.
  const id = () => trace.traceId.slice(trace.traceId.lastIndexOf(":") + 1).startsWith(value);
  switch (key) {
    case "": return has(trace.name) || services() || id();
    case "name": return has(trace.name);
    case "service": return services();
    // Accept the wire state and the shown state: a trace shown as failing is also running.
    case "state": return trace.state === value || shownState(trace.state, (trace.spans?.errors ?? 0) > 0) === value;
    case "status": return ["error", "panicked", "lost"].includes(trace.state) === (value === "error");
    case "kind": return String(trace.kind ?? "").toLowerCase() === value;
    case "duration": return compares(Math.round((trace.durationMs ?? Math.max(0, now - Date.parse(trace.startTimestamp))) * 1e6), operator, number);
    case "spans": return compares(trace.spans?.total ?? 0, operator, number);
    case "errors": return compares(trace.spans?.errors ?? 0, operator, number);
    case "trace": case "id": return id();
    // Attributes, scopes and span names are only in the events, which the server searches.
    default: return false;
  }
}

/** @param {Term[]} terms @returns {boolean} whether the result changes with time alone */
export function dependsOnTime(terms) {
  return terms.some((term) => term.key === "duration");
}

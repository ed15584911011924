// @ts-check
// Texts of the inspector: fields about the code, events and log records in one order, links back to a span, and
// searches for similar spans. Must never touch the DOM or a clock.

import { readChanges } from "./model.mjs";
import { quoteTerm } from "./search.mjs";
import { selfTime } from "./span.mjs";
import { epochMilliseconds, formatDuration, plural } from "./time.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {Record<string, unknown>} Attributes
 * @typedef {{name: string, text: string, key: string, whole?: string}} Field `key`: the attribute by which similar
 *   spans are found; `whole`: the full text, if `text` is shortened
 */

/** Maximum length of a value in a search term. */
const TERM_LENGTH_MAX = 120;

// Names of the current conventions, and of older ones that some bridges still write.
const FILE_KEYS = ["code.file.path", "code.filepath"];
const LINE_KEYS = ["code.line.number", "code.lineno"];
const COLUMN_KEYS = ["code.column.number", "code.column"];
const FUNCTION_KEYS = ["code.function.name", "code.function"];
const MODULE_KEYS = ["code.module.name", "code.namespace"];

/**
 * Separates attributes that describe the code from those that describe the work. In one list, the code would bury the
 * work.
 * @param {Attributes} attributes
 * @returns {{fields: Field[], others: [string, unknown][]}}
 */
export function codeFields(attributes) {
  const used = new Set();
  const take = (/** @type {string[]} */ names) => {
    const key = names.find((name) => Object.hasOwn(attributes, name));
    if (key === undefined) return null;
    used.add(key);
    return { key, text: valueText(attributes[key]) };
  };
  /** @type {Field[]} */
  const fields = [];
  const add = (/** @type {string} */ name, /** @type {{key: string, text: string} | null} */ found, whole = found?.text) => {
    if (found === null) return;
    const text = name === "Source" ? shortPath(String(whole)) : String(whole);
    fields.push(text === whole ? { name, text, key: found.key } : { name, text, key: found.key, whole });
  };
  const file = take(FILE_KEYS);
  const [line, column] = [take(LINE_KEYS), take(COLUMN_KEYS)];
  const place = [line, column].map((one) => (one === null ? "" : `:${one.text}`)).join("");
  add("Source", file ?? line, file === null ? `line ${line?.text}` : `${file.text}${place}`);
  add("Function", take(FUNCTION_KEYS));
  const module = take(MODULE_KEYS);
  add("Module", module);
  const target = take(["target"]);
  if (target?.text !== module?.text) add("Target", target);
  add("Level", take(["level"]));
  const name = take(["thread.name"]);
  const id = take(["thread.id"]);
  add("Thread", name ?? id, name === null ? `id ${id?.text}` : id === null ? name.text : `${name.text} (id ${id.text})`);
  const [busy, idle] = [take(["busy_ns"]), take(["idle_ns"])];
  const both = Number(busy?.text) + Number(idle?.text);
  const share = (/** @type {{text: string} | null} */ part) => (part === null ? "" : `${formatDuration(Number(part.text) / 1e6)}${both > 0 ? `  ·  ${Math.round((Number(part.text) / both) * 100)} %` : ""}`);
  add("Busy", busy, share(busy));
  add("Idle", idle, share(idle));
  return { fields, others: Object.entries(attributes).filter(([key]) => !used.has(key)) };
}

/**
 * Shortens a path to its distinctive part. Crates of a registry and the standard library lie deep in directories that
 * are always the same.
 * @param {string} path
 * @returns {string}
 */
export function shortPath(path) {
  return path
    .replace(/^.*[/\\](?:registry[/\\]src|git[/\\]checkouts)[/\\][^/\\]+[/\\]/, "")
    .replace(/^(?:.*[/\\])?rustc[/\\][0-9a-f]{40}[/\\]/, "");
}

/**
 * Returns span events and log records in order of time. Among equal times, events come before log records.
 * @param {any} event of the span @param {import("./records.mjs").LogRecord[]} logs
 * @returns {{kind: "event" | "log", entry: any}[]}
 */
export function timelineOf(event, logs) {
  const events = (Array.isArray(event?.events) ? event.events : []).map((/** @type {any} */ entry) => ({ kind: /** @type {const} */ ("event"), entry }));
  const records = logs.map(({ data: entry }) => ({ kind: /** @type {const} */ ("log"), entry }));
  // Timestamps have a fixed width, so text order is time order. The sort is stable: ties stay in order of arrival.
  const order = (/** @type {{entry: any}} */ one) => String(one.entry?.timestamp ?? "");
  return [...events, ...records].sort((a, b) => (order(a) === order(b) ? 0 : order(a) < order(b) ? -1 : 1));
}

/**
 * Returns a search term for spans with this value, or "" if the grammar has none.
 * @param {string} key @param {unknown} value
 * @returns {string}
 */
export function termFor(key, value) {
  if (typeof value === "object") return "";
  const text = quoteTerm(String(value).slice(0, TERM_LENGTH_MAX).replace(/[\ud800-\udbff]$/, ""));
  // If the key is invalid in a term, or `key:value` would read as a path or an address, search for the text alone.
  if (!/^[A-Za-z_][\w.-]*$/.test(key) || /^(:|\/\/)/.test(String(value))) return text;
  // Without `@`, the term would search a field of the span instead of the attribute.
  return `${RESERVED.includes(key) ? "@" : ""}${key}:${text}`;
}

const RESERVED = ["name", "service", "scope", "span", "trace", "id", "state", "status", "kind", "duration", "spans", "errors"];

/** @param {string} query @param {string} term @returns {string} both */
export function withTerm(query, term) {
  return query.trim() === "" ? term : ` ${query} `.includes(` ${term} `) ? query : `${query.trimEnd()} ${term}`;
}

/** @param {unknown} value @returns {string} */
export function typeOf(value) {
  if (Array.isArray(value)) return "array";
  return value === null ? "null" : typeof value === "boolean" ? "bool" : typeof value;
}

/** @param {unknown} value @returns {string} */
export function valueText(value) {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

/** An index of the links between spans of one trace. It is updated with the trace and reads each change once. */
export class BackLinks {
  /** @type {Trace | null} */
  trace = null;
  place = -1;
  /** By the id of the span linked to. @type {Map<string, Set<number>>} */
  from = new Map();

  /** @param {Trace} trace @param {string} spanId @returns {number[]} */
  to(trace, spanId) {
    if (trace !== this.trace) {
      this.trace = trace;
      this.place = -1;
      this.from.clear();
    }
    this.place = readChanges(trace, this.place, (index) => {
      const links = trace.spans.events[index]?.links;
      if (!Array.isArray(links)) return;
      for (const link of links) {
        if (link?.traceId !== trace.traceId || typeof link.spanId !== "string") continue;
        const known = this.from.get(link.spanId);
        if (known === undefined) this.from.set(link.spanId, new Set([index]));
        else known.add(index);
      }
    });
    return [...(this.from.get(spanId) ?? [])].filter((index) => index < trace.spans.count);
  }
}

/** @param {import("./span.mjs").SpanFacts} span @returns {string | null} */
export function selfText(span) {
  const self = selfTime(span.trace, span.index);
  if (self === null || span.childCount === 0) return null;
  const whole = Number(span.end) - span.start;
  const share = whole > 0 ? `  ·  ${Math.round((self / whole) * 100)} %` : "";
  return `${formatDuration(self)}${share}`;
}

/** @param {any} event @returns {string | null} */
export function scopeText(event) {
  if (!event?.scope) return null;
  return event.scopeVersion ? `${event.scope} ${event.scopeVersion}` : String(event.scope);
}

/** @param {any} event @returns {string | null} how many events and links of an open span the page dropped */
export function notKeptText(event) {
  return event?.itemsLeft > 0 ? `${plural(event.itemsLeft, "more event or link", "more events or links")} of it; its end has all` : null;
}

/** @param {any} event @returns {string | null} */
export function droppedText(event) {
  if (!event?.dropped) return null;
  return Object.entries(event.dropped).map(([what, count]) => `${count} ${what}`).join(", ");
}

/** @param {any} event @returns {string | null} the time of receipt, if it does not fit the span's own time */
export function receiptText(event) {
  if (typeof event?.receivedTimestamp !== "string") return null;
  const delay = epochMilliseconds(event.receivedTimestamp) - epochMilliseconds(event.timestamp);
  const what = event.type === "ended" ? "end" : "start";
  if (delay < 0) return `${formatDuration(-delay)} before its ${what}: the sender's clock is ahead`;
  return `${formatDuration(delay)} after its ${what}: it came late, or the sender's clock is behind`;
}

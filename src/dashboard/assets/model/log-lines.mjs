// @ts-check
// Log records and span events as one list of lines in order of time, and a filter for these lines.
// Must never touch the DOM or a clock.

import { contains, fold } from "./search.mjs";
import { LEVELS, levelOf, severityOf, severityOfEvent } from "./severity.mjs";
import { codeFields, valueText } from "./span-details.mjs";
import { nameOf } from "./span.mjs";
import { parseTimestamp } from "./time.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {object} LogLine
 * @property {number} time in milliseconds; the origin depends on the list
 * @property {string} level
 * @property {string} text
 * @property {string | null} spanId
 * @property {string | null} traceId
 * @property {any} data the record or the event
 * @property {string} span the name of its span, empty if unknown
 * @typedef {{text: string, levels: Set<string>, spanId: (spanId: string | null) => boolean, key: string}} Wanted a
 *   filter; `key` must change whenever the results of `spanId` change
 */

/** Maximum number of lines in one list; the oldest are removed. */
export const LINES_MAX = 60_000;
const LINES_SLACK = 5_000;
/** Number of a span's newest records, and of its newest events, that may be its last line. Some arrive late. */
const LAST_LOOK = 8;
/** Number of earlier exceptions of a span, and of earlier records, that are kept when a line is added. */
const EXCEPTIONS_OF_SPAN_MAX = 16;

/** @param {any} data a log record @param {number} time @returns {LogLine} */
export function lineOfLog(data, time) {
  const text = valueText(data.body ?? "") || String(data.eventName ?? "") || valueText(data.attributes?.[errorKeyOf(data)] ?? "");
  return { time, level: levelOf(severityOf(data)), text, spanId: data.spanId ?? null, traceId: data.traceId ?? null, data, span: "" };
}

/** @param {any} event of a span @param {number} time @param {string} spanId @param {string} traceId @returns {LogLine} */
export function lineOfEvent(event, time, spanId, traceId) {
  const { "exception.type": type, "exception.message": message } = event.attributes ?? {};
  const text = (event.name === "exception" ? [type, message].filter(Boolean).join(": ") : "") || String(event.name ?? "");
  return { time, level: levelOf(severityOfEvent(event)), text, spanId, traceId, data: event, span: "" };
}

/** @param {LogLine} line @returns {boolean} whether it is an exception that a span recorded, not a log record */
export function isSpanException({ data }) {
  return data.name === "exception" && data.type !== "log";
}

/**
 * @param {Trace} trace @param {number} index @param {number} until in tree time
 * @returns {LogLine | null} the newest record or event of a span
 */
export function lastLineOf(trace, index, until) {
  const records = trace.logs.bySpan.get(trace.spans.ids[index]) ?? [];
  const events = trace.spans.events[index]?.events;
  const lines = records.slice(-LAST_LOOK).map(({ data, time }) => lineOfLog(data, time));
  for (const event of Array.isArray(events) ? events.slice(-LAST_LOOK) : []) {
    lines.push(lineOfEvent(event, parseTimestamp(event?.timestamp, trace.originSeconds), trace.spans.ids[index], trace.traceId));
  }
  return lines.reduce((/** @type {LogLine | null} */ last, line) => (line.time <= until && (last === null || line.time >= last.time) ? line : last), null);
}

/**
 * Returns the key of the field that serves as the text of a record without a text, or "". `#[instrument(err)]` and
 * `error!(%error)` write such records.
 * @param {any} data @returns {string}
 */
function errorKeyOf(data) {
  if (valueText(data.body ?? "") !== "" || (data.eventName ?? "") !== "" || data.name !== undefined) return "";
  return ["exception.message", "error"].find((key) => valueText(data.attributes?.[key] ?? "") !== "") ?? "";
}

/**
 * @param {LogLine} line
 * @returns {[string, unknown][]} its fields, without code location, exception and the field shown as its text
 */
export function fieldsOf({ data }) {
  const text = errorKeyOf(data);
  return codeFields(data.attributes ?? {}).others.filter(([key]) => !key.startsWith("exception.") && key !== text);
}

/** @param {LogLine} line @returns {string} the part of the program that wrote it */
export function targetOf({ data }) {
  return String(data.target ?? data.attributes?.target ?? data.scope ?? "");
}

/** @param {LogLine} line of an exception @returns {string} */
function messageOf({ data, text }) {
  return valueText(data.attributes?.["exception.message"] ?? "") || text;
}

/** @param {LogLine} line of a log record @param {string} message @returns {boolean} whether the record has that message */
function says({ data, text }, message) {
  const { attributes } = data;
  return [text, attributes?.["exception.message"], attributes?.error].some((value) => valueText(value ?? "").includes(message));
}

/** Exceptions of spans and the log records that may repeat them, by span, so that each is shown once. */
class Exceptions {
  /** @type {Map<string, LogLine[]>} */
  shown = new Map();
  /** @type {Map<string, LogLine[]>} */
  records = new Map();

  /**
   * @param {LogLine[]} lines new ones
   * @returns {Set<LogLine>} the exceptions, of these and of earlier lines, that a record repeats
   */
  repeated(lines) {
    const repeated = new Set();
    for (const line of lines) {
      if (line.spanId === null || (line.level !== "ERROR" && line.level !== "WARN")) continue;
      const isException = isSpanException(line);
      const [own, others] = isException ? [this.shown, this.records] : [this.records, this.shown];
      own.set(line.spanId, [...(own.get(line.spanId) ?? []).slice(-EXCEPTIONS_OF_SPAN_MAX), line]);
      for (const other of others.get(line.spanId) ?? []) {
        const [exception, record] = isException ? [line, other] : [other, line];
        if (says(record, messageOf(exception))) repeated.add(exception);
      }
    }
    return repeated;
  }

  clear() {
    this.shown.clear();
    this.records.clear();
  }
}

/** Lines in order of time. */
export class LogLines {
  /** @type {LogLine[]} */
  all = [];
  /** Grows when `all` changes anywhere except at its end. */
  moves = 0;
  /** Number of oldest lines removed. */
  left = 0;
  /** @type {Record<string, number>} */
  counts = noCounts();
  exceptions = new Exceptions();

  /** Adds lines. An exception of a span is left out if a log record of the span has its message. @param {LogLine[]} added in any order */
  add(added) {
    const repeated = this.exceptions.repeated(added);
    if (repeated.size > 0) this.remove(repeated);
    const lines = added.filter((line) => !repeated.has(line));
    if (lines.length === 0) return;
    lines.sort(byTime);
    const last = this.all[this.all.length - 1];
    for (const line of lines) this.counts[line.level] += 1;
    if (last === undefined || !(byTime(lines[0], last) < 0)) for (const line of lines) this.all.push(line);
    else {
      // Only lines newer than the oldest new line move.
      let from = this.all.length;
      while (from > 0 && byTime(this.all[from - 1], lines[0]) > 0) from -= 1;
      const later = this.all.splice(from).concat(lines).sort(byTime);
      for (const line of later) this.all.push(line);
      this.moves += 1;
    }
    if (this.all.length > LINES_MAX + LINES_SLACK) {
      this.moves += 1;
      for (const line of this.all.splice(0, this.all.length - LINES_MAX)) {
        this.counts[line.level] -= 1;
        this.left += 1;
      }
      this.exceptions.clear();
      this.exceptions.repeated(this.all);
    }
  }

  /** @param {Set<LogLine>} lines */
  remove(lines) {
    const all = this.all.filter((line) => !lines.has(line));
    if (all.length === this.all.length) return;
    for (const line of lines) if (this.all.includes(line)) this.counts[line.level] -= 1;
    this.all = all;
    this.moves += 1;
  }

  clear() {
    this.all = [];
    this.left = 0;
    this.counts = noCounts();
    this.exceptions.clear();
    this.moves += 1;
  }
}

/**
 * Compares by time, then by timestamp text: milliseconds since 1970 in a double lose digits below a microsecond.
 * @param {LogLine} a @param {LogLine} b @returns {number}
 */
function byTime(a, b) {
  if (a.time !== b.time) return a.time - b.time || 0;
  const [one, other] = [a.data.timestamp, b.data.timestamp];
  return one === other ? 0 : one < other ? -1 : 1;
}

/** @returns {Record<string, number>} */
function noCounts() {
  return Object.fromEntries(LEVELS.map(([level]) => [level, 0]));
}

/** The lines of one trace: its log records and its spans' events. */
export class TraceLines {
  lines = new LogLines();
  /** @type {Trace | null} */
  trace = null;
  place = -1;
  logs = 0;
  moves = -1;
  version = -1;
  /** By span: how many of its events were added, and the last one. @type {Map<number, {count: number, last: any}>} */
  taken = new Map();

  /** @param {Trace} trace @returns {LogLines} */
  update(trace) {
    if (trace === this.trace && trace.version === this.version) return this.lines;
    if (trace !== this.trace || trace.logs.moves !== this.moves) this.begin(trace);
    this.version = trace.version;
    if (!this.read(trace)) {
      // An end changed events that were already read, so the lines are rebuilt.
      this.begin(trace);
      this.read(trace);
    }
    return this.lines;
  }

  /** @param {Trace} trace */
  begin(trace) {
    Object.assign(this, { trace, place: -1, logs: 0, moves: trace.logs.moves });
    this.taken.clear();
    this.lines.clear();
  }

  /** @param {Trace} trace @returns {boolean} whether the lines read earlier are still correct */
  read(trace) {
    /** @type {LogLine[]} */
    const fresh = [];
    let isSound = true;
    this.place = trace.journal.read(this.place, trace.spans.count, (index) => {
      const events = trace.spans.events[index]?.events;
      if (!Array.isArray(events) || events.length === 0) return;
      const { count, last } = this.taken.get(index) ?? { count: 0, last: null };
      if (count > events.length || (count > 0 && events[count - 1]?.timestamp !== last)) isSound = false;
      if (count >= events.length) return;
      for (const event of events.slice(count)) fresh.push(lineOfEvent(event, parseTimestamp(event?.timestamp, trace.originSeconds), trace.spans.ids[index], trace.traceId));
      this.taken.set(index, { count: events.length, last: events[events.length - 1]?.timestamp });
    });
    for (const { data, time } of trace.logs.all.slice(this.logs)) fresh.push(lineOfLog(data, time));
    this.logs = trace.logs.all.length;
    if (isSound) this.lines.add(fresh);
    return isSound;
  }
}

/** @param {Trace} trace @param {LogLine} line @returns {string} */
export function spanNameOf(trace, { spanId }) {
  const index = spanId === null ? undefined : trace.spans.byId.get(spanId);
  return index === undefined ? "" : nameOf(trace, index);
}

/** The lines that match a filter, updated as lines arrive. */
export class FoundLines {
  /** @type {LogLine[]} */
  found = [];
  /** Grows when `found` changes. */
  version = 0;
  key = "";
  place = 0;
  /** @type {((line: LogLine) => boolean)[]} */
  tests = [];

  /** @param {LogLines} lines @param {Wanted} wanted @returns {LogLine[]} */
  update(lines, { text, levels, spanId, key }) {
    const wanted = `${lines.moves} ${text} ${[...levels].join()} ${key}`;
    if (wanted !== this.key) {
      Object.assign(this, { key: wanted, place: 0, found: [] });
      this.version += 1;
      this.tests = testsOf(text);
    }
    for (; this.place < lines.all.length; this.place += 1) {
      const line = lines.all[this.place];
      if (!levels.has(line.level) || !spanId(line.spanId) || !this.tests.every((test) => test(line))) continue;
      this.found.push(line);
      this.version += 1;
    }
    return this.found;
  }
}

/**
 * Parses a filter: `text`, `"two words"`, `-not` and `key=value`, all of which must match.
 * @param {string} text @returns {((line: LogLine) => boolean)[]}
 */
function testsOf(text) {
  return [...text.matchAll(/(-?)(?:([\w.-]+)([=:]))?(?:"([^"]*)"?|(\S+))/g)].map(([, minus, key, sign, quoted, bare]) => {
    const has = contains(fold(quoted ?? bare));
    // If the record has no such field, `key=value` is plain text, as in an address or a path.
    const whole = contains(fold(`${key ?? ""}${sign ?? ""}${quoted ?? bare}`));
    const isFound = (/** @type {LogLine} */ line) => {
      const attributes = line.data.attributes ?? {};
      if (key !== undefined && Object.hasOwn(attributes, key)) return has(valueText(attributes[key]));
      return [line.text, targetOf(line), ...Object.values(attributes)].some((value) => whole(valueText(value)));
    };
    return (line) => isFound(line) !== (minus === "-");
  });
}

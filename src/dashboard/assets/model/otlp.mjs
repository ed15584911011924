// @ts-check
// Converts spans and log records in OTLP/JSON, as exporters and the collector's file exporter write it, to our events.
// Follows protobuf's JSON rules: an absent field, null and the default value are equal; an enum is a number or a name;
// a 64-bit integer is a number or a string. `tests/otlp.json` has the cases.
// Must never trust its input: files come from anywhere.

import { parseExactly } from "./exact-json.mjs";

/** The file is not valid OTLP/JSON. The message says where and why. */
export class Malformed extends Error {}

const KINDS = ["INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
/** Status codes by name and by number; callers strip protobuf's prefix first. */
const CODES = new Map([["0", "UNSET"], ["UNSET", "UNSET"], ["1", "OK"], ["OK", "OK"], ["2", "ERROR"], ["ERROR", "ERROR"]]);
/** Values nested deeper than this are read as null. */
const VALUE_DEPTH_MAX = 60;
const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
/** The last moment that 64 bits of nanoseconds hold, in the year 2554. */
const LAST = 2n ** 64n - 1n;

/** In nanoseconds. A process that has sent only ended spans, one of them at least this long, counts as `endedOnly`. */
const LONG = 1_000_000_000n;

/** @typedef {Map<string, number>} LeftOut counts of what was left out, by description; `leave` adds to it */

/** @param {LeftOut} left @param {string} what in the plural, as the notice shows it @param {number} [count] */
export function leave(left, what, count = 1) {
  if (count > 0) left.set(what, (left.get(what) ?? 0) + count);
}

/**
 * The processes of a file. One `process` event announces each, before its first span or log. Two resources are the same
 * process if their service, instance and process id agree. Without an instance, host and process id are compared;
 * without those, the whole resource. Our OTLP receiver uses the same rule.
 */
export class FileProcesses {
  constructor() {
    /** @type {Map<string, FileProcess>} */
    this.known = new Map();
  }

  /** @typedef {{process: string, service: string, resource: Record<string, any>, types: Record<string, string>, isIntroduced: boolean, hasSentOpen: boolean, endedOnly: boolean}} FileProcess */

  /** @param {Record<string, any>} resource @param {Record<string, string>} [types] @returns {FileProcess} */
  find(resource, types = {}) {
    const service = typeof resource["service.name"] === "string" && resource["service.name"] !== "" ? resource["service.name"] : "unknown_service";
    const key = JSON.stringify([resource["service.namespace"] ?? "", service, ...identity(resource)]);
    const known = this.known.get(key) ?? { process: `file-${this.known.size}`, service, resource, types, isIntroduced: false, hasSentOpen: false, endedOnly: false };
    this.known.set(key, known);
    return known;
  }

  /** @param {FileProcess} process @returns {Generator<any>} the `process` event, the first time only */
  *introduce(process) {
    if (process.isIntroduced) return;
    process.isIntroduced = true;
    yield { type: "process", process: process.process, service: process.service, resource: process.resource, ...typed(process.types) };
  }
}

/** @param {Record<string, any>} resource @returns {any[]} */
function identity(resource) {
  const instance = resource["service.instance.id"];
  const pid = resource["process.pid"];
  const host = ["host.id", "host.name", "container.id"].map((key) => resource[key]).find((value) => typeof value === "string");
  if (typeof instance === "string") return ["instance", instance, String(pid ?? "")];
  if (host !== undefined && /^\d+$/.test(String(pid))) return ["host", host, String(pid)];
  return ["resource", ...Object.entries(resource).map((pair) => JSON.stringify(pair)).sort()];
}

/**
 * @param {any} request with `resourceSpans` or, from Tempo, `batches`
 * @param {LeftOut} left
 * @param {FileProcesses} processes of the file
 * @returns {Generator<any>} events
 */
export function* eventsOfOtlp(request, left, processes) {
  const name = "resourceSpans" in request ? "resourceSpans" : "batches";
  for (const [r, given] of listAt(request[name], name).entries()) {
    const path = `${name}[${r}]`;
    const resourceSpans = objectAt(given, path);
    const { values, types } = attributes(objectAt(resourceSpans.resource, `${path}.resource`).attributes, `${path}.resource`);
    const process = processes.find(values, types);
    // In an export, our server writes how much retention removed as attributes of the resource.
    const [events, spans] = ["events", "spans"].map((what) => values[`livespan.evicted.${what}`]);
    if (events !== undefined) yield { type: "missing", evicted: { events, spans: spans ?? null }, incomplete: null };
    // From a .NET process, a span of length zero is open, unless the process sends ended spans only.
    const isEmptyOpen = values["telemetry.sdk.language"] === "dotnet" && !process.endedOnly;
    const seen = { isEmptyOpen, hasOpen: false, hasLong: false };
    const scopes = resourceSpans.scopeSpans != null ? "scopeSpans" : "instrumentationLibrarySpans";
    for (const [s, one] of listAt(resourceSpans[scopes], `${path}.${scopes}`).entries()) {
      const place = `${path}.${scopes}[${s}]`;
      const scopeSpans = objectAt(one, place);
      const { name: scope, version } = objectAt(scopeSpans.scope ?? scopeSpans.instrumentationLibrary, `${place}.scope`);
      const of = { process: process.process, service: process.service, scope: textAt(scope, `${place}.scope.name`), version: textAt(version, `${place}.scope.version`), left, seen };
      for (const [n, span] of listAt(scopeSpans.spans, `${place}.spans`).entries()) {
        const spanEvents = eventsOfSpan(span, of, `${place}.spans[${n}]`);
        if (spanEvents.length > 0) yield* processes.introduce(process);
        yield* spanEvents;
      }
    }
    process.hasSentOpen ||= seen.hasOpen;
    process.endedOnly = !seen.hasOpen && (process.endedOnly || (seen.hasLong && !process.hasSentOpen));
  }
}

/** Names by severity number; the first is number 1. */
const SEVERITIES = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].flatMap((name) => [name, `${name}2`, `${name}3`, `${name}4`]);

/**
 * @param {any} request with `resourceLogs`
 * @param {LeftOut} left
 * @param {FileProcesses} processes of the file
 * @returns {Generator<any>} log records
 */
export function* logsOfOtlp(request, left, processes) {
  for (const [r, given] of listAt(request.resourceLogs, "resourceLogs").entries()) {
    const path = `resourceLogs[${r}]`;
    const resourceLogs = objectAt(given, path);
    const { values, types } = attributes(objectAt(resourceLogs.resource, `${path}.resource`).attributes, `${path}.resource`);
    const process = processes.find(values, types);
    for (const [s, one] of listAt(resourceLogs.scopeLogs, `${path}.scopeLogs`).entries()) {
      const place = `${path}.scopeLogs[${s}]`;
      const scopeLogs = objectAt(one, place);
      const scope = textAt(objectAt(scopeLogs.scope, `${place}.scope`).name, `${place}.scope.name`);
      for (const [n, record] of listAt(scopeLogs.logRecords, `${place}.logRecords`).entries()) {
        const spans = partialSpans(record, resourceLogs.resource, left, processes);
        if (spans !== null) {
          yield* spans;
          continue;
        }
        const log = logOf(record, { process: process.process, service: process.service }, scope, `${place}.logRecords[${n}]`);
        if (log === null) leave(left, "log records without a time");
        else {
          yield* processes.introduce(process);
          yield log;
        }
      }
    }
  }
}

/**
 * Converts the open spans that a partial-span processor sends in the body of a log record.
 * @param {any} record @param {any} resource of the record @param {LeftOut} left @param {FileProcesses} processes
 * @returns {any[] | null} empty unless the record is a heartbeat; null if it is no valid partial-span record
 */
function partialSpans(record, resource, left, processes) {
  const pairs = Array.isArray(record?.attributes) ? record.attributes : [];
  const event = pairs.find((/** @type {any} */ pair) => pair?.key === "partial.event")?.value?.stringValue;
  const body = record?.body?.stringValue;
  if (typeof event !== "string" || typeof body !== "string") return null;
  try {
    const resourceSpans = listAt(parseExactly(body).resourceSpans, "resourceSpans").map((spans) => ({ ...spans, resource: spans?.resource ?? resource }));
    return event === "heartbeat" ? [...eventsOfOtlp({ resourceSpans }, left, processes)] : [];
  } catch {
    return null;
  }
}

/**
 * @param {any} given @param {{process: string, service: string}} of @param {string} scope @param {string} path
 * @returns {any} null if the record has no time
 */
function logOf(given, of, scope, path) {
  const record = objectAt(given, path);
  const time = nanos(record.timeUnixNano, `${path}.timeUnixNano`);
  const observed = nanos(record.observedTimeUnixNano, `${path}.observedTimeUnixNano`);
  const { values, types } = attributes(record.attributes, path);
  const body = anyValue(objectAt(record.body, `${path}.body`), 0).value;
  const severity = severityOf(record.severityNumber);
  const severityText = textAt(record.severityText, `${path}.severityText`);
  const eventName = textAt(record.eventName, `${path}.eventName`);
  const [traceId, spanId] = [id(record.traceId, 16), id(record.spanId, 8)];
  if (time === 0n && observed === 0n) return null;
  return {
    type: "log", traceId: isId(traceId, 32) ? traceId : null, spanId: isId(traceId, 32) && isId(spanId, 16) ? spanId : null, ...of, severityNumber: severity,
    severityText: severityText === "" ? (SEVERITIES[severity - 1] ?? "") : severityText, body, attributes: values, ...typed(types), ...(scope === "" ? {} : { scope }),
    ...(eventName === "" ? {} : { eventName }), ...(observed === 0n ? {} : { observedTimestamp: timestamp(observed) }), timestamp: timestamp(time === 0n ? observed : time),
  };
}

/** @param {any} from a number or a name @returns {number} 0 if invalid */
function severityOf(from) {
  const named = SEVERITIES.indexOf(String(from ?? "").toUpperCase().replace(/^SEVERITY_NUMBER_/, "")) + 1;
  const number = named > 0 ? named : Number(from ?? 0);
  return Number.isInteger(number) && number >= 0 && number <= 24 ? number : 0;
}

/** Attributes that describe the span itself. `spanEvents` maps them to fields and removes them. */
const HIDDEN = ["livespan.panicked", "livespan.cancelled", "livespan.awaiting", "livespan.state", "logfire.span_type", "logfire.pending_parent_id"];

/** @param {any} given @param {{process: string, service: string, scope: string, version: string, left: LeftOut, seen: {isEmptyOpen: boolean, hasOpen: boolean, hasLong: boolean}}} of @param {string} path */
function eventsOfSpan(given, { process, service, scope, version, left, seen }, path) {
  const span = objectAt(given, path);
  const read = {
    ...attributes(span.attributes, path), traceId: id(span.traceId, 16), spanId: id(span.spanId, 8), parent: id(span.parentSpanId, 8),
    start: nanos(span.startTimeUnixNano, `${path}.startTimeUnixNano`), end: nanos(span.endTimeUnixNano, `${path}.endTimeUnixNano`),
    events: listAt(span.events, `${path}.events`).map((event, n) => moment(event, `${path}.events[${n}]`)),
    links: listAt(span.links, `${path}.links`).map((link, n) => linkOf(link, `${path}.links[${n}]`)),
    dropped: { attributes: countOf(span.droppedAttributesCount), events: countOf(span.droppedEventsCount), links: countOf(span.droppedLinksCount) },
    traceState: textAt(span.traceState, `${path}.traceState`), status: status(span.status, `${path}.status`, left), isParentRemote: (Number(span.flags) & 0x300) === 0x300,
    name: textAt(span.name, `${path}.name`), kind: kind(span.kind), process, service, scope, version, isEmptyOpen: seen.isEmptyOpen,
  };
  const made = spanEvents(read, left);
  seen.hasOpen ||= made[0]?.type === "started";
  seen.hasLong ||= made[0]?.type === "ended" && read.end - read.start >= LONG;
  return made;
}

/**
 * @typedef {{values: Record<string, any>, types: Record<string, string>, traceId: string, spanId: string, parent: string, start: bigint, end: bigint, events: any[], links: any[],
 *   dropped?: {attributes: number, events: number, links: number}, traceState?: string, status: {code: string, message?: string, explicit?: boolean}, isParentRemote?: boolean, name: string,
 *   kind: string, process: string, service: string, scope: string, version?: string, isEmptyOpen?: boolean}} FileSpan a span read from any file format; times are in nanoseconds
 */

/**
 * Converts a span of any format to events.
 * @param {FileSpan} span @param {LeftOut} left
 * @returns {any[]} `ended` for a span that has ended, else `started` and perhaps `updated`; empty if an id is invalid
 */
export function spanEvents(span, left) {
  const { traceId, process, service, scope, version = "", traceState = "", events, dropped = { attributes: 0, events: 0, links: 0 }, status: state } = span;
  const said = Object.fromEntries(HIDDEN.map((key) => [key, span.values[key]]));
  const shown = (/** @type {Record<string, any>} */ of) => Object.fromEntries(Object.entries(of).filter(([key]) => !HIDDEN.includes(key)));
  // Logfire announces a started span with a separate span, whose parent is the started span.
  const isPending = said["logfire.span_type"] === "pending_span";
  const spanId = isPending ? span.parent : span.spanId;
  const parent = isPending ? String(said["logfire.pending_parent_id"] ?? "").toLowerCase() : span.parent;
  if (!isId(traceId, 32) || !isId(spanId, 16) || !(span.parent === "" || /^[0-9a-f]{16}$/.test(span.parent))) {
    leave(left, "spans with an id that is not valid");
    return [];
  }
  const links = span.links.filter((link) => isId(link.traceId, 32) && isId(link.spanId, 16));
  leave(left, "links with an id that is not valid", span.links.length - links.length);
  const startTimestamp = timestamp(span.start);
  const common = {
    traceId, spanId, parentSpanId: isId(parent, 16) ? parent : null, name: span.name, kind: span.kind, process, service, scope,
    ...(version === "" ? {} : { scopeVersion: version }), attributes: shown(span.values), ...typed(shown(span.types)), ...(links.length > 0 ? { links } : {}),
    ...(traceState === "" ? {} : { traceState }), ...(span.isParentRemote === true && isId(parent, 16) ? { parentRemote: true } : {}),
  };
  const withEvents = events.length > 0 ? { events } : {};
  const isEmptyOpen = span.isEmptyOpen === true && span.end === span.start;
  if (span.end >= span.start && !isEmptyOpen && !isPending && !("_dd.partial_version" in span.values)) {
    const counted = dropped.attributes + dropped.events + dropped.links > 0 ? { dropped } : {};
    return [{ type: "ended", ...common, startTimestamp, timestamp: timestamp(span.end), ...endOf(state, said), ...withEvents, ...counted }];
  }
  leave(left, "spans without an end");
  const start = { type: "started", ...common, timestamp: startTimestamp, ...(dropped.attributes > 0 ? { dropped: { attributes: dropped.attributes, events: 0, links: 0 } } : {}) };
  // The file has no time for the update. The update gets the newest event's time or, without events, the start time.
  const last = events.map((one) => one.timestamp).reduce((newest, one) => (one > newest ? one : newest), startTimestamp);
  const awaiting = said["livespan.awaiting"];
  const isAwaiting = typeof awaiting === "string" && awaiting !== "";
  const isSet = state.code === "ERROR" || state.explicit === true;
  const news = { ...(isSet ? { status: state } : {}), ...(isAwaiting ? { awaiting: { name: awaiting, since: last } } : {}), ...withEvents };
  return Object.keys(news).length === 0 ? [start] : [start, { type: "updated", traceId, spanId, process, ...news, timestamp: last }];
}

/**
 * Reads the outcome of an ended span from its status and from attributes. OTLP has no field for some outcomes.
 * @param {{code: string, message?: string}} state @param {Record<string, any>} said
 */
function endOf(state, said) {
  const isPanicked = said["livespan.panicked"] === true || said["livespan.state"] === "panicked";
  const isCancelled = said["livespan.cancelled"] === true || said["livespan.state"] === "cancelled";
  if (isPanicked) return { status: state.code === "ERROR" ? state : { code: "ERROR", message: "panicked" }, panicked: true };
  if (isCancelled) return { status: state, cancelled: true };
  return { status: state, ...(said["livespan.state"] === "lost" ? { lost: { reason: "exported" } } : {}) };
}

/** @param {string} text @param {number} digits @returns {boolean} */
function isId(text, digits) {
  return text.length === digits && /^[0-9a-f]+$/.test(text) && !/^0+$/.test(text);
}

/** @param {any} given @param {string} path */
function moment(given, path) {
  const event = objectAt(given, path);
  const { values, types } = attributes(event.attributes, path);
  return { name: textAt(event.name, `${path}.name`), timestamp: timestamp(nanos(event.timeUnixNano, `${path}.timeUnixNano`)), attributes: values, ...typed(types) };
}

/** @param {any} given @param {string} path */
function linkOf(given, path) {
  const link = objectAt(given, path);
  const { values, types } = attributes(link.attributes, path);
  return { traceId: id(link.traceId, 16), spanId: id(link.spanId, 8), attributes: values, ...typed(types) };
}

/** @param {any} from @param {string} path @param {number} [depth] @returns {{values: Record<string, any>, types: Record<string, string>}} */
function attributes(from, path, depth = 0) {
  /** @type {[string, any][]} */
  const values = [];
  /** @type {[string, string][]} */
  const types = [];
  for (const pair of listAt(from, `${path}.attributes`)) {
    const key = typeof pair?.key === "string" ? pair.key : "";
    const { value, type } = anyValue(pair?.value, depth);
    values.push([key, value]);
    if (type !== "") types.push([key, type]);
  }
  // `Object.fromEntries` is safe for the key "__proto__"; an assignment is not.
  return { values: Object.fromEntries(values), types: Object.fromEntries(types) };
}

/**
 * @param {any} from @param {number} depth
 * @returns {{value: any, type: string}} `type` is set only if JSON cannot express it; an unset value is null
 */
function anyValue(from, depth) {
  if (from === null || typeof from !== "object" || depth > VALUE_DEPTH_MAX) return { value: null, type: "" };
  if (from.stringValue != null) return { value: String(from.stringValue), type: "" };
  if (from.boolValue != null) return { value: from.boolValue === true || from.boolValue === "true", type: "" };
  if (from.intValue != null) return integer(from.intValue);
  if (from.doubleValue != null) return double(from.doubleValue);
  if (from.bytesValue != null) {
    const bytes = hexOfBase64(String(from.bytesValue));
    return bytes === null ? { value: String(from.bytesValue), type: "" } : { value: bytes, type: "bytes" };
  }
  if (from.arrayValue != null) {
    const items = listAt(from.arrayValue.values, "arrayValue.values").map((one) => anyValue(one, depth + 1));
    const type = items.find((item) => item.type !== "")?.type ?? "";
    return { value: items.map((item) => item.value), type: type === "" ? "" : `${type}[]` };
  }
  if (from.kvlistValue != null) return { value: attributes(from.kvlistValue.values, "kvlistValue", depth + 1).values, type: "" };
  return { value: null, type: "" };
}

/** @param {any} from a number, or text if a number cannot hold it @returns {{value: any, type: string}} */
function integer(from) {
  if (!/^-?\d{1,20}$/.test(String(from))) return { value: String(from), type: "" };
  const value = BigInt(String(from));
  return value <= SAFE && value >= -SAFE ? { value: Number(value), type: "" } : { value: String(value), type: "int" };
}

/** @param {any} from @returns {{value: any, type: string}} */
function double(from) {
  const value = Number(from);
  return Number.isFinite(value) ? { value, type: "double" } : { value: String(from), type: "double" };
}

/** @param {any} given @param {string} path @param {LeftOut} left */
function status(given, path, left) {
  const from = objectAt(given, path);
  const code = CODES.get(String(from.code ?? "UNSET").toUpperCase().replace(/^STATUS_CODE_/, ""));
  if (code === undefined) leave(left, "status codes that OTLP does not have");
  const message = textAt(from.message, `${path}.message`);
  if (code === "ERROR") return { code, ...(message === "" ? {} : { message }) };
  return code === "OK" ? { code, explicit: true } : { code: "OK" };
}

/** @param {any} from @returns {string} */
function kind(from) {
  const name = String(from ?? "").toUpperCase().replace(/^SPAN_KIND_/, "");
  return KINDS.includes(name) ? name : (KINDS[Number(name)] ?? "INTERNAL");
}

/** @param {any} from @param {string} path @returns {bigint} */
function nanos(from, path) {
  if (isEmpty(from)) return 0n;
  const digits = typeof from === "number" && Number.isFinite(from) ? BigInt(Math.round(from)).toString() : String(from);
  const time = /^\d{1,20}$/.test(digits) ? BigInt(digits) : LAST + 1n;
  if (time > LAST) throw new Malformed(`${path} is not a time: ${JSON.stringify(from)?.slice(0, 40)}`);
  return time;
}

/** @param {bigint} time nanoseconds since 1970 @returns {string} */
export function timestamp(time) {
  const seconds = time / 1_000_000_000n;
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${String(time % 1_000_000_000n).padStart(9, "0")}Z`;
}

/**
 * @param {any} from in hex, as OTLP writes it, or in base64, as protobuf's own JSON does @param {number} bytes
 * @returns {string} in hex; unchanged if it is neither; "?" if the value is not a string
 */
function id(from, bytes) {
  if (isEmpty(from)) return "";
  if (typeof from !== "string") return "?";
  if (/^[0-9a-fA-F]+$/.test(from)) return from.toLowerCase();
  const decoded = hexOfBase64(from);
  return decoded !== null && decoded.length === 2 * bytes ? decoded : from;
}

/** @param {string} text base64 of either alphabet @returns {string | null} in hex */
function hexOfBase64(text) {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) return null;
  try {
    return [...atob(text.replaceAll("-", "+").replaceAll("_", "/"))].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  } catch {
    return null;
  }
}

/** @param {any} from @returns {number} */
function countOf(from) {
  return Number.isFinite(Number(from)) ? Number(from) : 0;
}

/** @param {Record<string, string>} types */
export function typed(types) {
  return Object.keys(types).length > 0 ? { attributeTypes: types } : {};
}

/** @param {any} from @returns {boolean} */
function isEmpty(from) {
  return from === undefined || from === null || from === "";
}

/** @param {any} from @param {string} path @returns {string} */
function textAt(from, path) {
  if (isEmpty(from)) return "";
  if (typeof from !== "string") throw new Malformed(`${path} is not text`);
  return from;
}

/** @param {any} from @param {string} path @returns {any[]} */
export function listAt(from, path) {
  if (isEmpty(from)) return [];
  if (!Array.isArray(from)) throw new Malformed(`${path} is not a list`);
  return from;
}

/** @param {any} from @param {string} path @returns {any} */
function objectAt(from, path) {
  if (isEmpty(from)) return {};
  if (typeof from !== "object" || Array.isArray(from)) throw new Malformed(`${path} is not an object`);
  return from;
}

// @ts-check
// OTLP/JSON (`ExportTraceServiceRequest`, as exporters and the collector's file exporter write it) as our events, by the
// rules of protobuf's JSON: a field that is absent, one that is null and one with its default value are the same; an
// enum is a number or a name; 64-bit integers are numbers or texts. `tests/otlp.json` has the cases.
// Must never trust what it reads: a file comes from anywhere. What is left out is counted.

/** A file is not what it seems; the message says where and why. */
export class Malformed extends Error {}

const KINDS = ["INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
/** By name and by number, the names with or without what protobuf puts before them. */
const CODES = new Map([["0", "UNSET"], ["UNSET", "UNSET"], ["1", "OK"], ["OK", "OK"], ["2", "ERROR"], ["ERROR", "ERROR"]]);
/** Values nested deeper are left empty. */
const VALUE_DEPTH_MAX = 60;
const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
/** The last moment that 64 bits of nanoseconds hold, in the year 2554. */
const LAST = 2n ** 64n - 1n;

/** @typedef {Map<string, number>} LeftOut how many of what was not taken; `leave` counts */

/** @param {LeftOut} left @param {string} what in the plural, and what was done with it @param {number} [count] */
export function leave(left, what, count = 1) {
  if (count > 0) left.set(what, (left.get(what) ?? 0) + count);
}

/**
 * @param {any} request with `resourceSpans`, or what Tempo calls `batches`
 * @param {LeftOut} left
 * @param {number} [fileCount] of requests before it in the file: processes of two requests must not be mixed up
 * @returns {Generator<any>} events
 */
export function* eventsOfOtlp(request, left, fileCount = 0) {
  const name = "resourceSpans" in request ? "resourceSpans" : "batches";
  for (const [r, given] of listAt(request[name], name).entries()) {
    const path = `${name}[${r}]`;
    const resourceSpans = objectAt(given, path);
    const { values, types } = attributes(objectAt(resourceSpans.resource, `${path}.resource`).attributes, `${path}.resource`);
    const service = String(values["service.name"] ?? "unknown_service");
    const process = `file-${fileCount}-${r}`;
    yield { type: "process", process, service, resource: values, ...typed(types) };
    // As our own server says in an export what retention had let go of.
    const [events, spans] = ["events", "spans"].map((what) => values[`livespan.evicted.${what}`]);
    if (events !== undefined) yield { type: "missing", evicted: { events, spans: spans ?? null }, incomplete: null };
    const scopes = resourceSpans.scopeSpans != null ? "scopeSpans" : "instrumentationLibrarySpans";
    for (const [s, one] of listAt(resourceSpans[scopes], `${path}.${scopes}`).entries()) {
      const place = `${path}.${scopes}[${s}]`;
      const scopeSpans = objectAt(one, place);
      const { name: scope, version } = objectAt(scopeSpans.scope ?? scopeSpans.instrumentationLibrary, `${place}.scope`);
      const of = { process, service, scope: textAt(scope, `${place}.scope.name`), version: textAt(version, `${place}.scope.version`), left };
      for (const [n, span] of listAt(scopeSpans.spans, `${place}.spans`).entries()) yield spanOf(span, of, `${place}.spans[${n}]`);
    }
  }
}

/** @param {any} given @param {{process: string, service: string, scope: string, version: string, left: LeftOut}} of @param {string} path */
function spanOf(given, { process, service, scope, version, left }, path) {
  const span = objectAt(given, path);
  const { values, types } = attributes(span.attributes, path);
  const started = nanos(span.startTimeUnixNano, `${path}.startTimeUnixNano`);
  const ended = nanos(span.endTimeUnixNano, `${path}.endTimeUnixNano`);
  // Zero is what an end is that was not set. Only where it was written, and the span began then, it is 1970.
  const isOpen = ended === 0n && (isEmpty(span.endTimeUnixNano) || started > 0n);
  if (isOpen) leave(left, "spans without an end, which are shown as running");
  const startTimestamp = timestamp(started);
  const moments = listAt(span.events, `${path}.events`).map((event, n) => moment(event, `${path}.events[${n}]`));
  const links = listAt(span.links, `${path}.links`).map((link, n) => linkOf(link, `${path}.links[${n}]`));
  const dropped = { attributes: countOf(span.droppedAttributesCount), events: countOf(span.droppedEventsCount), links: countOf(span.droppedLinksCount) };
  const parent = id(span.parentSpanId, 8);
  // As our own server says in an export what OTLP has no field for.
  const state = values["livespan.state"];
  const said = state === "panicked" || state === "cancelled" ? { [state]: true } : state === "lost" ? { lost: { reason: "exported" } } : {};
  const traceState = textAt(span.traceState, `${path}.traceState`);
  return {
    type: isOpen ? "started" : "ended", traceId: id(span.traceId, 16), spanId: id(span.spanId, 8),
    parentSpanId: /^0*$/.test(parent) ? null : parent, name: textAt(span.name, `${path}.name`), kind: kind(span.kind), process, service, scope,
    ...(version === "" ? {} : { scopeVersion: version }), attributes: values, ...typed(types),
    ...(isOpen ? { timestamp: startTimestamp } : { startTimestamp, timestamp: timestamp(ended), status: status(span.status, `${path}.status`, left), ...said }),
    ...(moments.length > 0 ? { events: moments } : {}), ...(links.length > 0 ? { links } : {}),
    ...(traceState === "" ? {} : { traceState }),
    ...((Number(span.flags) & 0x300) === 0x300 ? { parentRemote: true } : {}),
    ...(dropped.attributes + dropped.events + dropped.links > 0 ? { dropped } : {}),
  };
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
  // Not by assignment: a key may be "__proto__".
  return { values: Object.fromEntries(values), types: Object.fromEntries(types) };
}

/** @param {any} from @param {number} depth @returns {{value: any, type: string}} the type where JSON does not tell it; a value that was not set is null */
function anyValue(from, depth) {
  if (from === null || typeof from !== "object" || depth > VALUE_DEPTH_MAX) return { value: null, type: "" };
  if (from.stringValue != null) return { value: String(from.stringValue), type: "" };
  if (from.boolValue != null) return { value: from.boolValue === true || from.boolValue === "true", type: "" };
  if (from.intValue != null) return integer(from.intValue);
  if (from.doubleValue != null) return double(from.doubleValue);
  if (from.bytesValue != null) return { value: String(from.bytesValue), type: "bytes" };
  if (from.arrayValue != null) {
    const items = listAt(from.arrayValue.values, "arrayValue.values").map((one) => anyValue(one, depth + 1));
    const type = items.find((item) => item.type !== "")?.type ?? "";
    return { value: items.map((item) => item.value), type: type === "" ? "" : `${type}[]` };
  }
  if (from.kvlistValue != null) return { value: attributes(from.kvlistValue.values, "kvlistValue", depth + 1).values, type: "" };
  return { value: null, type: "" };
}

/** @param {any} from a number, or a text where a number could not hold it @returns {{value: any, type: string}} */
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
  if (time > LAST) throw new Malformed(`${path} is no time: ${JSON.stringify(from)?.slice(0, 40)}`);
  return time;
}

/** @param {bigint} time nanoseconds since 1970 @returns {string} */
export function timestamp(time) {
  const seconds = time / 1_000_000_000n;
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${String(time % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** @param {any} from in hex, as OTLP writes it, or in base64, as protobuf's own JSON does @param {number} bytes @returns {string} in hex; what is neither is told later */
function id(from, bytes) {
  const text = typeof from === "string" ? from : "";
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(text) || /^[0-9a-fA-F]+$/.test(text) || text.length !== Math.ceil(bytes / 3) * 4) return text.toLowerCase();
  const decoded = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return decoded.length === bytes ? [...decoded].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("") : text;
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
  if (typeof from !== "string") throw new Malformed(`${path} is no text`);
  return from;
}

/** @param {any} from @param {string} path @returns {any[]} */
export function listAt(from, path) {
  if (isEmpty(from)) return [];
  if (!Array.isArray(from)) throw new Malformed(`${path} is no list`);
  return from;
}

/** @param {any} from @param {string} path @returns {any} */
function objectAt(from, path) {
  if (isEmpty(from)) return {};
  if (typeof from !== "object" || Array.isArray(from)) throw new Malformed(`${path} is no object`);
  return from;
}

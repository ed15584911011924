// @ts-check
// Converts files of Jaeger and Zipkin to our events. Must never trust its input. Counts the spans, links and
// warnings that are left out.

import { Malformed, leave, listAt, spanEvents, timestamp, typed } from "./otlp.mjs";

/** @typedef {import("./otlp.mjs").LeftOut} LeftOut */
/** @typedef {import("./otlp.mjs").FileProcesses} FileProcesses */

/**
 * Reads traces that Jaeger's page saves or its query service returns: spans, and the processes that they refer to.
 * @param {any} value `{"data": [trace]}`, or one trace
 * @param {LeftOut} left
 * @param {FileProcesses} processes of the file
 * @returns {Generator<any>} events
 */
export function* eventsOfJaeger(value, left, processes) {
  for (const [t, trace] of ("data" in value ? listAt(value.data, "data") : [value]).entries()) {
    const own = new Map(Object.entries(trace?.processes ?? {}).map(([key, process]) => [key, jaegerProcess(process, processes)]));
    for (const [n, span] of listAt(trace?.spans, `data[${t}].spans`).entries()) {
      const path = `data[${t}].spans[${n}]`;
      if (span === null || typeof span !== "object") throw new Malformed(`${path} is not a span`);
      const process = own.get(span.processID) ?? jaegerProcess(span.process, processes);
      const events = jaegerSpan(span, { process: process.process, service: process.service }, left, path);
      if (events.length > 0) yield* processes.introduce(process);
      yield* events;
    }
  }
}

/** @param {any} process @param {FileProcesses} processes */
function jaegerProcess(process, processes) {
  const { values, types } = tagsOf(process?.tags);
  return processes.find({ "service.name": textOf(process?.serviceName), ...values }, types);
}

/** @param {any} span @param {{process: string, service: string}} of @param {LeftOut} left @param {string} path */
function jaegerSpan(span, of, left, path) {
  const { values, types } = tagsOf(span.tags);
  const references = listAt(span.references, `${path}.references`).map((one) => ({ type: one?.refType, traceId: hex(one?.traceID, 32), spanId: hex(one?.spanID, 16) }));
  const traceId = hex(span.traceID, 32);
  const at = references.findIndex((one) => one.type === "CHILD_OF" && one.traceId === traceId);
  const parent = at >= 0 ? references[at].spanId : hex(span.parentSpanID, 16);
  const links = references.filter((_, index) => index !== at).map((one) => ({ traceId: one.traceId, spanId: one.spanId, attributes: {} }));
  const start = micros(span.startTime, `${path}.startTime`);
  const { "span.kind": kind, error, "otel.status_code": code, "otel.status_description": message, "otel.scope.name": scope, "otel.library.name": library, ...rest } = values;
  const failed = error === true || error === "true" || code === "ERROR";
  leave(left, "warnings of Jaeger", listAt(span.warnings, `${path}.warnings`).length);
  const moments = listAt(span.logs, `${path}.logs`).map((log, n) => {
    const { values: { event, ...fields }, types: own } = tagsOf(log?.fields);
    return { name: textOf(event) || textOf(fields.message) || "log", timestamp: timestamp(micros(log?.timestamp, `${path}.logs[${n}].timestamp`)), attributes: fields, ...typed(own) };
  });
  return spanEvents({
    values: rest, types: Object.fromEntries(Object.entries(types).filter(([key]) => key in rest)), traceId, spanId: hex(span.spanID, 16), parent, name: textOf(span.operationName), kind: kindOf(kind), ...of,
    scope: textOf(scope ?? library), start, end: start + micros(span.duration, `${path}.duration`), events: moments, links,
    status: failed ? { code: "ERROR", ...(textOf(message) === "" ? {} : { message: textOf(message) }) } : code === "OK" ? { code: "OK", explicit: true } : { code: "OK" },
  }, left);
}

/** @param {any} tags `[{key, type, value}]` @returns {{values: Record<string, any>, types: Record<string, string>}} */
function tagsOf(tags) {
  const list = listAt(tags, "tags").filter((tag) => typeof tag?.key === "string");
  const isWide = (/** @type {any} */ tag) => tag.type === "int64" && typeof tag.value === "string";
  return {
    values: Object.fromEntries(list.map((tag) => [tag.key, tag.value ?? null])),
    types: Object.fromEntries(list.filter((tag) => isWide(tag) || tag.type === "float64").map((tag) => [tag.key, tag.type === "int64" ? "int" : "double"])),
  };
}

/**
 * Reads Zipkin's second format, a list of spans.
 * @param {any[]} spans
 * @param {LeftOut} left
 * @param {FileProcesses} processes of the file
 * @returns {Generator<any>} events
 */
export function* eventsOfZipkin(spans, left, processes) {
  for (const [n, span] of spans.entries()) {
    if (span.timestamp == null) {
      leave(left, "spans without a start");
      continue;
    }
    const process = processes.find({ "service.name": textOf(span.localEndpoint?.serviceName) || "unknown_service" });
    const events = zipkinSpan(span, { process: process.process, service: process.service }, left, `[${n}]`);
    if (events.length > 0) yield* processes.introduce(process);
    yield* events;
  }
}

/** @param {any} span @param {{process: string, service: string}} of @param {LeftOut} left @param {string} path */
function zipkinSpan(span, of, left, path) {
  const own = hex(span.id, 16);
  const isShared = span.shared === true;
  if (isShared) leave(left, "spans of servers with the id of their client, which got one of their own");
  const parent = isShared ? own : hex(span.parentId, 16);
  const { error, ...tags } = span.tags ?? {};
  const start = micros(span.timestamp, `${path}.timestamp`);
  const end = span.duration == null ? 0n : start + micros(span.duration, `${path}.duration`);
  const moments = listAt(span.annotations, `${path}.annotations`).map((one, n) => ({ name: textOf(one?.value), timestamp: timestamp(micros(one?.timestamp, `${path}.annotations[${n}].timestamp`)), attributes: {} }));
  const remote = Object.entries(span.remoteEndpoint ?? {}).map(([key, value]) => [`remoteEndpoint.${key}`, value]);
  return spanEvents({
    values: { ...tags, ...Object.fromEntries(remote) }, types: {}, traceId: hex(span.traceId, 32), spanId: isShared ? sibling(own) : own, parent, name: textOf(span.name), kind: kindOf(span.kind), ...of,
    scope: "", start, end, events: moments, links: [], status: error === undefined ? { code: "OK" } : { code: "ERROR", ...(textOf(error) === "" ? {} : { message: textOf(error) }) },
  }, left);
}

/** @param {string} id @returns {string} a different id, always the same for the same input */
function sibling(id) {
  if (!/^[0-9a-f]{16}$/.test(id)) return id;
  return ((BigInt(`0x${id || 0}`) ^ 0x8000000000000000n) & 0xffffffffffffffffn).toString(16).padStart(16, "0");
}

/**
 * @param {any} from @param {number} digits
 * @returns {string} padded with the leading zeros that these formats omit; "" if there is no id
 */
function hex(from, digits) {
  const text = textOf(from).toLowerCase();
  return text === "" ? "" : text.padStart(digits, "0");
}

/** @param {any} from microseconds @param {string} path @returns {bigint} nanoseconds */
function micros(from, path) {
  const value = Number(from ?? 0);
  if (!Number.isFinite(value) || value < 0 || value > 18_446_744_073_709_551) throw new Malformed(`${path} is not a time: ${JSON.stringify(from)?.slice(0, 40)}`);
  return BigInt(Math.round(value)) * 1_000n;
}

/** @param {any} from @returns {string} */
function kindOf(from) {
  const kind = textOf(from).toUpperCase();
  return ["SERVER", "CLIENT", "PRODUCER", "CONSUMER"].includes(kind) ? kind : "INTERNAL";
}

/** @param {any} from @returns {string} */
function textOf(from) {
  return typeof from === "string" ? from : "";
}

// @ts-check
// OTLP/JSON (`ExportTraceServiceRequest`, as exporters and the collector's file exporter write it) as our events.
// Must never trust what it reads: a file comes from anywhere.

/** A file is not what it seems; the message says where and why. */
export class Malformed extends Error {}

const KINDS = ["INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
/** Values nested deeper are left empty. */
const VALUE_DEPTH_MAX = 60;
const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * @param {any} request with `resourceSpans`
 * @param {number} fileCount of requests before it in the file: processes of two requests must not be mixed up
 * @returns {Generator<any>} events
 */
export function* eventsOfOtlp(request, fileCount = 0) {
  for (const [r, resourceSpans] of listAt(request.resourceSpans, "resourceSpans").entries()) {
    const path = `resourceSpans[${r}]`;
    const { values, types } = attributes(resourceSpans?.resource?.attributes, `${path}.resource`);
    const service = String(values["service.name"] ?? "unknown_service");
    const process = `file-${fileCount}-${r}`;
    yield { type: "process", process, service, resource: values, ...typed(types) };
    for (const [s, scopeSpans] of listAt(resourceSpans?.scopeSpans, `${path}.scopeSpans`).entries()) {
      const scope = { process, service, scope: textOf(scopeSpans?.scope?.name), version: textOf(scopeSpans?.scope?.version) };
      for (const [n, span] of listAt(scopeSpans?.spans, `${path}.scopeSpans[${s}].spans`).entries()) {
        yield spanOf(span, scope, `${path}.scopeSpans[${s}].spans[${n}]`);
      }
    }
  }
}

/** @param {any} span @param {{process: string, service: string, scope: string, version: string}} of @param {string} path */
function spanOf(span, { process, service, scope, version }, path) {
  if (span === null || typeof span !== "object") throw new Malformed(`${path} is no span`);
  const { values, types } = attributes(span.attributes, path);
  const ended = nanos(span.endTimeUnixNano, `${path}.endTimeUnixNano`);
  const startTimestamp = timestamp(nanos(span.startTimeUnixNano, `${path}.startTimeUnixNano`));
  const isOpen = ended === 0n;
  const moments = listAt(span.events ?? [], `${path}.events`).map((event, n) => {
    const own = attributes(event?.attributes, `${path}.events[${n}]`);
    return { name: textOf(event?.name), timestamp: timestamp(nanos(event?.timeUnixNano, `${path}.events[${n}].timeUnixNano`)), attributes: own.values, ...typed(own.types) };
  });
  const links = listAt(span.links ?? [], `${path}.links`).map((link, n) => {
    const own = attributes(link?.attributes, `${path}.links[${n}]`);
    return { traceId: id(link?.traceId), spanId: id(link?.spanId), attributes: own.values, ...typed(own.types) };
  });
  const dropped = { attributes: countOf(span.droppedAttributesCount), events: countOf(span.droppedEventsCount), links: countOf(span.droppedLinksCount) };
  const parent = id(span.parentSpanId ?? "");
  return {
    type: isOpen ? "started" : "ended", traceId: id(span.traceId), spanId: id(span.spanId),
    parentSpanId: parent === "" || /^0+$/.test(parent) ? null : parent, name: textOf(span.name), kind: kind(span.kind), process, service, scope,
    ...(version === "" ? {} : { scopeVersion: version }), attributes: values, ...typed(types),
    ...(isOpen ? { timestamp: startTimestamp } : { startTimestamp, timestamp: timestamp(ended), status: status(span.status) }),
    ...(moments.length > 0 ? { events: moments } : {}), ...(links.length > 0 ? { links } : {}),
    ...(typeof span.traceState === "string" && span.traceState !== "" ? { traceState: span.traceState } : {}),
    ...((Number(span.flags) & 0x300) === 0x300 ? { parentRemote: true } : {}),
    ...(dropped.attributes + dropped.events + dropped.links > 0 ? { dropped } : {}),
  };
}

/** @param {any} from @param {string} path @returns {{values: Record<string, any>, types: Record<string, string>}} */
function attributes(from, path) {
  /** @type {[string, any][]} */
  const values = [];
  /** @type {[string, string][]} */
  const types = [];
  for (const pair of listAt(from ?? [], `${path}.attributes`)) {
    const key = textOf(pair?.key);
    const { value, type } = anyValue(pair?.value, 0);
    values.push([key, value]);
    if (type !== "") types.push([key, type]);
  }
  // Not by assignment: a key may be "__proto__".
  return { values: Object.fromEntries(values), types: Object.fromEntries(types) };
}

/** @param {any} from @param {number} depth @returns {{value: any, type: string}} the type where JSON does not tell it */
function anyValue(from, depth) {
  if (from === null || typeof from !== "object" || depth > VALUE_DEPTH_MAX) return { value: "", type: "" };
  if ("stringValue" in from) return { value: textOf(from.stringValue), type: "" };
  if ("boolValue" in from) return { value: from.boolValue === true, type: "" };
  if ("intValue" in from) return integer(from.intValue);
  if ("doubleValue" in from) return double(from.doubleValue);
  if ("bytesValue" in from) return { value: textOf(from.bytesValue), type: "bytes" };
  const nested = (/** @type {any} */ one) => anyValue(one, depth + 1);
  if (Array.isArray(from.arrayValue?.values)) {
    const items = from.arrayValue.values.map(nested);
    const type = items.find((/** @type {any} */ item) => item.type !== "")?.type ?? "";
    return { value: items.map((/** @type {any} */ item) => item.value), type: type === "" ? "" : `${type}[]` };
  }
  if (Array.isArray(from.kvlistValue?.values)) return { value: attributes(from.kvlistValue.values, "kvlistValue").values, type: "" };
  return { value: "", type: "" };
}

/** @param {any} from @returns {{value: any, type: string}} */
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

/** @param {any} from @returns {any} */
function status(from) {
  const code = from?.code;
  if (code === 2 || code === "STATUS_CODE_ERROR") return { code: "ERROR", ...(textOf(from.message) === "" ? {} : { message: textOf(from.message) }) };
  return code === 1 || code === "STATUS_CODE_OK" ? { code: "OK", explicit: true } : { code: "OK" };
}

/** @param {any} from @returns {string} */
function kind(from) {
  return typeof from === "string" ? from.replace(/^SPAN_KIND_/, "") : (KINDS[Number(from)] ?? "INTERNAL");
}

/** @param {any} from @param {string} path @returns {bigint} */
function nanos(from, path) {
  if (from === undefined || from === null || from === "") return 0n;
  // A double can hold no nanoseconds since 1970, but some write one.
  const digits = typeof from === "number" && Number.isFinite(from) ? BigInt(Math.round(from)).toString() : String(from);
  if (!/^\d{1,19}$/.test(digits)) throw new Malformed(`${path} is no time: ${JSON.stringify(from)?.slice(0, 40)}`);
  return BigInt(digits);
}

/** @param {bigint} time nanoseconds since 1970 @returns {string} */
function timestamp(time) {
  const seconds = time / 1_000_000_000n;
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${String(time % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** @param {any} from @returns {string} an id in hex; base64, which protobuf's own JSON has, is none and is told later */
function id(from) {
  return textOf(from).toLowerCase();
}

/** @param {any} from @returns {number} */
function countOf(from) {
  return Number.isFinite(Number(from)) ? Number(from) : 0;
}

/** @param {Record<string, string>} types */
function typed(types) {
  return Object.keys(types).length > 0 ? { attributeTypes: types } : {};
}

/** @param {any} from @returns {string} */
function textOf(from) {
  return typeof from === "string" ? from : "";
}

/** @param {any} from @param {string} path @returns {any[]} */
function listAt(from, path) {
  if (!Array.isArray(from)) throw new Malformed(`${path} is no list`);
  return from;
}

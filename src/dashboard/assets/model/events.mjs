// @ts-check
// Converts the text of a file to events. Reads logs with one event per line, OTLP/JSON (one document, or one request
// per line), trace snapshots, and files saved by Tempo, Jaeger and Zipkin.
// Must never trust its input, nor drop a part of a file silently: errors name the line or the field, and everything
// left out is counted.

import { parseExactly } from "./exact-json.mjs";
import { eventsOfJaeger, eventsOfZipkin } from "./foreign-traces.mjs";
import { FileProcesses, Malformed, eventsOfOtlp, leave, listAt, logsOfOtlp } from "./otlp.mjs";

/**
 * Maximum size of a document that is not in lines: it is parsed as a single string, and browsers limit the
 * length of a string.
 */
export const DOCUMENT_MAX = 256 * 1024 * 1024;
/** If the first line is longer than this, the file is read as one document. */
const FIRST_LINE_MAX = 1024 * 1024;
/** Deeper values are rejected, so that recursive code can walk any event. */
const DEPTH_MAX = 40;
/** Maximum number and length of the unknown field names in an error message. */
const FIELDS_NAMED_MAX = 5;
const FIELD_NAME_MAX = 30;
const SPAN_TYPES = new Set(["started", "ended", "updated", "log"]);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/** Reads the text in pieces and yields the events of each complete line. */
export class EventReader {
  constructor() {
    this.line = 0;
    /** The incomplete last line, or the whole text of a document. @type {string[]} */
    this.pieces = [];
    this.length = 0;
    /** @type {"unknown" | "lines" | "document"} */
    this.form = "unknown";
    this.processes = new FileProcesses();
    /** Counts of everything left out. @type {import("./otlp.mjs").LeftOut} */
    this.left = new Map();
    /** Name of the tool that wrote the file, empty for our own or OpenTelemetry's formats. */
    this.source = "";
  }

  /** @param {string} piece @returns {Generator<any>} events */
  *read(piece) {
    this.keep(piece);
    if (this.form === "document" || !piece.includes("\n")) {
      if (this.form === "unknown" && this.length > FIRST_LINE_MAX) this.form = "document";
      return;
    }
    const lines = this.pieces.join("").split("\n");
    this.pieces = [];
    this.length = 0;
    for (const [index, line] of lines.slice(0, -1).entries()) {
      if (this.form === "unknown" && line.trim() !== "" && !isWhole(line)) {
        // The first line is no complete value, so the file is one document over many lines.
        this.form = "document";
        return this.keep(lines.slice(index).join("\n"));
      }
      yield* this.eventsOfLine(line);
    }
    this.keep(lines[lines.length - 1]);
  }

  /** @returns {Generator<any>} the events of the remaining text */
  *end() {
    yield* this.eventsOfLine(this.pieces.join(""));
    if (this.form === "unknown") throw new Malformed("the file is empty");
  }

  /** @param {string} piece */
  keep(piece) {
    this.length += piece.length;
    if (this.length > DOCUMENT_MAX) throw new Malformed(`a JSON document of more than ${DOCUMENT_MAX / 1024 / 1024} MB cannot be parsed as a whole; JSON lines have no limit`);
    this.pieces.push(piece);
  }

  /** @param {string} line @returns {Generator<any>} */
  *eventsOfLine(line) {
    this.line += 1;
    if (line.trim() === "") return;
    const value = this.parse(line);
    if (this.form === "unknown") this.form = "lines";
    try {
      yield* this.eventsOfValue(value);
    } catch (error) {
      // A document is one value over many lines, so only errors of events in JSON lines get a line number here. Errors
      // within OTLP name the path of the field.
      if (!(error instanceof Malformed) || this.form === "document") throw error;
      throw new Malformed(`line ${this.line}: ${error.message}`);
    }
  }

  /** @param {string} text @returns {any} */
  parse(text) {
    try {
      return parseExactly(text);
    } catch (error) {
      const message = String(/** @type {Error} */ (error).message);
      // Browsers report the error's place as a position, or as line and column.
      const position = /position (\d+)/.exec(message);
      const before = position !== null ? text.slice(0, Number(position[1])).split("\n").length - 1 : Number(/line (\d+)/.exec(message)?.[1] ?? 1) - 1;
      throw new Malformed(`line ${this.line + before}: not JSON: ${message.slice(0, 120)}`);
    }
  }

  /** @param {any} value @returns {Generator<any>} */
  *eventsOfValue(value) {
    if (Array.isArray(value)) yield* this.eventsOfList(value);
    else if (value === null || typeof value !== "object") throw new Malformed("is neither an event nor a request of OTLP");
    else if (isSignal(value)) yield* this.eventsOfSignals(value);
    // A response of Tempo, or of Jaeger's version 3.
    else if (isObject(value.trace)) yield* this.eventsOfValue(value.trace);
    else if (isObject(value.result)) yield* this.eventsOfValue(value.result);
    else if (Array.isArray(value.spans) && Array.isArray(value.processes)) yield* eventsOfSnapshot(value);
    else if (Array.isArray(value.data) || (Array.isArray(value.spans) && "traceID" in value)) {
      this.source = "Jaeger";
      for (const event of eventsOfJaeger(value, this.left, this.processes)) yield checked(event);
    } else yield checked(value);
  }

  /**
   * Reads a request as a collector writes it: with spans, log records or metrics.
   * @param {any} value @returns {Generator<any>}
   */
  *eventsOfSignals(value) {
    if ("batches" in value) this.source = "Tempo";
    if ("resourceSpans" in value || "batches" in value) for (const event of eventsOfOtlp(value, this.left, this.processes)) yield checked(event);
    // Our server adds this field at the end of an export that it could not complete.
    if (value.incomplete != null) yield { type: "missing", evicted: null, incomplete: value.incomplete };
    for (const event of logsOfOtlp(value, this.left, this.processes)) yield checked(event);
    leave(this.left, "metrics", counted(value.resourceMetrics, "scopeMetrics", "metrics"));
    leave(this.left, "profiles", counted(value.resourceProfiles, "scopeProfiles", "profiles"));
  }

  /** @param {any[]} values @returns {Generator<any>} */
  *eventsOfList(values) {
    const isZipkin = values.every((one) => typeof one?.id === "string" && typeof one?.traceId === "string");
    if (!isZipkin && !values.every((one) => one !== null && typeof one === "object" && isSignal(one))) {
      throw new Malformed("is a list, but its entries are neither Zipkin spans nor OTLP requests");
    }
    if (isZipkin) {
      this.source = "Zipkin";
      for (const event of eventsOfZipkin(values, this.left, this.processes)) yield checked(event);
    } else for (const one of values) yield* this.eventsOfSignals(one);
  }
}

/** @param {any} value a trace snapshot @returns {Generator<any>} */
function* eventsOfSnapshot(value) {
  for (const event of [...value.processes, ...value.spans, ...listAt(value.updates, "updates"), ...listAt(value.logs, "logs")]) yield checked(event);
  // Events that were missing when the snapshot was made are missing from the file.
  const { traceId, incomplete = null } = value;
  const evicted = value.evicted ?? value.summary?.evicted ?? null;
  if (evicted !== null || incomplete !== null) yield { type: "missing", ...(typeof traceId === "string" ? { traceId } : {}), evicted, incomplete };
}

/** @param {any} value @returns {boolean} */
function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

const SIGNALS = ["resourceSpans", "batches", "resourceLogs", "resourceMetrics", "resourceProfiles"];

/** @param {any} value @returns {boolean} whether it is an OTLP request of any kind */
function isSignal(value) {
  return SIGNALS.some((name) => name in value);
}

/**
 * @param {any} resources @param {string} scopes @param {string} items
 * @returns {number} their number; 1 if they cannot be counted
 */
function counted(resources, scopes, items) {
  if (resources == null) return 0;
  if (!Array.isArray(resources)) return 1;
  let count = 0;
  for (const resource of resources) for (const scope of Array.isArray(resource?.[scopes]) ? resource[scopes] : []) count += Array.isArray(scope?.[items]) ? scope[items].length : 0;
  return count;
}

/** @param {string} line @returns {boolean} */
function isWhole(line) {
  try {
    JSON.parse(line);
    return true;
  } catch {
    // A line with both braces of an object is a broken event, not the first line of a document.
    return /^\s*\{.*\}\s*$/s.test(line);
  }
}

/**
 * Checks that the model and the views can use an event without further tests.
 * @param {any} event
 * @returns {any} the same object
 */
function checked(event) {
  if (event === null || typeof event !== "object") throw new Malformed("is not an event");
  if (typeof event.type !== "string") {
    const fields = Object.keys(event).slice(0, FIELDS_NAMED_MAX).map((field) => field.slice(0, FIELD_NAME_MAX));
    throw new Malformed(`is neither an event nor anything of OTLP, Tempo, Jaeger or Zipkin: ${fields.length === 0 ? "it has no fields" : `it has ${fields.join(", ")}`}`);
  }
  if (isDeeper(event, DEPTH_MAX)) throw new Malformed(`the event is nested deeper than ${DEPTH_MAX} levels`);
  if (!SPAN_TYPES.has(event.type)) return event;
  // A log record may belong to no span and to no trace.
  const isOptional = (/** @type {unknown} */ id) => event.type === "log" && id == null;
  if (!isOptional(event.traceId) && !/^[0-9a-f]{32}$/.test(event.traceId)) throw new Malformed(`the event has no trace id: ${excerpt(event.traceId)}`);
  if (!isOptional(event.spanId) && !/^[0-9a-f]{16}$/.test(event.spanId)) throw new Malformed(`the event has no span id: ${excerpt(event.spanId)}`);
  for (const key of ["timestamp", ...(event.type === "ended" ? ["startTimestamp"] : [])]) {
    if (!TIME.test(event[key]) || Number.isNaN(Date.parse(event[key]))) throw new Malformed(`the ${key} is not a time: ${excerpt(event[key])}`);
  }
  for (const key of ["attributes", "attributeTypes", "status", "lost", "dropped", "task", "awaiting", "panic"]) {
    if (event[key] != null && (typeof event[key] !== "object" || Array.isArray(event[key]))) throw new Malformed(`the ${key} are no object: ${excerpt(event[key])}`);
  }
  for (const key of ["events", "links"]) {
    const items = event[key];
    if (items != null && (!Array.isArray(items) || items.some((item) => item === null || typeof item !== "object"))) throw new Malformed(`the ${key} are no list of objects`);
  }
  return event;
}

/** @param {any} value @param {number} levels @returns {boolean} */
function isDeeper(value, levels) {
  if (value === null || typeof value !== "object") return false;
  return levels === 0 || Object.values(value).some((one) => isDeeper(one, levels - 1));
}

/** @param {any} value @returns {string} */
function excerpt(value) {
  return (JSON.stringify(value) ?? "none").slice(0, 60);
}

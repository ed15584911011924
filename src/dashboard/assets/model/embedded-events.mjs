// @ts-check
// Reads the data lines of a file that contains both page and data, one JSON value per line. Completes the ends that the
// server shortened (src/http/routes/trace_snapshot/shortened_ends.rs). Must never touch the DOM.

/**
 * @typedef {{version: number, made: string, by: string, traces: number}} AboutFile the version of the format, when the
 *   file was made, by which program, and how many traces it has
 */

/** Reads the text in pieces and returns the events of complete lines. */
export class EmbeddedEvents {
  constructor() {
    this.rest = "";
    /** @type {AboutFile | null} */
    this.about = null;
    /** Number of events so far. */
    this.count = 0;
    /** Starts of spans that have not ended, by id. @type {Map<string, any>} */
    this.starts = new Map();
  }

  /** @param {string} piece @returns {any[]} */
  read(piece) {
    const lines = (this.rest + piece).split("\n");
    this.rest = lines.pop() ?? "";
    const events = [];
    for (const line of lines) {
      const event = this.event(JSON.parse(line));
      if (event !== null) events.push(event);
    }
    return events;
  }

  /** @param {any} line @returns {any} null for a line about the file or a trace */
  event(line) {
    if (line.type === "file") this.about = line;
    // Span ids are unique only within one trace.
    if (line.type === "trace") this.starts.clear();
    if (line.type === "file" || line.type === "trace") return null;
    if (line.type === "missing") return line;
    this.count += 1;
    if (line.type === "started") this.starts.set(line.spanId, line);
    if (line.type !== "ended") return line;
    const start = this.starts.get(line.spanId);
    this.starts.delete(line.spanId);
    return start === undefined || line.startTimestamp !== undefined ? line : completed(line, start);
  }
}

/** @param {any} end @param {any} start the start, which fills the fields that the end lacks @returns {any} */
function completed(end, start) {
  const whole = { ...start, ...end, startTimestamp: start.timestamp };
  // Most ends add no attributes to those of the span's start.
  whole.attributes = isEmpty(end.attributes) ? start.attributes : { ...start.attributes, ...end.attributes };
  return whole;
}

/** @param {object} value @returns {boolean} */
function isEmpty(value) {
  for (const _key in value) return false;
  return true;
}

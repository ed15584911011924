// @ts-check
// Draws what is known of one span. Everything is text from outside: it goes in as text, and must never be read as markup.

import { STATE_WORDS, byId, element, icon, setShown, setStyle, setText } from "./dom.mjs";
import { indexOf } from "./model.mjs";
import { colourKey } from "./palette.mjs";
import { attributeTypesOf, attributesOf, selfTime, shownName, spanAt } from "./span.mjs";
import { formatAbsolute, formatDuration, formatOffset, formatTicking, parseTimestamp } from "./time.mjs";

/**
 * @typedef {import("./span.mjs").SpanFacts} Span
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {{close: () => void, copy: (text: string) => void, openLink: (traceId: string, spanId: string) => void,
 *   linkHref: (traceId: string, spanId: string) => string, goTo: (spanId: string) => void}} InspectorActions
 * @typedef {{trace: Trace, generation: number, spanId: string | null, now: number,
 *   palette: import("./palette.mjs").Palette}} InspectorFrame
 */

const TIMELINE_MAX = 500;
// What the Rust tracing bridge says about the code, not about the work: fields of its own, or it drowns the rest.
const CODE_KEYS = /^(code\.|thread\.|target$|level$|busy_ns$|idle_ns$)/;

/** @type {Record<string, string>} */
const LOSS_WORDS = {
  crashed: "Its process ended without ending it.",
  shutdown: "The tracer provider was shut down over it.",
  dropped: "Its end was dropped under load.",
  restarted: "The log was restarted; what became of it is not known.",
};

export class InspectorView {
  /** @param {InspectorActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.node = byId("inspector");
    this.drawn = "";
    this.rawOpen = false;
    /** @type {HTMLElement | null} */
    this.ticking = null;
  }

  /** @param {InspectorFrame} frame */
  draw(frame) {
    const index = indexOf(frame.trace, frame.spanId);
    const span = index < 0 ? undefined : spanAt(frame.trace, index);
    setShown(this.node, span !== undefined);
    setShown(byId("resizer"), span !== undefined);
    if (span === undefined) {
      this.drawn = "";
      return;
    }
    const key = `${frame.generation} ${span.id} ${span.stamp} ${span.state} ${span.childCount}`;
    if (key !== this.drawn) {
      const sameSpan = this.node.dataset.spanId === span.id;
      this.drawn = key;
      this.rebuild(span, frame);
      if (!sameSpan) this.node.scrollTop = 0;
    }
    if (this.ticking !== null) setText(this.ticking, `${formatTicking(frame.now - span.start)} so far`);
  }

  /** @param {Span} span @param {InspectorFrame} frame */
  rebuild(span, frame) {
    this.node.dataset.spanId = span.id;
    this.node.dataset.state = span.state;
    this.ticking = span.end === null && span.state !== "placeholder" ? element("span") : null;
    const attributes = attributesOf(frame.trace, span.index);
    const types = attributeTypesOf(frame.trace, span.index);
    const code = Object.entries(attributes).filter(([name]) => CODE_KEYS.test(name));
    const others = Object.entries(attributes).filter(([name]) => !CODE_KEYS.test(name));
    const process = frame.trace.processes.get(span.event?.process);
    this.node.replaceChildren(...[
      this.head(span, frame),
      this.message(span, frame),
      this.facts(span, frame),
      span.event === null && others.length === 0 ? null : section("Attributes", others.length, this.table(others, types)),
      code.length === 0 ? null : section("Code and threads", null, this.table(code, types)),
      this.timeline(span, frame),
      this.links(span),
      this.process(span, process),
      span.event === null ? null : this.raw(span),
    ].filter((node) => node !== null));
  }

  /** @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement} */
  head(span, frame) {
    const dot = element("span", { class: "service-dot" });
    setStyle(dot, "background", frame.palette.colour(colourKey(frame.trace, span.index)));
    return element(
      "div", { class: "inspector-head" },
      element("div", { class: "inspector-title" },
        element("h2", { id: "inspector-name", text: shownName(frame.trace, span.index) }),
        element("button", { type: "button", class: "button quiet icon-only", title: "Close (Esc)", "aria-label": "Close", on: { click: () => this.actions.close() } }, icon("close"))),
      element("p", { class: "badges" },
        element("span", { id: "inspector-state", class: "badge", "data-state": span.state }, icon(span.state), STATE_WORDS[span.state]),
        span.service === "" ? null : element("span", { class: "chip" }, dot, element("span", { class: "chip-name", text: span.service })),
        span.event?.kind ? element("span", { class: "chip", text: String(span.event.kind).toLowerCase() }) : null,
        span.event?.durable === true ? element("span", { class: "chip", text: "durable", title: "Outlives its process" }) : null,
        span.event?.sampled === false ? element("span", { class: "chip", text: "not sampled", title: "Shown here, not exported" }) : null),
    );
  }

  /** @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement | null} */
  message(span, frame) {
    const lines = [];
    if (span.state === "placeholder") {
      lines.push(span.remote
        ? "The parent lives in another program that does not report here. Nothing is known of it but its id."
        : "No event of this span was seen: it was filtered, dropped, evicted, or has yet to arrive.");
    }
    if (span.loss !== null) {
      lines.push(LOSS_WORDS[span.loss.reason] ?? `Lost: ${span.loss.reason}.`);
      if (!Number.isNaN(span.loss.lastHeard)) lines.push(`Last heard ${formatOffset(span.loss.lastHeard - frame.trace.start)} into the trace.`);
    }
    if (span.event?.status?.message && (span.loss === null || !span.loss.local)) lines.push(String(span.event.status.message));
    if (lines.length === 0) return null;
    return element("p", { class: "message", "data-state": span.state, text: lines.join("\n") });
  }

  /** @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement} */
  facts(span, { trace }) {
    const { event } = span;
    /** @type {[string, Node | string | null][]} */
    const facts = [
      ["Duration", this.ticking ?? (span.end === null || span.loss !== null ? null : formatDuration(span.end - span.start))],
      ["Self time", span.loss !== null ? null : selfText(span)],
      ["Offset", event === null ? null : formatOffset(span.start - trace.start)],
      ["Start", event === null ? null : formatAbsolute(event.startTimestamp ?? event.timestamp)],
      ["End", event?.type === "ended" && span.loss === null ? formatAbsolute(event.timestamp) : null],
      ["Span id", this.copyable(span.id)],
      ["Trace id", this.copyable(trace.traceId)],
      ["Parent", span.parentId === null ? (event === null ? null : "none: a root") : this.parentLink(span.parentId)],
      ["Children", span.childCount === 0 ? null : span.childCount.toLocaleString("en")],
      ["Scope", scopeText(event)],
      ["Trace state", event?.traceState ? String(event.traceState) : null],
      ["Dropped", droppedText(event)],
      ["Cut", Array.isArray(event?.cut) ? event.cut.join(", ") : null],
    ];
    const list = element("dl", { class: "facts" });
    for (const [name, value] of facts) {
      if (value === null) continue;
      list.append(element("dt", { text: name }), element("dd", {}, value));
    }
    return list;
  }

  /** @param {string} spanId @returns {HTMLElement} */
  parentLink(spanId) {
    return element("button", { type: "button", class: "link mono", text: spanId, on: { click: () => this.actions.goTo(spanId) } });
  }

  /** @param {string} text @returns {HTMLElement} */
  copyable(text) {
    return element("span", { class: "copyable" }, element("span", { class: "mono", text }), this.copyButton(text, "Copy"));
  }

  /** @param {string} text @param {string} title @returns {HTMLElement} */
  copyButton(text, title) {
    return element("button", { type: "button", class: "copy", title, "aria-label": title, on: { click: () => this.actions.copy(text) } }, icon("copy"));
  }

  /** @param {[string, unknown][]} entries @param {Record<string, string>} types @returns {HTMLElement} */
  table(entries, types) {
    if (entries.length === 0) return element("p", { class: "muted", text: "None." });
    const body = element("tbody");
    for (const [name, value] of entries) {
      body.append(element("tr", { "data-attribute": name },
        element("th", { scope: "row", text: name }),
        element("td", {},
          element("span", { class: "type faint", text: Object.hasOwn(types, name) ? types[name] : typeOf(value) }),
          element("span", { class: "value", "data-type": typeOf(value), text: shownValue(name, value) }),
          this.copyButton(valueText(value), `Copy ${name}`))));
    }
    return element("table", { class: "attributes" }, body);
  }

  /** Span events and log records, merged by time. @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement | null} */
  timeline(span, { trace }) {
    const events = (Array.isArray(span.event?.events) ? span.event.events : []).map((/** @type {any} */ event) => ({ kind: "event", entry: event }));
    const logs = (span.logs ?? []).map((log) => ({ kind: "log", entry: log }));
    const merged = [...events, ...logs].sort((a, b) => (String(a.entry.timestamp) < String(b.entry.timestamp) ? -1 : 1));
    if (merged.length === 0) return null;
    const list = element("ol", { class: "timeline" });
    for (const { kind, entry } of merged.slice(0, TIMELINE_MAX)) {
      const at = parseTimestamp(entry.timestamp, trace.originSeconds) - span.start;
      list.append(kind === "log" ? this.logItem(entry, at) : this.eventItem(entry, at));
    }
    if (merged.length > TIMELINE_MAX) list.append(element("li", { class: "muted", text: `${merged.length - TIMELINE_MAX} more are not shown.` }));
    return section("Events and logs", merged.length, list);
  }

  /** @param {any} event @param {number} at @returns {HTMLElement} */
  eventItem(event, at) {
    const attributes = event.attributes ?? {};
    const exception = event.name === "exception";
    const stack = exception ? attributes["exception.stacktrace"] : undefined;
    const rest = Object.entries(attributes).filter(([name]) => !exception || !/^exception\.(type|message|stacktrace)$/.test(name));
    const what = exception ? [attributes["exception.type"], attributes["exception.message"]].filter(Boolean).join(": ") : "";
    const title = what || String(event.name ?? "");
    return element("li", { "data-kind": exception ? "exception" : "event" },
      element("p", { class: "timeline-head" }, element("span", { class: "at", text: formatOffset(at), title: formatAbsolute(event.timestamp) }), element("span", { class: "what", text: title })),
      stack === undefined ? null : element("pre", { text: String(stack) }),
      rest.length === 0 ? null : this.table(rest, event.attributeTypes ?? {}));
  }

  /** @param {any} log @param {number} at @returns {HTMLElement} */
  logItem(log, at) {
    const severity = String(log.severity ?? "LOG");
    const entries = Object.entries(log.attributes ?? {});
    return element("li", { "data-kind": "log", "data-severity": severity },
      element("p", { class: "timeline-head" }, element("span", { class: "at", text: formatOffset(at), title: formatAbsolute(log.timestamp) }),
        element("span", { class: "severity", text: severity }), element("span", { class: "what", text: valueText(log.body ?? "") })),
      entries.length === 0 ? null : this.table(entries, log.attributeTypes ?? {}));
  }

  /** @param {Span} span @returns {HTMLElement | null} */
  links(span) {
    const links = Array.isArray(span.event?.links) ? span.event.links : [];
    if (links.length === 0) return null;
    const list = element("ul", { class: "links" });
    for (const link of links) {
      const traceId = String(link.traceId ?? "");
      const spanId = String(link.spanId ?? "");
      const anchor = element("a", {
        class: "mono", href: this.actions.linkHref(traceId, spanId), text: `${traceId.slice(0, 8)}… / ${spanId}`, title: traceId,
      });
      anchor.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.actions.openLink(traceId, spanId);
      });
      const entries = Object.entries(link.attributes ?? {});
      list.append(element("li", {}, anchor, entries.length === 0 ? null : this.table(entries, link.attributeTypes ?? {})));
    }
    return section("Links", links.length, list);
  }

  /** @param {Span} span @param {any} process @returns {HTMLElement | null} */
  process(span, process) {
    if (!span.event?.process) return null;
    /** @type {[string, unknown][]} */
    const entries = [["process", span.event.process]];
    if (process?.pid !== undefined) entries.push(["pid", process.pid]);
    if (process?.startTimestamp) entries.push(["started", formatAbsolute(process.startTimestamp)]);
    entries.push(...Object.entries(process?.resource ?? {}));
    return element("details", { class: "section" }, element("summary", { text: "Process and resource" }), this.table(entries, process?.attributeTypes ?? {}));
  }

  /** @param {Span} span @returns {HTMLElement} */
  raw(span) {
    const details = element("details", { class: "section", open: this.rawOpen }, element("summary", { text: "Raw JSON" }));
    // Written out only when somebody looks: an event may be 256 KiB.
    const fill = () => {
      this.rawOpen = details.open;
      if (!details.open || details.childElementCount > 1) return;
      const json = JSON.stringify(span.event, null, 2);
      details.append(this.copyButton(json, "Copy the JSON"), element("pre", { text: json }));
    };
    details.addEventListener("toggle", fill);
    if (this.rawOpen) fill();
    return details;
  }
}

/** @param {string} title @param {number | null} count @param {HTMLElement} body @returns {HTMLElement} */
function section(title, count, body) {
  return element("section", { class: "section" },
    element("h3", {}, title, count === null || count === 0 ? null : element("span", { class: "faint", text: ` ${count}` })), body);
}

/** @param {Span} span @returns {string | null} */
function selfText(span) {
  const self = selfTime(span.trace, span.index);
  if (self === null || span.childCount === 0) return null;
  const whole = Number(span.end) - span.start;
  const share = whole > 0 ? `  ·  ${Math.round((self / whole) * 100)} %` : "";
  return `${formatDuration(self)}${share}`;
}

/** @param {any} event @returns {string | null} */
function scopeText(event) {
  if (!event?.scope) return null;
  return event.scopeVersion ? `${event.scope} ${event.scopeVersion}` : String(event.scope);
}

/** @param {any} event @returns {string | null} */
function droppedText(event) {
  if (!event?.dropped) return null;
  return Object.entries(event.dropped).map(([what, count]) => `${count} ${what}`).join(", ");
}

/** @param {unknown} value @returns {string} */
function typeOf(value) {
  if (Array.isArray(value)) return "array";
  return value === null ? "null" : typeof value === "boolean" ? "bool" : typeof value;
}

/** @param {string} name @param {unknown} value @returns {string} */
function shownValue(name, value) {
  if (/^(busy|idle)_ns$/.test(name) && Number.isFinite(Number(value))) return formatDuration(Number(value) / 1e6);
  return valueText(value);
}

/** @param {unknown} value @returns {string} */
function valueText(value) {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

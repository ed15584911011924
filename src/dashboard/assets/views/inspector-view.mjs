// @ts-check
// Draws what is known of one span. Everything is text from outside: it goes in as text, and must never be read as markup.

import { indexOf } from "../model/model.mjs";
import { colourKey } from "../model/palette.mjs";
import { BackLinks, codeFields, droppedText, scopeText, selfText, termFor, timelineOf, typeOf, valueText } from "../model/span-details.mjs";
import { attributeTypesOf, attributesOf, shownName, spanAt, waitText } from "../model/span.mjs";
import { formatAbsolute, formatCount, formatDuration, formatOffset, formatTicking, parseTimestamp } from "../model/time.mjs";
import { listRoute } from "../net/api.mjs";
import { isSlow, timesUsual } from "../net/duration-baseline.mjs";
import { STATE_WORDS, byId, element, icon, setShown, setStyle, setText } from "./dom.mjs";

/**
 * @typedef {import("../model/span.mjs").SpanFacts} Span
 * @typedef {import("../model/model.mjs").Trace} Trace
 * @typedef {import("../net/duration-baseline.mjs").Usual} Usual
 * @typedef {{close: () => void, copy: (text: string) => void, openLink: (traceId: string, spanId: string | null) => void,
 *   linkHref: (traceId: string, spanId: string | null) => string, goTo: (spanId: string) => void, find: (term: string) => void,
 *   usual: (service: string, name: string) => Usual | null, getJson: (route: string) => Promise<{status: number, body: any}>,
 *   changed: () => void}} InspectorActions
 * @typedef {{trace: Trace, generation: string | number, spanId: string | null, now: number, file: boolean,
 *   palette: import("../model/palette.mjs").Palette}} InspectorFrame `file`: it is not of this server
 */

const TIMELINE_MAX = 500;
// A busy span changes faster than anybody reads.
const REBUILD_EVERY_MS = 200;
const LINKED_LIMIT = 20;
const LINKED_KEPT_MS = 15_000;

/** @type {Record<string, string>} */
const LOSS_WORDS = {
  crashed: "Its process ended without ending it.",
  shutdown: "The tracer provider was shut down over it.",
  dropped: "Its end was dropped under load.",
  restarted: "The log was restarted; what became of it is not known.",
};

export class InspectorView {
  node = byId("inspector");
  drawn = "";
  drawnAt = -Infinity;
  /** Each section stands in a place of its own, so that one that changes leaves the others, and what is selected in them, alone. @type {Map<string, {key: string, place: HTMLElement}>} */
  sections = new Map();
  /** Sections that a reader opened. @type {Set<string>} */
  opened = new Set();
  backLinks = new BackLinks();
  /** Traces that link to this one, as the server last said. @type {{traceId: string, at: number, traces: any[], more: boolean}} */
  linked = { traceId: "", at: -Infinity, traces: [], more: false };
  /** @type {HTMLElement | null} */
  ticking = null;
  /** @type {HTMLElement | null} */
  waits = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;

  /** @param {InspectorActions} actions */
  constructor(actions) {
    this.actions = actions;
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
    const usual = frame.file || span.event === null ? null : this.actions.usual(span.service, span.name);
    const slow = usual !== null && span.state !== "waiting" && isSlow(usual, (span.end ?? frame.now) - span.start);
    this.askLinked(frame);
    const links = this.backLinks.to(frame.trace, span.id);
    const key = `${frame.generation} ${span.id} ${span.stamp} ${span.state} ${span.childCount} ${usual?.count} ${slow} ${this.linked.at} ${links.length}`;
    const sameSpan = this.node.dataset.spanId === span.id;
    const wait = this.drawnAt + REBUILD_EVERY_MS - performance.now();
    if (key !== this.drawn && sameSpan && this.drawn !== "" && wait > 0) {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.actions.changed();
      }, wait);
    } else if (key !== this.drawn) {
      this.drawn = key;
      this.drawnAt = performance.now();
      this.rebuild(span, frame, usual, slow, links);
      if (!sameSpan) this.node.scrollTop = 0;
    }
    if (this.ticking !== null) setText(this.ticking, `${formatTicking(frame.now - span.start)} so far`);
    if (this.waits !== null) setText(this.waits, waitText(frame.trace, span.index, frame.now) || "until it is resumed");
  }

  /** @param {Span} span @param {InspectorFrame} frame @param {Usual | null} usual @param {boolean} slow @param {number[]} links */
  rebuild(span, frame, usual, slow, links) {
    this.node.dataset.spanId = span.id;
    this.node.dataset.state = span.state;
    const { trace } = frame;
    const attributes = attributesOf(trace, span.index);
    const types = attributeTypesOf(trace, span.index);
    const { fields, others } = codeFields(attributes);
    const process = trace.processes.get(span.event?.process);
    const of = `${frame.generation} ${span.id} ${span.state}`;
    const { event } = span;
    const seen = event !== null;
    this.show("head", `${of} ${span.name} ${trace.services.size > 1}`, () => this.head(span, frame));
    this.show("message", `${of} ${event?.status?.message} ${span.loss?.lastHeard}`, () => this.message(span, frame));
    this.show("facts", `${of} ${span.stamp} ${span.childCount} ${usual?.count} ${slow}`, () => this.facts(span, frame, usual, slow));
    this.show("attributes", `${of} ${JSON.stringify([others, types])}`, () => (seen || others.length > 0 ? section("Attributes", others.length, this.table(others, types)) : null));
    this.show("code", `${of} ${JSON.stringify(fields)}`, () => (fields.length === 0 ? null : section("Code and thread", null, this.fields(fields, attributes))));
    this.show("timeline", `${of} ${event?.events?.length} ${span.logs?.length}`, () => this.timeline(span, frame));
    this.show("links", `${of} ${JSON.stringify(event?.links ?? [])}`, () => this.links(span));
    this.show("back", `${of} ${links.length} ${this.linked.at}`, () => this.back(trace, links));
    this.show("process", `${of} ${process !== undefined}`, () => this.process(span, process));
    this.show("raw", `${of} ${span.stamp}`, () => (seen ? this.raw(span) : null));
  }

  /** @param {string} name @param {string} key what it depends on @param {() => HTMLElement | null} build */
  show(name, key, build) {
    let known = this.sections.get(name);
    if (known === undefined) {
      known = { key: "", place: element("div") };
      this.sections.set(name, known);
      this.node.append(known.place);
    }
    if (known.key === key) return;
    known.key = key;
    const built = build();
    known.place.replaceChildren(...(built === null ? [] : [built]));
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

  /** @param {Span} span @param {InspectorFrame} frame @param {Usual | null} usual @param {boolean} slow @returns {HTMLElement} */
  facts(span, { trace }, usual, slow) {
    const { event } = span;
    this.waits = span.state === "waiting" ? element("span") : null;
    this.ticking = span.end === null && span.state !== "placeholder" ? element("span") : null;
    /** @type {[string, Node | string | null][]} */
    const facts = [
      ["Duration", this.ticking ?? (span.end === null || span.loss !== null ? null : formatDuration(span.end - span.start))],
      ["Waits", this.waits],
      ["Usually", usual === null ? null : usualText(usual, span, slow)],
      ["Self time", span.loss !== null ? null : selfText(span)],
      ["Offset", event === null ? null : formatOffset(span.start - trace.start)],
      ["Start", event === null ? null : formatAbsolute(event.startTimestamp ?? event.timestamp)],
      ["End", event?.type === "ended" && span.loss === null ? formatAbsolute(event.timestamp) : null],
      ["Span id", this.copyable(span.id)],
      ["Trace id", this.copyable(trace.traceId)],
      ["Parent", span.parentId === null ? (event === null ? null : "none: a root") : this.parentLink(trace, span)],
      ["Children", span.childCount === 0 ? null : formatCount(span.childCount)],
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

  /** @param {Trace} trace @param {Span} span @returns {HTMLElement} */
  parentLink(trace, { parent, parentId }) {
    const id = String(parentId);
    return element("button", { type: "button", class: "link", text: parent < 0 ? id : shownName(trace, parent).slice(0, 200), title: id, on: { click: () => this.actions.goTo(id) } });
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
          element("span", { class: "value", "data-type": typeOf(value), text: valueText(value) }),
          this.tools(name, value))));
    }
    return element("table", { class: "attributes" }, body);
  }

  /** @param {import("../model/span-details.mjs").Field[]} fields @param {Record<string, unknown>} attributes @returns {HTMLElement} */
  fields(fields, attributes) {
    const body = element("tbody");
    for (const { name, text, key } of fields) {
      body.append(element("tr", { "data-field": name, title: key },
        element("th", { scope: "row", text: name }), element("td", {}, element("span", { class: "value", text }), this.tools(key, attributes[key], text))));
    }
    return element("table", { class: "attributes" }, body);
  }

  /** @param {string} name @param {unknown} value @param {string} [shown] @returns {HTMLElement} */
  tools(name, value, shown = valueText(value)) {
    const term = termFor(name, value);
    const title = "Find spans with this value (with alt: without it)";
    return element("span", { class: "row-tools" },
      term === "" ? null : element("button", {
        type: "button", class: "copy filter-by", title, "aria-label": `Find spans with this ${name}`,
        on: { click: (/** @type {MouseEvent} */ event) => this.actions.find(event.altKey ? `-${term}` : term) },
      }, icon("find")),
      this.copyButton(shown, `Copy ${name}`));
  }

  /** Span events and log records, merged by time. @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement | null} */
  timeline(span, { trace }) {
    const merged = timelineOf(span.event, span.logs);
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
    const { "exception.type": type, "exception.message": message, "exception.stacktrace": stack, ...rest } = event?.attributes ?? {};
    const exception = event?.name === "exception";
    const what = exception ? [type, message].filter(Boolean).join(": ") : "";
    const level = String(rest.level ?? "");
    return this.moment(exception ? "exception" : "event", event, at, level, what || String(event?.name ?? ""), exception ? rest : event?.attributes, stack);
  }

  /** @param {any} log @param {number} at @returns {HTMLElement} */
  logItem(log, at) {
    return this.moment("log", log, at, String(log?.severity ?? "LOG"), valueText(log?.body ?? ""), log?.attributes);
  }

  /**
   * @param {string} kind @param {any} entry @param {number} at @param {string} severity @param {string} what
   * @param {Record<string, unknown> | undefined} attributes @param {unknown} [stack]
   * @returns {HTMLElement}
   */
  moment(kind, entry, at, severity, what, attributes, stack) {
    const { fields, others } = codeFields(attributes ?? {});
    const places = fields.filter(({ name }) => /^(Source|Function|Target)$/.test(name));
    return element("li", { "data-kind": kind, "data-severity": severity === "" ? null : severity },
      element("p", { class: "timeline-head" }, element("span", { class: "at", text: formatOffset(at), title: formatAbsolute(entry?.timestamp) }),
        severity === "" ? null : element("span", { class: "severity", text: severity }), element("span", { class: "what", text: what })),
      stack === undefined ? null : element("pre", { text: String(stack) }),
      others.length === 0 ? null : this.table(others, entry?.attributeTypes ?? {}),
      places.length === 0 ? null : element("p", { class: "faint place", text: places.map(({ text }) => text).join(" · ") }));
  }

  /** @param {Span} span @returns {HTMLElement | null} */
  links(span) {
    const links = Array.isArray(span.event?.links) ? span.event.links : [];
    if (links.length === 0) return null;
    const list = element("ul", { class: "links" });
    for (const link of links) {
      const traceId = String(link?.traceId ?? "");
      const spanId = String(link?.spanId ?? "");
      const here = traceId === span.trace.traceId;
      const entries = Object.entries(link?.attributes ?? {});
      list.append(element("li", {}, this.anchor(traceId, spanId, here ? `this trace / ${spanId}` : `${traceId.slice(0, 8)}… / ${spanId}`),
        entries.length === 0 ? null : this.table(entries, link.attributeTypes ?? {})));
    }
    return section("Links", links.length, list);
  }

  /** @param {string} traceId @param {string | null} spanId @param {string} text @returns {HTMLElement} */
  anchor(traceId, spanId, text) {
    const anchor = element("a", { class: "mono", href: this.actions.linkHref(traceId, spanId), text, title: traceId });
    anchor.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.actions.openLink(traceId, spanId);
    });
    return anchor;
  }

  /** Asks now and then which traces link to this one. @param {InspectorFrame} frame */
  askLinked({ trace: { traceId }, file }) {
    const now = performance.now();
    if (traceId !== this.linked.traceId) this.linked = { traceId, at: -Infinity, traces: [], more: false };
    if (file || now - this.linked.at < LINKED_KEPT_MS) return;
    this.linked.at = now;
    void this.actions.getJson(listRoute({ limit: LINKED_LIMIT, linkedTo: traceId })).then(({ status, body }) => {
      if (traceId !== this.linked.traceId || status !== 200 || !Array.isArray(body?.traces)) return;
      // The trace itself, where its own spans link to each other.
      const traces = body.traces.filter((/** @type {any} */ one) => one?.traceId !== traceId);
      if (JSON.stringify(traces) !== JSON.stringify(this.linked.traces)) this.linked = { traceId, at: performance.now(), traces, more: body.next !== null };
      this.actions.changed();
    });
  }

  /** Where it is linked from: spans of this trace by name, other traces as a whole. @param {Trace} trace @param {number[]} links @returns {HTMLElement | null} */
  back(trace, links) {
    const { traces, more } = this.linked;
    if (links.length + traces.length === 0) return null;
    const list = element("ul", { class: "links" });
    for (const index of links.slice(0, LINKED_LIMIT)) list.append(element("li", {}, this.anchor(trace.traceId, trace.spans.ids[index], shownName(trace, index)), element("span", { class: "faint", text: " to this span" })));
    for (const one of traces) {
      list.append(element("li", { "data-state": one.state }, icon(String(one.state)), " ", this.anchor(String(one.traceId), null, String(one.name || "(no name)").slice(0, 200)),
        element("span", { class: "faint", text: ` ${String(one.traceId).slice(0, 8)}, to this trace` })));
    }
    if (more || links.length > LINKED_LIMIT) list.append(element("li", { class: "muted", text: "and more" }));
    return section("Linked from", links.length + traces.length, list);
  }

  /** @param {Span} span @param {any} process @returns {HTMLElement | null} */
  process(span, process) {
    if (!span.event?.process) return null;
    /** @type {[string, unknown][]} */
    const entries = [["process", span.event.process]];
    if (process?.pid !== undefined) entries.push(["pid", process.pid]);
    if (process?.startTimestamp) entries.push(["started", formatAbsolute(process.startTimestamp)]);
    entries.push(...Object.entries(process?.resource ?? {}));
    return this.details("Process and resource", () => [this.table(entries, process?.attributeTypes ?? {})]);
  }

  /** @param {string} title @param {() => Node[]} fill written out only when somebody looks @returns {HTMLElement} */
  details(title, fill) {
    const details = element("details", { class: "section", open: this.opened.has(title) }, element("summary", { text: title }));
    const toggled = () => {
      if (details.open) this.opened.add(title);
      else this.opened.delete(title);
      if (details.open && details.childElementCount === 1) details.append(...fill());
    };
    details.addEventListener("toggle", toggled);
    if (details.open) toggled();
    return details;
  }

  /** @param {Span} span @returns {HTMLElement} */
  raw(span) {
    return this.details("Raw JSON", () => {
      const changes = span.trace.changes.get(span.index);
      const json = JSON.stringify(changes === undefined ? span.event : { ...span.event, updated: changes }, null, 2);
      return [this.copyButton(json, "Copy the JSON"), element("pre", { text: json })];
    });
  }
}

/** @param {string} title @param {number | null} count @param {HTMLElement} body @returns {HTMLElement} */
function section(title, count, body) {
  return element("section", { class: "section" },
    element("h3", {}, title, count === null || count === 0 ? null : element("span", { class: "faint", text: ` ${count}` })), body);
}

/** @param {Usual} usual @param {Span} span @param {boolean} slow @returns {HTMLElement} */
function usualText(usual, span, slow) {
  const { p50, p95, count } = usual;
  const own = span.end === null ? null : span.end - span.start;
  return element("span", { "data-slow": slow }, `${formatDuration(p50)}, 95 % within ${formatDuration(p95)}`, element("span", { class: "faint", text: ` (${formatCount(count)} spans)` }),
    slow ? element("span", { class: "slow", text: ` slower than usual${own === null ? "" : `: ${timesUsual(usual, own)}`}` }) : null);
}

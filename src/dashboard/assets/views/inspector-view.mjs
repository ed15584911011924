// @ts-check
// Draws the inspector of one span. Texts of spans come from outside: they must be inserted as text, never as markup.

import { identityOf } from "../model/identity.mjs";
import { shortId } from "../model/ids.mjs";
import { lastLineOf, lineOfEvent, lineOfLog } from "../model/log-lines.mjs";
import { indexOf } from "../model/model.mjs";
import { colourKey } from "../model/palette.mjs";
import { isCounted, progressText, shareOf } from "../model/progress.mjs";
import { awaitingOf, awaitingText, pollingText, progressTextAt, taskText } from "../model/running.mjs";
import { levelText } from "../model/severity.mjs";
import { BackLinks, codeFields, droppedText, notKeptText, receiptText, scopeText, selfText, shortPath, termFor, timelineOf, typeOf, valueText } from "../model/span-details.mjs";
import { attributeTypesOf, attributesOf, isPartial, shownName, shownStateOf, spanAt, waitText } from "../model/span.mjs";
import { formatAbsolute, formatCount, formatDuration, formatOffset, formatOpen, parseTimestamp } from "../model/time.mjs";
import { isSlower } from "../model/usual-bar.mjs";
import { listRoute } from "../net/api.mjs";
import { timesUsual } from "../net/duration-baseline.mjs";
import { conversationPanel, databasePanel, framesView, httpPanel, wrongPanel } from "./inspector-panels.mjs";
import { jsonView, structureIn } from "./json-view.mjs";
import { STATE_WORDS, breakable, byId, element, icon, setAttribute, setShown, setStyle, setText, shortened, shortenedMiddle } from "./dom.mjs";

/**
 * @typedef {import("../model/span.mjs").SpanFacts} Span
 * @typedef {import("../model/model.mjs").Trace} Trace
 * @typedef {import("../net/duration-baseline.mjs").Usual} Usual
 * @typedef {{close: () => void, copy: (text: string) => void, openLink: (traceId: string, spanId: string | null) => void,
 *   linkHref: (traceId: string, spanId: string | null) => string, goTo: (spanId: string) => void, find: (term: string) => void,
 *   usual: (service: string, name: string) => Usual | null, getJson: (route: string) => Promise<{status: number, body: any}>,
 *   showLogs: (spanId: string) => void, showOperation: (service: string, name: string) => void, changed: () => void}} InspectorActions
 * @typedef {{trace: Trace, spanId: string | null, now: number, moving: boolean, file: boolean,
 *   palette: import("../model/palette.mjs").Palette}} InspectorFrame `file`: the trace is from a file, not from this server
 */

/** Maximum length of a name in the inspector's title, in characters. At first, three lines are visible. */
const NAME_LONGEST = 2_000;
/** Maximum length of a service name in its chip, in characters. */
const SERVICE_LENGTH = 24;
/** Entries of a section shown at first, and added by each "more". */
const ENTRIES_FIRST = 100;
const ENTRIES_MORE = 500;
/** Maximum number of entries in a table inside an event or a link. */
const NESTED_MAX = 50;
/** Characters and lines that fit into the box of a value even in the narrowest inspector. */
const VALUE_FITS = 200;
const LINES_FIT = 10;
/** Characters of the raw JSON that are shown; the copy button copies all of it. */
const RAW_MAX = 200_000;
// A busy span changes faster than anyone can read.
const REBUILD_EVERY_MS = 200;
const LINKED_LIMIT = 20;
const WAS_LENGTH = 80;
/** Shorter JSON is shown in one line. */
const JSON_FROM = 80;
/**
 * Up to this many records are shown before the attributes. If there are more, the last few are shown before the
 * attributes, and the list of all follows them.
 */
const RECORDS_FIRST = 4;
const LINKED_KEPT_MS = 15_000;

/** @type {Record<string, string>} */
const LOSS_WORDS = {
  crashed: "Its process ended without ending this span.",
  shutdown: "The tracer provider was shut down while this span was open.",
  dropped: "Its end was dropped because of overload.",
  exported: "The program that exported this span had no end for it.",
  restarted: "The log was restarted. Whether this span has ended is unknown.",
};

export class InspectorView {
  node = byId("inspector");
  drawn = "";
  drawnAt = -Infinity;
  /**
   * Each section has its own element, so that a change in one keeps text selections in the others.
   * @type {Map<string, {key: string, place: HTMLElement}>}
   */
  sections = new Map();
  /** Sections that the reader opened. @type {Set<string>} */
  opened = new Set();
  backLinks = new BackLinks();
  /**
   * Traces that link to this one, from the server's last answer.
   * @type {{traceId: string, at: number, traces: any[], more: boolean}}
   */
  linked = { traceId: "", at: -Infinity, traces: [], more: false };
  /** @type {HTMLElement | null} */
  ticking = null;
  /** @type {HTMLElement | null} */
  waits = null;
  /** The live facts of an open span, by name. @type {Map<string, HTMLElement>} */
  live = new Map();
  /** @type {ReturnType<typeof setTimeout> | null} */
  timer = null;
  /** Key of the shown trace and span. */
  shownOf = "";
  /** Number of shown entries of sections for which the reader asked for more. @type {Map<string, number>} */
  limits = new Map();

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
    const slow = usual !== null && span.state !== "waiting" && isSlower((span.end ?? frame.now) - span.start, usual);
    this.askLinked(frame);
    const links = this.backLinks.to(frame.trace, span.id);
    const { trace } = frame;
    const of = `${identityOf(trace)} ${span.id}`;
    const process = trace.processes.get(span.event?.process);
    const around = `${trace.start} ${trace.services.size > 1} ${isPartial(trace)} ${process === undefined ? 0 : identityOf(process)} ${frame.file}`;
    const linkers = links.map((index) => trace.spans.stamp[index]).join();
    const key = `${of} ${span.stamp} ${span.childCount} ${around} ${usual?.count} ${usual?.p50} ${slow} ${this.linked.at} ${linkers}`;
    const sameSpan = this.shownOf === of;
    const wait = this.drawnAt + REBUILD_EVERY_MS - performance.now();
    if (key !== this.drawn && sameSpan && this.drawn !== "" && wait > 0) {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.actions.changed();
      }, wait);
    } else if (key !== this.drawn) {
      this.drawn = key;
      this.drawnAt = performance.now();
      if (!sameSpan) this.limits.clear();
      this.shownOf = of;
      this.rebuild(span, frame, { usual, slow, links, of, around, linkers, process });
      if (!sameSpan) this.node.scrollTop = 0;
    }
    if (this.ticking !== null) setText(this.ticking, `${formatOpen(frame.now - span.start, frame.moving)} so far`);
    for (const [name, text] of liveFacts(frame, span.index)) {
      const node = this.live.get(name);
      if (node === undefined) continue;
      setText(/** @type {HTMLElement} */ (node.firstElementChild), text);
      setShown(node, text !== "");
      setShown(/** @type {HTMLElement} */ (node.previousElementSibling), text !== "");
      if (name === "Awaits") setAttribute(node, "data-long", awaitingOf(frame.trace, span.index, frame.now)?.isLong === true);
    }
    if (this.waits !== null) setText(this.waits, waitText(frame.trace, span.index, frame.now, frame.moving) || "until it is resumed");
  }

  /**
   * @param {Span} span @param {InspectorFrame} frame
   * @param {{usual: Usual | null, slow: boolean, links: number[], of: string, around: string, linkers: string, process: any}} known `of`,
   *   `around` and `linkers` are keys of the parts that are not the span's own events
   */
  rebuild(span, frame, { usual, slow, links, of, around, linkers, process }) {
    const { trace } = frame;
    const { event } = span;
    this.node.dataset.spanId = span.id;
    this.node.dataset.state = shownStateOf(trace, span.index);
    const attributes = attributesOf(trace, span.index);
    const types = attributeTypesOf(trace, span.index);
    const { fields, others } = codeFields(attributes);
    const seen = event !== null;
    const all = `${of} ${around} ${span.stamp}`;
    // The key of the attributes is their content. A parent changes with each new child, but a text selection in its
    // attributes must stay.
    const shown = others.slice(0, this.limit("attributes"));
    this.show("head", all, () => this.head(span, frame));
    this.show("message", all, () => this.message(span, frame));
    // Records and failures come early; ids and times, which few need, come late.
    const below = `${all} ${span.childCount} ${trace.counts.errors} ${trace.counts.panicked}`;
    this.show("wrong", below, () => wrongPanel(trace, span.index, this.actions));
    const records = `${all} ${span.logs.length} ${this.limit("timeline")}`;
    const few = timelineOf(event, span.logs).length <= RECORDS_FIRST;
    this.show("records", records, () => (few ? this.timeline(span, frame) : this.lastRecords(span, frame)));
    this.show("facts", `${all} ${span.childCount} ${usual?.count} ${usual?.p50} ${slow}`, () => this.facts(span, frame, usual, slow));
    this.show("conversation", `${of} ${span.stamp}`, () => conversationPanel(event, attributes, span.end === null));
    this.show("http", `${of} ${span.stamp}`, () => httpPanel(attributes, span.end === null));
    this.show("database", `${of} ${span.stamp} ${span.childCount}`, () => databasePanel(trace, span.index, frame.now, this.actions));
    this.show("attributes", `${of} ${seen} ${others.length} ${JSON.stringify([shown, types])}`, () => (seen || others.length > 0 ? section("Attributes", others.length, this.bounded("attributes", others, types, (key) => wasText(span, key))) : null));
    this.show("timeline", records, () => (few ? null : this.timeline(span, frame)));
    this.show("code", `${of} ${JSON.stringify(fields)}`, () => (fields.length === 0 ? null : section("Code and thread", null, this.fields(fields, attributes))));
    this.show("links", `${all} ${this.limit("links")}`, () => this.links(span));
    this.show("back", `${of} ${around} ${this.linked.at} ${linkers} ${this.limit("back")}`, () => this.back(trace, links, frame.file));
    this.show("ids", `${all} ${span.childCount}`, () => section("Ids and times", null, this.ids(span, frame)));
    this.show("process", `${of} ${around} ${this.limit("process")}`, () => this.process(span, process));
    this.show("raw", all, () => (seen ? this.raw(span) : null));
  }

  /** @param {string} name of a section @returns {number} the number of its entries to show */
  limit(name) {
    return this.limits.get(name) ?? ENTRIES_FIRST;
  }

  /**
   * The button for more entries. Thousands at once would block the page.
   * @param {string} name @param {number} count number of all entries @returns {HTMLElement | null}
   */
  moreOf(name, count) {
    const left = count - this.limit(name);
    if (left <= 0) return null;
    return element("button", { type: "button", class: "link more-of", "data-of": name, text: `${formatCount(left)} more`, on: {
      click: () => {
        this.limits.set(name, this.limit(name) + ENTRIES_MORE);
        this.drawn = "";
        this.actions.changed();
      },
    } });
  }

  /**
   * Returns a table of the first entries.
   * @param {string} name @param {[string, unknown][]} entries @param {Record<string, string>} types @param {(key: string) => string} [was] returns the earlier value of an entry
   * @returns {HTMLElement}
   */
  bounded(name, entries, types, was) {
    return element("div", {}, this.table(entries.slice(0, this.limit(name)), types, was), this.moreOf(name, entries.length));
  }

  /** @param {string} name @param {string} key a key of everything that the section depends on @param {() => HTMLElement | null} build */
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
    const state = shownStateOf(frame.trace, span.index);
    setStyle(dot, "background", frame.palette.colour(colourKey(frame.trace, span.index)));
    return element(
      "div", { class: "inspector-head" },
      element("div", { class: "inspector-title" },
        element("h2", { id: "inspector-name", text: shortened(shownName(frame.trace, span.index), NAME_LONGEST), title: shownName(frame.trace, span.index).slice(0, NAME_LONGEST) }),
        element("button", { type: "button", class: "button quiet icon-only", title: "Close (Esc)", "aria-label": "Close", on: { click: () => this.actions.close() } }, icon("close"))),
      element("p", { class: "badges" },
        element("span", { id: "inspector-state", class: "badge", "data-state": state }, icon(state), STATE_WORDS[state]),
        span.service === "" ? null : element("span", { class: "chip", title: span.service.slice(0, NAME_LONGEST) }, dot, element("span", { class: "chip-name", text: shortenedMiddle(span.service, SERVICE_LENGTH) })),
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
        ? "The parent span belongs to a program that does not report here. Only its id is known."
        : "No event of this span is here: it was filtered, dropped or removed by retention, or has not arrived yet.");
    }
    if (span.loss !== null) {
      lines.push(LOSS_WORDS[span.loss.reason] ?? `Lost: ${span.loss.reason}.`);
      if (span.loss.local) lines.push(`The last event of this trace is at ${formatOffset(frame.trace.latest - frame.trace.start)}.`);
      if (!Number.isNaN(span.loss.lastHeard)) lines.push(`Its last event is at ${formatOffset(span.loss.lastHeard - frame.trace.start)} in the trace.`);
    }
    const { status, panic } = span.event ?? {};
    if (status?.message && status.message !== panic?.message && (span.loss === null || !span.loss.local)) lines.push(String(status.message));
    if (panic) lines.push(valueText(panic.message ?? "panicked"), ...placeOfPanic(panic));
    if (lines.length === 0) return null;
    const isBad = panic !== undefined || status?.code === "ERROR";
    return element("p", { class: "message", "data-state": span.end === null && isBad ? "failing" : span.state, text: lines.join("\n") });
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
      ["Usual", usual === null ? null : element("span", {}, usualText(usual, span, slow), " ", element("button", { type: "button", class: "link to-operation", text: "in Operations", on: { click: () => this.actions.showOperation(span.service, span.name) } }))],
      ["Self", span.loss !== null ? null : isPartial(trace) && span.childCount > 0 ? "not shown: spans of this trace are missing" : selfText(span)],
    ];
    const list = element("dl", { class: "facts" });
    for (const [name, value] of facts) {
      if (value === null) continue;
      list.append(element("dt", { text: name }), element("dd", {}, value));
      if (name === "Duration") this.liveFacts(list, span);
    }
    return list;
  }

  /**
   * Shows the ids, times and scope of the span.
   * @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement}
   */
  ids(span, { trace }) {
    const { event } = span;
    /** @type {[string, Node | string | null][]} */
    const facts = [
      ["Offset", event === null ? null : formatOffset(span.start - trace.start)],
      ["Start", event === null ? null : formatAbsolute(event.startTimestamp ?? event.timestamp)],
      ["End", event?.type === "ended" && span.loss === null ? formatAbsolute(event.timestamp) : null],
      ["Span id", this.copyable(String(event?.spanId ?? span.id))],
      ["Id on this page", event === null || event.spanId === span.id ? null : element("span", { text: `${span.id}: another span has its id` })],
      ["Trace id", this.copyable(trace.traceId)],
      ["Parent", span.parentId === null ? (event === null ? null : "none: a root") : this.parentLink(trace, span)],
      ["Children", span.childCount === 0 ? null : formatCount(span.childCount)],
      ["Scope", scopeText(event)],
      ["Trace state", event?.traceState ? String(event.traceState) : null],
      ["Received", receiptText(event)],
      ["Dropped", droppedText(event)],
      ["Not kept", notKeptText(event)],
      ["Cut", Array.isArray(event?.cut) ? event.cut.join(", ") : null],
    ];
    const list = element("dl", { class: "facts ids" });
    for (const [name, value] of facts) if (value !== null) list.append(element("dt", { text: name }), element("dd", {}, value));
    return list;
  }

  /**
   * Creates the elements for facts that change without events while a span is open.
   * @param {HTMLElement} list @param {Span} span
   */
  liveFacts(list, span) {
    this.live.clear();
    const { progress } = span;
    const share = progress === null ? null : shareOf(progress);
    for (const name of span.end === null ? LIVE_FACTS : progress === null ? [] : ["Progress"]) {
      const text = element("span", { text: span.end === null || progress === null ? "" : progressText(progress, null, 0) });
      const node = element("dd", { "data-live": name }, text);
      if (name === "Progress" && progress !== null && progress.message !== "" && isCounted(progress)) node.append(element("span", { class: "muted note", text: progress.message }));
      if (name === "Progress" && share !== null) {
        const meter = element("span", { class: "meter", "aria-hidden": "true" });
        setStyle(meter, "background-size", `${(share * 100).toFixed(1)}% 100%`);
        node.append(meter);
      }
      list.append(element("dt", { text: name }), node);
      if (span.end === null) this.live.set(name, node);
    }
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

  /** @param {[string, unknown][]} entries @param {Record<string, string>} types @param {(key: string) => string} [was] @returns {HTMLElement} */
  table(entries, types, was = () => "") {
    if (entries.length === 0) return element("p", { class: "muted", text: "None." });
    const body = element("tbody");
    for (const [name, value] of entries) {
      body.append(element("tr", { "data-attribute": name },
        element("th", { scope: "row" }, ...breakable(name)),
        element("td", {},
          element("span", { class: "type faint", text: Object.hasOwn(types, name) ? types[name] : typeOf(value) }),
          valueView(value),
          was(name) === "" ? null : element("span", { class: "was muted", text: was(name) }),
          this.tools(name, value))));
    }
    return element("table", { class: "attributes" }, body);
  }

  /** @param {[string, unknown][]} entries @param {Record<string, string>} types @returns {HTMLElement} */
  nested(entries, types) {
    const left = entries.length - NESTED_MAX;
    const table = this.table(entries.slice(0, NESTED_MAX), types);
    return left <= 0 ? table : element("div", {}, table, element("p", { class: "muted", text: `${formatCount(left)} more are in the raw JSON.` }));
  }

  /** @param {import("../model/span-details.mjs").Field[]} fields @param {Record<string, unknown>} attributes @returns {HTMLElement} */
  fields(fields, attributes) {
    const body = element("tbody");
    for (const { name, text, key, whole } of fields) {
      body.append(element("tr", { "data-field": name, title: whole === undefined ? key : `${key}: ${whole}` },
        element("th", { scope: "row", text: name }), element("td", {}, element("span", { class: "value" }, ...breakable(text)), this.tools(key, attributes[key], whole ?? text))));
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
    for (const { kind, entry } of merged.slice(0, this.limit("timeline"))) {
      const at = parseTimestamp(entry.timestamp, trace.originSeconds) - span.start;
      list.append(kind === "log" ? this.logItem(entry, at) : this.eventItem(entry, at));
    }
    const more = this.moreOf("timeline", merged.length);
    if (more !== null) list.append(element("li", {}, more));
    const all = element("button", { type: "button", class: "link in-logs", text: "Show in Logs", on: { click: () => this.actions.showLogs(span.id) } });
    return section("Events and logs", merged.length, element("div", {}, all, list));
  }

  /**
   * Shows the last of many records, newest last.
   * @param {Span} span @param {InspectorFrame} frame @returns {HTMLElement}
   */
  lastRecords(span, { trace }) {
    const merged = timelineOf(span.event, span.logs);
    const list = element("ol", { class: "last-records" });
    for (const { kind, entry } of merged.slice(-RECORDS_FIRST)) {
      const line = kind === "log" ? lineOfLog(entry, 0) : lineOfEvent(entry, 0, span.id, trace.traceId);
      list.append(element("li", { "data-severity": line.level }, element("span", { class: "at", text: formatOffset(parseTimestamp(entry?.timestamp, trace.originSeconds) - span.start) }), element("span", { class: "severity", text: line.level }), element("span", { class: "what", text: shortened(line.text) })));
    }
    const all = element("button", { type: "button", class: "link", text: "Show in Logs", on: { click: () => this.actions.showLogs(span.id) } });
    return section(`Last ${RECORDS_FIRST} of ${formatCount(merged.length)} records`, null, element("div", {}, list, all));
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
    return this.moment("log", log, at, levelText(log), valueText(log?.body ?? ""), log?.attributes);
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
      stack === undefined ? null : framesView(String(stack)),
      others.length === 0 ? null : this.nested(others, entry?.attributeTypes ?? {}),
      places.length === 0 ? null : element("p", { class: "faint place", text: places.map(({ text }) => text).join(" · ") }));
  }

  /** @param {Span} span @returns {HTMLElement | null} */
  links(span) {
    const links = Array.isArray(span.event?.links) ? span.event.links : [];
    if (links.length === 0) return null;
    const list = element("ul", { class: "links" });
    for (const link of links.slice(0, this.limit("links"))) {
      const traceId = String(link?.traceId ?? "");
      const spanId = String(link?.spanId ?? "");
      const here = traceId === span.trace.traceId;
      const entries = Object.entries(link?.attributes ?? {});
      list.append(element("li", {}, this.anchor(traceId, spanId, here ? `this trace / ${spanId}` : `${shortId(traceId)}… / ${spanId}`),
        entries.length === 0 ? null : this.nested(entries, link.attributeTypes ?? {})));
    }
    const more = this.moreOf("links", links.length);
    if (more !== null) list.append(element("li", {}, more));
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

  /** Asks the server at intervals which traces link to this one. @param {InspectorFrame} frame */
  askLinked({ trace: { traceId }, file }) {
    const now = performance.now();
    if (traceId !== this.linked.traceId) this.linked = { traceId, at: -Infinity, traces: [], more: false };
    if (file || now - this.linked.at < LINKED_KEPT_MS) return;
    this.linked.at = now;
    void this.actions.getJson(listRoute({ limit: LINKED_LIMIT, linkedTo: traceId })).then(({ status, body }) => {
      if (traceId !== this.linked.traceId || status !== 200 || !Array.isArray(body?.traces)) return;
      // Leave out the trace itself, whose spans may link to each other.
      const traces = body.traces.filter((/** @type {any} */ one) => one?.traceId !== traceId);
      if (JSON.stringify(traces) !== JSON.stringify(this.linked.traces)) this.linked = { traceId, at: performance.now(), traces, more: body.next !== null };
      this.actions.changed();
    });
  }

  /**
   * Shows the links to this span: from spans of this trace by name, and from other traces.
   * @param {Trace} trace @param {number[]} links @param {boolean} file @returns {HTMLElement | null}
   */
  back(trace, links, file) {
    // The server's answer is not about traces from a file.
    const { traces, more } = file ? { traces: [], more: false } : this.linked;
    if (links.length + traces.length === 0) return null;
    const list = element("ul", { class: "links" });
    for (const index of links.slice(0, this.limit("back"))) list.append(element("li", {}, this.anchor(trace.traceId, trace.spans.ids[index], shownName(trace, index)), element("span", { class: "faint", text: " to this span" })));
    for (const one of traces) {
      list.append(element("li", { "data-state": one.state }, icon(String(one.state)), " ", this.anchor(String(one.traceId), null, String(one.name || "(no name)").slice(0, 200)),
        element("span", { class: "faint", text: ` ${shortId(String(one.traceId))}, to this trace` })));
    }
    const moreHere = this.moreOf("back", links.length);
    if (moreHere !== null) list.append(element("li", {}, moreHere, element("span", { class: "faint", text: " spans of this trace" })));
    if (more) list.append(element("li", { class: "muted", text: "and further traces" }));
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
    return this.details("Process and resource", () => [this.bounded("process", entries, process?.attributeTypes ?? {})]);
  }

  /** @param {string} title @param {() => Node[]} fill called when first opened @returns {HTMLElement} */
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
      const json = JSON.stringify(span.event, null, 2);
      const rest = json.length - RAW_MAX;
      return [this.copyButton(json, "Copy the JSON"), textOf("pre", json.slice(0, RAW_MAX)),
        rest > 0 ? element("p", { class: "muted", text: `${formatCount(rest)} more characters are not shown; the copy button copies all.` }) : element("span")];
    });
  }
}

/**
 * Shows a value. Long JSON can be opened level by level, even if the value is a text that contains it.
 * @param {unknown} value @returns {HTMLElement}
 */
function valueView(value) {
  const structure = structureIn(value);
  const isLarge = structure !== undefined && valueText(value).length > JSON_FROM;
  return isLarge ? element("div", { class: "value", "data-type": typeOf(value), tabindex: 0 }, jsonView(structure)) : textOf("span", valueText(value), { class: "value", "data-type": typeOf(value) });
}

/**
 * Creates an element for a text. If the text may exceed its box, the keyboard can focus it to scroll.
 * @param {"span" | "pre"} tag @param {string} text @param {Record<string, string>} [properties]
 * @returns {HTMLElement}
 */
function textOf(tag, text, properties = {}) {
  const mayScroll = tag === "pre" || text.length > VALUE_FITS || text.split("\n", LINES_FIT + 1).length > LINES_FIT;
  return element(tag, { ...properties, text, tabindex: mayScroll ? 0 : null });
}

/**
 * @param {Span} span @param {string} key of an attribute
 * @returns {string} `was buy, until +12.3 s`, if it changed while the span ran
 */
function wasText({ trace, index }, key) {
  const was = key.startsWith("progress.") ? undefined : trace.live.get(index)?.changed.get(key);
  return was === undefined ? "" : `was ${shortened(valueText(was.before), WAS_LENGTH)}, until ${formatOffset(was.at - trace.start)}`;
}

/** The live facts, most important first. */
const LIVE_FACTS = ["Blocks", "Awaits", "Progress", "Task", "Last record"];

/** @param {InspectorFrame} frame @param {number} index @returns {[string, string][]} */
function liveFacts({ trace, now, moving }, index) {
  return [["Blocks", pollingText(trace, index, now, moving)], ["Awaits", awaitingText(trace, index, now, moving).replace(/^awaits /, "")],
    ["Progress", progressTextAt(trace, index, now)], ["Task", taskText(trace.spans.events[index]?.task)], ["Last record", lastText(trace, index, now, moving)]];
}

/**
 * @param {Trace} trace @param {number} index @param {number} now @param {boolean} moving
 * @returns {string} `12.3 s ago: WARN feed is slow`, or empty
 */
function lastText(trace, index, now, moving) {
  const line = lastLineOf(trace, index, Infinity);
  return line === null ? "" : `${formatOpen(Math.max(0, now - line.time), moving)} ago: ${line.level} ${shortened(line.text)}`;
}

/** @param {any} panic @returns {string[]} the location and thread of the panic, as far as known */
function placeOfPanic({ location, thread }) {
  const parts = [location ? `at ${shortPath(String(location))}` : "", thread ? `on thread ${String(thread)}` : ""].filter((part) => part !== "");
  return parts.length === 0 ? [] : [parts.join(" ")];
}

/** @param {string} title @param {number | null} count @param {HTMLElement} body @returns {HTMLElement} */
function section(title, count, body) {
  return element("section", { class: "section" },
    element("h3", {}, title, count === null || count === 0 ? null : element("span", { class: "faint", text: ` ${formatCount(count)}` })), body);
}

/** @param {Usual} usual @param {Span} span @param {boolean} slow @returns {HTMLElement} */
function usualText(usual, span, slow) {
  const { p50, p95, count } = usual;
  const own = span.end === null ? null : span.end - span.start;
  return element("span", { "data-slow": slow }, `${formatDuration(p50)}, 95 % within ${formatDuration(p95)}`, element("span", { class: "faint", text: ` (${formatCount(count)} spans)` }),
    slow ? element("span", { class: "slow", text: ` slower than usual${own === null ? "" : `: ${timesUsual(usual, own)}`}` }) : null);
}

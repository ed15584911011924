// @ts-check
// Draws the line above a trace: state, name, id, duration, counts and services. Must never iterate over spans.

import { shortId } from "../model/ids.mjs";
import { percentAt, progressTextAt, progressingSpan } from "../model/running.mjs";
import { besideText } from "../model/span-title.mjs";
import { firstSpan, isPartial, shownName, shownTraceState, traceName } from "../model/span.mjs";
import { formatCount, formatDuration, formatOpen, plural } from "../model/time.mjs";
import { STATE_WORDS, byId, icon, setAttribute, setIcon, setText, shortened } from "./dom.mjs";
import { ServiceChips } from "./service-chips.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

const SERVICES_MAX = 8;
const BESIDE_LENGTH_MAX = 40;
/** Buttons of the trace that have a shape. */
const TOOLS = [
  ["previous-error", "previous"], ["next-error", "chevron"], ["groups", "group"], ["expand-all", "expand"], ["collapse-all", "collapse"], ["critical", "steps"], ["follow", "follow"],
];
/** Marks for states in the title of a tab, which has no colour and little room. @type {Record<string, string>} */
const TAB_MARKS = { running: "◔", waiting: "‖", failing: "!", ok: "✓", below: "✓!", error: "✕", panicked: "✕", cancelled: "⊘", lost: "?" };

export class TitleView {
  /** Progress of the trace in percent, empty if it reports none. */
  percent = "";
  chips = new ServiceChips(byId("trace-services"), SERVICES_MAX);
  /** Title of the browser tab. */
  tab = "";

  constructor() {
    for (const [id, shape] of TOOLS) byId(id).prepend(icon(shape));
    // On a phone, rarely used buttons are in a menu.
    const more = byId("trace-more");
    more.addEventListener("click", () => {
      const isOpen = byId("trace-menu").toggleAttribute("data-open");
      setAttribute(more, "aria-expanded", String(isOpen));
    });
  }

  /** @param {TraceFrame} frame */
  draw({ trace, feed, now, moving, palette, titles }) {
    const { counts } = trace;
    const state = shownTraceState(trace);
    const shape = byId("trace-state");
    if (shape.firstElementChild === null) shape.append(icon(state));
    setIcon(/** @type {any} */ (shape.firstElementChild), state);
    setAttribute(shape, "data-state", state);
    setAttribute(shape, "title", STATE_WORDS[state]);
    setAttribute(byId("trace-page"), "data-state", state);
    const name = traceName(trace) || (feed.phase === "loading" ? "Loading…" : "Trace");
    setText(byId("trace-name"), name);
    setAttribute(byId("trace-name"), "title", name);
    const first = firstSpan(trace);
    setText(byId("trace-beside"), first < 0 ? "" : shortened(titles.of(first).beside.map(besideText).join(" "), BESIDE_LENGTH_MAX));
    setText(byId("trace-id"), shortId(trace.traceId));
    setAttribute(byId("trace-id"), "data-copy", trace.traceId);
    const elapsed = (counts.open > 0 ? Math.max(now, trace.start) : trace.end) - trace.start;
    const duration = counts.open > 0 ? formatOpen(elapsed, moving) : formatDuration(elapsed);
    // Missing spans may have begun earlier or ended later.
    setText(byId("trace-duration"), counts.total === 0 ? "" : isPartial(trace) ? `≥ ${duration}` : duration);
    const progressing = counts.open > 0 ? progressingSpan(trace, first) : -1;
    this.percent = percentAt(trace, progressing);
    setText(byId("trace-progress"), progressing < 0 ? "" : progressTextAt(trace, progressing, now));
    setAttribute(byId("trace-progress"), "title", progressing < 0 ? null : shownName(trace, progressing).slice(0, 500));
    setText(byId("trace-counts"), countsText(trace));
    this.tab = [TAB_MARKS[state], this.percent, traceName(trace) || "trace"].filter((part) => part !== undefined && part !== "").join(" ");
    const bad = counts.errors + counts.lost;
    setText(byId("error-number"), bad === 0 ? "no" : formatCount(bad));
    setText(byId("error-word"), bad === 1 ? "error" : "errors");
    setAttribute(byId("error-count"), "data-bad", bad > 0);
    // `aria-disabled` instead of `disabled`, which would remove the focus from the button in use.
    for (const id of ["next-error", "previous-error"]) setAttribute(byId(id), "aria-disabled", bad === 0 ? "true" : null);
    for (const [id, title] of [["next-error", "Next error (])"], ["previous-error", "Previous error ([)"]]) setAttribute(byId(id), "title", isPartial(trace) ? `${title}, among the spans that are kept` : title);
    this.drawServices(trace, palette);
  }

  /** @param {import("../model/model.mjs").Trace} trace @param {import("../model/palette.mjs").Palette} palette */
  drawServices(trace, palette) {
    // With a single service, span names have colours instead.
    this.chips.draw([...trace.services.values()], (name) => (trace.services.size > 1 ? palette.colour(name) : "var(--faint)"));
  }
}

/** @param {import("../model/model.mjs").Trace} trace @returns {string} */
function countsText({ counts, evicted }) {
  if (counts.total === 0) return "";
  const gone = evicted?.spans ?? 0;
  const parts = [gone > 0 ? `${formatCount(counts.total)} of ${plural(counts.total + gone, "span")} kept` : plural(counts.total, "span")];
  if (counts.open > 0) parts.push(`${formatCount(counts.open)} open`);
  if (counts.errors > 0) parts.push(`${plural(counts.errors, "error")}${counts.panicked > 0 ? `, ${formatCount(counts.panicked)} panicked` : ""}`);
  if (counts.lost > 0) parts.push(`${formatCount(counts.lost)} lost`);
  if (counts.cancelled > 0) parts.push(`${formatCount(counts.cancelled)} cancelled`);
  return parts.join(" · ");
}

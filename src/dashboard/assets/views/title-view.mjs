// @ts-check
// Draws the line above a trace: state, name, id, duration, counts and services. It must never look at a single span.

import { traceName, traceState } from "../model/span.mjs";
import { formatCount, formatDuration, formatTicking, plural } from "../model/time.mjs";
import { STATE_WORDS, byId, icon, setAttribute, setIcon, setText } from "./dom.mjs";
import { ServiceChips } from "./service-chips.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

const SERVICES_MAX = 8;

export class TitleView {
  chips = new ServiceChips(byId("trace-services"), SERVICES_MAX);

  /** @param {TraceFrame} frame */
  draw({ trace, feed, now, palette }) {
    const { counts } = trace;
    const state = traceState(trace);
    const shape = byId("trace-state");
    if (shape.firstElementChild === null) shape.append(icon(state));
    setIcon(/** @type {any} */ (shape.firstElementChild), state);
    setAttribute(shape, "data-state", state);
    setAttribute(shape, "title", STATE_WORDS[state]);
    setAttribute(byId("trace-page"), "data-state", state);
    const name = traceName(trace) || (feed.phase === "loading" ? "Loading…" : "Trace");
    setText(byId("trace-name"), name);
    setAttribute(byId("trace-name"), "title", name);
    setText(byId("trace-id"), trace.traceId.slice(0, 8));
    setAttribute(byId("trace-id"), "data-copy", trace.traceId);
    const elapsed = (counts.open > 0 ? Math.max(now, trace.start) : trace.end) - trace.start;
    setText(byId("trace-duration"), counts.total === 0 ? "" : counts.open > 0 ? formatTicking(elapsed) : formatDuration(elapsed));
    setText(byId("trace-counts"), countsText(counts));
    const none = counts.errors + counts.lost === 0;
    for (const id of ["next-error", "previous-error"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = none;
    this.drawServices(trace, palette);
  }

  /** @param {import("../model/model.mjs").Trace} trace @param {import("../model/palette.mjs").Palette} palette */
  drawServices(trace, palette) {
    // One service alone has no colour of its own: then names have.
    this.chips.draw([...trace.services.values()], (name) => (trace.services.size > 1 ? palette.colour(name) : "var(--faint)"));
  }
}

/** @param {import("../model/tree.mjs").Counts} counts @returns {string} */
function countsText(counts) {
  if (counts.total === 0) return "";
  const parts = [plural(counts.total, "span")];
  if (counts.open > 0) parts.push(`${formatCount(counts.open)} open`);
  if (counts.errors > 0) parts.push(plural(counts.errors, "error"));
  if (counts.lost > 0) parts.push(`${formatCount(counts.lost)} lost`);
  return parts.join(" · ");
}

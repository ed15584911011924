// @ts-check
// Draws the line above a trace: state, name, id, duration, counts and services. It must never look at a single span.

import { STATE_WORDS, byId, element, icon, setAttribute, setIcon, setStyle, setText } from "./dom.mjs";
import { traceName, traceState } from "./span.mjs";
import { formatCount, formatDuration, formatTicking, plural } from "./time.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

const SERVICES_MAX = 8;

export class TitleView {
  servicesFor = "";

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

  /** @param {import("./model.mjs").Trace} trace @param {import("./palette.mjs").Palette} palette */
  drawServices(trace, palette) {
    const services = [...trace.services.values()].slice(0, SERVICES_MAX);
    const key = `${trace.services.size} ${services.map((service) => `${service.name} ${service.spans}`).join("\n")}`;
    if (key === this.servicesFor) return;
    this.servicesFor = key;
    const more = trace.services.size - services.length;
    byId("trace-services").replaceChildren(...services.map((service) => {
      const dot = element("span", { class: "service-dot" });
      // One service alone has no colour of its own: then names have.
      setStyle(dot, "background", trace.services.size > 1 ? palette.colour(service.name) : "var(--faint)");
      return element("span", { class: "chip" }, dot, element("span", { class: "chip-name", text: service.name || "(no service)" }),
        element("span", { class: "faint", text: formatCount(service.spans) }));
    }), ...(more > 0 ? [element("span", { class: "chip faint", text: `+${more}` })] : []));
  }
}

/** @param {import("./tree.mjs").Counts} counts @returns {string} */
function countsText(counts) {
  if (counts.total === 0) return "";
  const parts = [plural(counts.total, "span")];
  if (counts.open > 0) parts.push(`${formatCount(counts.open)} open`);
  if (counts.errors > 0) parts.push(plural(counts.errors, "error"));
  if (counts.lost > 0) parts.push(`${formatCount(counts.lost)} lost`);
  return parts.join(" · ");
}

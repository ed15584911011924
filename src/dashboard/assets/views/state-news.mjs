// @ts-check
// Tells whoever does not see the page when the trace on show, or the span that is selected, comes into another state. It must
// never tell of rows that nobody asked for.

import { indexOf } from "../model/model.mjs";
import { shownName, shownStateOf, shownTraceState, traceName } from "../model/span.mjs";
import { STATE_WORDS, shortened } from "./dom.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

export class StateNews {
  /** What was told last, and of what. */
  trace = { of: "", state: "" };
  span = { of: "", state: "" };

  /** @param {(text: string) => void} announce */
  constructor(announce) {
    this.announce = announce;
  }

  /** @param {TraceFrame} frame */
  hear({ trace, ui, moment, identity }) {
    const index = indexOf(trace, ui.spanId);
    const parts = [];
    // Of a journey in time, the scrubber tells.
    const isNow = moment === null && trace.counts.total > 0;
    if (this.changed(this.trace, `${identity} ${isNow}`, shownTraceState(trace)) && isNow) parts.push(`${traceName(trace)}: ${STATE_WORDS[this.trace.state]}`);
    if (this.changed(this.span, `${identity} ${isNow} ${ui.spanId} ${index >= 0}`, index < 0 ? "" : shownStateOf(trace, index)) && isNow) {
      parts.push(`${shownName(trace, index)}: ${STATE_WORDS[this.span.state]}`);
    }
    if (parts.length > 0) this.announce(parts.map((part) => shortened(part)).join(". "));
  }

  /** @param {{of: string, state: string}} told @param {string} of @param {string} state @returns {boolean} whether the same thing came into another state */
  changed(told, of, state) {
    const isNews = told.of === of && told.state !== state && told.state !== "";
    Object.assign(told, { of, state });
    return isNews;
  }
}

// @ts-check
// Announces to screen readers when the shown trace, the selected span or the focused row of the list changes its
// state. Must never announce other rows.

import { shownStateOfSummary } from "../model/list-model.mjs";
import { indexOf } from "../model/model.mjs";
import { shownName, shownStateOf, shownTraceState, traceName } from "../model/span.mjs";
import { STATE_WORDS, shortened } from "./dom.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

export class StateNews {
  /** The last known state, and the trace or span that has it. */
  trace = { of: "", state: "" };
  span = { of: "", state: "" };
  row = { of: "", state: "" };

  /** @param {(text: string) => void} announce */
  constructor(announce) {
    this.announce = announce;
  }

  /** @param {TraceFrame} frame */
  update({ trace, ui, moment, identity }) {
    const index = indexOf(trace, ui.spanId);
    const parts = [];
    // In time travel, the scrubber makes the announcements.
    const isNow = moment === null && trace.counts.total > 0;
    if (this.changed(this.trace, `${identity} ${isNow}`, shownTraceState(trace)) && isNow) parts.push(`${traceName(trace)}: ${STATE_WORDS[this.trace.state]}`);
    if (this.changed(this.span, `${identity} ${isNow} ${ui.spanId} ${index >= 0}`, index < 0 ? "" : shownStateOf(trace, index)) && isNow) {
      parts.push(`${shownName(trace, index)}: ${STATE_WORDS[this.span.state]}`);
    }
    if (parts.length > 0) this.announce(parts.map((part) => shortened(part)).join(". "));
  }

  /** @param {import("../model/list-model.mjs").Summary | null} trace the trace whose row has the focus */
  updateRow(trace) {
    if (this.changed(this.row, trace?.traceId ?? "", trace === null ? "" : shownStateOfSummary(trace))) this.announce(shortened(`${trace?.name || "trace"}: ${STATE_WORDS[this.row.state]}`));
  }

  /**
   * @param {{of: string, state: string}} known @param {string} of @param {string} state
   * @returns {boolean} whether the same trace or span has another state
   */
  changed(known, of, state) {
    const isNews = known.of === of && known.state !== state && known.state !== "";
    Object.assign(known, { of, state });
    return isNews;
  }
}

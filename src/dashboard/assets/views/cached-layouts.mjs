// @ts-check
// Results of passes over all spans of a trace: its rows, and the gaps between its spans. They are cached until out of
// date, and recomputed at most as often as the page can afford. Must never touch the DOM, nor write to a trace except
// through `flatten`.

import { isPartial } from "../model/span.mjs";
import { spanGaps } from "../model/timescale.mjs";
import { flatten, noRows } from "../model/visible-rows.mjs";

/** @typedef {import("../model/model.mjs").Trace} Trace */

// While a trace grows, the next pass over its rows waits this many times as long as the last pass took.
const ROWS_PATIENCE = 8;
/** A pass that takes less time may run in every frame. */
export const CHEAP_MS = 3;
const GAPS_EVERY_MS = 250;
const GAPS_PATIENCE = 20;

export class KeptRows {
  rows = noRows();
  spare = noRows();
  madeFor = "";
  madeAt = -Infinity;
  cost = 0;

  /** @param {import("./ui-state.mjs").Ui} ui */
  constructor(ui) {
    this.ui = ui;
  }

  /** Marks the rows as out of date, because another trace is shown. */
  forget() {
    this.madeFor = "";
  }

  /** @param {Trace} trace @returns {string} */
  key(trace) {
    return `${trace.structure} ${trace.errorMarksStale} ${this.ui.foldVersion}`;
  }

  /**
   * Recomputes the rows at once after folding, and at intervals while a large trace grows.
   * @param {Trace} trace @param {boolean} isHeld whether no row may move, because a pointer presses one
   */
  refresh(trace, isHeld) {
    const folded = !this.madeFor.endsWith(` ${this.ui.foldVersion}`);
    if (folded || (!isHeld && this.wait(trace) <= 0)) this.make(trace);
  }

  /** @param {Trace} trace */
  make(trace) {
    if (this.madeFor === this.key(trace)) return;
    const began = performance.now();
    const old = this.rows;
    this.rows = flatten(trace, this.ui.fold, this.spare);
    this.spare = old;
    this.madeFor = this.key(trace);
    this.madeAt = performance.now();
    this.cost = this.madeAt - began;
  }

  /**
   * @param {Trace} trace
   * @returns {number} milliseconds until the rows may be recomputed; Infinity if they are up to date
   */
  wait(trace) {
    if (this.madeFor === this.key(trace)) return Infinity;
    if (this.cost < CHEAP_MS) return 0;
    return Math.max(0, this.madeAt + this.cost * ROWS_PATIENCE - performance.now());
  }
}

export class SpanGaps {
  /** @type {import("../model/timescale.mjs").Stretch[]} */
  gaps = [];
  foundAt = -Infinity;
  foundFor = "";
  /** The live edge when the gaps were found. */
  edge = NaN;
  cost = 0;

  forget() {
    this.foundFor = "";
    this.gaps = [];
  }

  /**
   * @param {{trace: Trace, now: number, live: boolean}} frame
   * @param {import("../model/timescale.mjs").Stretch} stretch the visible stretch
   * @returns {number} milliseconds until the next refresh is due
   */
  refresh({ trace, now, live }, stretch) {
    const key = `${trace.version} ${stretch.start} ${stretch.end}`;
    const at = performance.now();
    if (key === this.foundFor && !live) return Infinity;
    // A pass over all spans does not run in every frame, neither while the trace grows nor while the reader zooms.
    const wait = this.foundFor === "" ? 0 : this.foundAt + Math.max(GAPS_EVERY_MS, this.cost * GAPS_PATIENCE) - at;
    if (wait > 0) {
      // Meanwhile a gap at the live edge grows with it.
      const last = this.gaps[this.gaps.length - 1];
      if (live && last !== undefined && last.end === this.edge) last.end = this.edge = now;
      return wait;
    }
    this.foundFor = key;
    this.foundAt = at;
    this.edge = now;
    // In a partial trace, missing spans may have run in the gaps.
    this.gaps = trace.counts.total === 0 || isPartial(trace) ? [] : spanGaps(trace, now, stretch);
    this.cost = performance.now() - at;
    return live ? GAPS_EVERY_MS : Infinity;
  }
}

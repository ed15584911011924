// @ts-check
// Looks at all spans of a trace, kept until they are out of date and made no more often than a page can afford: its rows, and
// the gaps in which nothing works. It must never touch the DOM, nor change a trace.

import { isPartial } from "../model/span.mjs";
import { spanGaps } from "../model/timescale.mjs";
import { flatten, noRows } from "../model/visible-rows.mjs";

/** @typedef {import("../model/model.mjs").Trace} Trace */

// Rows may be made anew for this share of the time while a trace grows.
const ROWS_PATIENCE = 8;
/** A look that takes less costs nobody a frame. */
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

  /** What was made is of another trace. */
  forget() {
    this.madeFor = "";
  }

  /** @param {Trace} trace @returns {string} */
  key(trace) {
    return `${trace.structure} ${trace.errorMarksStale} ${this.ui.foldVersion}`;
  }

  /** A large trace that grows is not made anew in every frame; what the reader folds is. @param {Trace} trace */
  refresh(trace) {
    const folded = !this.madeFor.endsWith(` ${this.ui.foldVersion}`);
    if (folded || this.wait(trace) <= 0) this.make(trace);
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

  /** @param {Trace} trace @returns {number} milliseconds until rows may be made anew; Infinity when nothing is to be done */
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
  /** The live edge as the gaps know it. */
  edge = NaN;
  cost = 0;

  forget() {
    this.foundFor = "";
  }

  /**
   * @param {{trace: Trace, now: number, live: boolean}} frame
   * @param {import("../model/timescale.mjs").Stretch} stretch on show
   * @returns {number} milliseconds until it wants to look again
   */
  refresh({ trace, now, live }, stretch) {
    const key = `${trace.version} ${stretch.start} ${stretch.end}`;
    const at = performance.now();
    if (key === this.foundFor && !live) return Infinity;
    // A look at all spans is not for every frame, be it that they grow or that the reader zooms.
    const wait = this.foundFor === "" ? 0 : this.foundAt + Math.max(GAPS_EVERY_MS, this.cost * GAPS_PATIENCE) - at;
    if (wait > 0) {
      // Meanwhile a gap that reaches the live edge goes on growing with it.
      const last = this.gaps[this.gaps.length - 1];
      if (live && last !== undefined && last.end === this.edge) last.end = this.edge = now;
      return wait;
    }
    this.foundFor = key;
    this.foundAt = at;
    this.edge = now;
    // What is left of a trace does not say when nothing ran.
    this.gaps = trace.counts.total === 0 || isPartial(trace) ? [] : spanGaps(trace, now, stretch);
    this.cost = performance.now() - at;
    return live ? GAPS_EVERY_MS : Infinity;
  }
}

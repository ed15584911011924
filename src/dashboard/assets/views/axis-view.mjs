// @ts-check
// Draws the time axis: ticks, guides, the live edge, compressed gaps, and the hairline at the pointer with its time.
// Must never change the visible stretch.

import { clockText } from "../model/clock.mjs";
import { axisTicks } from "../model/layout.mjs";
import { formatDuration } from "../model/time.mjs";
import { byId, element, setAttribute, setShown, setStyle, setText } from "./dom.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

const TICK_LABEL_WIDTH = 60;
const HAIR_LABEL_WIDTH = 190;

export class AxisView {
  constructor() {
    this.axis = byId("axis");
    this.guides = byId("guides");
    /** @type {HTMLElement[]} */
    this.ticks = [];
    /** @type {HTMLElement[]} */
    this.lines = [];
    /** @type {HTMLElement[]} */
    this.bands = [];
    this.edge = element("span", { class: "edge", hidden: true });
    this.hair = element("span", { class: "hair", hidden: true });
    this.hairLabel = element("span", { class: "hair-label", hidden: true });
    this.guides.append(this.edge, this.hair);
    this.axis.append(this.hairLabel);
    this.drawnFor = "";
    /** Position of the pointer in pixels of the time column, null if it is elsewhere. @type {number | null} */
    this.pointer = null;
  }

  /** @param {TraceFrame} frame @param {number} nameWidth */
  draw(frame, nameWidth) {
    const { scale, trace, now, live } = frame;
    const key = `${scale.key} ${trace.start} ${nameWidth}`;
    if (key !== this.drawnFor) {
      this.drawnFor = key;
      setStyle(this.guides, "left", `${nameWidth}px`);
      setStyle(this.guides, "width", `${scale.width}px`);
      this.drawTicks(frame);
      this.drawGaps(frame);
    }
    const x = scale.x(now);
    setShown(this.edge, live && x >= 0 && x <= scale.width);
    if (live) setStyle(this.edge, "transform", `translateX(${x.toFixed(1)}px)`);
    this.drawHair(frame);
  }

  /** @param {TraceFrame} frame */
  drawTicks({ scale, trace }) {
    const ticks = axisTicks(scale, trace.start);
    // On a narrow page only every second or third label fits.
    const every = Math.max(1, Math.ceil((TICK_LABEL_WIDTH * ticks.length) / Math.max(1, scale.width)));
    while (this.ticks.length < ticks.length) {
      this.ticks.push(element("span", { class: "tick" }));
      this.lines.push(element("span", { class: "guide" }));
      this.axis.append(this.ticks[this.ticks.length - 1]);
      this.guides.append(this.lines[this.lines.length - 1]);
    }
    for (const [index, node] of this.ticks.entries()) {
      const tick = ticks[index];
      setShown(node, tick !== undefined);
      setShown(this.lines[index], tick !== undefined);
      if (tick === undefined) continue;
      setText(node, index % every === 0 ? tick.label : "");
      setStyle(node, "transform", `translateX(${tick.x.toFixed(1)}px)`);
      // The last label must stay inside the border.
      setAttribute(node, "data-flip", tick.x > scale.width - 56);
      setStyle(this.lines[index], "transform", `translateX(${tick.x.toFixed(1)}px)`);
    }
  }

  /** @param {TraceFrame} frame */
  drawGaps({ scale }) {
    while (this.bands.length < scale.gaps.length) {
      const band = element("span", { class: "gap-band" }, element("span", { class: "gap-text" }));
      this.bands.push(band);
      this.guides.append(band);
    }
    for (const [index, band] of this.bands.entries()) {
      const gap = scale.gaps[index];
      setShown(band, gap !== undefined);
      if (gap === undefined) continue;
      setStyle(band, "transform", `translateX(${gap.x.toFixed(1)}px)`);
      setStyle(band, "width", `${gap.width.toFixed(1)}px`);
      setText(/** @type {Node} */ (band.firstChild), `${formatDuration(gap.end - gap.start)} between spans`);
    }
  }

  /** @param {TraceFrame} frame */
  drawHair({ scale, trace, ui }) {
    const x = this.pointer;
    const shown = x !== null && x >= 0 && x <= scale.width && trace.counts.total > 0;
    setShown(this.hair, shown);
    setShown(this.hairLabel, shown);
    if (!shown || x === null) return;
    const time = scale.time(x);
    setStyle(this.hair, "transform", `translateX(${x.toFixed(1)}px)`);
    setText(this.hairLabel, `${offsetText(time - trace.start, (scale.end - scale.start) / scale.width)} · ${clockText(trace.originSeconds * 1_000 + time, ui.zone)}${ui.zone === "utc" ? " UTC" : ""}`);
    setStyle(this.hairLabel, "transform", `translateX(${Math.min(x, Math.max(0, scale.width - HAIR_LABEL_WIDTH)).toFixed(1)}px)`);
  }
}

/**
 * Formats an offset with the precision of one pixel.
 * @param {number} offset @param {number} perPixel @returns {string}
 */
function offsetText(offset, perPixel) {
  const sign = offset < 0 ? "−" : "+";
  const value = Math.abs(offset);
  if (value >= 60_000 && perPixel >= 100) return `${sign}${formatDuration(value)}`;
  const [unit, size] = value >= 1000 ? ["s", 1000] : value >= 1 ? ["ms", 1] : ["µs", 0.001];
  const decimals = Math.max(0, Math.min(6, Math.ceil(-Math.log10(perPixel / Number(size)))));
  return `${sign}${(value / Number(size)).toFixed(decimals)} ${unit}`;
}

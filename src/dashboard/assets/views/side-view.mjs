// @ts-check
// Draws the area beside the minimap: the zoomed stretch, and the button that compresses gaps. Must never decide what
// a gap is.

import { formatDuration, formatOffset } from "../model/time.mjs";
import { byId, setAttribute, setShown, setText } from "./dom.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

export class SideView {
  /** @param {import("./ui-state.mjs").Ui} ui */
  constructor(ui) {
    byId("gap-offer").addEventListener("click", () => ui.setCompress(!ui.compress));
    byId("zoom-fit").addEventListener("click", () => ui.setZoom(null));
  }

  /** @param {TraceFrame} frame @param {import("../model/timescale.mjs").Stretch[]} gaps */
  draw({ ui, scale, trace }, gaps) {
    const fit = byId("zoom-fit");
    setShown(fit, ui.zoom !== null);
    if (ui.zoom !== null) setText(fit, stretchText(ui.zoom, trace.start));
    const offer = byId("gap-offer");
    setShown(offer, gaps.length > 0 || ui.compress);
    setAttribute(offer, "aria-pressed", String(ui.compress));
    setText(offer, gapsText(gaps, scale, ui.compress));
  }
}

/** @param {import("../model/timescale.mjs").Stretch} zoom @param {number} start of the trace @returns {string} */
export function stretchText(zoom, start) {
  return `${formatDuration(zoom.end - zoom.start)} at ${formatOffset(Math.max(0, zoom.start - start))}`;
}

/**
 * Describes the time in gaps: `36.0 s, 99.6 % between spans · compress?`
 * @param {import("../model/timescale.mjs").Stretch[]} gaps
 * @param {import("../model/timescale.mjs").Stretch} stretch the visible stretch
 * @param {boolean} compressed
 * @returns {string}
 */
export function gapsText(gaps, stretch, compressed) {
  const between = gaps.reduce((sum, gap) => sum + Math.max(0, Math.min(gap.end, stretch.end) - Math.max(gap.start, stretch.start)), 0);
  if (between === 0) return compressed ? "no time between spans" : "";
  const share = Math.min(99.9, (between / (stretch.end - stretch.start)) * 100);
  return `${formatDuration(between)}, ${share.toFixed(share > 99 ? 1 : 0)} % between spans · ${compressed ? "compressed" : "compress?"}`;
}

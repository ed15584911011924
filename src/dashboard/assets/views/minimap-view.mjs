// @ts-check
// The minimap: the whole trace in 40 pixels of height, and the window that the waterfall shows. Writes pixels
// directly, because 100,000 canvas calls take longer than a frame. Must never change a trace.

import { STATE, isBadState } from "../model/columns.mjs";
import { SERVICE_COLOURS } from "../model/palette.mjs";
import { barEnd } from "../model/span.mjs";
import { pan, within } from "../model/timescale.mjs";
import { colours, pixelOf } from "../paint/colours.mjs";
import { byId, element, setShown, setStyle } from "./dom.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("../model/timescale.mjs").Scale} Scale
 * @typedef {"new" | "move" | "left" | "right"} Grip
 */

const MINIMAP_HEIGHT = 40;
/** Maximum number of lanes. Deeper levels share the last one. */
const LANES_MAX = 5;
/** Maximum distance from one lane to the next, in pixels. */
const PITCH_MAX = 12;
/** Minimum size of an error in pixels, so that it is easy to see. */
const ERROR_SIZE = 2;
// The time between two paints is at least this many times the cost of the last one.
const PICTURE_PATIENCE = 15;
const INTERVAL_MIN_MS = 80;
const HANDLE_WIDTH = 9;
const BRUSH_MIN = 3;

export class MinimapView {
  /** @param {{ui: import("./ui-state.mjs").Ui}} context */
  constructor({ ui }) {
    this.ui = ui;
    this.root = byId("minimap");
    this.canvas = element("canvas", { class: "minimap-canvas", height: MINIMAP_HEIGHT });
    this.window = element("span", { class: "brush", hidden: true });
    this.before = element("span", { class: "brush-shade", hidden: true });
    this.after = element("span", { class: "brush-shade", hidden: true });
    this.root.append(this.canvas, this.before, this.after, this.window);
    /** @type {Scale | null} */
    this.scale = null;
    this.drawnFor = "";
    this.drawnAt = -Infinity;
    this.cost = 0;
    /** @type {ImageData | null} */
    this.image = null;
    this.root.addEventListener("pointerdown", (event) => this.pressed(event));
    this.root.addEventListener("dblclick", () => ui.setZoom(null));
  }

  /**
   * @param {TraceFrame} frame
   * @param {Scale} scale of the whole trace
   * @param {"paint" | "spare"} effort `spare`: the frame was expensive already, so an existing picture is kept
   * @returns {number} milliseconds until the next draw without input
   */
  draw(frame, scale, effort) {
    this.scale = scale;
    this.drawWindow(scale);
    const key = `${frame.identity} ${frame.trace.version} ${scale.key} ${colours().key}`;
    if (key === this.drawnFor || !(scale.width > 0)) return Infinity;
    const now = performance.now();
    const wait = this.drawnAt + Math.max(INTERVAL_MIN_MS, this.cost * PICTURE_PATIENCE) - now;
    if (this.drawnFor !== "" && (wait > 0 || effort === "spare")) return Math.max(0, wait);
    this.drawnFor = key;
    this.drawnAt = now;
    this.paint(frame, scale);
    this.cost = performance.now() - now;
    return frame.live ? Math.max(INTERVAL_MIN_MS, this.cost * PICTURE_PATIENCE) : Infinity;
  }

  /** @param {Scale} scale */
  drawWindow(scale) {
    const { zoom } = this.ui;
    for (const node of [this.window, this.before, this.after]) setShown(node, zoom !== null);
    if (zoom === null) return;
    const from = Math.max(0, scale.x(zoom.start));
    const to = Math.min(scale.width, scale.x(zoom.end));
    setStyle(this.window, "transform", `translateX(${from.toFixed(1)}px)`);
    setStyle(this.window, "width", `${Math.max(3, to - from).toFixed(1)}px`);
    setStyle(this.before, "width", `${from.toFixed(1)}px`);
    setStyle(this.after, "transform", `translateX(${to.toFixed(1)}px)`);
    setStyle(this.after, "width", `${Math.max(0, scale.width - to).toFixed(1)}px`);
  }

  /** @param {TraceFrame} frame @param {Scale} scale */
  paint(frame, scale) {
    const width = Math.max(1, Math.round(scale.width));
    const context = this.canvas.getContext("2d");
    if (context === null) return;
    if (this.canvas.width !== width || this.image === null) {
      this.canvas.width = width;
      this.image = context.createImageData(width, MINIMAP_HEIGHT);
    }
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill(0);
    paintSpans(pixels, width, frame, scale);
    context.putImageData(this.image, 0, 0);
  }

  // Pointer input

  /** @param {PointerEvent} event */
  pressed(event) {
    if (event.button !== 0 || this.scale === null) return;
    event.preventDefault();
    const left = this.root.getBoundingClientRect().left;
    const from = event.clientX - left;
    const grip = this.gripAt(from);
    const zoom = this.ui.zoom;
    let moved = false;
    this.root.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ next) => {
      const to = next.clientX - left;
      if (!moved && Math.abs(to - from) < BRUSH_MIN) return;
      moved = true;
      this.drag(grip, zoom, from, to);
    };
    const stop = () => {
      this.root.removeEventListener("pointermove", move);
      this.root.removeEventListener("pointerup", stop);
      this.root.removeEventListener("pointercancel", stop);
      if (!moved && zoom !== null && grip === "new") this.centre(zoom, from);
    };
    this.root.addEventListener("pointermove", move);
    this.root.addEventListener("pointerup", stop);
    this.root.addEventListener("pointercancel", stop);
  }

  /** @param {number} x @returns {Grip} */
  gripAt(x) {
    const { zoom } = this.ui;
    if (zoom === null || this.scale === null) return "new";
    const from = this.scale.x(zoom.start);
    const to = this.scale.x(zoom.end);
    if (Math.abs(x - from) <= HANDLE_WIDTH / 2) return "left";
    if (Math.abs(x - to) <= HANDLE_WIDTH / 2) return "right";
    return x > from && x < to ? "move" : "new";
  }

  /** @param {Grip} grip @param {import("../model/timescale.mjs").Stretch | null} zoom the zoom at the start of the drag @param {number} from @param {number} to */
  drag(grip, zoom, from, to) {
    const scale = /** @type {Scale} */ (this.scale);
    const time = scale.time(Math.max(0, Math.min(scale.width, to)));
    if (grip === "move" && zoom !== null) {
      const by = scale.time(to) - scale.time(from);
      this.ui.setZoom(pan(zoom, by / (zoom.end - zoom.start), scale));
      return;
    }
    const anchor = grip === "new" || zoom === null ? scale.time(from) : grip === "left" ? zoom.end : zoom.start;
    this.ui.setZoom(within({ start: Math.min(anchor, time), end: Math.max(anchor, time) }, scale));
  }

  /** @param {import("../model/timescale.mjs").Stretch} zoom @param {number} x */
  centre(zoom, x) {
    const scale = /** @type {Scale} */ (this.scale);
    const half = (zoom.end - zoom.start) / 2;
    this.ui.setZoom(within({ start: scale.time(x) - half, end: scale.time(x) + half }, scale));
  }
}

/**
 * Paints a lane for each level. A pixel has the most frequent colour of its spans. Errors cover the other spans.
 * @param {Uint32Array} pixels @param {number} width @param {TraceFrame} frame @param {Scale} scale
 */
function paintSpans(pixels, width, frame, scale) {
  const { trace, now } = frame;
  const { spans } = trace;
  const { start, end, state } = spans;
  const { lanes, levels } = lanesOf(trace);
  const slot = slotOfSpan(frame);
  const pitch = Math.min(PITCH_MAX, Math.floor(MINIMAP_HEIGHT / levels));
  /** Starts minus ends of spans, by lane, colour and pixel. */
  const changes = new Int32Array(levels * SERVICE_COLOURS * (width + 1));
  const bad = [];
  // Without gaps, a position is a single product, which is much faster for 100,000 spans.
  const perPixel = scale.gaps.length === 0 ? scale.pixelsPerMillisecond : NaN;
  const place = (/** @type {number} */ time) => Math.round(Number.isNaN(perPixel) ? scale.x(time) : (time - scale.start) * /** @type {number} */ (perPixel));
  const from = (/** @type {number} */ index) => Math.max(0, Math.min(width - 1, place(start[index])));
  const to = (/** @type {number} */ index) => Math.min(width, place(state[index] === STATE.lost || Number.isNaN(end[index]) ? barEnd(trace, index, now) : end[index]));
  for (let index = 0; index < spans.count; index += 1) {
    if (state[index] === STATE.placeholder || Number.isNaN(start[index])) continue;
    if (isBadState(state[index])) bad.push(index);
    const row = (lanes[index] * SERVICE_COLOURS + slot(index)) * (width + 1);
    const left = from(index);
    changes[row + left] += 1;
    changes[row + Math.max(left + 1, to(index))] -= 1;
  }
  const fill = (/** @type {number} */ lane, /** @type {number} */ x, /** @type {number} */ pixel) => {
    for (let y = lane * pitch; y < (lane + 1) * pitch - 1; y += 1) pixels[y * width + x] = pixel;
  };
  paintLanes({ changes, width, levels }, fill);
  // Errors are painted last, so that no span covers them.
  const error = pixelOf(colours().by.error);
  for (const index of bad) for (let x = from(index), until = Math.min(width, Math.max(x + ERROR_SIZE, to(index))); x < until; x += 1) fill(lanes[index], x, error);
}

/** @param {{changes: Int32Array, width: number, levels: number}} counted @param {(lane: number, x: number, pixel: number) => void} fill */
function paintLanes({ changes, width, levels }, fill) {
  const { pixels } = colours();
  const running = new Int32Array(SERVICE_COLOURS);
  for (let lane = 0; lane < levels; lane += 1) {
    running.fill(0);
    for (let x = 0; x < width; x += 1) {
      let best = -1;
      let most = 0;
      for (let slot = 0; slot < SERVICE_COLOURS; slot += 1) {
        running[slot] += changes[(lane * SERVICE_COLOURS + slot) * (width + 1) + x];
        if (running[slot] > most) {
          most = running[slot];
          best = slot;
        }
      }
      if (best >= 0) fill(lane, x, pixels[best]);
    }
  }
}

/**
 * Returns the lane of each span. There are at most LANES_MAX; deeper levels share the last one.
 * @param {import("../model/model.mjs").Trace} trace
 */
function lanesOf({ spans }) {
  const lanes = new Int8Array(spans.count).fill(-1);
  let deepest = 0;
  for (let index = 0; index < spans.count; index += 1) {
    if (lanes[index] >= 0) continue;
    // Climb to an ancestor whose lane is known, or to the root, and count the steps. Then climb once more from the
    // span, and assign a lane at each step.
    let steps = 0;
    let top = index;
    while (lanes[top] < 0 && spans.parent[top] >= 0) {
      top = spans.parent[top];
      steps += 1;
    }
    // The children of a placeholder root are in the first lane.
    const isUnseen = spans.state[top] === STATE.placeholder && spans.parent[top] < 0;
    let level = (lanes[top] >= 0 ? lanes[top] : isUnseen ? -1 : 0) + steps;
    for (let step = index; steps >= 0; step = spans.parent[step], level -= 1, steps -= 1) {
      if (lanes[step] < 0) lanes[step] = Math.max(0, Math.min(LANES_MAX - 1, level));
      if (steps === 0) break;
    }
    if (lanes[index] > deepest) deepest = lanes[index];
  }
  return { lanes, levels: deepest + 1 };
}

/**
 * Returns a function that looks up the colour slot of a span. It computes the slot of each name or service once.
 * @param {TraceFrame} frame @returns {(index: number) => number}
 */
function slotOfSpan({ trace, palette }) {
  const { spans, strings } = trace;
  const byName = trace.services.size <= 1;
  const slots = new Int32Array(strings.list.length).fill(-1);
  return (index) => {
    const text = byName ? spans.name[index] : spans.service[index];
    if (slots[text] < 0) slots[text] = palette.slotOf(trace, index);
    return slots[text];
  };
}

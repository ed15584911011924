// @ts-check
// The flame view of a trace: a canvas below the same axis and minimap as the waterfall, with the same colours,
// selection, zoom and moment. Must never change the model, nor lay out spans: `flame.mjs` does that.

import { flameRow, layoutFlame, spanAtPlace } from "../model/flame.mjs";
import { scrollToShow } from "../model/layout.mjs";
import { childrenOf, indexOf } from "../model/model.mjs";
import { percentAt } from "../model/running.mjs";
import { barEnd, serviceOf, shownName, shownStateOf } from "../model/span.mjs";
import { formatOffset, plural } from "../model/time.mjs";
import { fitTo, openEdge, wholeStretch } from "../model/timescale.mjs";
import { colours } from "../paint/colours.mjs";
import { FLAME_ROW, durationText, paintFlame } from "../paint/flame-paint.mjs";
import { CHEAP_MS } from "./cached-layouts.mjs";
import { STATE_WORDS, byId, element, setAttribute, setShown, setStyle, setText, shortened } from "./dom.mjs";
import { runningWords } from "./running-view.mjs";
import { attachZoom } from "./zoom-input.mjs";

/** @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame */

// Pause after a costly layout while a trace grows, as a multiple of the layout's time.
const LAYOUT_PATIENCE = 15;
const TIP_ROOM = 300;

export class FlameView {
  /** @type {TraceFrame | null} */
  frame = null;
  /** @type {import("../model/flame.mjs").FlameLayout | null} */
  layout = null;
  laidOutFor = "";
  identity = 0;
  /** @type {number | null} */
  moment = null;
  laidOutAt = -Infinity;
  layoutCost = 0;
  selectedFor = "";
  viewport = 0;
  font = "";
  /** Position of the pointer in pixels of the canvas, null if it is elsewhere. @type {{x: number, y: number} | null} */
  pointer = null;

  /**
   * @param {{ui: import("./ui-state.mjs").Ui, actions: {select: (spanId: string | null) => void, goTo: (spanId: string) => void, announce: (text: string) => void},
   *   decorators: import("./span-row-view.mjs").Decorator[], follower: import("../model/follow.mjs").Follower}} context
   */
  constructor({ ui, actions, decorators, follower }) {
    this.ui = ui;
    this.decorators = decorators;
    this.follower = follower;
    this.actions = actions;
    this.root = byId("flame");
    this.canvas = element("canvas", { class: "flame-canvas", role: "application", "aria-roledescription": "flame graph", "aria-label": "Flame view", tabindex: "0" });
    this.space = element("div", { class: "flame-space" }, this.canvas);
    this.tipName = element("strong");
    this.tipFacts = element("span");
    this.tip = element("div", { class: "flame-tip", "aria-hidden": "true", hidden: true }, this.tipName, this.tipFacts);
    this.root.append(this.space);
    byId("tree").append(this.tip);
    this.listen();
  }

  listen() {
    const { canvas, root, ui } = this;
    new ResizeObserver(() => {
      this.viewport = root.clientHeight;
      ui.changed();
    }).observe(root);
    root.addEventListener("scroll", () => ui.changed(), { passive: true });
    attachZoom(root, { scale: () => this.frame?.scale ?? null, bounds: () => this.whole(), left: () => root.getBoundingClientRect().left, ui });
    const point = (/** @type {MouseEvent | null} */ event) => {
      this.pointer = event === null ? null : { x: event.offsetX, y: event.offsetY };
      ui.changed();
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerleave", () => point(null));
    canvas.addEventListener("click", (event) => {
      point(event);
      this.clicked();
    });
    canvas.addEventListener("dblclick", () => this.zoomToPointed());
  }

  /** @returns {import("../model/timescale.mjs").Stretch} */
  whole() {
    return this.frame === null ? { start: 0, end: 1 } : wholeStretch(this.frame.trace, openEdge(this.frame));
  }

  /** @param {TraceFrame} frame @returns {number} milliseconds until the next draw without input */
  draw(frame) {
    const shown = frame.ui.view === "flame";
    setShown(this.root, shown);
    this.frame = frame;
    if (!shown) {
      setShown(this.tip, false);
      // A hidden view needs no layout, and the layout of a large trace takes much memory.
      this.layout = null;
      this.laidOutFor = "";
      this.selectedFor = "";
      return Infinity;
    }
    const wait = this.layOut(frame);
    const layout = /** @type {import("../model/flame.mjs").FlameLayout} */ (this.layout);
    setStyle(this.space, "height", `${layout.rows * FLAME_ROW + FLAME_ROW}px`);
    const selected = indexOf(frame.trace, frame.ui.spanId);
    this.keepInView(frame, layout, selected);
    const top = this.root.scrollTop;
    const hovered = this.pointed(frame, layout, top);
    this.paint(frame, layout, top, selected, hovered);
    this.drawTip(frame, hovered);
    return wait;
  }

  /**
   * Updates the layout: at intervals while a large trace grows, otherwise in this frame.
   * @param {TraceFrame} frame @returns {number}
   */
  layOut(frame) {
    const { identity } = frame;
    const key = `${identity} ${frame.trace.version} ${frame.moment}`;
    if (this.layout !== null && key === this.laidOutFor) return Infinity;
    const grown = this.layout !== null && identity === this.identity && frame.moment === this.moment;
    const wait = grown && this.layoutCost > CHEAP_MS ? this.laidOutAt + this.layoutCost * LAYOUT_PATIENCE - performance.now() : 0;
    if (wait > 0) return wait;
    const began = performance.now();
    this.layout = layoutFlame(frame.trace);
    this.laidOutFor = key;
    this.identity = identity;
    this.moment = frame.moment;
    this.laidOutAt = performance.now();
    this.layoutCost = this.laidOutAt - began;
    return Infinity;
  }

  /**
   * Scrolls to a new selection, or to the newest span in follow mode.
   * @param {TraceFrame} frame @param {import("../model/flame.mjs").FlameLayout} layout @param {number} selected
   */
  keepInView(frame, layout, selected) {
    const key = `${frame.identity} ${frame.ui.spanId}`;
    let row = -1;
    if (frame.ui.follow && frame.live) row = flameRow(layout, this.follower.target(frame.trace, performance.now()));
    else if (key !== this.selectedFor) row = flameRow(layout, selected);
    if (key !== this.selectedFor && (selected < 0 || flameRow(layout, selected) >= 0)) {
      const first = this.selectedFor === "";
      this.selectedFor = key;
      if (!first && selected >= 0 && document.activeElement === this.canvas) this.actions.announce(this.words(frame, selected));
    }
    // State and duration of the selected span change while it is open.
    setAttribute(this.canvas, "aria-label", selected < 0 ? "Flame view" : `Flame view: ${this.words(frame, selected)}`);
    if (row < 0) return;
    const before = this.root.scrollTop;
    const to = scrollToShow({ index: row, scrollTop: before, viewport: this.viewport, rowHeight: FLAME_ROW, margin: FLAME_ROW });
    if (Math.abs(to - before) >= 1) this.root.scrollTop = to;
  }

  /** @param {TraceFrame} frame @param {number} index @returns {string} */
  words(frame, index) {
    const { trace } = frame;
    return [shortened(shownName(trace, index)), STATE_WORDS[shownStateOf(trace, index)], trace.spans.end[index] === trace.spans.end[index] ? durationText(frame, index) : percentAt(trace, index)].filter((word) => word !== "").join(", ");
  }

  /** @param {TraceFrame} frame @param {import("../model/flame.mjs").FlameLayout} layout @param {number} top @returns {number} the span under the pointer, or −1 */
  pointed(frame, layout, top) {
    if (this.pointer === null) return -1;
    return spanAtPlace(layout, frame, Math.floor((this.pointer.y + top) / FLAME_ROW), this.pointer.x);
  }

  /** @param {TraceFrame} frame @param {import("../model/flame.mjs").FlameLayout} layout @param {number} top @param {number} selected @param {number} hovered */
  paint(frame, layout, top, selected, hovered) {
    const width = Math.round(frame.scale.width);
    const height = this.viewport;
    const ratio = globalThis.devicePixelRatio || 1;
    // Paints in every frame. Frames are requested only after changes, so a comparison with the last picture would
    // save little.
    if (!(width > 0) || !(height > 0)) return;
    const pen = this.canvas.getContext("2d");
    if (pen === null) return;
    const pixels = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
    if (this.canvas.width !== pixels.width || this.canvas.height !== pixels.height) {
      Object.assign(this.canvas, pixels);
      setStyle(this.canvas, "width", `${width}px`);
      setStyle(this.canvas, "height", `${height}px`);
      this.font = `11.5px ${getComputedStyle(this.canvas).fontFamily}`;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    paintFlame({ pen, frame, layout, colours: colours(), shift: 0, top, width, height, font: this.font, selected, hovered, decorators: this.decorators });
  }

  /** @param {TraceFrame} frame @param {number} hovered */
  drawTip(frame, hovered) {
    const { pointer } = this;
    setShown(this.tip, hovered >= 0 && pointer !== null);
    setStyle(this.canvas, "cursor", hovered >= 0 ? "pointer" : "default");
    if (hovered < 0 || pointer === null) return;
    const { trace } = frame;
    const { spans } = trace;
    setText(this.tipName, shortened(shownName(trace, hovered)));
    const at = spans.start[hovered];
    const children = spans.childCount[hovered];
    const facts = [
      STATE_WORDS[shownStateOf(trace, hovered)], durationText(frame, hovered), Number.isNaN(at) ? "" : `at ${formatOffset(at - trace.start)}`,
      serviceOf(trace, hovered), children > 0 ? plural(children, "child", "children") : "", ...runningWords(hovered, frame),
    ];
    setText(this.tipFacts, facts.filter((fact) => fact !== "").join(" · "));
    const x = Math.max(0, Math.min(pointer.x + 14, frame.scale.width - TIP_ROOM));
    const below = pointer.y + 90 < this.viewport;
    setStyle(this.tip, "transform", `translate(${x.toFixed(0)}px, ${(this.root.offsetTop + pointer.y + (below ? 20 : -70)).toFixed(0)}px)`);
  }

  /** @returns {number} */
  underPointer() {
    return this.frame === null || this.layout === null ? -1 : this.pointed(this.frame, this.layout, this.root.scrollTop);
  }

  clicked() {
    const index = this.underPointer();
    if (index < 0 || this.frame === null) return;
    this.ui.touch();
    this.actions.select(this.frame.trace.spans.ids[index]);
  }

  zoomToPointed() {
    const index = this.underPointer();
    if (index < 0 || this.frame === null) return;
    const { trace, now } = this.frame;
    const start = trace.spans.start[index];
    if (!Number.isNaN(start)) this.ui.setZoom(fitTo({ start, end: barEnd(trace, index, now) }, this.whole()));
  }

  /** @param {"parent" | "child"} way */
  step(way) {
    if (this.frame === null) return;
    const { trace, ui } = this.frame;
    const index = indexOf(trace, ui.spanId);
    if (index < 0) return;
    const to = way === "parent" ? trace.spans.parent[index] : (childrenOf(trace, index)[0] ?? -1);
    if (to >= 0) this.actions.goTo(trace.spans.ids[to]);
  }

  /** In the waterfall, these keys fold and unfold instead. @type {Record<string, () => void>} */
  keys = {
    ArrowLeft: () => this.step("parent"), h: () => this.step("parent"),
    ArrowRight: () => this.step("child"), l: () => this.step("child"),
  };
}

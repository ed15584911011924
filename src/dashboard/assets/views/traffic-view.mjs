// @ts-check
// The head of the list: three figures, and a chart of traces by start time. Dragging in the chart narrows the list to
// that time. Must never count the traces of the chart itself: `traffic.mjs` does.

import { clockText, shortClock } from "../model/clock.mjs";
import { isOpenTrace } from "../model/list-model.mjs";
import { epochMilliseconds, formatCount, formatSeconds, plural } from "../model/time.mjs";
import { BUCKETS, perSecond, stretchAt, trafficOf, trafficRate } from "../model/traffic.mjs";
import { colours } from "../paint/colours.mjs";
import { byId, element, setAttribute, setShown, setStyle, setText } from "./dom.mjs";

/**
 * @typedef {import("./list-view.mjs").ListFrame} ListFrame
 * @typedef {{narrow: (since: number | null, until: number | null) => void}} TrafficActions
 */

/** Minimum time between counts: counting 12,000 traces takes several milliseconds. */
const COUNT_EVERY_MS = 250;
const TICKS = 4;
const FAILED_MIN_PX = 2;

export class TrafficView {
  chart = byId("traffic-chart");
  canvas = /** @type {HTMLCanvasElement} */ (element("canvas", { "aria-hidden": "true" }));
  brush = element("span", { class: "traffic-brush", hidden: true });
  axis = element("span", { class: "traffic-axis figure", "aria-hidden": "true" });
  /** @type {import("../model/traffic.mjs").Traffic | null} */
  traffic = null;
  countedFor = "";
  countedAt = -Infinity;
  paintedFor = "";
  width = 0;
  height = 0;
  /** Position where a drag began, from 0 to 1. @type {number | null} */
  from = null;
  to = 0;

  /** @param {TrafficActions} actions @param {() => void} changed */
  constructor(actions, changed) {
    this.actions = actions;
    this.changed = changed;
    this.chart.append(this.canvas, this.brush, this.axis);
    new ResizeObserver(() => {
      this.width = this.canvas.clientWidth;
      this.height = this.canvas.clientHeight;
      this.paintedFor = "";
      changed();
    }).observe(this.canvas);
    const place = (/** @type {PointerEvent} */ event) => {
      const { left, width } = this.canvas.getBoundingClientRect();
      return Math.max(0, Math.min(0.999999, (event.clientX - left) / Math.max(1, width)));
    };
    this.chart.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.traffic === null) return;
      this.chart.setPointerCapture(event.pointerId);
      this.from = this.to = place(event);
      changed();
    });
    this.chart.addEventListener("pointermove", (event) => {
      if (this.from !== null) this.to = place(event);
      this.tell(place(event));
      if (this.from !== null) changed();
    });
    this.chart.addEventListener("pointerup", (event) => {
      if (this.from === null || this.traffic === null) return;
      const { since, until } = stretchAt(this.traffic, this.from, place(event));
      this.from = null;
      this.actions.narrow(since, until);
    });
    this.chart.addEventListener("pointercancel", () => {
      this.from = null;
      changed();
    });
    byId("time-chip").addEventListener("click", () => this.actions.narrow(null, null));
  }

  /** Shows the counts of the bucket under the pointer. @param {number} part */
  tell(part) {
    const { traffic } = this;
    if (traffic === null) return;
    const bucket = Math.floor(part * BUCKETS);
    const at = clockText(traffic.start + bucket * traffic.width, this.zone).slice(0, 8);
    const gap = traffic.gaps[bucket];
    const lost = gap === undefined ? "" : gap.lost === null ? ", a gap of unknown size" : `, a gap: ${plural(gap.lost, "event")} lost`;
    const counted = `${plural(traffic.started[bucket], "trace")}, ${formatCount(traffic.failed[bucket])} with errors`;
    setAttribute(this.chart, "title", `${at}: ${bucket < traffic.known ? `${counted} at hand; older ones are not loaded` : counted}${lost}`);
  }

  /** @type {import("../model/clock.mjs").Zone} */
  zone = "local";

  /** @param {ListFrame} frame @returns {number} milliseconds until it changes without input */
  draw(frame) {
    const { now, query, zone, narrowed } = frame;
    const feed = /** @type {any} */ (frame.feed);
    this.zone = zone;
    const { model } = feed;
    const isEmpty = model.traces.size + model.older.size === 0;
    setShown(byId("traffic"), !isEmpty && feed.file === undefined);
    this.drawChip(narrowed, zone);
    if (isEmpty || feed.file !== undefined) return Infinity;
    const bucket = this.traffic === null ? 0 : Math.floor(now / this.traffic.width);
    const key = `${model.version} ${bucket} ${query.trim() === ""}`;
    const wait = this.countedAt + COUNT_EVERY_MS - performance.now();
    if (key !== this.countedFor && (wait <= 0 || this.traffic === null)) {
      this.countedFor = key;
      this.countedAt = performance.now();
      this.traffic = trafficOf(model, now, { query });
      this.paintedFor = "";
      this.drawFigures(frame);
    }
    this.paint(frame);
    this.drawBrush(narrowed);
    const { traffic } = this;
    if (key !== this.countedFor) return Math.max(16, wait);
    return traffic === null || !frame.moving ? Infinity : Math.max(50, (Math.floor(now / traffic.width) + 1) * traffic.width - now);
  }

  /** @param {ListFrame} frame */
  drawFigures({ feed, now }) {
    const traffic = /** @type {import("../model/traffic.mjs").Traffic} */ (this.traffic);
    setText(byId("traffic-rate"), trafficRate(perSecond(traffic)));
    setText(byId("traffic-total"), plural(traffic.total, "trace"));
    const share = traffic.total === 0 ? 0 : (traffic.errors / traffic.total) * 100;
    // A small share is not rounded to 0.
    setText(byId("traffic-share"), `${share > 0 && share < 0.1 ? "< 0.1" : share.toFixed(share < 10 && share > 0 ? 1 : 0)} %`);
    setAttribute(byId("traffic-share"), "data-bad", traffic.errors > 0);
    setText(byId("traffic-errors"), plural(traffic.errors, "trace"));
    let open = 0;
    let oldest = Infinity;
    for (const traces of [feed.model.traces, feed.model.older]) for (const trace of traces.values()) {
      if (!isOpenTrace(trace)) continue;
      open += 1;
      oldest = Math.min(oldest, epochMilliseconds(trace.startTimestamp));
    }
    setText(byId("traffic-open"), formatCount(open));
    setText(byId("traffic-oldest"), open === 0 ? "none" : `oldest ${formatSeconds(now - oldest)}`);
  }

  /** @param {ListFrame} frame */
  paint({ zone }) {
    const { canvas, traffic, width, height } = this;
    if (traffic === null || width === 0) return;
    const css = colours();
    const key = `${this.countedAt} ${width} ${height} ${css.key} ${zone}`;
    if (key === this.paintedFor) return;
    this.paintedFor = key;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    paintTraffic(context, traffic, { width, height }, css.by);
    this.axis.replaceChildren(...Array.from({ length: TICKS + 1 }, (_, at) => {
      const isNow = at === TICKS;
      const time = traffic.start + (at / TICKS) * BUCKETS * traffic.width;
      return element("span", { text: isNow ? "now" : shortClock(time, zone, traffic.width <= 1_000) });
    }));
  }

  /** @param {ListFrame["narrowed"]} narrowed */
  drawBrush({ since, until }) {
    const { traffic, brush } = this;
    if (traffic === null) return;
    const span = BUCKETS * traffic.width;
    const [from, to] = this.from !== null ? [Math.min(this.from, this.to), Math.max(this.from, this.to)]
      : [((since ?? traffic.start) - traffic.start) / span, ((until ?? traffic.start + span) - traffic.start) / span];
    setShown(brush, (this.from !== null || since !== null || until !== null) && to > 0 && from < 1);
    setStyle(brush, "left", `${(Math.max(0, from) * 100).toFixed(2)}%`);
    setStyle(brush, "width", `${((Math.min(1, to) - Math.max(0, from)) * 100).toFixed(2)}%`);
  }

  /** @param {ListFrame["narrowed"]} narrowed @param {import("../model/clock.mjs").Zone} zone */
  drawChip({ since, until }, zone) {
    const chip = byId("time-chip");
    setShown(chip, since !== null || until !== null);
    if (since === null && until === null) return;
    const text = (/** @type {number | null} */ at) => (at === null ? "…" : clockText(at, zone).replace(/\.000$/, ""));
    setText(/** @type {HTMLElement} */ (chip.firstElementChild), `${text(since)} – ${text(until)}`);
  }
}

/**
 * @param {CanvasRenderingContext2D} context @param {import("../model/traffic.mjs").Traffic} traffic @param {{width: number, height: number}} size
 * @param {Record<string, string>} ink the colours by name
 */
function paintTraffic(context, { started, failed, gaps, known }, { width, height }, ink) {
  context.clearRect(0, 0, width, height);
  const foot = Math.round(height * 0.72);
  const step = width / BUCKETS;
  const most = started.reduce((max, count) => Math.max(max, count), 1);
  const mostFailed = failed.reduce((max, count) => Math.max(max, count), 1);
  if (known > 0) {
    context.fillStyle = ink.sunken;
    context.fillRect(0, 0, Math.min(BUCKETS, known) * step, foot);
  }
  for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
    const left = Math.round(bucket * step);
    const wide = Math.max(1, Math.round((bucket + 1) * step) - left - (step > 3 ? 1 : 0));
    if (gaps[bucket] !== undefined) hatch(context, left, 0, wide, foot, ink.lost);
    if (started[bucket] > 0) {
      const high = Math.max(1, (started[bucket] / most) * (foot - 2));
      context.fillStyle = ink.traffic;
      context.fillRect(left, foot - high, wide, high);
    }
    if (failed[bucket] > 0) {
      context.fillStyle = ink.error;
      context.fillRect(left, foot + 1, wide, Math.max(FAILED_MIN_PX, (failed[bucket] / mostFailed) * (height - foot - 2)));
    }
  }
  context.fillStyle = ink["line-strong"];
  context.fillRect(0, foot, width, 1);
}

/** @param {CanvasRenderingContext2D} context @param {number} left @param {number} top @param {number} width @param {number} height @param {string} ink */
function hatch(context, left, top, width, height, ink) {
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let x = left - height; x < left + width; x += 5) {
    context.moveTo(x, top + height);
    context.lineTo(x + height, top);
  }
  context.stroke();
  context.restore();
}

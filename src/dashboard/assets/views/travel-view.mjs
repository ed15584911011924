// @ts-check
// The scrubber: a slider over the time of a trace, with a chart of starts, ends and failures behind it. Must never
// compute the trace at a moment: `trace-at-time.mjs` does.

import { identityOf } from "../model/identity.mjs";
import { PHASES_MAX, phasesOf } from "../model/phases.mjs";
import { firstSpan } from "../model/span.mjs";
import { SPEEDS, speedFor } from "../model/time-travel.mjs";
import { formatDuration, formatOffset, plural } from "../model/time.mjs";
import { countUpTo } from "../model/trace-at-time.mjs";
import { element, setAttribute, setShown, setStyle, setText } from "./dom.mjs";

/** Number of steps of the slider. */
const STEPS = 10_000;
const PAGE_SHARE = 0.1;
const SCRUBBER_HEIGHT = 26;

export class TravelView {
  /**
   * @param {HTMLElement} root
   * @param {{ui: import("./ui-state.mjs").Ui, travel: import("../model/time-travel.mjs").Travel, colours: () => any}} context
   */
  constructor(root, { ui, travel, colours }) {
    this.root = root;
    this.ui = ui;
    this.travel = travel;
    this.colours = colours;
    this.open = false;
    this.drawnFor = "";
    this.speedSetFor = 0;
    /** @type {any} */
    this.frame = null;
    /** The phases of an ended trace or of a file. @type {import("../model/phases.mjs").Phase[]} */
    this.chapters = [];
    this.chaptersFor = "";
    this.build();
    this.keys = { ",": () => this.toggleOpen() };
  }

  build() {
    const button = (/** @type {string} */ text, /** @type {string} */ title, /** @type {() => void} */ click) => element("button", { type: "button", class: "button quiet", title, text, on: { click } });
    this.canvas = element("canvas", { class: "scrubber-canvas", "aria-hidden": "true" });
    this.slider = element("input", {
      type: "range", min: 0, max: STEPS, step: 1, class: "scrubber-slider", "aria-label": "Moment",
      title: "Arrows: next or previous start or end; with shift, phase. Page keys: a tenth of the time. End: now.",
      on: { input: () => this.slid(), keydown: (/** @type {KeyboardEvent} */ event) => this.pressed(event) },
    });
    this.playButton = button("▶", "Play (from the beginning when live)", () => this.travel.toggle(this.ui, this.frame.feed.model.start));
    this.speed = element("select", { class: "button quiet", "aria-label": "Speed", title: "Speed", on: { change: () => this.speedChosen() } });
    for (const speed of SPEEDS) this.speed.append(element("option", { value: speed, text: `${speed}×` }));
    this.moment = element("output", { class: "scrubber-moment figure" });
    this.liveButton = button("Live", "Back to now (End)", () => this.setMoment(null));
    this.closeButton = button("Close", "Close time travel and return to now (,)", () => this.toggleOpen());
    this.chapterRow = element("div", { class: "scrubber-chapters", role: "group", "aria-label": "Phases" });
    const track = element("div", { class: "scrubber-track" }, this.canvas, this.slider, this.chapterRow);
    setAttribute(this.root, "role", "group");
    setAttribute(this.root, "aria-label", "Time travel");
    this.root.classList.add("scrubber");
    this.root.append(this.playButton, this.speed, track, this.moment, this.liveButton, this.closeButton);
  }

  toggleOpen() {
    this.open = !this.open && this.ui.moment === null;
    this.ui.setMoment(null);
    if (this.open) requestAnimationFrame(() => requestAnimationFrame(() => this.slider.focus()));
  }

  /** @param {number | null} moment */
  setMoment(moment) {
    this.ui.setMoment(moment);
    this.travel.restart(this.ui);
  }

  /** @returns {{start: number, end: number}} */
  extent() {
    const { feed, liveNow } = this.frame;
    const { start, end, counts } = feed.model;
    const last = Math.max(Number.isNaN(end) ? start : end, counts.open > 0 ? liveNow : start);
    return { start, end: Math.max(last, start + 1e-6) };
  }

  slid() {
    const { start, end } = this.extent();
    const at = Number(this.slider.value);
    this.setMoment(at >= STEPS ? null : start + ((end - start) * at) / STEPS);
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const { start, end } = this.extent();
    const moment = this.ui.moment ?? end;
    const moments = this.travel.momentsOf(this.frame.feed, this.frame.liveNow);
    /** @type {Record<string, () => number | null>} */
    const moves = {
      ArrowLeft: () => moments.step(moment, -1), ArrowDown: () => moments.step(moment, -1),
      ArrowRight: () => moments.step(moment, 1), ArrowUp: () => moments.step(moment, 1),
      PageDown: () => moment - (end - start) * PAGE_SHARE, PageUp: () => moment + (end - start) * PAGE_SHARE,
      Home: () => start, End: () => null,
    };
    if (!Object.hasOwn(moves, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const direction = event.key === "ArrowLeft" || event.key === "ArrowDown" ? -1 : 1;
    const isChapter = event.shiftKey && event.key.startsWith("Arrow") && this.chapters.length > 0;
    const to = isChapter ? nextChapter(this.chapters, moment, direction) : moves[event.key]();
    this.setMoment(to === null || to >= end ? null : Math.max(start, to));
  }

  speedChosen() {
    this.travel.speed = Number(this.speed.value);
    this.travel.restart(this.ui);
  }

  /**
   * @param {any} frame with `liveNow`, the time of the live trace
   * @returns {number} milliseconds until it changes without input
   */
  draw(frame) {
    this.frame = frame;
    if (this.ui.moment !== null) this.open = true;
    const shown = this.open && frame.feed.model.spans.count > 0;
    setShown(this.root, shown);
    if (!shown) return Infinity;
    const { start, end } = this.extent();
    this.chooseSpeed(frame.feed, end - start);
    const moment = this.ui.moment ?? end;
    const value = String(Math.round(((moment - start) / (end - start)) * STEPS));
    if (this.slider.value !== value) this.slider.value = value;
    const { counts } = frame.trace;
    // In a file, the present is the end of its log.
    const last = frame.feed.file === undefined ? "Live" : "End";
    setText(this.liveButton, last);
    const where = this.ui.moment === null ? last : formatOffset(moment - start);
    setText(this.moment, `${where} of ${formatDuration(end - start)}`);
    const said = `${where}, ${plural(counts.total, "span")}, ${counts.open} open, ${plural(counts.errors + counts.lost, "error")}`;
    setAttribute(this.slider, "aria-valuetext", said);
    const isExact = this.ui.moment === null || this.travel.moments?.history != null;
    setAttribute(this.moment, "title", isExact ? null : "Spans that were open at this moment show their final attributes, because the trace's log is not loaded or too large.");
    setAttribute(this.playButton, "aria-label", this.travel.play === null ? "Play" : "Stop");
    setText(this.playButton, this.travel.play === null ? "▶" : "⏸");
    setAttribute(this.root, "data-live", this.ui.moment === null);
    this.liveButton.disabled = this.ui.moment === null;
    this.drawChapters(frame, start, end, moment);
    if (this.ui.moment !== null || this.drawnFor === "") this.drawActivity(frame);
    // Twenty frames per second look smooth and leave time for input.
    return this.travel.play === null ? Infinity : 50;
  }

  /** @param {import("../model/time-travel.mjs").Travelled} feed @param {number} length */
  chooseSpeed(feed, length) {
    if (this.speedSetFor === identityOf(feed.model)) return;
    this.speedSetFor = identityOf(feed.model);
    this.travel.speed = speedFor(length);
    this.speed.value = String(this.travel.speed);
  }

  /**
   * Draws the phases of an ended trace or of a file, as places to skip to.
   * @param {any} frame @param {number} start @param {number} end @param {number} moment
   */
  drawChapters({ feed }, start, end, moment) {
    const { model } = feed;
    const key = `${identityOf(model)} ${model.version} ${start} ${end}`;
    if (key !== this.chaptersFor) {
      this.chaptersFor = key;
      const isStill = model.counts.open === 0 || feed.file !== undefined;
      const root = isStill ? firstSpan(model) : -1;
      const phases = root < 0 ? [] : phasesOf(model, root);
      this.chapters = phases.length > 1 && phases.length <= PHASES_MAX ? phases : [];
      setAttribute(this.root, "data-chapters", this.chapters.length > 0);
      this.chapterRow.replaceChildren(...this.chapters.map((phase, index) => {
        const node = element("button", { type: "button", tabindex: "-1", title: `${phase.name.slice(0, 200)}, from ${formatOffset(phase.start - start)}`, text: phase.name.slice(0, 60), on: { click: () => this.setMoment(phase.start) } });
        const until = this.chapters[index + 1]?.start ?? end;
        setStyle(node, "left", `${((phase.start - start) / (end - start)) * 100}%`);
        setStyle(node, "width", `${(Math.max(0, until - phase.start) / (end - start)) * 100}%`);
        return node;
      }));
    }
    const now = this.ui.moment === null ? -1 : this.chapters.findLastIndex((phase) => phase.start <= moment);
    for (const [index, node] of [...this.chapterRow.children].entries()) setAttribute(node, "data-now", index === now);
  }

  /** Draws starts and ends over time, and failures in their own colour. @param {any} frame */
  drawActivity({ feed, liveNow }) {
    const moments = this.travel.momentsOf(feed, liveNow);
    const width = this.canvas.clientWidth;
    const ratio = globalThis.devicePixelRatio || 1;
    const colours = this.colours();
    const key = `${identityOf(feed.model)} ${moments.version} ${width} ${ratio} ${colours.key}`;
    if (key === this.drawnFor || width === 0) return;
    this.drawnFor = key;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = SCRUBBER_HEIGHT * ratio;
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.scale(ratio, ratio);
    const bars = Math.max(1, Math.floor(width / 3));
    const all = histogram(moments.times, moments, bars);
    const failed = histogram(moments.failures, moments, bars);
    const most = Math.max(1, ...all);
    for (let bar = 0; bar < bars; bar += 1) {
      for (const [count, colour] of /** @type {const} */ ([[all[bar], colours.by.muted], [failed[bar], colours.by.error]])) {
        if (count === 0) continue;
        // A square-root scale, so that a single span among thousands stays visible.
        const height = Math.max(3, Math.sqrt(count / most) * SCRUBBER_HEIGHT);
        context.fillStyle = colour;
        context.fillRect(bar * 3, SCRUBBER_HEIGHT - height, 2, height);
      }
    }
  }
}

/**
 * @param {{start: number}[]} chapters in order
 * @param {number} moment
 * @param {1 | -1} direction
 * @returns {number | null} the start of the next chapter; null for the end of the trace, −Infinity for its start
 */
export function nextChapter(chapters, moment, direction) {
  if (direction > 0) return chapters.find(({ start }) => start > moment)?.start ?? null;
  return chapters.findLast(({ start }) => start < moment)?.start ?? -Infinity;
}

/**
 * @param {Float64Array} times in order
 * @param {{start: number, end: number}} extent
 * @param {number} bars
 * @returns {number[]} the number of times in each bar
 */
export function histogram(times, { start, end }, bars) {
  const counts = [];
  let before = 0;
  for (let bar = 1; bar <= bars; bar += 1) {
    const upTo = bar === bars ? times.length : countUpTo(times, start + ((end - start) * bar) / bars);
    counts.push(upTo - before);
    before = upTo;
  }
  return counts;
}

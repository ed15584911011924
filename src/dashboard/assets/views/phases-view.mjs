// @ts-check
// Draws the phases of a long job: done, running, and expected ones according to an earlier run, and the expected end.
// Must never estimate anything itself: `phases.mjs` does.

import { shortClock } from "../model/clock.mjs";
import { isOpenState } from "../model/columns.mjs";
import { LONG_JOB_MS, PHASES_MAX, mergedPhases, phasesOf, shownPhases, timeLeft, weightOf } from "../model/phases.mjs";
import { amountText, isCounted, leftText, shareOf } from "../model/progress.mjs";
import { childrenOf, firstSpan, nameOf, progressAt, serviceOf } from "../model/span.mjs";
import { formatCount, formatDuration, formatOpen } from "../model/time.mjs";
import { fitTo } from "../model/timescale.mjs";
import { byId, element, icon, setAttribute, setIcon, setShown, setStyle, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("./trace-view.mjs").TraceFrame} TraceFrame
 * @typedef {import("../model/phases.mjs").ShownPhase} ShownPhase
 */

const LOOK_EVERY_MS = 250;
const NAME_MAX = 60;
const LATE_NAME_MAX = 24;
/** If the root has more children than this, their progress is not read. */
const ASKED_MAX = 200;

export class PhasesView {
  root = byId("phases");
  strip = element("span", { class: "phase-strip", role: "group", "aria-label": "Phases" });
  end = element("span", { class: "phase-end figure" });
  /** In the title: the expected duration of the whole job, or the usual duration of a phase that is late. */
  total = byId("trace-expected");
  /** @type {{node: HTMLElement, shape: SVGSVGElement, name: HTMLElement, amount: HTMLElement, line: HTMLElement}[]} */
  parts = [];
  /** @type {import("../model/phases.mjs").Phase[]} */
  seen = [];
  seenFor = "";
  seenAt = -Infinity;
  /** @type {ShownPhase[]} */
  shown = [];
  /** The rows below the tree for expected phases. */
  rows = byId("expected-rows");
  rowsFor = "";

  /**
   * @param {import("./ui-state.mjs").Ui} ui @param {import("../net/duration-baseline.mjs").Expectations} expectations
   * @param {import("../net/earlier-phases.mjs").EarlierPhases} earlier
   */
  constructor(ui, expectations, earlier) {
    this.ui = ui;
    this.expectations = expectations;
    this.earlier = earlier;
    this.root.append(this.strip, this.end);
  }

  /** @param {TraceFrame} frame @param {() => import("../model/timescale.mjs").Stretch} whole */
  draw(frame, whole) {
    this.whole = whole;
    const { trace, now, feed } = frame;
    const root = firstSpan(trace);
    const isOpen = root >= 0 && isOpenState(trace.spans.state[root]);
    const start = root < 0 ? NaN : trace.spans.start[root];
    const length = (isOpen ? now : trace.spans.end[root]) - start;
    const isLong = length >= LONG_JOB_MS && trace.spans.childCount[root] > 0;
    if (isLong) this.look(frame, root);
    if (!isLong || this.seen.length === 0) return this.forget();
    // Statistics of this server do not apply to traces from a file.
    const isFile = /** @type {any} */ (feed).file !== undefined;
    const service = serviceOf(trace, root);
    const usualOf = (/** @type {string} */ name) => (isFile ? null : this.expectations.of(service, name));
    const earlier = isOpen && !isFile && frame.moment === null ? this.earlier.of(service, nameOf(trace, root), trace.traceId) : [];
    const telling = isOpen ? this.telling(frame, root) : new Map();
    const phases = shownPhases(this.seen, earlier, {
      now, isOpen: isOpen && frame.moment === null, usual: (name) => usualOf(name)?.p50 ?? NaN,
      leftOf: (name) => trace.live.get(telling.get(name) ?? -1)?.speed?.left(now) ?? NaN,
    });
    // A single phase would only repeat the job, so none is shown.
    if (phases.length < 2) return this.forget();
    setShown(this.root, true);
    this.shown = mergedPhases(phases);
    this.drawParts(frame, telling);
    this.drawRows(phases.filter(({ kind }) => kind === "expected"));
    // The job's own estimate has priority: it is shown elsewhere, too, and a different one beside it would contradict
    // it.
    const own = isOpen ? (trace.live.get(root)?.speed?.left(now) ?? null) : null;
    const left = own ?? (isOpen ? timeLeft(phases) : NaN);
    const isReported = Number.isNaN(left) || own !== null;
    const late = isOpen && frame.moment === null ? (phases.find((phase) => phase.late) ?? null) : null;
    setText(this.total, late !== null ? `${shortened(late.name, LATE_NAME_MAX)} usually takes ${formatDuration(late.usual)}` : isReported ? "" : `of ${leftText(length + left).replace(/ left$/, "")}`);
    this.drawEnd(frame, left, late !== null, own === null ? "earlier runs" : "its progress");
  }

  forget() {
    setShown(this.root, false);
    this.shown = [];
    this.drawRows([]);
    setText(this.total, "");
  }

  /** @param {TraceFrame} frame @param {number} root */
  look({ trace, identity }, root) {
    const key = `${identity} ${trace.version} ${root}`;
    const at = performance.now();
    const isOther = !this.seenFor.startsWith(`${identity} `);
    if (key === this.seenFor || (!isOther && at - this.seenAt < LOOK_EVERY_MS)) return;
    this.seenFor = key;
    this.seenAt = at;
    this.seen = phasesOf(trace, root);
  }

  /**
   * @param {TraceFrame} frame @param {number} root
   * @returns {Map<string, number>} by phase, an open child that reports progress
   */
  telling({ trace }, root) {
    const telling = new Map();
    if (trace.live.size === 0 || trace.spans.childOpen[root] === 0 || trace.spans.childCount[root] > ASKED_MAX) return telling;
    for (const child of childrenOf(trace, root)) if (isOpenState(trace.spans.state[child]) && progressAt(trace, child) !== null) telling.set(nameOf(trace, child), child);
    return telling;
  }

  /** @param {TraceFrame} frame @param {Map<string, number>} telling */
  drawParts({ trace, moving }, telling) {
    while (this.parts.length < this.shown.length) this.parts.push(this.makePart(this.parts.length));
    for (const [at, part] of this.parts.entries()) {
      const phase = this.shown[at];
      setShown(part.node, phase !== undefined);
      if (phase === undefined) continue;
      const { kind, name, duration, usual, failed } = phase;
      const progress = telling.has(name) ? progressAt(trace, /** @type {number} */ (telling.get(name))) : null;
      const time = kind === "expected" ? (Number.isNaN(usual) ? "" : `~${formatDuration(usual)}`) : kind === "running" ? formatOpen(duration, moving) : formatDuration(duration);
      const amount = progress !== null && isCounted(progress) ? amountText(progress) : time;
      setAttribute(part.node, "data-kind", kind);
      setAttribute(part.node, "data-failed", failed);
      setStyle(part.node, "flex-grow", String(Math.round(weightOf(phase))));
      setIcon(part.shape, kind === "expected" ? "placeholder" : kind === "running" ? (failed ? "failing" : "running") : failed ? "below" : "ok");
      setText(part.name, shortened(name, NAME_MAX));
      setText(part.amount, amount);
      const word = kind === "done" ? (failed ? "done, with errors" : "done") : kind;
      setAttribute(part.node, "aria-label", `${shortened(name, NAME_MAX)}, ${word}${amount === "" || kind === "running" ? "" : `, ${amount}`}`);
      setAttribute(part.node, "title", [`${shortened(name, 200)}: ${word}`, time, Number.isNaN(usual) || kind === "expected" ? "" : `usually ${formatDuration(usual)}`].filter((one) => one !== "").join(", "));
      setAttribute(part.node, "aria-disabled", kind === "expected" ? "true" : null);
      const share = kind !== "running" ? null : ((progress === null ? null : shareOf(progress)) ?? (Number.isNaN(usual) ? null : Math.min(1, duration / usual)));
      setShown(part.line, share !== null);
      if (share !== null) setStyle(part.line, "width", `${(share * 100).toFixed(1)}%`);
    }
  }

  /** Draws the expected phases as dashed rows at the end of the tree. @param {ShownPhase[]} expected */
  drawRows(expected) {
    const key = JSON.stringify(expected.map(({ name, usual }) => [name, formatDuration(usual)]));
    if (key === this.rowsFor) return;
    this.rowsFor = key;
    setShown(this.rows, expected.length > 0);
    const more = expected.length - PHASES_MAX;
    this.rows.replaceChildren(...expected.slice(0, PHASES_MAX).map(({ name, usual }) => {
      const time = Number.isNaN(usual) ? "expected" : `expected, ~${formatDuration(usual)}`;
      return element("li", {}, icon("placeholder"), element("span", { class: "expected-name", text: shortened(name, NAME_MAX), title: shortened(name, 200) }), element("span", { class: "expected-bar figure", text: time }));
    }), ...(more > 0 ? [element("li", { class: "muted", text: `${formatCount(more)} more ${more === 1 ? "phase" : "phases"} expected` })] : []));
  }

  /** @param {number} at */
  makePart(at) {
    const shape = icon("running");
    const name = element("span", { class: "phase-name" });
    const amount = element("span", { class: "phase-amount figure" });
    const line = element("span", { class: "phase-line" });
    const node = element("button", { type: "button", class: "job-phase", on: { click: () => this.zoomTo(this.shown[at]) } }, shape, name, amount, line);
    this.strip.append(node);
    return { node, shape, name, amount, line };
  }

  /** @param {ShownPhase | undefined} phase */
  zoomTo(phase) {
    if (phase === undefined || phase.kind === "expected" || this.whole === undefined) return;
    const zoom = fitTo({ start: phase.start, end: phase.end }, this.whole());
    const { ui } = this;
    const isSame = zoom !== null && ui.zoom !== null && Math.abs(zoom.start - ui.zoom.start) < 1 && Math.abs(zoom.end - ui.zoom.end) < 1;
    ui.setZoom(isSame ? null : zoom);
  }

  /** @param {TraceFrame} frame @param {number} left @param {boolean} isLate @param {string} basis of the estimate */
  drawEnd({ trace, now, moving }, left, isLate, basis) {
    const expected = this.shown.filter(({ kind }) => kind === "expected").reduce((sum, { names }) => sum + names, 0);
    setShown(this.end, (isLate || !Number.isNaN(left)) && moving);
    if (isLate) {
      setText(this.end, "later than usual");
      setAttribute(this.end, "title", "A phase has run far longer than in earlier runs, so the end cannot be estimated");
    }
    if (isLate || Number.isNaN(left) || !moving) return;
    const at = trace.originSeconds * 1_000 + now + left;
    setText(this.end, left < 1_000 ? "ends any moment" : leftText(left));
    setAttribute(this.end, "title", Number.isNaN(at) ? null
      : `Ends about ${shortClock(at, this.ui.zone, true)}, estimated from ${basis}${expected === 0 ? "" : `; ${formatCount(expected)} more ${expected === 1 ? "phase" : "phases"} to come`}`);
  }
}

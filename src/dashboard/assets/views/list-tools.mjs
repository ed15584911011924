// @ts-check
// The tools for a trace in its row of the list: keep it, compare it with the run before, ask for a notification. The
// page has one set of these buttons. It is in the row under the pointer, or else in the focused row. Must never send a
// request itself.

import { isOpenTrace } from "../model/list-model.mjs";
import { element, icon, setAttribute, setShown, setText, shortened } from "./dom.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {object} ToolActions
 * @property {(traceId: string, isKept: boolean) => Promise<{ok: boolean, text: string}>} setKept
 * @property {(trace: Summary) => Promise<string>} compareBefore opens the comparison; returns why there is none, or an empty text
 * @property {(traceId: string) => boolean} hasBell
 * @property {(trace: Summary) => string} toggleBell returns the text for the reader
 * @property {(text: string) => void} announce
 * @property {() => void} changed
 */

/** Maximum number of traces whose kept state was changed here. A summary reports that state only when something else
 * of its trace changes. */
const KEPT_HERE_MAX = 200;

export class ListTools {
  keep = this.button("Keep", "Keep this trace beyond retention", "keep", () => void this.toggleKeep());
  compare = this.button("Compare with the previous run", "Compare with the previous run of this name", "swap", () => void this.openComparison());
  bell = this.button("Notify me", "Notify me when it ends, fails, hangs or is lost", "bell", () => this.toggleBell());
  /** The result of the last press, as visible text. */
  answer = element("span", { class: "tool-answer muted", hidden: true });
  node = element("span", { class: "list-tools", role: "group", "aria-label": "Actions for the trace" }, this.answer, this.keep, this.compare, this.bell);
  /** The row under the pointer. @type {HTMLElement | null} */
  pointed = null;
  /** @type {Summary | null} */
  trace = null;
  /** @type {Map<string, boolean>} */
  keptHere = new Map();

  /** @param {HTMLElement} rows @param {ToolActions} actions */
  constructor(rows, actions) {
    this.rows = rows;
    this.actions = actions;
    rows.addEventListener("pointerover", ({ target, pointerType }) => pointerType === "mouse" && this.point(/** @type {HTMLElement} */ (target).closest(".list-row")));
    rows.addEventListener("pointerleave", () => this.point(null));
    for (const type of ["focusin", "focusout"]) rows.addEventListener(type, () => actions.changed());
    // A press by pointer must not move the focus: otherwise the tools would stay in the focused row.
    this.node.addEventListener("mousedown", (event) => event.preventDefault());
    this.node.addEventListener("click", (event) => event.stopPropagation());
  }

  /** @param {string} name @param {string} title @param {string} shape @param {() => void} click @returns {HTMLButtonElement} */
  button(name, title, shape, click) {
    return element("button", { type: "button", class: "button quiet icon-only", "aria-label": name, title, on: { click } }, icon(shape));
  }

  /** @param {HTMLElement | null} row */
  point(row) {
    if (row === this.pointed) return;
    this.pointed = row;
    this.actions.changed();
  }

  /** @param {HTMLElement | null} active the active row for keys, null if it is not drawn @param {(traceId: string | null) => Summary | undefined} traceOf @param {boolean} isLive whether the list is the server's, and not a file's */
  draw(active, traceOf, isLive) {
    const hasFocus = this.node.contains(document.activeElement);
    const focused = this.rows.contains(document.activeElement) ? active : null;
    const row = hasFocus ? focused : (this.pointed ?? focused);
    const trace = row === null || row.hidden ? null : (traceOf(row.getAttribute("data-trace-id")) ?? null);
    if (trace?.traceId !== this.trace?.traceId) setShown(this.answer, false);
    this.trace = trace;
    if (row === null || trace === null) return this.node.remove();
    this.moveTo(/** @type {Element} */ (row.querySelector(".c-name")));
    setShown(this.keep, isLive);
    setAttribute(this.keep, "aria-pressed", String(this.isKept(trace)));
    const isRung = this.actions.hasBell(trace.traceId);
    setShown(this.bell, isLive && (isRung || isOpenTrace(trace)));
    setAttribute(this.bell, "aria-pressed", String(isRung));
  }

  /** @param {Element} cell of the name */
  moveTo(cell) {
    if (this.node.parentElement === cell) return;
    const focused = /** @type {HTMLElement | null} */ (this.node.contains(document.activeElement) ? document.activeElement : null);
    cell.append(this.node);
    focused?.focus({ preventScroll: true });
  }

  /** @param {Summary} trace @returns {boolean} */
  isKept(trace) {
    return this.keptHere.get(trace.traceId) ?? trace.kept === true;
  }

  async toggleKeep() {
    const { trace } = this;
    if (trace === null) return;
    const isKept = !this.isKept(trace);
    const { ok, text } = await this.actions.setKept(trace.traceId, isKept);
    if (ok) {
      this.keptHere.delete(trace.traceId);
      this.keptHere.set(trace.traceId, isKept);
      for (const [oldest] of this.keptHere) if (this.keptHere.size > KEPT_HERE_MAX) this.keptHere.delete(oldest);
    }
    this.showAnswer(trace, text);
  }

  async openComparison() {
    const { trace } = this;
    if (trace !== null) this.showAnswer(trace, await this.actions.compareBefore(trace));
  }

  toggleBell() {
    const { trace } = this;
    if (trace !== null) this.showAnswer(trace, this.actions.toggleBell(trace));
  }

  /** @param {Summary} trace @param {string} text */
  showAnswer(trace, text) {
    if (text === "") return;
    this.actions.announce(text);
    // The pointer may be on another row by now.
    if (this.trace?.traceId === trace.traceId) {
      setShown(this.answer, true);
      setText(this.answer, shortened(text, 80));
    }
    this.actions.changed();
  }
}

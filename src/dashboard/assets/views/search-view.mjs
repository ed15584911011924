// @ts-check
// The search field of list and trace: the typed query, its error and position, the number of matches, and the steps
// between them. Gives the search of a trace a slice of each frame. Must never search traces itself: `trace-search.mjs`
// does.

import { indexOf } from "../model/model.mjs";
import { parseQuery } from "../model/search.mjs";
import { TraceSearch, countText } from "../model/trace-search.mjs";
import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";

/**
 * @typedef {import("../model/model.mjs").Trace} Trace
 * @typedef {{search: (query: string) => void, goTo: (spanId: string) => void, announce: (text: string) => void}} SearchActions
 */

const HINTS = {
  list: ["checkout", '"card declined"', "http.route:/foo", "-not", "service:pay", "duration>10ms", "status:error", "state:failing", "spans>100"],
  trace: ["query", '"two words"', "-not", "service:pay", "duration>10ms", "status:error", "state:failing", "http.method:GET", "cart.items>3"],
};
const PLACEHOLDERS = { list: "Search traces, attributes, logs, errors", trace: "Find in this trace: text, key:value" };
/** Milliseconds of each frame in which the trace is searched. The rest of the frame is for drawing. */
const SLICE_MS = 4;
// On a busy trace, the rank of the selected match is counted at most this often.
const RANK_EVERY_MS = 500;

export class SearchView {
  search = new TraceSearch();
  /** @type {Trace | null} */
  trace = null;
  subject = "";
  shownFor = "";
  rank = 0;
  rankFor = "";
  rankAt = -Infinity;
  /** Steps to other matches since the last frame. @type {(1 | -1)[]} */
  steps = [];

  /** @param {import("./ui-state.mjs").Ui} ui @param {SearchActions} actions */
  constructor(ui, actions) {
    this.ui = ui;
    this.actions = actions;
    this.input = /** @type {HTMLInputElement} */ (byId("filter"));
    this.input.addEventListener("input", () => actions.search(this.input.value));
    byId("filter-form").addEventListener("submit", (event) => event.preventDefault());
    byId("find-next").addEventListener("click", () => this.step(1));
    byId("find-previous").addEventListener("click", () => this.step(-1));
  }

  /** @param {string} query */
  drawList(query) {
    this.trace = null;
    this.ui.matches = null;
    this.drawField("list", query);
    setShown(byId("find"), false);
  }

  /**
   * Continues the search, so it must be called before the views that show matches.
   * @param {Trace} trace @param {string} query @param {number} now
   */
  drawTrace(trace, query, now) {
    this.trace = trace;
    const end = performance.now() + SLICE_MS;
    const hasTime = () => performance.now() < end;
    const { search } = this;
    // A reader who steps waits for the next match, not for the count of all matches.
    const isStepping = this.steps.length > 0 || search.step !== null;
    this.ui.matches = search.update(trace, query, now, isStepping ? () => false : hasTime);
    if (isStepping) {
      this.takeSteps(trace, hasTime);
      search.update(trace, query, now, hasTime);
    }
    this.drawField("trace", query);
    const { active, count, isRunning } = search;
    setShown(byId("find"), active);
    if (active) setText(byId("find-count"), countText(search, isRunning ? 0 : this.place()));
    for (const id of ["find-next", "find-previous"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = count === 0 && !isRunning;
    if (isRunning || search.step !== null) this.ui.changed();
  }

  /** @returns {number} the rank of the selected span among the matches, from 1; 0 if it is no match */
  place() {
    const index = this.trace === null ? -1 : indexOf(this.trace, this.ui.spanId);
    const matches = index >= 0 && this.search.isMatch(index);
    const key = `${matches} ${index} ${this.search.version} ${this.trace?.structure}`;
    const soon = performance.now() - this.rankAt < RANK_EVERY_MS && this.rankFor.startsWith(`${matches} ${index} `);
    if (key === this.rankFor || soon) return this.rank;
    this.rankFor = key;
    this.rankAt = performance.now();
    this.rank = matches ? this.search.rankOf(index) : 0;
    return this.rank;
  }

  /** Goes to the next or previous match. @param {1 | -1} direction */
  step(direction) {
    if (this.trace === null) return;
    // The next frame makes the step, because the search does not know the text yet that was typed since the last frame.
    this.steps.push(direction);
    this.ui.changed();
  }

  /** @param {Trace} trace @param {() => boolean} hasTime */
  takeSteps(trace, hasTime) {
    const { search } = this;
    const from = indexOf(trace, this.ui.spanId);
    // The reader has selected another span meanwhile.
    if (search.step !== null && search.step.from !== from) search.step = null;
    for (const direction of this.steps.splice(0)) search.beginStep(from, direction);
    const found = search.continueStep(hasTime);
    if (found === null) return;
    if (found < 0) this.actions.announce("No match");
    // Goes there after this frame, because the rows of the trace may not be computed yet.
    else requestAnimationFrame(() => this.actions.goTo(trace.spans.ids[found]));
  }

  /** @param {"list" | "trace"} subject @param {string} query */
  drawField(subject, query) {
    if (this.input.value !== query) this.input.value = query;
    const shown = `${subject} ${query}`;
    if (shown === this.shownFor) return;
    this.shownFor = shown;
    if (subject !== this.subject) {
      this.subject = subject;
      setAttribute(this.input, "placeholder", PLACEHOLDERS[subject]);
      setAttribute(this.input, "aria-label", subject === "list" ? "Search traces" : "Find in this trace");
      byId("filter-hint").replaceChildren(...HINTS[subject].map((hint) => element("button", {
        type: "button", class: "chip mono", text: hint, tabindex: "-1",
        on: {
          // The field keeps the focus, so that the hint's text can be edited at once.
          mousedown: (/** @type {Event} */ event) => event.preventDefault(),
          click: () => this.actions.search(hint),
        },
      })));
    }
    const { wrong } = parseQuery(query, subject);
    setAttribute(this.input, "aria-invalid", wrong !== null);
    setShown(byId("filter-wrong"), wrong !== null);
    byId("filter-wrong").replaceChildren(...(wrong === null ? [] : [
      element("code", {}, query.slice(0, wrong.at), element("mark", { text: query.slice(wrong.at, wrong.at + wrong.length) }), query.slice(wrong.at + wrong.length)),
      element("span", { text: ` ${wrong.message}` }),
    ]));
  }
}

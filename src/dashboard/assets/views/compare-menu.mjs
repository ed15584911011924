// @ts-check
// The menu that starts a comparison: a list of other runs of the same name. Must never search for runs itself.

import { clockText } from "../model/clock.mjs";
import { isOpenTrace, shownStateOfSummary } from "../model/list-model.mjs";
import { epochMilliseconds, formatDuration } from "../model/time.mjs";
import { STATE_WORDS, element, icon } from "./dom.mjs";
import { attachMenu } from "./menu.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {{runs: () => Promise<{before: Summary | null, runs: Summary[]} | null>, go: (traceId: string) => void, hrefOf: (traceId: string) => string,
 *   announce: (text: string) => void, zone: () => import("../model/clock.mjs").Zone}} CompareMenuActions
 */

const RUNS_SHOWN_MAX = 10;

export class CompareMenu {
  items = element("div", { class: "menu-items run-items" });
  button = element("button", { id: "compare", type: "button", class: "button quiet", text: "Compare", title: "Compare with another run of the same name (c: the previous run)" });
  asked = 0;

  /** @param {HTMLElement} root @param {CompareMenuActions} actions */
  constructor(root, actions) {
    this.actions = actions;
    attachMenu(this.button, this.items);
    this.items.addEventListener("beforetoggle", (event) => {
      if (/** @type {ToggleEvent} */ (event).newState === "open") void this.fill();
    });
    root.prepend(this.button, this.items);
  }

  async fill() {
    this.asked += 1;
    const { asked } = this;
    this.items.replaceChildren(element("p", { class: "muted", text: "Looking for other runs…" }));
    const found = await this.actions.runs();
    if (asked !== this.asked) return;
    if (found === null || found.runs.length === 0) {
      this.items.replaceChildren(element("p", { class: "muted", text: found === null ? "The other runs could not be loaded." : "No other run of this name is kept. The runs in an opened file appear here, too." }));
      return;
    }
    const { before, runs } = found;
    this.items.replaceChildren(...(before === null ? [] : [this.item(before, "The previous run")]), ...runs.filter((run) => run !== before).slice(0, RUNS_SHOWN_MAX).map((run) => this.item(run, "")));
  }

  /** @param {Summary} run @param {string} words @returns {HTMLElement} */
  item(run, words) {
    const state = shownStateOfSummary(run);
    const at = clockText(epochMilliseconds(run.startTimestamp), this.actions.zone());
    const took = isOpenTrace(run) ? "still runs" : formatDuration(run.durationMs);
    const link = element("a", { href: this.actions.hrefOf(run.traceId), "aria-label": `${words} ${at}, ${STATE_WORDS[state] ?? state}, ${took}`.trim() },
      icon(state), element("span", { class: "figure", text: at }), element("strong", { class: "figure", text: took }), element("small", { text: words }));
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.actions.go(run.traceId);
    });
    return link;
  }

  /** Compares with the previous run, without the menu. */
  async before() {
    const found = await this.actions.runs();
    if (found?.before == null) this.actions.announce(found === null ? "The other runs could not be loaded" : "No earlier run of this name is kept");
    else this.actions.go(found.before.traceId);
  }
}

// @ts-check
// The list's filters: chips for terms of the search, and saved searches as tabs. Must never decide which traces match.

import { SAVED_MAX, chipCounts, holds, matchCount, savedSearches, toggled, withSaved } from "../model/list-filter.mjs";
import { formatCount } from "../model/time.mjs";
import { byId, element, icon, setAttribute, setShown, setStyle, setText, shortened } from "./dom.mjs";
import { recall, remember } from "./ui-preferences.mjs";

/**
 * @typedef {import("./list-view.mjs").ListFrame} ListFrame
 * @typedef {{search: (query: string) => void, setMine: (mine: boolean) => void, announce: (text: string) => void}} FilterActions
 * @typedef {{node: HTMLButtonElement, count: HTMLElement, dot: HTMLElement | null}} Chip
 */

/** @type {Record<string, [string, string]>} */
const STATE_CHIPS = {
  "state:running": ["running", "Running"], "state:waiting": ["waiting", "Waiting"], "errors>0": ["below", "With errors"], "status:error": ["error", "Failed"],
  "state:panicked": ["panicked", "Panicked"], "state:cancelled": ["cancelled", "Cancelled"], "state:lost": ["lost", "Lost"],
};
/** Minimum time between counts for the chips: counting 12,000 traces for each takes several milliseconds. */
const COUNT_EVERY_MS = 500;
const HINT = "Click: show only these, or all again. Alt-click: hide these";

export class ListFilters {
  chips = byId("list-chips");
  tabs = byId("list-tabs");
  /** @type {Map<string, Chip>} */
  byTerm = new Map();
  saved = savedSearches(recall("searches", /** @type {unknown[]} */ ([])));
  countedFor = "";
  countedAt = -Infinity;
  tabsFor = "";
  query = "";
  isNaming = false;

  /** @param {FilterActions} actions */
  constructor(actions) {
    this.actions = actions;
  }

  /** @param {ListFrame} frame @param {ReadonlySet<string>} mine @param {boolean} isHeld whether a pointer may be about to press a row: then no chip appears or disappears, because the rows below would move @returns {number} milliseconds until the next count */
  draw(frame, mine, isHeld) {
    const { feed, query, narrowed, now } = frame;
    this.query = query;
    const key = `${feed.model.version} ${query} ${narrowed.since} ${narrowed.until} ${narrowed.mine !== null} ${mine.size}`;
    const wait = this.countedAt + COUNT_EVERY_MS - performance.now();
    const isAsked = !this.countedFor.endsWith(key.slice(key.indexOf(" ")));
    // The first chips come with the first rows: later, they would push the rows down.
    const isFirst = this.byTerm.size === 0;
    if (key !== this.countedFor && (wait <= 0 || isAsked || isFirst)) {
      this.countedFor = key;
      this.countedAt = performance.now();
      if (!this.drawChips(chipCounts(feed.model, query, narrowed, mine, now), frame, mine, isHeld && !isAsked && !isFirst)) this.countedFor = key.slice(key.indexOf(" "));
      this.drawTabs(frame);
    }
    return key === this.countedFor ? Infinity : Math.max(16, wait);
  }

  /** @param {import("../model/list-filter.mjs").ChipCounts} counts @param {ListFrame} frame @param {ReadonlySet<string>} mine @param {boolean} isHeld @returns {boolean} whether the chips were drawn; false if a held pointer prevents it */
  drawChips({ states, services, mine: own }, { query, palette, narrowed }, mine, isHeld) {
    const shownStates = states.filter(({ term, count }) => count > 0 || holds(query, term) !== "");
    const isMine = mine.size > 0 || narrowed.mine !== null;
    const wanted = new Set([...shownStates.map(({ term }) => term), ...(isMine ? ["mine"] : []), ...services.map(({ term }) => term)]);
    const isShown = (/** @type {string} */ term) => this.byTerm.get(term)?.node.hidden === false;
    if (isHeld && ![...wanted, ...this.byTerm.keys()].every((term) => wanted.has(term) === isShown(term))) return false;
    for (const { term, count } of shownStates) {
      const [shape, text] = STATE_CHIPS[term];
      this.drawChip(term, () => this.makeChip(term, text, icon(shape)), count, holds(query, term));
    }
    if (isMine) this.drawChip("mine", () => this.makeMine(), own, narrowed.mine !== null ? "with" : "");
    for (const { term, count } of services) {
      const name = term.slice("service:".length).replace(/^"|"$/g, "");
      const chip = this.drawChip(term, () => this.makeChip(term, shortened(name, 24) || "(no service)", element("span", { class: "service-dot" })), count, holds(query, term));
      setStyle(/** @type {HTMLElement} */ (chip.node.firstElementChild), "background", palette.colour(name));
    }
    for (const [term, { node }] of this.byTerm) if (!wanted.has(term)) setShown(node, false);
    // Keeps the chips in the order of `wanted`, whichever was created first.
    let at = 0;
    for (const term of wanted) {
      const { node } = /** @type {Chip} */ (this.byTerm.get(term));
      if (this.chips.children[at] !== node) this.chips.insertBefore(node, this.chips.children[at] ?? null);
      at += 1;
    }
    setShown(this.chips, wanted.size > 0);
    return true;
  }

  /** @param {string} term @param {() => Chip} make @param {number} count @param {"" | "with" | "without"} held @returns {Chip} */
  drawChip(term, make, count, held) {
    let chip = this.byTerm.get(term);
    if (chip === undefined) this.byTerm.set(term, (chip = make()));
    setShown(chip.node, true);
    setText(chip.count, formatCount(count));
    setAttribute(chip.node, "aria-pressed", String(held !== ""));
    setAttribute(chip.node, "data-without", held === "without");
    return chip;
  }

  /** @param {string} term @param {string} text @param {Element} mark @returns {Chip} */
  makeChip(term, text, mark) {
    const count = element("span", { class: "count figure" });
    const node = element("button", {
      type: "button", class: "filter-chip", title: `${term}\n${HINT}`, "data-term": term,
      on: { click: (/** @type {MouseEvent} */ event) => this.actions.search(toggled(this.query, term, event.altKey)) },
    }, mark, element("span", { text }), count);
    return { node, count, dot: null };
  }

  /** @returns {Chip} */
  makeMine() {
    const count = element("span", { class: "count figure" });
    const node = element("button", {
      type: "button", class: "filter-chip", "data-term": "mine", title: "Traces that were opened in this browser, or have a bell",
      on: { click: () => this.actions.setMine(node.getAttribute("aria-pressed") !== "true") },
    }, icon("find"), element("span", { text: "Mine" }), count);
    return { node, count, dot: null };
  }

  // Saved searches.

  /** @param {ListFrame} frame */
  drawTabs({ feed, query, now }) {
    const counts = this.saved.map((one) => matchCount(feed.model, one.query, now));
    const all = feed.model.traces.size + feed.model.older.size;
    const more = feed.hasOlder() ? "+" : "";
    const key = JSON.stringify([this.saved, counts, all, more, query, this.isNaming]);
    if (key === this.tabsFor || this.isNaming) return;
    this.tabsFor = key;
    const active = query.trim();
    setShown(this.tabs, this.saved.length > 0 || active !== "");
    const focused = /** @type {HTMLElement | null} */ (this.tabs.contains(document.activeElement) ? document.activeElement : null)?.dataset.key;
    this.tabs.replaceChildren(
      this.tab("All traces", "", `${formatCount(all)}${more}`, active === ""),
      ...this.saved.map(({ name, query: text }, at) => this.tab(name, text, `${formatCount(counts[at])}${more}`, active === text, at + 1)),
      active === "" || this.saved.some((one) => one.query === active) ? element("span") : element("button", { type: "button", class: "link save-search", "data-key": "save", text: "+ Save search", on: { click: () => this.name() } }),
    );
    if (focused !== undefined) /** @type {HTMLElement | null} */ (this.tabs.querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {string} name @param {string} query @param {string} count @param {boolean} isActive @param {number} [digit] @returns {HTMLElement} */
  tab(name, query, count, isActive, digit) {
    const pick = element("button", {
      type: "button", class: "tab", "aria-pressed": String(isActive), "data-key": `pick ${query}`, title: digit === undefined ? "All traces" : `${query}\nKey ${digit}`,
      on: { click: () => this.actions.search(query) },
    }, element("span", { text: shortened(name, 40) }), element("span", { class: "count figure", text: count }));
    if (digit === undefined) return pick;
    return element("span", { class: "saved" }, pick, element("button", {
      type: "button", class: "copy", title: `Delete the saved search ${name}`, "aria-label": `Delete the saved search ${name}`, "data-key": `forget ${query}`, on: { click: () => this.forget(query) },
    }, icon("close")));
  }

  /** Asks for a name, in the place of the new tab. */
  name() {
    if (this.saved.length >= SAVED_MAX) {
      this.actions.announce(`${SAVED_MAX} searches are saved: delete one first`);
      return;
    }
    const { query } = this;
    this.isNaming = true;
    const input = element("input", { type: "text", class: "search-name", "aria-label": "Name of the search", maxlength: 60, value: query });
    const done = (/** @type {boolean} */ isKept) => {
      if (!this.isNaming) return;
      this.isNaming = false;
      if (isKept) this.keep(withSaved(this.saved, input.value, query));
      this.tabsFor = this.countedFor = "";
      this.actions.search(this.query);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      done(event.key === "Enter");
      byId("traces-rows").focus({ preventScroll: true });
    });
    input.addEventListener("blur", () => done(false));
    this.tabs.append(input);
    /** @type {HTMLInputElement} */ (input).select();
    input.focus();
  }

  /** @param {string} query */
  forget(query) {
    this.keep(this.saved.filter((one) => one.query !== query));
    this.tabsFor = this.countedFor = "";
    this.actions.search(this.query);
    byId("traces-rows").focus({ preventScroll: true });
  }

  /** @param {import("../model/list-filter.mjs").SavedSearch[]} searches */
  keep(searches) {
    this.saved = searches;
    remember("searches", searches);
  }

  /** @param {number} digit from 1 */
  pick(digit) {
    const one = this.saved[digit - 1];
    if (one !== undefined) this.actions.search(one.query);
  }
}

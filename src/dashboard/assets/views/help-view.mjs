// @ts-check
// The help sheet: keys and meanings. Must never bind a key itself: `keys.mjs` does.

import { STATE_WORDS, byId, element, icon } from "./dom.mjs";

/**
 * All keys, by the part of the page where they work. A test compares them with the bound keys. An array lists keys; a
 * string is another gesture.
 * @type {[string, [string[] | string, string][]][]}
 */
export const KEY_SHEET = [
  ["Rows", [
    [["ArrowUp", "ArrowDown", "k", "j"], "previous, next row"],
    [["Home", "End", "PageUp", "PageDown"], "first, last row, a page up, down"],
    [["Enter"], "in the list, open the trace; in a trace, go to the inspector, or open and close a group"],
    [["Escape"], "close the inspector, then back to the list"],
  ]],
  ["Tree", [
    [["ArrowLeft", "ArrowRight", "h", "l"], "collapse or to the parent, expand or to the first child; in the flame view, to the parent, to the first child"],
    [["E", "C"], "expand all, collapse all"],
    [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "in the list, a saved search; in a trace, open to that depth"],
    [["G"], "siblings with the same name as one row, or as single rows"],
    ["alt-click", "on a triangle: open or close all of that depth"],
    [["v"], "waterfall, flame view, records"],
    [["x"], "in records: time in the trace, time of day, or since the previous record; in a comparison: swap the runs"],
  ]],
  ["Find", [
    [["/"], "search the list; in a trace, find in it"],
    [["n", "N"], "next, previous match"],
    [["]", "["], "next, previous error or lost span"],
    [["p"], "critical path on, off"],
    [["c"], "compare with the previous run"],
    [["b"], "notify me when the trace ends, fails, hangs or is lost"],
  ]],
  ["Time", [
    [["f"], "zoom to the selected span; again: to the whole trace"],
    [["w", "s"], "zoom in, out; in a comparison, s: by difference or in order"],
    [["a", "d"], "pan left, right"],
    ["ctrl-wheel", "zoom about the cursor"],
    ["shift-wheel, drag", "pan; drag in the overview to zoom"],
    [["g"], "compress the time in which no leaf span runs (a parent may still work)"],
    [[","], "time travel; in it, arrows go from event to event, End is now"],
    [["L"], "follow the newest span"],
    [[" "], "pause and resume; events in between follow if the log still has them"],
  ]],
  ["Page", [
    [["t"], "theme: light, dark, or that of the system"],
    [["?"], "this list of keys"],
  ]],
];

/** The key names that the page shows. @type {Record<string, string>} */
const KEY_NAMES = {
  ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", " ": "space", PageUp: "page up", PageDown: "page down",
  E: "shift E", C: "shift C", G: "shift G", N: "shift N", L: "shift L",
};

/** @type {[string, string][]} */
const MEANINGS = [
  ["running", "started, not ended"],
  ["waiting", "open, and durably waiting for a time or an event"],
  ["ok", "ended without an error"],
  ["error", "ended with an error"],
  ["panicked", "ended by a panic, whatever its status; counted as an error"],
  ["failing", "open, and it or a span below it has failed"],
  ["below", "ended without an error, with errors or lost spans below it"],
  ["cancelled", "ended early: its future was dropped, or it was cancelled"],
  ["lost", "will never end: its process died, or its end was lost; drawn up to its last event"],
  ["placeholder", "another span names it as its parent, but no event of it has arrived"],
];

/** Fills the help dialog. Called once. */
export function fillHelp() {
  const sheet = byId("help-keys");
  for (const [title, lines] of KEY_SHEET) {
    const list = element("dl", { class: "keys" });
    for (const [keys, meaning] of lines) {
      const names = typeof keys === "string" ? [element("span", { text: keys })] : keys.map((key) => element("kbd", { "data-key": key, text: KEY_NAMES[key] ?? key }));
      list.append(element("dt", {}, ...names), element("dd", { text: meaning }));
    }
    sheet.append(element("section", {}, element("h3", { text: title }), list));
  }
  const states = byId("help-states");
  for (const [state, meaning] of MEANINGS) {
    states.append(element("li", { "data-state": state }, icon(state), element("strong", { text: STATE_WORDS[state] }), element("span", { text: meaning })));
  }
}

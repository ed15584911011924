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
    [["G"], "siblings of one name as one row, or each of its own"],
    ["alt-click", "on a triangle: open or close all of that depth"],
    [["v"], "waterfall, flame view, records"],
    [["x"], "of records: time in the trace, of the day, since the last one; of two runs: swap them"],
  ]],
  ["Find", [
    [["/"], "search the list; in a trace, find in it"],
    [["n", "N"], "next, previous match"],
    [["]", "["], "next, previous error or lost span"],
    [["p"], "critical path on, off"],
    [["c"], "compare with the run before"],
    [["b"], "tell me when it ends, fails, hangs or is lost"],
  ]],
  ["Time", [
    [["f"], "fit the selected span; again, the whole trace"],
    [["w", "s"], "zoom in, out; of two runs, s: by difference, in order"],
    [["a", "d"], "pan left, right"],
    ["ctrl-wheel", "zoom about the cursor"],
    ["shift-wheel, drag", "pan; drag in the overview to zoom"],
    [["g"], "draw the time between spans narrow: no span without children runs, but a parent may work"],
    [[","], "time travel; in it, arrows go from event to event, End is now"],
    [["L"], "follow the newest span"],
    [[" "], "pause and resume; nothing is lost in between that the log still has"],
  ]],
  ["Page", [
    [["t"], "light, dark, or as the system"],
    [["?"], "this sheet"],
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
  ["waiting", "open, and durably waiting: for a time, or for somebody"],
  ["ok", "ended without an error"],
  ["error", "ended with an error"],
  ["panicked", "ended by a panic, whatever it said of itself; counted among the errors"],
  ["failing", "open, and it, or something below it, has failed"],
  ["below", "ended without an error, with errors or lost spans below it"],
  ["cancelled", "ended before it was done: its future was dropped, or it was called off"],
  ["lost", "will never end: its process died, or its end was lost; drawn up to where it was last heard"],
  ["placeholder", "some span names it as its parent, but it was never seen itself"],
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

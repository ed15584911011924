// @ts-check
// The sheet of keys and meanings. It must never bind a key itself: `main.mjs` does.

import { STATE_WORDS, byId, element, icon } from "./dom.mjs";

/** @type {[string[], string][]} */
const KEYS = [
  [["↑", "↓", "j", "k"], "previous, next row"],
  [["←", "→", "h", "l"], "collapse or to the parent, expand or to the first child"],
  [["Home", "End"], "first, last row"],
  [["Enter"], "open the trace; in a trace, go to the inspector"],
  [["Esc"], "close the inspector, then back to the list"],
  [["/"], "filter the list"],
  [["]", "e", "["], "next, previous error"],
  [["E", "C"], "expand all, collapse all"],
  [["f"], "follow the newest span"],
  [["space"], "pause and resume; nothing is lost in between that the log still has"],
  [["t"], "light, dark, or as the system"],
  [["?"], "this sheet"],
];

/** @type {[string, string][]} */
const MEANINGS = [
  ["running", "started, not ended"],
  ["waiting", "open, and durably waiting: for a time, or for somebody"],
  ["ok", "ended without an error"],
  ["error", "ended with an error"],
  ["cancelled", "ended because it was called off"],
  ["lost", "will never end: its process died, or its end was lost; drawn up to where it was last heard"],
  ["placeholder", "some span names it as its parent, but it was never seen itself"],
];

/** Fills the dialog, once. */
export function fillHelp() {
  const keys = byId("help-keys");
  for (const [names, meaning] of KEYS) {
    keys.append(element("dt", {}, ...names.map((name) => element("kbd", { text: name }))), element("dd", { text: meaning }));
  }
  const states = byId("help-states");
  for (const [state, meaning] of MEANINGS) {
    states.append(element("li", { "data-state": state }, icon(state), element("strong", { text: STATE_WORDS[state] }), element("span", { text: meaning })));
  }
}

// @ts-check
// Key bindings of each page, and the keys that the focused element handles itself. Must never touch the DOM: the
// actions are passed in.

/**
 * @typedef {Record<string, () => void>} Keys by the `key` of the event
 * @typedef {"list" | "waterfall" | "flame" | "logs" | "compare" | "operations"} Page
 * @typedef {object} Keyed the actions that keys are bound to
 * @property {{move: (rows: number) => void, openActive: () => void}} listView
 * @property {{move: (rows: number) => void, openActive: () => void}} operationsView
 * @property {{pick: (digit: number) => void}} listFilters
 * @property {{keys: Keys}} traceView
 * @property {{keys: Keys}} flameView
 * @property {{keys: Keys}} travelView
 * @property {{keys: Keys}} compareView
 * @property {{step: (by: 1 | -1) => void}} searchView
 * @property {{move: (lines: number) => void, time: () => void}} records
 * @property {{back: () => void, help: () => void, theme: () => void, pause: () => void, search: () => void, inspect: () => void,
 *   view: () => void, criticalPath: () => void, compare: () => void, bell: () => void}} page
 */

const LIST_PAGE_ROWS = 15;

/** @param {Keyed} keyed @returns {Record<Page, Keys>} */
export function keyTables({ listView, listFilters, operationsView, traceView, flameView, travelView, compareView, searchView, records, page }) {
  const everywhere = { Escape: page.back, "?": page.help, t: page.theme, " ": page.pause, "/": page.search };
  const rows = (/** @type {Keyed["listView"]} */ view) => ({
    ArrowDown: () => view.move(1), j: () => view.move(1), ArrowUp: () => view.move(-1), k: () => view.move(-1),
    PageDown: () => view.move(LIST_PAGE_ROWS), PageUp: () => view.move(-LIST_PAGE_ROWS),
    Home: () => view.move(-Infinity), End: () => view.move(Infinity),
    Enter: () => view.openActive(),
  });
  const list = {
    ...everywhere, ...rows(listView),
    ...Object.fromEntries(Array.from({ length: 9 }, (_, at) => [String(at + 1), () => listFilters.pick(at + 1)])),
  };
  const waterfall = {
    ...everywhere, ...traceView.keys, ...travelView.keys,
    n: () => searchView.step(1), N: () => searchView.step(-1), p: page.criticalPath, v: page.view, c: page.compare, b: page.bell, Enter: page.inspect,
  };
  const logs = {
    ...everywhere, ...travelView.keys, v: page.view, x: records.time, Enter: page.inspect,
    ArrowDown: () => records.move(1), j: () => records.move(1), ArrowUp: () => records.move(-1), k: () => records.move(-1),
    PageDown: () => records.move(LIST_PAGE_ROWS), PageUp: () => records.move(-LIST_PAGE_ROWS),
    Home: () => records.move(-Infinity), End: () => records.move(Infinity),
  };
  return { list, waterfall, flame: { ...waterfall, ...flameView.keys }, logs, compare: { ...everywhere, ...compareView.keys }, operations: { ...everywhere, ...rows(operationsView) } };
}

/** Elements for typing or choosing, which handle every key. */
const TYPED = "input:not([type=range]), textarea, select";
/** Elements that handle Enter and Space themselves. */
const PRESSED = "button, a, summary, [role=separator]";
/** Elements that handle keys of movement themselves. */
const MOVED = "#inspector, [role=separator], input";

/**
 * @param {{closest: (selectors: string) => unknown}} target the focused element
 * @param {string} key
 * @returns {boolean} whether the element handles the key itself
 */
export function isOwnKey(target, key) {
  if (target.closest(TYPED) !== null) return true;
  if ((key === "Enter" || key === " ") && target.closest(PRESSED) !== null) return true;
  return /^(Arrow|Page|Home|End)/.test(key) && target.closest(MOVED) !== null;
}

// @ts-check
// Claims about keys: the help sheet lists exactly the bound keys, views do not rebind the keys of
// others (except the flame view), and elements keep the keys that they handle.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isOwnKey, keyTables } from "../../src/dashboard/assets/model/keys.mjs";
import { KEY_SHEET } from "../../src/dashboard/assets/views/help-view.mjs";

const FOLDER = new URL("../../src/dashboard/assets/", import.meta.url);
const SHEET = KEY_SHEET.flatMap(([, lines]) => lines.flatMap(([keys]) => (typeof keys === "string" ? [] : keys)));

/**
 * Returns the key table that a view defines, with the function of each key.
 * @param {string} file
 * @returns {Record<string, () => string>}
 */
function keysOf(file) {
  const text = readFileSync(new URL(file, FOLDER), "utf8");
  const table = /keys = \{([\s\S]*?)\};/.exec(text)?.[1] ?? "";
  /** @type {Record<string, () => string>} */
  const keys = {};
  for (const [, quoted, bare, call] of table.matchAll(/(?:"([^"]+)"|\b([A-Za-z]+)): \(\) => ([^\n]*?\))(?=,| |$)/gm)) keys[quoted ?? bare] = () => call;
  if (table.includes("String(at + 1)")) for (let depth = 1; depth <= 9; depth += 1) keys[depth] = () => `openToDepth ${depth}`;
  return keys;
}

const VIEWS = { traceView: keysOf("views/trace-keys.mjs"), flameView: keysOf("views/flame-view.mjs"), travelView: keysOf("views/travel-view.mjs"), compareView: keysOf("views/compare-view.mjs") };

function tables() {
  /** @type {string[]} */
  const done = [];
  const say = (/** @type {string} */ what) => () => void done.push(what);
  const page = {
    back: say("back"), help: say("help"), theme: say("theme"), pause: say("pause"), search: say("search"), inspect: say("inspect"), view: say("view"),
    criticalPath: say("critical path"), compare: say("compare"), bell: say("bell"),
  };
  const keyed = {
    listView: { move: (/** @type {number} */ rows) => void done.push(`move ${rows}`), openActive: say("open") },
    operationsView: { move: (/** @type {number} */ rows) => void done.push(`operation ${rows}`), openActive: say("open operation") },
    listFilters: { pick: (/** @type {number} */ digit) => void done.push(`saved search ${digit}`) },
    searchView: { step: (/** @type {number} */ by) => void done.push(`match ${by}`) },
    records: { move: (/** @type {number} */ lines) => void done.push(`record ${lines}`), time: say("time of records") },
    traceView: { keys: VIEWS.traceView }, flameView: { keys: VIEWS.flameView }, travelView: { keys: VIEWS.travelView }, compareView: { keys: VIEWS.compareView }, page,
  };
  return { done, tables: keyTables(/** @type {any} */ (keyed)) };
}

test("the help sheet lists each bound key once", () => {
  const bound = new Set(Object.values(tables().tables).flatMap((keys) => Object.keys(keys)));
  assert.equal(bound.size, 47);
  assert.deepEqual([...SHEET].sort(), [...bound].sort());
});

test("the views bind the keys that the key map expects", () => {
  const map = [
    "ArrowUp", "ArrowDown", "j", "k", "ArrowLeft", "ArrowRight", "h", "l", "Home", "End", "E", "C", "G", "1", "9", "/", "n", "N", "]", "[", "f", "w", "s", "a", "d",
    " ", "g", "t", "?", "Escape",
  ];
  for (const view of /** @type {const} */ (["waterfall", "flame"])) for (const key of map) assert.ok(Object.hasOwn(tables().tables[view], key), `${view} ${key}`);
});

test("no view rebinds another's key, except that the flame view rebinds those that fold", () => {
  const own = Object.keys(VIEWS.travelView);
  assert.deepEqual(own, [","]);
  assert.deepEqual(own.filter((key) => Object.hasOwn(VIEWS.traceView, key)), []);
  assert.deepEqual(Object.keys(VIEWS.flameView).sort(), ["ArrowLeft", "ArrowRight", "h", "l"]);
  for (const key of ["Escape", "?", "t", " ", "/", "n", "N", "p", "v", "Enter"]) assert.equal(Object.hasOwn(VIEWS.traceView, key), false, key);
});

test("keys of the lists move and open", () => {
  const { done, tables: { list } } = tables();
  for (const key of ["j", "k", "ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "Enter", "/", "Escape"]) list[key]();
  assert.deepEqual(done, ["move 1", "move -1", "move 1", "move -1", "move 15", "move -15", "move -Infinity", "move Infinity", "open", "search", "back"]);
});

/** An element that matches selectors of these kinds. @param {...string} kinds */
function focused(...kinds) {
  return { closest: (/** @type {string} */ selectors) => (selectors.split(", ").some((selector) => kinds.includes(selector)) ? {} : null) };
}

test("an element keeps the keys that it handles itself", () => {
  const typed = focused("input:not([type=range])", "input");
  const slider = focused("input");
  const button = focused("button");
  const inspector = focused("#inspector");
  const row = focused();
  const own = (/** @type {any} */ target) => ["j", "Enter", " ", "ArrowDown", "End", "Escape"].filter((key) => isOwnKey(target, key));
  assert.deepEqual(own(typed), ["j", "Enter", " ", "ArrowDown", "End", "Escape"]);
  assert.deepEqual(own(slider), ["ArrowDown", "End"]);
  assert.deepEqual(own(button), ["Enter", " "]);
  assert.deepEqual(own(inspector), ["ArrowDown", "End"]);
  assert.deepEqual(own(row), []);
});

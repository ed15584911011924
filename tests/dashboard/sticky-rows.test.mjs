// @ts-check
// Claims about the rows that stay at the top while others scroll.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { STICKY_MAX, stickyCount, stickyRows } from "../../src/dashboard/assets/model/sticky-rows.mjs";
import { flatten, unfolded } from "../../src/dashboard/assets/model/visible-rows.mjs";
import { TRACE, started } from "./build.mjs";

const ROW = 10;

/** @param {any[]} events @param {number[]} tops @param {import("../../src/dashboard/assets/model/visible-rows.mjs").Fold} [fold] */
function shown(events, tops, fold = unfolded()) {
  const trace = events.reduce(reduceTrace, createTrace(TRACE));
  const rows = flatten(trace, fold);
  return tops.map((top) => stickyRows(trace, rows, top, ROW));
}

test("the ancestors of the first row below them stick, each where it would leave the view", () => {
  const events = [started("root", null, 0), started("a", "root", 1), ...[2, 3, 4].map((at) => started(`a${at}`, "a", at)), started("b", "root", 5), started("b1", "b", 6), started("b2", "b", 7)];
  // The rows: root, a, a2, a3, a4, b, b1, b2
  assert.deepEqual(shown(events, [0, 1, 10, 20, 25, 30, 40, 50, 60]), [[], [0, 1], [0, 1], [0, 1], [0], [0], [0], [0, 5], [0, 5]]);
});

test("of a deep chain the root and the innermost ancestors stick", () => {
  // s0 above s1 above … s9, which has 20 children.
  const chain = Array.from({ length: 10 }, (_, at) => started(`s${at}`, at === 0 ? null : `s${at - 1}`, at));
  const events = [...chain, ...Array.from({ length: 20 }, (_, at) => started(`c${at}`, "s9", 20 + at))];
  assert.deepEqual(shown(events, [5, 200]), [[0], [0, 6, 7, 8, 9]], "a row in view is repeated as a sticky row");
  const trace = events.reduce(reduceTrace, createTrace(TRACE));
  const rows = flatten(trace, unfolded());
  assert.deepEqual([0, 3, 19].map((row) => stickyCount(trace, rows, row)), [0, 3, STICKY_MAX]);
});

test("a group's row sticks above its members", () => {
  const fold = unfolded();
  fold.groups.usual = 8;
  const events = [started("root", null, 0), ...Array.from({ length: 9 }, (_, at) => started(`p${at}`, "root", at, { name: "page" }))];
  // The rows: root, group, chips, p0 …
  assert.deepEqual(shown(events, [10, 30, 50], fold), [[0, 1], [0, 1], [0, 1]]);
});

// @ts-check
// Claims about the flame view: the places of spans, the drawn boxes, and the cost with the largest
// traces.

import assert from "node:assert/strict";
import { test } from "node:test";
import { flameRow, layoutFlame, spanAtPlace, visitVisible } from "../../src/dashboard/assets/model/flame.mjs";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { Scale } from "../../src/dashboard/assets/model/timescale.mjs";
import { TRACE, ended, lost, started } from "./build.mjs";

/** @typedef {import("../../src/dashboard/assets/model/model.mjs").Trace} Trace */

/** @param {...any} events */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** The ids in each row, from left to right. @param {Trace} trace */
function rowsOf(trace) {
  const { rows, offsets, order } = layoutFlame(trace);
  return Array.from({ length: rows }, (_, row) => [...order.subarray(offsets[row], offsets[row + 1])].map((index) => trace.spans.ids[index]));
}

/** @param {Trace} trace @param {{start: number, end: number, width: number, now?: number, first?: number, last?: number}} view */
function seen(trace, { start, end, width, now = NaN, first = 0, last = Infinity }) {
  /** @type {any[]} */
  const all = [];
  const origin = trace.start;
  const scale = new Scale({ start: origin + start, end: origin + end }, [], width);
  visitVisible(layoutFlame(trace), { trace, now: origin + now, scale, first, last }, ({ index, row, x, width: wide, spans, bad }) => {
    all.push([trace.spans.ids[index], row, Math.round(x * 100) / 100, Math.round(wide * 100) / 100, spans, bad]);
  });
  return all;
}

const FAILED = { status: { code: "ERROR" } };

test("a span is below its parent, and consecutive spans share a row", () => {
  const trace = traceOf(ended("root", null, 0, 10), ended("a", "root", 0, 4), ended("a1", "a", 1, 2), ended("b", "root", 4, 9), ended("b1", "b", 5, 8));
  assert.deepEqual(rowsOf(trace), [["root"], ["a", "b"], ["a1", "b1"]]);
});

test("concurrent spans never share a row", () => {
  const trace = traceOf(ended("root", null, 0, 10), ended("a", "root", 1, 6), ended("b", "root", 2, 7), ended("a1", "a", 3, 5), ended("c", "root", 7, 9));
  assert.deepEqual(rowsOf(trace), [["root"], ["a", "c"], ["b"], ["a1"]]);
});

test("two instants at the same time are in different rows", () => {
  const trace = traceOf(ended("root", null, 0, 10), ended("a", "root", 5, 5), ended("b", "root", 5, 5));
  assert.deepEqual(rowsOf(trace), [["root"], ["a"], ["b"]]);
});

test("a span keeps its row when spans end and others start", () => {
  const begin = [started("root", null, 0), started("a", "root", 1), started("b", "root", 2), started("a1", "a", 3)];
  const rows = [["root"], ["a"], ["b"], ["a1"]];
  assert.deepEqual(rowsOf(traceOf(...begin)), rows);
  assert.deepEqual(rowsOf(traceOf(...begin, ended("a", "root", 1, 4))), rows);
  assert.deepEqual(rowsOf(traceOf(...begin, ended("a", "root", 1, 4), started("c", "root", 5))), [["root"], ["a", "c"], ["b"], ["a1"]]);
});

test("a child that began before its parent is below it nevertheless", () => {
  const trace = traceOf(ended("root", null, 5, 10), ended("child", "root", 3, 6));
  assert.deepEqual(rowsOf(trace), [["root"], ["child"]]);
});

test("an unseen parent lasts as long as its children", () => {
  const trace = traceOf(ended("a", "gone", 2, 4), ended("b", "gone", 6, 9));
  assert.deepEqual(rowsOf(trace), [["gone"], ["a", "b"]]);
  assert.deepEqual(seen(trace, { start: 0, end: 7, width: 70 }), [["gone", 0, 0, 70, 1, 0], ["a", 1, 0, 20, 1, 0], ["b", 1, 40, 30, 1, 0]]);
});

test("an open span extends to now, a lost one to its last event", () => {
  const trace = traceOf(started("root", null, 0), lost("lost", "root", 1, 9, 3), started("open", "root", 4));
  assert.deepEqual(seen(trace, { start: 0, end: 10, width: 100, now: 8 }), [["root", 0, 0, 80, 1, 0], ["lost", 1, 10, 20, 1, 1], ["open", 1, 40, 40, 1, 0]]);
});

test("only spans in the stretch and in the rows are visited", () => {
  const trace = traceOf(ended("root", null, 0, 100), ended("early", "root", 0, 10), ended("in", "root", 40, 50), ended("late", "root", 90, 100));
  assert.deepEqual(seen(trace, { start: 30, end: 60, width: 30, first: 1, last: 2 }), [["in", 1, 10, 10, 1, 0]]);
  assert.deepEqual(seen(trace, { start: 45, end: 95, width: 50, first: 1 }), [["in", 1, -5, 10, 1, 0], ["late", 1, 45, 10, 1, 0]]);
  assert.deepEqual(seen(trace, { start: 0, end: 100, width: 100, first: 2, last: 9 }), []);
});

test("spans narrower than a pixel share it, and the errors among them are counted", () => {
  const events = [ended("root", null, 0, 100)];
  for (let at = 0; at < 40; at += 1) events.push(ended(`s${at}`, "root", 10 + at * 0.05, 10 + at * 0.05 + 0.04, at === 30 ? FAILED : {}));
  const bars = seen(traceOf(...events), { start: 0, end: 100, width: 100, first: 1 });
  assert.deepEqual(bars, [["s0", 1, 10, 1, 20, 0], ["s20", 1, 11, 1, 20, 1]]);
});

test("a span that extends into the next pixel is drawn there if the first one is taken", () => {
  const trace = traceOf(ended("root", null, 0, 100), ended("failed", "root", 10.1, 10.2, FAILED), ended("over", "root", 10.8, 11.3), ended("after", "root", 12, 12.5));
  assert.deepEqual(seen(trace, { start: 0, end: 100, width: 100, first: 1 }), [["failed", 1, 10, 1, 1, 1], ["over", 1, 11, 1, 1, 0], ["after", 1, 12, 1, 1, 0]]);
});

test("a position has the span whose bar is there, or the nearest one", () => {
  const trace = traceOf(started("root", null, 0), ended("a", "root", 10, 20), ended("b", "root", 24, 24.1));
  const layout = layoutFlame(trace);
  const view = { trace, now: trace.start + 80, scale: new Scale({ start: trace.start, end: trace.start + 100 }, [], 100) };
  const at = (/** @type {number} */ row, /** @type {number} */ x) => trace.spans.ids[spanAtPlace(layout, view, row, x)] ?? null;
  assert.deepEqual([at(0, 50), at(0, 90), at(1, 15), at(1, 21), at(1, 23), at(1, 26), at(1, 5), at(1, 60), at(2, 15), at(-1, 15)], ["root", null, "a", "a", "b", "b", null, null, null, null]);
});

test("no two spans of a row overlap, and each is below its parent, in traces of any shape", () => {
  let seed = 7;
  const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  for (let round = 0; round < 40; round += 1) {
    const events = [];
    for (let at = 0; at < 80; at += 1) {
      const parent = at === 0 || random() < 0.05 ? null : random() < 0.03 ? `gone${at}` : `s${Math.floor(random() * at)}`;
      const start = Math.floor(random() * 50);
      events.push(random() < 0.2 ? started(`s${at}`, parent, start) : ended(`s${at}`, parent, start, start + Math.floor(random() * 20)));
    }
    events.sort(() => random() - 0.5);
    const trace = traceOf(...events);
    const { rows, offsets, left, right, order, rowOf } = layoutFlame(trace);
    assert.equal(order.length, trace.spans.count);
    for (let row = 0; row < rows; row += 1) {
      for (let place = offsets[row] + 1; place < offsets[row + 1]; place += 1) assert.ok(left[place] >= right[place - 1], `round ${round}`);
    }
    for (let index = 0; index < trace.spans.count; index += 1) {
      const parent = trace.spans.parent[index];
      if (parent >= 0) assert.ok(rowOf[index] > rowOf[parent], `round ${round}`);
    }
  }
});

test("100,000 spans need at most two bars per pixel, and 100,000 concurrent ones have as many rows", () => {
  const many = traceOf(ended("root", null, 0, 100_000), ...Array.from({ length: 100_000 }, (_, at) => ended(`s${at}`, "root", at, at + 0.9)));
  assert.equal(layoutFlame(many).rows, 2);
  const bars = seen(many, { start: 0, end: 100_000, width: 1000 });
  assert.ok(bars.length <= 2 * 1000 + 1, `${bars.length} bars`);
  assert.equal(bars.reduce((sum, bar) => sum + bar[4], 0), 100_001);
  const wide = traceOf(started("root", null, 0), ...Array.from({ length: 100_000 }, (_, at) => started(`s${at}`, "root", 1)));
  assert.equal(layoutFlame(wide).rows, 100_001);
});

test("10,000 levels are laid out without recursion", () => {
  const trace = traceOf(...Array.from({ length: 10_000 }, (_, at) => started(`s${at}`, at === 0 ? null : `s${at - 1}`, at)));
  const layout = layoutFlame(trace);
  assert.deepEqual([layout.rows, flameRow(layout, indexOf(trace, "s9999")), flameRow(layout, -1), flameRow(layout, 10_000)], [10_000, 9_999, -1, -1]);
});

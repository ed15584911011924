// @ts-check
// Claims about the spans that are rows, about their order, and about the cost with the largest
// traces.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FLAG } from "../../src/dashboard/assets/model/columns.mjs";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { TreeWalk, countBefore, countInSubtrees, nextBad, nextWhere } from "../../src/dashboard/assets/model/tree-order.mjs";
import {
  ROLLED_ROWS_MAX, flatten, foldOf, nearestRow, noRows, openTo, rollUpText, spanOfRow, unfolded, unhide,
} from "../../src/dashboard/assets/model/visible-rows.mjs";
import { TRACE, ended, lost, started } from "./build.mjs";

/** @typedef {import("../../src/dashboard/assets/model/model.mjs").Trace} Trace */

/** @param {...any} events */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** The ids of the rows; a row that sums up others is its text. @param {Trace} trace @param {import("../../src/dashboard/assets/model/visible-rows.mjs").Fold} [fold] */
function ids(trace, fold = unfolded()) {
  const rows = flatten(trace, fold);
  return [...rows.spans.subarray(0, rows.count)].map((index) => (index < 0 ? rollUpText(trace, ~index) : trace.spans.ids[index]));
}

const FAILED = { status: { code: "ERROR" } };

test("children are in order of start, in any order of arrival", () => {
  const trace = traceOf(started("root", null, 0), started("c", "root", 3), started("a", "root", 1), started("b", "root", 2));
  assert.deepEqual(ids(trace), ["root", "a", "b", "c"]);
});

test("an end that corrects the start moves the row, and one that keeps the order does not rebuild rows", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("b", "root", 2));
  assert.deepEqual(ids(trace), ["root", "a", "b"]);
  const before = trace.structure;
  reduceTrace(trace, ended("b", "root", 2.5, 6));
  assert.equal(trace.structure, before);
  reduceTrace(trace, ended("a", "root", 5, 6));
  assert.notEqual(trace.structure, before);
  assert.deepEqual(ids(trace), ["root", "b", "a"]);
});

test("a folded span hides all spans below it, and its row is their nearest visible one", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("a1", "a", 2), started("b", "root", 3));
  const fold = unfolded();
  fold.except.set("a", "closed");
  const rows = flatten(trace, fold);
  assert.deepEqual(ids(trace, fold), ["root", "a", "b"]);
  assert.equal(nearestRow(trace, rows, indexOf(trace, "a1")), 1);
  assert.equal(nearestRow(trace, rows, -1), -1);
  reduceTrace(trace, started("a2", "a1", 4));
  assert.equal(nearestRow(trace, rows, indexOf(trace, "a2")), 1);
});

test("collapsing all applies to future spans, and allows exceptions", () => {
  const fold = openTo(0);
  const trace = traceOf(started("root", null, 0), started("a", "root", 1));
  assert.deepEqual(ids(trace, fold), ["root"]);
  fold.except.set("root", "open");
  reduceTrace(trace, started("a1", "a", 2));
  assert.deepEqual(ids(trace, fold), ["root", "a"]);
  assert.deepEqual(["root", "a"].map((id) => foldOf(trace, fold, indexOf(trace, id))), ["open", "closed"]);
});

test("opening to a depth opens that many levels", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("a1", "a", 2), started("a2", "a1", 3), started("b", "root", 4));
  assert.deepEqual([0, 1, 2, 3, Infinity].map((depth) => ids(trace, openTo(depth)).length), [1, 3, 4, 5, 5]);
});

/**
 * A root with `count` children: one failed, one lost, two running, the others ended.
 * @param {number} count
 */
function wide(count) {
  const trace = traceOf(started("root", null, 0));
  for (let index = 0; index < count; index += 1) {
    const id = `c${index}`;
    if (index === 10) reduceTrace(trace, ended(id, "root", index, index + 5, FAILED));
    else if (index === 20) reduceTrace(trace, lost(id, "root", index, index + 5, index + 4));
    else if (index === 30 || index === 40) reduceTrace(trace, started(id, "root", index));
    else reduceTrace(trace, ended(id, "root", index, index + 5));
  }
  return trace;
}

test("of many children only open and failed ones are rows, and one row sums up all", () => {
  const trace = wide(1_000);
  assert.deepEqual(ids(trace), ["root", "c10", "c20", "c30", "c40", "998 of 1,000 done · 2 failed · 2 running"]);
  assert.deepEqual(ids(wide(99)).length, 100);
});

test("a child that ends leaves a rolled-up parent, and one that fails stays", () => {
  const trace = wide(1_000);
  const before = trace.structure;
  reduceTrace(trace, ended("c30", "root", 30, 60));
  reduceTrace(trace, ended("c40", "root", 40, 60, FAILED));
  assert.notEqual(trace.structure, before);
  assert.deepEqual(ids(trace), ["root", "c10", "c20", "c40", "1,000 of 1,000 done · 3 failed"]);
});

test("the tree continues below and after a rolled-up parent", () => {
  const trace = wide(200);
  for (const event of [started("x", "c30", 31), ended("y", "x", 32, 33), ended("hidden", "c50", 51, 52), ended("after", null, 500, 501)]) reduceTrace(trace, event);
  assert.deepEqual(ids(trace), ["root", "c10", "c20", "c30", "x", "y", "c40", "198 of 200 done · 2 failed · 2 running", "after"]);
});

test("a rolled-up parent has a bounded number of rows, and its sum row leads to the parent", () => {
  const trace = traceOf(started("root", null, 0));
  for (let index = 0; index < 500; index += 1) reduceTrace(trace, started(`c${index}`, "root", index));
  const rows = flatten(trace, unfolded());
  assert.equal(rows.count, 1 + ROLLED_ROWS_MAX + 1);
  assert.deepEqual([spanOfRow(rows, rows.count - 1), spanOfRow(rows, rows.count), spanOfRow(rows, -1)], [0, -1, -1]);
});

test("a hidden span is shown by opening only what hides it", () => {
  const trace = wide(200);
  reduceTrace(trace, ended("deep", "c50", 51, 52));
  const fold = unfolded();
  const closed = openTo(0);
  for (const one of [fold, closed]) {
    assert.equal(unhide(trace, one, flatten(trace, one), indexOf(trace, "deep")), true);
    assert.ok(flatten(trace, one).rowOf[indexOf(trace, "deep")] >= 0);
    assert.equal(unhide(trace, one, flatten(trace, one), indexOf(trace, "deep")), false);
  }
  const failed = unfolded();
  assert.equal(unhide(trace, failed, flatten(trace, failed), indexOf(trace, "c10")), false);
  assert.deepEqual(failed, unfolded());
});

test("the next error is found in reading order, and wraps around", () => {
  const trace = traceOf(ended("root", null, 0, 9), ended("a", "root", 1, 2, FAILED), ended("b", "root", 3, 4), ended("c", "root", 5, 6, FAILED));
  const walk = [["", 1], ["a", 1], ["c", 1], ["", -1], ["c", -1]].map(([from, by]) => nextBad(trace, indexOf(trace, String(from)), /** @type {1} */ (by)));
  assert.deepEqual(walk.map((index) => trace.spans.ids[index]), ["a", "c", "a", "c", "a"]);
  assert.equal(nextWhere(trace, -1, 1, () => false), -1);
  assert.equal(nextBad(createTrace(TRACE), -1, 1), -1);
});

test("reading order is that of the rows, in both directions, and walking changes no fold", () => {
  let seed = 5;
  const random = (/** @type {number} */ below) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  for (let history = 0; history < 100; history += 1) {
    const trace = createTrace(TRACE);
    for (let step = 0; step < 30; step += 1) reduceTrace(trace, started(`s${random(20)}`, random(4) === 0 ? null : `s${random(20)}`, random(50)));
    const { spans, count } = flatten(trace, openTo(Infinity));
    const expected = [...spans.subarray(0, count)];
    const once = new TreeWalk(trace, -1, 1);
    assert.deepEqual(Array.from({ length: expected.length + 1 }, () => once.next()), [...expected, -1]);
    const walk = (/** @type {1 | -1} */ direction) => expected.reduce((/** @type {number[]} */ found) => [...found, nextWhere(trace, found.at(-1) ?? -1, direction, () => true)], []);
    assert.deepEqual(walk(1), expected);
    assert.deepEqual(walk(-1), expected.toReversed());
  }
});

test("marked spans are counted in a subtree, and before a span in reading order", () => {
  let seed = 11;
  const random = (/** @type {number} */ below) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  for (let history = 0; history < 100; history += 1) {
    const trace = createTrace(TRACE);
    for (let step = 0; step < 30; step += 1) reduceTrace(trace, started(`s${random(20)}`, random(4) === 0 ? null : `s${random(20)}`, random(50)));
    const marks = Uint8Array.from({ length: trace.spans.parent.length }, () => random(2));
    const { spans, count } = flatten(trace, openTo(Infinity, false));
    const order = [...spans.subarray(0, count)];
    const isBelow = (/** @type {number} */ index, /** @type {number} */ top) => {
      for (let step = index; step >= 0; step = trace.spans.parent[step]) if (step === top) return true;
      return false;
    };
    const marked = order.filter((index) => marks[index] === 1);
    const counts = countInSubtrees(trace, marks);
    assert.deepEqual([...counts], Array.from(counts, (_, top) => marked.filter((index) => isBelow(index, top)).length));
    assert.deepEqual(order.map((index) => countBefore(trace, index, marks, counts)), order.map((index, at) => order.slice(0, at).filter((one) => marks[one] === 1).length));
  }
});

test("reused arrays give the same rows as new ones", () => {
  const trace = wide(300);
  const first = flatten(trace, unfolded());
  const expected = [...first.spans.subarray(0, first.count)];
  const other = flatten(trace, openTo(Infinity));
  const again = flatten(trace, unfolded(), other);
  assert.deepEqual([...again.spans.subarray(0, again.count)], expected);
  assert.deepEqual([...again.rowOf.subarray(0, trace.spans.count)], [...first.rowOf.subarray(0, trace.spans.count)]);
  assert.equal(noRows().count, 0);
});

test("children in the worst order of arrival are sorted once, not at every insertion", () => {
  const count = 100_000;
  const trace = traceOf(started("root", null, 0));
  for (let index = count; index > 0; index -= 1) reduceTrace(trace, ended(`c${index}`, "root", index, index + 1));
  // The insertion of a child searches for its place only for some steps. Without that limit, it would be quadratic, and
  // this test would take minutes.
  assert.equal(trace.spans.has(0, FLAG.unsorted), true);
  const rows = flatten(trace, openTo(Infinity));
  assert.deepEqual([rows.count, trace.spans.ids[rows.spans[1]], trace.spans.ids[rows.spans[count]]], [count + 1, "c1", `c${count}`]);
});

test("a trace of 100,000 spans whose ends arrive in reverse order is complete", () => {
  const count = 100_000;
  const trace = createTrace(TRACE);
  reduceTrace(trace, started("0", null, 0));
  for (let index = 1; index < count; index += 1) reduceTrace(trace, started(String(index), String(index >> 3), index));
  for (let index = count - 1; index > 0; index -= 1) {
    reduceTrace(trace, ended(String(index), String(index >> 3), index, count, { status: { code: index % 100 ? "OK" : "ERROR" } }));
  }
  const rows = flatten(trace, openTo(Infinity));
  assert.equal(rows.count, count);
  assert.deepEqual(trace.counts, { total: count, open: 1, waiting: 0, errors: 999, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 });
});

test("a trace 100,000 spans deep works in both directions", () => {
  const count = 100_000;
  for (const order of ["down", "up"]) {
    const trace = createTrace(TRACE);
    for (let step = 0; step < count; step += 1) {
      const index = order === "down" ? step : count - 1 - step;
      reduceTrace(trace, ended(String(index), index === 0 ? null : String(index - 1), index, count, FAILED));
    }
    const rows = flatten(trace, unfolded());
    const last = rows.spans[count - 1];
    assert.deepEqual([rows.count, trace.spans.depth[last], trace.spans.ids[last]], [count, count - 1, String(count - 1)]);
    assert.equal(trace.spans.flags[rows.spans[0]] & 1, 1);
  }
});

/**
 * A root with 100 successful children, each of which has one child.
 * @param {number[]} bad indexes of the children whose child failed
 */
function fanOut(bad) {
  const events = [started("root", null, 0)];
  for (let at = 0; at < 100; at += 1) {
    events.push(started(`c${at}`, "root", at + 1), ended(`g${at}`, `c${at}`, at + 1, at + 1.5, bad.includes(at) ? FAILED : {}), ended(`c${at}`, "root", at + 1, at + 2));
  }
  return traceOf(...events);
}

test("failures below children of a rolled-up parent are rows, and mark every ancestor", () => {
  const trace = fanOut([3, 70]);
  const fold = unfolded();
  assert.deepEqual(ids(trace), ["root", "c3", "g3", "c70", "g70", "100 done · 2 with errors below"]);
  assert.deepEqual(["root", "c3", "g3", "c4"].map((id) => trace.spans.has(indexOf(trace, id), FLAG.errorBelow)), [true, true, false, false]);
  const rows = flatten(trace, fold);
  assert.equal(unhide(trace, fold, rows, indexOf(trace, "g70")), false, "a visible span was reported as hidden");
  // A failed span that arrives later becomes a row as well.
  reduceTrace(trace, ended("late", "g4", 6, 6.2, FAILED));
  assert.deepEqual(ids(trace), ["root", "c3", "g3", "c4", "g4", "late", "c70", "g70", "100 done · 3 with errors below"]);
});

test("with more failures below than rows, the sum counts them all", () => {
  const trace = fanOut(Array.from({ length: 80 }, (_, at) => at));
  const all = ids(trace);
  assert.deepEqual([all.length, all.at(-1)], [1 + 2 * ROLLED_ROWS_MAX + 1, "100 done · 80 with errors below"]);
});

test("a reverted failure removes its marks at every depth", () => {
  const trace = fanOut([]);
  reduceTrace(trace, lost("x", "g5", 6, 7, 6.5));
  assert.deepEqual(ids(trace), ["root", "c5", "g5", "x", "100 done · 1 with errors below"]);
  reduceTrace(trace, ended("x", "g5", 6, 8));
  assert.deepEqual(ids(trace), ["root", "100 done"]);
});

test("after any history, the count of children with failures below is correct", () => {
  let seed = 7;
  const random = (/** @type {number} */ below) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  for (let history = 0; history < 300; history += 1) {
    const trace = createTrace(TRACE);
    for (let step = 0; step < 40; step += 1) {
      const [id, parent, kind] = [`s${random(12)}`, `s${random(12)}`, random(5)];
      const event = kind === 0 ? started(id, parent, step) : kind === 1 ? lost(id, parent, step, step + 2, step + 1) : ended(id, parent, step, step + 1, kind === 2 ? FAILED : {});
      reduceTrace(trace, event);
    }
    flatten(trace, unfolded());
    const { spans } = trace;
    for (let index = 0; index < spans.count; index += 1) {
      let below = 0;
      for (let child = spans.firstChild[index]; child >= 0; child = spans.nextSibling[child]) {
        if (spans.has(child, FLAG.errorBelow) && ![3, 5].includes(spans.state[child])) below += 1;
      }
      assert.equal(spans.childBelow[index], below, `history ${history}, ${spans.ids[index]}`);
    }
  }
});

// @ts-check
// Claims about the arithmetic of the waterfall, and about its cost with the largest traces.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  axisTicks, barGeometry, flatten, isFolded, labelPlace, nextBad, rowOf, rowWindow, scrollToShow, setFolded, timeDomain, unfolded,
} from "../../src/dashboard/assets/layout.mjs";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model.mjs";
import { TRACE, ended, started } from "./build.mjs";

/** @param {...any} events */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

test("children stand in order of start, though they came in another", () => {
  const trace = traceOf(started("root", null, 0), started("c", "root", 3), started("a", "root", 1), started("b", "root", 2));
  assert.deepEqual(flatten(trace.tree, unfolded()).map((span) => span.id), ["root", "a", "b", "c"]);
});

test("an end that corrects the start moves the row", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("b", "root", 2));
  flatten(trace.tree, unfolded());
  const before = trace.tree.structure;
  reduceTrace(trace, ended("a", "root", 5, 6));
  assert.notEqual(trace.tree.structure, before);
  assert.deepEqual(flatten(trace.tree, unfolded()).map((span) => span.id), ["root", "b", "a"]);
});

test("what is folded hides all below it, and its row is the nearest one visible", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("a1", "a", 2), started("b", "root", 3));
  const fold = unfolded();
  setFolded(fold, "a", true);
  const rows = flatten(trace.tree, fold);
  assert.deepEqual(rows.map((span) => span.id), ["root", "a", "b"]);
  assert.equal(rowOf(rows, trace.tree.spans.get("a1")), 1);
  assert.equal(rowOf(rows, undefined), -1);
});

test("collapse all holds for spans still to come, and exceptions can be made", () => {
  const fold = { all: true, except: new Set() };
  const trace = traceOf(started("root", null, 0), started("a", "root", 1));
  assert.deepEqual(flatten(trace.tree, fold).map((span) => span.id), ["root"]);
  setFolded(fold, "root", false);
  reduceTrace(trace, started("a1", "a", 2));
  assert.deepEqual(flatten(trace.tree, fold).map((span) => span.id), ["root", "a"]);
  assert.deepEqual([isFolded(fold, "root"), isFolded(fold, "a")], [false, true]);
});

test("the window covers the viewport and the overscan, and stays inside the rows", () => {
  const base = { viewport: 280, rowHeight: 28, count: 1000, overscan: 5 };
  assert.deepEqual(rowWindow({ ...base, scrollTop: 0 }), { first: 0, last: 15, height: 28_000 });
  assert.deepEqual(rowWindow({ ...base, scrollTop: 1414 }), { first: 45, last: 66, height: 28_000 });
  assert.deepEqual(rowWindow({ ...base, scrollTop: 27_720 }), { first: 985, last: 1000, height: 28_000 });
  assert.deepEqual(rowWindow({ ...base, scrollTop: 90_000 }), { first: 1000, last: 1000, height: 28_000 });
  assert.deepEqual(rowWindow({ ...base, scrollTop: 0, count: 0 }), { first: 0, last: 0, height: 0 });
});

test("scrolling to a row moves as little as possible", () => {
  const base = { viewport: 280, rowHeight: 28, margin: 28 };
  assert.equal(scrollToShow({ ...base, index: 5, scrollTop: 0 }), 0);
  assert.equal(scrollToShow({ ...base, index: 20, scrollTop: 0 }), 336);
  assert.equal(scrollToShow({ ...base, index: 0, scrollTop: 500 }), 0);
});

test("an open trace has head-room, a finished one fills the width", () => {
  assert.deepEqual(timeDomain({ start: 100, end: 150 }, 200), { start: 100, length: 105 });
  assert.deepEqual(timeDomain({ start: 100, end: 150 }, null), { start: 100, length: 50 });
  assert.deepEqual(timeDomain({ start: NaN, end: NaN }, 5), { start: 0, length: 1 });
  assert.deepEqual(timeDomain({ start: 100, end: 100 }, null), { start: 100, length: 0.001 });
});

test("a bar is where its time is, and never narrower than can be seen or outside", () => {
  const domain = { start: 0, length: 100 };
  assert.deepEqual(barGeometry({ start: 10, end: 60 }, domain, 1000), { x: 100, width: 500 });
  assert.deepEqual(barGeometry({ start: 10, end: 10 }, domain, 1000), { x: 100, width: 2 });
  assert.deepEqual(barGeometry({ start: 100, end: 100 }, domain, 1000), { x: 998, width: 2 });
});

test("a label goes inside its bar, else right of it, else left", () => {
  assert.deepEqual(labelPlace({ x: 100, width: 200 }, 50, 1000), { side: "inside", x: 106 });
  assert.deepEqual(labelPlace({ x: 100, width: 20 }, 50, 1000), { side: "right", x: 128 });
  assert.deepEqual(labelPlace({ x: 950, width: 20 }, 50, 1000), { side: "left", x: 892 });
  assert.deepEqual(labelPlace({ x: 0, width: 55 }, 50, 60), { side: "inside", x: 10 });
  assert.deepEqual(labelPlace({ x: 100, width: 70 }, 50, 1000, 20), { side: "right", x: 178 });
});

test("ticks stand at round distances", () => {
  assert.deepEqual(axisTicks(100), [{ at: 0, label: "0" }, { at: 30, label: "30 ms" }, { at: 60, label: "60 ms" }, { at: 90, label: "90 ms" }]);
  assert.deepEqual(axisTicks(75_000).map((tick) => tick.label), ["0", "20 s", "40 s", "1 m"]);
  assert.deepEqual(axisTicks(0.004).map((tick) => tick.label), ["0", "1 µs", "2 µs", "3 µs", "4 µs"]);
  assert.deepEqual(axisTicks(3_600_000 * 3).map((tick) => tick.label), ["0", "45 m", "1 h 30 m", "2 h 15 m", "3 h"]);
});

test("there are three to five ticks at any length", () => {
  for (let length = 0.0005; length < 1e11; length *= 1.037) {
    const count = axisTicks(length).length;
    assert.ok(count >= 3 && count <= 5, `${count} ticks for ${length} ms`);
  }
});

test("the next error is found in reading order, around the end", () => {
  const bad = { status: { code: "ERROR" } };
  const trace = traceOf(ended("root", null, 0, 9), ended("a", "root", 1, 2, bad), ended("b", "root", 3, 4), ended("c", "root", 5, 6, bad));
  const rows = flatten(trace.tree, unfolded());
  const walk = [nextBad(rows, -1, 1), nextBad(rows, 1, 1), nextBad(rows, 3, 1), nextBad(rows, -1, -1), nextBad(rows, 3, -1)];
  assert.deepEqual(walk.map((span) => span?.id), ["a", "c", "a", "c", "a"]);
  assert.equal(nextBad([rows[0]], -1, 1), null);
});

test("a trace of 100,000 spans is reduced and flattened in time", () => {
  const count = 100_000;
  const trace = createTrace(TRACE);
  const before = performance.now();
  reduceTrace(trace, started("0", null, 0));
  for (let index = 1; index < count; index += 1) reduceTrace(trace, started(String(index), String(index >> 3), index));
  for (let index = count - 1; index > 0; index -= 1) {
    reduceTrace(trace, ended(String(index), String(index >> 3), index, count, { status: { code: index % 100 ? "OK" : "ERROR" } }));
  }
  const rows = flatten(trace.tree, unfolded());
  const elapsed = performance.now() - before;
  assert.equal(rows.length, count);
  assert.deepEqual(trace.tree.counts, { total: count, open: 1, waiting: 0, errors: 999, lost: 0, placeholders: 0 });
  // A quadratic step anywhere would take minutes; the bound is wide so that a loaded machine does not fail it.
  assert.ok(elapsed < 10_000, `${elapsed} ms`);
});

test("a trace 100,000 spans deep works in both directions", () => {
  const count = 100_000;
  for (const order of ["down", "up"]) {
    const trace = createTrace(TRACE);
    for (let step = 0; step < count; step += 1) {
      const index = order === "down" ? step : count - 1 - step;
      reduceTrace(trace, ended(String(index), index === 0 ? null : String(index - 1), index, count, { status: { code: "ERROR" } }));
    }
    const rows = flatten(trace.tree, unfolded());
    assert.deepEqual([rows.length, rows[count - 1].depth, rows[count - 1].id], [count, count - 1, String(count - 1)]);
    assert.equal(rows[0].errorBelow, true);
  }
});

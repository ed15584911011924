// @ts-check
// Claims about the positions of rows, bars, labels and ticks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { axisTicks, barGeometry, labelPlace, rowWindow, scrollToShow, tickLabel } from "../../src/dashboard/assets/model/layout.mjs";
import { Scale } from "../../src/dashboard/assets/model/timescale.mjs";

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

test("a bar is at its time, at least the minimum width, and inside the view", () => {
  assert.deepEqual(barGeometry(100, 600, 1000), { x: 100, width: 500, outside: "" });
  assert.deepEqual(barGeometry(100, 100, 1000), { x: 100, width: 2, outside: "" });
  assert.deepEqual(barGeometry(1000, 1000, 1000), { x: 998, width: 2, outside: "" });
});

test("a zoomed bar is clipped slightly beyond the view, and one outside has its side", () => {
  assert.deepEqual(barGeometry(-1e9, 1e9, 1000), { x: -8, width: 1016, outside: "" });
  assert.deepEqual(barGeometry(-500, 300, 1000), { x: -8, width: 308, outside: "" });
  assert.deepEqual(barGeometry(-500, -1, 1000), { x: 0, width: 0, outside: "left" });
  assert.deepEqual(barGeometry(1001, 1e9, 1000), { x: 1000, width: 0, outside: "right" });
});

test("a label is inside its bar, else to its right, else to its left", () => {
  assert.deepEqual(labelPlace({ x: 100, width: 200 }, 50, 1000), { side: "inside", x: 106 });
  assert.deepEqual(labelPlace({ x: 100, width: 20 }, 50, 1000), { side: "right", x: 128 });
  assert.deepEqual(labelPlace({ x: 950, width: 20 }, 50, 1000), { side: "left", x: 892 });
  assert.deepEqual(labelPlace({ x: 0, width: 55 }, 50, 60), { side: "inside", x: 10 });
  assert.deepEqual(labelPlace({ x: 100, width: 70 }, 50, 1000, 20), { side: "right", x: 178 });
  assert.deepEqual(labelPlace({ x: -8, width: 1016 }, 50, 1000), { side: "inside", x: 6 });
});

/** @param {number} length @param {number} [width] */
const whole = (length, width = 1000) => new Scale({ start: 0, end: length }, [], width);

test("ticks are at round distances", () => {
  assert.deepEqual(axisTicks(whole(100), 0), [
    { at: 0, x: 0, label: "0" }, { at: 30, x: 300, label: "30 ms" }, { at: 60, x: 600, label: "60 ms" }, { at: 90, x: 900, label: "90 ms" },
  ]);
  assert.deepEqual(axisTicks(whole(75_000), 0).map((tick) => tick.label), ["0", "20 s", "40 s", "1 m"]);
  assert.deepEqual(axisTicks(whole(0.004), 0).map((tick) => tick.label), ["0", "1 µs", "2 µs", "3 µs", "4 µs"]);
  assert.deepEqual(axisTicks(whole(3_600_000 * 3), 0).map((tick) => tick.label), ["0", "45 m", "1 h 30 m", "2 h 15 m", "3 h"]);
});

test("there are three to five ticks at any length", () => {
  for (let length = 0.0005; length < 1e11; length *= 1.037) {
    const count = axisTicks(whole(length), 0).length;
    assert.ok(count >= 3 && count <= 5, `${count} ticks for ${length} ms`);
  }
});

test("zoomed far in, labels have enough digits to distinguish ticks", () => {
  const scale = new Scale({ start: 12_345.6, end: 12_345.604 }, [], 1000);
  assert.deepEqual(axisTicks(scale, 0).map((tick) => tick.label), ["12.3456 s", "12.345601 s", "12.345602 s", "12.345603 s", "12.345604 s"]);
  assert.equal(tickLabel(83_400, 100), "1 m 23.4 s");
  assert.equal(tickLabel(-30, 10), "−30 ms");
});

test("no tick is inside a gap, and ticks never touch", () => {
  const scale = new Scale({ start: 0, end: 3_600_100 }, [{ start: 50, end: 3_600_050 }], 1028);
  const ticks = axisTicks(scale, 0);
  assert.deepEqual(ticks.map((tick) => tick.label), ["0", "30 ms", "1 h 0 m 0.06 s", "1 h 0 m 0.09 s"]);
  for (const [index, tick] of ticks.entries()) {
    assert.ok(tick.at <= 50 || tick.at >= 3_600_050);
    if (index > 0) assert.ok(tick.x - ticks[index - 1].x >= 36);
  }
});

test("a scale without a width has no ticks", () => {
  assert.deepEqual(axisTicks(whole(100, 0), 0), []);
});

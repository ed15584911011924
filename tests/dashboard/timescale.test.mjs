// @ts-check
// Claims about time and pixels: zoom, pan, and gaps that are drawn narrow.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { GAP_WIDTH, STRETCH_MIN, Scale, fitTo, spanGaps, pan, wholeStretch, within, zoomAbout } from "../../src/dashboard/assets/model/timescale.mjs";
import { Moments } from "../../src/dashboard/assets/model/trace-at-time.mjs";
import { TRACE, ended, started, updated } from "./build.mjs";

/** @param {...any} events */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

test("an open trace has head-room, a finished one fills the width", () => {
  assert.deepEqual(wholeStretch({ start: 100, end: 150 }, 200), { start: 100, end: 205 });
  assert.deepEqual(wholeStretch({ start: 100, end: 150 }, null), { start: 100, end: 150 });
  assert.deepEqual(wholeStretch({ start: NaN, end: NaN }, 5), { start: 0, end: 1 });
  assert.deepEqual(wholeStretch({ start: 100, end: 100 }, null), { start: 100, end: 100.001 });
});

test("without gaps the scale is a straight line, and time and pixels are each other's inverse", () => {
  const scale = new Scale({ start: 100, end: 300 }, [], 1000);
  assert.deepEqual([scale.x(100), scale.x(150), scale.x(300), scale.x(50), scale.x(400)], [0, 250, 1000, -250, 1500]);
  assert.deepEqual([scale.time(0), scale.time(250), scale.time(1000), scale.time(-250)], [100, 150, 300, 50]);
});

test("a gap has a fixed width, and the time around it shares the rest", () => {
  const scale = new Scale({ start: 0, end: 1000 }, [{ start: 100, end: 900 }], 228);
  assert.deepEqual(scale.gaps, [{ start: 100, end: 900, x: 100, width: GAP_WIDTH }]);
  assert.deepEqual([scale.x(50), scale.x(100), scale.x(900), scale.x(950), scale.x(1000)], [50, 100, 128, 178, 228]);
  for (const time of [0, 13, 100, 500, 900, 901, 1000]) assert.ok(Math.abs(scale.time(scale.x(time)) - time) < 1e-9);
});

test("gaps that are short or outside of the visible stretch are drawn to scale", () => {
  const gaps = [{ start: 0, end: 10 }, { start: 400, end: 600 }];
  assert.deepEqual(new Scale({ start: 0, end: 1000 }, gaps, 1000).gaps.map((gap) => gap.start), [400]);
  assert.deepEqual(new Scale({ start: 0, end: 100 }, gaps, 1000).gaps.map((gap) => gap.start), [0]);
  assert.deepEqual(new Scale({ start: 700, end: 900 }, gaps, 1000).gaps, []);
});

test("many gaps never take more than half of the width", () => {
  const gaps = Array.from({ length: 10 }, (_, index) => ({ start: index * 100, end: index * 100 + 90 }));
  const scale = new Scale({ start: 0, end: 1000 }, gaps, 100);
  assert.deepEqual(scale.gaps.map((gap) => gap.width), Array(10).fill(5));
  assert.equal(scale.x(1000), 100);
});

test("another width shows the same stretch and the same gaps", () => {
  const scale = new Scale({ start: 0, end: 1000 }, [{ start: 100, end: 900 }], 228).withWidth(428);
  assert.deepEqual([scale.width, scale.x(100), scale.x(900), scale.x(1000)], [428, 200, 228, 428]);
});

test("zooming keeps the time under the pointer in its place", () => {
  const bounds = { start: 0, end: 1000 };
  const zoomed = zoomAbout({ start: 0, end: 1000 }, 250, 0.5, bounds);
  assert.deepEqual(zoomed, { start: 125, end: 625 });
  assert.equal(new Scale(/** @type {any} */ (zoomed), [], 800).x(250), new Scale(bounds, [], 800).x(250));
});

test("zoom stops at the whole trace and at 100 ns", () => {
  const bounds = { start: 0, end: 1000 };
  assert.equal(zoomAbout({ start: 100, end: 700 }, 300, 4, bounds), null);
  const least = zoomAbout({ start: 500, end: 500.0001 }, 500, 0.001, bounds);
  assert.ok(least !== null && least.end - least.start >= STRETCH_MIN * 0.999);
});

test("pan and zoom never leave the bounds", () => {
  const bounds = { start: 0, end: 1000 };
  assert.deepEqual(pan({ start: 100, end: 200 }, -5, bounds), { start: 0, end: 100 });
  assert.deepEqual(pan({ start: 100, end: 200 }, 50, bounds), { start: 900, end: 1000 });
  assert.deepEqual(pan({ start: 100, end: 200 }, 0.5, bounds), { start: 150, end: 250 });
  assert.deepEqual(within({ start: -50, end: 50 }, bounds), { start: 0, end: 100 });
  assert.deepEqual(fitTo({ start: 400, end: 500 }, bounds), { start: 390, end: 510 });
  assert.equal(fitTo(bounds, bounds), null);
});

test("a stretch in which no innermost span runs is a gap, with exact borders", () => {
  const trace = traceOf(ended("root", null, 0, 1000), ended("a", "root", 0, 100.25), ended("b", "root", 50, 90), ended("c", "root", 800.5, 1000));
  assert.deepEqual(spanGaps(trace, NaN, { start: 0, end: 1000 }), [{ start: 100.25, end: 800.5 }]);
});

test("a slow span is no gap; the time of one that waits is", () => {
  const slow = traceOf(ended("root", null, 0, 1000), ended("a", "root", 0, 100), ended("slow", "root", 100, 900), ended("c", "root", 900, 1000));
  assert.deepEqual(spanGaps(slow, NaN, { start: 0, end: 1000 }), []);
  const waits = traceOf(ended("root", null, 0, 1000), ended("a", "root", 0, 100), ended("sleep", "root", 100, 900, { durable: true }), ended("c", "root", 900, 1000));
  assert.deepEqual(spanGaps(waits, NaN, { start: 0, end: 1000 }), [{ start: 100, end: 900 }]);
  const kind = { attributes: { "workflow.step.kind": "sleep" } };
  const local = traceOf(ended("root", null, 0, 1000), ended("a", "root", 0, 100), ended("nap", "root", 100, 900, kind), ended("c", "root", 900, 1000));
  assert.deepEqual(spanGaps(local, NaN, { start: 0, end: 1000 }), [{ start: 100, end: 900 }]);
});

test("a span rests from its update on, also at a past moment", () => {
  const trace = traceOf(ended("root", null, 0, 1000), ended("a", "root", 0, 100), started("nap", "root", 100), ended("c", "root", 900, 1000));
  const whole = { start: 0, end: 1000 };
  assert.deepEqual(spanGaps(trace, 1000, whole), []);
  reduceTrace(trace, updated("nap", 200, { attributes: { "workflow.step.kind": "sleep" } }));
  assert.deepEqual(spanGaps(trace, 1000, whole), [{ start: 100, end: 900 }]);
  assert.deepEqual(spanGaps(new Moments(trace, null, 1000).at(800), 800, { start: 0, end: 800 }), [{ start: 100, end: 800 }]);
  reduceTrace(trace, ended("nap", "root", 100, 900));
  assert.deepEqual(spanGaps(trace, 1000, whole), [], "an end that reports work left the gap");
});

test("in a live trace the gap extends to the live edge and not beyond", () => {
  const trace = traceOf(started("root", null, 0), ended("a", "root", 0, 100));
  assert.deepEqual(spanGaps(trace, 1000, { start: 0, end: 1050 }), [{ start: 100, end: 1000 }]);
  reduceTrace(trace, started("b", "root", 700));
  assert.deepEqual(spanGaps(trace, 1000, { start: 0, end: 1050 }), [{ start: 100, end: 700 }]);
});

test("only gaps inside the stretch count, and short ones do not", () => {
  const trace = traceOf(ended("root", null, 0, 1000), ended("a", "root", 0, 100), ended("b", "root", 140, 500), ended("c", "root", 800, 1000));
  assert.deepEqual(spanGaps(trace, NaN, { start: 0, end: 1000 }), [{ start: 500, end: 800 }]);
  assert.deepEqual(spanGaps(trace, NaN, { start: 50, end: 200 }), [{ start: 100, end: 140 }]);
});

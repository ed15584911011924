// @ts-check
// Claims about a run compared with the usual durations of its name.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isSlower, timesText, usualBar, usualTitle } from "../../src/dashboard/assets/model/usual-bar.mjs";

const USUAL = { count: 40, p50: 10, p95: 50 };

test("the scale is that of the name: 1.6 times its 95th percentile", () => {
  assert.deepEqual(usualBar(20, USUAL), { value: 0.25, band: [0.125, 0.625], tick: 0.125, beyond: false });
  assert.deepEqual(usualBar(80, USUAL), { value: 1, band: [0.125, 0.625], tick: 0.125, beyond: false });
  assert.deepEqual(usualBar(81, USUAL), { value: 1, band: [0.125, 0.625], tick: 0.125, beyond: true });
});

test("a value is always visible, even one of length 0", () => {
  assert.equal(usualBar(0, USUAL).value, 0.01);
  assert.equal(usualBar(0, null).value, 0.02);
  assert.deepEqual(usualBar(5, { count: 5, p50: 0, p95: 0 }), { value: 1, band: [0, 0], tick: 0, beyond: true });
});

test("without earlier runs the scale is logarithmic, from 1 ms to 10 min", () => {
  assert.deepEqual([usualBar(1, null).band, usualBar(600_000, null).value, usualBar(6_000_000, null)], [null, 1, { value: 1, band: null, tick: null, beyond: true }]);
  assert.equal(Math.round(usualBar(774.6, null).value * 100), 50);
});

test("a run is slower if it exceeds the 95th percentile by more than the quantile's error", () => {
  assert.deepEqual([51, 52, 53].map((duration) => isSlower(duration, USUAL)), [false, false, true]);
  assert.equal(isSlower(1e9, null), false);
});

test("a run's multiple of the median has two or three digits", () => {
  assert.deepEqual([0.4, 1, 51, 99.6, 320, 1e12].map((duration) => timesText(duration, USUAL)), ["< 0.1×", "0.1×", "5.1×", "10×", "32×", "1000000×"]);
  assert.equal(usualTitle(USUAL), "Usual for this name: half within 10.0 ms, 95 % within 50.0 ms, of 40 runs");
});

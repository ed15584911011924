// @ts-check
// Claims about progress: the shown values, and the values that cannot be known.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ProgressWindow, amountText, leftText, percentText, progressFrom, progressOf, progressText, rateText, shareOf } from "../../src/dashboard/assets/model/progress.mjs";

/** @param {number} current @param {number | null} [total] @param {string} [units] */
const progress = (current, total = null, units = "") => ({ current, total, units, message: "" });

test("progress is read from attributes, as numbers or as 64-bit texts", () => {
  assert.deepEqual(progressOf({ "progress.current": 3, "progress.total": "270", "progress.units": "pages", "progress.message": "page 3" }), { current: 3, total: 270, units: "pages", message: "page 3" });
  assert.deepEqual(progressOf({ "progress.current": "18446744073709551615" })?.current, 2 ** 64);
  assert.deepEqual(progressOf({ "progress.message": "opening" }), { current: 0, total: null, units: "", message: "opening" });
  for (const none of [undefined, null, {}, { "progress.total": 5 }, { "progress.current": -1 }, { "progress.current": "NaN" }, { "progress.current": "soon" }, { "progress.current": [1] }]) assert.equal(progressOf(none), null, JSON.stringify(none));
  assert.deepEqual(progressOf({ "progress.current": 0, "progress.total": 0 }), progress(0), "a total of 0 was not ignored");
  assert.equal(progressFrom(null), null);
});

test("unfinished progress is never shown as 100 %", () => {
  assert.deepEqual([progress(0, 3), progress(1, 3), progress(2999, 3000), progress(3, 3), progress(4, 3), progress(29, 100), progress(1)].map(percentText), ["0 %", "33 %", "99 %", "100 %", "133 %", "29 %", ""]);
  assert.deepEqual([progress(1, 4), progress(9, 4), progress(1)].map(shareOf), [0.25, 1, null]);
  assert.deepEqual([progress(190, 270, "pages"), progress(1500), progress(1.25, 2)].map(amountText), ["190 of 270 pages", "1,500", "1.3 of 2"]);
});

test("the time left is known from three updates on, and only with a total", () => {
  const speed = new ProgressWindow();
  const at = (/** @type {number} */ time, /** @type {number} */ current, /** @type {number | null} */ total = 100) => {
    speed.add(progress(current, total), time);
    return [speed.rate(time), speed.left(time)];
  };
  assert.deepEqual([at(0, 0), at(1_000, 10), at(2_000, 20)], [[0, null], [0.01, null], [0.01, 8_000]]);
  assert.deepEqual(speed.left(2_500), 7_500, "the time left does not shrink between two updates");
  assert.equal(speed.rate(3_000), 0.01);
  assert.equal(speed.rate(5_000), 20 / 4_000, "a long silence does not reduce the rate");
  assert.deepEqual(at(3_000, 5), [0, null], "a restarted progress keeps its old rate");
  assert.deepEqual([at(4_000, 6, null), at(5_000, 7, null), at(6_000, 8, null)], [[0, null], [0.001, null], [0.001, null]]);
});

test("the rate covers the last ten seconds, or the last 20 updates if they are slow", () => {
  const fast = new ProgressWindow();
  for (let n = 0; n <= 300; n += 1) fast.add(progress(n < 150 ? n * 10 : 1_500 + (n - 150), 10_000), n * 100);
  assert.equal(Math.round(fast.rate(30_000) * 1e6), 10_000, "the rate includes updates older than the window");
  const slow = new ProgressWindow();
  for (let n = 0; n <= 30; n += 1) slow.add(progress(n, 100), n * 60_000);
  assert.equal(slow.steps.length, 20);
  assert.equal(slow.left(30 * 60_000), 70 * 60_000);
  const hostile = new ProgressWindow();
  for (let n = 0; n < 10_000; n += 1) hostile.add(progress(n, 1e6), n / 1e6);
  assert.equal(hostile.steps.length, 200);
  const still = new ProgressWindow();
  for (const time of [0, 1, 2, 3]) still.add(progress(5, 10), time);
  assert.equal(still.left(4), null, "progress that does not move has a time left");
  for (const odd of [NaN, 3, 2]) still.add(progress(6, 10), odd);
  assert.equal(still.steps.length, 4, "an update from the past was added");
});

test("estimates are worded as estimates", () => {
  assert.deepEqual([null, 0, 900, 19_001, 23_400, 58_000, 61_000, 150_000, 154_000, 3_599_000, 7_300_000, 3_000 * 3_600_000].map(leftText), [
    "", "about 1 s left", "about 1 s left", "about 20 s left", "about 25 s left", "about 1 m left", "about 1 m 10 s left", "about 2 m 30 s left", "about 2 m 40 s left", "about 1 h 00 m left", "about 2 h 05 m left", "about 3,000 h 00 m left",
  ]);
  assert.deepEqual([0, NaN, 0.0034, 0.5, 0.0001, 0.00001].map(rateText), ["", "", "3.4/s", "500/s", "6.0/min", "36.0/h"]);
  const speed = new ProgressWindow();
  for (const n of [0, 1, 2]) speed.add(progress(n * 10, 270, "pages"), n * 1_000);
  assert.equal(progressText(progress(20, 270, "pages"), speed, 2_000), "20 of 270 pages · 7 % · 10/s · about 25 s left");
  assert.equal(progressText(progress(20, 270, "pages"), null, 2_000), "20 of 270 pages · 7 %");
});

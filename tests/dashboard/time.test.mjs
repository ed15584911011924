// @ts-check
// Claims about timestamps and durations.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  epochMilliseconds, formatAbsolute, formatAge, formatDuration, formatOffset, formatOpen, formatSeconds, formatTicking, parseTimestamp, wholeSeconds,
} from "../../src/dashboard/assets/model/time.mjs";

test("a duration has three digits, and never reaches a thousand of a unit", () => {
  /** @type {[number | null, string][]} */
  const claims = [
    [null, "–"], [NaN, "–"], [0, "0 ms"], [0.00064, "640 ns"], [0.0009996, "1.00 µs"], [0.0123, "12.3 µs"], [0.9996, "1.00 ms"],
    [1.5, "1.50 ms"], [12.345, "12.3 ms"], [999.4, "999 ms"], [999.6, "1.00 s"], [1500, "1.50 s"], [59_940, "59.9 s"],
    [59_960, "1 m 00 s"], [125_000, "2 m 05 s"], [3_599_600, "1 h 00 m"], [3_720_000, "1 h 02 m"], [273_600_000, "3 d 04 h"], [-5, "−5.00 ms"],
  ];
  for (const [milliseconds, expected] of claims) assert.equal(formatDuration(milliseconds), expected);
});

test("a growing duration shows tenths of a second", () => {
  assert.deepEqual([-1, 0, 1234, 59_949, 59_950, 125_900].map(formatTicking), ["0.0 s", "0.0 s", "1.2 s", "59.9 s", "1 m 00 s", "2 m 05 s"]);
});

test("an age has one unit", () => {
  assert.deepEqual([-5, 1999, 2000, 59_999, 60_000, 3_600_000, 86_400_000].map(formatAge), ["now", "now", "2 s ago", "59 s ago", "1 min ago", "1 h ago", "1 d ago"]);
});

test("an offset has a sign", () => {
  assert.deepEqual([0, 12.34, -5, NaN].map(formatOffset), ["+0 ms", "+12.3 ms", "−5.00 ms", "–"]);
});

test("a timestamp keeps its nanoseconds when counted from a near origin", () => {
  const origin = wholeSeconds("2026-11-22T11:39:00.999999999Z");
  assert.equal(parseTimestamp("2026-11-22T11:39:00.123456789Z", origin), 123.456789);
  assert.equal(parseTimestamp("2026-11-22T11:39:02.000000001Z", origin), 2000.000001);
  assert.equal(parseTimestamp("2026-11-22T11:39:01Z", origin), 1000);
  assert.equal(epochMilliseconds("1970-01-01T00:00:01.500000000Z"), 1500);
});

test("an invalid timestamp is not a time", () => {
  for (const text of [null, undefined, 7, "", "yesterday, or even earlier", {}]) assert.equal(parseTimestamp(text, 0), NaN);
  assert.equal(formatAbsolute(undefined), "–");
  assert.equal(formatAbsolute("2026-11-22T11:39:00.123456789Z"), "2026-11-22 11:39:00.123456789 UTC");
});

test("an open duration has few digits while it grows, and all at a fixed moment", () => {
  assert.deepEqual([formatOpen(147.25, true), formatOpen(147.25, false), formatOpen(0.0421, false), formatOpen(-1, false)], ["0.1 s", "147 ms", "42.1 µs", "0 ms"]);
});

test("a wait is in whole seconds, then minutes", () => {
  assert.deepEqual([-5, 0, 1, 1_000, 1_001, 59_000, 60_000, 3_599_000, 7_200_000].map(formatSeconds), ["0 s", "0 s", "1 s", "1 s", "2 s", "59 s", "1 min", "59 min", "2 h"]);
});

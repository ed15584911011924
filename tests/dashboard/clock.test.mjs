// @ts-check
// Claims about times of day.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { clockText, fullClock, shortClock, startText } from "../../src/dashboard/assets/model/clock.mjs";

const NOON = Date.UTC(2026, 10, 30, 12, 33, 15, 204);

test("a time of day has milliseconds, in local time or in UTC", () => {
  assert.deepEqual([clockText(NOON, "utc"), shortClock(NOON, "utc"), shortClock(NOON, "utc", true)], ["12:33:15.204", "12:33", "12:33:15"]);
  const local = new Date(NOON);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  assert.equal(clockText(NOON, "local"), `${two(local.getHours())}:${two(local.getMinutes())}:15.204`);
  assert.equal(fullClock(NOON, "utc"), "2026-11-30 12:33:15.204 UTC");
  assert.match(fullClock(NOON, "local"), /^2026-(11-30|12-01) \d\d:\d\d:15\.204 UTC[+−]\d\d:\d\d$/);
});

test("a time on another day has the date before it", () => {
  assert.equal(startText(NOON, NOON + 3_600_000, "utc"), "12:33:15.204");
  assert.equal(startText(NOON, NOON + 86_400_000, "utc"), "11-30 12:33:15");
  assert.equal(startText(NOON, NOON + 365 * 86_400_000, "utc"), "11-30 12:33:15");
});

test("an invalid time is a dash", () => {
  assert.deepEqual([clockText(NaN, "utc"), startText(NaN, NOON, "utc"), fullClock(NaN, "local")], ["–", "–", "–"]);
});

test("every time of day on the page follows the reader's choice of zone", () => {
  const assets = new URL("../../src/dashboard/assets/", import.meta.url);
  const others = readdirSync(assets, { recursive: true }).map(String).filter((name) => name.endsWith(".mjs") && name !== "model/clock.mjs")
    .filter((name) => /\.(get(UTC)?(Hours|Minutes)|toTimeString|toLocale(Time)?String)\(/.test(readFileSync(new URL(name, assets), "utf8")));
  assert.deepEqual(others, []);
});

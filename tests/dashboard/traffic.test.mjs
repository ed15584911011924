// @ts-check
// Claims about the traffic that the list counts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TIMED_GAPS_MAX, createList, noteGapTime, reduceList } from "../../src/dashboard/assets/model/list-model.mjs";
import { BUCKETS, perSecond, stretchAt, trafficOf, trafficRate } from "../../src/dashboard/assets/model/traffic.mjs";

const NOW = Date.UTC(2026, 10, 30, 12, 0, 0);

/** @param {string} traceId @param {number} ago milliseconds @param {object} [more] @returns {any} */
function trace(traceId, ago, more = {}) {
  return { traceId, name: "n", service: "s", state: "ok", startTimestamp: new Date(NOW - ago).toISOString().replace("Z", "000000Z"), spans: { total: 1, open: 0, errors: 0, lost: 0 }, firstId: `aaaaaaaa-${1_000 - Math.floor(ago / 1_000)}`, ...more };
}

/** @param {any[]} traces @param {object} [more] */
function listOf(traces, more = {}) {
  return reduceList(createList(), { type: "traces", data: { type: "traces", snapshot: true, traces, removed: [], ...more } });
}

const failed = { spans: { total: 1, open: 0, errors: 2, lost: 0 } };

/** @param {Uint32Array} counts @returns {Record<string, number>} those that are not 0, by the number of buckets before the last */
const counted = (counts) => Object.fromEntries([...counts].flatMap((count, at) => (count === 0 ? [] : [[BUCKETS - 1 - at, count]])));

test("each trace counts in the bucket of its start, and traces with errors also as errors", () => {
  const traffic = trafficOf(listOf([trace("a", 0), trace("b", 600), trace("c", 700, failed), trace("d", 30_000)]), NOW, { query: "" });
  assert.deepEqual([traffic.width, counted(traffic.started), counted(traffic.failed), traffic.known, traffic.total, traffic.errors], [500, { 0: 1, 2: 2, 60: 1 }, { 2: 1 }, 0, 4, 1]);
});

test("buckets are aligned to the clock: a bar neither moves nor changes within one", () => {
  const list = listOf([trace("a", 5_000)]);
  const starts = [0, 1, 499, 500].map((later) => trafficOf(list, NOW + later, { query: "" }).start - NOW);
  assert.deepEqual(starts, [-59_500, -59_500, -59_500, -59_000]);
});

test("the window is the smallest that holds all known traces", () => {
  assert.deepEqual([59_000, 61_000, 800_000, 85_000_000].map((ago) => trafficOf(listOf([trace("a", ago)]), NOW, { query: "" }).width), [500, 1_000, 7_500, 720_000]);
  assert.equal(trafficOf(listOf([]), NOW, { query: "" }).width, 500);
});

test("times that were not loaded do not count as empty: only later buckets are known", () => {
  const running = { state: "running", firstId: "aaaaaaaa-5" };
  const traffic = trafficOf(listOf([trace("a", 30_000), trace("b", 50_000, running)], { next: "100" }), NOW, { query: "" });
  // The open trace is in the list because it is open. Other traces of its time may be missing.
  assert.deepEqual([traffic.known, traffic.total, counted(traffic.started)], [59, 1, { 60: 1, 100: 1 }]);
  assert.equal(perSecond(traffic), 1 / 30.5);
});

test("history that holds only matches of a search does not count", () => {
  const list = listOf([trace("a", 10_000)], { next: "100" });
  reduceList(list, { type: "page", data: { traces: [trace("b", 40_000)], next: null } });
  assert.deepEqual([trafficOf(list, NOW, { query: "" }).total, trafficOf(list, NOW, { query: "x" }).total], [2, 1]);
  assert.deepEqual([trafficOf(list, NOW, { query: "" }).known, trafficOf(list, NOW, { query: "x" }).known], [0, 99]);
});

test("a gap is at its time of arrival, with its loss if that is known", () => {
  const list = listOf([trace("a", 10_000)]);
  noteGapTime(list, { reason: "dropped", lost: { starts: 3, ends: 2, other: 1 } }, NOW - 1_000);
  noteGapTime(list, { reason: "evicted", lost: 10 }, NOW - 900);
  noteGapTime(list, { reason: "evicted", lost: null }, NOW - 5_000);
  noteGapTime(list, { reason: "epoch", lost: null }, NOW);
  noteGapTime(list, { reason: "evicted", lost: 1 }, NaN);
  const { gaps } = trafficOf(list, NOW, { query: "" });
  assert.deepEqual(Object.entries(gaps), [["109", { lost: null, gaps: 1 }], ["117", { lost: 16, gaps: 2 }]]);
  for (let more = 0; more < TIMED_GAPS_MAX * 2; more += 1) noteGapTime(list, { reason: "evicted", lost: 1 }, NOW);
  assert.equal(list.timedGaps.length, TIMED_GAPS_MAX);
});

test("a drag chooses whole buckets, in either direction", () => {
  const traffic = trafficOf(listOf([trace("a", 10_000)]), NOW, { query: "" });
  const stretch = { since: NOW - 59_500 + 12 * 500, until: NOW - 59_500 + 25 * 500 };
  assert.deepEqual([stretchAt(traffic, 0.1, 0.2), stretchAt(traffic, 0.2, 0.1)], [stretch, stretch]);
  assert.deepEqual(stretchAt(traffic, 0.5, 0.5), { since: NOW - 59_500 + 60 * 500, until: NOW - 59_500 + 61 * 500 });
});

test("a rate is shown per second, minute or hour, by its size", () => {
  assert.deepEqual([0, 8.13, 120, 0.5, 0.02, 0.001].map(trafficRate), ["0 /s", "8.1 /s", "120 /s", "30 /min", "1.2 /min", "3.6 /h"]);
});

// @ts-check
// Claims about the figures of operations.

import assert from "node:assert/strict";
import { test } from "node:test";
import { coverage, operationCounts, operationsOf, runLook, selectOperations, slowestRuns, trendKind, trendOf, trendText } from "../../src/dashboard/assets/model/operations.mjs";

/** @param {string} name @param {object} [more] @returns {any} */
function operation(name, more = {}) {
  return {
    service: "shop", name, kind: "INTERNAL", count: 10, since: "2026-11-22T11:39:04Z", perSecond: 1, rate: [{ count: 1, errors: 0 }], p50: 10, p95: 20, p99: 30, total: 100, errors: 0, errorShare: 0, running: 0,
    histogram: [{ from: 8, to: 16, count: 10, errors: 0 }], slowest: { traceId: "t", spanId: "s", start: "2026-11-22T11:39:03Z", duration: 1_000, state: "ok" }, last: [], p50Recent: 10, p50Before: 10, ...more,
  };
}

/** @param {any[]} operations */
const read = (operations) => /** @type {import("../../src/dashboard/assets/model/operations.mjs").Operations} */ (operationsOf({ operations, more: 0, others: 0, bucketSeconds: 15 })).operations;

test("an answer is parsed, and invalid values are replaced by defaults", () => {
  const whole = { operations: [operation("a")], more: 3, others: 7, bucketSeconds: 15 };
  assert.deepEqual(operationsOf(whole), whole);
  const odd = operationsOf({ operations: [null, 1, {}, operation("a", { count: -1, since: 5, slowest: null, p95: "x", rate: null, histogram: [null, { from: 1 }], last: [{ traceId: 5, spanId: "s" }, { traceId: "t" }, { traceId: "t", spanId: "s" }] })] });
  assert.deepEqual(odd, {
    operations: [{ ...operation("a"), count: 0, since: null, slowest: null, p95: null, rate: [], histogram: [{ from: 1, to: 0, count: 0, errors: 0 }], last: [{ traceId: "t", spanId: "s", start: "", duration: 0, state: "" }] }],
    more: 0, others: 0, bucketSeconds: 15,
  });
  assert.deepEqual([operationsOf(null), operationsOf({ error: "no" })], [null, null]);
});

test("the figures cover all spans of the operations, since the first of them ended", () => {
  const rows = read([operation("a", { since: "2026-11-22T11:39:09Z" }), operation("b", { count: 5 }), operation("c", { count: 0, since: null })]);
  assert.deepEqual([coverage(rows), coverage([])], [{ spans: 15, since: "2026-11-22T11:39:04Z" }, { spans: 0, since: null }]);
});

test("a trend counts from 5 %, and as slower from 10 %", () => {
  const trends = [[10, 10], [10.4, 10], [10.6, 10], [11.8, 10], [9.1, 10], [120, 10], [null, 10], [10, null], [10, 0]].map(([p50Recent, p50Before]) => trendOf(/** @type {any} */ ({ p50Recent, p50Before })));
  assert.deepEqual(trends.map(trendKind), ["steady", "steady", "up", "slower", "faster", "slower", "", "", ""]);
  assert.deepEqual(trends.map(trendText), ["0 %", "+4 %", "+6 %", "+18 %", "−9 %", "×12", "", "", ""]);
});

test("operations are filtered and sorted, ties by name", () => {
  const all = read([
    operation("b"), operation("a"), operation("GET /", { kind: "SERVER", total: 500, perSecond: 0.1 }), operation("pay", { service: "payments", errors: 2, errorShare: 0.2, running: 1, p95: 900 }), operation("slow", { p50Recent: 20, p95: null }),
  ]);
  const names = (/** @type {any} */ options) => selectOperations(all, { kept: "all", order: "time", query: "", ...options }).map(({ name }) => name);
  assert.deepEqual(names({}), ["GET /", "pay", "a", "b", "slow"]);
  assert.deepEqual(names({ order: "p95" }), ["pay", "GET /", "a", "b", "slow"]);
  assert.deepEqual(names({ order: "slower" }), ["slow", "pay", "GET /", "a", "b"]);
  assert.deepEqual([names({ kept: "entry" }), names({ kept: "errors" }), names({ kept: "running" }), names({ kept: "slower" })], [["GET /"], ["pay"], ["pay"], ["slow"]]);
  assert.deepEqual([names({ query: "service:pay" }), names({ query: "-name:a" }), names({ query: "kind:server" }), names({ query: "shop -kind:server" })], [["pay"], ["GET /", "b", "slow"], ["GET /"], ["a", "b", "slow"]]);
  assert.deepEqual(names({ query: "errors>0 -state:ok pay" }), ["pay"], "a term about single traces was applied");
  assert.deepEqual(operationCounts(all), { all: 5, entry: 1, slower: 1, errors: 1, running: 1 });
});

test("a run's style is its outcome, or slow beyond the 95th percentile", () => {
  const looks = [["ok", 10], ["ok", 21], ["ok", 20.5], ["error", 1], ["panicked", 1], ["lost", 1], ["cancelled", 99], ["running", 99]].map(([state, duration]) => runLook(/** @type {any} */ ({ state, duration }), 20));
  assert.deepEqual(looks, ["ok", "slow", "ok", "error", "error", "error", "cancelled", "running"]);
  assert.equal(runLook(/** @type {any} */ ({ state: "ok", duration: 1e9 }), null), "ok");
});

test("the five slowest of the last runs are listed, the slowest first", () => {
  const last = [3, 9, 1, 7, 5, 2].map((duration) => ({ traceId: "t", spanId: `${duration}`, start: "", duration, state: "ok" }));
  assert.deepEqual(slowestRuns(read([operation("a", { last })])[0]).map(({ duration }) => duration), [9, 7, 5, 3, 2]);
});

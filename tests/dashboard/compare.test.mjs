// @ts-check
// Claims about the comparison of two runs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PATHS_MAX, causeOf, compareTraces, comparedRows, deltaShareText, differenceOf, spansText } from "../../src/dashboard/assets/model/compare.mjs";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { isOtherRun, otherRuns, runBefore } from "../../src/dashboard/assets/net/earlier-runs.mjs";
import { TRACE, ended, lost, started } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  const trace = createTrace(TRACE);
  for (const event of events) reduceTrace(trace, event);
  return trace;
}

const FAILED = { status: { code: "ERROR" } };

/** @param {string} id @param {string | null} parent @param {string} name @param {number} start @param {number} end @param {object} [more] */
const span = (id, parent, name, start, end, more = {}) => ended(id, parent, start, end, { name, ...more });

/** @param {import("../../src/dashboard/assets/model/model.mjs").Trace} a @param {import("../../src/dashboard/assets/model/model.mjs").Trace} b @param {{a: number, b: number}} [now] */
const compared = (a, b, now = { a: 1e6, b: 1e6 }) => compareTraces(a, b, now);

/** @param {import("../../src/dashboard/assets/model/compare.mjs").Comparison} comparison @returns {Record<string, any[]>} by name: verdict, difference, spans of both */
const said = ({ paths }) => Object.fromEntries(paths.map(({ name, verdict, delta, a, b }) => [name, [verdict, Math.round(delta), a.count, b.count]]));

test("runs are aligned by the names from the root down, regardless of ids and order", () => {
  const a = traceOf([span("r", null, "job", 0, 100), span("x", "r", "read", 0, 40), span("y", "x", "parse", 0, 10), span("z", "r", "write", 50, 90)]);
  // The child comes before its parent, the ids differ, and one `parse` is below `write`, which is
  // another path.
  const b = traceOf([span("4", "3", "parse", 1_060, 1_070), span("3", "1", "write", 1_050, 1_150), span("1", null, "job", 1_000, 1_160), span("2", "1", "read", 1_000, 1_041)]);
  const comparison = compared(a, b);
  assert.deepEqual(comparison.paths.map(({ name, depth, parent, verdict }) => [name, depth, parent, verdict]), [
    ["job", 0, -1, "slower"], ["read", 1, 0, "same"], ["parse", 2, 1, "missing"], ["write", 1, 0, "slower"], ["parse", 2, 3, "new"],
  ]);
  assert.deepEqual(comparison.counts, { same: 1, slower: 2, faster: 0, new: 1, missing: 1, later: 0, unfinished: 0, newlyFailed: 0 });
  assert.deepEqual([comparison.states, comparison.total, comparison.ended], [{ a: "ended", b: "ended" }, { a: 100, b: 160 }, null]);
});

test("parallel spans of one path count once: the time in which any of them ran", () => {
  const a = traceOf([span("r", null, "job", 0, 100), span("1", "r", "shard", 0, 50), span("2", "r", "shard", 10, 60), span("3", "r", "shard", 80, 90)]);
  const { paths } = compared(a, a);
  assert.deepEqual([paths[1].a.time, paths[1].a.count, paths[1].delta, paths[1].a.first, paths[1].a.last], [70, 3, 0, 0, 90]);
});

test("a difference within 5 % or 1 ms counts as the same", () => {
  const run = (/** @type {number} */ small, /** @type {number} */ large) => traceOf([span("r", null, "job", 0, 2_000), span("1", "r", "small", 0, small), span("2", "r", "large", 100, 100 + large)]);
  assert.deepEqual(said(compared(run(2, 1_000), run(3, 1_052))), { job: ["same", 0, 1, 1], small: ["same", 1, 1, 1], large: ["same", 52, 1, 1] });
  assert.deepEqual(said(compared(run(2, 1_000), run(3.1, 1_060))), { job: ["same", 0, 1, 1], small: ["slower", 1, 1, 1], large: ["slower", 60, 1, 1] });
  assert.deepEqual(said(compared(run(3.1, 1_060), run(2, 1_000))), { job: ["same", 0, 1, 1], small: ["faster", -1, 1, 1], large: ["faster", -60, 1, 1] });
});

test("a path newly fails if it fails now and did not before", () => {
  const run = (/** @type {object} */ one, /** @type {object} */ other) => traceOf([span("r", null, "job", 0, 10), span("1", "r", "one", 0, 1, one), span("2", "r", "other", 2, 3, other)]);
  const { paths, counts } = compared(run({}, FAILED), run(FAILED, FAILED));
  assert.deepEqual(paths.map(({ newlyFailed, a, b }) => [newlyFailed, a.errors, b.errors]), [[false, 0, 0], [true, 0, 1], [false, 1, 1]]);
  assert.equal(counts.newlyFailed, 1);
});

test("an unfinished path is never judged faster for having less time so far", () => {
  const calls = (/** @type {number} */ count, /** @type {number} */ each) => Array.from({ length: count }, (_, at) => span(`c${at}`, "p", "batch", 10 + at * 12, 10 + at * 12 + each));
  const a = traceOf([span("r", null, "job", 0, 12_100), span("p", "r", "upload", 5, 12_050), ...calls(1_000, 11), span("z", "r", "finish", 12_060, 12_090)]);
  const open = [started("r", null, 0, { name: "job" }), started("p", "r", 5, { name: "upload" })];
  // The model's times of a trace are milliseconds since the start of the second in which its first event happened.
  const run = (/** @type {number} */ count, /** @type {number} */ each) => compareTraces(a, traceOf([...open, ...calls(count, each)]), { a: 1e6, b: 9_000 });
  const figures = (/** @type {import("../../src/dashboard/assets/model/compare.mjs").Comparison} */ { paths }) => Object.fromEntries(paths.map((path) => [path.name, [path.verdict, path.basis, Math.round(path.delta), spansText(path), deltaShareText(path)]]));
  const same = run(701, 11);
  assert.deepEqual(figures(same), {
    job: ["unfinished", "time", 0, "1 of 1", ""], upload: ["unfinished", "time", 0, "1 of 1", ""], batch: ["same", "call", 0, "701 of 1,000", ""], finish: ["later", "time", 0, "0 of 1", ""],
  });
  assert.deepEqual([same.states, same.total, same.ended, differenceOf(same)], [{ a: "ended", b: "running" }, { a: 12_100, b: 9_000 }, { after: 9_000, a: 749, b: 701 }, null]);
  assert.deepEqual([figures(run(701, 5)).batch, figures(run(701, 12)).batch], [["faster", "call", -6, "701 of 1,000", "−55 %"], ["slower", "call", 1, "701 of 1,000", "+9 %"]]);
  // All of the calls ended, and there are as many as in the finished run, so their sums are compared.
  assert.deepEqual(figures(run(1_000, 5)).batch, ["faster", "time", -6_000, "×1,000", "−55 %"]);
  // The other way round, the verdicts are mirrored.
  const swapped = compareTraces(traceOf([...open, ...calls(701, 5)]), a, { a: 9_000, b: 1e6 });
  assert.deepEqual(figures(swapped), {
    job: ["unfinished", "time", 0, "1+ → 1", ""], upload: ["unfinished", "time", 0, "1+ → 1", ""], batch: ["slower", "call", 6, "701+ → 1,000", "+120 %"], finish: ["later", "time", 0, "0+ → 1", ""],
  });
});

test("an unfinished path that already took longer is slower, and nothing in it is missing", () => {
  const a = traceOf([span("r", null, "job", 0, 100), span("1", "r", "read", 0, 40), span("2", "r", "write", 50, 100)]);
  const b = traceOf([started("r", null, 1_000, { name: "job" }), started("1", "r", 1_000, { name: "read" })]);
  const at = (/** @type {number} */ now) => compared(a, b, { a: 1e6, b: now });
  assert.deepEqual(said(at(20)), { job: ["unfinished", 0, 1, 1], read: ["unfinished", 0, 1, 1], write: ["later", 0, 1, 0] });
  assert.deepEqual(said(at(70)), { job: ["unfinished", 0, 1, 1], read: ["slower", 30, 1, 1], write: ["later", 0, 1, 0] });
  assert.deepEqual([differenceOf(at(70)), differenceOf(at(400)), causeOf(at(400)).map((path) => at(400).paths[path].name)], [null, { delta: 300, isEqual: false, isFinal: false }, ["read"]]);
  const both = compared(b, b, { a: 50, b: 80 });
  assert.deepEqual([said(both), differenceOf(both), both.ended], [{ job: ["unfinished", 0, 1, 1], read: ["unfinished", 0, 1, 1] }, null, { after: 50, a: 0, b: 0 }]);
});

test("an ended phase of a running job is compared as a whole, with its descendants", () => {
  const a = traceOf([span("r", null, "job", 0, 100), span("1", "r", "read", 0, 40), span("2", "1", "parse", 0, 10), span("3", "1", "check", 10, 20)]);
  const b = traceOf([started("r", null, 0, { name: "job" }), span("1", "r", "read", 0, 60), span("2", "1", "parse", 0, 30), span("4", "1", "more", 30, 50)]);
  assert.deepEqual(said(compared(a, b, { a: 1e6, b: 70 })), { job: ["unfinished", 0, 1, 1], read: ["slower", 20, 1, 1], parse: ["slower", 20, 1, 1], check: ["missing", -10, 1, 0], more: ["new", 20, 0, 1] });
});

test("a run that was lost, or lacks spans, counts as unfinished", () => {
  const a = traceOf([span("r", null, "job", 0, 100), span("1", "r", "read", 0, 40)]);
  const states = (/** @type {any[]} */ events) => {
    const { states: of, paths } = compared(a, traceOf(events));
    return [of.b, paths[0].verdict];
  };
  assert.deepEqual(states([lost("r", null, 0, 30, 20)]), ["lost", "unfinished"]);
  // The sender reports spans only when they end, so the page has the child, but has never seen the open root.
  assert.deepEqual(states([span("1", "r", "read", 0, 40)]), ["incomplete", "later"]);
  assert.deepEqual(states([span("1", "far", "job", 0, 40, { parentRemote: true })]), ["ended", "faster"]);
  assert.deepEqual(states([span("1", "far", "job", 0, 40, { kind: "SERVER" })]), ["ended", "faster"]);
  const part = traceOf([span("r", null, "job", 0, 30)]);
  part.evicted = { events: 4, spans: 2 };
  assert.deepEqual([compared(a, part).states.b, compared(a, part).paths[0].verdict, compared(part, a).paths[0].newlyFailed], ["incomplete", "faster", false]);
});

test("no path newly fails against a run that may still fail there", () => {
  const failed = traceOf([span("r", null, "job", 0, 10), span("1", "r", "one", 0, 1, FAILED)]);
  const open = traceOf([started("r", null, 0, { name: "job" }), started("1", "r", 0, { name: "one" })]);
  const whole = traceOf([span("r", null, "job", 0, 10), span("1", "r", "one", 0, 1)]);
  const stillOpen = traceOf([started("r", null, 0, { name: "job" }), span("1", "r", "one", 0, 1, FAILED)]);
  assert.deepEqual([compared(open, failed, { a: 5, b: 5 }).counts.newlyFailed, compared(whole, stillOpen, { a: 5, b: 5 }).counts.newlyFailed], [0, 1]);
});

test("the cause is the deepest path that has most of the difference", () => {
  const run = (/** @type {number} */ query) => traceOf([
    span("r", null, "job", 0, 100 + query), span("1", "r", "read", 0, 50), span("2", "r", "relate", 50, 90 + query), span("3", "2", "SELECT", 50, 60 + query), span("4", "2", "UPSERT", 61 + query, 62 + query),
  ]);
  const comparison = compared(run(0), run(500));
  assert.deepEqual(causeOf(comparison).map((at) => comparison.paths[at].name), ["relate", "SELECT"]);
  const faster = compared(run(500), run(0));
  assert.deepEqual(causeOf(faster).map((at) => faster.paths[at].name), ["relate", "SELECT"]);
  assert.deepEqual(causeOf(compared(run(0), run(0))), []);
});

test("rows include the ancestors of matches, can be closed, and are sorted by time or difference", () => {
  const a = traceOf([span("r", null, "job", 0, 100), span("1", "r", "read", 0, 10), span("2", "1", "parse", 0, 5), span("3", "r", "write", 20, 30)]);
  const b = traceOf([span("r", null, "job", 0, 200), span("1", "r", "read", 0, 10), span("2", "1", "parse", 0, 9), span("3", "r", "write", 20, 90)]);
  const comparison = compared(a, b);
  const rows = (/** @type {any} */ options) => comparedRows(comparison, { kept: "all", order: "time", closed: new Set(), ...options }).map((at) => comparison.paths[at].name);
  assert.deepEqual(rows({}), ["job", "read", "parse", "write"]);
  assert.deepEqual(rows({ order: "delta" }), ["job", "write", "read", "parse"]);
  assert.deepEqual(rows({ closed: new Set([1]) }), ["job", "read", "write"]);
  assert.deepEqual(rows({ kept: "same" }), ["job", "read"]);
  assert.deepEqual(rows({ terms: " PARS" }), ["job", "read", "parse"]);
  assert.deepEqual(rows({ kept: "newlyFailed" }), []);
});

test("a share is shown in percent, and as a factor from ten times on", () => {
  const share = (/** @type {number} */ before, /** @type {number} */ after) => deltaShareText(compared(traceOf([span("r", null, "a", 0, before)]), traceOf([span("r", null, "b", 0, after)])).paths[0]);
  assert.deepEqual([share(100, 119), share(100, 50), share(100, 101), share(10, 1_350)], ["+19 %", "−50 %", "", "×135"]);
});

test("the first spans are compared whatever their names, and others by name", () => {
  const { paths } = compared(traceOf([span("r", null, "one", 0, 10), span("s", null, "beside", 2, 3)]), traceOf([span("r", null, "other", 0, 10), span("s", null, "beside", 2, 3)]));
  assert.deepEqual(paths.map(({ name, parent, verdict }) => [name, parent, verdict]), [["one", -1, "same"], ["beside", -1, "same"]]);
});

test("a cycle of parents and an unseen parent stop nothing", () => {
  const circle = traceOf([span("a", "b", "one", 0, 10), span("b", "a", "two", 0, 10), span("c", "gone", "three", 5, 6)]);
  const { paths, counts } = compared(circle, circle);
  assert.deepEqual([paths.reduce((sum, { a }) => sum + a.count, 0), counts.same], [3, paths.length]);
});

test("paths are bounded, and omitted spans are counted", () => {
  const many = traceOf([span("r", null, "job", 0, 10), ...Array.from({ length: PATHS_MAX + 10 }, (_, at) => span(`s${at}`, "r", `name ${at}`, 1, 2)), span("below", `s${PATHS_MAX + 5}`, "below", 1, 2)]);
  const one = traceOf([span("r", null, "job", 0, 10)]);
  const { paths, left, counts } = compared(one, many);
  assert.deepEqual([paths.length, left, counts.new], [PATHS_MAX, 12, PATHS_MAX - 1]);
});

test("two of 20,000 spans are compared within 500 ms", () => {
  const run = (/** @type {number} */ slower) => traceOf([span("r", null, "job", 0, 100_000), ...Array.from({ length: 4_999 }, (_, at) => [
    span(`p${at}`, "r", "page", at * 20, at * 20 + 18), span(`a${at}`, `p${at}`, "read", at * 20, at * 20 + 5), span(`b${at}`, `p${at}`, "write", at * 20 + 6, at * 20 + 9 + slower), span(`c${at}`, `b${at}`, `query ${at % 50}`, at * 20 + 7, at * 20 + 8),
  ]).flat()]);
  const [a, b] = [run(0), run(4)];
  // The fastest of several runs counts, because other programs can only slow one down.
  const times = Array.from({ length: 5 }, () => {
    const began = performance.now();
    compared(a, b);
    return performance.now() - began;
  });
  const comparison = compared(a, b);
  assert.deepEqual([comparison.paths.length, comparison.paths[0].children.length, a.spans.count], [54, 1, 19_997]);
  assert.ok(Math.min(...times) < 500, `${times.map((time) => time.toFixed(0))} ms`);
});

test("another run has the same name and service, not just a name that contains it", async () => {
  const run = { traceId: "me", name: "job", service: "shop" };
  const trace = (/** @type {string} */ traceId, /** @type {object} */ more = {}) => /** @type {any} */ ({ traceId, name: "job", service: "shop", startTimestamp: traceId, firstId: "e-1", ...more });
  assert.deepEqual([trace("me"), trace("a"), trace("b", { name: "job 2" }), trace("c", { service: "x" })].map((one) => isOtherRun(one, run)), [false, true, false, false]);
  /** @type {string[]} */
  const asked = [];
  const pages = [{ traces: [trace("me"), trace("c"), trace("b", { name: "jobs" })], next: "7" }, { traces: [trace("a")], next: null }];
  const runs = await otherRuns(async (route) => {
    asked.push(route);
    return { status: 200, body: pages[asked.length - 1] };
  }, run);
  assert.deepEqual([runs?.map(({ traceId }) => traceId), asked], [["c", "a"], ["traces?limit=200&q=name%3Ajob+service%3Ashop", "traces?limit=200&after=7&q=name%3Ajob+service%3Ashop"]]);
  assert.deepEqual([runBefore(runs ?? [], "b")?.traceId, runBefore(runs ?? [], "a"), await otherRuns(async () => ({ status: 0, body: null }), run)], ["a", null, null]);
});

// @ts-check
// Claims about the list of traces.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OLDER_MAX, copyList, countsWords, createList, forgetOlder, hasOlder, keptText, listCounts, listMatches, matchText, reasonOf, recordSpeeds, reduceList, selectTraces, shownStateOfSummary } from "../../src/dashboard/assets/model/list-model.mjs";
import { parseQuery } from "../../src/dashboard/assets/model/search.mjs";
import { at, hello } from "./build.mjs";

/** @param {string} traceId @param {number} start @param {any} [state] @param {object} [more] @returns {any} */
function summary(traceId, start, state = "ok", more = {}) {
  return {
    traceId, name: `name ${traceId}`, service: "shop", state, rootSpanId: null, startTimestamp: at(start), endTimestamp: null,
    lastTimestamp: at(start), durationMs: state === "running" ? null : 1, spans: { total: 1, open: 0, errors: 0, lost: 0 },
    services: [{ name: "shop", spans: 1, errors: 0 }], ...more,
  };
}

/** @param {any[]} traces @param {object} [more] */
function frame(traces, more = {}) {
  return { type: "traces", data: { type: "traces", snapshot: false, traces, removed: [], ...more } };
}

/** @param {any} list @param {{query?: string, order?: "running" | "newest"}} [options] */
function ids(list, { query = "", order = "newest" } = {}) {
  return selectTraces(list, { terms: parseQuery(query, "list").terms, order, now: Date.parse(at(0)) }).map((trace) => trace.traceId);
}

test("a snapshot replaces the list, a frame inserts or updates, and `removed` removes", () => {
  const list = createList();
  reduceList(list, frame([summary("a", 1), summary("b", 2)], { snapshot: true }));
  reduceList(list, frame([summary("c", 3), summary("a", 1, "error")], { removed: ["b"] }));
  assert.deepEqual(ids(list), ["c", "a"]);
  assert.equal(list.traces.get("a")?.state, "error");
  reduceList(list, frame([summary("d", 4)], { snapshot: true }));
  assert.deepEqual(ids(list), ["d"]);
});

test("the same frame twice changes nothing", () => {
  const list = createList();
  reduceList(list, frame([summary("a", 1)]));
  reduceList(list, frame([summary("a", 1)]));
  assert.deepEqual(ids(list), ["a"]);
});

test("beyond the bound the oldest finished trace is removed first, then the oldest open one; history has them", () => {
  const list = createList(3);
  const one = (/** @type {string} */ id, /** @type {number} */ start, /** @type {any} */ state = "ok") => summary(id, start, state, { firstId: `aaaaaaaa-${start}` });
  reduceList(list, frame([one("a", 1, "running"), one("b", 2), one("c", 3), one("d", 4)]));
  assert.deepEqual([ids(list), list.floor], [["d", "c", "a"], 3]);
  reduceList(list, frame([one("e", 5, "running"), one("f", 6, "running"), one("g", 7, "running")]));
  assert.deepEqual([ids(list), list.floor], [["g", "f", "e"], 5]);
});

test("a snapshot names where history continues, however few traces it has", () => {
  const list = reduceList(createList(), frame([summary("a", 100)], { snapshot: true, next: "100" }));
  assert.deepEqual([list.floor, hasOlder(list)], [100, true]);
  reduceList(list, frame([summary("b", 200)]));
  assert.equal(list.floor, 100);
  reduceList(list, frame([summary("a", 100), summary("b", 200)], { snapshot: true }));
  assert.deepEqual([list.floor, hasOlder(list)], [0, false]);
});

test("history is bounded, and its oldest trace is removed first", () => {
  const list = reduceList(createList(), { type: "page", data: { traces: Array.from({ length: OLDER_MAX + 5 }, (_, index) => summary(`t${index}`, index)), next: "1" } });
  assert.deepEqual([list.older.size, list.older.has("t4"), list.older.has("t5")], [OLDER_MAX, false, true]);
});

test("open traces come first on request, else the newest", () => {
  const list = reduceList(createList(), frame([summary("a", 1, "running"), summary("b", 2), summary("c", 3, "waiting")]));
  assert.deepEqual(ids(list, { order: "running" }), ["c", "a", "b"]);
  assert.deepEqual(ids(list, { order: "newest" }), ["c", "b", "a"]);
  assert.deepEqual(listCounts(list), { total: 3, open: 2, failing: 0, failed: 0, panicked: 0, cancelled: 0, below: 0 });
});

test("errors below are shown for a running trace, and for one that ended ok", () => {
  const errors = (/** @type {number} */ count) => ({ spans: { total: 9, open: 0, errors: count, lost: 0 } });
  const traces = [
    summary("a", 1, "running", errors(2)), summary("b", 2, "waiting", errors(1)), summary("c", 3, "ok", errors(1)), summary("d", 4, "error", errors(1)),
    summary("e", 5, "lost", errors(1)), summary("f", 6), summary("g", 7, "running"), summary("h", 8, "cancelled", errors(1)),
    summary("i", 9, "panicked", errors(1)),
  ];
  assert.deepEqual(traces.map(shownStateOfSummary), ["failing", "failing", "below", "error", "lost", "ok", "running", "cancelled", "panicked"]);
  const counts = listCounts(reduceList(createList(), frame(traces)));
  assert.deepEqual(counts, { total: 9, open: 3, failing: 2, failed: 3, panicked: 1, cancelled: 1, below: 1 });
  assert.equal(countsWords(counts), "3 running, 2 of them failing · 3 failed, 1 of them panicked · 1 ok, errors below · 1 cancelled");
  assert.equal(countsWords({ total: 1_200, open: 1_200, failing: 0, failed: 0, panicked: 0, cancelled: 0, below: 0 }), "1,200 running · 0 failed");
});

test("a partly evicted trace shows how much is kept", () => {
  const spans = { total: 1_756, open: 0, errors: 20, lost: 0 };
  assert.equal(keptText(summary("a", 1, "ok", { spans, evicted: { events: 2_888, spans: 1_444 } })), "312 of 1,756 kept");
  assert.equal(keptText(summary("a", 1, "ok", { spans, evicted: { events: 2_888, spans: null } })), "incomplete");
  assert.equal(keptText(summary("a", 1, "ok", { spans, partial: { events: 20_000 } })), "first 20,000 events only");
  assert.deepEqual([keptText(summary("a", 1)), keptText(summary("a", 1, "ok", { evicted: null }))], ["", ""]);
});

test("pages of history are added below, and updates reach traces in them", () => {
  const list = reduceList(createList(), frame([summary("b", 2)], { snapshot: true }));
  reduceList(list, { type: "page", data: { traces: [summary("a", 1, "running"), summary("b", 2, "running")], next: "7" } });
  assert.deepEqual([ids(list), list.olderFloor, list.exhausted, list.traces.get("b")?.state], [["b", "a"], 7, false, "ok"]);
  reduceList(list, frame([summary("a", 1, "error")]));
  assert.deepEqual([list.older.get("a")?.state, list.traces.has("a")], ["error", false]);
  reduceList(list, { type: "page", data: { traces: [], next: null } });
  assert.equal(list.exhausted, true);
});

test("a hello of another epoch forgets the traces of the old one and counts them", () => {
  const list = reduceList(createList(), hello("aaaaaaaa"));
  reduceList(list, frame([summary("a", 1, "running")], { snapshot: true }));
  reduceList(list, hello("aaaaaaaa"));
  assert.deepEqual(ids(list), ["a"]);
  assert.equal(list.goneWithLog, 0);
  reduceList(list, hello("bbbbbbbb"));
  assert.deepEqual(ids(list), []);
  assert.equal(list.goneWithLog, 1);
});

test("unknown types and broken data change nothing", () => {
  const list = reduceList(createList(), frame([summary("a", 1)]));
  const version = list.version;
  reduceList(list, { type: "later", data: {} });
  reduceList(list, { type: "traces", data: null });
  assert.equal(list.version, version);
  reduceList(list, frame(/** @type {any} */ ([null, 7, { traceId: 3 }])));
  assert.deepEqual(ids(list), ["a"]);
});

test("rows are the matching traces", () => {
  const list = reduceList(createList(), frame([summary("aaa1", 1, "error", { name: "GET /Checkout" }), summary("bbb2", 2), summary("ccc3", 3, "running", { name: "error page" })]));
  reduceList(list, { type: "page", data: { traces: [summary("ddd0", 0, "error")], next: null } });
  assert.deepEqual([ids(list, { query: "state:error" }), ids(list, { query: "error" }), ids(list, { query: "-state:running", order: "running" })], [["aaa1", "ddd0"], ["ccc3"], ["bbb2", "aaa1", "ddd0"]]);
});

test("a failing store is shown until a gap or another connection reports that it works", () => {
  const list = createList();
  const after = (/** @type {any} */ event) => reduceList(list, event).degraded;
  const failing = { type: "degraded", data: { type: "degraded" } };
  assert.deepEqual([after(hello("aaaaaaaa")), after(failing), after(frame([])), after({ type: "gap", data: { type: "gap", reason: "epoch", lost: null } })], [false, true, true, false]);
  assert.deepEqual([after(failing), after(hello("aaaaaaaa"))], [true, false]);
});

test("the list has the progress speeds of open traces, and drops them with the traces", () => {
  const list = createList();
  const receive = (/** @type {any} */ event) => recordSpeeds(reduceList(list, event), event);
  const report = (/** @type {number} */ current, /** @type {number} */ second, /** @type {any} */ state = "running") => {
    receive(frame([summary("a", 1, state, { progress: { current, total: 10 }, lastTimestamp: `2026-11-22T11:39:0${second}.000000000Z` })]));
  };
  report(1, 1);
  report(2, 2);
  // The same progress in another update is not a step.
  report(2, 3);
  report(3, 3);
  const speed = list.speeds.get("a");
  assert.deepEqual(speed?.steps.map(({ current }) => current), [1, 2, 3]);
  assert.equal(speed?.left(Date.parse("2026-11-22T11:39:03Z")), 7_000);
  const copy = copyList(list);
  report(4, 4);
  assert.deepEqual([list, copy].map(({ speeds }) => speeds.get("a")?.steps.length), [4, 3], "the paused list has changed");
  report(4, 5, "ok");
  assert.equal(list.speeds.size, 0);
  report(5, 6);
  receive({ type: "traces", data: { type: "traces", snapshot: false, traces: [], removed: ["a"] } });
  assert.equal(list.speeds.size, 0);
});

test("a trace's first error is shown with its span", () => {
  assert.deepEqual([reasonOf(summary("a", 1)), reasonOf(summary("b", 1, "error", { error: { spanId: "00", name: "charge", message: "card declined" } }))], ["", "card declined in charge"]);
});

test("a match found by the server counts as long as the summary matches, and only for that search", () => {
  const list = reduceList(createList(), frame([summary("a", 1), summary("b", 2, "error")], { snapshot: true }));
  const match = { spanId: "00f0000000000000", name: "charge", field: "status.message", text: "card declined" };
  reduceList(list, { type: "page", data: { traces: [{ ...summary("b", 2, "error"), match }, { ...summary("c", 0), match }], next: null } });
  assert.deepEqual(ids(list, { query: "declined" }), ["b", "c"]);
  assert.deepEqual([ids(list, { query: "declined state:error" }), ids(list, { query: "@k:declined -state:error" }), ids(list, { query: "" })], [["b"], ["c"], ["b", "a", "c"]]);
  // A live update of the trace does not contain the match.
  reduceList(list, frame([summary("b", 2, "ok")]));
  assert.deepEqual([ids(list, { query: "declined" }), list.traces.get("b")?.match], [["b", "c"], undefined]);
  forgetOlder(list);
  assert.deepEqual([ids(list, { query: "declined" }), hasOlder(list), hasOlder(list, true)], [[], false, true]);
  assert.equal(listMatches(list, summary("x", 1), parseQuery("name:x", "list").terms, 0), true);
  assert.deepEqual([match, { ...match, field: "attributes.http.route", text: "/foo" }, { ...match, field: "log.body" }, { ...match, field: "events.exception.exception.message" }].map(matchText), ["error: card declined", "http.route=/foo", "log: card declined", "event: card declined"]);
});

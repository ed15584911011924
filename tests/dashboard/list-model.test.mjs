// @ts-check
// Claims about the list of traces.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createList, listCounts, parseQuery, reduceList, selectTraces } from "../../src/dashboard/assets/list-model.mjs";
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

/** @param {any} list @param {any} [options] */
function ids(list, options = {}) {
  return selectTraces(list, { query: "", order: "newest", ...options }).map((trace) => trace.traceId);
}

test("a snapshot replaces, a frame upserts, removed removes", () => {
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

test("beyond the bound the oldest finished goes first, then the oldest open, and it is counted", () => {
  const list = createList(3);
  reduceList(list, frame([summary("a", 1, "running"), summary("b", 2), summary("c", 3), summary("d", 4)]));
  assert.deepEqual(ids(list), ["d", "c", "a"]);
  assert.equal(list.droppedHere, 1);
  reduceList(list, frame([summary("e", 5, "running"), summary("f", 6, "running"), summary("g", 7, "running")]));
  assert.deepEqual(ids(list), ["g", "f", "e"]);
  assert.equal(list.droppedHere, 4);
});

test("open traces stand first when asked for, else the newest", () => {
  const list = reduceList(createList(), frame([summary("a", 1, "running"), summary("b", 2), summary("c", 3, "waiting")]));
  assert.deepEqual(ids(list, { order: "running" }), ["c", "a", "b"]);
  assert.deepEqual(ids(list, { order: "newest" }), ["c", "b", "a"]);
  assert.deepEqual(listCounts(list), { total: 3, open: 2, errors: 0 });
});

test("older pages are added and their token is kept", () => {
  const list = reduceList(createList(), frame([summary("b", 2)], { snapshot: true }));
  reduceList(list, { type: "page", data: { traces: [summary("a", 1)], next: "token" } });
  assert.deepEqual([ids(list), list.next, list.paged], [["b", "a"], "token", true]);
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

test("the filter looks in name, services, id and state, and every word must match", () => {
  const list = reduceList(createList(), frame([
    summary("aaa1", 1, "error", { name: "GET /Checkout" }),
    summary("bbb2", 2, "ok", { name: "import", services: [{ name: "pay", spans: 1, errors: 0 }] }),
    summary("ccc3", 3, "running", { name: "error page" }),
  ]));
  /** @type {[string, string[]][]} */
  const claims = [
    ["", ["ccc3", "bbb2", "aaa1"]], ["checkout", ["aaa1"]], ["PAY", ["bbb2"]], ["bbb", ["bbb2"]], ["error", ["ccc3", "aaa1"]],
    ["state:error", ["aaa1"]], ["service:shop -state:running", ["bbb2", "aaa1"]], ['"error page"', ["ccc3"]], ["get nothing", []],
    ["name:pay", []], ["[(*", []],
  ];
  for (const [query, expected] of claims) assert.deepEqual(ids(list, { query }), expected, query);
});

test("a query is parsed into terms", () => {
  assert.deepEqual(parseQuery('-state:ok "two words" x:y'), [
    { text: "ok", key: "state", excluded: true }, { text: "two words", key: "", excluded: false }, { text: "x:y", key: "", excluded: false },
  ]);
});

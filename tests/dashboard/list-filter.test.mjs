// @ts-check
// Claims about the filters of the list.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SAVED_MAX, SERVICE_CHIPS_MAX, chipCounts, holds, isWithin, matchCount, savedSearches, serviceTerm, toggled, withSaved, withoutEach, wordsIn } from "../../src/dashboard/assets/model/list-filter.mjs";
import { createList, reduceList } from "../../src/dashboard/assets/model/list-model.mjs";
import { at } from "./build.mjs";

const NOW = Date.parse(at(0));
const ALL = { since: null, until: null, mine: null };

/** @param {string} traceId @param {string} state @param {{errors?: number, services?: string[], start?: number}} [more] @returns {any} */
function trace(traceId, state, { errors = 0, services = ["shop"], start = 0 } = {}) {
  return { traceId, name: `work ${traceId}`, service: services[0], state, startTimestamp: at(start), spans: { total: 1, open: 0, errors, lost: 0 }, services: services.map((name) => ({ name, spans: 1, errors: 0 })) };
}

/** @param {any[]} traces */
const listOf = (traces) => reduceList(createList(), { type: "traces", data: { type: "traces", snapshot: true, traces, removed: [] } });

test("a quoted text is one word, also one whose quote is open", () => {
  assert.deepEqual(wordsIn('a  service:"b c" -"d \\" e" "open one'), ["a", 'service:"b c"', '-"d \\" e"', '"open one']);
  assert.deepEqual(wordsIn("   "), []);
});

test("a chip adds its term, takes it away, and takes the place of its kind", () => {
  assert.equal(toggled("", "state:running"), "state:running");
  assert.equal(toggled("pay state:running", "state:running"), "pay");
  assert.equal(toggled("pay state:running", "state:lost"), "pay state:lost");
  assert.equal(toggled("errors>0 x", "status:error"), "x status:error");
  assert.equal(toggled("service:a state:ok", "service:b"), "state:ok service:b");
});

test("all but those: terms of that sort stand beside each other", () => {
  assert.equal(toggled("state:ok", "service:a", true), "state:ok -service:a");
  assert.equal(toggled("-service:a", "service:b", true), "-service:a -service:b");
  assert.equal(toggled("-service:a", "service:a", true), "");
  assert.equal(toggled("service:a", "service:a", true), "-service:a");
  assert.deepEqual([holds("-service:a", "service:a"), holds("service:a", "service:a"), holds("service:ab", "service:a")], ["without", "with", ""]);
});

test("a service is found whatever its name is", () => {
  assert.deepEqual(["pay", "two words", 'a"b'].map(serviceTerm), ["service:pay", 'service:"two words"', 'service:"a\\"b"']);
});

test("a chip counts what it would show: its own kind does not count", () => {
  const list = listOf([
    trace("a", "running"), trace("b", "ok", { errors: 2 }), trace("c", "error", { errors: 1, services: ["shop", "pay"] }), trace("d", "lost", { errors: 1, services: ["pay"] }),
  ]);
  const counts = (/** @type {string} */ query) => {
    const { states, services, mine } = chipCounts(list, query, ALL, new Set(["c", "gone"]), NOW);
    return [Object.fromEntries(states.map(({ term, count }) => [term, count])), services, mine];
  };
  assert.deepEqual(counts("state:lost"), [
    { "state:running": 1, "state:waiting": 0, "errors>0": 3, "status:error": 2, "state:panicked": 0, "state:cancelled": 0, "state:lost": 1 },
    [{ term: "service:pay", count: 1 }], 0,
  ]);
  assert.deepEqual(counts("service:pay"), [
    { "state:running": 0, "state:waiting": 0, "errors>0": 2, "status:error": 2, "state:panicked": 0, "state:cancelled": 0, "state:lost": 1 },
    [{ term: "service:shop", count: 3 }, { term: "service:pay", count: 2 }], 1,
  ]);
});

test("services have a bounded number of chips: those with the most traces", () => {
  const list = listOf(Array.from({ length: 20 }, (_, at) => trace(`t${at}`, "ok", { services: ["all", `s${String(at).padStart(2, "0")}`] })));
  const { services } = chipCounts(list, "", ALL, new Set(), NOW);
  assert.deepEqual([services.length, services[0], services[1]], [SERVICE_CHIPS_MAX, { term: "service:all", count: 20 }, { term: "service:s00", count: 1 }]);
});

test("a stretch of time has its start and not its end", () => {
  const start = Date.parse(at(5));
  const within = (/** @type {number | null} */ since, /** @type {number | null} */ until, /** @type {Set<string> | null} */ mine = null) => isWithin(trace("a", "ok", { start: 5 }), { since, until, mine });
  assert.deepEqual([within(start, start + 1), within(start - 1, start), within(start + 1, null), within(null, null)], [true, false, false, true]);
  assert.deepEqual([within(null, null, new Set(["a"])), within(null, null, new Set())], [true, false]);
});

test("of a search that finds nothing, each term says what it keeps away", () => {
  const list = listOf([trace("a", "ok"), trace("b", "ok"), trace("c", "error")]);
  assert.deepEqual(withoutEach(list, "state:lost work", ALL, NOW), [{ term: "state:lost", count: 3 }, { term: "work", count: 0 }]);
  assert.deepEqual([matchCount(list, "state:ok", NOW), matchCount(list, "state:gone", NOW)], [2, 0]);
});

test("searches are kept in a bounded number, one for each query, and none is pushed out", () => {
  let searches = withSaved([], "Failed", " status:error ");
  assert.deepEqual(searches, [{ name: "Failed", query: "status:error" }]);
  assert.deepEqual(withSaved(searches, "  ", "status:error"), [{ name: "status:error", query: "status:error" }]);
  assert.deepEqual(withSaved(searches, "none", "  "), searches);
  for (let more = 0; more < 20; more += 1) searches = withSaved(searches, `n${more}`, `q${more}`);
  assert.deepEqual([searches.length, searches[0].name, searches[8].name], [SAVED_MAX, "Failed", "n7"]);
});

test("what the browser kept may be anything", () => {
  for (const kept of [null, "x", {}, [null, 1, { name: 1, query: "q" }, { name: "n" }, { name: "n", query: " " }, { name: "n".repeat(600), query: "q" }]]) assert.deepEqual(savedSearches(kept), []);
  assert.deepEqual(savedSearches([{ name: "n", query: "q", more: 1 }]), [{ name: "n", query: "q" }]);
});

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

test("a quoted text is one word, even without a closing quote", () => {
  assert.deepEqual(wordsIn('a  service:"b c" -"d \\" e" "open one'), ["a", 'service:"b c"', '-"d \\" e"', '"open one']);
  assert.deepEqual(wordsIn("   "), []);
});

test("a chip adds or removes its term, and replaces one of its kind", () => {
  assert.equal(toggled("", "state:running"), "state:running");
  assert.equal(toggled("pay state:running", "state:running"), "pay");
  assert.equal(toggled("pay state:running", "state:lost"), "pay state:lost");
  assert.equal(toggled("errors>0 x", "status:error"), "x status:error");
  assert.equal(toggled("service:a state:ok", "service:b"), "state:ok service:b");
});

test("negated terms are added beside each other", () => {
  assert.equal(toggled("state:ok", "service:a", true), "state:ok -service:a");
  assert.equal(toggled("-service:a", "service:b", true), "-service:a -service:b");
  assert.equal(toggled("-service:a", "service:a", true), "");
  assert.equal(toggled("service:a", "service:a", true), "-service:a");
  assert.deepEqual([holds("-service:a", "service:a"), holds("service:a", "service:a"), holds("service:ab", "service:a")], ["without", "with", ""]);
});

test("the term of a service finds it whatever its name", () => {
  assert.deepEqual(["pay", "two words", 'a"b'].map(serviceTerm), ["service:pay", 'service:"two words"', 'service:"a\\"b"']);
});

test("a chip counts what it would show, without terms of its own kind", () => {
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

test("a bounded number of services have chips: those with the most traces", () => {
  const list = listOf(Array.from({ length: 20 }, (_, at) => trace(`t${at}`, "ok", { services: ["all", `s${String(at).padStart(2, "0")}`] })));
  const { services } = chipCounts(list, "", ALL, new Set(), NOW);
  assert.deepEqual([services.length, services[0], services[1]], [SERVICE_CHIPS_MAX, { term: "service:all", count: 20 }, { term: "service:s00", count: 1 }]);
});

test("a stretch of time includes its start and not its end", () => {
  const start = Date.parse(at(5));
  const within = (/** @type {number | null} */ since, /** @type {number | null} */ until, /** @type {Set<string> | null} */ mine = null) => isWithin(trace("a", "ok", { start: 5 }), { since, until, mine });
  assert.deepEqual([within(start, start + 1), within(start - 1, start), within(start + 1, null), within(null, null)], [true, false, false, true]);
  assert.deepEqual([within(null, null, new Set(["a"])), within(null, null, new Set())], [true, false]);
});

test("of a search without results, each term has the number of traces that it excludes", () => {
  const list = listOf([trace("a", "ok"), trace("b", "ok"), trace("c", "error")]);
  assert.deepEqual(withoutEach(list, "state:lost work", ALL, NOW), [{ term: "state:lost", count: 3 }, { term: "work", count: 0 }]);
  assert.deepEqual([matchCount(list, "state:ok", NOW), matchCount(list, "state:gone", NOW)], [2, 0]);
});

test("saved searches are bounded, one per query, and none is displaced", () => {
  let searches = withSaved([], "Failed", " status:error ");
  assert.deepEqual(searches, [{ name: "Failed", query: "status:error" }]);
  assert.deepEqual(withSaved(searches, "  ", "status:error"), [{ name: "status:error", query: "status:error" }]);
  assert.deepEqual(withSaved(searches, "none", "  "), searches);
  for (let more = 0; more < 20; more += 1) searches = withSaved(searches, `n${more}`, `q${more}`);
  assert.deepEqual([searches.length, searches[0].name, searches[8].name], [SAVED_MAX, "Failed", "n7"]);
});

test("stored values may be invalid", () => {
  for (const kept of [null, "x", {}, [null, 1, { name: 1, query: "q" }, { name: "n" }, { name: "n", query: " " }, { name: "n".repeat(600), query: "q" }]]) assert.deepEqual(savedSearches(kept), []);
  assert.deepEqual(savedSearches([{ name: "n", query: "q", more: 1 }]), [{ name: "n", query: "q" }]);
});

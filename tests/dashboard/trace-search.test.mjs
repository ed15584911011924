// @ts-check
// Claims about the search inside one trace.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { TraceSearch, countText } from "../../src/dashboard/assets/model/trace-search.mjs";
import { TreeWalk } from "../../src/dashboard/assets/model/tree-order.mjs";
import { TRACE, at, ended, lost, started, updated } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** @param {TraceSearch} search @returns {string[]} ids of the matches in reading order */
function matches(search) {
  const trace = /** @type {any} */ (search.trace);
  const ids = [];
  const walk = new TreeWalk(trace, -1, 1);
  for (let index = walk.next(); index >= 0; index = walk.next()) if (search.bits[index] === 1) ids.push(trace.spans.ids[index]);
  return ids;
}

/** @param {any} trace @param {string} query @param {number} [now] @returns {string[]} ids in reading order */
function found(trace, query, now = 1000) {
  const search = new TraceSearch();
  return search.update(trace, query, now) === null ? [] : matches(search);
}

/** @param {TraceSearch} search @param {number} from @param {1 | -1} direction @returns {number | null} */
function next(search, from, direction) {
  search.beginStep(from, direction);
  return search.continueStep();
}

/** @param {number} chunks @returns {() => boolean} time for so many chunks of spans */
function timeFor(chunks) {
  return () => (chunks -= 1) > 0;
}

/** @param {string} key @param {unknown} value */
const changed = (key, value) => ({ type: "updated", data: { type: "updated", traceId: TRACE, spanId: "open", attributes: { [key]: value }, timestamp: at(50) } });

function sample() {
  return traceOf([
    started("root", null, 0, { name: "Checkout cart", kind: "SERVER" }),
    ended("pay", "root", 1, 21, {
      name: "POST /charge", service: "payments", scope: "pay::client", kind: "CLIENT", status: { code: "ERROR", message: "card declined" },
      attributes: { "http.method": "POST", "http.status_code": 402, retry: true, tags: ["blue", "Green"], status: "bad", "__proto__x": 1 },
      events: [{ name: "exception", timestamp: at(20), attributes: { "exception.message": "No funds" } }],
    }),
    lost("gone", "root", 2, 90, 60),
    ended("child", "elsewhere", 3, 4, { name: "<img src=x onerror=alert(1)>", attributes: { "http.status_code": "200" } }),
    started("open", "root", 5, { name: "שלום 🛒", attributes: { color: "red" } }),
    { type: "log", data: { type: "log", traceId: TRACE, spanId: "open", timestamp: at(6), severityNumber: 9, severityText: "INFO", body: "cache miss", attributes: { key: "user:7" } } },
  ]);
}

test("text is searched in names, services, scopes, ids, attributes, messages, events and logs", () => {
  const trace = sample();
  /** @type {[string, string[]][]} */
  const claims = [
    ["checkout", ["root"]], ["PAYMENTS", ["pay"]], ["pay::client", ["pay"]], ["chi", ["child"]], ["post", ["pay"]], ["402", ["pay"]], ["green", ["pay"]],
    ["declined", ["pay"]], ["funds", ["pay"]], ["exception", ["pay"]], ['"cache miss"', ["open"]], ["user:7", []], ['"user:7"', ["open"]], ["red", ["open"]],
    ["<img", ["child"]], ["שלום", ["open"]], ["🛒 red", ["open"]], ["-shop -payments", []], ["nothing", []],
  ];
  for (const [query, expected] of claims) assert.deepEqual(found(trace, query), expected, query);
});

test("properties, attributes and comparisons each test one field", () => {
  const trace = sample();
  /** @type {[string, string[]][]} */
  const claims = [
    ["name:cart", ["root"]], ["service:pay", ["pay"]], ["scope:client", ["pay"]], ["span:chi", ["child"]], ["kind:client", ["pay"]],
    ["state:running", ["root", "open"]], ["state:lost", ["gone"]], ["status:error", ["pay", "gone"]], ["status:ok", ["root", "open", "child"]],
    ["-status:ok", ["pay", "gone"]], ["duration:20ms", ["pay"]], ["duration>0.5s", ["root", "open"]], ["duration<=1ms", ["child"]],
    ["http.method:po", ["pay"]], ["http.status_code:402", ["pay"]], ["http.status_code:40", []], ["http.status_code:2", ["child"]],
    ["http.status_code>=200", ["pay", "child"]], ["retry:true", ["pay"]], ["retry:t", []], ["retry:", ["pay"]], ["tags:green", ["pay"]], ["@status:bad", ["pay"]],
    ["constructor:x", []], ["toString:", []], ["http.method:post -duration>1s", ["pay"]],
  ];
  for (const [query, expected] of claims) assert.deepEqual(found(trace, query), expected, query);
});

test("an empty or invalid search finds nothing", () => {
  const search = new TraceSearch();
  assert.equal(search.update(sample(), "  ", 0), null);
  assert.equal(search.update(sample(), "state:gone", 0), null);
  assert.deepEqual(search.wrong, { message: 'the state "gone" is not one of running, waiting, ok, error, panicked, cancelled, lost, failing, below, at character 1', at: 0, length: 10 });
});

test("matches follow the spans as they arrive, change and end", () => {
  const trace = sample();
  const search = new TraceSearch();
  const ids = (/** @type {string} */ query, now = 100) => {
    search.update(trace, query, now);
    return [search.count, ...matches(search)];
  };
  assert.deepEqual(ids("color:red"), [1, "open"]);
  reduceTrace(trace, changed("color", "blue"));
  assert.deepEqual(ids("color:red"), [0]);
  reduceTrace(trace, ended("late", "root", 7, 8, { attributes: { color: "Red" } }));
  assert.deepEqual(ids("color:red"), [1, "late"]);
  assert.deepEqual(ids("state:running"), [2, "root", "open"]);
  reduceTrace(trace, ended("open", "root", 5, 9));
  assert.deepEqual(ids("state:running"), [1, "root"]);
});

test("an open span can begin to match with time alone", () => {
  const trace = traceOf([started("a", null, 0), started("b", "a", 400)]);
  const search = new TraceSearch();
  /** @type {[number, number][]} */
  const counts = [[100, 0], [600, 1], [1000, 2]];
  for (const [now, count] of counts) {
    search.update(trace, "duration>500ms", now);
    assert.equal(search.count, count, String(now));
  }
});

test("another trace restarts the search", () => {
  const search = new TraceSearch();
  assert.equal(search.update(sample(), "state:running", 0)?.count, 2);
  assert.equal(search.update(traceOf([started("a", null, 0)]), "state:running", 0)?.count, 1);
});

test("failures are found as they arrive, and so are the spans above them", () => {
  const trace = traceOf([started("root", null, 0), started("a", "root", 1), ended("fine", "root", 1, 2)]);
  const search = new TraceSearch();
  const ids = (/** @type {string} */ query) => {
    search.update(trace, query, 1000);
    return matches(search);
  };
  assert.deepEqual(ids("state:failing"), []);
  reduceTrace(trace, ended("bad", "a", 2, 3, { status: { code: "ERROR" } }));
  assert.deepEqual([ids("state:failing"), found(trace, "state:running"), found(trace, "state:below")], [["root", "a"], ["root", "a"], []]);
  reduceTrace(trace, ended("a", "root", 1, 4));
  assert.deepEqual([ids("state:failing"), found(trace, "state:below"), found(trace, "state:ok")], [["root"], ["a"], ["a", "fine"]]);
});

test("fewer spans, as in time travel, leave no stale match", () => {
  const trace = traceOf([started("a", null, 0), started("b", "a", 1)]);
  const search = new TraceSearch();
  assert.equal(search.update(trace, "state:running", 0)?.count, 2);
  trace.spans.count = 1;
  assert.equal(search.update(trace, "state:running", 0)?.count, 1);
});

test("the next match is found in reading order and wraps around, from any span", () => {
  const trace = sample();
  const search = new TraceSearch();
  search.update(trace, "status:error", 0);
  const step = (/** @type {string | null} */ from, /** @type {1 | -1} */ direction) => trace.spans.ids[/** @type {number} */ (next(search, indexOf(trace, from), direction))];
  assert.deepEqual([step(null, 1), step("pay", 1), step("gone", 1), step("root", -1), step("child", -1)], ["pay", "gone", "pay", "gone", "gone"]);
});

test("100,000 spans in a chain are searched without recursion, and each distinct name is tested once", () => {
  const trace = createTrace(TRACE);
  const spans = [];
  for (let index = 0; index < 100_000; index += 1) {
    spans.push(ended(`s${index}`, index === 0 ? null : `s${index - 1}`, index, 200_000 - index, { name: `name ${index % 50}`, attributes: { item: index } }).data);
  }
  reduceTrace(trace, { type: "snapshot", data: { spans } });
  const search = new TraceSearch();
  assert.equal(search.update(trace, "name:49", 0)?.count, 2000);
  assert.equal(search.tests[0].tested.filter((one) => one !== 0).length, 50);
  assert.deepEqual([search.rankOf(49), search.rankOf(99), search.rankOf(99_999), search.inSubtrees()[0]], [1, 2, 2000, 2000]);
  assert.equal(search.update(trace, "item>=99990", 0)?.count, 10);
});

/** Returns 10,000 spans below 100 parents. Every seventh is red. */
function wide() {
  const spans = [ended("root", null, 0, 100_000).data];
  for (let index = 0; index < 10_000; index += 1) {
    const parent = `p${Math.floor(index / 100)}`;
    if (index % 100 === 0) spans.push(ended(parent, "root", index, index + 100).data);
    spans.push(ended(`s${index}`, parent, index, index + 1, { attributes: { color: index % 7 === 0 ? "red" : "blue" } }).data);
  }
  return reduceTrace(createTrace(TRACE), { type: "snapshot", data: { spans } });
}

test("a sliced search is marked as running, its count grows, and its result is that of one pass", () => {
  const trace = wide();
  const whole = new TraceSearch();
  whole.update(trace, "color:red", 0);
  const search = new TraceSearch();
  const counts = [];
  let slices = 0;
  do {
    search.update(trace, "color:red", 0, timeFor(20));
    counts.push(search.count);
    slices += 1;
  } while (search.isRunning);
  assert.deepEqual([slices, counts.at(-1), whole.isRunning, whole.count], [8, 1429, false, 1429]);
  assert.deepEqual(counts, [...counts].sort((a, b) => a - b));
  assert.deepEqual(matches(search), matches(whole));
});

test("a partial count is never shown as the total", () => {
  const trace = wide();
  const search = new TraceSearch();
  search.update(trace, "color:red", 0, timeFor(20));
  const words = [countText(search, 0)];
  search.update(trace, "color:red", 0);
  words.push(countText(search, 0), countText(search, search.rankOf(indexOf(trace, "s14"))));
  search.update(trace, "purple", 0, timeFor(1));
  words.push(countText(search, 0));
  search.update(trace, "purple", 0);
  assert.deepEqual([...words, countText(search, 0)], ["181 so far…", "1,429 matches", "3 of 1,429", "searching…", "no match"]);
});

test("another text ends the running search", () => {
  const trace = wide();
  const search = new TraceSearch();
  search.update(trace, "color:red", 0, timeFor(20));
  search.beginStep(-1, 1);
  search.update(trace, "s1234", 0, timeFor(1));
  assert.deepEqual([search.isRunning, search.count, search.continueStep()], [true, 0, null]);
  search.update(trace, "s1234", 0);
  assert.deepEqual([search.isRunning, matches(search)], [false, ["s1234"]]);
  assert.equal(search.update(trace, "", 0, timeFor(1)), null);
  assert.deepEqual([search.active, search.isRunning, search.count], [false, false, 0]);
});

test("the next match is the next of all spans, even before they are tested", () => {
  const trace = wide();
  const search = new TraceSearch();
  search.update(trace, "s9003", 0, timeFor(1));
  search.beginStep(indexOf(trace, "s100"), 1);
  let slices = 1;
  let reached = search.continueStep(timeFor(20));
  for (; reached === null; slices += 1) reached = search.continueStep(timeFor(20));
  assert.deepEqual([slices, trace.spans.ids[reached], search.isRunning], [8, "s9003", true]);
  search.update(trace, "color:red", 0, timeFor(1));
  const step = (/** @type {string} */ from, /** @type {1 | -1} */ direction) => trace.spans.ids[/** @type {number} */ (next(search, indexOf(trace, from), direction))];
  assert.deepEqual([step("s5000", 1), step("s5000", -1), step("s9996", 1)], ["s5005", "s4998", "s0"]);
  search.update(trace, "purple", 0, timeFor(1));
  assert.equal(next(search, 5, 1), -1);
});

test("steps requested before the first one ends go further", () => {
  const trace = wide();
  const search = new TraceSearch();
  search.update(trace, "color:red", 0);
  for (let n = 0; n < 3; n += 1) search.beginStep(indexOf(trace, "s10"), 1);
  assert.equal(trace.spans.ids[/** @type {number} */ (search.continueStep())], "s28");
  search.update(trace, "s77", 0);
  for (let n = 0; n < 3; n += 1) search.beginStep(-1, -1);
  assert.equal(trace.spans.ids[/** @type {number} */ (search.continueStep())], "s7797");
});

test("random spans, slices and arrivals give the result of one pass, with the ranks and steps of a list", () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    let state = seed;
    const below = (/** @type {number} */ n) => (state = (state * 16_807) % 2_147_483_647) % n;
    const trace = createTrace(TRACE);
    const query = ["s1", "color:red", "-color:red", "state:running", "duration>300ms", "status:error -color:red", "name:7 duration<2s"][below(7)];
    let now = 0;
    let made = 0;
    const arrive = () => {
      now += below(300);
      for (let left = below(400); left > 0; left -= 1) {
        const open = below(3) === 0;
        const id = below(4) === 0 && made > 0 ? `s${below(made)}` : `s${made++}`;
        const parent = made < 2 || below(50) === 0 ? null : `s${below(Math.max(1, Math.min(made + 20, 5_000)))}`;
        const more = { name: `name ${below(30)}`, attributes: { color: below(3) === 0 ? "red" : "blue" }, ...(below(9) === 0 ? { status: { code: "ERROR" } } : {}) };
        reduceTrace(trace, open ? started(id, parent, now - below(500), more) : ended(id, parent, now - 500, now - below(400), more));
      }
    };
    const search = new TraceSearch();
    for (let slices = 5 + below(30); slices > 0; slices -= 1) {
      if (below(2) === 0) arrive();
      search.update(trace, query, now, timeFor(1 + below(4)));
      if (below(5) === 0 && trace.spans.count > 0) search.isMatch(below(trace.spans.count));
      if (below(5) === 0) search.beginStep(-1, 1);
      if (below(5) === 0) search.continueStep(timeFor(1));
    }
    search.step = null;
    do search.update(trace, query, now, timeFor(3)); while (search.isRunning);
    const ids = matches(search);
    assert.deepEqual([search.count, ids], [ids.length, found(trace, query, now)], `seed ${seed}`);
    const indexes = ids.map((id) => indexOf(trace, id));
    assert.deepEqual(indexes.map((index) => search.rankOf(index)), indexes.map((_, at) => at + 1), `seed ${seed}`);
    const stepped = indexes.map((index) => next(search, index, 1));
    assert.deepEqual(stepped, [...indexes.slice(1), ...indexes.slice(0, 1)], `seed ${seed}`);
    assert.deepEqual(indexes.map((index) => next(search, index, -1)), [...indexes.slice(-1), ...indexes.slice(0, -1)], `seed ${seed}`);
  }
});

test("spans whose changes the journal lost are tested again, and count once", () => {
  const trace = wide();
  const search = new TraceSearch();
  search.update(trace, "color:red", 0);
  reduceTrace(trace, started("open", "root", 5, { attributes: { color: "blue" } }));
  for (let index = 0; index < 70_000; index += 1) reduceTrace(trace, updated("open", 6 + index, { attributes: { color: "red" } }));
  search.update(trace, "color:red", 0, timeFor(3));
  assert.deepEqual([search.isRunning, search.count], [true, 27]);
  assert.equal(search.mayMatch(indexOf(trace, "s7007")), true, "the earlier result was dropped before the span was tested again");
  search.update(trace, "color:red", 0);
  assert.deepEqual([search.isRunning, search.count, matches(search).length], [false, 1430, 1430]);
});

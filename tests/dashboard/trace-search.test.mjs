// @ts-check
// Claims about the search inside one trace.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { TraceSearch } from "../../src/dashboard/assets/model/trace-search.mjs";
import { TRACE, at, ended, lost, started } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** @param {any} trace @param {string} query @param {number} [now] @returns {string[]} ids in reading order */
function found(trace, query, now = 1000) {
  return (new TraceSearch().update(trace, query, now)?.list() ?? []).map((index) => trace.spans.ids[index]);
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

test("text is looked for in names, services, scopes, ids, attributes, messages, events and logs", () => {
  const trace = sample();
  /** @type {[string, string[]][]} */
  const claims = [
    ["checkout", ["root"]], ["PAYMENTS", ["pay"]], ["pay::client", ["pay"]], ["chi", ["child"]], ["post", ["pay"]], ["402", ["pay"]], ["green", ["pay"]],
    ["declined", ["pay"]], ["funds", ["pay"]], ["exception", ["pay"]], ['"cache miss"', ["open"]], ["user:7", []], ['"user:7"', ["open"]], ["red", ["open"]],
    ["<img", ["child"]], ["שלום", ["open"]], ["🛒 red", ["open"]], ["-shop -payments", []], ["nothing", []],
  ];
  for (const [query, expected] of claims) assert.deepEqual(found(trace, query), expected, query);
});

test("properties, attributes and comparisons ask one thing", () => {
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

test("nothing is found by nothing, nor by what cannot be read", () => {
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
    return [search.count, ...search.list().map((index) => trace.spans.ids[index])];
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

test("an open span comes to match by time alone", () => {
  const trace = traceOf([started("a", null, 0), started("b", "a", 400)]);
  const search = new TraceSearch();
  /** @type {[number, number][]} */
  const counts = [[100, 0], [600, 1], [1000, 2]];
  for (const [now, count] of counts) {
    search.update(trace, "duration>500ms", now);
    assert.equal(search.count, count, String(now));
  }
});

test("another trace begins anew", () => {
  const search = new TraceSearch();
  assert.equal(search.update(sample(), "state:running", 0)?.count, 2);
  assert.equal(search.update(traceOf([started("a", null, 0)]), "state:running", 0)?.count, 1);
});

test("what fails below a span is found as it comes, above it too", () => {
  const trace = traceOf([started("root", null, 0), started("a", "root", 1), ended("fine", "root", 1, 2)]);
  const search = new TraceSearch();
  const ids = (/** @type {string} */ query) => (search.update(trace, query, 1000)?.list() ?? []).map((index) => trace.spans.ids[index]);
  assert.deepEqual(ids("state:failing"), []);
  reduceTrace(trace, ended("bad", "a", 2, 3, { status: { code: "ERROR" } }));
  assert.deepEqual([ids("state:failing"), found(trace, "state:running"), found(trace, "state:below")], [["root", "a"], ["root", "a"], []]);
  reduceTrace(trace, ended("a", "root", 1, 4));
  assert.deepEqual([ids("state:failing"), found(trace, "state:below"), found(trace, "state:ok")], [["root"], ["a"], ["a", "fine"]]);
});

test("fewer spans, as on a journey in time, leave no match behind", () => {
  const trace = traceOf([started("a", null, 0), started("b", "a", 1)]);
  const search = new TraceSearch();
  assert.equal(search.update(trace, "state:running", 0)?.count, 2);
  trace.spans.count = 1;
  assert.equal(search.update(trace, "state:running", 0)?.count, 1);
});

test("the next match goes around in reading order, from wherever the reader stands", () => {
  const trace = sample();
  const search = new TraceSearch();
  search.update(trace, "status:error", 0);
  const step = (/** @type {string | null} */ from, /** @type {1 | -1} */ direction) => trace.spans.ids[search.next(indexOf(trace, from), direction)];
  assert.deepEqual([step(null, 1), step("pay", 1), step("gone", 1), step("root", -1), step("child", -1)], ["pay", "gone", "pay", "gone", "gone"]);
});

test("100,000 spans in a chain are searched without recursion, and each distinct name is looked at once", () => {
  const trace = createTrace(TRACE);
  const spans = [];
  for (let index = 0; index < 100_000; index += 1) {
    spans.push(ended(`s${index}`, index === 0 ? null : `s${index - 1}`, index, 200_000 - index, { name: `name ${index % 50}`, attributes: { item: index } }).data);
  }
  reduceTrace(trace, { type: "snapshot", data: { spans } });
  const search = new TraceSearch();
  assert.equal(search.update(trace, "name:49", 0)?.count, 2000);
  assert.equal(search.tests[0].tested.filter((one) => one !== 0).length, 50);
  assert.deepEqual(search.list().slice(0, 2), [49, 99]);
  assert.equal(search.update(trace, "item>=99990", 0)?.count, 10);
});

// @ts-check
// Claims about the inspector's details of a span.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, indexOf, reduceTrace, spanAt } from "../../src/dashboard/assets/model/model.mjs";
import { parseQuery } from "../../src/dashboard/assets/model/search.mjs";
import { BackLinks, codeFields, droppedText, receiptText, scopeText, selfText, termFor, timelineOf, withTerm } from "../../src/dashboard/assets/model/span-details.mjs";
import { TraceSearch } from "../../src/dashboard/assets/model/trace-search.mjs";
import { TRACE, at, ended, started } from "./build.mjs";

test("attributes about code are separate fields, by new and old conventions", () => {
  assert.deepEqual(codeFields({
    rows: 3, "code.file.path": "src/cart.rs", "code.line.number": 30, "code.module.name": "shop::cart", target: "shop::cart", level: "INFO",
    "thread.id": 5, "thread.name": "tokio-rt-worker", busy_ns: 30_000_000, idle_ns: 10_000_000,
  }), {
    fields: [
      { name: "Source", text: "src/cart.rs:30", key: "code.file.path" }, { name: "Module", text: "shop::cart", key: "code.module.name" },
      { name: "Level", text: "INFO", key: "level" }, { name: "Thread", text: "tokio-rt-worker (id 5)", key: "thread.name" },
      { name: "Busy", text: "30.0 ms  ·  75 %", key: "busy_ns" }, { name: "Idle", text: "10.0 ms  ·  25 %", key: "idle_ns" },
    ],
    others: [["rows", 3]],
  });
  assert.deepEqual(codeFields({ "code.filepath": "a.py", "code.lineno": 7, "code.column": 2, "code.function": "f", target: "other", "thread.id": 1 }).fields.map(({ name, text }) => [name, text]),
    [["Source", "a.py:7:2"], ["Function", "f"], ["Target", "other"], ["Thread", "id 1"]]);
  assert.deepEqual(codeFields({ "code.line.number": 7 }).fields, [{ name: "Source", text: "line 7", key: "code.line.number" }]);
  assert.deepEqual(codeFields({ "code.custom": 1, "__proto__x": 2 }), { fields: [], others: [["code.custom", 1], ["__proto__x", 2]] });
});

test("events and logs are one list in order of time", () => {
  const event = { events: [{ name: "late", timestamp: at(9) }, { name: "same", timestamp: at(5) }] };
  const logs = [{ body: "same", timestamp: at(5) }, { body: "first", timestamp: at(1) }, { body: "no time" }];
  assert.deepEqual(timelineOf(event, logs.map((data) => ({ data, id: "", time: NaN }))).map(({ kind, entry }) => `${kind} ${entry.name ?? entry.body}`), ["log no time", "log first", "event same", "log same", "event late"]);
  assert.deepEqual(timelineOf(null, []), []);
});

test("a search made from an attribute finds its span, whatever the value", () => {
  const values = ["GET", "a b", 'say "hi"', "-5", 5, 1.5, true, "<img src=x onerror=alert(1)>", "שלום עולם", "🛒".repeat(200), "x".repeat(10_000), "::a"];
  for (const key of ["http.method", "status", "odd key", "name"]) for (const value of values) {
    const trace = reduceTrace(createTrace(TRACE), ended("a", null, 0, 1, { name: "n", attributes: { [key]: value } }));
    reduceTrace(trace, ended("b", null, 0, 1, { name: "m", attributes: { other: 1 } }));
    const query = termFor(key, value);
    assert.equal(parseQuery(query, "trace").wrong, null, query);
    // A search cannot contain the quotes of a value, and the value is not found without them.
    if (String(value).includes('"')) continue;
    assert.deepEqual([...new TraceSearch().update(trace, query, 0)?.bits.subarray(0, 2) ?? []], [1, 0], query);
  }
  assert.deepEqual([termFor("http.method", "GET"), termFor("status", "a b"), termFor("odd key", "x"), termFor("list", [1])], ["http.method:GET", '@status:"a b"', "x", ""]);
});

test("a term is added to a search once", () => {
  assert.deepEqual([withTerm("", "a:1"), withTerm("x", "a:1"), withTerm("a:1 x", "a:1")], ["a:1", "x a:1", "a:1 x"]);
});

test("links back are found as they arrive, within the trace only", () => {
  const trace = createTrace(TRACE);
  const back = new BackLinks();
  const link = (/** @type {string} */ spanId, traceId = TRACE) => ({ links: [{ traceId, spanId, attributes: {} }, null] });
  reduceTrace(trace, started("a", null, 0));
  assert.deepEqual(back.to(trace, "a"), []);
  reduceTrace(trace, started("b", null, 1, link("a")));
  reduceTrace(trace, ended("b", null, 1, 2, link("a")));
  reduceTrace(trace, started("c", null, 1, link("a", "ffffffffffffffffffffffffffffffff")));
  assert.deepEqual(back.to(trace, "a").map((index) => trace.spans.ids[index]), ["b"]);
  assert.deepEqual(back.to(createTrace(TRACE), "a"), []);
});

test("self time is shown with its share, and only if children took the rest", () => {
  const trace = [ended("p", null, 0, 100), ended("c", "p", 10, 85)].reduce(reduceTrace, createTrace(TRACE));
  const text = (/** @type {string} */ id) => selfText(spanAt(trace, indexOf(trace, id)));
  assert.deepEqual([text("p"), text("c")], ["25.0 ms  ·  25 %", null]);
});

test("scope and dropped items are described in words", () => {
  assert.deepEqual([scopeText(null), scopeText({ scope: "shop" }), scopeText({ scope: "shop", scopeVersion: "1.2" })], [null, "shop", "shop 1.2"]);
  const received = (/** @type {object} */ more) => receiptText({ type: "ended", timestamp: "2026-01-01T00:10:00.000000000Z", ...more });
  assert.deepEqual([received({}), received({ receivedTimestamp: "2026-01-01T00:09:57.000000000Z" }), received({ type: "started", receivedTimestamp: "2026-01-01T00:20:00.000000000Z" })], [
    null, "3.00 s before its end: the sender's clock is ahead", "10 m 00 s after its start: it came late, or the sender's clock is behind",
  ]);
  assert.deepEqual([droppedText({}), droppedText({ dropped: { attributes: 3, links: 1 } })], [null, "3 attributes, 1 links"]);
});

test("a path in a registry begins with its crate, and the whole path is kept", () => {
  const source = (/** @type {string} */ path) => codeFields({ "code.file.path": path, "code.line.number": 12 }).fields;
  const long = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.38.0/src/runtime/task/harness.rs";
  assert.deepEqual(source(long), [{ name: "Source", text: "tokio-1.38.0/src/runtime/task/harness.rs:12", key: "code.file.path", whole: `${long}:12` }]);
  assert.equal(source("C:\\Users\\me\\.cargo\\registry\\src\\github.com-1ecc6299db9ec823\\serde-1.0.0\\src\\de.rs")[0].text, "serde-1.0.0\\src\\de.rs:12");
  assert.equal(source("/home/me/.cargo/git/checkouts/axum-3cc96d3b8a8c4a5b/3f3a1b2/axum/src/lib.rs")[0].text, "3f3a1b2/axum/src/lib.rs:12");
  assert.equal(source("/rustc/f6e511eec7342f59a25f7c0534f1dbea00d01b14/library/std/src/panicking.rs")[0].text, "library/std/src/panicking.rs:12");
  assert.deepEqual(source("src/cart.rs"), [{ name: "Source", text: "src/cart.rs:12", key: "code.file.path" }]);
});

// @ts-check
// Claims about the inspector's models of a span: errors below it, stack frames, statements,
// conversations.

import assert from "node:assert/strict";
import { test } from "node:test";
import { causeBelow, wordsOf } from "../../src/dashboard/assets/model/cause.mjs";
import { FRAMES_MAX, framesOf } from "../../src/dashboard/assets/model/frames.mjs";
import { TURNS_MAX, conversationOf } from "../../src/dashboard/assets/model/gen-ai.mjs";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { SQL_MAX, formatSql } from "../../src/dashboard/assets/model/sql-format.mjs";
import { TRACE, at, ended, log, started } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  const trace = createTrace(TRACE);
  for (const event of events) reduceTrace(trace, event);
  return trace;
}

const ERROR = { status: { code: "ERROR", message: "no" } };

/** @param {import("../../src/dashboard/assets/model/model.mjs").Trace} trace @param {string} id */
function cause(trace, id) {
  const found = causeBelow(trace, indexOf(trace, id));
  return found === null ? null : [trace.spans.ids[found.index], found.message, found.type, found.chain.map((index) => trace.spans.ids[index]), found.more];
}

test("the cause is the deepest failed span, with its ancestors", () => {
  const trace = traceOf([
    started("r", null, 0), ended("ok", "r", 1, 2), ended("buy", "r", 2, 9, ERROR), ended("charge", "buy", 3, 8, ERROR),
    ended("bank", "charge", 4, 7, { ...ERROR, panicked: true, panic: { message: "no rule for SEK" } }), ended("retry", "charge", 7, 7.5, ERROR),
  ]);
  assert.deepEqual(cause(trace, "r"), ["bank", "no rule for SEK", "panic", ["charge", "buy", "r"], 1]);
  assert.deepEqual(cause(trace, "charge"), ["bank", "no rule for SEK", "panic", ["charge"], 1]);
  assert.deepEqual(cause(trace, "bank"), ["bank", "no rule for SEK", "panic", [], 0]);
  assert.equal(cause(trace, "ok"), null);
});

test("of several failed children the last one counts, and the others are counted", () => {
  const trace = traceOf([started("r", null, 0), ended("a", "r", 1, 2, { status: { code: "ERROR", message: "first" } }), ended("b", "r", 3, 4, { status: { code: "ERROR", message: "second" } })]);
  assert.deepEqual(cause(trace, "r"), ["b", "second", "", ["r"], 1]);
});

test("a failure's text is that of its exception, else its status, else its last record", () => {
  const exception = { name: "exception", timestamp: at(1), attributes: { "exception.type": "IoError", "exception.message": "gone", "exception.stacktrace": "at x" } };
  const trace = traceOf([
    ended("a", null, 0, 1, { ...ERROR, events: [exception] }), ended("b", null, 0, 1, ERROR), ended("c", null, 0, 1, { status: { code: "ERROR" } }), log("c", 0.5, { severityNumber: 17, body: "disk full" }), ended("d", null, 0, 1),
  ]);
  assert.deepEqual(["a", "b", "c", "d"].map((id) => wordsOf(trace, indexOf(trace, id))), [
    { message: "gone", type: "IoError", stack: "at x" }, { message: "no", type: "", stack: "" }, { message: "disk full", type: "", stack: "" }, null,
  ]);
});

test("stack frames of four languages are read, and own ones are distinguished from libraries'", () => {
  const rust = "   0: std::panicking::begin_panic\n             at /rustc/abc/library/std/src/panicking.rs:1:2\n   1: shop::bank::rule_for::h0123456789abcdef\n             at ./src/bank.rs:88:5\n   2: tokio::runtime::run";
  assert.deepEqual(framesOf(rust), { head: "", frames: [
    { name: "std::panicking::begin_panic", place: "/rustc/abc/library/std/src/panicking.rs:1:2", own: false }, { name: "shop::bank::rule_for", place: "./src/bank.rs:88:5", own: true }, { name: "tokio::runtime::run", place: "", own: false },
  ] });
  const java = "java.io.IOException: gone\n\tat shop.Pay.charge(Pay.java:88)\n\tat java.base/java.lang.Thread.run(Thread.java:1)\n\tat org.springframework.web.Filter.go(Filter.java:3)";
  assert.deepEqual(framesOf(java), { head: "java.io.IOException: gone", frames: [
    { name: "shop.Pay.charge", place: "Pay.java:88", own: true }, { name: "java.base/java.lang.Thread.run", place: "Thread.java:1", own: false }, { name: "org.springframework.web.Filter.go", place: "Filter.java:3", own: false },
  ] });
  const python = 'Traceback (most recent call last):\n  File "/app/pay.py", line 88, in charge\n    bank.ask()\n  File "/usr/lib/python3.11/site-packages/requests/api.py", line 5, in get\nValueError: no';
  assert.deepEqual(framesOf(python).frames.map(({ name, place, own }) => [name, place, own]), [["charge", "/app/pay.py:88", true], ["get", "/usr/lib/python3.11/site-packages/requests/api.py:5", false]]);
  const script = "Error: no\n    at charge (/app/pay.js:88:5)\n    at /app/main.js:1:1\n    at node:internal/main:3:2\n    at x (/app/node_modules/y.js:1:1)";
  assert.deepEqual(framesOf(script).frames.map(({ name, place, own }) => [name, place, own]), [["charge", "/app/pay.js:88:5", true], ["", "/app/main.js:1:1", true], ["", "node:internal/main:3:2", false], ["x", "/app/node_modules/y.js:1:1", false]]);
});

test("an unknown format has no frames, and frames are bounded", () => {
  assert.deepEqual(framesOf("it went wrong\nsomewhere"), { head: "it went wrong\nsomewhere", frames: [] });
  assert.equal(framesOf(Array.from({ length: FRAMES_MAX * 2 }, (_, line) => `  ${line}: shop::f`).join("\n")).frames.length, FRAMES_MAX);
});

/** @param {string} sql @returns {string} */
const laidOut = (sql) => formatSql(sql).map(({ indent, pieces }) => "  ".repeat(indent) + pieces.map(({ text }) => text).join("")).join("\n");

test("a statement has one clause per line, and loses only white space", () => {
  assert.equal(laidOut("select r.fee, r.rounding from currency_rules as r  where r.currency = $1 and r.valid_until > $2 order by 1 limit 5"),
    "select r.fee, r.rounding\n  from currency_rules as r\n  where r.currency = $1\n    and r.valid_until > $2\n  order by 1\n  limit 5");
  assert.equal(laidOut("INSERT INTO t (a, b) VALUES ($1, $2) RETURNING id"), "INSERT INTO t (a, b)\n  VALUES ($1, $2)\n  RETURNING id");
  assert.equal(laidOut("SELECT * FROM a LEFT JOIN b ON a.x = b.x WHERE y BETWEEN 1 AND 2 AND z IN (SELECT q FROM w WHERE e)"),
    "SELECT *\n  FROM a\n  LEFT JOIN b ON a.x = b.x\n  WHERE y BETWEEN 1 AND 2\n    AND z IN (SELECT q FROM w WHERE e)");
  assert.equal(laidOut("DELETE FROM t WHERE a = 'x from y -- z'"), "DELETE FROM t\n  WHERE a = 'x from y -- z'");
});

test("texts, parameters, numbers, comments and keywords are distinguished", () => {
  const [line] = formatSql("SELECT 'it''s', $1, 42, name /* FROM */");
  assert.deepEqual(line.pieces, [
    { kind: "keyword", text: "SELECT" }, { kind: "text", text: " 'it''s'" }, { kind: "plain", text: "," }, { kind: "parameter", text: " $1" }, { kind: "plain", text: "," }, { kind: "number", text: " 42" },
    { kind: "plain", text: ", name" }, { kind: "comment", text: " /* FROM */" },
  ]);
});

test("any statement keeps its characters, and a long one is left unformatted", () => {
  for (const sql of ["", "   ", "'open", "/* open", "((", ")))", "\u0000\ud800 😀 select", "a;b", "select--x\nfrom y", "SELECT ?::int[1]", "$$ body $$"]) assert.equal(laidOut(sql).replace(/\s/g, ""), sql.replace(/\s/g, ""), sql);
  const long = `select ${"x".repeat(SQL_MAX)} from t`;
  assert.deepEqual(formatSql(long), [{ indent: 0, pieces: [{ kind: "plain", text: long }] }]);
});

test("messages of the current conventions are turns, with tools and tokens", () => {
  const attributes = {
    "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 8, "gen_ai.usage.cache_read.input_tokens": 100, "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.system_instructions": JSON.stringify([{ type: "text", content: "Be kind." }]),
    "gen_ai.input.messages": JSON.stringify([
      { role: "user", parts: [{ type: "text", content: "Where is order 7?" }] },
      { role: "assistant", parts: [{ type: "reasoning", content: "look it up" }, { type: "tool_call", id: "c1", name: "find", arguments: { order: 7 } }] },
      { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: '{"at":"sea"}' }] },
    ]),
    "gen_ai.output.messages": [{ role: "assistant", parts: [{ type: "text", content: "At sea." }], finish_reason: "stop" }],
  };
  const part = (/** @type {object} */ more) => ({ kind: "text", text: "", name: "", id: "", value: null, ...more });
  assert.deepEqual(conversationOf({}, attributes), {
    operation: "chat", model: "m", input: 120, output: 8, cached: 100, cost: null, finish: ["stop"], recorded: true,
    turns: [
      { role: "system", output: false, parts: [part({ text: "Be kind." })] }, { role: "user", output: false, parts: [part({ text: "Where is order 7?" })] },
      { role: "assistant", output: false, parts: [part({ kind: "reasoning", text: "look it up" }), part({ kind: "call", id: "c1", name: "find", value: { order: 7 } })] },
      { role: "tool", output: false, parts: [part({ kind: "result", id: "c1", value: { at: "sea" } })] }, { role: "assistant", output: true, parts: [part({ text: "At sea." })] },
    ],
  });
});

test("events of the earlier conventions are turns, too, and so are other forms of calls", () => {
  const events = [
    { name: "gen_ai.user.message", attributes: { content: "hi" } }, { name: "other" },
    { name: "gen_ai.choice", attributes: { message: JSON.stringify({ role: "assistant", tool_calls: [{ id: "c", function: { name: "f", arguments: '{"x":1}' } }] }) } },
  ];
  const turns = conversationOf({ events }, { "gen_ai.system": "s" })?.turns.map(({ role, output, parts }) => [role, output, parts.map(({ kind, text, name, value }) => [kind, text || name, value])]);
  assert.deepEqual(turns, [["user", false, [["text", "hi", null]]], ["assistant", true, [["call", "f", { x: 1 }]]]]);
});

test("missing messages are reported, other spans are no calls, and turns are bounded", () => {
  assert.deepEqual([conversationOf({}, { "gen_ai.request.model": "m" })?.recorded, conversationOf({}, { "http.route": "/" }), conversationOf(null, {})], [false, null, null]);
  for (const odd of ["[", "{", 5, null, [null, 1, [], {}], { role: 5 }, '"text"']) assert.notEqual(conversationOf({}, { "gen_ai.input.messages": odd }), null);
  assert.equal(conversationOf({}, { "gen_ai.input.messages": Array.from({ length: TURNS_MAX + 9 }, () => ({ role: "user", content: "x" })) })?.turns.length, TURNS_MAX);
});

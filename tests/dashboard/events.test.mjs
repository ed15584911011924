// @ts-check
// Claims about what is read from files.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventReader } from "../../src/dashboard/assets/model/events.mjs";
import { FILE_TRACES_MAX, FileTraces, missingFile } from "../../src/dashboard/assets/model/files.mjs";
import { spanAt, stateOf } from "../../src/dashboard/assets/model/model.mjs";
import { Malformed } from "../../src/dashboard/assets/model/otlp.mjs";
import { at } from "./build.mjs";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "00f067aa0ba902b7";

/** @param {object} [more] */
function event(more = {}) {
  return {
    type: "ended", traceId: TRACE, spanId: SPAN, parentSpanId: null, name: "a", process: "p1", service: "shop", status: { code: "OK" },
    attributes: {}, startTimestamp: at(0), timestamp: at(10), ...more,
  };
}

/** @param {string} text @param {number} [size] of the pieces @returns {any[]} */
function read(text, size = text.length || 1) {
  const reader = new EventReader();
  const events = [];
  for (let from = 0; from < text.length; from += size) events.push(...reader.read(text.slice(from, from + size)));
  events.push(...reader.end());
  return events;
}

/** @param {string} text @returns {string} */
function refusal(text) {
  try {
    read(text);
  } catch (error) {
    assert.ok(error instanceof Malformed, String(error));
    return error.message;
  }
  return "";
}

const OTLP = {
  resourceSpans: [{
    resource: { attributes: [{ key: "service.name", value: { stringValue: "shop" } }, { key: "service.replica", value: { intValue: "3" } }] },
    scopeSpans: [{
      scope: { name: "shop::cart", version: "1" },
      spans: [{
        traceId: TRACE.toUpperCase(), spanId: SPAN, parentSpanId: "", flags: 0x301, name: "checkout", kind: 2, startTimeUnixNano: "1795347540123456789", endTimeUnixNano: "1795347541000000000",
        attributes: [
          { key: "big", value: { intValue: "9007199254740993" } }, { key: "ratio", value: { doubleValue: 0.5 } }, { key: "nan", value: { doubleValue: "NaN" } },
          { key: "ok", value: { boolValue: true } }, { key: "items", value: { arrayValue: { values: [{ intValue: 1 }, { intValue: 2 }] } } }, { key: "__proto__", value: { stringValue: "x" } },
        ],
        events: [{ timeUnixNano: "1795347540500000000", name: "exception", attributes: [{ key: "exception.message", value: { stringValue: "declined" } }] }],
        links: [{ traceId: TRACE, spanId: SPAN, attributes: [] }], status: { code: 2, message: "card declined" }, droppedEventsCount: 2,
      }],
    }],
  }],
};

test("a log is read a line at a time, wherever the pieces end", () => {
  const events = [event(), { type: "news", anything: 1 }, event({ name: "é💥", spanId: "00f067aa0ba902b8" })];
  const text = `${events.map((one) => JSON.stringify(one)).join("\n")}\r\n\n`;
  for (const size of [1, 7, 100, text.length]) assert.deepEqual(read(text, size), events, String(size));
});

test("a request of OTLP is read whole", () => {
  const values = Object.fromEntries([["big", "9007199254740993"], ["ratio", 0.5], ["nan", "NaN"], ["ok", true], ["items", [1, 2]], ["__proto__", "x"]]);
  assert.deepEqual(read(JSON.stringify(OTLP)), [
    { type: "process", process: "file-0-0", service: "shop", resource: { "service.name": "shop", "service.replica": 3 } },
    {
      type: "ended", traceId: TRACE, spanId: SPAN, parentSpanId: null, name: "checkout", kind: "SERVER", process: "file-0-0", service: "shop", scope: "shop::cart", scopeVersion: "1",
      attributes: values, attributeTypes: { big: "int", ratio: "double", nan: "double" }, startTimestamp: "2026-11-22T11:39:00.123456789Z", timestamp: "2026-11-22T11:39:01.000000000Z",
      status: { code: "ERROR", message: "card declined" }, events: [{ name: "exception", timestamp: "2026-11-22T11:39:00.500000000Z", attributes: { "exception.message": "declined" } }],
      links: [{ traceId: TRACE, spanId: SPAN, attributes: {} }], parentRemote: true, dropped: { attributes: 0, events: 2, links: 0 },
    },
  ]);
});

test("a document over many lines, requests a line, and a snapshot are told apart by themselves", () => {
  const expected = read(JSON.stringify(OTLP));
  assert.deepEqual(read(JSON.stringify(OTLP, null, 2), 50), expected);
  const twice = read(`${JSON.stringify(OTLP)}\n${JSON.stringify(OTLP)}\n`);
  assert.deepEqual([twice.length, twice[2].process], [4, "file-1-0"]);
  const snapshot = { traceId: TRACE, cursor: "x-1", summary: {}, processes: [{ type: "process", process: "p1" }], spans: [event()], updates: [], logs: [] };
  assert.deepEqual(read(JSON.stringify(snapshot)), [{ type: "process", process: "p1" }, event()]);
});

test("what is wrong is named with its line", () => {
  const good = JSON.stringify(event());
  const brokenDocument = JSON.stringify(OTLP, null, 1).replace('"kind": 2,', '"kind": 2,,');
  const wrong = {
    [`${good}\n{"type":`]: /^line 2: not JSON: /,
    [`${good}\n\n[1]\n`]: /^line 3: is neither an event nor a request of OTLP$/,
    [`${good}\n{}`]: /^line 2: is no event: it has no type$/,
    [`${JSON.stringify(event({ traceId: "x" }))}\n${good}`]: /^line 1: the event has no trace id: "x"$/,
    [JSON.stringify(event({ spanId: 7 }))]: /^line 1: the event has no span id: 7$/,
    [JSON.stringify(event({ timestamp: "2026-11-22T25:00:00Z" }))]: /^line 1: the timestamp is no time: /,
    [JSON.stringify(event({ attributes: [1] }))]: /^line 1: the attributes are no object: \[1\]$/,
    [JSON.stringify(event({ events: [null] }))]: /^line 1: the events are no list of objects$/,
    "": /^the file is empty$/,
    "\n \n": /^the file is empty$/,
    "hello\nworld": /^line 1: not JSON: /,
    [brokenDocument]: new RegExp(`^line ${brokenDocument.slice(0, brokenDocument.indexOf("2,,")).split("\n").length}: not JSON: `),
    [JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: TRACE, spanId: SPAN, startTimeUnixNano: "yesterday" }] }] }] }, null, 1)]:
      /^resourceSpans\[0\]\.scopeSpans\[0\]\.spans\[0\]\.startTimeUnixNano is no time: "yesterday"$/,
    [JSON.stringify({ resourceSpans: 1 })]: /^line 1: resourceSpans is no list$/,
  };
  for (const [text, expected] of Object.entries(wrong)) assert.match(refusal(text), expected, text.slice(0, 80));
});

test("an attribute cannot reach what it should not", () => {
  read(`{"type":"ended","traceId":"${TRACE}","spanId":"${SPAN}","startTimestamp":"${at(0)}","timestamp":"${at(1)}","attributes":{"__proto__":{"polluted":1}}}`);
  read(JSON.stringify(OTLP));
  assert.equal(/** @type {any} */ ({}).polluted, undefined);
  const [before, after] = JSON.stringify(OTLP).split('{"boolValue":true}');
  const deep = before + '{"arrayValue":{"values":['.repeat(5_000) + "]}}".repeat(5_000) + after;
  assert.match(refusal(deep), /^line 1: the event is nested deeper than 40 levels$/);
  const own = JSON.stringify(event()).replace('"attributes":{}', `"attributes":{"deep":${"[".repeat(5_000)}${"]".repeat(5_000)}}`);
  assert.match(refusal(own), /^line 1: the event is nested deeper than 40 levels$/);
});

test("the traces of a file are feeds that stand still at its last moment", () => {
  const traces = new FileTraces("log.jsonl");
  const open = { ...event({ spanId: "00f067aa0ba902b8", parentSpanId: SPAN }), type: "started", timestamp: at(7) };
  traces.take([{ type: "process", process: "p1", service: "shop", resource: {} }, event(), open, event({ traceId: "1".repeat(32), status: { code: "ERROR" } })]);
  traces.finish();
  const feed = traces.feed(`file:${TRACE}`);
  assert.ok(feed !== undefined);
  assert.deepEqual([feed.file, feed.traceId, feed.model.traceId, feed.fixedNow, feed.phase], ["log.jsonl", `file:${TRACE}`, TRACE, 10, "open"]);
  assert.equal(traces.list.fixedNow, Date.parse(at(10)));
  assert.deepEqual([stateOf(feed.model, 0), stateOf(feed.model, 1), spanAt(feed.model, 1).parent, feed.history?.size, feed.model.processes.size], ["ok", "running", 0, 1, 1]);
  assert.deepEqual([...traces.list.model.traces.values()].map(({ traceId, state, durationMs, spans, startTimestamp }) => ({ traceId, state, durationMs, spans, startTimestamp })), [
    { traceId: `file:${TRACE}`, state: "running", durationMs: null, spans: { total: 2, open: 1, errors: 0, lost: 0 }, startTimestamp: at(0) },
    { traceId: `file:${"1".repeat(32)}`, state: "error", durationMs: 10, spans: { total: 1, open: 0, errors: 1, lost: 0 }, startTimestamp: at(0) },
  ]);
});

test("a file of more traces than a page lists says how many were left out", () => {
  const traces = new FileTraces("many.jsonl");
  traces.take(Array.from({ length: FILE_TRACES_MAX + 3 }, (_, n) => event({ traceId: String(n).padStart(32, "0") })));
  traces.finish();
  assert.deepEqual([traces.feeds.size, traces.refused.size], [FILE_TRACES_MAX, 3]);
});

test("a trace whose file is gone says so", () => {
  const feed = missingFile(`file:${TRACE}`);
  assert.deepEqual([feed.phase, feed.model.traceId], ["refused", TRACE]);
});

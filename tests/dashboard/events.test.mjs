// @ts-check
// Claims about reading events from files.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { EventReader } from "../../src/dashboard/assets/model/events.mjs";
import { FILE_TRACES_MAX, FileTraces, missingFile } from "../../src/dashboard/assets/model/files.mjs";
import { parseExactly } from "../../src/dashboard/assets/model/exact-json.mjs";
import { selectTraces } from "../../src/dashboard/assets/model/list-model.mjs";
import { createTrace, reduceTrace, spanAt, stateOf } from "../../src/dashboard/assets/model/model.mjs";
import { Malformed } from "../../src/dashboard/assets/model/otlp.mjs";
import { parseQuery, traceMatches } from "../../src/dashboard/assets/model/search.mjs";
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

test("a log is read line by line, wherever the pieces end", () => {
  const events = [event(), { type: "news", anything: 1 }, event({ name: "é💥", spanId: "00f067aa0ba902b8" })];
  const text = `${events.map((one) => JSON.stringify(one)).join("\n")}\r\n\n`;
  for (const size of [1, 7, 100, text.length]) assert.deepEqual(read(text, size), events, String(size));
});

test("an OTLP request is read completely", () => {
  const values = Object.fromEntries([["big", "9007199254740993"], ["ratio", 0.5], ["nan", "NaN"], ["ok", true], ["items", [1, 2]], ["__proto__", "x"]]);
  assert.deepEqual(read(JSON.stringify(OTLP)), [
    { type: "process", process: "file-0", service: "shop", resource: { "service.name": "shop", "service.replica": 3 } },
    {
      type: "ended", traceId: TRACE, spanId: SPAN, parentSpanId: null, name: "checkout", kind: "SERVER", process: "file-0", service: "shop", scope: "shop::cart", scopeVersion: "1",
      attributes: values, attributeTypes: { big: "int", ratio: "double", nan: "double" }, startTimestamp: "2026-11-22T11:39:00.123456789Z", timestamp: "2026-11-22T11:39:01.000000000Z",
      status: { code: "ERROR", message: "card declined" }, events: [{ name: "exception", timestamp: "2026-11-22T11:39:00.500000000Z", attributes: { "exception.message": "declined" } }],
      links: [{ traceId: TRACE, spanId: SPAN, attributes: {} }], dropped: { attributes: 0, events: 2, links: 0 },
    },
  ]);
});

test("states without an OTLP field survive our own export", () => {
  const states = ["panicked", "cancelled", "lost", "else"].map((state) => {
    const otlp = structuredClone(OTLP);
    otlp.resourceSpans[0].scopeSpans[0].spans[0].attributes = [{ key: "livespan.state", value: { stringValue: state } }];
    return stateOf(read(JSON.stringify(otlp)).reduce((model, data) => reduceTrace(model, { type: data.type, data }), createTrace(TRACE)), 0);
  });
  assert.deepEqual(states, ["panicked", "cancelled", "lost", "error"]);
});

test("a document over many lines, a request per line, and a snapshot are recognised", () => {
  const expected = read(JSON.stringify(OTLP));
  assert.deepEqual(read(JSON.stringify(OTLP, null, 2), 50), expected);
  const twice = read(`${JSON.stringify(OTLP)}\n${JSON.stringify(OTLP)}\n`);
  assert.deepEqual([twice.length, twice[2].process], [3, "file-0"], "the two requests are not of one process");
  const snapshot = { traceId: TRACE, cursor: "x-1", summary: {}, processes: [{ type: "process", process: "p1" }], spans: [event()], updates: [], logs: [] };
  assert.deepEqual(read(JSON.stringify(snapshot)), [{ type: "process", process: "p1" }, event()]);
});

test("an error names its line", () => {
  const good = JSON.stringify(event());
  const brokenDocument = JSON.stringify(OTLP, null, 1).replace('"kind": 2,', '"kind": 2,,');
  const wrong = {
    [`${good}\n{"type":`]: /^line 2: not JSON: /,
    [`${good}\n\n7\n`]: /^line 3: is neither an event nor a request of OTLP$/,
    [`${good}\n\n[1]\n`]: /^line 3: is a list, but its entries are neither Zipkin spans nor OTLP requests$/,
    [`${good}\n{}`]: /^line 2: is neither an event nor anything of OTLP, Tempo, Jaeger or Zipkin: it has no fields$/,
    [`${JSON.stringify(event({ traceId: "x" }))}\n${good}`]: /^line 1: the event has no trace id: "x"$/,
    [JSON.stringify(event({ spanId: 7 }))]: /^line 1: the event has no span id: 7$/,
    [JSON.stringify(event({ timestamp: "2026-11-22T25:00:00Z" }))]: /^line 1: the timestamp is not a time: /,
    [JSON.stringify(event({ attributes: [1] }))]: /^line 1: the attributes are no object: \[1\]$/,
    [JSON.stringify(event({ events: [null] }))]: /^line 1: the events are no list of objects$/,
    "": /^the file is empty$/,
    "\n \n": /^the file is empty$/,
    "hello\nworld": /^line 1: not JSON: /,
    [brokenDocument]: new RegExp(`^line ${brokenDocument.slice(0, brokenDocument.indexOf("2,,")).split("\n").length}: not JSON: `),
    [JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: TRACE, spanId: SPAN, startTimeUnixNano: "yesterday" }] }] }] }, null, 1)]:
      /^resourceSpans\[0\]\.scopeSpans\[0\]\.spans\[0\]\.startTimeUnixNano is not a time: "yesterday"$/,
    [JSON.stringify({ resourceSpans: 1 })]: /^line 1: resourceSpans is not a list$/,
  };
  for (const [text, expected] of Object.entries(wrong)) assert.match(refusal(text), expected, text.slice(0, 80));
});

test("an attribute cannot change an object's prototype", () => {
  read(`{"type":"ended","traceId":"${TRACE}","spanId":"${SPAN}","startTimestamp":"${at(0)}","timestamp":"${at(1)}","attributes":{"__proto__":{"polluted":1}}}`);
  read(JSON.stringify(OTLP));
  assert.equal(/** @type {any} */ ({}).polluted, undefined);
  const [before, after] = JSON.stringify(OTLP).split('{"boolValue":true}');
  const deep = before + '{"arrayValue":{"values":['.repeat(5_000) + "]}}".repeat(5_000) + after;
  assert.match(refusal(deep), /^line 1: the event is nested deeper than 40 levels$/);
  const own = JSON.stringify(event()).replace('"attributes":{}', `"attributes":{"deep":${"[".repeat(5_000)}${"]".repeat(5_000)}}`);
  assert.match(refusal(own), /^line 1: the event is nested deeper than 40 levels$/);
});

test("open spans last until the file was made, ended traces do not", () => {
  const traces = new FileTraces("test.html");
  traces.take([{ ...event(), type: "started", timestamp: at(7) }, event({ traceId: "1".repeat(32) })]);
  traces.finish(at(4_000));
  assert.deepEqual([TRACE, "1".repeat(32)].map((id) => traces.feed(`file:${id}`)?.fixedNow), [4_000, 10]);
  assert.equal(traces.list.fixedNow, Date.parse(at(4_000)));

  const ended = new FileTraces("test.html");
  ended.take([event()]);
  ended.finish(at(4_000));
  assert.equal(ended.list.fixedNow, Date.parse(at(10)));
});

test("the last moment is found by time, also if timestamps have fewer than nine fractional digits", () => {
  const second = at(0).slice(0, 19);
  const traces = new FileTraces("test.jsonl");
  traces.take([event({ startTimestamp: `${second}Z`, timestamp: `${second}.25Z` }), event({ spanId: "00f067aa0ba902b8", startTimestamp: `${second}Z`, timestamp: `${second}Z` })]);
  traces.finish();
  assert.equal(traces.feed(`file:${TRACE}`)?.fixedNow, 250);
  assert.deepEqual([...traces.list.model.traces.values()].map(({ lastTimestamp }) => lastTimestamp), [at(250)]);
});

test("the traces of a file are feeds fixed at its last moment", () => {
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

test("the list of a file can be searched by every property of the live list", () => {
  const traces = new FileTraces("log.jsonl");
  const other = event({ traceId: "1".repeat(32), name: "import", service: "batch", kind: "CONSUMER", status: { code: "ERROR" }, timestamp: at(30) });
  const child = event({ spanId: "00f067aa0ba902b8", parentSpanId: SPAN, kind: "CLIENT" });
  traces.take([event({ kind: "SERVER" }), child, other, event({ traceId: "2".repeat(32), parentSpanId: "00f067aa0ba902b9", kind: "INTERNAL" })]);
  traces.finish();
  const all = [...traces.list.model.traces.values()];
  /** @type {[string, number[]][]} */
  const claims = [
    ["kind:server", [0]], ["kind:CONSUMER", [1]], ["kind:client", []], ["-kind:server", [1, 2]], ["name:import", [1]], ["service:batch", [1]], ["state:error", [1]],
    ["status:ok", [0, 2]], ["duration>20ms", [1]], ["spans>=2", [0]], ["errors>0", [1]],
    ["trace:1111", [1]], ["0af7651916", [0]], ["file", []],
  ];
  for (const [query, found] of claims) {
    const { terms } = parseQuery(query, "list");
    assert.deepEqual(all.flatMap((trace, at) => (traceMatches(trace, terms, traces.list.fixedNow) ? [at] : [])), found, query);
  }
});

test("a file with too many traces reports how many were left out", () => {
  const traces = new FileTraces("many.jsonl");
  traces.take(Array.from({ length: FILE_TRACES_MAX + 3 }, (_, n) => event({ traceId: String(n).padStart(32, "0") })));
  traces.finish();
  assert.deepEqual([traces.feeds.size, traces.refused.size], [FILE_TRACES_MAX, 3]);
});

test("a trace whose file is no longer loaded says so", () => {
  const feed = missingFile(`file:${TRACE}`);
  assert.deepEqual([feed.phase, feed.model.traceId], ["refused", TRACE]);
});

/** Reads a text in the way that a file is read. @param {string} text */
function taken(text) {
  const reader = new EventReader();
  const events = [...reader.read(text), ...reader.end()];
  return { events, leftOut: Object.fromEntries(reader.left), source: reader.source };
}

test("this reader and the program's agree on the cases of OTLP, Tempo, Jaeger and Zipkin", () => {
  const cases = JSON.parse(readFileSync(new URL("../otlp.json", import.meta.url), "utf8"));
  assert.ok(cases.length > 70);
  for (const { claim, text, refused, source = "", ...expected } of cases) {
    if (refused !== undefined) assert.equal(refusal(text), refused, claim);
    else assert.deepEqual(taken(text), { ...expected, source }, claim);
  }
});

test("integers of any size keep their digits, and texts are unchanged", () => {
  const same = ['{"a":1,"b":-2.5e300,"c":"1234567890123456789","d":[true,null,"\\\\"]}', "9007199254740991", '"\\"12345678901234567890"', "[1e400]"];
  for (const text of same) assert.deepEqual(parseExactly(text), JSON.parse(text), text);
  assert.deepEqual(parseExactly('{"a":12345678901234567890,"b":[-9007199254740993, 9007199254740993],"c":1234567890123456.5,"d":12345678901234567e3}'), {
    a: "12345678901234567890", b: ["-9007199254740993", "9007199254740993"], c: 1234567890123456.5, d: 12345678901234567e3,
  });
  assert.deepEqual(parseExactly('{"\\\\":12345678901234567890,"x\\"":12345678901234567891}'), { "\\": "12345678901234567890", 'x"': "12345678901234567891" });
  assert.throws(() => parseExactly('{"a":1234567890123456789'), SyntaxError);
});

test("two spans with one id are both shown, and a repetition is left out", () => {
  const traces = new FileTraces("log.jsonl");
  // A repetition of the same end is left out. An end of a lost span replaces the lost end.
  const lost = { lost: { reason: "crashed", lastHeard: at(3) }, spanId: "00f067aa0ba902b8" };
  const other = event({ name: "another", startTimestamp: at(2) });
  traces.take([event(), event(), other, { ...other }, event({ name: "third" }), event(lost), event({ spanId: lost.spanId, timestamp: at(11) })]);
  traces.left = [["metrics", 3]];
  traces.finish();
  const { model } = /** @type {any} */ (traces.feed(`file:${TRACE}`));
  const shown = Array.from({ length: model.spans.count }, (_, index) => `${spanAt(model, index).id} ${spanAt(model, index).name} ${spanAt(model, index).event.spanId}`);
  assert.deepEqual([traces.leftOut(), shown], [["metrics (3)"], [`${SPAN} a ${SPAN}`, `10f067aa0ba902b7 another ${SPAN}`, `20f067aa0ba902b7 third ${SPAN}`, "00f067aa0ba902b8 a 00f067aa0ba902b8"]]);
  // The number of spans with one id is bounded, and spans beyond the bound are counted.
  const many = new FileTraces("many.jsonl");
  many.take(Array.from({ length: 20 }, (_, n) => event({ name: String(n) })));
  const { spans, refusedSpans } = /** @type {any} */ (many.feed(`file:${TRACE}`)).model;
  assert.deepEqual([spans.count, refusedSpans], [16, 4]);
});

test("evictions before a file was made are reported", () => {
  const snapshot = { traceId: TRACE, cursor: "x-1", processes: [], spans: [event()], updates: [], logs: [], evicted: { events: 8, spans: 4 } };
  const traces = new FileTraces("trace.json");
  traces.take(read(JSON.stringify(snapshot)));
  traces.finish();
  assert.deepEqual(traces.feed(`file:${TRACE}`)?.model.evicted, { events: 8, spans: 4 });
  assert.deepEqual([...traces.list.model.traces.values()].map(({ evicted }) => evicted), [{ events: 8, spans: 4 }]);
  const cut = new FileTraces("cut.json");
  cut.take(read(JSON.stringify({ ...OTLP, incomplete: { reason: "evicted", lost: 2 } })));
  cut.finish();
  assert.deepEqual(cut.feed(`file:${TRACE}`)?.model.incomplete, { reason: "evicted", lost: 2 });
  const resource = { attributes: [{ key: "livespan.evicted.events", value: { intValue: "8" } }, { key: "livespan.evicted.spans", value: { intValue: "4" } }] };
  const otlp = new FileTraces("trace.otlp.json");
  otlp.take(read(JSON.stringify({ resourceSpans: [{ ...OTLP.resourceSpans[0], resource }] })));
  otlp.finish();
  assert.deepEqual(otlp.feed(`file:${TRACE}`)?.model.evicted, { events: 8, spans: 4 });
  const log = new FileTraces("log.jsonl");
  log.take(read([event(), { type: "gap", reason: "evicted", from: "a-1", to: "a-3", lost: 3 }].map((one) => JSON.stringify(one)).join("\n")));
  log.finish();
  assert.equal(log.feed(`file:${TRACE}`)?.model.losses.evicted, 3);
});

test("the list of a file supports the whole search grammar, and names traces as the page does", () => {
  const traces = new FileTraces("log.jsonl");
  const late = event({ spanId: "00f067aa0ba902b8", name: "first", kind: "SERVER", service: "front", startTimestamp: at(1) });
  traces.take([event({ kind: "CLIENT", name: "second", startTimestamp: at(2) }), late]);
  traces.finish();
  const found = (/** @type {string} */ query) => selectTraces(traces.list.model, { terms: parseQuery(query, "list").terms, order: "newest", now: 0 }).map(({ name, service }) => [name, service]);
  assert.deepEqual([found("kind:server"), found("kind:client"), found("name:first")], [[["first", "front"]], [], [["first", "front"]]]);
});

// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { EmbeddedEvents } from "../../src/dashboard/assets/model/embedded-events.mjs";
import { FileTraces, fileSummary } from "../../src/dashboard/assets/model/files.mjs";
import { fileRouteText, parseFileRoute } from "../../src/dashboard/assets/model/route.mjs";
import { TRACE, at, ended, started } from "./build.mjs";

const OTHER = "1af7651916cd43dd8448eb211c80319c";
const ABOUT = { type: "file", version: 1, made: at(90), by: "livespan/0.1.0", traces: 1 };
const PROCESS = { type: "process", process: "p1", service: "shop", resource: { "host.name": "web-3" }, pid: 4112, timestamp: at(0), startTimestamp: at(0) };

/**
 * Returns an end without the fields that the server omits.
 * @param {any} end
 * @param {object} [attributes]
 */
function shortened({ traceId, parentSpanId, name, kind, process, service, scope, startTimestamp, ...rest }, attributes = {}) {
  return { ...rest, attributes };
}

/** @param {any[]} lines @param {number} size of the pieces @returns {{reader: EmbeddedEvents, events: any[]}} */
function read(lines, size = 7) {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const reader = new EmbeddedEvents();
  const events = [];
  for (let from = 0; from < text.length; from += size) events.push(...reader.read(text.slice(from, from + size)));
  return { reader, events };
}

test("a shortened end is completed, wherever the text is split", () => {
  const start = started("00000000000000a1", null, 0, { attributes: { n: 1, m: "x" } }).data;
  const same = ended("00000000000000a1", null, 0, 5, { attributes: { n: 1, m: "x" } }).data;
  const changed = ended("00000000000000a1", null, 0, 5, { attributes: { n: 1, m: "</script>\u2028\u0000", k: [1] }, attributeTypes: { n: "int" } }).data;
  for (const [end, attributes] of [[same, {}], [changed, { m: changed.attributes.m, k: [1] }]]) {
    for (const size of [1, 7, 10_000]) {
      const { reader, events } = read([ABOUT, { type: "trace", traceId: TRACE }, PROCESS, start, shortened(end, attributes)], size);
      assert.deepEqual(events, [PROCESS, start, end]);
      assert.deepEqual([reader.about, reader.count], [ABOUT, 3]);
    }
  }
});

test("a complete end takes no field from its start, nor from another trace's start", () => {
  const start = started("00000000000000a1", null, 0, { attributes: { n: 1 } }).data;
  const end = ended("00000000000000a1", null, 1, 5, { attributes: { m: 2 }, traceId: OTHER }).data;
  const lines = [ABOUT, { type: "trace", traceId: TRACE }, start, { type: "trace", traceId: OTHER }, end, end];
  assert.deepEqual(read(lines).events, [start, end, end]);
});

test("a file's summary names its origin and says whether it is complete", () => {
  const file = (/** @type {any[]} */ lines) => {
    const { reader, events } = read(lines);
    const traces = new FileTraces("trace.html");
    traces.take(events);
    traces.finish();
    return fileSummary(traces, reader.count);
  };
  const span = ended("00000000000000a1", null, 0, 5).data;
  const missing = (/** @type {object} */ what) => ({ type: "missing", traceId: TRACE, evicted: null, incomplete: null, ...what });
  const from = "shop@web-3, pid 4112";
  assert.deepEqual(file([PROCESS, span]), { from, all: "complete: 1 span, 0 records, 2 events", isWhole: true });
  assert.deepEqual(file([PROCESS, span, missing({ evicted: { events: 9, spans: 4 } })]), {
    from, all: "incomplete: 4 of 5 spans are no longer kept; this file has 1 span, 0 records, 2 events", isWhole: false,
  });
  assert.deepEqual(file([PROCESS, span, missing({ incomplete: { reason: "evicted", lost: 3 } }), { ...span, traceId: OTHER }]), {
    from, all: "incomplete: 1 of 2 traces are incomplete; this file has 2 traces, 2 spans, 0 records, 3 events", isWhole: false,
  });
});

test("a file's address has trace ids without the file prefix", () => {
  const hash = `trace=${TRACE}&span=00000000000000a1&find=x&view=flame&at=4`;
  const route = parseFileRoute(hash);
  assert.deepEqual([route.trace, route.span, route.find, route.view, route.at], [`file:${TRACE}`, "00000000000000a1", "x", "flame", 4]);
  assert.equal(fileRouteText(route), hash);
  assert.equal(parseFileRoute("page=logs").page, "traces");
});

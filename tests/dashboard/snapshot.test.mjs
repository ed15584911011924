// @ts-check
// Claims about reading a snapshot while it arrives: wherever its bytes are split, the result is the
// same spans, once and in order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SnapshotReader, getSnapshot } from "../../src/dashboard/assets/net/snapshot.mjs";
import { TRACE, at, ended, started } from "./build.mjs";

/** @param {number} count @param {object} [more] */
function body(count, more = {}) {
  const spans = Array.from({ length: count }, (_, index) => (index % 7 === 0
    ? started(`s${index}`, null, index).data
    : ended(`s${index}`, "s0", index, index + 1, { attributes: { text: 'a "quoted" },{"type":"ended" \\ ]},"updates":[ 💥' } }).data));
  return {
    traceId: TRACE, cursor: "x-9", now: at(1), summary: { spans: { total: count }, name: 'the "spans":[ of a name' },
    processes: [{ type: "process", process: "p1" }], spans, updates: [{ type: "updated", spanId: "s0" }, { type: "updated", spanId: "s7" }], logs: [],
    ...more,
  };
}

/** @param {string} text @param {number} length of a chunk */
function read(text, length) {
  /** @type {any[]} */
  const spans = [];
  let pieces = 0;
  const reader = new SnapshotReader((list) => {
    pieces += 1;
    spans.push(...list);
  });
  for (let from = 0; from < text.length; from += length) reader.push(text.slice(from, from + length));
  const rest = reader.end();
  return { pieces, whole: { ...rest, spans: [...spans, ...rest.spans] } };
}

test("a large snapshot arrives in pieces, complete, without duplicates and in order", () => {
  const expected = body(6_000);
  const text = JSON.stringify(expected);
  for (const length of [997, 65_536, 200_000, text.length]) {
    const { pieces, whole } = read(text, length);
    assert.deepEqual(whole, expected);
    if (length < 200_000) assert.ok(pieces > 3);
  }
});

test("a small snapshot arrives in one piece", () => {
  for (const count of [0, 1, 5]) assert.deepEqual(read(JSON.stringify(body(count)), 10), { pieces: 0, whole: body(count) });
});

test("many updates and logs after the spans arrive complete", () => {
  const updates = Array.from({ length: 3_000 }, (_, index) => ({ type: "updated", spanId: `s${index}`, attributes: { index } }));
  const expected = body(900, { updates, logs: updates });
  assert.deepEqual(read(JSON.stringify(expected), 4_096).whole, expected);
});

test("a text that cannot be split as expected is an error, never wrong spans", () => {
  const tricky = body(6_000, { processes: [{ type: "process", resource: { spans: ["a", "b"] } }] });
  assert.throws(() => read(JSON.stringify(tricky), 65_536), SyntaxError);
  assert.throws(() => read(JSON.stringify(body(6_000)).slice(0, -1), 65_536), SyntaxError);
  assert.throws(() => read("", 1), SyntaxError);
});

test("two traces that load at the same time both arrive, however long they take", { timeout: 20_000 }, async (context) => {
  const expected = body(200);
  const text = JSON.stringify(expected);
  let clock = 0;
  // Every chunk takes so long that the page yields after it.
  context.mock.method(performance, "now", () => (clock += 100));
  context.mock.method(globalThis, "fetch", async () => new Response(new ReadableStream({
    async start(controller) {
      const bytes = new TextEncoder().encode(text);
      for (let from = 0; from < bytes.length; from += 1_000) controller.enqueue(bytes.slice(from, from + 1_000));
      controller.close();
    },
  })));
  const load = async () => {
    /** @type {any[]} */
    const spans = [];
    const { status, body: rest } = await getSnapshot("http://x/traces/a", () => (list) => void spans.push(...list));
    return [status, [...spans, ...rest.spans].length];
  };
  assert.deepEqual(await Promise.all([load(), load(), load()]), [[200, 200], [200, 200], [200, 200]]);
});

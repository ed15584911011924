// @ts-check
// Claims about the worker that reads files: its input and its messages. The test replaces the
// worker's globals.

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

/** @type {(message: {data: any}) => void} */
let tell = () => {};
/** @type {(message: any) => void} */
let receive = () => {};
Object.assign(globalThis, {
  addEventListener: (/** @type {string} */ _name, /** @type {(message: {data: any}) => void} */ listener) => (tell = listener),
  postMessage: (/** @type {any} */ message) => receive(message),
});
await import("../../src/dashboard/assets/workers/import-worker.mjs");

/** @param {Uint8Array | string} contents @returns {Promise<any>} all events with the last message */
function read(contents) {
  /** @type {any[]} */
  const events = [];
  return new Promise((resolve) => {
    receive = (message) => {
      if (message.events === undefined) return resolve({ ...message, events });
      events.push(...message.events);
      assert.ok(message.share >= 0 && message.share <= 1, String(message.share));
      // The page sends this when it has processed the events.
      queueMicrotask(() => tell({ data: "next" }));
    };
    tell({ data: new Blob([/** @type {any} */ (contents)]) });
  });
}

const LINE = `${JSON.stringify({ type: "process", process: "p1", service: "shop", resource: {} })}\n`;

test("a file gives the same events compressed or not", async () => {
  const plain = await read(LINE.repeat(3_000));
  assert.deepEqual([plain.events.length, plain.done, plain.left, plain.source], [3_000, true, [], ""]);
  assert.deepEqual(await read(gzipSync(LINE.repeat(3_000))), plain);
});

test("a damaged file gives an error with the reason", async () => {
  const packed = gzipSync(LINE);
  const damaged = "it is compressed with gzip, and damaged or cut, or not of text in UTF-8";
  assert.equal((await read(packed.subarray(0, packed.length - 9))).error, damaged);
  assert.equal((await read(gzipSync(new Uint8Array([0xff])))).error, damaged);
  assert.equal((await read(new Uint8Array([0xff, 0xfe]))).error, "it cannot be read as text in UTF-8");
  assert.equal((await read("")).error, "the file is empty");
  assert.match((await read("no")).error, /^line 1: not JSON: /);
});

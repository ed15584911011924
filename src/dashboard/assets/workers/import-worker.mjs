// @ts-check
// Reads a file, gzipped or not, outside of the page's thread. Sends events in batches, each after the page has
// processed the one before. Must never keep events that it has sent.

import { EventReader } from "../model/events.mjs";
import { Malformed } from "../model/otlp.mjs";

const BATCH = 1_000;

/** @type {() => void} */
let goOn = () => {};

/** @param {any[]} events @param {number} share @returns {Promise<void>} resolves when the page has processed them */
function send(events, share) {
  postMessage({ events, share });
  return new Promise((resolve) => {
    goOn = resolve;
  });
}

/** @param {File} file @returns {Promise<boolean>} */
async function isCompressed(file) {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  return first === 0x1f && second === 0x8b;
}

/** @param {File} file @param {boolean} isGzip */
async function read(file, isGzip) {
  const reader = new EventReader();
  let seen = 0;
  const counted = new TransformStream({
    transform(/** @type {Uint8Array} */ bytes, out) {
      seen += bytes.length;
      out.enqueue(bytes);
    },
  });
  const raw = file.stream().pipeThrough(counted);
  const bytes = isGzip ? raw.pipeThrough(new DecompressionStream("gzip")) : raw;
  const chunks = bytes.pipeThrough(new TextDecoderStream("utf-8", { fatal: true })).getReader();
  for (let ended = false; !ended; ) {
    const { done, value } = await chunks.read();
    ended = done;
    const share = Math.min(1, seen / Math.max(1, file.size));
    /** @type {any[]} */
    let events = [];
    for (const event of value === undefined ? reader.end() : reader.read(value)) {
      if (events.push(event) < BATCH) continue;
      await send(events, share);
      events = [];
    }
    await send(events, share);
  }
  postMessage({ done: true, left: [...reader.left], source: reader.source });
}

/** @param {File} file */
async function answer(file) {
  const isGzip = await isCompressed(file);
  try {
    await read(file, isGzip);
  } catch (error) {
    const isKnown = error instanceof Malformed || error instanceof RangeError;
    postMessage({ error: isKnown ? error.message : isGzip ? "it is compressed with gzip, and damaged or cut, or not of text in UTF-8" : "it cannot be read as text in UTF-8" });
  }
}

addEventListener("message", ({ data }) => {
  if (data === "next") return goOn();
  answer(data).catch(() => postMessage({ error: "it cannot be read" }));
});

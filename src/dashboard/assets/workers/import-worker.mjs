// @ts-check
// Reads a file where it holds nobody up: text in pieces, events out in batches, each after the one before was taken.
// It must never keep what it has sent.

import { EventReader } from "../model/events.mjs";
import { Malformed } from "../model/otlp.mjs";

const BATCH = 1_000;

/** @type {() => void} */
let goOn = () => {};

/** @param {any[]} events @param {number} share @returns {Promise<void>} until the page has taken them */
function send(events, share) {
  postMessage({ events, share });
  return new Promise((resolve) => {
    goOn = resolve;
  });
}

/** @param {File} file */
async function read(file) {
  const reader = new EventReader();
  const chunks = file.stream().pipeThrough(new TextDecoderStream("utf-8", { fatal: true })).getReader();
  let seen = 0;
  for (let ended = false; !ended; ) {
    const { done, value } = await chunks.read();
    ended = done;
    // Characters for bytes: near enough for a bar.
    seen += value?.length ?? 0;
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

addEventListener("message", ({ data }) => {
  if (data === "next") return goOn();
  read(data).catch((error) => postMessage({ error: error instanceof Malformed || error instanceof RangeError ? error.message : "it cannot be read as text in UTF-8" }));
});

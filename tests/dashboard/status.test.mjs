// @ts-check
// Claims about the status word.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model.mjs";
import { pageStatus, refusedText } from "../../src/dashboard/assets/status.mjs";
import { TRACE } from "./build.mjs";

const NONE = { starts: 0, ends: 0, other: 0 };
const DROPPED_NONE = "dropped by the host, ever: 0 starts, 0 ends, 0 other";

/** @param {any} word @param {string} [reason] @param {number} [attempt] @returns {any} */
function stream(word, reason = "", attempt = 0) {
  return { word, reason, lastId: "aaaaaaaa-9", attempt, malformed: 0 };
}

test("a live stream without losses is Live", () => {
  assert.deepEqual(pageStatus(stream("live"), null, NONE), { state: "live", text: "Live", title: `last event aaaaaaaa-9\n${DROPPED_NONE}` });
});

test("a loss is a gap with its number, and the title says what was lost", () => {
  const trace = reduceTrace(createTrace(TRACE), { type: "gap", data: { reason: "evicted", from: "a", to: "b", lost: 12 } });
  reduceTrace(trace, { type: "gap", id: "x-1", data: { reason: "dropped", lost: { starts: 1200, ends: 0, other: 1 } } });
  assert.deepEqual(pageStatus(stream("live"), trace, { starts: 1200, ends: 0, other: 1 }), {
    state: "gap", text: "Gap · 1,213 lost",
    title: [
      "last event aaaaaaaa-9", "12 events had been evicted before this page could read them",
      "lost in this log: 1200 starts, 0 ends, 1 other events", "dropped by the host, ever: 1200 starts, 0 ends, 1 other",
    ].join("\n"),
  });
});

test("a stream that is not live says so, whatever was lost", () => {
  const trace = reduceTrace(createTrace(TRACE), { type: "gap", data: { reason: "epoch", lost: null } });
  assert.equal(pageStatus(stream("live"), trace, NONE).text, "Gap · log restarted");
  assert.deepEqual(["connecting", "paused", "ended", "reconnecting"].map((word) => pageStatus(stream(word), trace, NONE).text), ["Connecting", "Paused", "Ended", "Reconnecting"]);
  assert.equal(pageStatus(stream("reconnecting", "refused", 3), null, NONE).text, "Reconnecting · 3");
});

test("a trace too large for the page says how much was left out", () => {
  const trace = createTrace(TRACE);
  assert.equal(refusedText(trace), "");
  trace.refusedSpans = 1;
  trace.refusedLogs = 2000;
  assert.equal(
    refusedText(trace),
    "This trace is larger than a page can keep: 250,000 spans (1 event of others left out) and 50,000 log records (2,000 left out).",
  );
});

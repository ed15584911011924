// @ts-check
// Claims about the status word.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { HEALED_MS, pageStatus, partialText, refusedText, statusNews } from "../../src/dashboard/assets/model/status.mjs";
import { TRACE } from "./build.mjs";

const NONE = { starts: 0, ends: 0, other: 0 };
const DROPPED_NONE = "dropped in the program since it began: 0 starts, 0 ends, 0 other";

/** @param {any} word @param {object} [more] of the stream's status @param {object} [feed] @returns {any} */
function watched(word, more = {}, feed = {}) {
  return { status: { word, reason: "", lastId: "aaaaaaaa-9", attempt: 0, malformed: 0, outage: null, since: 0, next: 0, ...more }, paused: false, news: 0, lag: null, ...feed };
}

/** @param {any} feed @param {object[]} [gaps] @param {object} [known] */
function statusOf(feed, gaps = [], known = {}) {
  const trace = createTrace(TRACE);
  for (const [index, data] of gaps.entries()) reduceTrace(trace, { type: "gap", id: `x-${index}`, data });
  return pageStatus(feed, { hostDropped: NONE, losses: trace.losses, restarts: 0, degraded: false, zone: "utc", ...known }, 1_000_000);
}

test("a live stream without losses is Live", () => {
  assert.deepEqual(statusOf(watched("live")), { state: "live", text: "Live", lines: ["last event aaaaaaaa-9", DROPPED_NONE] });
});

test("a loss is shown as a gap with its number, with the kinds in the details", () => {
  const gaps = [{ reason: "evicted", from: "a", to: "b", lost: 12 }, { reason: "dropped", lost: { starts: 1200, ends: 0, other: 1 } }];
  assert.deepEqual(statusOf(watched("live"), gaps, { hostDropped: { starts: 1200, ends: 0, other: 1 } }), {
    state: "gap", text: "Gap · 1,213 lost",
    lines: [
      "12 events had been evicted before this page could read them", "lost in this log: 1200 starts, 0 ends, 1 other events",
      "last event aaaaaaaa-9", "dropped in the program since it began: 1200 starts, 0 ends, 1 other",
    ],
  });
});

test("a count over several traces is shown as an upper bound", () => {
  const status = statusOf(watched("live"), [{ reason: "evicted", from: "a", to: "b", lost: 12, traces: 3 }]);
  assert.deepEqual([status.text, status.lines[0]], ["Gap · up to 12 lost", "at most 12 events had been evicted before this page could read them"]);
});

test("a stream that is not live is shown as such, whatever was lost", () => {
  const restarted = [{ reason: "epoch", lost: null }];
  assert.equal(statusOf(watched("live"), restarted).text, "Gap · log restarted");
  assert.deepEqual(
    ["connecting", "paused", "ended", "reconnecting"].map((word) => statusOf(watched(word), restarted).text),
    ["Connecting", "Paused", "Ended", "Reconnecting"],
  );
  const away = statusOf(watched("reconnecting", { reason: "refused", attempt: 3, since: 1_000_000 - 12_000, next: 1_000_000 + 2_500 }));
  assert.deepEqual([away.state, away.text, away.lines.slice(0, 3)], [
    "reconnecting", "Reconnecting · 12 s",
    ["the server refuses or does not answer", `nothing received since 00:16:28, 12 s ago`, "next try in 3 s, the 3rd; click to try now"],
  ]);
  assert.deepEqual(statusOf(watched("connecting", { reason: "crowded" })).lines[0], "other tabs use all connections; close one of them");
});

test("an ended program is shown with its time, and not as a fault", () => {
  const status = statusOf(watched("ended", { reason: "shutdown", attempt: 12, since: 1_000_000 - 180_000, next: 1_000_000 + 20_000 }));
  assert.deepEqual([status.state, status.text, status.lines.slice(0, 3)], [
    "ended", `Program ended at 00:13:40`,
    ["the program announced that it ends", `ended at 00:13:40, 3 min ago`, "next try in 20 s, the 12th; click to try now"],
  ]);
  assert.equal(statusOf(watched("ended", { reason: "complete" })).text, "Ended");
});

test("a pause counts the events that wait", () => {
  assert.equal(statusOf(watched("live", {}, { paused: true })).text, "Paused");
  const status = statusOf(watched("live", {}, { paused: true, news: 1_370 }));
  assert.deepEqual([status.state, status.text, status.lines[0]], ["paused", "Paused · 1,370 new", "1,370 events are held until you resume"]);
});

test("a failing store is shown before any loss", () => {
  const status = statusOf(watched("live"), [{ reason: "dropped", lost: { starts: 1, ends: 0, other: 0 } }], { degraded: true });
  assert.deepEqual([status.state, status.lines[0]], ["degraded", "the store is failing: new events arrive late or cannot be replayed"]);
});

test("an outage that is over is shown for a while, and stays in the details", () => {
  const outage = { reason: "asleep", milliseconds: 720_000, at: 1_000_000 - 5 };
  const line = "back just now, after 12 m 00 s: this computer, or this page, was asleep";
  assert.deepEqual(statusOf(watched("live", { outage })), { state: "live", text: "Live · reconnected after 12 m 00 s", lines: [line, "last event aaaaaaaa-9", DROPPED_NONE] });
  outage.at = 1_000_000 - HEALED_MS;
  assert.equal(statusOf(watched("live", { outage })).text, "Live");
  outage.at = 1_000_000 - 300_000;
  assert.equal(statusOf(watched("live", { outage })).lines[0].slice(0, 14), "back 5 min ago");
});

test("lag and restarts are in the details", () => {
  assert.deepEqual(statusOf(watched("live", {}, { lag: 12.34 }), [], { restarts: 1 }).lines, [
    "the server was restarted while this page was open", "last event aaaaaaaa-9", "the newest event was 12.3 ms old when it arrived", DROPPED_NONE,
  ]);
});

test("screen readers get changes of the status, and not every count", () => {
  const live = statusOf(watched("live"));
  const cut = statusOf(watched("reconnecting", { reason: "connection lost" }));
  const again = statusOf(watched("reconnecting", { reason: "connection lost", attempt: 2 }));
  const back = statusOf(watched("live", { outage: { reason: "connection lost", milliseconds: 2_000, at: 1_000_000 } }));
  assert.deepEqual(
    [[live, live], [live, cut], [cut, again], [again, back], [back, live]].map(([before, after]) => statusNews(before, after)),
    ["", "Reconnecting: the connection was lost", "", "Live · reconnected after 2.00 s", ""],
  );
});

test("for a trace too large for the page, the omitted part is counted", () => {
  const trace = createTrace(TRACE);
  assert.equal(refusedText(trace), "");
  trace.refusedSpans = 1;
  trace.logs.refused = 2000;
  assert.equal(
    refusedText(trace),
    "This trace is larger than a page can keep: 250,000 spans (1 event of others left out) and the newest 50,000 log records (2,000 before them left out).",
  );
});

test("a past moment has priority over everything else, and a file is never live", () => {
  const past = statusOf(watched("live"), [], { past: "+13.9 s" });
  assert.deepEqual([past.state, past.text, past.lines[0]], ["paused", "At +13.9 s", "the trace as it was then; click to go back to now"]);
  assert.deepEqual(statusOf(watched("ended", {}, { file: "a.jsonl" })), { state: "file", text: "File", lines: ["from the file a.jsonl", "nothing of it was sent to the server"] });
});

test("a partial trace shows what is missing, and what it therefore cannot show", () => {
  const trace = createTrace(TRACE);
  assert.equal(partialText(trace), "");
  trace.evicted = { events: 2_888, spans: 1_444 };
  trace.counts.total = 312;
  const rest = "Critical path, self time and time between spans are not shown for an incomplete trace. Durations and errors cover only the spans that are left.";
  assert.equal(partialText(trace), `1,444 of 1,756 spans are no longer kept: retention removed them. ${rest}`);
  trace.incomplete = { reason: "evicted", lost: 3 };
  assert.equal(partialText(trace), `1,444 of 1,756 spans are no longer kept: retention removed them. 3 events of this trace were evicted while it was read. ${rest}`);
  trace.evicted = null;
  /** @type {[string, number | null, string][]} */
  const others = [
    ["evicted", null, "A part of this trace was evicted while it was read."], ["damaged", 1, "1 event of this trace is damaged in the store."],
    ["unreadable", null, "The store could not be read to the end of this trace."], ["burnt", null, "A part of this trace is missing (burnt)."],
  ];
  for (const [reason, lost, said] of others) {
    trace.incomplete = { reason, lost };
    assert.equal(partialText(trace), `${said} ${rest}`);
  }
});

// @ts-check
// Claims about the current state of an open span: its await point, the thread that it blocks, and
// the times at which it worked.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, firstSpan, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import {
  AWAITING_LONG_MS, BLOCKED_MS, STRETCHES_MAX, WorkTimes, awaitingOf, awaitingText, blockedSpans, percentAt, pollingOf, pollingText, progressTextAt, progressingSpan, taskText,
} from "../../src/dashboard/assets/model/running.mjs";
import { waitingChains } from "../../src/dashboard/assets/model/waits-for.mjs";
import { TRACE, at, ended, started, updated } from "./build.mjs";

/** @param {...any} events */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

test("an await point is shown with its time, and marked if it takes long", () => {
  const trace = traceOf(started("a", null, 0), updated("a", 100, { awaiting: { name: "redis get", since: at(100) } }));
  assert.deepEqual(awaitingOf(trace, 0, 100 + AWAITING_LONG_MS - 1), { name: "redis get", since: 100, isLong: false });
  assert.equal(awaitingOf(trace, 0, 100 + AWAITING_LONG_MS)?.isLong, true);
  assert.equal(awaitingText(trace, 0, 12_200, true), "awaits redis get for 12.1 s");
  reduceTrace(trace, updated("a", 200, { awaiting: null }));
  assert.deepEqual([awaitingOf(trace, 0, 300), awaitingText(trace, 0, 300, true)], [null, ""]);
  for (const odd of [{ name: 7 }, {}, { since: at(1) }]) assert.equal(awaitingOf(traceOf(started("a", null, 0), updated("a", 1, { awaiting: odd })), 0, 9e9), null);
  assert.equal(awaitingText(traceOf(started("a", null, 0), updated("a", 1, { awaiting: { name: "x" } })), 0, 9, true), "awaits x");
});

test("a long poll blocks its thread; the longest comes first", () => {
  const polling = (/** @type {number} */ since) => ({ task: { polls: 1, busyNanos: 1, idleNanos: 1, longestPollNanos: 1, polling: { since: at(since), thread: "tokio-worker-3" } } });
  const trace = traceOf(started("a", null, 0), started("b", null, 0), started("c", null, 0), updated("a", 50, polling(50)), updated("b", 10, polling(10)), updated("c", 900, polling(900)));
  assert.deepEqual(pollingOf(trace, 0, 50 + BLOCKED_MS - 1), { thread: "tokio-worker-3", since: 50, isBlocked: false });
  assert.deepEqual(blockedSpans(trace, 1_500), [1, 0]);
  assert.equal(pollingText(trace, 1, 4_110, true), "polled for 4.1 s on thread tokio-worker-3");
  assert.equal(pollingText(trace, 2, 1_000, true), "");
  reduceTrace(trace, updated("b", 2_000, { task: { polls: 2, polling: null } }));
  reduceTrace(trace, ended("a", null, 0, 2_000));
  assert.deepEqual(blockedSpans(trace, 1_500), []);
});

test("a task's text has the share of time that it worked", () => {
  assert.equal(taskText({ polls: 31, busyNanos: 430, idleNanos: 570, longestPollNanos: 220e6 }), "works 43 %, waits 57 % · 31 polls · longest 220 ms");
  assert.deepEqual([taskText({ polls: 1, busyNanos: 0, idleNanos: 0, longestPollNanos: 0 }), taskText(null), taskText({ polls: "x" })], ["1 poll", "", ""]);
});

test("the times at which a task worked are kept in a bounded number of stretches", () => {
  const work = new WorkTimes();
  const add = (/** @type {number} */ time, /** @type {number} */ busy) => work.add({ busyNanos: busy * 1e6 }, time, 0);
  add(100, 50);
  add(200, 150);
  add(300, 245);
  add(400, 245);
  assert.deepEqual(work.stretches, [{ from: 0, to: 100, share: 0.5 }, { from: 100, to: 300, share: 0.975 }, { from: 300, to: 400, share: 0 }]);
  for (const [time, busy] of [[NaN, 300], [400, 300], [350, 300], [500, 1], [500, NaN]]) add(time, busy);
  assert.equal(work.stretches.length, 3);
  for (let n = 0; n < 10_000; n += 1) add(500 + n * 10, 245 + (n % 2 === 0 ? n * 2 : n * 2 - 1));
  assert.ok(work.stretches.length <= STRETCHES_MAX);
  const total = work.stretches.reduce((sum, { from, to, share }) => sum + (to - from) * share, 0);
  assert.equal(Math.round(total), 245 + 9_999 * 2 - 1, "merging stretches changed the time worked");
  work.stretches.forEach(({ from, to }, n) => assert.ok(from < to && (n === 0 || work.stretches[n - 1].to === from)));
});

test("a trace's progress is its root's, else that of the open span that reported last", () => {
  const progress = (/** @type {number} */ current) => ({ attributes: { "progress.current": current, "progress.total": 10 } });
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("b", "root", 2), updated("b", 3, progress(3)), updated("a", 4, progress(4)));
  const name = () => trace.spans.ids[progressingSpan(trace, firstSpan(trace))];
  assert.equal(name(), "a");
  reduceTrace(trace, updated("b", 5, progress(4)));
  assert.equal(name(), "b");
  reduceTrace(trace, ended("b", "root", 2, 5, progress(10)));
  assert.equal(name(), "a");
  reduceTrace(trace, started("c", "root", 5, progress(0)));
  assert.equal(name(), "c");
  reduceTrace(trace, updated("root", 6, progress(1)));
  assert.equal(name(), "root");
  assert.deepEqual([percentAt(trace, 0), percentAt(trace, -1), progressTextAt(trace, indexOf(trace, "b"), 9)], ["10 %", "", "10 of 10 · 100 %"]);
});

test("a trace waits for a span with a long await, whatever else runs", () => {
  const trace = traceOf(started("root", null, 0), started("old", "root", 1), started("hangs", "root", 500), updated("hangs", 600, { awaiting: { name: "lock", since: at(600) } }));
  const leaf = (/** @type {number} */ now) => trace.spans.ids[waitingChains(trace, now).chains[0].leaf];
  assert.deepEqual([leaf(5_000), leaf(20_000)], ["old", "hangs"]);
});

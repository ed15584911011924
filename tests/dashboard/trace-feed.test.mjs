// @ts-check
// Claims about a snapshot combined with its stream.

import assert from "node:assert/strict";
import { test } from "node:test";
import { stateOf } from "../../src/dashboard/assets/model/span.mjs";
import { epochMilliseconds } from "../../src/dashboard/assets/model/time.mjs";
import { parseObject } from "../../src/dashboard/assets/net/stream.mjs";
import { HELD_MAX, TraceFeed } from "../../src/dashboard/assets/net/trace-feed.mjs";
import { TRACE, at, ended, hello, started } from "./build.mjs";
import { FakeWorld, openStream } from "./world.mjs";

/** A world with a queue of JSON responses. @param {{status: number, body: any}[]} answers */
function worldOf(answers) {
  const fake = new FakeWorld();
  const environment = fake.environment();
  /** @type {string[]} */
  const asked = [];
  const ended = { at: 0 };
  return {
    fake, asked,
    world: {
      getJson: async (/** @type {string} */ route) => {
        asked.push(route);
        return answers.shift() ?? { status: 0, body: null };
      },
      // Simulates a large snapshot: the first span is delivered before the whole answer has arrived.
      getSnapshot: async (/** @type {string} */ route, /** @type {() => (spans: any[]) => void} */ begin) => {
        asked.push(route);
        const answer = answers.shift() ?? { status: 0, body: null };
        if (answer.status !== 200) return answer;
        begin()(answer.body.spans.slice(0, 1));
        return { status: 200, body: { ...answer.body, spans: answer.body.spans.slice(1) } };
      },
      openStream: (/** @type {any} */ { topic, key, onEvent, ...options }) => openStream({
        ...options, url: topic === "trace" ? `/sse?traceId=${key}` : `/${key}`, environment,
        onEvent: ({ type, id, text }) => onEvent({ type, id, data: parseObject(text) }),
      }),
      setTimeout: environment.setTimeout, clearTimeout: environment.clearTimeout,
      onClock: () => {}, onChange: () => {}, serverNow: () => epochMilliseconds(at(100)), now: environment.now, endedAt: () => ended.at,
    },
    ended,
  };
}

/** @param {any[]} spans @param {string} cursor */
function snapshot(spans, cursor) {
  return { status: 200, body: { traceId: TRACE, cursor, now: at(100), processes: [], spans, updates: [], logs: [] } };
}

/** Lets pending promises settle. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** @param {TraceFeed} feed */
function states(feed) {
  return Object.fromEntries(feed.model.spans.ids.map((id, index) => [id, stateOf(feed.model, index)]));
}

test("a trace is its snapshot, then the stream from the snapshot's cursor", async () => {
  const { fake, asked, world } = worldOf([snapshot([started("a", null, 1).data], "aaaaaaaa-5")]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  assert.deepEqual([asked, fake.last().url], [[`traces/${TRACE}`], `/sse?traceId=${TRACE}&lastEventId=aaaaaaaa-5`]);
  fake.last().send("hello", hello("aaaaaaaa").data);
  fake.last().send("ended", ended("a", null, 1, 2).data, "aaaaaaaa-6");
  assert.deepEqual([states(feed), feed.status.word, feed.phase], [{ a: "ok" }, "live", "open"]);
});

test("the feed waits for an unknown trace on its stream", async () => {
  const { fake, world } = worldOf([{ status: 404, body: { error: "unknown trace" } }]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  assert.deepEqual([feed.phase, fake.last().url], ["waiting", `/sse?traceId=${TRACE}`]);
  fake.last().send("started", started("a", null, 1).data, "aaaaaaaa-1");
  assert.deepEqual([feed.phase, states(feed)], ["open", { a: "running" }]);
});

test("a malformed id is an error and opens no stream", async () => {
  const { fake, world } = worldOf([{ status: 400, body: { error: "malformed trace id" } }]);
  const feed = new TraceFeed(world, "nonsense");
  feed.open();
  await settled();
  assert.deepEqual([feed.phase, feed.error, fake.sources.length], ["refused", "malformed trace id", 0]);
});

test("an unreachable server is asked again at growing intervals, and the next attempt is shown", async () => {
  const silent = { status: 0, body: null };
  const { asked, fake, world } = worldOf([silent, { status: 503, body: null }, snapshot([], "aaaaaaaa-1")]);
  fake.pass(1_000);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  assert.deepEqual([feed.status.word, feed.status.since, feed.status.next, fake.sources.length], ["reconnecting", 1_000, 3_000, 0]);
  fake.pass(2_000);
  await settled();
  assert.deepEqual([feed.status.since, feed.status.next, asked.length], [1_000, 7_000, 2]);
  fake.pass(4_000);
  await settled();
  assert.deepEqual([asked.length, fake.sources.length], [3, 1]);
});

test("a trace opened after the program has ended shows that, and does not load for ever", async () => {
  const { fake, world, ended: end } = worldOf([{ status: 0, body: null }]);
  end.at = 500;
  fake.pass(1_000);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  const { word, reason, since, next } = feed.status;
  assert.deepEqual({ word, reason, since, next }, { word: "ended", reason: "shutdown", since: 500, next: 3_000 });
});

test("after a restart the new log's snapshot replaces spans that the old one left open", async () => {
  const { fake, asked, world } = worldOf([
    snapshot([started("a", null, 1).data, started("b", null, 2).data], "aaaaaaaa-5"), snapshot([ended("a", null, 1, 3).data], "bbbbbbbb-2"),
  ]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  fake.last().send("hello", hello("aaaaaaaa").data);
  fake.last().breakOff();
  fake.pass(1_000);
  fake.last().send("hello", hello("bbbbbbbb").data);
  assert.deepEqual(states(feed), { a: "lost", b: "lost" });
  await settled();
  assert.deepEqual([states(feed), fake.last().url, asked.length], [{ a: "ok" }, `/sse?traceId=${TRACE}&lastEventId=bbbbbbbb-2`, 2]);
  assert.equal(feed.model.losses.unknown, true, "a smaller snapshot did not report a loss");
  fake.last().send("hello", hello("bbbbbbbb").data);
  await settled();
  assert.equal(asked.length, 2);
});

test("a trace that the restarted log does not know stays visible, and nothing in it runs", async () => {
  const { fake, world } = worldOf([snapshot([started("a", null, 1).data], "aaaaaaaa-5"), { status: 404, body: {} }]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  fake.last().send("hello", hello("aaaaaaaa").data);
  fake.last().send("hello", hello("bbbbbbbb").data);
  await settled();
  assert.deepEqual([states(feed), feed.phase, fake.sources.length], [{ a: "lost" }, "open", 1]);
});

test("after unread evictions the snapshot is requested at intervals, and the loss stays reported", async () => {
  const open = snapshot([started("a", null, 1).data], "aaaaaaaa-5");
  const over = snapshot([ended("a", null, 1, 3).data], "aaaaaaaa-90");
  const { fake, asked, world } = worldOf([open, over, over]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  const gap = (/** @type {number} */ to) => ({ type: "gap", reason: "evicted", from: "aaaaaaaa-6", to: `aaaaaaaa-${to}`, lost: 2 });
  fake.last().send("hello", hello("aaaaaaaa").data);
  fake.last().send("gap", gap(80));
  await settled();
  assert.deepEqual([states(feed), feed.model.losses.evicted, asked.length, fake.last().url], [{ a: "ok" }, 2, 2, `/sse?traceId=${TRACE}&lastEventId=aaaaaaaa-90`]);
  fake.last().send("hello", hello("aaaaaaaa").data);
  fake.last().send("gap", gap(95));
  await settled();
  assert.deepEqual([asked.length, feed.model.losses.evicted], [2, 4], "the snapshot was requested again at once");
  fake.pass(5_000);
  fake.last().send("gap", gap(99));
  await settled();
  assert.deepEqual([asked.length, feed.model.losses.evicted], [3, 6]);
});

test("a closed feed ignores a late answer", async () => {
  const { fake, world } = worldOf([snapshot([started("a", null, 1).data], "aaaaaaaa-5")]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  feed.close();
  await settled();
  assert.deepEqual([states(feed), fake.sources.length], [{}, 0]);
});

test("a paused trace does not change, counts events, and applies all of them when resumed", async () => {
  const { fake, world } = worldOf([snapshot([started("a", null, 1).data], "aaaaaaaa-5")]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  fake.last().send("hello", hello("aaaaaaaa").data);
  feed.pause();
  fake.last().send("started", started("b", "a", 2).data, "aaaaaaaa-6");
  fake.last().send("ping", { type: "ping" });
  fake.last().send("ended", ended("b", "a", 2, 3).data, "aaaaaaaa-7");
  assert.deepEqual([feed.paused, feed.news, states(feed), fake.sources.length], [true, 2, { a: "running" }, 1]);
  feed.resume();
  assert.deepEqual([feed.paused, states(feed), feed.status.word], [false, { a: "running", b: "ok" }, "live"]);
});

test("a pause of any length holds a bounded number of events, and nothing is lost", async () => {
  const { fake, world } = worldOf([snapshot([], "aaaaaaaa-5")]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  feed.pause();
  for (let n = 0; n < HELD_MAX; n += 1) fake.last().send("started", started(`s${n}`, null, n).data, `aaaaaaaa-${n + 6}`);
  assert.deepEqual([feed.held.length, fake.last().readyState], [HELD_MAX, 2]);
  feed.resume();
  assert.deepEqual([feed.model.counts.total, fake.last().url], [HELD_MAX, `/sse?traceId=${TRACE}&lastEventId=aaaaaaaa-${HELD_MAX + 5}`]);
});

test("the lag is the newest event's age at its arrival", async () => {
  const { fake, world } = worldOf([snapshot([], "aaaaaaaa-5")]);
  const feed = new TraceFeed(world, TRACE);
  feed.open();
  await settled();
  fake.last().send("hello", hello("aaaaaaaa").data);
  assert.equal(feed.lag, null);
  fake.last().send("started", started("a", null, 60).data, "aaaaaaaa-6");
  assert.equal(feed.lag, 40);
});

// @ts-check
// Claims about a stream that stays open.

import assert from "node:assert/strict";
import { test } from "node:test";
import { hello } from "./build.mjs";
import { FakeWorld, openStream } from "./world.mjs";

/** @param {object} [options] */
function opened(options = {}) {
  const world = new FakeWorld();
  /** @type {any[]} */
  const events = [];
  /** @type {string[]} */
  const words = [];
  const stream = openStream({
    url: "/x/traces/sse?limit=5", environment: world.environment(),
    onEvent: (event) => events.push(event),
    onStatus: (status) => words.push(status.reason === "" ? status.word : `${status.word}: ${status.reason}`),
    ...options,
  });
  return { world, stream, events, words };
}

test("events are passed on as text, with type and id", () => {
  const { world, events, words, stream } = opened();
  world.last().open();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.last().send("started", { type: "started", spanId: "a" }, "aaaaaaaa-1");
  assert.deepEqual(events, [
    { type: "hello", id: "", text: JSON.stringify(hello("aaaaaaaa").data) },
    { type: "started", id: "aaaaaaaa-1", text: '{"type":"started","spanId":"a"}' },
  ]);
  assert.deepEqual(words, ["connecting", "live"]);
  assert.deepEqual(stream.status(), { word: "live", reason: "", lastId: "aaaaaaaa-1", attempt: 0, malformed: 0, outage: null, since: 0, next: 0 });
});

test("invalid control events change nothing", () => {
  const { world, words } = opened();
  for (const text of ["{", "[1]", "null"]) for (const type of ["hello", "end"]) world.last().send(type, text);
  world.last().send("hello", { pingSeconds: "soon" });
  world.pass(40_000);
  assert.deepEqual([world.sources.length, words.at(-1)], [1, "live"]);
});

test("the resume point is in the query", () => {
  assert.equal(opened({ lastEventId: "a-1" }).world.last().url, "/x/traces/sse?limit=5&lastEventId=a-1");
  assert.equal(opened({ url: "/x/sse", lastEventId: "a-1" }).world.last().url, "/x/sse?lastEventId=a-1");
  assert.equal(opened().world.last().url, "/x/traces/sse?limit=5");
});

test("a broken connection is replaced; until then the status has its start and the next attempt", () => {
  const { world, words, stream } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.pass(2_000);
  world.last().breakOff();
  assert.deepEqual([stream.status().since, stream.status().next, stream.status().attempt], [0, 3_000, 1]);
  world.pass(999);
  assert.deepEqual([world.sources.length, world.sources[0].readyState], [1, 2]);
  world.pass(1);
  assert.deepEqual([world.sources.length, stream.status().next], [2, 0]);
  world.last().send("hello", hello("aaaaaaaa").data);
  assert.deepEqual([stream.status().since, stream.status().next], [0, 0]);
  assert.deepEqual(words, ["connecting", "live", "reconnecting: connection lost", "reconnecting: connection lost", "live"]);
});

test("a refused connection is replaced with the last id, after a growing pause", () => {
  const { world, words } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.last().send("started", {}, "aaaaaaaa-7");
  world.last().refuse();
  world.pass(999);
  assert.equal(world.sources.length, 1);
  world.pass(1);
  assert.equal(world.last().url, "/x/traces/sse?limit=5&lastEventId=aaaaaaaa-7");
  world.last().refuse();
  world.pass(1_999);
  assert.equal(world.sources.length, 2);
  world.pass(1);
  assert.equal(world.sources.length, 3);
  for (let attempt = 0; attempt < 20; attempt += 1) {
    world.last().refuse();
    world.pass(30_000);
  }
  assert.equal(world.sources.length, 23);
  world.last().send("hello", hello("aaaaaaaa").data);
  assert.equal(words[words.length - 1], "live");
  world.last().refuse();
  world.pass(1_000);
  assert.equal(world.sources.length, 24);
});

test("silence for three ping intervals of fifteen seconds replaces the connection", () => {
  const { world, words } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.pass(30_000);
  world.last().send("ping", {});
  world.pass(44_999);
  assert.equal(world.sources.length, 1);
  world.pass(1);
  assert.equal(words[words.length - 1], "reconnecting: silent");
  world.pass(1_000);
  assert.equal(world.sources.length, 2);
  assert.equal(world.sources[0].readyState, 2);
});

test("the watchdog uses the ping interval of `hello`", () => {
  const { world } = opened();
  world.last().send("hello", hello("aaaaaaaa", { pingSeconds: 1 }).data);
  world.pass(4_999);
  assert.equal(world.sources.length, 1);
  world.pass(1_001);
  assert.equal(world.sources.length, 2);
});

test("after sleep the connection is replaced at once, and the sleep is reported", () => {
  const { world, words, stream } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.last().send("started", {}, "aaaaaaaa-7");
  world.sleep(600_000);
  assert.equal(world.last().url, "/x/traces/sse?limit=5&lastEventId=aaaaaaaa-7");
  world.last().send("hello", hello("aaaaaaaa").data);
  assert.deepEqual([world.sources.length, world.sources[0].readyState, words.slice(2)], [2, 2, ["reconnecting: asleep", "live"]]);
  assert.deepEqual(stream.status().outage, { reason: "asleep", milliseconds: 600_000, at: 600_000 });
});

test("a late timer alone is no sleep", () => {
  const { world } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.time += 120_000;
  world.last().send("ping", {});
  world.pass(10_000);
  assert.equal(world.sources.length, 1);
});

test("a clock that is set back breaks nothing", () => {
  const { world } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.time -= 3_600_000;
  for (let ping = 0; ping < 10; ping += 1) {
    world.last().send("ping", {});
    world.pass(15_000);
  }
  assert.equal(world.sources.length, 1);
});

test("waking makes a waiting stream retry at once, and does not touch a live connection", () => {
  const { world, stream } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  stream.wake();
  assert.deepEqual([world.sources.length, world.timers.size], [1, 1]);
  world.last().refuse();
  stream.wake();
  assert.deepEqual([world.sources.length, world.timers.size], [2, 1]);
});

test("an outage is reported with its first reason and its length when it is over", () => {
  const { world, stream } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.pass(2_000);
  world.last().breakOff();
  world.last().refuse();
  world.pass(1_000);
  assert.equal(stream.status().outage, null);
  world.last().send("hello", hello("aaaaaaaa").data);
  assert.deepEqual(stream.status().outage, { reason: "connection lost", milliseconds: 3_000, at: 3_000 });
});

test("a redirected stream continues at another address and resume point", () => {
  const { world, stream } = opened();
  world.last().send("started", {}, "aaaaaaaa-7");
  stream.redirect("/x/sse", "aaaaaaaa-3");
  assert.deepEqual([world.sources[0].readyState, world.last().url], [2, "/x/sse?lastEventId=aaaaaaaa-3"]);
});

test("a connection that never answers is replaced", () => {
  const { world } = opened();
  world.pass(46_000);
  assert.equal(world.sources.length, 2);
});

test("pings keep one connection for ever, with one timer", () => {
  const { world } = opened();
  for (let ping = 0; ping < 1_000; ping += 1) {
    world.last().send("ping", {});
    world.pass(15_000);
  }
  assert.deepEqual([world.sources.length, world.timers.size], [1, 1]);
});

test("`complete` and `unknown` end the stream until the reader resumes it", () => {
  for (const reason of ["complete", "unknown"]) {
    const { world, words, stream } = opened();
    world.last().send("end", { type: "end", reason });
    world.pass(600_000);
    assert.deepEqual([world.sources.length, world.last().readyState, words[words.length - 1]], [1, 2, `ended: ${reason}`]);
    stream.resume();
    assert.equal(world.sources.length, 2);
  }
});

test("an ended program is shown as ended, with its time, while the page retries", () => {
  const { world, words, stream } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.pass(2_000);
  world.last().send("end", { type: "end", reason: "shutdown" });
  world.last().breakOff();
  assert.deepEqual([stream.status().word, stream.status().since, stream.status().next], ["ended", 2_000, 3_000]);
  for (const pause of [1_000, 2_000, 4_000]) {
    world.pass(pause);
    world.last().refuse();
    assert.deepEqual([stream.status().word, stream.status().reason, stream.status().since], ["ended", "shutdown", 2_000]);
  }
  assert.equal(world.sources.length, 4);
  world.pass(5_000);
  world.last().send("hello", hello("bbbbbbbb").data);
  assert.deepEqual([words.at(-1), stream.status().since, stream.status().outage], ["live", 0, { reason: "shutdown", milliseconds: 12_000, at: 14_000 }]);
  world.last().breakOff();
  assert.equal(stream.status().word, "reconnecting", "the next outage is still shown as the program's end");
});

test("an end for an unknown reason is an outage", () => {
  const { world, words } = opened();
  world.last().send("hello", hello("aaaaaaaa").data);
  world.last().send("end", { type: "end", reason: "moved" });
  world.last().breakOff();
  world.pass(1_000);
  assert.deepEqual([world.sources.length, words.slice(1)], [2, ["live", "reconnecting: moved", "reconnecting: moved", "reconnecting: moved"]]);
});

test("after overload or an expired token the stream retries slowly", () => {
  for (const reason of ["overload", "expired"]) {
    const { world } = opened();
    world.last().send("end", { type: "end", reason });
    assert.equal(world.last().readyState, 2);
    world.pass(7_999);
    assert.equal(world.sources.length, 1);
    world.pass(1);
    assert.equal(world.sources.length, 2);
  }
});

test("pause closes the connection, and resume continues after the last id", () => {
  const { world, words, stream } = opened();
  world.last().send("started", {}, "aaaaaaaa-7");
  stream.pause();
  world.pass(600_000);
  assert.deepEqual([world.sources.length, world.last().readyState, world.timers.size], [1, 2, 0]);
  stream.resume();
  assert.equal(world.last().url, "/x/traces/sse?limit=5&lastEventId=aaaaaaaa-7");
  assert.deepEqual(words, ["connecting", "live", "paused", "connecting"]);
});

test("a closed stream is silent and leaves no timer", () => {
  const { world, events, stream } = opened();
  stream.close();
  world.last().send("started", {}, "aaaaaaaa-7");
  world.last().refuse();
  world.pass(600_000);
  assert.deepEqual([events, world.sources.length, world.timers.size], [[], 1, 0]);
});

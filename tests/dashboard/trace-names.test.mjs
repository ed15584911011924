// @ts-check
// Claims about the names of traces: each drawn trace gets its name, however the draws fall between the requests.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NAMES_ASKED_MAX, TraceNames } from "../../src/dashboard/assets/net/trace-names.mjs";

function fixture() {
  const server = { now: 0, asked: /** @type {string[][]} */ ([]), fails: false, timers: /** @type {[number, () => void][]} */ ([]), changes: 0 };
  const names = new TraceNames({
    now: () => server.now,
    setTimeout: (callback, milliseconds) => server.timers.push([server.now + milliseconds, callback]),
    changed: () => (server.changes += 1),
    namesOf: async (ids) => {
      server.asked.push(ids);
      return server.fails ? null : ids.filter((id) => !id.startsWith("gone")).map((id) => [id, `name of ${id}`]);
    },
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  /** Lets the next timer fire. */
  const wait = async () => {
    const [at, callback] = server.timers.shift() ?? assert.fail("no timer is set");
    server.now = at;
    callback();
    await settle();
  };
  return { names, server, settle, wait };
}

test("a trace that is drawn right after a request gets its name without another draw", async () => {
  const { names, server, settle, wait } = fixture();
  assert.equal(names.of("aaaaaaaabbbb"), "aaaaaaaa");
  void names.ask();
  await settle();
  assert.equal(names.of("aaaaaaaabbbb"), "name of aaaaaaaabbbb");
  server.now = 100;
  assert.equal(names.of("ccccccccdddd"), "cccccccc");
  void names.ask();
  void names.ask();
  await settle();
  assert.deepEqual([server.asked.length, server.timers.length], [1, 1]);
  await wait();
  assert.equal(names.of("ccccccccdddd"), "name of ccccccccdddd");
  assert.deepEqual([server.now, server.changes, server.timers], [500, 2, []]);
});

test("a trace that is drawn during a request, or beyond the bound of one, is asked for next", async () => {
  const { names, server, settle, wait } = fixture();
  const ids = Array.from({ length: NAMES_ASKED_MAX + 1 }, (_, number) => `trace ${number}`);
  for (const id of ids) names.of(id);
  void names.ask();
  names.of("late");
  await settle();
  await wait();
  assert.deepEqual(server.asked, [ids.slice(0, NAMES_ASKED_MAX), [ids.at(-1), "late"]]);
  assert.deepEqual([...ids, "late"].map((id) => names.of(id)), [...ids, "late"].map((id) => `name of ${id}`));
});

test("a request that failed is repeated after a pause", async () => {
  const { names, server, settle, wait } = fixture();
  server.fails = true;
  names.of("one");
  void names.ask();
  await settle();
  server.fails = false;
  await wait();
  assert.deepEqual([server.now, names.of("one"), server.asked], [5000, "name of one", [["one"], ["one"]]]);
});

test("a trace that is no longer kept has its short id, and is asked for once", async () => {
  const { names, server, settle } = fixture();
  names.of("gonegonegone");
  void names.ask();
  await settle();
  assert.equal(names.of("gonegonegone"), "gonegone");
  void names.ask();
  assert.deepEqual([server.asked.length, server.timers], [1, []]);
});

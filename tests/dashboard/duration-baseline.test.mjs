// @ts-check
// Claims about the usual durations of spans.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Expectations, timesUsual } from "../../src/dashboard/assets/net/duration-baseline.mjs";

/** A server whose responses a test chooses, and a clock that the test moves. */
function fake() {
  const asked = /** @type {{route: string, answer: (status: number, body: any) => Promise<void>}[]} */ ([]);
  const world = {
    time: 0, changes: 0, asked,
    now: () => world.time,
    changed: () => void (world.changes += 1),
    getJson: (/** @type {string} */ route) => new Promise((resolve) => {
      asked.push({ route, answer: async (status, body) => { resolve({ status, body }); await new Promise((later) => setImmediate(later)); } });
    }),
  };
  return world;
}

test("a name is requested once, and again when the answer is old", async () => {
  const world = fake();
  const expectations = new Expectations(world);
  assert.equal(expectations.of("shop & co", "GET /cart?a=ü"), null);
  assert.equal(expectations.of("shop & co", "GET /cart?a=ü"), null);
  assert.deepEqual(world.asked.map(({ route }) => route), ["stats/durations?service=shop+%26+co&name=GET+%2Fcart%3Fa%3D%C3%BC"]);
  await world.asked[0].answer(200, { count: 9, p50: 10, p95: 40 });
  assert.deepEqual(expectations.of("shop & co", "GET /cart?a=ü"), { count: 9, p50: 10, p95: 40 });
  assert.deepEqual([world.asked.length, world.changes], [1, 1]);
  world.time = 20_001;
  assert.deepEqual(expectations.of("shop & co", "GET /cart?a=ü"), { count: 9, p50: 10, p95: 40 });
  assert.equal(world.asked.length, 2);
  await world.asked[1].answer(500, null);
  assert.deepEqual(expectations.of("shop & co", "GET /cart?a=ü"), { count: 9, p50: 10, p95: 40 });
});

test("few earlier spans, too long names and invalid answers give no baseline", async () => {
  const world = fake();
  const expectations = new Expectations(world);
  for (const body of [{ count: 4, p50: 1, p95: 1 }, { count: 0, p50: null, p95: null }, null, { count: 9 }]) {
    const name = `n${world.asked.length}`;
    expectations.of("s", name);
    await world.asked[world.asked.length - 1].answer(200, body);
    assert.equal(expectations.of("s", name), null);
  }
  expectations.of("s", "x".repeat(10_000));
  expectations.of("s", "");
  assert.equal(world.asked.length, 4);
});

test("at most three requests run at a time; the others follow", async () => {
  const world = fake();
  const expectations = new Expectations(world);
  for (let index = 0; index < 10; index += 1) expectations.of("s", `n${index}`);
  assert.equal(world.asked.length, 3);
  await world.asked[0].answer(200, null);
  for (let index = 0; index < 10; index += 1) expectations.of("s", `n${index}`);
  assert.equal(world.asked.length, 4);
});

test("the cache is bounded", async () => {
  const world = fake();
  const expectations = new Expectations(world);
  for (let index = 0; index < 400; index += 1) {
    expectations.of("s", `n${index}`);
    await world.asked[index].answer(200, { count: 5, p50: 1, p95: 1 });
  }
  assert.equal(expectations.known.size, 300);
});

test("a duration is given as a multiple of the median", () => {
  const usual = { count: 5, p50: 10, p95: 100 };
  assert.deepEqual([timesUsual(usual, 32), timesUsual(usual, 1234)], ["3.2× the median", "123× the median"]);
});

// @ts-check
// Claims about a part of the page that loads later: it loads once, and a failed load can be tried
// again.

import assert from "node:assert/strict";
import { test } from "node:test";

import { OnDemand } from "../../src/dashboard/assets/net/on-demand.mjs";

/** A part whose loading the test controls. */
function world() {
  /** @type {PromiseWithResolvers<string>[]} */
  const loads = [];
  let changes = 0;
  const onDemand = new OnDemand({
    load: (attempt) => {
      /** @type {any} */
      const asked = { attempt };
      asked.promise = new Promise((resolve, reject) => Object.assign(asked, { resolve, reject }));
      loads.push(asked);
      return asked.promise;
    },
    make: (module) => `made of ${module}`,
    changed: () => (changes += 1),
  });
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { onDemand, loads, settled, changes: () => changes };
}

test("a part is loaded once, however often it is requested, and callbacks run in order", async () => {
  const { onDemand, loads, settled, changes } = world();
  /** @type {string[]} */
  const got = [];
  onDemand.want();
  onDemand.with((part) => void got.push(`first: ${part}`));
  onDemand.with((part) => void got.push(`second: ${part}`));
  void onDemand.preload();
  assert.deepEqual([loads.length, onDemand.state, onDemand.part, got], [1, "loading", null, []]);
  loads[0].resolve("views");
  await settled();
  onDemand.want();
  onDemand.with((part) => void got.push(`now: ${part}`));
  assert.deepEqual([loads.length, onDemand.state, onDemand.part, changes()], [1, "ready", "made of views", 2]);
  assert.deepEqual(got, ["first: made of views", "second: made of views", "now: made of views"]);
});

test("a failure stays until the next attempt, which then runs the callbacks", async () => {
  const { onDemand, loads, settled } = world();
  /** @type {string[]} */
  const got = [];
  onDemand.with((part) => void got.push(part));
  loads[0].reject(new TypeError("no answer"));
  await settled();
  onDemand.want();
  assert.deepEqual([loads.length, onDemand.state, got], [1, "failed", []]);
  onDemand.again();
  onDemand.again();
  // Each attempt has a number. The page adds it to the module's address, because a browser does not load an address
  // again that has failed.
  assert.deepEqual([loads.map((/** @type {any} */ { attempt }) => attempt), onDemand.state], [[0, 1], "loading"]);
  loads[1].resolve("views");
  await settled();
  assert.deepEqual([onDemand.state, got], ["ready", ["made of views"]]);
  onDemand.again();
  assert.equal(loads.length, 2);
});

test("a failed preload is not reported, and the first use tries again", async () => {
  const { onDemand, loads, settled } = world();
  void onDemand.preload();
  loads[0].reject(new TypeError("no answer"));
  await settled();
  assert.equal(onDemand.state, "none");
  onDemand.want();
  assert.deepEqual([loads.length, onDemand.state], [2, "loading"]);
});

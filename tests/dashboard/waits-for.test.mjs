// @ts-check
// Claims about the chains of open spans that a trace waits for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { waitingChains } from "../../src/dashboard/assets/model/waits-for.mjs";
import { TRACE, ended, started } from "./build.mjs";

/** @param {any[]} events */
function chainsOf(events) {
  const trace = events.reduce(reduceTrace, createTrace(TRACE));
  const id = (/** @type {number} */ index) => trace.spans.ids[index];
  const { chains, total } = waitingChains(trace);
  return { total, chains: chains.map(({ root, leaf, links, hidden, others }) => ({ root: id(root), leaf: id(leaf), links: links.map(id), hidden, others })) };
}

test("a trace that has ended waits for nothing", () => {
  assert.deepEqual(chainsOf([ended("a", null, 0, 1)]), { total: 0, chains: [] });
});

test("each root waits for the innermost open span that has run longest", () => {
  assert.deepEqual(chainsOf([
    started("a", null, 0), started("b", "a", 1), started("new", "b", 9), started("old", "b", 3), ended("done", "b", 2, 4),
    started("z", null, 2),
  ]), {
    total: 3,
    chains: [
      { root: "z", leaf: "z", links: ["z"], hidden: 0, others: 0 },
      { root: "a", leaf: "old", links: ["a", "b", "old"], hidden: 0, others: 1 },
    ],
  });
});

test("an ended ancestor is not in the chain", () => {
  assert.deepEqual(chainsOf([started("a", null, 0), started("b", "a", 1), started("c", "b", 2), started("d", "c", 3), ended("b", "a", 1, 4), ended("a", null, 0, 5)]),
    { total: 1, chains: [{ root: "a", leaf: "d", links: ["c", "d"], hidden: 0, others: 0 }] });
});

test("a span that continues after its children waits only for itself", () => {
  assert.deepEqual(chainsOf([started("a", null, 0), started("b", "a", 1), started("c", "b", 2), ended("b", "a", 1, 3)]),
    { total: 2, chains: [{ root: "a", leaf: "a", links: ["a"], hidden: 0, others: 1 }] });
});

test("a chain of 20,000 links names the first and the last four", () => {
  const events = Array.from({ length: 20_000 }, (_, index) => started(`s${index}`, index === 0 ? null : `s${index - 1}`, index));
  assert.deepEqual(chainsOf(events), {
    total: 1, chains: [{ root: "s0", leaf: "s19999", links: ["s0", "s19996", "s19997", "s19998", "s19999"], hidden: 19_995, others: 0 }],
  });
});

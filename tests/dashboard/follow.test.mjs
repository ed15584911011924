// @ts-check
// Claims about the part of a trace that follow mode keeps in view.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FOLLOW_EVERY_MS, Follower } from "../../src/dashboard/assets/model/follow.mjs";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { TRACE, ended, started } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** @param {any} trace @param {number} index @returns {string} */
const id = (trace, index) => (index < 0 ? "" : trace.spans.ids[index]);

test("one of many branches is followed until it has ended, then another one", () => {
  const trace = traceOf([started("root", null, 0), started("a", "root", 1), started("b", "root", 2), started("a1", "a", 3)]);
  const follower = new Follower();
  const at = (/** @type {number} */ second) => id(trace, follower.target(trace, second * FOLLOW_EVERY_MS));
  assert.equal(at(0), "a1");
  reduceTrace(trace, started("b1", "b", 4));
  assert.equal(at(1), "a1", "another branch is followed before this one has ended");
  reduceTrace(trace, started("a2", "a", 5));
  reduceTrace(trace, started("b2", "b", 6));
  assert.equal(at(2), "a2");
  for (const [name, parent] of [["a1", "a"], ["a2", "a"], ["a", "root"]]) reduceTrace(trace, ended(name, parent, 1, 7));
  assert.equal(at(3), "b2");
});

test("the view moves at most once a second", () => {
  const trace = traceOf([started("root", null, 0)]);
  const follower = new Follower();
  let moves = 0;
  let before = "";
  for (let at = 0; at <= 10_000; at += 10) {
    reduceTrace(trace, started(`s${at}`, "root", at + 1));
    reduceTrace(trace, ended(`s${at}`, "root", at + 1, at + 2));
    const now = id(trace, follower.target(trace, at));
    if (now !== before) moves += 1;
    before = now;
  }
  assert.deepEqual([moves, before], [11, "s10000"]);
});

test("in another trace, the newest span is followed", () => {
  const follower = new Follower();
  const one = traceOf([started("a", null, 0)]);
  const other = traceOf([started("b", null, 0), started("c", "b", 1)]);
  assert.equal(id(one, follower.target(one, 0)), "a");
  assert.equal(id(other, follower.target(other, 1)), "c");
  const empty = createTrace(TRACE);
  assert.equal(follower.target(empty, 2), -1);
});

test("an ended newest span stays in view until its branch has a new span", () => {
  const trace = traceOf([started("root", null, 0), started("a", "root", 1), ended("a", "root", 1, 2)]);
  const follower = new Follower();
  assert.equal(id(trace, follower.target(trace, 0)), "a");
  assert.equal(id(trace, follower.target(trace, 5_000)), "a");
  reduceTrace(trace, started("b", "root", 3));
  assert.equal(id(trace, follower.target(trace, 5_010)), "b");
});

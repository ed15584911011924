// @ts-check
// Claims about the critical path. Random traces are compared with a plain recursive implementation
// of the same rule.

import assert from "node:assert/strict";
import { test } from "node:test";
import { criticalPath, drawable } from "../../src/dashboard/assets/model/critical-path.mjs";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { TRACE, ended, lost } from "./build.mjs";

/** @typedef {[id: string, parent: string | null, start: number, end: number]} Row */

/** @param {Row[]} rows */
function traceOf(rows) {
  return rows.reduce((trace, [id, parent, start, end]) => reduceTrace(trace, ended(id, parent, start, end)), createTrace(TRACE));
}

/** @param {any} trace @returns {Record<string, number[][]>} */
function segments(trace) {
  const path = criticalPath(trace);
  /** @type {Record<string, number[][]>} */
  const found = {};
  for (let index = 0; index < trace.spans.count; index += 1) {
    const own = path.segmentsOf(index).map(({ start, end }) => [start, end]);
    if (own.length > 0) found[trace.spans.ids[index]] = own;
  }
  return found;
}

test("the path goes from a span to the child that ended last, and on before that child's start", () => {
  assert.deepEqual(segments(traceOf([["a", null, 0, 100], ["b", "a", 10, 40], ["c", "a", 50, 90], ["d", "c", 60, 70]])),
    { a: [[0, 10], [40, 50], [90, 100]], b: [[10, 40]], c: [[50, 60], [70, 90]], d: [[60, 70]] });
});

test("a child that ran beside the decisive one is not on the path", () => {
  assert.deepEqual(segments(traceOf([["a", null, 0, 100], ["short", "a", 0, 60], ["long", "a", 0, 95]])), { a: [[95, 100]], long: [[0, 95]] });
});

test("a child that outlives its parent counts up to the parent's end", () => {
  assert.deepEqual(segments(traceOf([["root", null, 0, 200], ["a", "root", 0, 100], ["b", "a", 50, 300]])), { root: [[100, 200]], a: [[0, 50]], b: [[50, 100]] });
});

test("a child that starts before its parent leaves the parent no time before the child's end", () => {
  assert.deepEqual(segments(traceOf([["a", null, 10, 50], ["b", "a", 0, 40]])), { a: [[40, 50]], b: [[0, 40]] });
});

test("several roots, or the children of an unseen parent, follow each other on the path", () => {
  assert.deepEqual(segments(traceOf([["a", null, 0, 10], ["b", null, 20, 30], ["c", "unseen", 12, 18]])), { a: [[0, 10]], b: [[20, 30]], c: [[12, 18]] });
});

test("a lost span counts up to the moment of its last event", () => {
  const trace = reduceTrace(traceOf([["a", null, 0, 100]]), lost("b", "a", 10, 100, 60));
  assert.deepEqual(segments(trace), { a: [[0, 10], [60, 100]], b: [[10, 60]] });
});

test("shares add up by name", () => {
  const trace = createTrace(TRACE);
  for (const event of [ended("a", null, 0, 100, { name: "job" }), ended("b", "a", 0, 30, { name: "query" }), ended("c", "a", 30, 90, { name: "query" })]) reduceTrace(trace, event);
  const path = criticalPath(trace);
  assert.equal(path.total, 100);
  assert.deepEqual(path.shares(trace).map(({ name, time, count, longest }) => [trace.strings.list[name], time, count, trace.spans.ids[longest]]),
    [["query", 90, 2, "c"], ["job", 10, 1, "a"]]);
});

test("random traces have the same path as with a recursive implementation", () => {
  let seed = 7;
  const random = (/** @type {number} */ below) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  for (let round = 0; round < 300; round += 1) {
    /** @type {Row[]} */
    const rows = [["s0", null, 0, 1000]];
    for (let index = 1; index < 2 + random(14); index += 1) {
      const start = random(1000);
      rows.push([`s${index}`, `s${random(index)}`, start, start + random(500)]);
    }
    /** @type {Record<string, number[][]>} */
    const expected = {};
    const walk = (/** @type {Row} */ [id, , start], /** @type {number} */ limit) => {
      const children = rows.filter((row) => row[1] === id).map((row) => ({ row, end: Math.min(limit, row[3]) }));
      children.sort((a, b) => b.end - a.end || a.row[2] - b.row[2]);
      let moment = limit;
      const own = [];
      for (const { row, end } of children) {
        if (end > moment || row[2] >= end) continue;
        own.unshift([Math.max(end, start), moment]);
        walk(row, end);
        moment = Math.min(end, row[2]);
      }
      own.unshift([start, moment]);
      const real = own.filter(([from, to]) => to > from);
      if (real.length > 0) expected[id] = real;
    };
    walk(rows[0], 1000);
    assert.deepEqual(segments(traceOf(rows)), expected, JSON.stringify(rows));
  }
});

test("100,000 spans, deep and wide, have a path without recursion", () => {
  /** @type {Row[]} */
  const deep = Array.from({ length: 50_000 }, (_, index) => [`d${index}`, index === 0 ? null : `d${index - 1}`, index, 200_000 - index]);
  /** @type {Row[]} */
  const wide = Array.from({ length: 50_000 }, (_, index) => [`w${index}`, "d49999", 50_000 + index, 50_001 + index]);
  const path = criticalPath(traceOf([...deep, ...wide]));
  assert.equal(path.total, 200_000);
  assert.equal(path.time.filter((time) => time > 0).length, 100_000);
});

test("touching stretches are drawn as one, and of too many the longest stay", () => {
  const stretch = (/** @type {number} */ start, /** @type {number} */ end) => ({ start, end });
  assert.deepEqual(drawable([stretch(0, 1), stretch(1.5, 2), stretch(9, 10)], 1, 8), [stretch(0, 2), stretch(9, 10)]);
  assert.deepEqual(drawable([stretch(0, 1), stretch(5, 9), stretch(20, 22)], 0, 2), [stretch(5, 9), stretch(20, 22)]);
});

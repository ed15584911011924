// @ts-check
// Claims about groups of siblings: their members, their summaries, and the members that are rows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALSO_MAX, SHOWN, SHOWN_FIRST, groupKey, groupView, keepMembers, toggleGroup, toggleShown } from "../../src/dashboard/assets/model/group-views.mjs";
import { GroupStrip } from "../../src/dashboard/assets/model/group-strip.mjs";
import { groupsOf, hasOutlier, nth } from "../../src/dashboard/assets/model/groups.mjs";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { GROUP_MIN } from "../../src/dashboard/assets/model/tree.mjs";
import { nextBad } from "../../src/dashboard/assets/model/tree-order.mjs";
import {
  ROW, flatten, groupOfRow, nearestRow, openTo, rowOfGroup, rowsAbove, spanOfRow, unfolded, unhide,
} from "../../src/dashboard/assets/model/visible-rows.mjs";
import { TRACE, ended, lost, started, updated } from "./build.mjs";

/** @typedef {import("../../src/dashboard/assets/model/model.mjs").Trace} Trace */

const FAILED = { status: { code: "ERROR" } };

/** @param {...any} events @returns {Trace} */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/**
 * A root with pages: the first runs, the third failed, the fourth has an error below it, and the
 * others took 1, 2, 3 … ms.
 * @param {number} count
 */
function pages(count) {
  const events = [started("root", null, 0)];
  for (let page = 0; page < count; page += 1) {
    const more = { name: "page" };
    if (page === 0) events.push(started(`p${page}`, "root", page * 10, more));
    else events.push(ended(`p${page}`, "root", page * 10, page * 11, page === 2 ? { ...more, ...FAILED } : more));
    if (page === 3) events.push(ended("inner", "p3", 31, 32, FAILED));
  }
  return traceOf(...events);
}

/**
 * Describes each row.
 * @param {Trace} trace
 * @param {import("../../src/dashboard/assets/model/visible-rows.mjs").Fold} [fold]
 */
function rowsOf(trace, fold = unfolded()) {
  const rows = flatten(trace, fold);
  const groups = groupsOf(trace);
  return Array.from({ length: rows.count }, (_, row) => {
    const group = groups.byId(groupOfRow(rows, row));
    if (group !== null) return rows.kinds[row] === ROW.chips ? "chips" : `${trace.strings.list[group.name]} ×${group.count}`;
    return `${"  ".repeat(trace.spans.depth[spanOfRow(rows, row)])}${trace.spans.ids[spanOfRow(rows, row)]}`;
  });
}

/** @param {Trace} trace @param {string} parent @param {string} name */
function groupIn(trace, parent, name) {
  const group = groupsOf(trace).find(trace, indexOf(trace, parent), name);
  assert.ok(group !== null);
  return group;
}

test("five siblings of one name are one row, and four are not", () => {
  assert.deepEqual(rowsOf(pages(GROUP_MIN - 1)), ["root", "  p0", "  p1", "  p2", "  p3", "    inner"]);
  assert.deepEqual(rowsOf(pages(GROUP_MIN)), ["root", "page ×5"]);
  assert.deepEqual(rowsOf(pages(GROUP_MIN), unfolded(false)).length, 7, "without groups, each sibling has a row");
});

test("a group is in the place of its first member", () => {
  const trace = pages(6);
  for (const event of [ended("before", "root", -1, 0), ended("between", "root", 25, 26), ended("after", "root", 900, 901)]) reduceTrace(trace, event);
  assert.deepEqual(rowsOf(trace), ["root", "  before", "page ×6", "  between", "  after"]);
});

test("an open group shows running, failed and the slowest members, by start, two levels below its parent", () => {
  const trace = pages(12);
  const fold = unfolded();
  toggleGroup(trace, fold.groups, groupIn(trace, "root", "page"));
  assert.deepEqual(rowsOf(trace, fold), ["root", "page ×12", "chips", "    p0", "    p2", "    p3", "      inner", "    p7", "    p8", "    p9", "    p10", "    p11"]);
  toggleShown(trace, fold.groups, groupIn(trace, "root", "page"), SHOWN.slowest);
  assert.deepEqual(rowsOf(trace, fold), ["root", "page ×12", "chips", "    p0", "    p2", "    p3", "      inner"]);
  toggleShown(trace, fold.groups, groupIn(trace, "root", "page"), SHOWN.all);
  assert.equal(rowsOf(trace, fold).length, 3 + 12 + 1);
  toggleGroup(trace, fold.groups, groupIn(trace, "root", "page"));
  assert.deepEqual(rowsOf(trace, fold), ["root", "page ×12"]);
  toggleGroup(trace, fold.groups, groupIn(trace, "root", "page"));
  assert.equal(rowsOf(trace, fold).length, 3 + 12 + 1, "the group reopens with the members that it showed before");
});

test("expanding all opens groups, and opening to a depth leaves them closed", () => {
  const trace = pages(6);
  assert.equal(rowsOf(trace, openTo(Infinity)).length, 1 + 2 + 6 + 1);
  assert.deepEqual([0, 1, 5].map((depth) => rowsOf(trace, openTo(depth))), [["root"], ["root", "page ×6"], ["root", "page ×6"]]);
});

test("changes of members are counted at once", () => {
  const trace = pages(6);
  const group = groupIn(trace, "root", "page");
  const facts = () => {
    groupsOf(trace);
    return { count: group.count, open: group.open, failed: group.failed, below: group.below, members: [...(group.openMembers ?? [])].map((index) => trace.spans.ids[index]) };
  };
  assert.deepEqual(facts(), { count: 6, open: 1, failed: 1, below: 1, members: ["p0"] });
  reduceTrace(trace, started("p6", "root", 70, { name: "page" }));
  reduceTrace(trace, ended("p0", "root", 0, 80, { name: "page" }));
  reduceTrace(trace, lost("p7", "root", 90, 99, 95));
  assert.deepEqual(facts(), { count: 7, open: 1, failed: 1, below: 1, members: ["p6"] }, "p7 is counted, although it has another name");
  reduceTrace(trace, ended("i1", "p1", 11, 11.5, FAILED));
  reduceTrace(trace, ended("p6", "root", 70, 90, { name: "page", ...FAILED }));
  assert.deepEqual(facts(), { count: 7, open: 0, failed: 2, below: 2, members: [] });
});

test("a renamed member leaves its group, and four siblings are no group", () => {
  const trace = traceOf(started("root", null, 0));
  for (let at = 0; at < 5; at += 1) reduceTrace(trace, started(`c${at}`, "root", at, { name: "step" }));
  assert.deepEqual(rowsOf(trace), ["root", "step ×5"]);
  reduceTrace(trace, updated("c2", 9, { name: "special" }));
  assert.deepEqual(rowsOf(trace), ["root", "  c0", "  c1", "  c2", "  c3", "  c4"]);
  reduceTrace(trace, started("c5", "root", 5, { name: "step" }));
  assert.deepEqual(rowsOf(trace), ["root", "step ×5", "  c2"]);
  assert.deepEqual([groupIn(trace, "root", "step").open, groupsOf(trace).grouped[0]], [5, 5]);
});

test("median, longest and slowest are those of ended members, and are updated", () => {
  const trace = pages(12);
  const groups = groupsOf(trace);
  const group = groupIn(trace, "root", "page");
  const times = () => {
    const { count, p50, max, slowest } = groupsOf(trace).timesOf(trace, group);
    return [count, Number(p50.toFixed(6)), Number(max.toFixed(6)), slowest.map((index) => trace.spans.ids[index])];
  };
  assert.deepEqual(times(), [11, 6, 11, ["p11", "p10", "p9", "p8", "p7"]]);
  assert.equal(groups.timesOf(trace, group), groups.timesOf(trace, group), "the times are computed again without a change");
  reduceTrace(trace, ended("p0", "root", 0, 500, { name: "page" }));
  assert.deepEqual(times(), [12, 6, 500, ["p0", "p11", "p10", "p9", "p8"]]);
});

test("one much slower member is an outlier, and the usual spread is not", () => {
  const trace = pages(12);
  const group = groupIn(trace, "root", "page");
  assert.equal(hasOutlier(groupsOf(trace).timesOf(trace, group)), false);
  reduceTrace(trace, ended("p0", "root", 0, 500, { name: "page" }));
  assert.equal(hasOutlier(groupsOf(trace).timesOf(trace, group)), true);
  assert.equal(hasOutlier({ count: 0, p50: NaN, max: NaN, slowest: [] }), false);
});

test("going to a member opens its group only, and the member stays a row when it ends", () => {
  const trace = pages(12);
  const fold = unfolded();
  const go = (/** @type {string} */ id) => unhide(trace, fold, flatten(trace, fold), indexOf(trace, id));
  assert.deepEqual([go("inner"), go("inner")], [true, false]);
  assert.deepEqual(rowsOf(trace, fold), ["root", "page ×12", "chips", "    p0", "    p2", "    p3", "      inner"]);
  assert.deepEqual([go("p5"), go("p5")], [true, false]);
  assert.ok(rowsOf(trace, fold).includes("    p5"));
  keepMembers(trace, fold.groups, groupsOf(trace), indexOf(trace, "p0"));
  reduceTrace(trace, ended("p0", "root", 0, 1, { name: "page" }));
  assert.ok(rowsOf(trace, fold).includes("    p0"));
});

test("a bounded number of visited members stay rows", () => {
  const trace = pages(100);
  const fold = unfolded();
  for (let page = 10; page < 10 + ALSO_MAX + 5; page += 1) unhide(trace, fold, flatten(trace, fold), indexOf(trace, `p${page}`));
  const view = groupView(trace, fold.groups, groupIn(trace, "root", "page"));
  assert.deepEqual([view?.also.size, view?.also.has("p14"), view?.also.has("p15")], [ALSO_MAX, false, true]);
});

test("the next error is found in closed groups", () => {
  const trace = pages(12);
  const found = [];
  for (let at = -1, step = 0; step < 3; step += 1) found.push(trace.spans.ids[(at = nextBad(trace, at, 1))]);
  assert.deepEqual(found, ["p2", "inner", "p2"]);
});

test("an automatically opened group shows its running members, until the reader changes it", () => {
  const trace = pages(12);
  const fold = unfolded();
  const group = groupIn(trace, "root", "page");
  fold.groups.automatic = new Set([groupKey(trace, group)]);
  assert.deepEqual(rowsOf(trace, fold), ["root", "page ×12", "chips", "    p0"]);
  toggleGroup(trace, fold.groups, group);
  assert.deepEqual(rowsOf(trace, fold), ["root", "page ×12"], "a group that the reader closed is opened again");
  toggleGroup(trace, fold.groups, group);
  assert.equal(groupView(trace, fold.groups, group)?.shown, SHOWN_FIRST);
});

test("a hidden member's row is that of its group, and the rows above are its ancestors", () => {
  const trace = pages(12);
  const fold = unfolded();
  assert.equal(nearestRow(trace, flatten(trace, fold), indexOf(trace, "p5"), fold), 1);
  unhide(trace, fold, flatten(trace, fold), indexOf(trace, "inner"));
  const rows = flatten(trace, fold);
  const id = groupIn(trace, "root", "page").id;
  assert.deepEqual([rowOfGroup(rows, id), groupOfRow(rows, 1), groupOfRow(rows, 0), spanOfRow(rows, 1)], [1, id, -1, -1]);
  assert.deepEqual([rows.rowOf[indexOf(trace, "inner")], 2, 1, 0].map((row) => rowsAbove(trace, rows, row)), [[0, 1, 5], [0, 1], [0], []]);
});

test("too many siblings outside groups are rolled up beside the groups", () => {
  const trace = pages(12);
  for (let at = 0; at < 150; at += 1) reduceTrace(trace, ended(`other ${at}`, "root", 200 + at, 201 + at, at === 7 ? FAILED : {}));
  const rows = rowsOf(trace);
  assert.deepEqual(rows, ["root", "page ×12", "  other 7", "root"]);
});

test("after any history, a group's counts equal those of its members", () => {
  let seed = 11;
  const random = (/** @type {number} */ below) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  for (let history = 0; history < 200; history += 1) {
    const trace = createTrace(TRACE);
    for (let step = 0; step < 60; step += 1) {
      const [id, parent, kind, name] = [`s${random(30)}`, `s${random(3)}`, random(6), `n${random(2)}`];
      const event = kind === 0 ? started(id, parent, step, { name }) : kind === 1 ? lost(id, parent, step, step + 2, step + 1)
        : kind === 2 ? updated(id, step, { name, status: { code: "ERROR" } }) : ended(id, parent, step, step + random(9), { name, ...(kind === 3 ? FAILED : {}) });
      reduceTrace(trace, event);
      if (random(4) === 0) for (const group of groupsOf(trace).groups) if (group !== undefined) groupsOf(trace).stripOf(group);
    }
    flatten(trace, unfolded());
    check(trace, `history ${history}`);
  }
});

/** @param {Trace} trace @param {string} where */
function check(trace, where) {
  const { spans } = trace;
  const groups = groupsOf(trace);
  /** @type {Map<string, number[]>} */
  const naive = new Map();
  for (let index = 0; index < spans.count; index += 1) {
    if (spans.parent[index] < 0) continue;
    const key = `${spans.parent[index]} ${spans.name[index]}`;
    naive.set(key, [...(naive.get(key) ?? []), index]);
  }
  for (const [key, members] of naive) {
    const [parent, name] = key.split(" ").map(Number);
    const group = groups.find(trace, parent, trace.strings.list[name]);
    if (members.length < GROUP_MIN) {
      assert.equal(group, null, `${where}, ${key}`);
      continue;
    }
    assert.ok(group !== null);
    const has = (/** @type {(index: number) => boolean} */ what) => members.filter(what).length;
    const isBad = (/** @type {number} */ index) => [3, 5, 7].includes(spans.state[index]) || spans.has(index, 8);
    const counted = { count: members.length, open: has((index) => spans.state[index] <= 1), failed: has(isBad), below: has((index) => !isBad(index) && spans.has(index, 1)) };
    const { count, open, failed, below } = group;
    assert.deepEqual({ count, open, failed, below }, counted, `${where}, ${key}`);
    const strip = groups.stripOf(group);
    const sum = (/** @type {Int32Array} */ counts) => counts.reduce((total, one) => total + one, 0);
    const known = members.filter((index) => !Number.isNaN(spans.start[index]));
    assert.deepEqual([sum(strip.began), sum(strip.open), sum(strip.failed)], [known.length, open, failed + below], `${where}, ${key}`);
    for (const counts of [strip.began, strip.ended, strip.open, strip.failed]) assert.ok(counts.every((one) => one >= 0), `${where}, ${key}`);
  }
}

test("a strip counts active spans however it grew, and subtracts removed ones", () => {
  let seed = 3;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  const strip = new GroupStrip(64);
  const spans = Array.from({ length: 400 }, () => {
    const start = random() * 1e6 - 3e5;
    return { start, end: random() < 0.2 ? NaN : start + random() * 10 ** (random() * 6), failed: random() < 0.1 };
  });
  for (const { start, end, failed } of spans) strip.count(start, end, failed, 1);
  const { active } = strip.activity();
  for (let at = 0; at < strip.length; at += 1) {
    const [from, to] = [(strip.base + at) * strip.width, (strip.base + at + 1) * strip.width];
    const expected = spans.filter(({ start, end }) => start < to && !(end < from)).length;
    assert.equal(active[at], expected);
  }
  assert.ok(strip.length <= 64 && strip.length > 32, "the strip does not use the finest buckets that fit");
  const since = Math.min(...spans.filter(({ end }) => Number.isNaN(end)).map(({ start }) => start));
  assert.ok(strip.openSince() <= since && since < strip.openSince() + strip.width);
  for (const { start, end, failed } of spans) strip.count(start, end, failed, -1);
  assert.deepEqual([strip.began, strip.ended, strip.open, strip.failed].map((counts) => counts.every((one) => one === 0)), [true, true, true, true]);
});

test("`nth` returns the value that sorting would put at the index", () => {
  const values = Float64Array.from({ length: 501 }, (_, at) => (at * 7919) % 251);
  const sorted = values.slice().sort();
  for (const place of [0, 1, 250, 499, 500]) assert.equal(nth(values.slice(), place), sorted[place]);
  assert.deepEqual([nth(new Float64Array(0), 0), nth(new Float64Array(1), 1), nth(Float64Array.of(4, 4, 4), 1)], [NaN, NaN, 4]);
});

test("100,000 members of one group, and 20,000 groups of five, become rows within a second", () => {
  const wide = createTrace(TRACE);
  reduceTrace(wide, started("root", null, 0));
  for (let at = 0; at < 100_000; at += 1) reduceTrace(wide, ended(`c${at}`, "root", at, at + 1 + (at % 97), { name: "step" }));
  assert.deepEqual(rowsOf(wide), ["root", "step ×100000"]);
  assert.equal(groupsOf(wide).timesOf(wide, groupIn(wide, "root", "step")).p50, 49);
  const many = createTrace(TRACE);
  reduceTrace(many, started("root", null, 0));
  for (let at = 0; at < 100_000; at += 1) {
    const parent = `parent ${Math.floor(at / 5)}`;
    if (at % 5 === 0) reduceTrace(many, started(parent, "root", at));
    reduceTrace(many, ended(`c${at}`, parent, at, at + 1, { name: "step" }));
  }
  const began = performance.now();
  const rows = flatten(many, unfolded(true));
  const first = performance.now() - began;
  assert.equal(rows.count, 1 + 50 * 2 + 1);
  assert.ok(first < 1_000, `${first} ms`);
});

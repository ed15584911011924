// @ts-check
// Claims about the trace as it was at any earlier moment.

import assert from "node:assert/strict";
import { test } from "node:test";
import { attributesOf, childrenOf, createTrace, indexOf, logsOf, reduceTrace, spanAt, stateOf } from "../../src/dashboard/assets/model/model.mjs";
import { Moments, countUpTo, historyOf } from "../../src/dashboard/assets/model/trace-at-time.mjs";
import { TRACE, at, ended, lost, started } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** Returns the visible parts of a trace: spans by place, with their children. @param {any} trace */
function picture(trace) {
  /** @param {number} index @returns {any} */
  const node = (index) => {
    const { id, state, end, errorBelow, childCount, childOpen, childFailed } = spanAt(trace, index);
    return { id, state, end, errorBelow, counts: [childCount, childOpen, childFailed, trace.spans.childBelow[index]], children: childrenOf(trace, index).map(node) };
  };
  return {
    roots: [...trace.roots].map(node).sort((a, b) => (a.id < b.id ? -1 : 1)), counts: trace.counts,
    leaves: [...trace.openLeaves].map((index) => spanAt(trace, index).id).sort(),
    services: [...trace.services.values()].filter(({ spans }) => spans > 0).sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

const FAMILY = [
  ended("root", null, 0, 100), ended("a", "root", 10, 40, { attributes: { n: 1 } }),
  ended("b", "a", 20, 30, { status: { code: "ERROR" } }), started("c", "root", 50),
];

test("a span runs from its start to its end, and does not exist before", () => {
  const moments = new Moments(traceOf(FAMILY), null, 200);
  const seen = [0, 10, 25, 30, 45, 60].map((moment) => {
    const view = moments.at(moment);
    return ["root", "a", "b", "c"].map((id) => (indexOf(view, id) < 0 ? "" : stateOf(view, indexOf(view, id))));
  });
  assert.deepEqual(seen, [
    ["running", "", "", ""], ["running", "running", "", ""], ["running", "running", "running", ""],
    ["running", "running", "error", ""], ["running", "ok", "error", ""], ["running", "ok", "error", "running"],
  ]);
});

test("moments can be shown in any order, on one object whose versions grow", () => {
  const moments = new Moments(traceOf(FAMILY), null, 200);
  const view = moments.at(60);
  const late = picture(view);
  const { version, structure } = view;
  assert.equal(moments.at(5), view);
  assert.deepEqual(picture(view).counts, { total: 1, open: 1, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 });
  moments.at(60);
  assert.deepEqual([picture(view), view.version > version, view.structure > structure], [late, true, true]);
});

test("an open span has the attributes, the marks and the log records of its moment", () => {
  const events = [
    started("a", null, 0, { attributes: { step: 0, name: "x" } }),
    { type: "updated", data: { type: "updated", traceId: TRACE, spanId: "a", attributes: { step: 1 }, timestamp: at(10) } },
    { type: "log", id: "1", data: { type: "log", traceId: TRACE, spanId: "a", body: "hello", timestamp: at(15) } },
    ended("a", null, 0, 30, { attributes: { step: 2, name: "x" }, events: [{ name: "early", timestamp: at(5) }, { name: "late", timestamp: at(25) }], status: { code: "ERROR" } }),
  ];
  const trace = traceOf(events);
  const moments = new Moments(trace, historyOf(events.map(({ data }) => data), trace.originSeconds), 30);
  const seen = [7, 20, 30].map((moment) => {
    const view = moments.at(moment);
    const { event } = spanAt(view, 0);
    return [event.type, attributesOf(view, 0), (event.events ?? []).map((/** @type {any} */ one) => one.name), logsOf(view, 0)?.length ?? 0, "status" in event];
  });
  assert.deepEqual(seen, [
    ["started", { step: 0, name: "x" }, ["early"], 0, false],
    ["started", { step: 1, name: "x" }, ["early"], 1, false],
    ["ended", { step: 2, name: "x" }, ["early", "late"], 1, true],
  ]);
});

test("a span that waited is shown as waiting during that time", () => {
  const wait = (/** @type {number} */ time, /** @type {string} */ state) => ({ type: "updated", data: { type: "updated", traceId: TRACE, spanId: "a", state, timestamp: at(time) } });
  const events = [started("a", null, 0), wait(10, "waiting"), wait(20, "running"), ended("a", null, 0, 30)];
  const trace = traceOf(events);
  const moments = new Moments(trace, historyOf(events.map(({ data }) => data), trace.originSeconds), 30);
  assert.deepEqual([5, 10, 20, 30].map((moment) => stateOf(moments.at(moment), 0)), ["running", "waiting", "running", "ok"]);
});

test("a parent that starts after its child is a placeholder until then", () => {
  const moments = new Moments(traceOf([ended("parent", null, 10, 30), ended("child", "parent", 5, 20)]), null, 30);
  const seen = [4, 5, 10].map((moment) => picture(moments.at(moment)).roots.map((/** @type {any} */ { id, state, children }) => [id, state, children.length]));
  assert.deepEqual(seen, [[], [["parent", "placeholder", 1]], [["parent", "running", 1]]]);
});

test("steps go from one start or end to the next, and back", () => {
  const moments = new Moments(traceOf(FAMILY), null, 200);
  const forth = [];
  for (let moment = 0, n = 0; n < 8; n += 1) forth.push((moment = moments.step(moment, 1)));
  assert.deepEqual(forth, [10, 20, 30, 40, 50, 100, 200, 200]);
  const back = [];
  for (let moment = 200, n = 0; n < 8; n += 1) back.push((moment = moments.step(moment, -1)));
  assert.deepEqual(back, [100, 50, 40, 30, 20, 10, 0, 0]);
});

test("an empty trace has one moment without spans", () => {
  const moments = new Moments(createTrace(TRACE), null, NaN);
  assert.deepEqual([picture(moments.at(0)).roots, moments.step(0, 1)], [[], 0]);
});

test("the number of values up to a limit is found", () => {
  const sorted = Float64Array.of(1, 2, 2, 3, NaN);
  assert.deepEqual([0, 1, 2, 2.5, 3, Infinity].map((limit) => countUpTo(sorted, limit)), [0, 1, 3, 3, 4, 4]);
});

/** @param {number} seed */
function generator(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test("any moment of any trace equals a replay of the log up to it", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const below = generator(seed);
    /** @type {{time: number, event: any}[]} */
    const log = [];
    const count = 1 + below(30);
    for (let n = 0; n < count; n += 1) {
      // A parent starts no later than its children, unless the log never has its start.
      const parent = n === 0 || below(8) === 0 ? null : below(6) === 0 ? `gone${below(3)}` : `s${below(n)}`;
      const start = n * 4 + below(4);
      const end = start + below(60);
      const more = { service: `service ${below(3)}`, status: { code: below(5) === 0 ? "ERROR" : "OK" } };
      log.push({ time: start, event: started(`s${n}`, parent, start, more) });
      if (below(6) > 0) log.push({ time: end, event: below(8) === 0 ? lost(`s${n}`, parent, start, end, end) : ended(`s${n}`, parent, start, end, more) });
    }
    log.sort((a, b) => a.time - b.time);
    const moments = new Moments(traceOf(log.map(({ event }) => event)), null, 1_000);
    for (let look = 0; look < 20; look += 1) {
      const moment = below(200);
      const expected = traceOf(log.filter(({ time }) => time <= moment).map(({ event }) => event));
      assert.deepEqual(picture(moments.at(moment)), picture(expected), `seed ${seed}, moment ${moment}`);
    }
  }
});

// @ts-check
// Claims about the phases of a long job, and about its estimated end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { PHASE_NAMES_MAX, mergedPhases, phasesOf, shownPhases, timeLeft, weightOf } from "../../src/dashboard/assets/model/phases.mjs";
import { EarlierPhases, phasesOfRun } from "../../src/dashboard/assets/net/earlier-phases.mjs";
import { TRACE, at, ended, started } from "./build.mjs";

/** @param {...any} events */
function job(...events) {
  return [started("root", null, 0), ...events].reduce(reduceTrace, createTrace(TRACE));
}

const NOTHING = { now: 60_000, isOpen: true, usual: () => NaN, leftOf: () => NaN };
const EARLIER = [["open", 1_000], ["analyse", 50_000], ["write", 40_000], ["publish", 600]].map(([name, duration]) => ({ name: String(name), duration: Number(duration), spans: 1 }));

test("phases are the children of the root by name, in order of start", () => {
  const trace = job(
    ended("o", "root", 0, 1_000, { name: "open" }), started("a1", "root", 1_000, { name: "analyse" }), ended("a2", "root", 1_500, 9_000, { name: "analyse" }),
    ended("x", "a1", 1_200, 1_300, { status: { code: "ERROR" } }),
  );
  assert.deepEqual(phasesOf(trace, 0), [
    { name: "open", start: 0, end: 1_000, open: 0, failed: false, spans: 1 },
    { name: "analyse", start: 1_000, end: 9_000, open: 1, failed: true, spans: 2 },
  ]);
});

test("phases of an earlier run after the last observed one are expected, and their times are added", () => {
  const trace = job(ended("o", "root", 0, 1_000, { name: "open" }), started("a", "root", 1_000, { name: "analyse" }));
  const shown = shownPhases(phasesOf(trace, 0), EARLIER, { ...NOTHING, now: 31_000 });
  assert.deepEqual(shown.map(({ name, kind, duration, left }) => [name, kind, duration, left]), [
    ["open", "done", 1_000, 0], ["analyse", "running", 30_000, 20_000], ["write", "expected", 0, 40_000], ["publish", "expected", 0, 600],
  ]);
  assert.equal(timeLeft(shown), 60_600);
  assert.deepEqual(shown.map(weightOf), [1_000, 50_000, 40_000, 600]);
});

test("a phase's own estimate and usual durations have priority over one earlier run", () => {
  const trace = job(started("a", "root", 1_000, { name: "analyse" }));
  const shown = shownPhases(phasesOf(trace, 0), EARLIER, { now: 31_000, isOpen: true, usual: (name) => (name === "write" ? 44_000 : NaN), leftOf: (name) => (name === "analyse" ? 5_000 : NaN) });
  assert.deepEqual([timeLeft(shown), shown[1].usual], [5_000 + 44_000 + 600, 44_000]);
});

test("a phase far beyond its usual duration is late, and the end is unknown instead of near", () => {
  const trace = job(ended("o", "root", 0, 1_000, { name: "open" }), started("w", "root", 1_000, { name: "write" }));
  const after = (/** @type {number} */ now, /** @type {number} */ left = NaN) => {
    const shown = shownPhases(phasesOf(trace, 0), EARLIER, { ...NOTHING, now, leftOf: () => left });
    return [shown.filter(({ late }) => late).map(({ name, usual }) => [name, usual]), timeLeft(shown)];
  };
  assert.deepEqual(after(61_000), [[], 600], "at 1.5 times its usual duration");
  assert.deepEqual(after(62_000), [[["write", 40_000]], NaN]);
  assert.deepEqual(after(62_000, 3_000), [[], 3_600], "a phase with its own estimate is late");
  const short = job(started("p", "root", 0, { name: "publish" }));
  assert.deepEqual([5_000, 6_000].map((now) => shownPhases(phasesOf(short, 0), EARLIER, { ...NOTHING, now })[0].late), [false, true], "a short phase is late within the minimum excess");
});

test("a phase of several spans is not done between two of them, nor compared with the time of one", () => {
  const earlier = [{ name: "page", duration: 50_000, spans: 5 }, { name: "write", duration: 40_000, spans: 1 }];
  const pages = [1, 2].map((at) => ended(`p${at}`, "root", at * 10_000, at * 10_000 + 9_000, { name: "page" }));
  const shown = (/** @type {any[]} */ events, isOpen = true) => shownPhases(phasesOf(job(...events), 0), earlier, { ...NOTHING, now: 29_500, isOpen, usual: () => 9_000 }).map(({ name, kind, usual, left, late }) => [name, kind, usual, left, late]);
  assert.deepEqual(shown(pages), [["page", "running", 50_000, 30_500, false], ["write", "expected", 9_000, 9_000, false]]);
  assert.deepEqual(shown([...pages, started("w", "root", 29_000, { name: "write" })]), [["page", "done", 50_000, 0, false], ["write", "running", 9_000, 8_500, false]]);
  assert.deepEqual(shown(pages, false), [["page", "done", 50_000, 0, false]]);
});

test("without an earlier run only observed phases are shown, without an estimate", () => {
  const trace = job(ended("o", "root", 0, 1_000, { name: "open" }), started("a", "root", 1_000, { name: "analyse" }));
  const shown = shownPhases(phasesOf(trace, 0), [], NOTHING);
  assert.deepEqual([shown.length, timeLeft(shown)], [2, NaN]);
  assert.equal(timeLeft(shownPhases(phasesOf(trace, 0), [{ name: "other", duration: 1, spans: 1 }], NOTHING)), NaN, "a different job's phases give an estimate");
  assert.equal(shownPhases(phasesOf(trace, 0), EARLIER, { ...NOTHING, isOpen: false }).length, 2, "an ended job has expected phases");
});

test("of too many phases the smallest neighbours are merged, and their times are added", () => {
  const trace = job(...Array.from({ length: 12 }, (_, index) => ended(`p${index}`, "root", index * 1_000, index * 1_000 + 100 * (index + 1))));
  const shown = shownPhases(phasesOf(trace, 0), [], { ...NOTHING, isOpen: false });
  const merged = mergedPhases(shown);
  const sum = (/** @type {{duration: number, names: number}[]} */ phases) => [phases.reduce((all, { duration }) => all + duration, 0), phases.reduce((all, { names }) => all + names, 0)];
  assert.equal(merged.length, 8);
  assert.deepEqual(sum(merged), sum(shown));
  assert.deepEqual([merged[0].name, merged[0].start, merged.at(-1)?.name], ["3 phases", 0, "p11"]);
});

test("the earlier run is requested once, and is neither this run nor too large", async () => {
  /** @type {string[]} */
  const asked = [];
  let time = 0;
  const run = (/** @type {string} */ traceId, /** @type {object} */ more = {}) => ({ traceId, name: "job", service: "shop", state: "ok", rootSpanId: "r", spans: { total: 3 }, ...more });
  const spans = [
    { type: "ended", parentSpanId: "r", name: "b", startTimestamp: at(2_000), timestamp: at(5_000) }, { type: "ended", parentSpanId: "r", name: "a", startTimestamp: at(0), timestamp: at(2_000) },
    { type: "ended", parentSpanId: "r", name: "a", startTimestamp: at(500), timestamp: at(2_500) }, { type: "ended", parentSpanId: "x", name: "c", startTimestamp: at(0), timestamp: at(9_000) },
  ];
  const runs = new EarlierPhases({
    now: () => time, changed: () => void asked.push("changed"),
    getJson: async (route) => {
      asked.push(route);
      if (route.startsWith("traces?")) return { status: 200, body: { traces: [run("this"), run("large", { spans: { total: 90_000 } }), run("part", { evicted: { events: 1 } }), run("other", { name: "x" }), run("failed", { state: "error" }), run("good")] } };
      return { status: 200, body: { spans } };
    },
  });
  assert.deepEqual(runs.of("shop", "job", "this"), []);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(asked, ["traces?limit=200&q=name%3Ajob+service%3Ashop", "traces/good", "changed"]);
  assert.deepEqual(runs.of("shop", "job", "this"), [{ name: "a", duration: 2_500, spans: 2 }, { name: "b", duration: 3_000, spans: 1 }]);
  time = 1e9;
  runs.of("shop", "job", "this");
  assert.equal(asked.length, 4);
  assert.deepEqual(phasesOfRun([null, { type: "started" }], "r"), []);
});

test("children with too many names are items, not phases, and cost nothing in a frame", () => {
  const children = Array.from({ length: PHASE_NAMES_MAX + 1 }, (_, n) => ended(`c${n}`, "root", n, n + 1));
  assert.deepEqual([phasesOf(job(...children.slice(1)), 0).length, phasesOf(job(...children), 0)], [PHASE_NAMES_MAX, []]);
  const run = children.map(({ data }) => data);
  assert.deepEqual([phasesOfRun(run.slice(1), "root").length, phasesOfRun(run, "root")], [PHASE_NAMES_MAX, []]);
});

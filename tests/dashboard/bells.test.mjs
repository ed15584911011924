// @ts-check
// Claims about notifications, and about a trace in the formats of other tools.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BELLS_MAX, Bells, REPORTED_MAX, bellsOf, messageOf } from "../../src/dashboard/assets/model/bells.mjs";
import { TREE_LINES_MAX, chromeTrace, textTree } from "../../src/dashboard/assets/model/elsewhere.mjs";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { TRACE, at, ended, started } from "./build.mjs";

const NOW = Date.parse(at(0));

/** @param {string} traceId @param {string} state @param {object} [more] @returns {any} */
const trace = (traceId, state, more = {}) => ({ traceId, name: "job", service: "shop", state, startTimestamp: at(0), durationMs: state === "running" || state === "waiting" ? null : 1_500, spans: { total: 1, open: 0, errors: 0, lost: 0 }, services: [], ...more });

/** @param {Bells} bells @param {any[]} traces @param {number} [later] */
const check = (bells, traces, later = 0) => bells.check(traces, () => ({ p95: 1_000 }), NOW + later).map(({ traceId, news, text, done }) => [traceId, news, text, done]);

const ERRORS = { spans: { total: 3, open: 1, errors: 1, lost: 0 } };

test("a trace is reported once when it hangs, fails and ends; then its bell is removed", () => {
  const bells = new Bells([{ kind: "trace", of: "a", name: "job" }]);
  assert.deepEqual(check(bells, [trace("a", "running"), trace("b", "running")]), []);
  assert.deepEqual(check(bells, [trace("a", "running")], 3_000), []);
  assert.deepEqual(check(bells, [trace("a", "running")], 3_001), [["a", "hangs", "has run for 3.00 s, more than three times the 95th percentile of its runs", false]]);
  assert.deepEqual(check(bells, [trace("a", "running")], 9_000), []);
  assert.deepEqual(check(bells, [trace("a", "running", ERRORS)], 9_000), [["a", "failed", "has failed spans and still runs", false]]);
  assert.deepEqual(check(bells, [trace("a", "ok")]), [["a", "ended", "ended after 1.50 s", true]]);
  assert.deepEqual([bells.bells, check(bells, [trace("a", "ok")])], [[], []]);
});

test("failed and lost traces are reported with their reason", () => {
  const bells = new Bells(["a", "b", "c"].map((of) => ({ kind: "trace", of, name: "" })));
  check(bells, ["a", "b", "c"].map((id) => trace(id, "running")));
  assert.deepEqual(check(bells, [trace("a", "error", { error: { spanId: "00", name: "job", message: "card declined" } }), trace("b", "lost"), trace("c", "panicked")]), [
    ["a", "failed", "failed after 1.50 s: card declined", true], ["b", "lost", "is lost: its process ended, or its end was lost", true], ["c", "failed", "failed after 1.50 s", true],
  ]);
});

test("a waiting trace does not hang, and a failing trace is reported again only when it ends", () => {
  const bells = new Bells([{ kind: "trace", of: "a", name: "" }]);
  assert.deepEqual(check(bells, [trace("a", "waiting")], 1e6), []);
  assert.deepEqual(check(bells, [trace("a", "running", ERRORS)], 1e6).length, 1);
  assert.deepEqual(check(bells, [trace("a", "error", ERRORS)]), [], "the failure was reported twice");
});

test("a search reports traces that were open while it was set, and stays set", () => {
  const bells = new Bells([{ kind: "search", of: "name:job", name: "jobs" }]);
  assert.deepEqual(check(bells, [trace("old", "error"), trace("a", "running"), trace("x", "running", { name: "other" })]), []);
  assert.deepEqual(check(bells, [trace("old", "error"), trace("a", "ok"), trace("x", "ok", { name: "other" })]), [["a", "ended", "ended after 1.50 s", true]]);
  assert.equal(bells.bells.length, 1);
  // When a trace ends, a search for running traces no longer matches it. The bell must still report
  // the end.
  const running = new Bells([{ kind: "search", of: "state:running", name: "" }]);
  check(running, [trace("a", "running")]);
  assert.deepEqual(check(running, [trace("a", "ok")]).length, 1);
});

test("bells and remembered reports are bounded, and stored values may be invalid", () => {
  const bells = new Bells([]);
  for (let more = 0; more < BELLS_MAX; more += 1) assert.equal(bells.toggle({ kind: "trace", of: `t${more}`, name: "" }), "");
  assert.equal(bells.toggle({ kind: "trace", of: "one more", name: "" }), "20 bells are set: remove one first");
  assert.equal(bells.toggle({ kind: "search", of: "x".repeat(501), name: "" }), "A bell's search has at most 500 characters: shorten it first");
  assert.equal(bells.toggle({ kind: "trace", of: "t0", name: "" }), "");
  assert.equal(bells.bells.length, BELLS_MAX - 1);
  const all = new Bells([{ kind: "search", of: "job", name: "" }]);
  check(all, Array.from({ length: REPORTED_MAX + 50 }, (_, number) => trace(`t${number}`, "running")));
  assert.equal(all.reported.size, REPORTED_MAX);
  for (const kept of [null, {}, [null, 5, { kind: "x", of: "a", name: "" }, { kind: "trace", of: "", name: "" }, { kind: "trace", of: "a" }]]) assert.deepEqual(bellsOf(kept), []);
});

test("news that arrives together is one message", () => {
  const notice = (/** @type {string} */ traceId, /** @type {any} */ news, /** @type {string} */ text) => ({ traceId, name: "job", news, text, done: true });
  assert.deepEqual(messageOf([notice("a", "failed", "failed after 1 s: no")]), { title: "job failed after 1 s", body: "failed after 1 s: no", traceId: "a" });
  assert.deepEqual(messageOf([notice("a", "ended", "ended"), notice("b", "lost", "is lost"), notice("c", "ended", "ended")]), { title: "2 ended, 1 lost", body: "job ended\njob is lost\njob ended", traceId: "a" });
});

/** @param {any[]} events */
function traceOf(events) {
  const made = createTrace(TRACE);
  for (const event of events) reduceTrace(made, event);
  return made;
}

test("a text tree has states, names, durations and failures, and counts omitted lines", () => {
  const made = traceOf([
    started("r", null, 0, { name: "POST /checkout" }), ended("a", "r", 1, 2, { name: "price\ncart" }), ended("b", "r", 2, 9, { name: "buy", service: "pay", status: { code: "ERROR", message: "card  declined" } }), ended("c", "x", 3, 4, { name: "late" }),
  ]);
  assert.equal(textTree(made, 10), "! POST /checkout 10.0 ms so far [shop]\n  ✓ price cart 1.00 ms [shop]\n  ✕ buy 7.00 ms [pay] card declined\n· parent not seen x\n  ✓ late 1.00 ms [shop]");
  const many = traceOf([started("r", null, 0), ...Array.from({ length: TREE_LINES_MAX + 9 }, (_, number) => ended(`s${number}`, "r", number, number + 1))]);
  const lines = textTree(many, 1e5).split("\n");
  assert.deepEqual([lines.length, lines[TREE_LINES_MAX]], [TREE_LINES_MAX + 1, "… and 10 more spans"]);
});

test("in Chrome's format, events of one lane are nested or do not overlap", () => {
  const made = traceOf([started("r", null, 0, { name: "root" }), ended("a", "r", 1, 5, { attributes: { k: 1 } }), ended("b", "r", 2, 6), ended("c", "b", 3, 4), ended("d", "r", 7, 8), ended("e", "r", 2.5, 5.5, { service: "other" })]);
  const { traceEvents } = chromeTrace(made, 10);
  const spans = traceEvents.filter(({ ph }) => ph === "X");
  assert.deepEqual(spans.map(({ name, pid, tid, ts, dur }) => [name, pid, tid, ts, dur]), [
    ["root", 1, 1, 0, 10_000], ["a", 1, 1, 1_000, 4_000], ["b", 1, 2, 2_000, 4_000], ["e", 2, 1, 2_500, 3_000], ["c", 1, 2, 3_000, 1_000], ["d", 1, 1, 7_000, 1_000],
  ]);
  assert.deepEqual(traceEvents.filter(({ ph }) => ph === "M").map(({ args }) => args.name), ["shop", "other"]);
  assert.deepEqual(spans[1].args, { k: 1, "span.id": "a", "span.state": "ok" });
});

// @ts-check
// Claims about the changes of an open span: each prefix of a log is a state that the span was in,
// and its end repeats all of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventReader } from "../../src/dashboard/assets/model/events.mjs";
import { FileTraces } from "../../src/dashboard/assets/model/files.mjs";
import { attributeTypesOf, attributesOf, createTrace, eventOf, indexOf, nameOf, progressAt, reduceTrace, shownStateOf, shownTraceState, stateOf } from "../../src/dashboard/assets/model/model.mjs";
import { notKeptText } from "../../src/dashboard/assets/model/span-details.mjs";
import { Moments, historyOf } from "../../src/dashboard/assets/model/trace-at-time.mjs";
import { TraceSearch } from "../../src/dashboard/assets/model/trace-search.mjs";
import { refreshErrorMarks } from "../../src/dashboard/assets/model/tree.mjs";
import { nextBad } from "../../src/dashboard/assets/model/tree-order.mjs";
import { UPDATED_ITEMS_MAX, withUpdate } from "../../src/dashboard/assets/model/updates.mjs";
import { TRACE, at, ended, log, started, updated } from "./build.mjs";

/** @param {any[]} events */
function traceOf(events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** Returns the fields of a span that a reader sees. @param {any} trace @param {string} [id] */
function factsOf(trace, id = "a") {
  const index = indexOf(trace, id);
  const { status, events, links, task, awaiting, panic } = eventOf(trace, index) ?? {};
  return { name: nameOf(trace, index), state: shownStateOf(trace, index), attributes: attributesOf(trace, index), types: attributeTypesOf(trace, index), status, events, links, task, awaiting, panic };
}

const NOTHING = { name: "a", state: "running", attributes: {}, types: {}, status: undefined, events: undefined, links: undefined, task: undefined, awaiting: undefined, panic: undefined };

test("each field of an update is merged, and unknown fields change nothing", () => {
  const says = (/** @type {any[]} */ ...updates) => factsOf(traceOf([started("a", null, 0, { attributes: { step: 0, big: "9" }, attributeTypes: { big: "int" } }), ...updates.map((more, n) => updated("a", n + 1, more))]));
  const begin = { ...NOTHING, attributes: { step: 0, big: "9" }, types: { big: "int" } };
  assert.deepEqual(says({}), begin);
  assert.deepEqual(says({ attributes: { step: 1, n: "7" }, attributeTypes: { n: "int" } }), { ...begin, attributes: { step: 1, big: "9", n: "7" }, types: { big: "int", n: "int" } });
  assert.deepEqual(says({ attributes: { big: 3 } }), { ...begin, attributes: { step: 0, big: 3 }, types: {} }, "a new value kept the old type");
  assert.deepEqual(says({ name: "b" }), { ...begin, name: "b" });
  assert.deepEqual(says({ status: { code: "ERROR", message: "no" } }), { ...begin, state: "failing", status: { code: "ERROR", message: "no" } });
  assert.deepEqual(says({ status: { code: "ERROR" } }, { status: { code: "OK" } }), { ...begin, status: { code: "OK" } });
  const [one, two] = [{ name: "x", timestamp: at(1) }, { name: "y", timestamp: at(2) }];
  assert.deepEqual(says({ events: [one] }, { events: [one, two] }), { ...begin, events: [one, two] }, "items of a merged update were added twice");
  const link = { traceId: TRACE, spanId: "b", attributes: {} };
  assert.deepEqual(says({ links: [link] }), { ...begin, links: [link] });
  const awaiting = { name: "redis get", since: at(1) };
  assert.deepEqual([says({ awaiting }).awaiting, says({ awaiting }, { awaiting: null }).awaiting], [awaiting, null]);
  const task = { polls: 3, busyNanos: 5, idleNanos: 7, longestPollNanos: 2, polling: { since: at(1), thread: "tokio-worker-3" } };
  assert.deepEqual([says({ task }).task, says({ task }, { task: { ...task, polling: null } }).task.polling], [task, null]);
  const panic = { message: "no rule", location: "src/bank.rs:88:5", thread: "main" };
  assert.deepEqual(says({ panic }), { ...begin, state: "failing", panic });
  for (const future of [{ later: 1 }, { status: 5 }, { events: 7 }, { events: [5, null] }, { attributes: [1] }, { task: "x" }, { awaiting: 1 }, { name: 7 }, { panic: null }]) {
    assert.deepEqual({ ...says(future), events: undefined }, begin, JSON.stringify(future));
  }
});

test("a lost end, which repeats only the start, keeps the fields of updates", () => {
  const panic = { message: "no rule", location: "src/bank.rs:88:5", thread: "main" };
  const begin = started("a", null, 0, { attributes: { step: 0, kept: true } });
  const says = updated("a", 1, { name: "b", attributes: { step: 7 }, awaiting: { name: "redis get", since: at(1) }, panic });
  const lost = ended("a", null, 0, 5, { attributes: { step: 0, kept: true }, status: { code: "ERROR", message: "lost: the process died" }, lost: { reason: "crashed", lastHeard: at(2) } });
  const known = factsOf(traceOf([begin, says, lost]));
  assert.deepEqual(known, { ...NOTHING, name: "b", state: "lost", attributes: { step: 7, kept: true }, status: lost.data.status, awaiting: says.data.awaiting, panic });
  assert.deepEqual(factsOf(traceOf([{ type: "snapshot", data: { spans: [lost.data], updates: [says.data] } }])), known, "a snapshot with a lost end lost the updates");
  assert.deepEqual(factsOf(traceOf([begin, says, lost, ended("a", null, 0, 6, { attributes: { step: 9 } })])).attributes, { step: 9 }, "a real end kept attributes of updates");
});

test("an open span's items are bounded, and dropped ones are counted", () => {
  const items = Array.from({ length: UPDATED_ITEMS_MAX + 3 }, (_, n) => ({ name: String(n), timestamp: at(n) }));
  const event = withUpdate({}, { events: items });
  assert.deepEqual([event.events.length, event.itemsLeft, withUpdate(event, { events: [{ name: "more", timestamp: at(9) }] }).itemsLeft], [UPDATED_ITEMS_MAX, 3, 4]);
  assert.deepEqual([notKeptText(event), notKeptText({ itemsLeft: 1 }), notKeptText({}), notKeptText(null)], ["3 more events or links of it; its end has all", "1 more event or link of it; its end has all", null, null]);
});

test("an open span that reports a failure counts as one error until it reports otherwise, and marks its ancestors", () => {
  const status = (/** @type {string} */ code) => ({ status: { code } });
  const seen = (/** @type {any[]} */ ...more) => {
    const trace = traceOf([started("root", null, 0), started("a", "root", 0), ...more]);
    refreshErrorMarks(trace);
    return [trace.counts.errors, shownStateOf(trace, 0), shownStateOf(trace, 1), shownTraceState(trace), nextBad(trace, -1, 1)];
  };
  const fails = updated("a", 1, status("ERROR"));
  assert.deepEqual(seen(fails), [1, "failing", "failing", "failing", 1]);
  assert.deepEqual(seen(fails, updated("a", 2, status("ERROR"))), [1, "failing", "failing", "failing", 1]);
  assert.deepEqual(seen(fails, updated("a", 2, status("OK"))), [0, "running", "running", "running", -1]);
  assert.deepEqual(seen(updated("a", 1, { panic: { message: "x" } })), [1, "failing", "failing", "failing", 1]);
  assert.deepEqual(seen(fails, ended("a", "root", 0, 3, status("ERROR"))), [1, "failing", "error", "failing", 1]);
  assert.deepEqual(seen(fails, ended("a", "root", 0, 3)), [0, "running", "ok", "running", -1]);
  assert.deepEqual(seen(fails, { type: "gap", data: { type: "gap", reason: "epoch", lost: null } }), [0, "lost", "lost", "lost", 0]);
  // The state at an earlier moment.
  const events = [started("root", null, 0), started("a", "root", 0), fails, ended("a", "root", 0, 3)];
  const trace = traceOf(events);
  const moments = new Moments(trace, historyOf(events.map(({ data }) => data), trace.originSeconds), 9);
  assert.deepEqual([0.5, 2, 4].map((moment) => [moments.at(moment).counts.errors, shownStateOf(moments.at(moment), 0)]), [[0, "running"], [1, "failing"], [0, "running"]]);
});

test("an attribute's earlier value is known until the span ends", () => {
  const trace = traceOf([started("a", null, 0, { attributes: { step: "buy", n: 1 } }), updated("a", 5, { attributes: { step: "ship", n: 1, fresh: true } }), updated("a", 9, { attributes: { step: "done" } })]);
  assert.deepEqual([...(trace.live.get(0)?.changed ?? [])], [["step", { before: "ship", at: 9 }]]);
  reduceTrace(trace, ended("a", null, 0, 10));
  assert.equal(trace.live.size, 0);
});

test("an update before its start, repeated, or after the end changes nothing else", () => {
  const update = updated("a", 2, { attributes: { n: 1 }, name: "b", events: [{ name: "x", timestamp: at(1) }] }, "x-2");
  const usual = factsOf(traceOf([started("a", null, 0), update]));
  assert.deepEqual(factsOf(traceOf([update, started("a", null, 0)])), usual);
  assert.deepEqual(factsOf(traceOf([started("a", null, 0), update, update, started("a", null, 0)])), usual);
  const final = ended("a", null, 0, 5, { attributes: { n: 7 } });
  assert.deepEqual(factsOf(traceOf([started("a", null, 0), update, final, update])), factsOf(traceOf([final])));
  // An older update that arrives again changes nothing.
  const newer = updated("a", 3, { attributes: { n: 2 } }, "x-3");
  assert.deepEqual(factsOf(traceOf([started("a", null, 0), update, newer, update])), factsOf(traceOf([started("a", null, 0), update, newer])));
});

test("an open span is found by fields of its updates", () => {
  const trace = traceOf([
    started("a", null, 0, { attributes: { n: 1 } }), updated("a", 1, { attributes: { n: 2 }, awaiting: { name: "redis get", since: at(1) }, events: [{ name: "retry", timestamp: at(1), attributes: {} }] }),
    updated("a", 2, { panic: { message: "no rule for SEK" } }), log("a", 2, { body: "cart is empty", attributes: { sku: "k9" } }),
  ]);
  const count = (/** @type {string} */ query) => new TraceSearch().update(trace, query, 10)?.count;
  assert.deepEqual(["n:2", "n:1", "redis", "retry", "SEK", "cart", "k9", "state:failing", "state:running"].map(count), [1, 0, 1, 1, 1, 1, 1, 1, 1]);
});

test("a log record creates no span, and is kept until its span arrives", () => {
  const trace = traceOf([log("hidden", 1), log(null, 2, { body: "of no span" }), { type: "log", data: { type: "log", traceId: null, spanId: null, body: "of no trace", timestamp: at(3) } }]);
  assert.deepEqual([trace.spans.count, trace.logs.all.map(({ data, time }) => [data.body, time])], [0, [["hidden", 1], ["of no span", 2]]]);
  reduceTrace(trace, started("hidden", null, 0));
  assert.equal(trace.logs.bySpan.get("hidden")?.length, 1);
});

test("log records are in order of time, in any order of arrival", () => {
  const trace = traceOf([5, 1, 3, 3, 9, 2].map((time, n) => log("a", time, { body: n }, `x-${n + 1}`)));
  assert.deepEqual(trace.logs.all.map(({ data }) => data.body), [1, 5, 2, 3, 0, 4]);
});

test("a log file's records outside of traces are reported as not shown", () => {
  const lines = [started("00f067aa0ba902b7", null, 0), log("00f067aa0ba902b7", 1), log(null, 2, { traceId: null })].map(({ data }) => JSON.stringify(data)).join("\n");
  const reader = new EventReader();
  const file = new FileTraces("log.jsonl");
  file.take([...reader.read(lines), ...reader.end()]);
  file.finish();
  assert.deepEqual([file.leftOut(), file.feeds.get(TRACE)?.model.logs.all.length], [["log records outside of traces (1)"], 1]);
});

/** @param {number} seed */
function generator(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/**
 * Creates the events of one random span, and the span's state after each of them.
 * @param {(below: number) => number} below
 * @param {string} id
 */
function life(below, id) {
  const now = { name: id, attributes: /** @type {any} */ ({ first: 1 }), attributeTypes: {}, events: /** @type {any[]} */ ([]), links: /** @type {any[]} */ ([]), status: /** @type {any} */ (undefined) };
  const log = [started(id, null, 0, { attributes: { ...now.attributes } })];
  const states = [structuredClone(now)];
  let time = 0;
  for (let step = 1 + below(12); step > 0; step -= 1) {
    time += 1 + below(5);
    /** @type {any} */
    const update = {};
    if (below(2) === 0) update.attributes = { [`k${below(3)}`]: below(100), ...(below(3) === 0 ? { __proto__x: "y" } : {}) };
    if (below(5) === 0) update.name = `${id} ${below(9)}`;
    if (below(4) === 0) update.events = Array.from({ length: 1 + below(3) }, (_, n) => ({ name: `e${below(4)} ${n}`, timestamp: at(time), attributes: {} }));
    if (below(6) === 0) update.links = [{ traceId: TRACE, spanId: `l${time}`, attributes: {} }];
    if (below(6) === 0) update.status = { code: below(2) === 0 ? "ERROR" : "OK" };
    Object.assign(now.attributes, update.attributes);
    Object.assign(now, { name: update.name ?? now.name, status: update.status ?? now.status, events: [...now.events, ...(update.events ?? [])], links: [...now.links, ...(update.links ?? [])] });
    log.push(updated(id, time, update, ""));
    states.push(structuredClone(now));
  }
  const { status = { code: "OK" }, ...rest } = now;
  return { log, states, end: ended(id, null, 0, time + 1, { ...rest, status }) };
}

/** @param {any} trace @param {string} id */
function stateNow(trace, id) {
  const { name, attributes, types, status, events, links } = factsOf(trace, id);
  return { name, attributes, attributeTypes: types, events: events ?? [], links: links ?? [], status };
}

test("every prefix is a state of the span, and the end alone has all fields", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const below = generator(seed);
    const { log: events, states, end } = life(below, "a");
    const trace = createTrace(TRACE);
    for (const [place, event] of events.entries()) {
      reduceTrace(trace, event);
      assert.deepEqual(stateNow(trace, "a"), states[place], `seed ${seed}, event ${place}`);
    }
    // A snapshot of any prefix, with separate or merged updates, and the stream after it.
    const cut = below(events.length) + 1;
    const [begin, ...updates] = events.slice(0, cut).map(({ data }) => data);
    const folded = updates.length === 0 ? [] : [{ ...updates.reduce(withUpdate, {}), type: "updated", traceId: TRACE, spanId: "a", timestamp: updates[updates.length - 1].timestamp }];
    for (const one of [updates, folded]) {
      const later = traceOf([{ type: "snapshot", data: { spans: [begin], updates: one } }, ...events.slice(cut)]);
      assert.deepEqual(stateNow(later, "a"), states[states.length - 1], `seed ${seed}, snapshot after ${cut}`);
    }
    // Time travel shows the same prefixes.
    const all = [...events, end];
    const whole = traceOf(all);
    const moments = new Moments(whole, historyOf(all.map(({ data }) => data), whole.originSeconds), 1_000);
    for (const place of [below(events.length), below(events.length), 0]) {
      const moment = place === 0 ? 0 : (Date.parse(events[place].data.timestamp) - Date.parse(at(0)));
      assert.deepEqual(stateNow(moments.at(moment), "a"), states[place], `seed ${seed}, moment ${moment}`);
    }
    assert.deepEqual(factsOf(whole), factsOf(traceOf([end])), `seed ${seed}`);
    assert.equal(whole.live.size, 0);
  }
});

test("time travel shows an open span's earlier name, await point and progress", () => {
  const progress = (/** @type {number} */ time) => updated("a", time, { attributes: { "progress.current": time / 1_000, ...(time === 1_000 ? { "progress.total": 10 } : {}) }, awaiting: time === 2_000 ? { name: "lock", since: at(2_000) } : null });
  const events = [started("a", null, 0), updated("a", 500, { name: "renamed" }), progress(1_000), progress(2_000), progress(3_000), log("a", 2_500), ended("a", null, 0, 9_000, { name: "final" })];
  const trace = traceOf(events);
  const moments = new Moments(trace, historyOf(events.map(({ data }) => data), trace.originSeconds), 9_000);
  const seen = [100, 2_000, 2_600, 3_000, 9_000, 100].map((moment) => {
    const view = moments.at(moment);
    const left = view.live.get(0)?.speed?.left(moment) ?? null;
    return [nameOf(view, 0), stateOf(view, 0), eventOf(view, 0).awaiting?.name ?? "", progressAt(view, 0)?.current ?? 0, left, view.logs.all.length, view.logs.bySpan.get("a")?.length ?? 0];
  });
  assert.deepEqual(seen, [
    ["a", "running", "", 0, null, 0, 0], ["renamed", "running", "lock", 2, null, 0, 0], ["renamed", "running", "lock", 2, null, 1, 1],
    ["renamed", "running", "", 3, 7_000, 1, 1], ["final", "ok", "", 0, null, 1, 1], ["a", "running", "", 0, null, 0, 0],
  ]);
});

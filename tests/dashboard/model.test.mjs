// @ts-check
// Claims about the trace model: the trace that a reader sees after events in several orders.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  SPANS_MAX, attributesOf, barEnd, createTrace, evictedText, indexOf, isPartial, readChanges, reduceTrace, selfTime, shownStateOf,
  shownTraceState, spanAt, traceName, traceState, stateOf, waitText,
} from "../../src/dashboard/assets/model/model.mjs";
import { LOGS_MAX } from "../../src/dashboard/assets/model/records.mjs";
import { lostEvents, noLosses } from "../../src/dashboard/assets/model/gaps.mjs";
import { flatten, openTo } from "../../src/dashboard/assets/model/visible-rows.mjs";
import { TRACE, at, ended, hello, lost, started } from "./build.mjs";

/** @param {...any} events */
function traceOf(...events) {
  return events.reduce(reduceTrace, createTrace(TRACE));
}

/** The whole picture, one line per row: indent, name, state, from–to. @param {import("../../src/dashboard/assets/model/model.mjs").Trace} trace */
function picture(trace) {
  const rows = flatten(trace, openTo(Infinity));
  return [...rows.spans.subarray(0, rows.count)].map((index) => {
    const span = spanAt(trace, index);
    return `${" ".repeat(span.depth)}${span.name || "?"} ${span.state} ${span.start}–${span.end}`;
  });
}

/** @param {import("../../src/dashboard/assets/model/model.mjs").Trace} trace @param {string} id */
function span(trace, id) {
  return spanAt(trace, indexOf(trace, id));
}

test("a start and its end are one span", () => {
  const trace = traceOf(started("a", null, 1), ended("a", null, 1, 4.5));
  assert.deepEqual(picture(trace), ["a ok 1–4.5"]);
  assert.deepEqual(trace.counts, { total: 1, open: 0, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 });
});

test("a span without an end is open, and its bar extends to now", () => {
  const trace = traceOf(started("a", null, 1));
  assert.deepEqual(picture(trace), ["a running 1–null"]);
  assert.equal(barEnd(trace, indexOf(trace, "a"), 900), 900);
});

test("an end without a start is a complete span", () => {
  const trace = traceOf(ended("a", null, 1, 2, { status: { code: "ERROR", message: "no" } }));
  assert.deepEqual(picture(trace), ["a error 1–2"]);
});

test("a start after its end never reopens the span", () => {
  const trace = traceOf(ended("a", null, 1, 2), started("a", null, 1));
  assert.deepEqual(picture(trace), ["a ok 1–2"]);
  assert.equal(trace.counts.open, 0);
});

test("a parent that arrives late is placed above its children", () => {
  const trace = traceOf(started("child", "parent", 2), started("parent", "root", 1), started("root", null, 0));
  assert.deepEqual(picture(trace), ["root running 0–null", " parent running 1–null", "  child running 2–null"]);
  assert.equal(trace.counts.placeholders, 0);
});

test("an unseen parent is a placeholder outside of counts and extent", () => {
  const trace = traceOf(ended("child", "0123456789abcdef", 2, 3));
  assert.deepEqual(picture(trace), ["? placeholder NaN–null", " child ok 2–3"]);
  assert.deepEqual(trace.counts, { total: 1, open: 0, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 1 });
  assert.deepEqual([trace.start, trace.end], [2, 3]);
  assert.equal(traceState(trace), "ok");
});

test("a remote parent is marked as remote, and the trace is named after the local root", () => {
  const trace = traceOf(started("entry", "feedbeeffeedbeef", 2, { parentRemote: true, name: "GET /" }));
  assert.equal(span(trace, "feedbeeffeedbeef").remote, true);
  assert.equal(traceName(trace), "GET /");
});

test("the first span without a known parent names the trace, in any order of arrival", () => {
  const one = [started("orphan", "gone", 1), started("root", null, 2)];
  for (const events of [one, [...one].reverse()]) assert.equal(traceName(traceOf(...events)), "orphan");
  // If two spans started together, the trace has the name of the one that comes first in the log.
  const two = [started("b", null, 1), started("a", null, 1)];
  assert.deepEqual([traceName(traceOf(...two)), traceName(traceOf(...[...two].reverse()))], ["b", "a"]);
  // A span that is named as a parent before its own event takes its place when its event arrives.
  assert.equal(traceName(traceOf(started("child", "late", 5), started("early", null, 1), started("late", null, 1))), "early");
  // A corrected start time may change the root.
  const trace = traceOf(started("a", null, 1), started("b", null, 2));
  reduceTrace(trace, ended("b", null, 0, 3));
  assert.equal(traceName(trace), "b");
});

test("if parents form a cycle, the span of it that started first names the trace", () => {
  const circle = [started("a", "c", 1), started("c", "b", 3), started("b", "a", 2)];
  for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    assert.equal(traceName(traceOf(...order.map((at) => circle[at]))), "a", String(order));
  }
  assert.equal(traceName(traceOf(started("self", "self", 1))), "self");
  assert.equal(traceName(traceOf(...circle, started("root", null, 0.5))), "root");
});

test("a trace that lacks a part shows how much, and is never complete", () => {
  const snapshot = (/** @type {any} */ evicted) => ({ type: "snapshot", id: "", data: { spans: [started("a", null, 1).data, ended("b", "a", 1, 2).data], processes: [], updates: [], logs: [], evicted } });
  const said = (/** @type {any} */ evicted, /** @type {any[]} */ more = []) => {
    const trace = traceOf(snapshot(evicted), ...more);
    return [isPartial(trace), evictedText(trace)];
  };
  assert.deepEqual(said(undefined), [false, ""]);
  assert.deepEqual(said(null), [false, ""]);
  assert.deepEqual(said({ events: 0, spans: 0 }), [false, ""]);
  assert.deepEqual(said({ events: 2_888, spans: 1_444 }), [true, "1,444 of 1,446 spans are no longer kept"]);
  assert.deepEqual(said({ events: 1, spans: 1 }), [true, "1 of 3 spans is no longer kept"]);
  assert.deepEqual(said({ events: 7, spans: 0 }), [false, "7 events of this trace are no longer kept"], "a trace with all its ends is called partial");
  assert.deepEqual(said({ events: 2_888, spans: null }), [true, "2,888 events of this trace are no longer kept"]);
  const gap = (/** @type {object} */ more) => ({ type: "gap", id: "", data: { type: "gap", reason: "evicted", from: "a-1", to: "a-9", lost: 5, ...more } });
  assert.deepEqual(said(undefined, [gap({})]), [true, "5 events of this trace are no longer kept"]);
  assert.deepEqual(said(undefined, [gap({ traces: 3 })]), [true, "up to 5 events of this trace are no longer kept"]);
  const cut = traceOf({ type: "snapshot", id: "", data: { spans: [started("a", null, 1).data], summary: { evicted: { events: 3, spans: 2 } }, incomplete: { reason: "evicted", lost: 3 } } });
  assert.deepEqual([isPartial(cut), cut.evicted, cut.incomplete], [true, { events: 3, spans: 2 }, { reason: "evicted", lost: 3 }]);
  assert.deepEqual(said({ events: 8, spans: 4 }, [gap({})]), [true, "4 of 6 spans are no longer kept"], "the server's exact count was not used");
});

test("a span that is open or ok shows errors below it", () => {
  const trace = traceOf(started("root", null, 0), started("open", "root", 1), ended("bad", "open", 1, 2, { status: { code: "ERROR" } }), ended("fine", "root", 1, 2));
  const state = (/** @type {string} */ id) => shownStateOf(trace, indexOf(trace, id));
  assert.deepEqual(["root", "open", "bad", "fine"].map(state), ["failing", "failing", "error", "ok"]);
  assert.equal(shownTraceState(trace), "failing");
  reduceTrace(trace, ended("open", "root", 1, 3));
  reduceTrace(trace, ended("root", null, 0, 4));
  assert.deepEqual(["root", "open", "bad", "fine"].map(state), ["below", "below", "error", "ok"]);
  assert.deepEqual([traceState(trace), shownTraceState(trace)], ["ok", "below"]);
});

test("a lost span is not open, ends at its last event, and marks its ancestors", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), lost("a", "root", 1, 60_000, 40));
  const a = span(trace, "a");
  assert.equal(a.state, "lost");
  assert.equal(barEnd(trace, indexOf(trace, "a"), 1e9), 40);
  assert.equal(trace.end, 40);
  assert.equal(span(trace, "root").errorBelow, true);
  assert.equal(trace.counts.open, 1);
});

test("a real end replaces a lost one and removes its error marks", () => {
  const trace = traceOf(started("root", null, 0), lost("a", "root", 1, 60, 40), ended("a", "root", 1, 50));
  assert.deepEqual(picture(trace), ["root running 0–null", " a ok 1–50"]);
  assert.equal(span(trace, "root").errorBelow, false);
  assert.equal(trace.counts.lost, 0);
});

test("a loss reported after the real end changes nothing", () => {
  const trace = traceOf(ended("a", null, 1, 50), lost("a", null, 1, 60, 40));
  assert.deepEqual(picture(trace), ["a ok 1–50"]);
});

test("delivering every event twice gives the same state", () => {
  const events = [
    hello("aaaaaaaa"),
    started("root", null, 0), started("a", "root", 1),
    { type: "updated", id: "aaaaaaaa-3", data: { type: "updated", traceId: TRACE, spanId: "a", timestamp: at(2), attributes: { done: 1 } } },
    { type: "log", id: "aaaaaaaa-4", data: { type: "log", traceId: TRACE, spanId: "a", timestamp: at(3), severityNumber: 9, severityText: "INFO", body: "hi", attributes: {} } },
    { type: "gap", id: "aaaaaaaa-5", data: { type: "gap", reason: "dropped", lost: { starts: 3, ends: 0, other: 1 } } },
    ended("a", "root", 1, 4, { status: { code: "ERROR" } }),
  ];
  const once = traceOf(...events);
  const twice = traceOf(...events, ...events);
  assert.deepEqual(picture(twice), picture(once));
  assert.deepEqual(twice.counts, once.counts);
  assert.deepEqual([twice.losses, lostEvents(twice.losses)], [once.losses, 4]);
  assert.equal(span(twice, "a").logs.length, 1);
  assert.equal(twice.services.get("shop")?.spans, 2);
});

test("updates replace attributes of the start, and the end replaces both", () => {
  const update = { type: "updated", data: { traceId: TRACE, spanId: "a", timestamp: at(2), name: "renamed", state: "waiting", attributes: { b: 2 } } };
  const open = traceOf(started("a", null, 1, { attributes: { a: 1, b: 1 } }), update);
  const a = span(open, "a");
  assert.deepEqual(attributesOf(a.trace, a.index), { a: 1, b: 2 });
  assert.deepEqual(picture(open), ["renamed waiting 1–null"]);
  reduceTrace(open, ended("a", null, 1, 3, { attributes: { a: 5 }, name: "final" }));
  assert.deepEqual(attributesOf(a.trace, a.index), { a: 5 });
  assert.deepEqual(picture(open), ["final ok 1–3"]);
  reduceTrace(open, update);
  assert.deepEqual(picture(open), ["final ok 1–3"]);
});

test("a complete update repeats earlier ones, and changes nothing for a page that has them", () => {
  const update = (/** @type {string} */ id, /** @type {any} */ more) => ({ type: "updated", id, data: { type: "updated", traceId: TRACE, spanId: "a", timestamp: at(2), ...more } });
  const told = { name: "renamed", attributes: { b: [2] }, events: [{ name: "said", timestamp: at(2) }], links: [{ traceId: "1", spanId: "2" }] };
  const open = traceOf(started("a", null, 1, { attributes: { a: 1 } }), update("aaaaaaaa-3", told));
  const a = span(open, "a");
  const before = { ...open.spans.events[a.index] };
  reduceTrace(open, update("aaaaaaaa-9", { ...told, complete: true }));
  assert.deepEqual(open.spans.events[a.index], before);
  assert.equal(open.live.get(a.index)?.changed.size, 0);
  const late = traceOf(started("a", null, 1, { attributes: { a: 1 } }), update("aaaaaaaa-9", { ...told, complete: true }));
  assert.deepEqual(late.spans.events[span(late, "a").index], before);
});

test("an update or a log record before its start is kept for it", () => {
  const trace = traceOf(
    { type: "updated", data: { traceId: TRACE, spanId: "a", timestamp: at(2), attributes: { b: 2 } } },
    { type: "log", id: "x-1", data: { traceId: TRACE, spanId: "a", timestamp: at(2), body: "early" } },
    started("a", null, 1, { attributes: { a: 1 } }),
  );
  const a = span(trace, "a");
  assert.deepEqual(attributesOf(a.trace, a.index), { a: 1, b: 2 });
  assert.deepEqual(a.logs.map(({ data }) => data.body), ["early"]);
});

test("a snapshot and the stream after it give the same as the stream alone", () => {
  const process = { type: "process", process: "p1", service: "shop", resource: {}, pid: 1, traceId: null, spanId: null };
  const log = { type: "log", traceId: TRACE, spanId: "a", timestamp: at(2), severityNumber: 9, severityText: "INFO", body: "hi" };
  const body = {
    traceId: TRACE, cursor: "x-3", now: at(10), processes: [process],
    spans: [started("root", null, 0).data, ended("a", "root", 1, 3).data], updates: [], logs: [log],
  };
  const fromSnapshot = traceOf({ type: "snapshot", data: body }, ended("root", null, 0, 9));
  const fromStream = traceOf(
    { type: "process", data: process }, started("root", null, 0), started("a", "root", 1), { type: "log", id: "x-2", data: log },
    ended("a", "root", 1, 3), ended("root", null, 0, 9),
  );
  assert.deepEqual(picture(fromSnapshot), picture(fromStream));
  assert.deepEqual(fromSnapshot.counts, fromStream.counts);
  assert.deepEqual(span(fromSnapshot, "a").logs.map(({ data }) => data), span(fromStream, "a").logs.map(({ data }) => data));
  assert.equal(fromSnapshot.processes.get("p1"), process);
});

test("losses are counted by kind", () => {
  const trace = traceOf(
    { type: "gap", data: { type: "gap", reason: "evicted", from: "x-1", to: "x-12", lost: 12 } },
    { type: "gap", id: "x-20", data: { type: "gap", reason: "dropped", lost: { starts: 3, ends: 1, other: 0 } } },
    { type: "gap", id: "x-21", data: { type: "gap", reason: "dropped", lost: { starts: 1, ends: 0, other: 2 } } },
    { type: "ping", data: { type: "ping", dropped: { starts: 9, ends: 8, other: 7 } } },
  );
  assert.deepEqual(trace.losses, { evicted: 12, starts: 4, ends: 1, other: 2, unknown: false, atMost: false, gaps: new Set(["evicted x-1 x-12", "x-20", "x-21"]) });
  assert.deepEqual(trace.hostDropped, { starts: 9, ends: 8, other: 7 });
});

test("unknown types, fields and traces change nothing", () => {
  const trace = traceOf(
    { type: "constructor", data: {} }, { type: "later", data: { traceId: TRACE } }, { type: "started", data: null },
    { type: "started", data: { ...started("a", null, 1).data, traceId: "f".repeat(32) } },
    { type: "started", data: { ...started("a", null, 1).data, spanId: 7 } },
  );
  assert.deepEqual(picture(trace), []);
  assert.deepEqual(picture(reduceTrace(trace, started("b", null, 1, { future: { deep: true } }))), ["b running 1–null"]);
});

test("after a restart of the log nothing stays running, and the new log may revert that", () => {
  const trace = traceOf(hello("aaaaaaaa"), started("a", null, 1), started("b", null, 2), hello("bbbbbbbb"));
  // The bar ends at the last event of the trace, so it is the same in every tab. The time at which a span last reported
  // is unknown.
  assert.deepEqual(picture(trace), ["a lost 1–2", "b lost 2–2"]);
  assert.deepEqual(span(trace, "a").loss, { reason: "restarted", lastHeard: NaN, local: true });
  assert.equal(trace.restarts, 1);
  reduceTrace(trace, started("a", null, 1));
  reduceTrace(trace, ended("b", null, 2, 7));
  assert.deepEqual(picture(trace), ["a running 1–null", "b ok 2–7"]);
});

test("the same epoch again is no restart", () => {
  const trace = traceOf(hello("aaaaaaaa"), started("a", null, 1), hello("aaaaaaaa"));
  assert.deepEqual(picture(trace), ["a running 1–null"]);
});

test("an `epoch` gap reports a loss of unknown size", () => {
  const trace = traceOf(started("a", null, 1), { type: "gap", data: { type: "gap", reason: "epoch", lost: null } });
  assert.deepEqual(trace.losses, { ...noLosses(), unknown: true });
  assert.equal(trace.counts.open, 0);
});

test("a paused workflow step waits, and shows for what and how long", () => {
  const wait = (/** @type {string} */ spanId, /** @type {object} */ attributes) => ({
    type: "updated", id: "", data: { type: "updated", traceId: TRACE, spanId, process: "p1", state: "waiting", attributes, timestamp: at(3) },
  });
  const durable = { durable: true };
  const trace = traceOf(
    started("order", null, 0, durable), started("nap", "order", 1, durable), started("approval", "order", 1, durable), started("plain", "order", 1, durable),
    wait("nap", { "workflow.sleep.until": at(65_000) }), wait("approval", { "workflow.wait.event": "approved", "workflow.wait.until": at(33_000) }), wait("plain", {}),
  );
  const texts = (/** @type {number} */ now) => ["order", "nap", "approval", "plain"].map((id) => waitText(trace, indexOf(trace, id), now));
  assert.deepEqual(["order", "nap", "approval", "plain"].map((id) => stateOf(trace, indexOf(trace, id))), ["running", "waiting", "waiting", "waiting"]);
  assert.deepEqual(texts(3_000), ["", "wakes in 1 m 02 s", "for approved, gives up in 30.0 s", ""]);
  assert.deepEqual(texts(70_000), ["", "", "for approved", ""]);
  assert.deepEqual({ ...trace.counts }, { total: 4, open: 4, waiting: 3, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 });
  reduceTrace(trace, { type: "updated", data: { type: "updated", traceId: TRACE, spanId: "approval", process: "p1", state: "running", attributes: {}, timestamp: at(4) } });
  assert.deepEqual([stateOf(trace, indexOf(trace, "approval")), texts(3_000)[2], trace.counts.waiting], ["running", "", 2]);
  reduceTrace(trace, ended("nap", "order", 1, 65_000, durable));
  assert.deepEqual([stateOf(trace, indexOf(trace, "nap")), texts(3_000)[1], trace.counts.waiting], ["ok", "", 1]);
});

test("a trace whose open spans all wait is waiting", () => {
  const state = (/** @type {string} */ spanId) => ({ type: "updated", data: { type: "updated", traceId: TRACE, spanId, process: "p1", state: "waiting", timestamp: at(3) } });
  const trace = traceOf(started("order", null, 0, { durable: true }), started("nap", "order", 1, { durable: true }));
  assert.equal(traceState(trace), "running");
  // The root is not counted, because it is open only as long as it has an open child.
  reduceTrace(trace, state("nap"));
  assert.equal(traceState(trace), "waiting");
  reduceTrace(trace, started("charge", "order", 2));
  assert.equal(traceState(trace), "running");
  reduceTrace(trace, ended("charge", "order", 2, 3));
  reduceTrace(trace, state("order"));
  assert.equal(traceState(trace), "waiting");
});

test("self time excludes the time of children, and overlaps once", () => {
  const trace = traceOf(ended("p", null, 0, 100), ended("x", "p", 10, 40), ended("y", "p", 30, 50), ended("z", "p", 90, 200));
  assert.equal(selfTime(trace, indexOf(trace, "p")), 50);
});

test("spans that name each other as parents are all shown", () => {
  const trace = traceOf(started("a", "b", 1), started("b", "a", 2), started("self", "self", 3));
  assert.deepEqual(picture(trace), ["b running 2–null", " a running 1–null", "self running 3–null"]);
});

test("hostile text is kept unchanged", () => {
  const name = '<img src=x onerror="alert(1)">\u202e\u0000💥';
  const trace = traceOf(started("a", null, 1, { name, service: "__proto__", attributes: JSON.parse('{"__proto__":"x","constructor":1}') }));
  const a = span(trace, "a");
  assert.equal(a.name, name);
  assert.equal(a.service, "__proto__");
  assert.deepEqual(Object.entries(attributesOf(a.trace, a.index)), [["__proto__", "x"], ["constructor", 1]]);
});

test("nanoseconds survive", () => {
  const trace = traceOf(ended("a", null, 0.000001, 0.000003));
  const a = span(trace, "a");
  assert.deepEqual([a.start, a.end], [0.000001, 0.000003]);
});

test("a cancelled span is neither ok nor an error", () => {
  const trace = traceOf(ended("a", null, 0, 1, { state: "cancelled", status: { code: "ERROR" } }));
  assert.deepEqual([span(trace, "a").state, traceState(trace), trace.counts.errors], ["cancelled", "cancelled", 0]);
});

test("a panic and a dropped future have their own states, whatever the status", () => {
  const bad = { status: { code: "ERROR", message: "no rule" }, panicked: true };
  const states = (/** @type {any} */ more) => {
    const trace = traceOf(started("root", null, 0), ended("a", "root", 0, 1, more));
    const { errors, panicked, cancelled, lost: gone } = trace.counts;
    const { errorBelow, childFailed } = span(trace, "root");
    reduceTrace(trace, ended("b", null, 0, 2, more));
    reduceTrace(trace, ended("root", null, 0, 2));
    return [span(trace, "a").state, errors, panicked, cancelled, gone, errorBelow, childFailed, traceState(trace)];
  };
  assert.deepEqual(states(bad), ["panicked", 1, 1, 0, 0, true, 1, "panicked"]);
  assert.deepEqual(states({ status: { code: "OK" }, panicked: true }), ["panicked", 1, 1, 0, 0, true, 1, "panicked"]);
  assert.deepEqual(states({ status: { code: "ERROR" }, cancelled: true }), ["cancelled", 0, 0, 1, 0, false, 0, "cancelled"]);
  assert.deepEqual(states({ status: { code: "ERROR" }, cancelled: true, panicked: true })[0], "panicked", "a panicked span is shown as cancelled");
  assert.deepEqual(states({ ...bad, lost: { reason: "crashed", lastHeard: at(1) } })[0], "lost");
  assert.deepEqual(states({ status: { code: "OK" }, cancelled: false, panicked: "yes" })[0], "ok");
});

test("a trace of the maximum size counts refused spans", () => {
  const trace = createTrace(TRACE);
  for (let index = 0; index < SPANS_MAX + 3; index += 1) reduceTrace(trace, ended(String(index), null, 0, 1));
  assert.deepEqual([trace.spans.count, trace.refusedSpans], [SPANS_MAX, 3]);
  // The newest records are kept, so that a reader who follows the log sees new ones. The oldest are removed
  // many at a time.
  for (let index = 0; index < LOGS_MAX + 5_000; index += 1) {
    reduceTrace(trace, { type: "log", id: `x-${index + 1}`, data: { traceId: TRACE, spanId: "7", timestamp: at(index), body: index } });
  }
  const { all, bySpan, refused } = trace.logs;
  assert.deepEqual([all.length, refused, all[0].data.body, all[LOGS_MAX - 1].data.body, bySpan.get("7")?.length], [LOGS_MAX, 5_000, 5_000, LOGS_MAX + 4_999, LOGS_MAX]);
});

test("every change of a span is in the journal", () => {
  const trace = traceOf(started("root", null, 0), started("a", "root", 1), started("b", "root", 2), started("calm", "root", 3));
  const names = (/** @type {number} */ place) => {
    /** @type {Set<string>} */
    const seen = new Set();
    const next = readChanges(trace, place, (index) => seen.add(trace.spans.ids[index]));
    return { seen: [...seen].sort(), next };
  };
  const first = names(-1);
  assert.deepEqual(first.seen, ["a", "b", "calm", "root"]);
  assert.deepEqual(names(first.next).seen, []);
  reduceTrace(trace, ended("b", "root", 2, 3));
  assert.deepEqual(names(first.next).seen, ["b", "root"]);
  const update = (/** @type {number} */ time) => reduceTrace(trace, { type: "updated", data: { traceId: TRACE, spanId: "a", timestamp: at(time) } });
  for (let count = 0; count < 40_000; count += 1) update(2 + count);
  assert.deepEqual(names(first.next).seen, ["a", "b", "root"]);
  for (let count = 40_000; count < 80_000; count += 1) update(2 + count);
  // If the last seen version is too old, all spans count as changed.
  assert.deepEqual(names(first.next).seen, ["a", "b", "calm", "root"]);
});

test("a parent counts its open and failed children, through every change of state", () => {
  const trace = traceOf(
    started("root", null, 0), started("a", "root", 1), started("b", "root", 2), ended("c", "root", 1, 2, { status: { code: "ERROR" } }),
    lost("d", "root", 1, 60, 40), { type: "updated", data: { traceId: TRACE, spanId: "a", timestamp: at(2), state: "waiting" } },
  );
  const counts = () => [span(trace, "root").childCount, span(trace, "root").childOpen, span(trace, "root").childFailed];
  assert.deepEqual(counts(), [4, 2, 2]);
  reduceTrace(trace, ended("d", "root", 1, 50));
  reduceTrace(trace, ended("b", "root", 1, 50, { status: { code: "ERROR" } }));
  assert.deepEqual(counts(), [4, 1, 2]);
});

/**
 * Computes the expected tree from scratch.
 * @param {{id: string, parent: string | null, state: string, start: number}[]} spans
 */
function naive(spans) {
  const bad = (/** @type {string} */ state) => state === "error";
  /** @type {string[]} */
  const lines = [];
  const visit = (/** @type {any} */ one, /** @type {number} */ depth) => {
    const children = spans.filter((other) => other.parent === one.id).sort((a, b) => a.start - b.start);
    const below = (/** @type {any} */ other) => spans.filter((child) => child.parent === other.id).some((child) => bad(child.state) || below(child));
    lines.push(`${" ".repeat(depth)}${one.id} ${one.state} ${children.length}/${children.filter((child) => child.state === "running").length}/${children.filter((child) => bad(child.state)).length} ${below(one)}`);
    for (const child of children) visit(child, depth + 1);
  };
  for (const root of spans.filter((one) => one.parent === null).sort((a, b) => a.start - b.start)) visit(root, 0);
  return lines;
}

test("any order of any history gives the same tree as a naive model", () => {
  let seed = 7;
  const random = (/** @type {number} */ below) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  for (let round = 0; round < 60; round += 1) {
    const spans = Array.from({ length: 2 + random(40) }, (_, index) => ({
      id: `s${index}`, parent: index === 0 ? null : `s${random(index)}`, state: ["running", "ok", "error"][random(3)], start: index * 3.01 + random(100) / 7,
    }));
    const events = spans.flatMap((one) => {
      const start = started(one.id, one.parent, one.start);
      const end = ended(one.id, one.parent, one.start, one.start + 500, { status: { code: one.state === "error" ? "ERROR" : "OK" } });
      return one.state === "running" ? [start] : random(2) === 0 ? [end] : [start, end];
    });
    for (let index = events.length - 1; index > 0; index -= 1) {
      const other = random(index + 1);
      [events[index], events[other]] = [events[other], events[index]];
    }
    const trace = traceOf(...events);
    const rows = flatten(trace, openTo(Infinity));
    const lines = [...rows.spans.subarray(0, rows.count)].map((index) => {
      const one = spanAt(trace, index);
      return `${" ".repeat(one.depth)}${one.id} ${one.state} ${one.childCount}/${one.childOpen}/${one.childFailed} ${one.errorBelow}`;
    });
    assert.deepEqual(lines, naive(spans));
  }
});

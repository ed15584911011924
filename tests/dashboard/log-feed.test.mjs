// @ts-check
// Claims about the feed of log records over all traces: each record appears once, whichever way it
// arrives. If records are missing before a page, the feed drops the records before the gap.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EXCEPTIONS_HELD_MAX, EXCEPTION_EVENTS_MAX, LOGS_HELD_MAX, LogFeed } from "../../src/dashboard/assets/net/log-feed.mjs";
import { failedStreamRoute } from "../../src/dashboard/assets/net/api.mjs";
import { at, ended, hello, log } from "./build.mjs";

/** @param {number} n */
const record = (n) => log("a", n, { body: `r${n}` }).data;
/** @param {number} from @param {number} to @returns {any[]} the newest first */
const records = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => record(to - index));

/** A feed, and the server from which it reads. */
function fixture() {
  const asked = /** @type {string[]} */ ([]);
  /** @type {any} */
  const server = { asked, answers: [], timer: null, opened: 0, closed: 0, onEvent: null, failed: null };
  const world = /** @type {any} */ ({
    getJson: (/** @type {string} */ route) => {
      asked.push(route);
      return new Promise((resolve) => server.answers.push((/** @type {any} */ body, status = 200) => resolve({ status, body })));
    },
    openStream: (/** @type {any} */ wanted) => {
      server.opened += 1;
      if (wanted.key === failedStreamRoute()) server.failed = wanted;
      else server.onEvent = wanted.onEvent;
      return { close: () => (server.closed += 1), resume: () => {} };
    },
    setTimeout: (/** @type {() => void} */ callback) => (server.timer = callback), clearTimeout: () => (server.timer = null),
    onClock: () => {}, onChange: () => {},
  });
  const feed = new LogFeed(world);
  feed.open();
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    feed, server,
    fail: (/** @type {any} */ event, /** @type {string} */ id) => server.failed.onEvent({ ...event, id }),
    send: (/** @type {any} */ event) => server.onEvent({ id: "", ...event }),
    answer: async (/** @type {any} */ body, status = 200) => {
      server.answers.shift()(body, status);
      await settle();
    },
    texts: () => feed.lines.all.map(({ text }) => text).join(" "),
  };
}

test("records from the stream and from pages appear once and in order of time", async () => {
  const { feed, server, send, answer, texts } = fixture();
  send(hello("k"));
  send({ type: "log", data: record(9) });
  await answer({ logs: records(7, 9), next: "42" });
  send({ type: "log", data: record(9) });
  send({ type: "log", data: record(8) });
  send({ type: "log", data: record(10) });
  assert.deepEqual([texts(), feed.hasOlder()], ["r7 r8 r9 r10", true]);
  void feed.load(feed.before);
  await answer({ logs: records(5, 7), next: null });
  assert.deepEqual([texts(), feed.hasOlder(), server.asked], ["r5 r6 r7 r8 r9 r10", false, ["logs?limit=200", "logs?limit=200&after=42"]]);
});

test("records of one microsecond stay in order, from the stream and from a page", async () => {
  const fine = (/** @type {number} */ n) => ({ ...record(0), body: `r${n}`, timestamp: `2026-11-22T11:39:00.0000000${n}0Z` });
  const { send, answer, texts } = fixture();
  send(hello("k"));
  await answer({ logs: [fine(5), fine(4), { ...fine(4), body: "r3", spanId: "b" }, fine(2), fine(1)], next: null });
  send({ type: "log", data: fine(7) });
  send({ type: "log", data: fine(6) });
  assert.equal(texts(), "r1 r2 r3 r4 r5 r6 r7");
});

test("records with equal texts are distinguished by their ids", async () => {
  const { send, answer, texts } = fixture();
  send(hello("k"));
  send({ type: "log", id: "k-1", data: record(1) });
  send({ type: "log", id: "k-2", data: record(1) });
  await answer({ logs: [{ ...record(1), id: "k-2" }, { ...record(1), id: "k-1" }], next: null });
  assert.equal(texts(), "r1 r1");
});

test("after an outage, a page that does not reach the loaded records replaces them", async () => {
  const { send, answer, texts } = fixture();
  send(hello("k"));
  await answer({ logs: records(1, 3), next: null });
  send(hello("k"));
  await answer({ logs: records(3, 5), next: "1" });
  assert.equal(texts(), "r1 r2 r3 r4 r5");
  send(hello("k"));
  await answer({ logs: records(20, 22), next: "9" });
  assert.equal(texts(), "r20 r21 r22");
});

test("while the page is paused records are held, and those without room are requested", async () => {
  const { feed, server, send, answer, texts } = fixture();
  send(hello("k"));
  await answer({ logs: [], next: null });
  feed.pause();
  send({ type: "log", data: record(1) });
  assert.deepEqual([texts(), feed.news], ["", 1]);
  feed.resume();
  assert.equal(texts(), "r1");
  feed.pause();
  for (let n = 2; n < LOGS_HELD_MAX + 10; n += 1) send({ type: "log", data: record(n) });
  feed.resume();
  assert.deepEqual([feed.lines.all.length, server.asked.length], [LOGS_HELD_MAX + 1, 2]);
});

test("a search is sent to the server, and a late answer is ignored", async () => {
  const { feed, server, send, answer, texts } = fixture();
  send(hello("k"));
  feed.search("slow & more", 13);
  server.timer();
  await answer({ logs: records(1, 1), next: null });
  assert.equal(texts(), "");
  await answer({ logs: records(2, 2), next: null });
  assert.deepEqual([texts(), server.asked[1]], ["r2", "logs?limit=200&q=slow+%26+more&severity=13"]);
  feed.search("slow & more", 13);
  assert.equal(server.asked.length, 2);
});

test("without a valid answer of the server, new records still appear", async () => {
  for (const [body, status] of [[null, 404], [{ logs: 7 }, 200], [{ logs: [null, 5, { timestamp: "soon" }, record(1)] }, 200]]) {
    const { feed, send, answer, texts } = fixture();
    send(hello("k"));
    await answer(body, Number(status));
    send({ type: "log", data: record(2) });
    send({ type: "gap", id: "k-3", data: { type: "gap", reason: "dropped", lost: { starts: 0, ends: 0, other: 4 } } });
    assert.deepEqual([texts().endsWith("r2"), feed.model.losses.other, feed.hasFailed], [true, 4, !Array.isArray(body?.logs)]);
  }
});

test("a closed feed sends no request", async () => {
  const { feed, server, send, answer, texts } = fixture();
  send(hello("k"));
  feed.close();
  await answer({ logs: [{ ...record(1), timestamp: at(1) }], next: null });
  assert.deepEqual([texts(), server.opened, server.closed, feed.stream], ["", 2, 2, null]);
});

/** @param {string} spanId @param {number} time @param {string} message */
const failed = (spanId, time, message) => ended(spanId, null, 0, time + 1, { status: { code: "ERROR" }, events: [{ name: "started", timestamp: at(time) }, { name: "exception", timestamp: at(time), attributes: { "exception.type": "Bank", "exception.message": message } }] });

test("exceptions of failed spans are among the records, each once, and not before the loaded ones", async () => {
  const { feed, fail, send, answer, texts } = fixture();
  send(hello("k"));
  fail(failed("x", 2, "early"), "k-3");
  fail(failed("y", 8, "late"), "k-9");
  assert.equal(texts(), "", "an exception is shown before any record is loaded");
  await answer({ logs: records(5, 7), next: "42" });
  fail(failed("y", 8, "late"), "k-9");
  assert.equal(texts(), "r5 r6 r7 Bank: late");
  void feed.load(feed.before);
  await answer({ logs: records(1, 4), next: null });
  assert.deepEqual([texts(), feed.lines.counts.ERROR], ["r1 r2 Bank: early r3 r4 r5 r6 r7 Bank: late", 2]);
});

test("an exception that a log record repeats is shown once, whichever arrives first", async () => {
  const { fail, send, answer, texts } = fixture();
  send(hello("k"));
  await answer({ logs: [], next: null });
  const error = (/** @type {string} */ spanId, /** @type {number} */ time, /** @type {object} */ more) => ({ ...log(spanId, time, { severityNumber: 17, severityText: "ERROR", ...more }).data });
  send({ type: "log", data: error("x", 1, { body: "payment failed: declined" }) });
  fail(failed("x", 2, "declined"), "k-1");
  fail(failed("y", 3, "timeout"), "k-2");
  assert.equal(texts(), "payment failed: declined Bank: timeout");
  send({ type: "log", data: error("y", 4, { body: "failed", attributes: { "exception.message": "timeout" } }) });
  fail(failed("z", 5, "timeout"), "k-3");
  assert.equal(texts(), "payment failed: declined failed Bank: timeout");
});

test("failed spans of the newest events are requested, and the feed has the time from which on it has them", async () => {
  const { feed, server, fail, send, answer } = fixture();
  send(hello("k", { oldest: "k-1", head: `k-${EXCEPTION_EVENTS_MAX + 500}` }));
  assert.deepEqual([server.failed.lastEventId, feed.exceptionsFrom], ["k-500", Infinity]);
  fail(failed("x", 2, "early"), "k-600");
  assert.equal(feed.exceptionsFrom, Date.parse(at(3)));
  send(hello("k"));
  assert.equal(server.opened, 2);
  await answer({ logs: [], next: null });
  const small = fixture();
  small.send(hello("k"));
  assert.deepEqual([small.server.failed.lastEventId, small.feed.exceptionsFrom], ["", -Infinity]);
  for (let n = 0; n < EXCEPTIONS_HELD_MAX + 5; n += 1) small.fail(failed(`s${n}`, n, `m${n}`), `k-${n}`);
  assert.deepEqual([small.feed.early.size, [...small.feed.early.values()][0].text], [EXCEPTIONS_HELD_MAX, "Bank: m5"]);
});

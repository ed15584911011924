// @ts-check
// Claims about the feed of the list: live, paused, searched, and paged into history.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pageStatus } from "../../src/dashboard/assets/model/status.mjs";
import { ListFeed } from "../../src/dashboard/assets/net/list-feed.mjs";
import { at } from "./build.mjs";

/** @param {number} sequence @param {object} [more] @returns {any} */
const trace = (sequence, more = {}) => ({ traceId: `t${sequence}`, name: `job ${sequence}`, state: "ok", startTimestamp: at(sequence), firstId: `aaaaaaaa-${sequence}`, services: [], ...more });
/** @param {number} from @param {number} to */
const traces = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => trace(from + index));

/** A fake server that a test controls. Its log has `last` traces. @param {number} last */
function serverOf(last) {
  const asked = /** @type {string[]} */ ([]);
  const timers = /** @type {Map<number, () => void>} */ (new Map());
  const server = {
    asked, status: 200, gate: Promise.resolve(), onEvent: /** @type {(event: any) => void} */ (() => {}),
    ring: () => {
      const due = [...timers.values()];
      timers.clear();
      for (const callback of due) callback();
    },
  };
  const world = /** @type {any} */ ({
    getJson: async (/** @type {string} */ route) => {
      asked.push(route);
      const parameters = new URLSearchParams(route.split("?")[1]);
      const before = Number(parameters.get("after") ?? Infinity);
      const limit = Number(parameters.get("limit"));
      const query = parameters.get("q") ?? "";
      const all = traces(1, Math.min(last, before - 1)).reverse().filter((one) => one.name.includes(query));
      await server.gate;
      return { status: server.status, body: { traces: all.slice(0, limit), next: all.length > limit ? String(last - (last - Number(all[limit].traceId.slice(1))) + 1) : null } };
    },
    openStream: (/** @type {any} */ wanted) => {
      server.onEvent = wanted.onEvent;
      return { close() {}, resume() {}, pause() {} };
    },
    setTimeout: (/** @type {() => void} */ callback) => {
      timers.set(timers.size + 1, callback);
      return timers.size;
    },
    clearTimeout: (/** @type {number} */ timer) => timers.delete(timer),
    onClock() {}, onChange() {}, serverNow: () => 0,
  });
  const feed = new ListFeed(world);
  feed.open();
  const send = (/** @type {any[]} */ sent, more = {}) => server.onEvent({ type: "traces", data: { type: "traces", snapshot: false, traces: sent, removed: [], ...more } });
  return { server, feed, send };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a complete list has nothing older", async () => {
  const { server, feed, send } = serverOf(20);
  assert.equal(feed.hasOlder(), false, "older traces are offered before the snapshot");
  send(traces(1, 20), { snapshot: true });
  await feed.loadOlder();
  assert.deepEqual([feed.hasOlder(), server.asked], [false, []]);
});

test("history continues below the live rows, page by page, without a gap, to its end", async () => {
  const { server, feed, send } = serverOf(1000);
  send([...traces(501, 1000), trace(7, { state: "running" })], { snapshot: true, next: "501" });
  while (feed.hasOlder()) await feed.loadOlder();
  assert.deepEqual(server.asked, ["traces?limit=200&after=501", "traces?limit=200&after=301", "traces?limit=200&after=101"]);
  assert.deepEqual([feed.model.traces.size, feed.model.older.size], [501, 499]);
});

test("rows removed from the live list while history is shown stay as history", async () => {
  const { feed, send } = serverOf(1000);
  send(traces(501, 1000), { snapshot: true, next: "501" });
  await feed.loadOlder();
  send(traces(1001, 3000));
  assert.deepEqual([feed.model.traces.size, feed.model.older.size, feed.model.floor], [2000, 700, 1001]);
  feed.forget();
  assert.deepEqual([feed.model.older.size, feed.hasOlder()], [0, true]);
});

test("a text search requests history from the newest on, once the reader stops typing", async () => {
  const { server, feed, send } = serverOf(1000);
  send(traces(501, 1000), { snapshot: true, next: "501" });
  feed.search("job 1");
  feed.search("job 12");
  assert.deepEqual(server.asked, []);
  server.ring();
  await settled();
  assert.deepEqual(server.asked, ["traces?limit=200&q=job+12"]);
  assert.deepEqual([...feed.model.older.keys()], ["t129", "t128", "t127", "t126", "t125", "t124", "t123", "t122", "t121", "t120", "t12"]);
  assert.equal(feed.hasOlder(), false, "history is offered although it has no more matches");
  feed.search("");
  assert.deepEqual([feed.model.older.size, feed.hasOlder()], [0, true]);
});

test("the list shows that the server stopped early, until the search has reached the end", async () => {
  const { server, feed, send } = serverOf(1000);
  send(traces(501, 1000), { snapshot: true, next: "501" });
  const { getJson } = feed.world;
  feed.world.getJson = async () => ({ status: 200, body: { traces: [], next: "300", stoppedEarly: true } });
  feed.search("job 12");
  server.ring();
  await settled();
  assert.deepEqual([feed.stoppedEarly, feed.hasOlder()], [true, true]);
  feed.world.getJson = getJson;
  await feed.loadOlder();
  assert.deepEqual([feed.stoppedEarly, server.asked], [false, ["traces?limit=200&after=300&q=job+12"]]);
});

test("a late answer to an earlier search is ignored", async () => {
  const { server, feed, send } = serverOf(1000);
  send(traces(501, 1000), { snapshot: true, next: "501" });
  let open = () => {};
  server.gate = new Promise((resolve) => (open = resolve));
  feed.search("job 12");
  server.ring();
  feed.search("job 13");
  open();
  await settled();
  assert.deepEqual([feed.model.older.size, feed.loadingOlder], [0, false]);
});

test("an invalid search sends no request", async () => {
  const { server, feed, send } = serverOf(1000);
  send(traces(501, 1000), { snapshot: true, next: "501" });
  feed.search("state:gone");
  server.ring();
  await feed.loadOlder();
  assert.deepEqual([server.asked, feed.hasOlder()], [[], false]);
});

test("a failed page is reported, and can be requested again", async () => {
  const { server, feed, send } = serverOf(1000);
  send(traces(501, 1000), { snapshot: true, next: "501" });
  server.status = 503;
  await feed.loadOlder();
  assert.deepEqual([feed.olderFailed, feed.hasOlder(), feed.model.older.size], [true, true, 0]);
  server.status = 200;
  await feed.loadOlder();
  assert.deepEqual([feed.olderFailed, feed.model.older.size], [false, 200]);
});

test("a new snapshot restarts history, for the same search", async () => {
  const { server, feed, send } = serverOf(1000);
  feed.search("job 12");
  send(traces(501, 1000), { snapshot: true, next: "501" });
  server.ring();
  await settled();
  send(traces(501, 1000), { snapshot: true, next: "501" });
  assert.equal(feed.model.older.size, 0);
  server.ring();
  await settled();
  assert.equal(feed.model.older.size, 11);
});

test("a paused list does not change, counts new traces, and shows them when resumed", () => {
  const { server, feed, send } = serverOf(0);
  send([trace(1)], { snapshot: true });
  feed.pause();
  send([trace(1), trace(2)]);
  server.onEvent({ type: "traces", data: { type: "traces", traces: [trace(2), trace(3)], removed: ["t1"] } });
  assert.deepEqual([feed.news, [...feed.model.traces.keys()]], [2, ["t1"]]);
  feed.resume();
  assert.deepEqual([feed.paused, [...feed.model.traces.keys()]], [false, ["t2", "t3"]]);
});

test("the list reports that the store fails, that it works again, and the losses, as a trace does", () => {
  const { server, feed, send } = serverOf(3);
  const status = () => {
    const { hostDropped, losses, degraded } = feed.model;
    const { state, text, lines } = pageStatus({ ...feed, paused: feed.paused, status: { ...feed.status, word: "live" } }, { hostDropped, losses, restarts: 0, degraded, zone: "utc" }, 0);
    return [state, text, lines[0]];
  };
  const none = "dropped in the program since it began: 0 starts, 0 ends, 0 other";
  server.onEvent({ type: "hello", id: "", data: { type: "hello", epoch: "aaaaaaaa" } });
  send(traces(1, 3), true);
  assert.deepEqual(status(), ["live", "Live", none]);
  server.onEvent({ type: "degraded", id: "", data: { type: "degraded" } });
  assert.deepEqual(status(), ["degraded", "Degraded", "the store is failing: new events arrive late or cannot be replayed"]);
  // While the page is paused, its status continues to be updated.
  feed.pause();
  const gap = { type: "gap", id: "aaaaaaaa-9", data: { type: "gap", reason: "dropped", lost: { starts: 2, ends: 1, other: 0 } } };
  for (const event of [gap, gap]) server.onEvent(event);
  assert.deepEqual([feed.model.degraded, status()[1]], [true, "Paused"]);
  feed.resume();
  assert.deepEqual(status(), ["gap", "Gap · 3 lost", "lost in this log: 2 starts, 1 ends, 0 other events"]);
  server.onEvent({ type: "gap", id: "", data: { type: "gap", reason: "epoch", lost: null } });
  assert.equal(status()[0], "gap");
});

test("losses of several outages add up, although gaps of the list's stream have no id", () => {
  const { server, feed } = serverOf(3);
  for (const starts of [2, 5]) server.onEvent({ type: "gap", id: "", data: { type: "gap", reason: "dropped", lost: { starts, ends: 1, other: 0 } } });
  assert.deepEqual([feed.model.losses.starts, feed.model.losses.ends], [7, 2]);
});

test("events are searched from the newest on, even if all traces are loaded, and again on request", async () => {
  /** @type {string[]} */
  const asked = [];
  /** @type {(() => void)[]} */
  const due = [];
  /** @type {any} */
  let wanted;
  const match = { spanId: null, name: null, field: "log.body", text: "card declined" };
  const feed = new ListFeed(/** @type {any} */ ({
    getJson: async (/** @type {string} */ route) => {
      asked.push(route);
      return { status: 200, body: { traces: [{ ...traces(1, 1)[0], match }], next: null } };
    },
    openStream: (/** @type {any} */ one) => {
      wanted = one;
      return { close() {}, resume() {}, pause() {} };
    },
    setTimeout: (/** @type {() => void} */ callback) => due.push(callback), clearTimeout() {}, onClock() {}, onChange() {}, serverNow: () => 0,
  }));
  feed.open();
  wanted.onEvent({ type: "traces", data: { type: "traces", snapshot: true, traces: traces(1, 3), removed: [] } });
  assert.deepEqual([feed.isDeep, feed.hasOlder()], [false, false]);
  feed.search("name:x");
  assert.deepEqual([feed.isDeep, feed.hasOlder()], [false, false], "a search that summaries can decide asks the server");
  feed.search('"card declined"');
  due.pop()?.();
  await settled();
  const route = "traces?limit=200&q=%22card+declined%22";
  assert.deepEqual([feed.isDeep, asked, [...feed.model.matches], feed.hasOlder()], [true, [route], [[traces(1, 1)[0].traceId, match]], false]);
  feed.searchAgain();
  await settled();
  assert.deepEqual(asked, [route, route]);
  feed.search("");
  assert.equal(feed.model.matches.size, 0);
});

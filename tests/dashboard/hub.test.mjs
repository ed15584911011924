// @ts-check
// Claims about many tabs that share few connections.

import assert from "node:assert/strict";
import { test } from "node:test";
import { HUB_SILENT_MS, HubClient } from "../../src/dashboard/assets/net/hub-client.mjs";
import { FAILED_KEPT_MAX, LogLine, TRACES_MAX } from "../../src/dashboard/assets/net/hub-lines.mjs";
import { CONNECTIONS_MAX, Hub, UNREAD_MAX, UNREAD_MS } from "../../src/dashboard/assets/net/hub.mjs";
import { FakeLog } from "./log.mjs";
import { FakeWorld } from "./world.mjs";

/** @param {number} n @returns {string} */
const trace = (n) => String(n).padStart(32, "0");

/** Several tabs, the hub that they share, and its server. */
class Fixture {
  constructor() {
    this.world = new FakeWorld();
    this.environment = this.world.environment();
    this.hub = new Hub({ environment: this.environment, base: "http://x/live/" });
    this.log = new FakeLog("aaaaaaaa");
    /** @type {number} */
    this.failures = 0;
  }

  /** @returns {Tab} */
  tab() {
    return new Tab(this);
  }

  open() {
    return this.world.sources.filter((source) => source.readyState !== 2);
  }

  /** @returns {string[]} the requests of the open streams */
  asked() {
    return this.open().map((source) => source.url.slice("http://x/live/".length));
  }

  /** Runs everything that is due, and lets the server send all of its events. */
  settle() {
    for (let round = 0; round < 4; round += 1) {
      this.world.pass(20);
      for (const source of this.open()) this.log.serve(source, Infinity);
    }
    this.world.pass(20);
  }
}

/** A page. While it is frozen, it reads nothing, and messages to it wait. */
class Tab {
  /** @param {Fixture} fixture */
  constructor(fixture) {
    this.frozen = false;
    /** @type {(() => void)[]} */
    this.inbox = [];
    this.messages = 0;
    const tab = this;
    this.share = new HubClient({
      environment: fixture.environment, fail: () => (fixture.failures += 1),
      reach: () => {
        /** @type {any} */
        const near = { onmessage: null, postMessage: (/** @type {any} */ data) => far.onmessage({ data: structuredClone(data) }) };
        /** @type {any} */
        const far = { onmessage: null, postMessage: (/** @type {any} */ message) => {
          const data = structuredClone(message);
          tab.messages += 1;
          const deliver = () => near.onmessage?.({ data });
          if (tab.frozen) tab.inbox.push(deliver);
          else deliver();
        } };
        fixture.hub.connect(far);
        return near;
      },
    });
  }

  thaw() {
    this.frozen = false;
    for (const deliver of this.inbox.splice(0)) deliver();
  }

  /** @param {string} key @param {string} [lastEventId] @param {"trace" | "list" | "logs"} [topic] */
  follow(key, lastEventId = "", topic = "trace") {
    /** @type {string[]} */
    const ids = [];
    /** @type {string[]} */
    const gaps = [];
    /** @type {string[]} */
    const words = [];
    /** @type {any[]} */
    const events = [];
    const stream = this.share.open({
      topic, key, lastEventId,
      onEvent: (event) => {
        events.push(event);
        if (event.type === "started") ids.push(event.id);
        if (event.type === "gap") gaps.push(`${event.data.reason} ${event.data.lost}`);
      },
      onStatus: (status) => {
        const word = status.reason === "" ? status.word : `${status.word}: ${status.reason}`;
        if (words.at(-1) !== word) words.push(word);
      },
    });
    return { stream, ids, gaps, words, events };
  }
}

test("tabs with seven traces and a list need two connections", () => {
  const fixture = new Fixture();
  for (let n = 0; n < 7; n += 1) fixture.tab().follow(trace(n));
  fixture.tab().follow("traces/sse?limit=5", "", "list");
  fixture.settle();
  const traces = [0, 1, 2, 3, 4, 5, 6].map((n) => `traceId=${trace(n)}`).join("&");
  assert.deepEqual(fixture.asked().sort(), [`sse?${traces}`, "traces/sse?limit=5"]);
});

test("tabs with log records share a connection, and a later tab learns that it is open", () => {
  const fixture = new Fixture();
  const first = fixture.tab().follow("sse?type=log&replay=none", "", "logs");
  fixture.world.pass(20);
  assert.deepEqual(fixture.asked(), ["sse?type=log&replay=none"]);
  fixture.world.last().open();
  fixture.world.last().send("hello", { type: "hello", epoch: "aaaaaaaa", now: "2026-11-22T11:39:00.000000000Z" });
  fixture.world.pass(20);
  const second = fixture.tab().follow("sse?type=log&replay=none", "aaaaaaaa-1", "logs");
  fixture.world.pass(20);
  fixture.world.last().send("log", { type: "log", body: "hi" }, "aaaaaaaa-7");
  fixture.world.pass(20);
  assert.deepEqual([first, second].map(({ events }) => events.map(({ type }) => type)), [["hello", "log"], ["hello", "log"]]);
  assert.equal(fixture.open().length, 1);
  first.stream.close();
  second.stream.close();
  fixture.world.pass(20);
  assert.equal(fixture.open().length, 0);
});

test("each tab gets its trace's events from its own resume point, once and in order", () => {
  const fixture = new Fixture();
  const ids = [1, 2, 1, 2, 1, 2].map((n) => fixture.log.append(trace(n)));
  const one = fixture.tab().follow(trace(1), ids[0]);
  const two = fixture.tab().follow(trace(2), ids[3]);
  fixture.settle();
  const late = fixture.tab().follow(trace(1), "");
  fixture.settle();
  assert.deepEqual([one.ids, two.ids, late.ids], [[ids[2], ids[4]], [ids[5]], [ids[0], ids[2], ids[4]]]);
});

test("a later tab with the same resume point needs no new connection", () => {
  const fixture = new Fixture();
  const first = fixture.log.append(trace(1));
  fixture.tab().follow(trace(1), first);
  fixture.settle();
  const second = fixture.tab().follow(trace(1), first);
  const next = fixture.log.append(trace(1));
  fixture.settle();
  assert.deepEqual([second.ids, second.words, fixture.world.sources.length], [[next], ["live"], 1]);
});

test("a later tab gets the live list's present state without a new connection", () => {
  const fixture = new Fixture();
  fixture.tab().follow("traces/sse", "", "list");
  fixture.settle();
  fixture.world.last().send("traces", { type: "traces", snapshot: true, traces: [{ traceId: "a" }, { traceId: "b" }], next: "7" });
  fixture.world.last().send("traces", { type: "traces", traces: [{ traceId: "c" }], removed: ["a"] });
  const second = fixture.tab().follow("traces/sse", "", "list");
  fixture.settle();
  assert.deepEqual(second.events.map(({ type, data }) => [type, data.traces?.map((/** @type {any} */ one) => one.traceId)]), [["hello", undefined], ["traces", ["b", "c"]]]);
  assert.equal(Number(second.events[1].data.next), 7, "the later tab's history begins at the wrong place");
  assert.equal(fixture.world.sources.length, 1);
});

test("a later tab learns the log's epoch, the server's time, and that the store fails", () => {
  const fixture = new Fixture();
  const id = fixture.log.append(trace(1));
  fixture.tab().follow(trace(1), id);
  fixture.settle();
  const source = fixture.open()[0];
  source.send("ping", { type: "ping", now: "2026-11-22T11:39:00.000000000Z" });
  source.send("degraded", { type: "degraded" });
  fixture.world.pass(5_000);
  const during = fixture.tab().follow(trace(1), id);
  fixture.settle();
  source.send("gap", { type: "gap", reason: "epoch", lost: null });
  const after = fixture.tab().follow(trace(1), id);
  fixture.settle();
  const received = (/** @type {any} */ { events }) => events.map((/** @type {any} */ { type, data }) => (data.now === undefined ? type : `${type} ${data.now}`));
  assert.deepEqual([received(during).slice(0, 3), received(after)], [["hello", "ping 2026-11-22T11:39:05.000Z", "degraded"], ["hello", "ping 2026-11-22T11:39:05.100Z"]]);
});

test("a connection ends with its last reader, and a trace without a reader is not requested again", () => {
  const fixture = new Fixture();
  const one = fixture.tab().follow(trace(1));
  const two = fixture.tab().follow(trace(2));
  fixture.settle();
  one.stream.close();
  fixture.world.pass(6_000);
  assert.deepEqual(fixture.asked(), [`sse?traceId=${trace(2)}`]);
  two.stream.close();
  fixture.world.pass(60_000);
  assert.deepEqual([fixture.asked(), fixture.hub.lines.length], [[], 0]);
});

test("traces beyond one connection's limit use another one, and beyond all connections they wait", () => {
  const fixture = new Fixture();
  const follows = Array.from({ length: TRACES_MAX * CONNECTIONS_MAX + 1 }, (_, n) => fixture.tab().follow(trace(n)));
  fixture.settle();
  assert.deepEqual([fixture.open().length, follows[0].words.at(-1), follows.at(-1)?.words], [CONNECTIONS_MAX, "live", ["connecting: crowded"]]);
  for (const follow of follows.slice(0, TRACES_MAX)) follow.stream.close();
  fixture.settle();
  assert.deepEqual([fixture.open().length, follows.at(-1)?.words.at(-1)], [CONNECTIONS_MAX, "live"]);
});

test("a frozen tab is detached, and resumes at its own place when it thaws", () => {
  const fixture = new Fixture();
  const tab = fixture.tab();
  const one = tab.follow(trace(1));
  const two = fixture.tab().follow(trace(2));
  fixture.settle();
  const ids = [fixture.log.append(trace(1))];
  fixture.settle();
  tab.frozen = true;
  ids.push(fixture.log.append(trace(1)), fixture.log.append(trace(1)));
  fixture.settle();
  for (let passed = 0; passed < UNREAD_MS + 20_000; passed += 10_000) {
    fixture.open()[0].send("ping", { type: "ping" });
    fixture.world.pass(10_000);
  }
  const waiting = tab.inbox.length;
  for (let n = 0; n < 100; n += 1) {
    ids.push(fixture.log.append(trace(1)));
    fixture.settle();
  }
  assert.equal(tab.inbox.length, waiting, "messages are queued for a detached tab");
  tab.thaw();
  fixture.settle();
  assert.deepEqual([one.ids, two.words], [ids, ["connecting", "live"]]);
});

test("a page that slept reports it, and a page that was only hidden does not", () => {
  const fixture = new Fixture();
  const one = fixture.tab().follow(trace(1));
  fixture.settle();
  fixture.world.time += 60_000;
  fixture.open()[0].send("ping", { type: "ping" });
  fixture.settle();
  assert.equal(one.stream.status().outage, null);
  fixture.world.sleep(600_000);
  const { outage } = one.stream.status();
  assert.deepEqual([outage?.reason, outage?.at], ["asleep", fixture.world.time]);
  assert.ok(Number(outage?.milliseconds) >= 600_000);
});

test("a slow tab costs a bounded queue and loses nothing", () => {
  const fixture = new Fixture();
  const ids = Array.from({ length: UNREAD_MAX + 10 }, () => fixture.log.append(trace(1)));
  const tab = fixture.tab();
  const one = tab.follow(trace(1));
  tab.frozen = true;
  fixture.settle();
  assert.equal(fixture.open().length, 0);
  tab.thaw();
  fixture.settle();
  assert.deepEqual(one.ids, ids);
});

test("a paused stream resumes at its place, and events in flight are not repeated", () => {
  const fixture = new Fixture();
  const tab = fixture.tab();
  const one = tab.follow(trace(1));
  const ids = [fixture.log.append(trace(1))];
  fixture.settle();
  tab.frozen = true;
  ids.push(fixture.log.append(trace(1)));
  fixture.settle();
  one.stream.pause();
  one.stream.resume();
  tab.thaw();
  fixture.settle();
  assert.deepEqual([one.ids, one.words.slice(-4)], [ids, ["live", "paused", "connecting", "live"]]);
});

test("a restart of the log is reported only to readers of the old one", () => {
  const fixture = new Fixture();
  const before = fixture.log.append(trace(1));
  fixture.log.append(trace(2));
  const one = fixture.tab().follow(trace(1));
  fixture.settle();
  const source = fixture.open()[0];
  fixture.log.cut(source);
  fixture.log = new FakeLog("bbbbbbbb");
  const after = [fixture.log.append(trace(1)), fixture.log.append(trace(2))];
  fixture.world.pass(1_000);
  fixture.settle();
  const two = fixture.tab().follow(trace(2), fixture.log.head());
  fixture.settle();
  const frozen = fixture.tab().follow(trace(1), before);
  fixture.settle();
  const last = [fixture.log.append(trace(1)), fixture.log.append(trace(2))];
  fixture.settle();
  assert.deepEqual([one.gaps, one.ids], [["epoch null"], [before, after[0], last[0]]]);
  assert.deepEqual([two.gaps, two.ids], [[], [last[1]]]);
  assert.deepEqual([frozen.gaps, frozen.ids], [["epoch null"], [after[0], last[0]]]);
});

test("evictions are reported to readers that had not read the events", () => {
  const fixture = new Fixture();
  const ids = Array.from({ length: 10 }, () => fixture.log.append(trace(1)));
  fixture.log.evict(5);
  const behind = fixture.tab().follow(trace(1), ids[1]);
  const ahead = fixture.tab().follow(trace(1), ids[6]);
  fixture.settle();
  assert.deepEqual([behind.gaps, behind.ids, ahead.gaps, ahead.ids], [["evicted 3"], ids.slice(5), [], ids.slice(7)]);
});

test("a dead hub is replaced, and each stream resumes at its own place", () => {
  const fixture = new Fixture();
  const one = fixture.tab().follow(trace(1));
  const ids = [fixture.log.append(trace(1))];
  fixture.settle();
  for (const source of fixture.open()) source.close();
  fixture.hub = new Hub({ environment: fixture.environment, base: "http://x/live/" });
  ids.push(fixture.log.append(trace(1)));
  fixture.world.pass(HUB_SILENT_MS + 20_000);
  fixture.settle();
  assert.deepEqual([one.ids, fixture.failures], [ids, 0]);
});

test("a hub that never answers is distinguished from a dead one", () => {
  const fixture = new Fixture();
  const { connect } = fixture.hub;
  fixture.hub.connect = (port) => (port.onmessage = () => {});
  const one = fixture.tab().follow(trace(1));
  const ids = [fixture.log.append(trace(1))];
  fixture.world.pass(20_000);
  assert.equal(fixture.failures, 0);
  fixture.hub.connect = connect;
  fixture.world.pass(20_000);
  fixture.settle();
  assert.deepEqual([fixture.failures, one.ids], [1, ids]);
});

/** A small generator of pseudo-random numbers, so that a failure can be repeated. @param {number} seed */
function generator(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test("with any tabs, connections and traffic, every reader gets its trace without gap or duplicate", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const below = generator(seed);
    const fixture = new Fixture();
    /** @type {{tab: Tab, key: string, from: number, stream: any, ids: string[], open: boolean}[]} */
    const readers = [];
    /** @type {(() => void)[]} */
    const acts = [
      () => void fixture.log.append(trace(below(4))),
      () => void fixture.log.append(below(5) === 0 ? null : trace(below(4))),
      () => {
        const from = below(fixture.log.events.length + 1);
        const key = trace(below(4));
        const tab = readers.length > 0 && below(3) === 0 ? readers[below(readers.length)].tab : fixture.tab();
        readers.push({ tab, key, from, open: true, ...tab.follow(key, from === 0 ? "" : fixture.log.id(from)) });
      },
      () => {
        const reader = readers[below(readers.length || 1)];
        if (reader !== undefined && below(4) === 0) {
          reader.stream.close();
          reader.open = false;
        }
      },
      () => readers[below(readers.length || 1)]?.stream.pause(),
      () => readers[below(readers.length || 1)]?.stream.resume(),
      () => {
        const tab = readers[below(readers.length || 1)]?.tab;
        if (tab !== undefined && below(2) === 0) tab.frozen = true;
        else tab?.thaw();
      },
      () => fixture.open().forEach((source) => fixture.log.serve(source, below(4))),
      () => fixture.open().forEach((source) => below(3) === 0 && fixture.log.cut(source)),
      () => fixture.open().forEach((source) => below(6) === 0 && source.refuse()),
      () => fixture.world.pass([5, 20, 3_000, 40_000, 100_000][below(5)]),
      () => readers[below(readers.length || 1)]?.tab.share.wake(),
    ];
    for (let step = 0; step < 120; step += 1) acts[below(acts.length)]();
    for (const { tab, stream, open } of readers) {
      tab.thaw();
      if (open) stream.resume();
    }
    fixture.world.pass(40_000);
    for (let round = 0; round < 3; round += 1) {
      fixture.settle();
      fixture.world.pass(31_000);
    }
    fixture.settle();
    for (const [index, reader] of readers.entries()) {
      const all = fixture.log.events.filter(({ sequence, traceId }) => traceId === reader.key && sequence > reader.from).map(({ sequence }) => fixture.log.id(sequence));
      assert.deepEqual(reader.ids, reader.open ? all : all.slice(0, reader.ids.length), `seed ${seed}, reader ${index}`);
    }
  }
});

test("a later tab gets the newest failed spans from the hub, and no record twice", () => {
  const hub = /** @type {any} */ ({ forget: () => {} });
  const line = new LogLine(hub, "sse?type=ended&status=error");
  /** @type {string[]} */
  const got = [];
  const subscription = (/** @type {number} */ n) => /** @type {any} */ ({ tab: { post: (/** @type {any[]} */ [, of, type, id]) => void got.push(`${of} ${type} ${id}`) }, n, key: "", skip: "", ready: false, word: "" });
  line.add(subscription(1), "k-7");
  for (let n = 1; n <= FAILED_KEPT_MAX + 2; n += 1) line.receive({ type: "ended", id: `k-${n}`, text: "{}" });
  line.receive({ type: "log", id: "k-9000", text: "{}" });
  got.length = 0;
  line.add(subscription(2), "");
  assert.deepEqual([line.from, got.length, got[0], got.at(-1)], ["k-7", FAILED_KEPT_MAX, "2 ended k-3", `2 ended k-${FAILED_KEPT_MAX + 2}`]);
});

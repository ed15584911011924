// @ts-check
// Claims about many tabs that share few connections.

import assert from "node:assert/strict";
import { test } from "node:test";
import { HUB_SILENT_MS, HubClient } from "../../src/dashboard/assets/net/hub-client.mjs";
import { TRACES_MAX } from "../../src/dashboard/assets/net/hub-lines.mjs";
import { CONNECTIONS_MAX, Hub, UNREAD_MAX, UNREAD_MS } from "../../src/dashboard/assets/net/hub.mjs";
import { FakeLog } from "./log.mjs";
import { FakeWorld } from "./world.mjs";

/** @param {number} n @returns {string} */
const trace = (n) => String(n).padStart(32, "0");

/** Several tabs, the hub that they share, and its server. */
class Desk {
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
  /** @param {Desk} desk */
  constructor(desk) {
    this.frozen = false;
    /** @type {(() => void)[]} */
    this.inbox = [];
    this.messages = 0;
    const tab = this;
    this.share = new HubClient({
      environment: desk.environment, fail: () => (desk.failures += 1),
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
        desk.hub.connect(far);
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

test("seven tabs on seven traces and a list are two connections", () => {
  const desk = new Desk();
  for (let n = 0; n < 7; n += 1) desk.tab().follow(trace(n));
  desk.tab().follow("traces/sse?limit=5", "", "list");
  desk.settle();
  const traces = [0, 1, 2, 3, 4, 5, 6].map((n) => `traceId=${trace(n)}`).join("&");
  assert.deepEqual(desk.asked().sort(), [`sse?${traces}`, "traces/sse?limit=5"]);
});

test("tabs on the log records share a connection, and who comes later hears that it is open", () => {
  const desk = new Desk();
  const first = desk.tab().follow("sse?type=log&replay=none", "", "logs");
  desk.world.pass(20);
  assert.deepEqual(desk.asked(), ["sse?type=log&replay=none"]);
  desk.world.last().open();
  desk.world.last().send("hello", { type: "hello", epoch: "aaaaaaaa", now: "2026-11-22T11:39:00.000000000Z" });
  desk.world.pass(20);
  const second = desk.tab().follow("sse?type=log&replay=none", "aaaaaaaa-1", "logs");
  desk.world.pass(20);
  desk.world.last().send("log", { type: "log", body: "hi" }, "aaaaaaaa-7");
  desk.world.pass(20);
  assert.deepEqual([first, second].map(({ events }) => events.map(({ type }) => type)), [["hello", "log"], ["hello", "log"]]);
  assert.equal(desk.open().length, 1);
  first.stream.close();
  second.stream.close();
  desk.world.pass(20);
  assert.equal(desk.open().length, 0);
});

test("each tab gets the events of its trace from its own place, once and in order", () => {
  const desk = new Desk();
  const ids = [1, 2, 1, 2, 1, 2].map((n) => desk.log.append(trace(n)));
  const one = desk.tab().follow(trace(1), ids[0]);
  const two = desk.tab().follow(trace(2), ids[3]);
  desk.settle();
  const late = desk.tab().follow(trace(1), "");
  desk.settle();
  assert.deepEqual([one.ids, two.ids, late.ids], [[ids[2], ids[4]], [ids[5]], [ids[0], ids[2], ids[4]]]);
});

test("a tab that comes later to the same place needs no new connection", () => {
  const desk = new Desk();
  const first = desk.log.append(trace(1));
  desk.tab().follow(trace(1), first);
  desk.settle();
  const second = desk.tab().follow(trace(1), first);
  const next = desk.log.append(trace(1));
  desk.settle();
  assert.deepEqual([second.ids, second.words, desk.world.sources.length], [[next], ["live"], 1]);
});

test("whoever comes to a live list gets what the others have, without a new connection", () => {
  const desk = new Desk();
  desk.tab().follow("traces/sse", "", "list");
  desk.settle();
  desk.world.last().send("traces", { type: "traces", snapshot: true, traces: [{ traceId: "a" }, { traceId: "b" }], next: "7" });
  desk.world.last().send("traces", { type: "traces", traces: [{ traceId: "c" }], removed: ["a"] });
  const second = desk.tab().follow("traces/sse", "", "list");
  desk.settle();
  assert.deepEqual(second.events.map(({ type, data }) => [type, data.traces?.map((/** @type {any} */ one) => one.traceId)]), [["hello", undefined], ["traces", ["b", "c"]]]);
  assert.equal(Number(second.events[1].data.next), 7, "where history goes on");
  assert.equal(desk.world.sources.length, 1);
});

test("whoever comes to a connection hears what holds on it: its log's life, the clock, and a failing store", () => {
  const desk = new Desk();
  const id = desk.log.append(trace(1));
  desk.tab().follow(trace(1), id);
  desk.settle();
  const source = desk.open()[0];
  source.send("ping", { type: "ping", now: "2026-11-22T11:39:00.000000000Z" });
  source.send("degraded", { type: "degraded" });
  desk.world.pass(5_000);
  const during = desk.tab().follow(trace(1), id);
  desk.settle();
  source.send("gap", { type: "gap", reason: "epoch", lost: null });
  const after = desk.tab().follow(trace(1), id);
  desk.settle();
  const heard = (/** @type {any} */ { events }) => events.map((/** @type {any} */ { type, data }) => (data.now === undefined ? type : `${type} ${data.now}`));
  assert.deepEqual([heard(during).slice(0, 3), heard(after)], [["hello", "ping 2026-11-22T11:39:05.000Z", "degraded"], ["hello", "ping 2026-11-22T11:39:05.100Z"]]);
});

test("the connection ends with its last reader, and a trace without a reader is asked for no longer", () => {
  const desk = new Desk();
  const one = desk.tab().follow(trace(1));
  const two = desk.tab().follow(trace(2));
  desk.settle();
  one.stream.close();
  desk.world.pass(6_000);
  assert.deepEqual(desk.asked(), [`sse?traceId=${trace(2)}`]);
  two.stream.close();
  desk.world.pass(60_000);
  assert.deepEqual([desk.asked(), desk.hub.lines.length], [[], 0]);
});

test("more traces than one connection carries take another, and what is beyond all connections waits its turn", () => {
  const desk = new Desk();
  const follows = Array.from({ length: TRACES_MAX * CONNECTIONS_MAX + 1 }, (_, n) => desk.tab().follow(trace(n)));
  desk.settle();
  assert.deepEqual([desk.open().length, follows[0].words.at(-1), follows.at(-1)?.words], [CONNECTIONS_MAX, "live", ["connecting: crowded"]]);
  for (const follow of follows.slice(0, TRACES_MAX)) follow.stream.close();
  desk.settle();
  assert.deepEqual([desk.open().length, follows.at(-1)?.words.at(-1)], [CONNECTIONS_MAX, "live"]);
});

test("a frozen tab is let go, and goes on from its own place when it thaws", () => {
  const desk = new Desk();
  const tab = desk.tab();
  const one = tab.follow(trace(1));
  const two = desk.tab().follow(trace(2));
  desk.settle();
  const ids = [desk.log.append(trace(1))];
  desk.settle();
  tab.frozen = true;
  ids.push(desk.log.append(trace(1)), desk.log.append(trace(1)));
  desk.settle();
  for (let passed = 0; passed < UNREAD_MS + 20_000; passed += 10_000) {
    desk.open()[0].send("ping", { type: "ping" });
    desk.world.pass(10_000);
  }
  const waiting = tab.inbox.length;
  for (let n = 0; n < 100; n += 1) {
    ids.push(desk.log.append(trace(1)));
    desk.settle();
  }
  assert.equal(tab.inbox.length, waiting, "nothing gathers for a tab that is let go");
  tab.thaw();
  desk.settle();
  assert.deepEqual([one.ids, two.words], [ids, ["connecting", "live"]]);
});

test("a page that slept says so, and a page that was only hidden does not", () => {
  const desk = new Desk();
  const one = desk.tab().follow(trace(1));
  desk.settle();
  desk.world.time += 60_000;
  desk.open()[0].send("ping", { type: "ping" });
  desk.settle();
  assert.equal(one.stream.status().outage, null);
  desk.world.sleep(600_000);
  const { outage } = one.stream.status();
  assert.deepEqual([outage?.reason, outage?.at], ["asleep", desk.world.time]);
  assert.ok(Number(outage?.milliseconds) >= 600_000);
});

test("a tab that cannot keep up costs a bounded queue and loses nothing", () => {
  const desk = new Desk();
  const ids = Array.from({ length: UNREAD_MAX + 10 }, () => desk.log.append(trace(1)));
  const tab = desk.tab();
  const one = tab.follow(trace(1));
  tab.frozen = true;
  desk.settle();
  assert.equal(desk.open().length, 0);
  tab.thaw();
  desk.settle();
  assert.deepEqual(one.ids, ids);
});

test("a paused stream goes on where it was, and what was on its way is not doubled", () => {
  const desk = new Desk();
  const tab = desk.tab();
  const one = tab.follow(trace(1));
  const ids = [desk.log.append(trace(1))];
  desk.settle();
  tab.frozen = true;
  ids.push(desk.log.append(trace(1)));
  desk.settle();
  one.stream.pause();
  one.stream.resume();
  tab.thaw();
  desk.settle();
  assert.deepEqual([one.ids, one.words.slice(-4)], [ids, ["live", "paused", "connecting", "live"]]);
});

test("a restarted log is told to those who had read of the old one, and only to them", () => {
  const desk = new Desk();
  const before = desk.log.append(trace(1));
  desk.log.append(trace(2));
  const one = desk.tab().follow(trace(1));
  desk.settle();
  const source = desk.open()[0];
  desk.log.cut(source);
  desk.log = new FakeLog("bbbbbbbb");
  const after = [desk.log.append(trace(1)), desk.log.append(trace(2))];
  desk.world.pass(1_000);
  desk.settle();
  const two = desk.tab().follow(trace(2), desk.log.head());
  desk.settle();
  const frozen = desk.tab().follow(trace(1), before);
  desk.settle();
  const last = [desk.log.append(trace(1)), desk.log.append(trace(2))];
  desk.settle();
  assert.deepEqual([one.gaps, one.ids], [["epoch null"], [before, after[0], last[0]]]);
  assert.deepEqual([two.gaps, two.ids], [[], [last[1]]]);
  assert.deepEqual([frozen.gaps, frozen.ids], [["epoch null"], [after[0], last[0]]]);
});

test("what was evicted is told to those who had not read it", () => {
  const desk = new Desk();
  const ids = Array.from({ length: 10 }, () => desk.log.append(trace(1)));
  desk.log.evict(5);
  const behind = desk.tab().follow(trace(1), ids[1]);
  const ahead = desk.tab().follow(trace(1), ids[6]);
  desk.settle();
  assert.deepEqual([behind.gaps, behind.ids, ahead.gaps, ahead.ids], [["evicted 3"], ids.slice(5), [], ids.slice(7)]);
});

test("a hub that is gone is replaced, each stream from its own place", () => {
  const desk = new Desk();
  const one = desk.tab().follow(trace(1));
  const ids = [desk.log.append(trace(1))];
  desk.settle();
  for (const source of desk.open()) source.close();
  desk.hub = new Hub({ environment: desk.environment, base: "http://x/live/" });
  ids.push(desk.log.append(trace(1)));
  desk.world.pass(HUB_SILENT_MS + 20_000);
  desk.settle();
  assert.deepEqual([one.ids, desk.failures], [ids, 0]);
});

test("a hub that never answers is told apart from one that is gone", () => {
  const desk = new Desk();
  const { connect } = desk.hub;
  desk.hub.connect = (port) => (port.onmessage = () => {});
  const one = desk.tab().follow(trace(1));
  const ids = [desk.log.append(trace(1))];
  desk.world.pass(20_000);
  assert.equal(desk.failures, 0);
  desk.hub.connect = connect;
  desk.world.pass(20_000);
  desk.settle();
  assert.deepEqual([desk.failures, one.ids], [1, ids]);
});

/** A small generator of pseudo-random numbers, so that a failure can be repeated. @param {number} seed */
function generator(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test("whatever tabs, connections and traffic do, every reader has its trace without hole or double", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const below = generator(seed);
    const desk = new Desk();
    /** @type {{tab: Tab, key: string, from: number, stream: any, ids: string[], open: boolean}[]} */
    const readers = [];
    /** @type {(() => void)[]} */
    const acts = [
      () => void desk.log.append(trace(below(4))),
      () => void desk.log.append(below(5) === 0 ? null : trace(below(4))),
      () => {
        const from = below(desk.log.events.length + 1);
        const key = trace(below(4));
        const tab = readers.length > 0 && below(3) === 0 ? readers[below(readers.length)].tab : desk.tab();
        readers.push({ tab, key, from, open: true, ...tab.follow(key, from === 0 ? "" : desk.log.id(from)) });
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
      () => desk.open().forEach((source) => desk.log.serve(source, below(4))),
      () => desk.open().forEach((source) => below(3) === 0 && desk.log.cut(source)),
      () => desk.open().forEach((source) => below(6) === 0 && source.refuse()),
      () => desk.world.pass([5, 20, 3_000, 40_000, 100_000][below(5)]),
      () => readers[below(readers.length || 1)]?.tab.share.wake(),
    ];
    for (let step = 0; step < 120; step += 1) acts[below(acts.length)]();
    for (const { tab, stream, open } of readers) {
      tab.thaw();
      if (open) stream.resume();
    }
    desk.world.pass(40_000);
    for (let round = 0; round < 3; round += 1) {
      desk.settle();
      desk.world.pass(31_000);
    }
    desk.settle();
    for (const [index, reader] of readers.entries()) {
      const all = desk.log.events.filter(({ sequence, traceId }) => traceId === reader.key && sequence > reader.from).map(({ sequence }) => desk.log.id(sequence));
      assert.deepEqual(reader.ids, reader.open ? all : all.slice(0, reader.ids.length), `seed ${seed}, reader ${index}`);
    }
  }
});

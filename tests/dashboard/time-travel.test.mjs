// @ts-check
// Claims about travelling through a trace.

import assert from "node:assert/strict";
import { test } from "node:test";
import { attributesOf, createTrace, reduceTrace, spanAt, stateOf } from "../../src/dashboard/assets/model/model.mjs";
import { HISTORY_SPANS_MAX, Travel, speedFor } from "../../src/dashboard/assets/model/time-travel.mjs";
import { histogram, nextChapter } from "../../src/dashboard/assets/views/travel-view.mjs";
import { TRACE, ended, started, updated } from "./build.mjs";

/** @param {any[]} events @param {any[] | null} [log] */
function world(events, log = null) {
  const trace = events.reduce(reduceTrace, createTrace(TRACE));
  const state = { clock: 0, asked: 0, changed: 0 };
  const travel = new Travel({
    events: async () => {
      state.asked += 1;
      return log;
    },
    clock: () => state.clock, changed: () => (state.changed += 1),
  });
  /** @type {{moment: number | null}} */
  const ui = { moment: null };
  return { state, travel, ui, feed: { model: trace, traceId: TRACE, generation: 0 } };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("the right end is the live trace itself", () => {
  const { travel, ui, feed } = world([ended("a", null, 0, 10)]);
  assert.deepEqual(travel.shown(feed, ui, 50), { trace: feed.model, now: null });
  ui.moment = 10;
  assert.deepEqual([travel.shown(feed, ui, 50).trace === feed.model, ui.moment], [true, null]);
});

test("a moment is a separate trace, and before the beginning the beginning is shown", () => {
  const { travel, ui, feed } = world([ended("a", null, 0, 10)]);
  ui.moment = -5;
  const shown = travel.shown(feed, ui, 50);
  assert.deepEqual([shown.now, ui.moment, stateOf(shown.trace, 0), stateOf(feed.model, 0)], [0, 0, "running", "ok"]);
});

test("playing moves the moment with the clock and the speed, and ends at now", () => {
  const { state, travel, ui, feed } = world([ended("a", null, 0, 1_000)]);
  travel.toggle(ui, feed.model.start);
  const seen = [];
  for (const [clock, speed] of [[0, 1], [100, 1], [110, 10], [150, 10], [240, 10]]) {
    state.clock = clock;
    if (travel.speed !== speed) {
      travel.shown(feed, ui, NaN);
      travel.speed = speed;
      travel.restart(ui);
    }
    seen.push(travel.shown(feed, ui, NaN).now);
  }
  assert.deepEqual([seen, ui.moment, travel.play], [[0, 100, 110, 510, null], null, null]);
});

test("stopping keeps the moment", () => {
  const { state, travel, ui, feed } = world([ended("a", null, 0, 1_000)]);
  travel.toggle(ui, 0);
  state.clock = 300;
  travel.shown(feed, ui, NaN);
  travel.toggle(ui, 0);
  state.clock = 900;
  assert.deepEqual([travel.shown(feed, ui, NaN).now, travel.play], [300, null]);
});

test("the moments of a growing trace are rebuilt at intervals, on the same object", () => {
  const { state, travel, ui, feed } = world([started("a", null, 0), ended("b", "a", 1, 5)]);
  ui.moment = 3;
  const { trace } = travel.shown(feed, ui, 100);
  reduceTrace(feed.model, ended("c", "a", 2, 4));
  assert.equal(travel.shown(feed, ui, 100).trace.counts.total, 2);
  state.clock = 1_500;
  const later = travel.shown(feed, ui, 100);
  assert.deepEqual([later.trace === trace, later.trace.counts], [true, { total: 3, open: 3, waiting: 0, errors: 0, panicked: 0, cancelled: 0, lost: 0, placeholders: 0 }]);
});

test("an open span's earlier fields come from the log, which is requested once", async () => {
  const log = [started("a", null, 0, { attributes: { step: 0 } }).data];
  const { state, travel, ui, feed } = world([ended("a", null, 0, 10, { attributes: { step: 9 } })], log);
  ui.moment = 5;
  assert.deepEqual(spanAt(travel.shown(feed, ui, NaN).trace, 0).event.attributes, { step: 9 });
  await settled();
  assert.deepEqual(spanAt(travel.shown(feed, ui, NaN).trace, 0).event.attributes, { step: 0 });
  ui.moment = 6;
  travel.shown(feed, ui, NaN);
  assert.deepEqual([state.asked, state.changed], [1, 1]);
});

test("the log of a running trace is requested again at intervals", async () => {
  const log = [started("a", null, 0).data];
  const { state, travel, ui, feed } = world([started("a", null, 0)], log);
  const asked = async (/** @type {number} */ clock, /** @type {number} */ moment) => {
    state.clock = clock;
    ui.moment = moment;
    travel.shown(feed, ui, 1_000);
    await settled();
    return [attributesOf(travel.shown(feed, ui, 1_000).trace, 0).n, state.asked];
  };
  assert.deepEqual(await asked(0, 5), [undefined, 1]);
  log.push(updated("a", 10, { attributes: { n: 1 } }).data);
  reduceTrace(feed.model, updated("a", 10, { attributes: { n: 1 } }));
  assert.deepEqual(await asked(2_000, 20), [undefined, 1]);
  assert.deepEqual([await asked(7_000, 20), await asked(8_000, 9)], [[1, 2], [undefined, 2]]);
  assert.deepEqual(await asked(60_000, 20), [1, 2], "an unchanged log was requested again");
});

test("the log of a very large trace is not requested", () => {
  const { state, travel, ui, feed } = world(Array.from({ length: HISTORY_SPANS_MAX + 1 }, (_, n) => ended(`s${n}`, null, n, n + 1)));
  ui.moment = 5;
  travel.shown(feed, ui, NaN);
  assert.equal(state.asked, 0);
});

test("a short trace plays slowly enough to be seen, a long one at most in real time", () => {
  assert.deepEqual([0.5, 15, 150, 5_000, 3_600_000].map(speedFor), [0.001, 0.001, 0.01, 1, 1]);
});

test("activity is counted by bar, including the first and last moment", () => {
  assert.deepEqual(histogram(Float64Array.of(0, 1, 5, 10), { start: 0, end: 10 }, 2), [3, 1]);
});

test("chapters lead from phase to phase, and back to the beginning", () => {
  const chapters = [{ start: 10 }, { start: 20 }, { start: 30 }];
  const steps = (/** @type {number} */ moment) => [nextChapter(chapters, moment, -1), nextChapter(chapters, moment, 1)];
  assert.deepEqual(steps(5), [-Infinity, 10]);
  assert.deepEqual(steps(20), [10, 30]);
  assert.deepEqual(steps(25), [20, 30]);
  assert.deepEqual(steps(30), [20, null]);
});

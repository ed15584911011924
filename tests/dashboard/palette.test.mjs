// @ts-check
// Claims about the colours of names.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { Palette, SERVICE_COLOURS } from "../../src/dashboard/assets/model/palette.mjs";
import { TRACE, started } from "./build.mjs";

const NAMES = ["GET /", "load cart", "reserve stock", "charge card", "send mail", "", "名前", "x".repeat(5_000)];

test("a name has one colour, whatever was drawn before it", () => {
  const forwards = new Palette();
  const backwards = new Palette();
  const slots = NAMES.map((name) => forwards.slot(name));
  assert.deepEqual([...NAMES].reverse().map((name) => backwards.slot(name)).reverse(), slots);
  // A name keeps its colour even after the palette has seen more names than it stores.
  for (let number = 0; number < 20_000; number += 1) forwards.slot(`name ${number}`);
  assert.deepEqual(NAMES.map((name) => forwards.slot(name)), slots);
  assert.deepEqual(slots.filter((slot) => !(slot >= 0 && slot < SERVICE_COLOURS)), []);
});

test("all colours are used about equally often", () => {
  const palette = new Palette();
  const used = new Array(SERVICE_COLOURS).fill(0);
  for (let number = 0; number < 12_000; number += 1) used[palette.slot(`service-${number}`)] += 1;
  assert.deepEqual(used.filter((count) => count < 850 || count > 1_150), []);
});

test("a trace of one service is coloured by span names, one of several by service", () => {
  const trace = [started("a", null, 1), started("b", null, 2)].reduce(reduceTrace, createTrace(TRACE));
  const palette = new Palette();
  assert.deepEqual([palette.slotOf(trace, 0), palette.slotOf(trace, 1)], [palette.slot("a"), palette.slot("b")]);
  reduceTrace(trace, started("c", null, 3, { service: "other" }));
  assert.deepEqual([palette.slotOf(trace, 0), palette.slotOf(trace, 2)], [palette.slot("shop"), palette.slot("other")]);
});

// @ts-check
// Claims about addresses: parsing restores what was written, and invalid parts are ignored.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WHOLE, elsewhere, isSameLook, lookOf, parseRoute, routeText, shownBy } from "../../src/dashboard/assets/model/route.mjs";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
/** @type {import("../../src/dashboard/assets/model/route.mjs").Route} */
const LIST = { trace: null, span: null, query: "", find: "", order: "running", page: "traces", view: "waterfall", since: null, until: null, mine: false, compare: null, ...WHOLE };

test("parsing an address restores the page", () => {
  /** @type {import("../../src/dashboard/assets/model/route.mjs").Route[]} */
  const pages = [
    LIST,
    { ...LIST, query: 'service:"a&b" -x', order: "newest" },
    { ...LIST, trace: TRACE },
    { ...LIST, since: 1_780_000_000_000, until: 1_780_000_007_500, mine: true },
    { ...LIST, trace: TRACE, compare: TRACE.replace("0", "1"), find: "x" },
    { ...LIST, trace: TRACE, compare: "file:one" },
    { ...LIST, page: "operations", query: "name:pay" },
    { ...LIST, page: "logs" },
    { ...LIST, page: "logs", trace: TRACE, view: "logs" },
    { ...LIST, trace: TRACE, span: SPAN, query: "état=1", find: "status:error", view: "flame", from: 0.000_001, to: 1234.5, at: 77 },
    { ...LIST, trace: TRACE, from: -3.25, to: 86_400_000, at: 0 },
    { ...LIST, trace: "file:trace 1.json", span: "any id" },
  ];
  for (const page of pages) assert.deepEqual(parseRoute(routeText(page)), page);
});

test("the address of a plain page is short", () => {
  assert.equal(routeText(LIST), "");
  assert.equal(routeText({ ...LIST, trace: TRACE, span: SPAN, view: "flame", from: 5, to: 10, at: 7.5 }), `trace=${TRACE}&span=${SPAN}&view=flame&from=5&to=10&at=7.5`);
  assert.equal(routeText({ ...LIST, trace: TRACE, from: 1e-7, to: 1e14 }), `trace=${TRACE}&from=0&to=100000000000000`);
});

test("the list has no span, view, zoom or moment", () => {
  assert.equal(routeText({ ...LIST, span: SPAN, find: "x", view: "flame", from: 1, to: 2, at: 3 }), "");
  assert.deepEqual(parseRoute(`span=${SPAN}&find=x&from=1&to=2&at=3`), LIST);
});

test("invalid parts are ignored, and the rest is kept", () => {
  for (const wrong of ["trace=", "trace=zz", `trace=${TRACE}0`, "trace=<img src=x>", "order=up", "page=nothing", "view=pie", "%", "&&&=", "q", "?"]) assert.deepEqual(parseRoute(wrong), LIST, wrong);
  const here = { ...LIST, trace: TRACE };
  for (const wrong of [
    "span=", "span=1", `span=${SPAN}ff`, "from=1", "to=2", "from=2&to=1", "from=1&to=1", "from=a&to=2", "from=NaN&to=2", "from=1&to=Infinity", "from=1e3&to=2e3",
    "at=", "at=now", "at=1e400", "at=0x10", "at=%00", `at=${"9".repeat(400)}`, "from= 1&to=2", "from=.&to=2",
  ]) assert.deepEqual(parseRoute(`trace=${TRACE}&${wrong}`), here, wrong);
  assert.deepEqual(parseRoute(`trace=${TRACE}&span=no&from=x&to=5&at=7&view=flame`), { ...here, at: 7, view: "flame" });
});

test("ids are read in either case, and the first of several counts", () => {
  assert.deepEqual(parseRoute(`trace=${TRACE.toUpperCase()}&span=${SPAN.toUpperCase()}&trace=other`), { ...LIST, trace: TRACE, span: SPAN });
});

test("another trace is shown whole, the same trace keeps its view", () => {
  const here = { ...LIST, trace: TRACE, span: SPAN, query: "q", find: "f", view: /** @type {const} */ ("flame"), from: 1, to: 2, at: 3 };
  assert.deepEqual(elsewhere(here, TRACE, null), { ...here, span: null });
  assert.deepEqual(elsewhere(here, null, null), { ...LIST, query: "q", view: "flame" });
});

test("zoom and moment count from the start of the trace, wherever that is", () => {
  const look = lookOf({ zoom: { start: 1010, end: 1020.5 }, moment: 1015 }, 1000);
  assert.deepEqual(look, { from: 10, to: 20.5, at: 15 });
  assert.deepEqual(shownBy(look, { start: 5000, end: 5100 }), { zoom: { start: 5010, end: 5020.5 }, moment: 5015 });
  assert.deepEqual(lookOf({ zoom: null, moment: null }, 1000), WHOLE);
  assert.deepEqual(shownBy(WHOLE, { start: 0, end: 1 }), { zoom: null, moment: null });
  assert.equal(isSameLook(look, { ...look }), true);
  assert.equal(isSameLook(look, { ...look, at: null }), false);
});

test("a zoom beyond the trace is moved into it, and one around the whole trace is dropped", () => {
  const whole = { start: 0, end: 100 };
  assert.deepEqual(shownBy({ from: 500, to: 510, at: null }, whole), { zoom: { start: 90, end: 100 }, moment: null });
  assert.deepEqual(shownBy({ from: -10, to: 500, at: -5 }, whole), { zoom: null, moment: 0 });
});

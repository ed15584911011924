// @ts-check
// Compares the numbers on the page with the data. Each is computed here from `GET /traces/{id}`,
// for every trace of the demo, without the page's own code.
//
// cargo build --example demo && node --test tests/firefox/numbers.test.mjs

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Firefox, LIMIT, PATIENCE_MS, goTo, until } from "./firefox.mjs";

/** At least this many spans of one name below one parent form a group. */
const GROUP_MIN = 5;
const UNITS = /** @type {Record<string, number>} */ ({ ns: 1e-6, "µs": 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 });

const firefox = new Firefox();
// The page is high enough to draw every row of a trace.
before(() => firefox.start(["--rate", "12", "--requests", "60"], { width: 1600, height: 5_000 }));
after(() => firefox.stop());

/**
 * @typedef {{id: string, name: string, service: string, start: number, end: number, bad: boolean, code: string, parent: string | null, panicked: boolean,
 *   cancelled: boolean, children: Span[]}} Span times in milliseconds since the trace began
 */

/** @param {any[]} events ends of spans @returns {{spans: Map<string, Span>, roots: Span[]}} */
function spansOf(events) {
  const nanoseconds = (/** @type {string} */ text) => BigInt(Date.parse(`${text.slice(0, 19)}Z`)) * 1_000_000n + BigInt(text.slice(20, 29));
  const first = events.map((event) => nanoseconds(event.startTimestamp)).reduce((a, b) => (a < b ? a : b));
  const since = (/** @type {string} */ text) => Number(nanoseconds(text) - first) / 1e6;
  /** @type {Map<string, Span>} */
  const spans = new Map(events.map((event) => [event.spanId, {
    id: event.spanId, name: event.name, service: event.service, start: since(event.startTimestamp), end: since(event.timestamp), bad: event.status.code === "ERROR", code: event.status.code,
    parent: event.parentSpanId, panicked: event.panicked === true, cancelled: event.cancelled === true, children: [],
  }]));
  const roots = [];
  for (const span of spans.values()) {
    const parent = spans.get(span.parent ?? "");
    if (parent === undefined) roots.push(span);
    else parent.children.push(span);
  }
  return { spans, roots };
}

/** @param {Span[]} children @returns {Span[][]} the members of each group */
const groupsBelow = (children) => [...new Set(children.map(({ name }) => name))].map((name) => children.filter((child) => child.name === name)).filter((members) => members.length >= GROUP_MIN);

/** @param {Span} span @returns {boolean} */
const isBadBelow = (span) => span.children.some((child) => child.bad || isBadBelow(child));

/** @param {Span} span @returns {string} */
function stateOf(span) {
  if (span.panicked) return "panicked";
  if (span.bad) return "error";
  if (span.cancelled) return "cancelled";
  return isBadBelow(span) ? "ok, errors below" : "ok";
}

/** @param {Span} span @returns {number} time in which no child ran */
function selfTimeOf({ start, end, children }) {
  const moments = [start, end, ...children.flatMap((child) => [child.start, child.end])].filter((at) => at >= start && at <= end).sort((a, b) => a - b);
  let self = 0;
  for (let at = 1; at < moments.length; at += 1) {
    const middle = (moments[at - 1] + moments[at]) / 2;
    if (!children.some((child) => child.start < middle && middle < child.end)) self += moments[at] - moments[at - 1];
  }
  return self;
}

/**
 * The critical path, as Uber's CRISP computes it: backwards from a span's end, it continues in the child that ended
 * last before the current point.
 * @param {Span} span
 * @param {number} until_
 * @param {Map<string, number>} times by name
 */
function followPath(span, until_, times) {
  let moment = until_;
  const own = (/** @type {number} */ from) => times.set(span.name, (times.get(span.name) ?? 0) + Math.max(0, moment - from));
  for (;;) {
    const ends = span.children.map((child) => ({ child, end: Math.min(child.end, until_) })).filter(({ child, end }) => end <= moment && child.start < end);
    const last = ends.sort((a, b) => b.end - a.end || a.child.start - b.child.start)[0];
    if (last === undefined) break;
    own(last.end);
    followPath(last.child, last.end, times);
    moment = Math.min(last.end, last.child.start);
    if (!(moment > span.start)) return;
  }
  own(span.start);
}

/**
 * @param {string} text
 * @param {number} milliseconds
 * @returns {boolean} whether the text is the value, rounded to the text's digits
 */
function saysDuration(text, milliseconds) {
  if (text === "0 ms") return milliseconds === 0;
  const parts = [...text.matchAll(/(\d+(?:\.(\d+))?) (ns|µs|ms|s|m|h)(?= |$)/g)];
  if (parts.length === 0 || parts.map(([all]) => all).join(" ") !== text) return false;
  const shown = parts.reduce((sum, [, number, , unit]) => sum + Number(number) * UNITS[unit], 0);
  const [, , decimals = "", unit] = parts[parts.length - 1];
  const half = (UNITS[unit] * 10 ** -decimals.length) / 2;
  return Math.abs(shown - milliseconds) <= half * 1.001;
}

/** @param {string} text @param {number} milliseconds @param {string} what */
function isDuration(text, milliseconds, what) {
  assert.ok(saysDuration(text, milliseconds), `${what}: the page says ${text}, the data ${milliseconds} ms`);
}

/** @returns {Promise<any[]>} summaries, after everything has ended except the endless rebuilding */
async function endedTraces() {
  for (const end = Date.now() + 2 * PATIENCE_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 200))) {
    const { traces } = await firefox.json("traces?limit=200");
    const ended = traces.filter((/** @type {any} */ { spans }) => spans.open === 0);
    if (traces.length >= 60 && traces.length - ended.length <= 1) return ended;
  }
  throw new Error("the demo's requests did not end in time");
}

/**
 * @param {import("puppeteer-core").Page} page
 * @returns {Promise<any>} the page's data of the trace that it shows
 */
const seen = (page, /** @type {string} */ traceId, /** @type {number} */ rows) => until(page, `
  const rows = [...document.querySelectorAll("#tree-rows [data-span-id]:not([hidden])")];
  const text = (css, root = document) => root.querySelector(css)?.textContent ?? "";
  if (document.querySelector("#trace-id").dataset.copy !== ${JSON.stringify(traceId)} || rows.length !== ${rows}) return null;
  const path = [...document.querySelectorAll("#waiting-for [data-kind=share]")].filter((node) => node.querySelector("button").checkVisibility());
  if (path.length === 0) return null;
  return {
    duration: text("#trace-duration"), counts: text("#trace-counts"), state: document.querySelector("#trace-state").title, errors: text("#error-number"),
    rows: rows.map((row) => ({ id: row.dataset.spanId, label: row.getAttribute("aria-label"), level: Number(row.getAttribute("aria-level")) })),
    path: path.map((line) => [text("button", line), text(".figure", line)]),
  };`);

test("each row of the list has the state, spans, errors and duration of its trace", LIMIT, async () => {
  const ended = await endedTraces();
  const page = await firefox.open(`${firefox.base}?order=newest`);
  const ids = ended.map(({ traceId }) => traceId);
  const rows = await until(page, `
    const rows = Object.fromEntries([...document.querySelectorAll("#traces-rows [data-trace-id]:not([hidden])")].map((row) => {
      const text = (css) => row.querySelector(css).textContent;
      return [row.dataset.traceId, { name: text(".trace-link"), state: text(".state-word"), below: text(".below-count"), spans: text(".c-spans"), errors: text(".c-errors"), duration: text(".c-duration"), label: row.getAttribute("aria-label") }];
    }));
    return ${JSON.stringify(ids)}.every((id) => rows[id] !== undefined) && rows;`);
  for (const { traceId } of ended) {
    const { spans, roots } = spansOf((await firefox.json(`traces/${traceId}`)).spans);
    const all = [...spans.values()];
    const errors = all.filter(({ bad }) => bad).length;
    const row = rows[traceId];
    const state = stateOf(roots[0]);
    const what = `${traceId} ${row.name}`;
    const isBelow = state === "ok, errors below";
    assert.deepEqual(
      { name: row.name, state: row.state, below: row.below, spans: row.spans, errors: row.errors },
      { name: roots[0].name, state: isBelow ? "ok" : state, below: isBelow ? `${errors} below` : "", spans: String(all.length), errors: errors === 0 ? "" : String(errors) }, what);
    // A trace lasts until its last span has ended.
    isDuration(row.duration, Math.max(...all.map(({ end }) => end)), what);
    // Between name and service, the row has the text that distinguishes the trace from others of
    // its name.
    const [start, rest] = row.label.split(`, ${roots[0].service}, ${row.duration}, `);
    assert.ok(start === `${state}, ${row.name}` || start.startsWith(`${state}, ${row.name}, `) || start.startsWith(`${state}, ${row.name} `), row.label);
    assert.ok(rest.startsWith(`${all.length} span`), row.label);
  }
  await page.close();
});

test("a trace shows its counts, each span's state and duration, and the critical path, as the data has them", LIMIT, async () => {
  const ended = await endedTraces();
  const page = await firefox.open(firefox.base);
  let looked = 0;
  for (const { traceId } of ended) {
    const { spans, roots } = spansOf((await firefox.json(`traces/${traceId}`)).spans);
    const all = [...spans.values()];
    // Members of closed groups have no row.
    if (all.some(({ children }) => groupsBelow(children).length > 0)) continue;
    looked += 1;
    await goTo(page, `?trace=${traceId}`);
    const shown = await seen(page, traceId, all.length);
    const errors = all.filter(({ bad }) => bad).length;
    const panicked = all.filter((span) => span.panicked).length;
    const cancelled = all.filter((span) => stateOf(span) === "cancelled").length;
    const plural = (/** @type {number} */ count, /** @type {string} */ one) => `${count} ${one}${count === 1 ? "" : "s"}`;
    const counts = [plural(all.length, "span"), errors > 0 ? `${plural(errors, "error")}${panicked > 0 ? `, ${panicked} panicked` : ""}` : "", cancelled > 0 ? `${cancelled} cancelled` : ""];
    assert.deepEqual([shown.counts, shown.state, shown.errors], [counts.filter((part) => part !== "").join(" · "), stateOf(roots[0]), errors === 0 ? "no" : String(errors)], traceId);
    isDuration(shown.duration, Math.max(...all.map(({ end }) => end)), traceId);
    for (const { id, label, level } of shown.rows) {
      const span = /** @type {Span} */ (spans.get(id));
      let depth = 1;
      for (let step = span; spans.has(step.parent ?? ""); step = /** @type {Span} */ (spans.get(/** @type {string} */ (step.parent)))) depth += 1;
      const words = label.split(", ");
      assert.ok(label.startsWith(`${stateOf(span)}, `), `${label}: the data says ${stateOf(span)}`);
      assert.ok(words.includes(span.service), `${label} names ${span.service}`);
      assert.equal(level, depth, label);
      isDuration(words[words.length - 1], span.end - span.start, label);
    }
    /** @type {Map<string, number>} */
    const times = new Map();
    followPath(roots[0], roots[0].end, times);
    const total = [...times.values()].reduce((sum, time) => sum + time, 0);
    for (const [name, text] of shown.path) {
      const [time, share] = text.split(" · ");
      isDuration(time, times.get(name) ?? NaN, `${traceId}, critical path, ${name}`);
      assert.equal(share, `${Math.round(((times.get(name) ?? NaN) / total) * 100)} %`, `${traceId} ${name}`);
    }
  }
  assert.ok(looked >= 30, `only ${looked} traces were checked`);
  await page.close();
});

test("the inspector's durations and self times are those of the data", LIMIT, async () => {
  const ended = await endedTraces();
  const page = await firefox.open(firefox.base);
  const kinds = new Map(ended.map((trace) => [`${trace.name} ${trace.state}`, trace]));
  for (const { traceId } of kinds.values()) {
    const { spans } = spansOf((await firefox.json(`traces/${traceId}`)).spans);
    for (const span of [...spans.values()].filter(({ children }) => children.length > 0)) {
      await goTo(page, `?trace=${traceId}&span=${span.id}`);
      const facts = await until(page, `
        const node = document.querySelector("#inspector:not([hidden])");
        if (node?.dataset.spanId !== ${JSON.stringify(span.id)}) return null;
        return Object.fromEntries([...node.querySelectorAll(".facts dt")].map((term) => [term.textContent, term.nextElementSibling.textContent]));`);
      isDuration(facts.Duration, span.end - span.start, `${traceId} ${span.name}`);
      const [self, share] = facts.Self.split("  ·  ");
      isDuration(self, selfTimeOf(span), `${traceId} ${span.name}, self`);
      assert.equal(share, `${Math.round((selfTimeOf(span) / (span.end - span.start)) * 100)} %`);
      assert.equal(facts.Children, String(span.children.length));
    }
  }
  await page.close();
});

test("a group's count, median and longest are those of its members", LIMIT, async () => {
  // The job that rebuilds an index soon has groups. It continues meanwhile, so each attempt
  // compares the page with a new response.
  const page = await firefox.open(firefox.base);
  const seenGroups = new Set();
  for (const end = Date.now() + 2 * PATIENCE_MS; seenGroups.size < 2 && Date.now() < end; ) {
    const job = (await firefox.json("traces?q=name:rebuild-search-index")).traces.at(0)?.traceId;
    if (job === undefined || new URL(page.url()).searchParams.get("trace") !== job) await goTo(page, job === undefined ? "?" : `?trace=${job}`);
    const { spans } = job === undefined ? { spans: [] } : await firefox.json(`traces/${job}`);
    const events = spans.map((/** @type {any} */ span) => ({ startTimestamp: span.timestamp, status: { code: "OK" }, ...span }));
    if (events.length === 0) continue;
    const running = new Set(events.filter((/** @type {any} */ { type }) => type !== "ended").map((/** @type {any} */ { spanId }) => spanId));
    const all = [...spansOf(events).spans.values()];
    const labels = await page.$$eval("#tree-rows [data-group]:not([hidden])", (rows) => rows.map((row) => String(row.getAttribute("aria-label"))));
    for (const members of all.flatMap(({ children }) => groupsBelow(children))) {
      const lengths = members.filter(({ id }) => !running.has(id)).map(({ start, end }) => end - start).sort((a, b) => a - b);
      const below = members.filter(isBadBelow).length;
      const open = members.length - lengths.length;
      const words = ["group", members[0].name, `${members.length} spans`, below > 0 ? `${below} with errors below` : "", open > 0 ? `${open} running` : "", "median "].filter((part) => part !== "").join(", ");
      for (const label of labels.filter((label) => label.startsWith(words))) {
        const [median, longest] = label.slice(words.length).split(", longest ");
        const [p50, max] = [lengths[Math.ceil(lengths.length / 2) - 1], /** @type {number} */ (lengths.at(-1))];
        // Another shard may have a group of the same size, but with other times.
        if (!saysDuration(median, p50) || !saysDuration(longest, max)) continue;
        seenGroups.add(`${members[0].parent} ${members.length}`);
      }
    }
  }
  assert.ok(seenGroups.size >= 2, "fewer than two groups had the figures of the data");
  await page.close();
});

test("no page threw an error", () => assert.deepEqual(firefox.faults, []));

// @ts-check
// The main uses of the dashboard in Firefox, driven by WebDriver BiDi, while the demo runs. Every
// click is made with the pointer at a point of the page. Nothing is sent beyond this machine.
//
// cargo build --example demo && node --test tests/firefox/*.test.mjs
//
// It needs the Debian package `firefox-esr`, and `npm ci`. LIVESPAN_DEMO names another build of the
// demo.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { Firefox, LIMIT, PATIENCE_MS, click, goTo, until } from "./firefox.mjs";

/** A trace that began less than this time ago has not ended. */
const YOUNG_MS = 1_500;
const firefox = new Firefox();
before(() => firefox.start(["--rate", "4"]));
after(() => firefox.stop());

/**
 * Returns the summary of a checkout that has ended and has all of its steps.
 * @returns {Promise<any>}
 */
async function endedCheckout() {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const { traces } = await firefox.json("traces?q=name:checkout&limit=50");
    const found = traces.find((/** @type {any} */ { spans }) => spans.open === 0 && spans.total > 3);
    if (found !== undefined) return found;
  }
  throw new Error("no checkout has ended");
}

const ROWS = "const rows = [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')];";

test("the list fills by itself while requests come, and a search narrows it", LIMIT, async () => {
  const page = await firefox.open(firefox.base);
  const first = await until(page, "return document.querySelector('#status').dataset.state === 'live' && document.querySelectorAll('#traces-rows [role=row]:not([hidden])').length");
  await until(page, `return Number(document.querySelector('#traces-rows').getAttribute('aria-rowcount')) > ${Number(first) + 2}`);
  await page.keyboard.press("/");
  await page.keyboard.type("name:checkout");
  await until(page, "const names = [...document.querySelectorAll('#traces-rows [role=row]:not([hidden]) .trace-link')].map((node) => node.textContent); return names.length > 0 && names.every((name) => /checkout/i.test(name))");
  assert.equal(new URL(page.url()).searchParams.get("q"), "name:checkout");
  await click(page, "#traces-rows [role=row]");
  await until(page, `${ROWS} return rows.length > 0`);
  await page.close();
});

test("a trace opens; its spans are inspected, found, and shown as flames, as records and at a past moment", LIMIT, async () => {
  const { traceId, spans } = await endedCheckout();
  const page = await firefox.open(`${firefox.base}?trace=${traceId}`);
  await until(page, `${ROWS} return rows.length > 1`);
  await page.keyboard.press("E");
  assert.match(await page.$eval("#trace-counts", (node) => String(node.textContent)), new RegExp(`^${spans.total} spans`));
  await click(page, "#tree-rows [data-span-id]:nth-child(2) .span-name");
  const spanId = await until(page, "const node = document.querySelector('#inspector:not([hidden])'); return node?.querySelector('.facts') && node.dataset.spanId");
  assert.equal(new URL(page.url()).searchParams.get("span"), spanId);
  const name = await page.$eval("#inspector h2", (node) => String(node.textContent));
  await page.keyboard.press("/");
  await page.keyboard.type(`name:"${name}"`);
  await until(page, "return /^\\d+ of \\d+$|match/.test(document.querySelector('#find-count').textContent)");
  await page.keyboard.press("Escape");
  await click(page, "#view-flame");
  await until(page, "return document.querySelector('.flame-canvas')?.checkVisibility()");
  await click(page, "#view-logs");
  await until(page, "return document.querySelector('#logs')?.checkVisibility()");
  await click(page, "#view-waterfall");
  await page.keyboard.press(",");
  await click(page, "#scrubber input[type=range]");
  const states = await until(page, `const at = new URL(location.href).searchParams.get("at"); ${ROWS} return at !== null && rows.length > 0 && rows.map((row) => row.dataset.state)`);
  assert.ok(states.includes("running"), `no span runs in the middle of the trace: ${states}`);
  await page.close();
});

test("a page opened in the background is drawn once it is in the foreground", LIMIT, async () => {
  const front = await firefox.open(firefox.base);
  const page = await firefox.newPage();
  await front.bringToFront();
  await page.goto(firefox.base);
  assert.equal(await page.evaluate("document.hidden"), true);
  await page.bringToFront();
  await until(page, "return document.querySelectorAll('#traces-rows [role=row]:not([hidden])').length");
  await front.close();
  await page.close();
});

test("a running trace is redrawn while it runs", LIMIT, async () => {
  const page = await firefox.open(`${firefox.base}?q=${encodeURIComponent("state:running name:rebuild")}`);
  await click(page, "#traces-rows [role=row]");
  await until(page, `${ROWS} return rows.length > 0`);
  const before = await page.$eval("#trace-duration", (node) => String(node.textContent));
  await until(page, `return document.querySelector('#trace-duration').textContent !== ${JSON.stringify(before)}`);
  await page.close();
});

test("a trace's end is announced to screen readers, and no key loses the focus", LIMIT, async () => {
  const page = await firefox.open(firefox.base);
  await page.evaluate(`
    globalThis.announced = [];
    new MutationObserver(() => announced.push(document.querySelector("#live").textContent)).observe(document.querySelector("#live"), { childList: true, characterData: true, subtree: true });`);
  // Takes a trace that has just begun, so that it still runs when it is open.
  for (let found = null; found === null; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const { traces, now } = await firefox.json(`traces?q=${encodeURIComponent("state:running name:fulfil")}&limit=1`);
    if (traces.length > 0 && Date.parse(now) - Date.parse(traces[0].startTimestamp) < YOUNG_MS) await goTo(page, `?trace=${(found = traces[0].traceId)}`);
  }
  await until(page, `${ROWS} return rows.length > 0`);
  const words = { ok: "ok", error: "error", below: "ok, errors below", panicked: "panicked", cancelled: "cancelled", lost: "lost" };
  const [name, state] = await until(page, `
    const state = document.querySelector("#trace-page").dataset.state;
    return Object.hasOwn(${JSON.stringify(words)}, state) && [document.querySelector("#trace-name").textContent, state];`);
  await until(page, `return announced.some((text) => text.split(". ").includes(${JSON.stringify(`${name}: ${words[/** @type {"ok"} */ (state)]}`)}))`);
  // These keys select and close spans, switch views, open the help and return to the list. Each may
  // remove the focused element.
  for (const key of ["ArrowDown", "ArrowDown", "Enter", "Escape", "v", "v", "v", "Home", "?", "Escape", "Escape"]) {
    await page.keyboard.press(/** @type {import("puppeteer-core").KeyInput} */ (key));
    await page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve))))");
    assert.notEqual(await page.evaluate("document.activeElement.localName"), "body", `after ${key}`);
  }
  await page.close();
});

test("a trace file opens from disk without a server and shows the same trace", LIMIT, async () => {
  const { traceId } = await endedCheckout();
  const answer = await fetch(`${firefox.base}traces/${traceId}?format=html`);
  const file = path.join(firefox.folder, "trace.html");
  writeFileSync(file, Buffer.from(await answer.arrayBuffer()));
  const names = "return rows.length > 0 && [...rows].map((row) => [row.querySelector('.span-name').textContent, row.dataset.state])";
  const live = await firefox.open(`${firefox.base}?trace=${traceId}`);
  const shown = await until(live, `${ROWS} ${names}`);
  const saved = await firefox.open(pathToFileURL(file).href);
  assert.deepEqual(await until(saved, `${ROWS} ${names}`), shown);
  await click(saved, "#tree-rows [data-span-id] .span-name");
  await until(saved, "return document.querySelector('#inspector:not([hidden]) .facts') !== null");
  assert.deepEqual(await saved.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)"), []);
  await live.close();
  await saved.close();
});

test("views that cannot be loaded say so, and appear after another attempt", LIMIT, async () => {
  const page = await firefox.newPage();
  await page.setRequestInterception(true);
  let isCut = true;
  page.on("request", (request) => void (isCut && request.url().includes("/on-demand-") ? request.abort() : request.continue()));
  await page.goto(`${firefox.base}?page=operations`);
  await page.bringToFront();
  await until(page, "return document.querySelector('#part-bar[data-kind=error]:not([hidden])') !== null");
  isCut = false;
  await click(page, "#part-bar button");
  await until(page, "return document.querySelector('#operations-rows .operation-row') !== null && document.querySelector('#part-bar').hidden");
  await page.close();
});

test("no page threw an error", () => assert.deepEqual(firefox.faults, []));

// @ts-check
// The main ways through the dashboard in Firefox, driven by WebDriver BiDi: the demo runs, and a person looks at it. Every
// click is one of the pointer at a place, as a person's is. Nothing leaves this machine.
//
//   cargo build --example demo && node --test tests/firefox/main-ways.test.mjs
//
// It needs the Debian package `firefox-esr`, and `npm ci`. LIVESPAN_DEMO names another build of the demo.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import puppeteer from "puppeteer-core";

const ROOT = path.resolve(path.dirname(new URL(import.meta.url).pathname), "../..");
const DEMO = process.env.LIVESPAN_DEMO ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "debug/examples/demo");
/** How long a condition may take before the test fails. */
const PATIENCE_MS = 30_000;
const LIMIT = { timeout: 3 * PATIENCE_MS };
const FOLDER = mkdtempSync(path.join(tmpdir(), "livespan-firefox-"));

/** @type {import("node:child_process").ChildProcess} */
let demo;
/** @type {import("puppeteer-core").Browser} */
let browser;
/** The dashboard's address. */
let base = "";
/** What went wrong in any page. @type {string[]} */
const faults = [];

before(async () => {
  demo = spawn(DEMO, ["--addr", "127.0.0.1:0", "--rate", "4"], { stdio: ["ignore", "pipe", "pipe"] });
  demo.stderr?.resume();
  const lines = createInterface({ input: /** @type {import("node:stream").Readable} */ (demo.stdout) });
  base = await new Promise((resolve, reject) => {
    lines.on("line", (line) => line.startsWith("livespan dashboard: ") && resolve(line.slice("livespan dashboard: ".length).trim()));
    demo.on("error", () => reject(new Error(`no demo at ${DEMO}: cargo build --example demo`)));
    demo.on("exit", () => reject(new Error("the demo ended")));
  });
  browser = await puppeteer.launch({
    browser: "firefox", executablePath: "/usr/bin/firefox-esr", headless: true, userDataDir: path.join(FOLDER, "profile"),
    extraPrefsFirefox: {
      // No service of Firefox is asked for anything.
      "app.update.enabled": false, "browser.safebrowsing.malware.enabled": false, "network.captive-portal-service.enabled": false,
      "network.connectivity-service.enabled": false, "services.settings.server": "", "toolkit.telemetry.enabled": false,
    },
    defaultViewport: { width: 1400, height: 900 },
  });
});

after(async () => {
  await browser?.close();
  demo?.kill();
  rmSync(FOLDER, { recursive: true, force: true, maxRetries: 5 });
});

/** @param {string} url */
async function open(url) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(url);
  // A page in the background draws nothing.
  await page.bringToFront();
  return page;
}

/** @typedef {import("puppeteer-core").Page} Page */

/** Waits until the function, run in the page, returns something. @param {Page} page @param {string} body @returns {Promise<any>} */
async function until(page, body) {
  const handle = await page.waitForFunction(`(() => { ${body} })()`, { polling: 50 });
  return handle.jsonValue();
}

/** Presses the mouse in the middle of an element, once the point hits it and it stands still. @param {Page} page @param {string} css */
async function click(page, css) {
  const { x, y } = await until(page, `
    const node = [...document.querySelectorAll(${JSON.stringify(css)})].find((one) => one.checkVisibility());
    if (node === undefined) return null;
    const box = node.getBoundingClientRect();
    const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    const was = globalThis.clickedBox;
    globalThis.clickedBox = [box.x, box.y, box.width, box.height].join();
    return was === globalThis.clickedBox && node.contains(document.elementFromPoint(at.x, at.y)) ? at : null;`);
  await page.mouse.click(x, y);
}

/** The trace of a checkout that has ended and whose steps can be counted on. @returns {Promise<any>} its summary */
async function endedCheckout() {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const { traces } = await (await fetch(`${base}traces?q=name:checkout&limit=50`)).json();
    const found = traces.find((/** @type {any} */ { spans }) => spans.open === 0 && spans.total > 3);
    if (found !== undefined) return found;
  }
  throw new Error("no checkout has ended");
}

const ROWS = "const rows = [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')];";

test("the list fills by itself while requests come, and a search narrows it", LIMIT, async () => {
  const page = await open(base);
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

test("a trace opens, its spans are inspected, found, drawn as flames and as records, and looked at as they were", LIMIT, async () => {
  const { traceId, spans } = await endedCheckout();
  const page = await open(`${base}?trace=${traceId}`);
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
  assert.ok(states.includes("running"), `in the middle, something runs: ${states}`);
  await page.close();
});

test("a page that was opened in the background is there when somebody looks at it", LIMIT, async () => {
  const front = await open(base);
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => faults.push(String(error)));
  await front.bringToFront();
  await page.goto(base);
  assert.equal(await page.evaluate("document.hidden"), true);
  await page.bringToFront();
  await until(page, "return document.querySelectorAll('#traces-rows [role=row]:not([hidden])').length");
  await front.close();
  await page.close();
});

test("a trace that runs is drawn on while it runs", LIMIT, async () => {
  const page = await open(`${base}?q=${encodeURIComponent("state:running name:rebuild")}`);
  await click(page, "#traces-rows [role=row]");
  await until(page, `${ROWS} return rows.length > 0`);
  const before = await page.$eval("#trace-duration", (node) => String(node.textContent));
  await until(page, `return document.querySelector('#trace-duration').textContent !== ${JSON.stringify(before)}`);
  await page.close();
});

test("one file opens from a disk, with no server, and is the same trace", LIMIT, async () => {
  const { traceId } = await endedCheckout();
  const answer = await fetch(`${base}traces/${traceId}?format=html`);
  const file = path.join(FOLDER, "trace.html");
  writeFileSync(file, Buffer.from(await answer.arrayBuffer()));
  const names = "return rows.length > 0 && [...rows].map((row) => [row.querySelector('.span-name').textContent, row.dataset.state])";
  const live = await open(`${base}?trace=${traceId}`);
  const shown = await until(live, `${ROWS} ${names}`);
  const saved = await open(pathToFileURL(file).href);
  assert.deepEqual(await until(saved, `${ROWS} ${names}`), shown);
  await click(saved, "#tree-rows [data-span-id] .span-name");
  await until(saved, "return document.querySelector('#inspector:not([hidden]) .facts') !== null");
  assert.deepEqual(await saved.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)"), []);
  await live.close();
  await saved.close();
});

test("views that cannot be loaded say so, and come when they are tried again", LIMIT, async () => {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.setRequestInterception(true);
  let isCut = true;
  page.on("request", (request) => void (isCut && request.url().includes("/on-demand-") ? request.abort() : request.continue()));
  await page.goto(`${base}?page=operations`);
  await page.bringToFront();
  await until(page, "return document.querySelector('#part-bar[data-kind=error]:not([hidden])') !== null");
  isCut = false;
  await click(page, "#part-bar button");
  await until(page, "return document.querySelector('#operations-rows .operation-row') !== null && document.querySelector('#part-bar').hidden");
  await page.close();
});

test("no page threw an error", () => assert.deepEqual(faults, []));

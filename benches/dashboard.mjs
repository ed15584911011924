// Measures the dashboard's cost for a browser, with real pages of a real server in headless
// Chromium, from outside.
//
// cargo build --release -p livespan-benches --bench dashboard_load && node benches/dashboard.mjs
// [--only size,load,file,scroll,search,deep,flood,peer] [--seconds 60]
//     [--assets src/dashboard/bundle]   the page's files from a folder instead of the server's, to try a change without building the crate
//
// Needs Node 20 and the Debian package `chromium`. The load comes from `benches/dashboard_load.rs`,
// over real sockets.
//
// How it is measured
// - load: the time from the last byte of the snapshot (`responseEnd` of its resource timing) until
//   the page has drawn rows and run one more task.
// - file: the trace as one HTML file, opened from the disk: the time from the start of the navigation
//   until the page has drawn rows and run one more task, and the processor time of the page's main
//   thread until then.
// - scroll: the page scrolls, or zooms by ctrl-wheel, one step in every animation frame. The first
//   trace has no groups; in the second, all siblings are groups. `work` is the time of all tasks of
//   the page's main thread between two animation frames, from Chromium's trace. `cpu` is the part of
//   `work` in which the thread had a processor; it stays comparable on a busy machine. `interval` is
//   the time between two animation frames as the page sees it. It also includes raster, compositor
//   and other programs.
// - deep: the page scrolls a trace of 10,000 levels.
// - search: ten searches one after the other, then a step to the next match, and an empty field. The
//   page searches in slices, one in each frame. The bench measures the frames during all of it, and
//   the time from each search's input event until its final count of matches is drawn.
// - peer: a page that has only thirty rows of text scrolls in the same way; another page does
//   nothing in each frame. These figures show the cost of the machine and its browser alone. They
//   have no bound.
// - flood: the list and a busy trace in two windows of one browser. The bench measures the intervals
//   of animation frames in both, and the heap after a forced collection every ten seconds. An empty
//   page in a third window shows how much time the machine had left. The busy trace reaches the
//   page's limit after a third of the run. At the end the page must report that it left events out.
// - size: every file that the page and its workers request, in the size that the server sends to a
//   client that accepts gzip. "First look" counts only the files that are needed to show a list or
//   a trace.
//
// The exit status is 1 if a figure exceeds its bound, a check fails or a page throws. Where `cpu` is
// measured, the bound on time applies to it, because other programs hardly change it.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { cpus, loadavg, tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { gunzipSync } from "node:zlib";

const ROOT = path.resolve(path.dirname(new URL(import.meta.url).pathname), "..");
const SPANS = 100_000;
const DEPTH = 10_000;
const SPANS_MAX = 250_000;
const STEPS = 180;
// Two frames at 60 Hz take 33.3 ms. The bound is slightly higher, because a page's clock is coarse.
const TWO_FRAMES_MS = 34;
const PATIENCE_MS = 240_000;

const argument = (name, fallback) => (process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1] : fallback);
const only = argument("only", "size,load,file,scroll,search,deep,flood,peer").split(",");
const assets = argument("assets", "");
const seconds = Number(argument("seconds", "60"));
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
let failed = false;

/** Prints a figure and its bound. A figure beyond its bound makes the run fail. */
function figure(what, value, unit, bound = null) {
  const beyond = bound !== null && !(value <= bound);
  failed ||= beyond;
  const text = typeof value === "number" ? value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0) : value;
  console.log(`${beyond ? "BEYOND" : bound === null ? "      " : "ok    "}  ${what.padEnd(58)} ${text.padStart(9)} ${unit}${bound === null ? "" : `   (at most ${bound})`}`);
}

function check(what, holds, detail) {
  failed ||= !holds;
  console.log(`${holds ? "ok    " : "BEYOND"}  ${what.padEnd(58)} ${detail}`);
}

const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN;

// The server and its commands.

function newestBuilt() {
  const deps = path.join(ROOT, "target/release/deps");
  const built = existsSync(deps) ? readdirSync(deps).filter((name) => /^dashboard_load-[0-9a-f]+$/.test(name)).map((name) => path.join(deps, name)) : [];
  if (built.length === 0) throw new Error("build it first: cargo build --release -p livespan-benches --bench dashboard_load");
  return built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

function startLoad() {
  const newest = argument("load", null) ?? newestBuilt();
  const child = spawn(newest, { stdio: ["pipe", "pipe", "inherit"] });
  const answers = [];
  const waiting = [];
  createInterface({ input: child.stdout }).on("line", (line) => (waiting.length > 0 ? waiting.shift()(JSON.parse(line)) : answers.push(JSON.parse(line))));
  const answer = () => (answers.length > 0 ? Promise.resolve(answers.shift()) : new Promise((resolve) => waiting.push(resolve)));
  return {
    answer,
    say: (line) => {
      child.stdin.write(`${line}\n`);
      return answer();
    },
    stop: () => child.kill(),
  };
}

// The browser, over a pipe.

async function openBrowser() {
  const profile = mkdtempSync(path.join(tmpdir(), "livespan-measure-"));
  const child = spawn("chromium", [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-precise-memory-info", `--user-data-dir=${profile}`, "--window-size=1400,900",
    "--remote-debugging-pipe", "about:blank",
  ], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
  const pending = new Map();
  const listeners = new Set();
  let nextId = 1;
  let buffer = "";
  child.stdio[4].setEncoding("utf8");
  child.stdio[4].on("data", (chunk) => {
    buffer += chunk;
    const messages = buffer.split("\0");
    buffer = messages.pop();
    for (const text of messages) {
      const message = JSON.parse(text);
      if (message.id === undefined) for (const listener of listeners) listener(message);
      else {
        const { resolve, reject } = pending.get(message.id);
        pending.delete(message.id);
        if (message.error) reject(new Error(JSON.stringify(message.error)));
        else resolve(message.result);
      }
    }
  });
  const send = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
    pending.set(nextId, { resolve, reject });
    child.stdio[3].write(`${JSON.stringify({ id: nextId++, method, params, sessionId })}\0`);
  });
  const close = async () => {
    await Promise.race([send("Browser.close").catch(() => {}), sleep(2_000)]);
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // The browser has ended already.
    }
    await sleep(100);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { send, listeners, close };
}

async function openPage(browser, url) {
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank", newWindow: true });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId);
  browser.listeners.add(({ method, params, sessionId: from }) => {
    if (from !== sessionId || method !== "Runtime.exceptionThrown") return;
    failed = true;
    console.error("the page threw:", params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
  });
  await send("Runtime.enable");
  await send("Page.enable");
  await send("Emulation.setDeviceMetricsOverride", { width: 1400, height: 900, deviceScaleFactor: 1, mobile: false });
  await send("Page.addScriptToEvaluateOnNewDocument", { source: WATCH });
  if (assets !== "") await serveFrom(assets, browser, sessionId, send);
  await send("Page.navigate", { url });
  const ask = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const until = async (expression) => {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(50)) {
      const value = await ask(expression).catch(() => null);
      if (value) return value;
    }
    throw new Error(`not true after ${PATIENCE_MS / 1000} s: ${expression}`);
  };
  const heap = async () => {
    await send("HeapProfiler.collectGarbage");
    return (await send("Runtime.getHeapUsage")).usedSize / 1e6;
  };
  return { send, ask, until, heap, close: () => browser.send("Target.closeTarget", { targetId }) };
}

/**
 * Answers the page's requests for its files from a folder. The page's shared worker still gets the
 * server's files.
 */
async function serveFrom(folder, browser, sessionId, send) {
  const types = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
  browser.listeners.add(({ method, params, sessionId: from }) => {
    if (from !== sessionId || method !== "Fetch.requestPaused") return;
    const name = new URL(params.request.url).pathname.split("/").pop() || "index.html";
    const type = types[name.split(".").pop()] ?? "text/html";
    // In the folder the files have no hash in their names.
    const text = readFileSync(path.join(folder, name.replace(/-[0-9a-f]{16}\./, ".")), "utf8");
    void send("Fetch.fulfillRequest", { requestId: params.requestId, responseCode: 200, responseHeaders: [{ name: "Content-Type", value: `${type}; charset=utf-8` }], body: Buffer.from(text).toString("base64") });
  });
  await send("Fetch.enable", { patterns: [{ urlPattern: "*/assets/*" }, { urlPattern: "http*", resourceType: "Document" }] });
}

/** The script that runs first in every page. It records when the page first draws rows, and defines `eachFrame`. */
const WATCH = `
  globalThis.measured = {};
  (function look() {
    if (document.querySelector("#tree-rows [data-span-id]:not([hidden])") === null) return requestAnimationFrame(look);
    setTimeout(() => { measured.interactive = performance.now(); });
  })();
  globalThis.eachFrame = (count, step) => new Promise((resolve) => {
    const intervals = [];
    let last = NaN;
    const frame = (now) => {
      if (!Number.isNaN(last)) intervals.push(now - last);
      last = now;
      if (intervals.length >= count) return resolve(intervals);
      step(intervals.length);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
`;

/**
 * Runs an action. Returns its result as `intervals`, and the work and CPU time of each frame on the page's main
 * thread, in ms, without the first two frames and the last.
 */
async function traced(browser, page, during) {
  const events = [];
  let complete = () => {};
  const done = new Promise((resolve) => (complete = resolve));
  const listener = ({ method, params }) => {
    if (method === "Tracing.dataCollected") events.push(...params.value);
    if (method === "Tracing.tracingComplete") complete();
  };
  browser.listeners.add(listener);
  await browser.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"] } });
  const intervals = await page.ask(during);
  await browser.send("Tracing.end");
  await done;
  browser.listeners.delete(listener);
  const callbacks = events.filter((event) => event.name === "FireAnimationFrame");
  // The page under measurement draws in every frame; no other does.
  const thread = callbacks[callbacks.length - 1]?.tid;
  const times = callbacks.filter((event) => event.tid === thread).map((event) => event.ts).sort((a, b) => a - b);
  const tasks = events.filter((event) => event.tid === thread && event.ph === "X" && event.name === "RunTask").sort((a, b) => a.ts - b.ts);
  /** @type {number[]} */
  const work = [];
  const cpu = [];
  let next = 0;
  for (const task of tasks) {
    while (next < times.length && times[next] < task.ts) next += 1;
    // A frame is the task that calls its callbacks, and all later tasks before the next such task.
    const draws = next < times.length && times[next] <= task.ts + task.dur;
    if (draws) {
      work.push(0);
      cpu.push(0);
    }
    if (work.length === 0) continue;
    work[work.length - 1] += task.dur / 1000;
    cpu[cpu.length - 1] += (task.tdur ?? task.dur) / 1000;
  }
  if (process.env.LIVESPAN_TRACE) writeFileSync(process.env.LIVESPAN_TRACE, JSON.stringify(events.filter((event) => event.tid === thread)));
  return { intervals, work: work.slice(2, -1), cpu: cpu.slice(2, -1) };
}

function reportFrames(what, { intervals, work, cpu }, bound) {
  figure(`${what}: cpu of a frame, p95`, quantile(cpu, 0.95), "ms", bound);
  figure(`${what}: cpu of a frame, p50`, quantile(cpu, 0.5), "ms");
  figure(`${what}: work of a frame, p95`, quantile(work, 0.95), "ms");
  figure(`${what}: interval of frames, p50`, quantile(intervals, 0.5), "ms");
  figure(`${what}: interval of frames, p95`, quantile(intervals, 0.95), "ms");
}

// The measurements.

/**
 * Returns the size of a file on the wire, for a client that accepts gzip, and its unpacked size, in bytes. `fetch`
 * would give only the unpacked size.
 */
function transferred(url) {
  return new Promise((resolve, reject) => {
    get(url, { headers: { "accept-encoding": "gzip" } }, async (response) => {
      const pieces = [];
      for await (const piece of response) pieces.push(piece);
      const bytes = Buffer.concat(pieces);
      resolve({ sent: bytes.length, plain: response.headers["content-encoding"] === "gzip" ? gunzipSync(bytes).length : bytes.length });
    }).on("error", reject);
  });
}

async function measureSize(server) {
  const read = async (name) => (await fetch(`${server.url}${name}`)).text();
  const page = await read("");
  const named = [...page.matchAll(/"(assets\/[\w.-]+)"/g)].map((found) => found[1]);
  const script = await read(named.find((name) => /\/app-[^/]*\.js$/.test(name)));
  const workers = [...script.matchAll(/new URL\("([\w.-]+\.js)"/g)].map((found) => `assets/${found[1]}`);
  const parts = [...script.matchAll(/import\("\.\/([\w.-]+\.js)"/g)].map((found) => `assets/${found[1]}`);
  const first = ["", ...named, ...workers.filter((name) => name.includes("/hub-worker-"))];
  const sizes = new Map(await Promise.all([...new Set([...first, ...workers, ...parts])].map(async (name) => /** @type {const} */ ([name, await transferred(`${server.url}${name}`)]))));
  const sum = (/** @type {"sent" | "plain"} */ what, names = [...sizes.keys()]) => names.reduce((total, name) => total + sizes.get(name)[what], 0) / 1000;
  figure("all files of a first look, as the server sends them", sum("sent", first), "kB", 130);
  figure("all files, as the server sends them", sum("sent"), "kB");
  figure("all files, uncompressed", sum("plain"), "kB");
}

async function measureLoad(browser, server, trace) {
  const took = [];
  for (let round = 0; round < 5; round += 1) {
    const page = await openPage(browser, `${server.url}?trace=${trace}`);
    await page.until("measured.interactive");
    took.push(await page.ask(`measured.interactive - performance.getEntriesByType("resource").find((entry) => entry.name.endsWith(${JSON.stringify(`traces/${trace}`)})).responseEnd`));
    if (round === 0) {
      figure("snapshot", await page.ask(`performance.getEntriesByType("resource").find((entry) => entry.name.endsWith(${JSON.stringify(`traces/${trace}`)})).encodedBodySize / 1e6`), "MB");
      figure("heap with the trace open", await page.heap(), "MB");
    }
    await page.close();
  }
  figure("100,000 spans: interactive after the last byte, median of 5", quantile(took, 0.5), "ms", 1000);
  figure("100,000 spans: interactive after the last byte, best of 5", Math.min(...took), "ms");
}

async function measureFile(browser, server, trace) {
  const folder = mkdtempSync(path.join(tmpdir(), "livespan-measure-"));
  try {
    const file = path.join(folder, "trace.html");
    const body = Buffer.from(await (await fetch(`${server.url}traces/${trace}?format=html`)).arrayBuffer());
    writeFileSync(file, body);
    figure("100,000 spans: one HTML file", body.length / 1e6, "MB", 8);
    const took = [];
    const cpu = [];
    for (let round = 0; round < 3; round += 1) {
      const page = await openPage(browser, "about:blank");
      await page.send("Performance.enable", { timeDomain: "threadTicks" });
      await page.send("Page.navigate", { url: `file://${file}` });
      await page.until("measured.interactive");
      took.push(await page.ask("measured.interactive"));
      cpu.push((await page.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value * 1000);
      await page.close();
    }
    figure("100,000 spans: the file opens, cpu, median of 3", quantile(cpu, 0.5), "ms", 2000);
    figure("100,000 spans: the file opens, median of 3", quantile(took, 0.5), "ms");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Scrolls and zooms a trace with all its groups open. @param {string} kind of trace, for the report */
async function measureScroll(browser, server, trace, kind) {
  const page = await openPage(browser, `${server.url}?trace=${trace}`);
  await page.until("measured.interactive");
  const key = (name) => page.ask(`document.body.dispatchEvent(new KeyboardEvent("keydown", { key: ${JSON.stringify(name)}, bubbles: true, cancelable: true }))`);
  await key("E");
  await page.until(`Number(document.querySelector("#tree-rows").getAttribute("aria-rowcount")) > ${SPANS * 0.9}`);
  await sleep(1_000);
  const rows = await page.ask('document.querySelector("#tree-rows").childElementCount');
  reportFrames(`${kind}scroll`, await traced(browser, page, `eachFrame(${STEPS}, (step) => { document.querySelector("#tree-scroller").scrollTop += step < 90 ? 333 : 90_000 })`), 16.7);
  reportFrames(`${kind}zoom`, await traced(browser, page, `(() => {
    const scroller = document.querySelector("#tree-scroller");
    scroller.scrollTop = 20_000;
    return eachFrame(${STEPS}, (step) => scroller.dispatchEvent(new WheelEvent("wheel", { ctrlKey: true, deltaY: step < 90 ? -60 : 60, clientX: 900, clientY: 500, bubbles: true, cancelable: true })));
  })()`), 16.7);
  await page.close();
  if (kind !== "") return;
  const small = await openPage(browser, `${server.url}?trace=${(await server.load.say("wide 1000")).trace}`);
  await small.until("measured.interactive");
  await small.ask('document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "E", bubbles: true, cancelable: true }))');
  await small.until('Number(document.querySelector("#tree-rows").getAttribute("aria-rowcount")) > 500');
  const few = await small.ask('document.querySelector("#tree-rows").childElementCount');
  check("rows in the page with 1,000 and with 100,000 spans", few === rows, `${few} and ${rows}`);
  await small.close();
}

/** Searches that a reader types, one after the other. Two in a row find different numbers of spans. */
const SEARCHES = ["S", "SELECT order 1", '"order 17"', "status:error", "-status:error", "order.id:o-0012345", "duration>2ms", "service:payments cache.hit:true", "step order", "o-00"];

async function measureSearch(browser, server, trace) {
  const page = await openPage(browser, `${server.url}?trace=${trace}`);
  await page.until("measured.interactive");
  await sleep(1_000);
  const { intervals: took, cpu } = await traced(browser, page, `(async () => {
    const field = document.querySelector("#filter");
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const found = () => document.querySelector("#find-count").textContent;
    const took = [];
    // The figures leave out the first frames.
    for (let first = 0; first < 4; first += 1) await frame();
    const type = (query) => {
      field.value = query;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    };
    for (const query of ${JSON.stringify(SEARCHES)}) {
      const before = found();
      const began = performance.now();
      type(query);
      // While a search runs, the count ends with an ellipsis.
      do await frame(); while ((found() === before || found().endsWith("…")) && performance.now() - began < 5_000);
      took.push({ query, found: found(), took: performance.now() - began });
      await frame();
    }
    document.querySelector("#find-next").click();
    for (let after = 0; after < 10; after += 1) await frame();
    type("");
    for (let after = 0; after < 10; after += 1) await frame();
    return took;
  })()`);
  for (const one of took) console.log(`        search ${one.query}: ${one.found} in ${one.took.toFixed(1)} ms`);
  figure("100,000 spans: search, cpu of a frame, p95", quantile(cpu, 0.95), "ms", 16.7);
  figure("100,000 spans: search, cpu of a frame, longest", Math.max(...cpu), "ms");
  figure("100,000 spans: search, until its count was drawn, longest", Math.max(...took.map((one) => one.took)), "ms");
  await page.close();
}

/**
 * Measures the plainest page: rows of text in a scroller, rewritten while it scrolls.
 * @param {"scroll" | "nothing"} what
 */
async function measurePeer(browser, what) {
  const page = await openPage(browser, "about:blank");
  await page.ask(`(() => {
    document.body.style.cssText = "margin:0;font:13px sans-serif";
    document.body.innerHTML = '<div id="s" style="height:720px;overflow:auto"><div id="r" style="position:relative;height:2800000px"></div></div>';
    const rows = document.querySelector("#r");
    const all = Array.from({ length: 30 }, () => rows.appendChild(Object.assign(document.createElement("div"), { style: "position:absolute;height:28px;left:0;right:0" })));
    document.querySelector("#s").addEventListener("scroll", ({ target }) => requestAnimationFrame(() => {
      const first = Math.floor(target.scrollTop / 28);
      for (const [at, row] of all.entries()) {
        row.style.top = \`\${(first + at) * 28}px\`;
        row.textContent = \`SELECT order \${first + at}\`;
      }
    }));
  })()`);
  const step = what === "scroll" ? 'document.querySelector("#s").scrollTop += 333' : "";
  reportFrames(`peer, ${what}`, await traced(browser, page, `eachFrame(${STEPS}, () => { ${step} })`), null);
  await page.close();
}

async function measureDeep(browser, server) {
  const { trace } = await server.load.say(`deep ${DEPTH}`);
  const page = await openPage(browser, `${server.url}?trace=${trace}`);
  await page.until("measured.interactive");
  await page.until(`document.querySelector("#tree-rows").getAttribute("aria-rowcount") === "${DEPTH}"`);
  await page.ask('document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true, cancelable: true }))');
  await page.until(`document.querySelector('#tree-rows [aria-level="${DEPTH}"]:not([hidden])') !== null`);
  const last = await page.ask(`document.querySelector('#tree-rows [aria-level="${DEPTH}"]:not([hidden]) .span-name').textContent`);
  check("the deepest of 10,000 levels is shown", last === `level ${DEPTH - 1}`, last);
  reportFrames("10,000 deep, scroll", await traced(browser, page, `eachFrame(${STEPS}, () => { document.querySelector("#tree-scroller").scrollTop -= 333 })`), 16.7);
  await page.close();
}

async function measureFlood(browser, server) {
  const spansPerSecond = 10_000;
  const eventsPerSecond = 2_000;
  const before = SPANS_MAX - (eventsPerSecond / 2) * Math.round(seconds / 3);
  const { trace } = await server.load.say(`busy ${before}`);
  const busy = await openPage(browser, `${server.url}?trace=${trace}`);
  await busy.until("measured.interactive");
  const list = await openPage(browser, server.url);
  await list.until('document.querySelector("#status").dataset.state === "live"');
  // The frames of an empty page are late only if the machine is busy.
  const empty = await openPage(browser, "about:blank");
  const pages = [["list", list], ["busy trace", busy], ["an empty page beside them", empty]];
  for (const [, page] of pages) await page.ask("globalThis.intervals = []; (() => { let last = NaN; const frame = (now) => { if (!Number.isNaN(last)) intervals.push(now - last); last = now; requestAnimationFrame(frame); }; requestAnimationFrame(frame); })()");
  const heaps = Object.fromEntries(pages.map(([name]) => [name, []]));
  const flood = server.load.say(`flood ${spansPerSecond} ${eventsPerSecond} ${seconds}`);
  for (let at = 0; at < seconds; at += 10) {
    await sleep(Math.min(10, seconds - at) * 1000);
    for (const [name, page] of pages) heaps[name].push(await page.heap());
  }
  await flood;
  for (const [name, page] of pages) {
    const intervals = await page.ask("intervals");
    figure(`flood, ${name}: interval of frames, p95`, quantile(intervals, 0.95), "ms", page === empty ? null : TWO_FRAMES_MS);
    figure(`flood, ${name}: interval of frames, p50`, quantile(intervals, 0.5), "ms");
    if (page === empty) continue;
    check(`flood, ${name}: visible all the time`, (await page.ask("document.hidden")) === false, `${intervals.length} frames`);
    const late = heaps[name].slice(-3);
    console.log(`        flood, ${name}: heap in MB, every ten seconds: ${heaps[name].map((heap) => heap.toFixed(0)).join(" ")}`);
    // The heap after a collection varies with the data in flight. So growth below 2 MB is allowed even
    // for a small heap.
    const growth = late[late.length - 1] - late[0];
    if (seconds >= 60) check(`flood, ${name}: heap flat after the limit`, growth < Math.max(2, late[0] * 0.05), `grew by ${growth.toFixed(1)} MB in ${(late.length - 1) * 10} s`);
  }
  await sleep(3_000);
  const shown = await busy.ask('({ counts: document.querySelector("#trace-counts").textContent, banner: document.querySelector("#banner").textContent, status: document.querySelector("#status-text").textContent })');
  check("flood, busy trace: says what it did not keep", /left out/.test(shown.banner), JSON.stringify(shown));
  console.log(`        server: ${JSON.stringify(await server.load.say("status"))}`);
  for (const [, page] of pages) await page.close();
}

const load = startLoad();
const { url } = await load.answer();
const server = { url: url.endsWith("/") ? url : `${url}/`, load };
let browser = null;
try {
  if (only.includes("size")) await measureSize(server);
  browser = await openBrowser();
  console.log(`        load average of the machine: ${loadavg().map((one) => one.toFixed(1)).join(" ")}, processors: ${cpus().length}`);
  const needsWide = ["load", "file", "scroll", "search"].some((one) => only.includes(one));
  const trace = needsWide ? (await load.say(`wide ${SPANS}`)).trace : "";
  if (only.includes("load")) await measureLoad(browser, server, trace);
  if (only.includes("file")) await measureFile(browser, server, trace);
  if (only.includes("scroll")) await measureScroll(browser, server, trace, "");
  if (only.includes("scroll")) await measureScroll(browser, server, (await load.say(`grouped ${SPANS}`)).trace, "in groups, ");
  if (only.includes("search")) await measureSearch(browser, server, trace);
  if (only.includes("peer")) for (const what of ["nothing", "scroll"]) await measurePeer(browser, what);
  if (only.includes("deep")) await measureDeep(browser, server);
  if (only.includes("flood")) await measureFlood(browser, server);
} finally {
  await browser?.close();
  load.stop();
}
process.exitCode = failed ? 1 : 0;

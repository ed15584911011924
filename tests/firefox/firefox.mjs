// @ts-check
// Starts the demo and a Firefox, which it controls over WebDriver BiDi. It clicks with the pointer,
// at points of the page. Contains no test.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

import puppeteer from "puppeteer-core";

const ROOT = path.resolve(path.dirname(new URL(import.meta.url).pathname), "../..");
const DEMO = process.env.LIVESPAN_DEMO ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "debug/examples/demo");
/** How long a condition may take before the test fails. */
export const PATIENCE_MS = 30_000;
/** The time limit of one test. */
export const LIMIT = { timeout: 4 * PATIENCE_MS };

/** @typedef {import("puppeteer-core").Page} Page */

export class Firefox {
  folder = mkdtempSync(path.join(tmpdir(), "livespan-firefox-"));
  /** The dashboard's address. */
  base = "";
  /** The errors in any page. @type {string[]} */
  faults = [];

  /** @param {string[]} traffic arguments of the demo @param {{width: number, height: number}} [defaultViewport] */
  async start(traffic, defaultViewport = { width: 1400, height: 900 }) {
    const demo = (this.demo = spawn(DEMO, ["--addr", "127.0.0.1:0", ...traffic], { stdio: ["ignore", "pipe", "pipe"] }));
    demo.stderr.resume();
    const lines = createInterface({ input: demo.stdout });
    this.base = await new Promise((resolve, reject) => {
      lines.on("line", (line) => line.startsWith("livespan dashboard: ") && resolve(line.slice("livespan dashboard: ".length).trim()));
      demo.on("error", () => reject(new Error(`no demo at ${DEMO}: cargo build --example demo`)));
      demo.on("exit", () => reject(new Error("the demo ended before it printed its address")));
    });
    this.browser = await puppeteer.launch({
      browser: "firefox", executablePath: "/usr/bin/firefox-esr", headless: true, userDataDir: path.join(this.folder, "profile"), defaultViewport,
      extraPrefsFirefox: {
        // Firefox must not call any of its own services.
        "app.update.enabled": false, "browser.safebrowsing.malware.enabled": false, "network.captive-portal-service.enabled": false,
        "network.connectivity-service.enabled": false, "services.settings.server": "", "toolkit.telemetry.enabled": false,
      },
    });
  }

  async stop() {
    await this.browser?.close();
    this.demo?.kill();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Opens a page without an address, possibly in the background. @returns {Promise<Page>} */
  async newPage() {
    const page = await /** @type {import("puppeteer-core").Browser} */ (this.browser).newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("pageerror", (error) => this.faults.push(String(error)));
    return page;
  }

  /**
   * @param {string} url
   * @returns {Promise<Page>} in the foreground, because a page in the background draws nothing
   */
  async open(url) {
    const page = await this.newPage();
    await page.goto(url);
    await page.bringToFront();
    return page;
  }

  /** @param {string} route @returns {Promise<any>} */
  async json(route) {
    return (await fetch(`${this.base}${route}`)).json();
  }
}

/** Runs the body of a function in the page until it returns something truthy. Returns that value. @param {Page} page @param {string} body @returns {Promise<any>} */
export async function until(page, body) {
  const handle = await page.waitForFunction(`(() => { ${body} })()`, { polling: 50 });
  return handle.jsonValue();
}

/**
 * Clicks in the middle of the first visible element, once the element no longer moves and nothing covers that point.
 * @param {Page} page
 * @param {string} css
 */
export async function click(page, css) {
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

/**
 * Navigates to another address within the page, as the back button does.
 * @param {Page} page
 * @param {string} search
 */
export const goTo = (page, search) => page.evaluate(`history.pushState(null, "", ${JSON.stringify(search)}); dispatchEvent(new PopStateEvent("popstate"))`);

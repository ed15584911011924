// @ts-check
// Claims about the files themselves: the requirements of a strict page policy and of an offline
// machine, and the imports that each folder may use.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const FOLDER = new URL("../../src/dashboard/assets/", import.meta.url);
const BUNDLE = new URL("../../src/dashboard/bundle/", import.meta.url);
const ROOT = new URL("../../", import.meta.url);
const FILES = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter((file) => path.extname(file) !== "");
const MODULES = FILES.filter((file) => file.endsWith(".mjs"));
/** The entry points of the page and its workers. Each becomes one file of the bundle. */
const ENTRIES = ["views/main.mjs", "workers/hub-worker.mjs", "workers/import-worker.mjs"];
/** The folders from which the modules of a folder may import. */
const MAY_IMPORT = {
  model: ["model"],
  net: ["model", "net"],
  workers: ["model", "net"],
  paint: ["model", "paint", "views"],
  views: ["model", "net", "paint", "views"],
};
const FUNCTION_LINES_MAX = 70;

const text = (/** @type {string} */ file) => readFileSync(new URL(file, FOLDER), "utf8");
const code = (/** @type {string} */ file) => text(file).replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, "");
const folderOf = (/** @type {string} */ file) => /** @type {keyof typeof MAY_IMPORT} */ (file.split("/")[0]);
/** @param {string} file @returns {string[]} the modules that it imports */
const imports = (file) => [...code(file).matchAll(/(?: from |\bimport\()"(\.[^"]+)"/g)].map(([, name]) => path.join(path.dirname(file), name));

test("no asset names another host", () => {
  for (const file of FILES) {
    const addresses = text(file).match(/https?:\/\/[^"'\s]*/g) ?? [];
    assert.deepEqual(addresses.filter((address) => address !== "http://www.w3.org/2000/svg"), [], file);
  }
});

test("no module takes markup from text", () => {
  for (const file of MODULES) {
    assert.equal(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(on|style)/.test(text(file)), false, file);
  }
});

test("the page has no inline script, handler or style", () => {
  const page = text("index.html");
  assert.equal(/\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:/.test(page), false);
  assert.match(page, /\n<head>\n/);
});

test("every module is type-checked and begins with its purpose", () => {
  for (const file of MODULES) assert.match(text(file), /^\/\/ @ts-check\n\/\/ [A-Z]/, file);
});

test("every imported module exists, and each folder imports only from the folders that it may use", () => {
  for (const file of MODULES) {
    for (const imported of imports(file)) {
      assert.ok(MODULES.includes(imported), `${file} imports ${imported}`);
      assert.ok(MAY_IMPORT[folderOf(file)].includes(folderOf(imported)), `${file} imports ${imported}`);
    }
  }
});

test("only net/stream.mjs knows EventSource", () => {
  for (const file of MODULES.filter((name) => name !== "net/stream.mjs")) assert.equal(/new \S*EventSource/.test(text(file)), false, file);
});

test("models use neither the page nor a clock nor the network", () => {
  for (const file of MODULES.filter((name) => folderOf(name) === "model")) {
    // The names of locals in a model may contain "document".
    const used = code(file).match(/\b(document\.|document\[|window\b|globalThis\b|localStorage|fetch\(|Date\.now|performance\b|setTimeout\b)/g);
    assert.equal(used, null, `${file}: ${used}`);
  }
});

test("only views and paint touch the page", () => {
  for (const file of MODULES.filter((name) => ["model", "net", "workers"].includes(folderOf(name)))) {
    // `document.baseURI` is allowed, because it only locates the routes.
    const used = code(file).match(/\bdocument\.(?!baseURI)\w+|\bwindow\b|\bHTML\w*Element\b|\bgetComputedStyle\b|\brequestAnimationFrame\b/g);
    assert.equal(used, null, `${file}: ${used}`);
  }
});

test("no function has more than 70 lines", () => {
  for (const file of MODULES) {
    const lines = text(file).split("\n");
    lines.forEach((line, at) => {
      const [, indent] = /^( *)(?:.*\bfunction\*? ?\w*\(.*|(?:static |async |get |set |\*)*[\w#]+\(.*\)|.*=>) \{$/.exec(line) ?? [];
      if (indent === undefined || /^ *(if|for|while|switch|catch)\b/.test(line)) return;
      const end = lines.findIndex((one, index) => index > at && one.startsWith(`${indent}}`));
      assert.ok(end - at + 1 <= FUNCTION_LINES_MAX, `${file}:${at + 1} has ${end - at + 1} lines`);
    });
  }
});

test("every module is part of the bundle", () => {
  const reached = new Set();
  const visit = (/** @type {string} */ file) => {
    if (reached.has(file)) return;
    reached.add(file);
    imports(file).forEach(visit);
  };
  ENTRIES.forEach(visit);
  assert.deepEqual([...reached].sort(), [...MODULES].sort());
});

test("views loaded on demand are imported by no module of the first file", () => {
  const first = new Set();
  const visit = (/** @type {string} */ file) => {
    if (first.has(file)) return;
    first.add(file);
    for (const [, name] of text(file).matchAll(/ from "(\.[^"]+)"/g)) visit(path.join(path.dirname(file), name));
  };
  visit("views/main.mjs");
  const later = imports("views/on-demand.mjs");
  assert.deepEqual(later.filter((file) => first.has(file)), []);
  assert.ok(!first.has("views/on-demand.mjs"));
});

test("every style sheet is part of the served one", () => {
  const sheets = FILES.filter((file) => file.endsWith(".css") && file !== "styles/main.css");
  const joined = [...text("styles/main.css").matchAll(/^@import "\.\/([^"]+)";$/gm)].map(([, name]) => `styles/${name}`);
  assert.deepEqual(joined.sort(), sheets.sort());
});

test("every module except the page's entry can be imported in a worker", async () => {
  for (const file of MODULES.filter((name) => !ENTRIES.includes(name))) await import(new URL(file, FOLDER).href);
});

test("the bundle imports only its own files, takes no markup from text, and names its generator", () => {
  const files = readdirSync(BUNDLE);
  assert.deepEqual(files.sort(), ["app.css", "app.js", "core.js", "favicon.svg", "file.js", "hub-worker.js", "import-worker.js", "index.html", "on-demand.js"]);
  /** @type {Record<string, string[]>} */
  const imported = { "app.js": ["core", "on-demand"], "on-demand.js": ["core"] };
  for (const file of files.filter((name) => /\.(js|css)$/.test(name))) {
    const bundled = readFileSync(new URL(file, BUNDLE), "utf8");
    assert.match(bundled, /^\/\* Generated by scripts\/bundle /, file);
    const names = [...bundled.matchAll(/(?<=[;}/\n]import\{[^}]*\}from|\bimport\()"([^"]*)"/g)].map(([, name]) => name);
    assert.deepEqual(names.map((name) => name.replace(/^\.\/(.*)-[0-9a-f]{16}\.js$/, "$1")).sort(), imported[file] ?? [], file);
    assert.equal(/@import|sourceMappingURL|innerHTML|https?:\/\//.test(bundled), false, file);
  }
});

test("contributors' packages are locked, and the lock file names no registry", () => {
  const { devDependencies, dependencies } = JSON.parse(readFileSync(new URL("package.json", ROOT), "utf8"));
  assert.equal(dependencies, undefined);
  for (const version of Object.values(devDependencies)) assert.match(version, /^\d+\.\d+\.\d+$/);
  // The addresses of funding pages do not count, because nothing is installed from them.
  const lock = readFileSync(new URL("package-lock.json", ROOT), "utf8").replace(/^ *"url": ".*"$/gm, "");
  assert.equal(/"resolved"|:\/\//.test(lock), false);
});

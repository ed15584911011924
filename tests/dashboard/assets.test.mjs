// @ts-check
// Claims about the files themselves: what a strict page policy and an offline machine need.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const FOLDER = new URL("../../src/dashboard/assets/", import.meta.url);
const FILES = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter((file) => path.extname(file) !== "");
const text = (/** @type {string} */ file) => readFileSync(new URL(file, FOLDER), "utf8");

test("no asset names another host", () => {
  for (const file of FILES) {
    const addresses = text(file).match(/https?:\/\/[^"'\s]*/g) ?? [];
    assert.deepEqual(addresses.filter((address) => address !== "http://www.w3.org/2000/svg"), [], file);
  }
});

test("no module takes markup from text", () => {
  for (const file of FILES.filter((name) => name.endsWith(".mjs"))) {
    assert.equal(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(on|style)/.test(text(file)), false, file);
  }
});

test("the page has no inline script, handler or style", () => {
  const page = text("index.html");
  assert.equal(/\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:/.test(page), false);
  assert.match(page, /\n<head>\n/);
});

test("every module is type-checked and opens with what it is for", () => {
  for (const file of FILES.filter((name) => name.endsWith(".mjs"))) assert.match(text(file), /^\/\/ @ts-check\n\/\/ [A-Z]/, file);
});

test("every module that is imported exists, and only stream.mjs knows EventSource", () => {
  for (const file of FILES.filter((name) => name.endsWith(".mjs"))) {
    for (const found of text(file).matchAll(/from "(\.[^"]+)"/g)) assert.ok(FILES.includes(path.join(path.dirname(file), found[1])), `${file} imports ${found[1]}`);
    if (file !== "net/stream.mjs") assert.equal(/new \S*EventSource/.test(text(file)), false, file);
  }
});

test("the models and the arithmetic know neither page nor clock", () => {
  for (const file of [
    "model/model.mjs", "model/list-model.mjs", "model/columns.mjs", "model/tree.mjs", "model/span.mjs", "model/visible-rows.mjs", "model/layout.mjs", "model/timescale.mjs", "model/time.mjs", "model/gaps.mjs", "model/status.mjs", "model/palette.mjs",
    "views/ui-state.mjs", "model/critical-path.mjs", "model/search.mjs", "model/route.mjs", "model/waits-for.mjs",
  ]) {
    assert.equal(/\b(document|window|globalThis|localStorage|fetch|Date\.now|performance|setTimeout)\b/.test(text(file).replace(/\/\/.*$/gm, "")), false, file);
  }
});

const ENTRIES = ["views/main.mjs", "workers/hub-worker.mjs", "workers/import-worker.mjs"];
const MODULES = FILES.filter((name) => name.endsWith(".mjs"));

test("modules can be served as one script: no two give a name of their own to different things, and none goes by two", () => {
  /** @type {Record<string, string[]>} */
  const owners = {};
  for (const file of MODULES.filter((name) => !ENTRIES.includes(name))) {
    for (const [, names] of text(file).matchAll(/^(?:export )?(?:async )?(?:const|let|class|function\*?) (\w+|\{[^}]*\}|\[[^\]]*\])/gm)) {
      for (const name of names.match(/\w+/g) ?? []) (owners[name] ??= []).push(file);
    }
  }
  assert.deepEqual(Object.entries(owners).filter(([, files]) => files.length > 1), []);
  for (const file of MODULES) {
    assert.deepEqual(text(file).match(/^import (?!\{).*|^import \{[^}]* as .*|^export (?!\* from|(async )?function|const|class).*/gm), null, file);
  }
});

test("a worker can have every module that is not the page's beginning", async () => {
  for (const file of MODULES.filter((name) => !ENTRIES.includes(name))) await import(new URL(file, FOLDER).href);
});

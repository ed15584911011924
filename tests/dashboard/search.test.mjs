// @ts-check
// Claims about the search grammar. The server's own test uses the same examples.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { contains, fold, parseQuery, quoteTerm, traceMatches } from "../../src/dashboard/assets/model/search.mjs";

const SHARED = JSON.parse(readFileSync(new URL("../search.json", import.meta.url), "utf8"));

test("searches of the list give the results of the shared examples", () => {
  for (const { query, traces } of SHARED.finds) {
    const { terms, wrong } = parseQuery(query, "list");
    assert.equal(wrong, null, query);
    const found = SHARED.traces.flatMap((/** @type {any} */ { summary }, /** @type {number} */ at) => (traceMatches(summary, terms, SHARED.nowMs) ? [at + 1] : []));
    assert.deepEqual(found, traces, query);
  }
});

test("a syntax error has its position and the server's wording", () => {
  for (const { query, message, at } of SHARED.wrong) {
    const { terms, wrong } = parseQuery(query, "list");
    assert.deepEqual([terms, wrong?.message, [...query.slice(0, wrong?.at)].length + 1], [[], message, at], query);
  }
});

test("the position covers the wrong term", () => {
  const { wrong } = parseQuery('🛒 -state:"gone for" x', "trace");
  assert.equal('🛒 -state:"gone for" x'.slice(wrong?.at, Number(wrong?.at) + Number(wrong?.length)), '-state:"gone for"');
});

test("inside a trace, every unknown key is an attribute's", () => {
  const attribute = (/** @type {string} */ key, /** @type {string} */ value, operator = "", number = NaN) => ({ negated: false, at: 0, key, value, operator, number });
  /** @type {[string, any][]} */
  const claims = [
    ["http.method:GET", attribute("@http.method", "get")], ["cart.items>=3", attribute("@cart.items", "3", ">=", 3)],
    ["cart.items:3", attribute("@cart.items", "3", "", 3)], ["@status:500", attribute("@status", "500", "", 500)],
    ["state:cancelled", attribute("state", "cancelled")], ["a>b", attribute("", "a>b")], ["http://x/y", attribute("", "http://x/y")],
    ["shop::cart", attribute("", "shop::cart")], ["name>3", attribute("", "name>3")], ['"a b":c', attribute("", "a b:c")],
    ["__proto__:x", attribute("@__proto__", "x")], ["constructor:x", attribute("@constructor", "x")],
  ];
  for (const [query, expected] of claims) assert.deepEqual(parseQuery(query, "trace"), { terms: [expected], wrong: null }, query);
  assert.equal(parseQuery("x spans>3", "trace").wrong?.message, '"spans" searches the list of traces: put @ before it to search an attribute, at character 3');
});

test("texts are folded as in the shared examples", () => {
  for (const { text, folded } of SHARED.folds) assert.equal(fold(text), folded, text);
});

test("for every character, folding is idempotent and ignores case and normalization", () => {
  for (let code = 0; code < 0x110000; code += 1) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const character = String.fromCodePoint(code);
    const folded = fold(character);
    for (const other of [folded, character.toLowerCase(), character.toUpperCase(), character.normalize("NFD")]) {
      if (other !== character && fold(other) !== folded) assert.equal(fold(other), folded, `U+${code.toString(16)}`);
    }
  }
});

test("a quoted term finds its text", () => {
  const texts = [
    "GET /cart", "plain", "-5", "<img src=x onerror=alert(1)>", "שלום עולם", "🛒 x", "", 'say "hi"', '"', '""', "\\", 'C:\\tmp\\', 'a\\"b', '\\\\"',
    'he said: "no\\" -x', "SELECT *\n  FROM t\t-- x", "\n", "é", "e\u0301 Straße", "x:y", "a.*b(c)",
  ];
  for (const text of texts) {
    const [{ value }, ...more] = parseQuery(`name:${quoteTerm(text)}`, "trace").terms;
    assert.deepEqual([value, more], [fold(text), []], text);
    assert.equal(contains(value)(text), true, text);
    assert.equal(contains(value)(`x${text}y`), true, text);
  }
  assert.equal(quoteTerm('say "hi"'), '"say \\"hi\\""');
});

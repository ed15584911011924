// @ts-check
// Claims about the title of a span's row, and the text beside it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createTrace, indexOf, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { CHOICES_MAX, TitleChoice, TraceTitles, besideOf, besideText, differingKey, reasonOf, titleOf } from "../../src/dashboard/assets/model/span-title.mjs";
import { TRACE, ended, started, updated } from "./build.mjs";

/** @param {string} name @param {Record<string, unknown>} attributes */
function title(name, attributes) {
  const { text, badge, aside } = titleOf({ name, attributes });
  return [text, badge === null ? "" : `${badge.text} ${badge.tone}`, aside].filter((part) => part !== "").join(" | ");
}

test("a title comes from the first convention with a value, new or old", () => {
  /** @type {[string, Record<string, unknown>, string][]} */
  const cases = [
    ["request", { "http.request.method": "GET", "http.route": "/products/{id}", "url.path": "/products/7", "http.response.status_code": 200 }, "GET /products/{id} | 200 ok"],
    ["request", { "http.method": "POST", "http.target": "/checkout", "http.status_code": "404" }, "POST /checkout | 404 warning"],
    ["GET", { "http.request.method": "GET", "url.full": "https://api.example/charges?key=1", "http.response.status_code": 503 }, "GET api.example/charges | 503 error"],
    ["charge card", { "http.request.method": "POST", "url.full": "https://pay.example/v1" }, "POST pay.example/v1 | charge card"],
    ["GET /products/{id}", { "http.request.method": "GET", "http.route": "/products/{id}" }, "GET /products/{id}"],
    ["retry GET /a", { "http.request.method": "GET", "http.route": "/a" }, "retry GET /a"],
    ["GET", { "http.request.method": "GET" }, "GET"],
    ["query", { "db.operation.name": "SELECT", "db.collection.name": "products" }, "SELECT products"],
    ["query", { "db.operation": "INSERT", "db.sql.table": "orders", "db.name": "shop" }, "INSERT orders"],
    ["query", { "db.query.summary": "SELECT a; SELECT b", "db.operation.name": "BATCH" }, "SELECT a; SELECT b"],
    ["SELECT product page", { "db.system.name": "sqlite", "db.query.text": "SELECT 1" }, "SELECT product page"],
    ["send", { "messaging.destination.name": "orders", "messaging.operation.name": "publish" }, "publish orders"],
    ["grpc", { "rpc.service": "shop.Cart", "rpc.method": "AddItem", "rpc.grpc.status_code": 14 }, "shop.Cart/AddItem | 14 error"],
    ["grpc", { "rpc.method": "shop.Cart/AddItem", "rpc.response.status_code": "OK" }, "shop.Cart/AddItem"],
    ["span", { "gen_ai.operation.name": "chat", "gen_ai.request.model": "m-4" }, "chat m-4"],
    ["run tool", { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather", "gen_ai.agent.name": "a" }, "execute_tool get_weather | run tool"],
    ["POST /graphql", { "graphql.operation.type": "query", "graphql.operation.name": "findBook" }, "query findBook | POST /graphql"],
    ["fulfil order", { "messaging.destination.name": "orders" }, "fulfil order"],
    ["receive", { "messaging.destination.name": "orders" }, "orders"],
    ["load cart", { items: 3 }, "load cart"],
    ["", {}, ""],
  ];
  assert.deepEqual(cases.map(([name, attributes]) => title(name, attributes)), cases.map(([, , expected]) => expected));
});

test("only texts, numbers and booleans are part of a title, and a long one is shortened", () => {
  assert.equal(title("x", { "http.request.method": ["GET"], "http.route": "/" }), "x");
  assert.equal(titleOf({ name: "x", attributes: null }).text, "x");
  assert.equal(titleOf({ name: "request", attributes: { "http.request.method": "GET", "url.path": "/".repeat(5_000) } }).text.length, 300);
});

test("the first differing attribute is shown beside a name", () => {
  const page = (/** @type {number} */ number) => ({ "code.line.number": 4, "thread.id": number, target: "a", products: 10, page: number, busy_ns: number });
  assert.equal(differingKey([page(1), page(2)]), "page");
  assert.equal(differingKey([page(1)]), "products", "a single sample did not give its first attribute");
  assert.equal(differingKey([page(1), page(1)]), null, "equal samples gave an attribute");
  assert.equal(differingKey([{ "url.path": "/a" }, { "url.path": "/b" }]), "url.path");
  assert.equal(differingKey([{ "url.path": "/a" }, { "url.path": "/b" }], ["url.path"]), null, "an attribute of the title was chosen");
  assert.equal(differingKey([]), null);
});

test("values beside a title are in one line and shortened", () => {
  const beside = besideOf({ "order.id": 7, text: "two\n lines", long: "x".repeat(100), list: [1] }, ["order.id", "text", "long", "list", "none"]);
  assert.deepEqual(beside.map(besideText), ["id=7", "text=two lines", `long=${"x".repeat(59)}…`]);
});

test("a choice applies to all spans of a name; attributes and names are bounded", () => {
  const choice = new TitleChoice({ a: ["x"], wrong: 4 });
  for (const key of ["y", "z", "y"]) choice.toggle("a", key);
  assert.deepEqual([choice.kept(), choice.has("a", "z"), choice.has("a", "x"), choice.version], [{ a: ["z"] }, true, false, 3]);
  choice.toggle("a", "z");
  assert.deepEqual(choice.kept(), {});
  for (let number = 0; number < CHOICES_MAX + 5; number += 1) choice.toggle(`name ${number}`, "x");
  assert.deepEqual([choice.keys.size, choice.has("name 4", "x"), choice.has("name 5", "x")], [CHOICES_MAX, false, true]);
});

test("spans of a trace show distinguishing attributes, later ones and chosen ones, too", () => {
  const trace = createTrace(TRACE);
  const choice = new TitleChoice();
  const titles = new TraceTitles(choice);
  const says = (/** @type {string} */ id) => {
    titles.refresh(trace);
    return titles.of(indexOf(trace, id)).beside.map(besideText).join(" ");
  };
  for (let page = 1; page <= 3; page += 1) reduceTrace(trace, started(`p${page}`, "root", page, { name: "page", attributes: { size: 10, page, shard: page % 2 } }));
  assert.deepEqual(["p1", "p3", "root"].map(says), ["page=1", "page=3", ""]);
  const before = titles.version;
  choice.toggle("page", "shard");
  choice.toggle("page", "rows");
  assert.deepEqual([says("p1"), titles.version - before], ["shard=1", 2]);
  reduceTrace(trace, updated("p1", 5, { attributes: { rows: 4 } }));
  assert.equal(says("p1"), "shard=1 rows=4");
  const other = createTrace(TRACE);
  reduceTrace(other, started("q", null, 1, { name: "page", attributes: { x: 1 } }));
  titles.refresh(other);
  assert.deepEqual(titles.of(0).beside, []);
});

test("a single span shows its first attribute, and another one if later spans do not differ in it", () => {
  const trace = createTrace(TRACE);
  const titles = new TraceTitles(new TitleChoice());
  const says = () => {
    titles.refresh(trace);
    return titles.of(1).beside.map(besideText).join(" ");
  };
  reduceTrace(trace, started("p1", "root", 1, { name: "page", attributes: { size: 10, page: 1 } }));
  assert.equal(says(), "");
  titles.refresh(trace);
  assert.deepEqual(titles.of(indexOf(trace, "p1")).beside.map(besideText), ["size=10"]);
  reduceTrace(trace, started("p2", "root", 2, { name: "page", attributes: { size: 10, page: 2 } }));
  titles.refresh(trace);
  assert.deepEqual(titles.of(indexOf(trace, "p1")).beside.map(besideText), ["page=1"]);
});

test("a failure shows its reason in one line", () => {
  const trace = createTrace(TRACE);
  for (const event of [
    ended("a", null, 0, 1, { status: { code: "ERROR", message: "feed 31\n is broken" } }), ended("b", null, 0, 1, { status: { code: "OK", message: "fine" } }),
    ended("c", null, 0, 1, { panicked: true, panic: { message: "index out of bounds" }, status: { code: "ERROR", message: "panicked" } }),
  ]) reduceTrace(trace, event);
  assert.deepEqual([0, 1, 2].map((index) => reasonOf(trace, index)), ["feed 31 is broken", "", "index out of bounds"]);
});

test("the server keeps the root attributes that titles need", () => {
  /** @param {string} path */
  const text = (path) => readFileSync(new URL(`../../src/${path}`, import.meta.url), "utf8");
  const rust = text("span/root_attributes.rs");
  const remembered = new Set([...rust.slice(rust.indexOf("const CONVENTIONAL"), rust.indexOf("];")).matchAll(/"([^"]+)"/g)].map(([, key]) => key));
  const rules = [...text("dashboard/assets/model/span-title.mjs").matchAll(/said\(attributes, ([^)]+)\)/g)];
  const needed = rules.flatMap(([, keys]) => [...keys.matchAll(/"([^"]+)"/g)].map(([, key]) => key));
  assert.ok(needed.length > 30, "the rules' attributes were not found in the source");
  assert.deepEqual(needed.filter((key) => !remembered.has(key)), []);
});

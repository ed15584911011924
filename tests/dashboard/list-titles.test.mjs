// @ts-check
// Claims about the title of a trace in the list.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createList, reduceList } from "../../src/dashboard/assets/model/list-model.mjs";
import { ListTitles } from "../../src/dashboard/assets/model/list-titles.mjs";
import { TitleChoice, besideText } from "../../src/dashboard/assets/model/span-title.mjs";

/** @param {string} traceId @param {string} name @param {unknown} [rootAttributes] @param {string} [service] */
function summary(traceId, name, rootAttributes, service = "shop") {
  return /** @type {any} */ ({ traceId, name, service, state: "ok", rootAttributes, firstId: `e-${traceId}`, lastId: `e-${traceId}` });
}

/** @param {any[]} traces @param {TitleChoice} choice */
function rows(traces, choice = new TitleChoice()) {
  const model = createList();
  reduceList(model, { type: "traces", data: { type: "traces", snapshot: true, traces, removed: [] } });
  const titles = new ListTitles(choice);
  titles.refresh(model);
  return traces.map((trace) => {
    const { text, badge, beside } = titles.of(trace);
    return [text, ...(badge === null ? [] : [badge.text]), ...beside.map(besideText)].join(" ");
  });
}

test("traces of one name are distinguished by conventions, and by the first differing attribute", () => {
  assert.deepEqual(
    rows([
      summary("1", "request", { "http.request.method": "GET", "http.route": "/products/{id}", "url.path": "/products/7", "http.response.status_code": 200 }),
      summary("2", "request", { "http.request.method": "POST", "http.route": "/checkout", "url.path": "/checkout", "http.response.status_code": 503 }),
      summary("3", "nightly", { tenant: "acme", page: 3 }),
      summary("4", "nightly", { tenant: "acme", page: 4 }),
      summary("5", "nightly", { page: 5 }, "billing"),
      summary("6", "cleanup"),
      summary("7", "cleanup", null),
    ]),
    ["GET /products/{id} 200 path=/products/7", "POST /checkout 503 path=/checkout", "nightly page=3", "nightly page=4", "nightly page=5", "cleanup", "cleanup"],
  );
});

test("the reader's choice applies in the list, too", () => {
  const traces = [summary("1", "nightly", { tenant: "acme", page: 3 }), summary("2", "nightly", { tenant: "acme", page: 4 })];
  assert.deepEqual(rows(traces, new TitleChoice({ nightly: ["tenant"] })), ["nightly tenant=acme", "nightly tenant=acme"]);
});

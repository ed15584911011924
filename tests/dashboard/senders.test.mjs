// @ts-check
// Claims about OTLP senders in the status.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SENDERS_SHOWN_MAX, SERVICES_NAMED_MAX, senderLines } from "../../src/dashboard/assets/model/senders.mjs";

const NOW = "2026-01-01T00:10:00Z";

/** @param {object} [more] @returns {any} */
function sender(more = {}) {
  return { service: "shop", process: "aaaaaaaa", language: "nodejs", sdk: "opentelemetry", sdkVersion: "2.1.0", lastHeard: "2026-01-01T00:09:57Z", spans: 1200, logRecords: 0, openSpans: 0, rejected: 0, endedOnly: false, ...more };
}

/** @param {any[]} senders @param {object} [more] */
function linesOf(senders, more = {}) {
  return senderLines({ now: NOW, otlp: { senders, refusedRequests: 0, openSpansNotFollowed: 0, ...more } });
}

test("without a receiver or an answer there are no lines about senders", () => {
  assert.deepEqual([senderLines(null), senderLines({ now: NOW }), senderLines(/** @type {any} */ ("no")), senderLines(/** @type {any} */ ({ now: NOW, otlp: {} }))], [[], [], [], []]);
  assert.deepEqual(linesOf([]), ["OTLP: no other process has sent anything yet"]);
});

test("a sender's line has its SDK, its last request, its counts and a rejection's reason", () => {
  const lines = linesOf([
    sender({ service: "mail", language: "", sdk: "", sdkVersion: "", lastHeard: "2026-01-01T00:00:00Z", spans: 1, logRecords: 2, rejected: 3, repeated: 1_000, lastRejection: "the trace id is zero" }),
    sender({ openSpans: 2, clockAheadMillis: 61_000 }),
  ]);
  assert.deepEqual(lines, [
    "OTLP from shop (nodejs, opentelemetry 2.1.0): last request 3 s ago, 1,200 spans, 2 open now, its clock is 1 m 01 s ahead",
    "OTLP from mail: last request 10 min ago, 1 span, 2 log records, 3 rejected: the trace id is zero, 1,000 repeated and left out",
  ]);
});

test("of many senders the most recent are listed, and the others counted", () => {
  const many = Array.from({ length: SENDERS_SHOWN_MAX + 2 }, (_, at) => sender({ service: `s${at}`, lastHeard: `2026-01-01T00:09:${String(10 + at)}Z` }));
  const lines = linesOf(many);
  assert.equal(lines.length, SENDERS_SHOWN_MAX + 1);
  assert.deepEqual([lines[0], lines.at(-1)], [`OTLP from s${SENDERS_SHOWN_MAX + 1} (nodejs, opentelemetry 2.1.0): last request ${60 - 10 - SENDERS_SHOWN_MAX - 1} s ago, 1,200 spans`, "OTLP: 2 other senders, whose last requests are older"]);
});

test("services that send only ended spans are named once, with a reference to the guide", () => {
  const names = ["a", "a", "b", "c", "d"];
  const last = linesOf(names.map((service) => sender({ service, endedOnly: true }))).at(-1);
  assert.equal(last, `a, b, c and ${4 - SERVICES_NAMED_MAX} more: only ended spans are received. With a start sender, spans appear while they are open: see “Other languages” in livespan's guide`);
});

test("refused requests are shown with their reason", () => {
  const refusal = { reason: "the body is not OTLP", timestamp: "2026-01-01T00:09:00Z", sender: "curl/8" };
  assert.deepEqual(linesOf([sender()], { refusedRequests: 4, lastRefusal: refusal, openSpansNotFollowed: 1 }).slice(1), [
    "OTLP: 1 open span beyond the limit: they appear when they end",
    "OTLP: 4 requests rejected, the last 1 min ago from curl/8: the body is not OTLP",
  ]);
});

// @ts-check
// Claims about the list of records: its contents, its order, and the results of a search in it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FoundLines, LINES_MAX, LogLines, TraceLines, fieldsOf, lastLineOf, lineOfLog, spanNameOf, targetOf } from "../../src/dashboard/assets/model/log-lines.mjs";
import { createTrace, reduceTrace } from "../../src/dashboard/assets/model/model.mjs";
import { levelOf, levelText, severityOf, severityOfEvent } from "../../src/dashboard/assets/model/severity.mjs";
import { TRACE, at, ended, log, started, updated } from "./build.mjs";

/** @param {LogLines} lines */
const words = (lines) => lines.all.map(({ time, level, text, spanId }) => `${time} ${level} ${text} ${spanId}`);
const moment = (/** @type {string} */ name, /** @type {number} */ time, /** @type {any} */ attributes = {}) => ({ name, timestamp: at(time), attributes });
const LEVELS = new Set(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]);

test("a record has the level of its number, else of its text, else INFO", () => {
  const levels = [[24, "FATAL"], [17, "ERROR"], [13, "WARN"], [12, "INFO4"], [9, "INFO"], [5, "DEBUG"], [1, "TRACE"]].map(([severityNumber, severityText]) => levelOf(severityOf({ severityNumber, severityText })));
  assert.deepEqual(levels, ["ERROR", "ERROR", "WARN", "INFO", "INFO", "DEBUG", "TRACE"]);
  assert.deepEqual(["warning", "Fatal", "critical", "err", "", undefined, 7].map((severityText) => levelOf(severityOf({ severityText }))), ["WARN", "ERROR", "ERROR", "INFO", "INFO", "INFO", "INFO"]);
  assert.deepEqual([0, 25, "x", null, NaN].map((severityNumber) => severityOf({ severityNumber })), [9, 9, 9, 9, 9]);
  assert.deepEqual([levelText({ severityNumber: 17, severityText: "Fehler" }), levelText({ severityNumber: 17 })], ["Fehler", "ERROR"]);
  assert.deepEqual([severityOfEvent({ name: "exception" }), severityOfEvent({ name: "x", attributes: { level: "DEBUG" } }), severityOfEvent(null)], [17, 5, 9]);
});

test("log records, span events and exceptions are one list in order of time, each once", () => {
  const lines = new TraceLines();
  const trace = createTrace(TRACE);
  const take = (/** @type {any[]} */ ...events) => {
    for (const event of events) reduceTrace(trace, event);
    return words(lines.update(trace));
  };
  assert.deepEqual(take(started("a", null, 0), log("a", 3, { body: "three" })), ["3 INFO three a"]);
  assert.deepEqual(take(updated("a", 2, { events: [moment("two", 2, { level: "WARN" })] })), ["2 WARN two a", "3 INFO three a"]);
  const bad = moment("exception", 4, { "exception.type": "Declined", "exception.message": "no card" });
  const all = ["1 INFO one gone", "2 WARN two a", "3 INFO three a", "4 ERROR Declined: no card a"];
  assert.deepEqual(take(updated("a", 5, { events: [bad] }), log("gone", 1, { body: "one" })), all);
  assert.deepEqual(take(ended("a", null, 0, 9, { events: [moment("two", 2, { level: "WARN" }), bad] })), all, "the end's repeated events are shown twice");
  assert.deepEqual(lines.lines.counts, { ERROR: 1, WARN: 1, INFO: 2, DEBUG: 0, TRACE: 0 });
  const record = log("a", 6, { severityNumber: 17, severityText: "ERROR", body: "payment: no card" });
  assert.deepEqual(take(record), [...all.slice(0, 3), "6 ERROR payment: no card a"], "an exception repeated by a record is shown twice");
  assert.deepEqual(lines.lines.counts, { ERROR: 1, WARN: 1, INFO: 2, DEBUG: 0, TRACE: 0 });
  // An end that corrects its span's earlier updates.
  const other = createTrace(TRACE);
  for (const event of [started("a", null, 0), updated("a", 2, { events: [moment("x", 1), moment("y", 2)] })]) reduceTrace(other, event);
  assert.deepEqual(words(lines.update(other)), ["1 INFO x a", "2 INFO y a"]);
  reduceTrace(other, ended("a", null, 0, 9, { events: [moment("y", 2)] }));
  assert.deepEqual(words(lines.update(other)), ["2 INFO y a"]);
  assert.equal(spanNameOf(other, lines.lines.all[0]), "a");
});

test("any order of arrival gives the same list", () => {
  const lines = new LogLines();
  const line = (/** @type {number} */ time) => lineOfLog({ body: String(time), timestamp: at(time) }, time);
  for (const times of [[5, 1], [3], [4, 2, 6], [6]]) lines.add(times.map(line));
  assert.deepEqual(lines.all.map(({ time }) => time), [1, 2, 3, 4, 5, 6, 6]);
});

test("a list keeps its newest lines, and counts the removed ones", () => {
  const lines = new LogLines();
  lines.add(Array.from({ length: LINES_MAX + 5_001 }, (_, n) => lineOfLog({ body: "", severityNumber: 9 }, n)));
  assert.deepEqual([lines.all.length, lines.left, lines.all[0].time, lines.counts.INFO], [LINES_MAX, 5_001, 5_001, LINES_MAX]);
});

test("records are found by text, field, level and span, also those that arrive later", () => {
  const lines = new LogLines();
  const records = [
    { body: "feed answered slowly", attributes: { feed: "nordic.xml", attempt: 2 }, target: "demo::feeds", severityNumber: 13 },
    { body: "Straße gesperrt", attributes: {}, severityNumber: 9, spanId: "a" },
    { body: { reason: "quota" }, attributes: { feed: "south.xml" }, severityNumber: 5 },
    { body: "GET /a?x=1", attributes: { "http.url": "http://x/" }, severityNumber: 9 },
  ];
  lines.add(records.slice(0, 2).map((data, n) => lineOfLog(data, n)));
  const search = (/** @type {string} */ text, levels = LEVELS, spanId = (/** @type {string | null} */ _) => true) => {
    const found = new FoundLines();
    const before = found.update(lines, { text, levels, spanId, key: "" }).length;
    return { found, before };
  };
  const { found, before } = search("feed");
  lines.add(records.slice(2).map((data, n) => lineOfLog(data, n + 2)));
  assert.deepEqual([before, found.update(lines, { text: "feed", levels: LEVELS, spanId: () => true, key: "" }).length], [1, 1]);
  const times = (/** @type {string} */ text, /** @type {any[]} */ ...rest) => search(text, ...rest).found.found.map(({ time }) => time);
  assert.deepEqual([
    times(""), times("NORDIC"), times("feed=nordic"), times("feed:south"), times("strasse"), times('"answered slowly"'), times("quota"), times("-feed=nordic.xml"), times("attempt=2"),
    times("x=1"), times("demo::feeds slowly"), times("feed=nowhere"), times("<img"), times("http://x"), times("-"), times('"'),
  ], [[0, 1, 2, 3], [0], [0], [2], [1], [0], [2], [1, 2, 3], [0], [3], [0], [], [], [3], [], [0, 1, 2, 3]]);
  assert.deepEqual([times("", new Set(["WARN"])), times("", LEVELS, (spanId) => spanId === "a"), times("", new Set())], [[0], [1], []]);
});

test("fields describe the work, and the target is the part of the program", () => {
  const line = lineOfLog({ body: "x", attributes: { page: 31, "code.file.path": "src/a.rs", "thread.id": 1 }, target: "demo::reindex" }, 0);
  assert.deepEqual([fieldsOf(line), targetOf(line)], [[["page", 31]], "demo::reindex"]);
  assert.equal(targetOf(lineOfLog({ scope: "sqlx" }, 0)), "sqlx");
  assert.equal(lineOfLog({ eventName: "job.done" }, 0).text, "job.done");
});

test("a span's last line is its newest record or event, up to a moment", () => {
  const trace = [started("a", null, 0), started("b", null, 0), log("a", 5, { body: "five" }), log("a", 3, { body: "three" }), updated("a", 7, { events: [moment("seven", 7)] })].reduce(reduceTrace, createTrace(TRACE));
  assert.deepEqual([9, 6, 4, 1].map((until) => lastLineOf(trace, 0, until)?.text ?? ""), ["seven", "five", "three", ""]);
  assert.equal(lastLineOf(trace, 1, 9), null);
});

test("a record without a text has that of its error field, which is not repeated", () => {
  const words = (/** @type {any} */ data) => {
    const line = lineOfLog(data, 0);
    return [line.text, fieldsOf(line)];
  };
  const attributes = { product: 194, error: "EOF" };
  assert.deepEqual(words({ body: null, attributes }), ["EOF", [["product", 194]]]);
  assert.deepEqual(words({ attributes: { error: { code: 7 }, "exception.message": "no card" } }), ["no card", [["error", { code: 7 }]]]);
  assert.deepEqual(words({ attributes: { error: { code: 7 } } }), ['{"code":7}', []]);
  // A record with its own text keeps its fields.
  assert.deepEqual(words({ body: "left out", attributes }), ["left out", [["product", 194], ["error", "EOF"]]]);
  assert.deepEqual(words({ eventName: "job.done", attributes }), ["job.done", [["product", 194], ["error", "EOF"]]]);
  assert.deepEqual(fieldsOf({ ...lineOfLog({}, 0), data: { name: "retry", attributes } }), [["product", 194], ["error", "EOF"]]);
  for (const nothing of [{}, { body: null }, { body: "", attributes: { error: "" } }, { attributes: { error: null } }]) assert.equal(words(nothing)[0], "");
});

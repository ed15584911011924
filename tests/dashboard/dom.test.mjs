// @ts-check
// Claims about texts that are shortened to be drawn.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NAME_SHOWN_MAX, shortened, shortenedMiddle } from "../../src/dashboard/assets/views/dom.mjs";

test("a shortened text ends in an ellipsis, never in half a character", () => {
  assert.equal(shortened("x".repeat(NAME_SHOWN_MAX)), "x".repeat(NAME_SHOWN_MAX));
  assert.equal(shortened("x".repeat(5_000)).length, NAME_SHOWN_MAX);
  assert.deepEqual([shortened("abc💥def", 5), shortened("abcdef", 4)], ["abc…", "abc…"]);
});

test("a shortened name keeps its two ends", () => {
  assert.equal(shortenedMiddle("checkout-service-production-eu-west-1", 20), "checkout-s…eu-west-1");
  assert.equal(shortenedMiddle("shop", 20), "shop");
  for (let length = 3; length < 12; length += 1) assert.equal(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(shortenedMiddle("💥".repeat(12), length)), false, String(length));
});

// @ts-check
// Claims about ids as people read them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { identityOf } from "../../src/dashboard/assets/model/identity.mjs";
import { shortId } from "../../src/dashboard/assets/model/ids.mjs";

test("a short id begins at the first significant digit", () => {
  assert.equal(shortId("4bf92f3577b34da6a3ce929d0e0e4736"), "4bf92f35");
  assert.equal(shortId("00f067aa0ba902b7"), "f067aa0b");
  // Tracers with 64-bit ids write zeros before the id.
  assert.equal(shortId("0000000000000000a3ce929d0e0e4736"), "a3ce929d");
  // Some tracers count: their ids are small numbers.
  assert.deepEqual(["00000000000000000000000000000001", "000000000000000a", "0000000000000000"].map(shortId), ["00000001", "0000000a", "00000000"]);
  assert.equal(shortId("00000000000000000000000123456789"), "12345678");
  assert.equal(shortId("abc"), "abc");
  assert.equal(shortId(""), "");
});

test("each object has its own number, even with equal contents", () => {
  const [one, other] = [{ id: "a" }, { id: "a" }];
  assert.equal(identityOf(one), identityOf(one));
  assert.notEqual(identityOf(one), identityOf(other));
});

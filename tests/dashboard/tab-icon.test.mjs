// @ts-check
// Claims about the icon of a tab: each state has its own, and no two look alike.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STATE_NAMES, shownState } from "../../src/dashboard/assets/model/columns.mjs";
import { tabIcon } from "../../src/dashboard/assets/model/tab-icon.mjs";

test("each shown state has its own icon, an address without quotes or spaces of markup", () => {
  const states = new Set(STATE_NAMES.flatMap((state) => [shownState(state, false), shownState(state, true)]).filter((state) => state !== "placeholder"));
  const icons = [...states].map((state) => [state, tabIcon(state)]);
  const looks = new Map(icons.map(([state, icon]) => [icon, state]));
  // A panic has the icon of an error, because they would look alike at sixteen pixels.
  assert.deepEqual([...states].filter((state) => ![...looks.values()].includes(state)), ["error"]);
  for (const [state, icon] of icons) {
    assert.match(icon, /^data:image\/svg\+xml,%3Csvg [^"<>#]*%3C\/svg%3E$/, state);
    const svg = decodeURIComponent(icon.slice("data:image/svg+xml,".length));
    assert.equal((svg.match(/<[a-z]+/g) ?? []).length, 7, svg);
  }
});

test("no state and unknown states have no icon", () => {
  for (const state of ["", "placeholder", "toString", "new in a later version"]) assert.equal(tabIcon(state), "");
});

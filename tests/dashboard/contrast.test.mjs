// @ts-check
// Claims about the palettes: all text is readable in both themes (WCAG 2.2, level AA).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const STYLE = readFileSync(new URL("../../src/dashboard/assets/styles/style.css", import.meta.url), "utf8");

/** @param {string} selector @returns {Record<string, string>} its colours by name */
function coloursOf(selector) {
  const begin = STYLE.indexOf(`${selector} {`);
  assert.ok(begin >= 0, selector);
  const block = STYLE.slice(begin, STYLE.indexOf("}", begin));
  return Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6})\b/g)].map(([, name, colour]) => [name, colour]));
}

const LIGHT = coloursOf(":root");
const DARK = coloursOf(':root[data-theme="dark"]');
const THEMES = { light: LIGHT, dark: DARK };

/** @param {string} colour `#rrggbb` @returns {number} relative luminance */
function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** @param {string} one @param {string} other @returns {number} */
function ratio(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** @param {[string, string][]} pairs @param {number} least @returns {string[]} those with less contrast */
function tooPale(pairs, least) {
  return Object.entries(THEMES).flatMap(([theme, colours]) => pairs
    .filter(([front, back]) => !(ratio(colours[front], colours[back]) >= least))
    .map(([front, back]) => `${theme}: ${front} on ${back} is ${ratio(colours[front], colours[back]).toFixed(2)}`));
}

const SERVICES = Array.from({ length: 12 }, (_, slot) => `service-${slot}`);
const STATES = ["running", "waiting", "ok", "error", "cancelled", "lost"];
const GROUNDS = ["ground", "panel", "raised", "sunken", "hover", "selected"];
/** @param {string[]} fronts @param {string[]} backs */
const each = (fronts, backs) => fronts.flatMap((front) => backs.map((back) => /** @type {[string, string]} */ ([front, back])));

test("the contrast ratio is that of the standard", () => {
  assert.equal(ratio("#000000", "#ffffff"), 21);
  assert.equal(ratio("#777777", "#ffffff").toFixed(2), "4.48");
});

test("text is readable on each of its backgrounds", () => {
  assert.deepEqual(tooPale(each(["text", "muted", "faint"], GROUNDS), 4.5), []);
  assert.deepEqual(tooPale(each(["accent"], ["panel", "ground", "raised", "note-ground", "selected"]), 4.5), []);
  assert.deepEqual(tooPale(each(["text"], ["error-ground", "lost-ground", "note-ground"]), 4.5), []);
});

test("states are readable on rows, also on hovered and selected ones", () => {
  assert.deepEqual(tooPale(each(STATES, GROUNDS), 4.5), []);
  assert.deepEqual(tooPale([["error", "error-ground"], ["lost", "lost-ground"], ["waiting", "wait-ground"], ["muted", "error-ground"], ["faint", "error-ground"]], 4.5), []);
});

test("text on coloured bars, buttons and labels is readable", () => {
  assert.deepEqual(tooPale([...each(["on-bar"], [...SERVICES, "error"]), ["panel", "accent"], ["panel", "text"]], 4.5), []);
});

test("bars and the focus frame contrast with the background", () => {
  assert.deepEqual(tooPale(each([...SERVICES, "focus"], GROUNDS), 3), []);
});

test("the dark palette is the same whether chosen or from the system", () => {
  const system = coloursOf(':root:not([data-theme="light"])');
  assert.deepEqual(system, DARK);
  assert.deepEqual(Object.keys(DARK).sort(), Object.keys(LIGHT).sort());
});

test("no service has a red colour, which means error", () => {
  for (const [theme, colours] of Object.entries(THEMES)) {
    for (const name of SERVICES) {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colours[name].slice(at, at + 2), 16));
      assert.ok(red < 1.7 * Math.max(green, blue), `${theme} ${name} ${colours[name]}`);
    }
  }
});

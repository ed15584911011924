// @ts-check
// The style sheet's colours for canvases, which cannot use CSS variables. Must never define a colour.

import { SERVICE_COLOURS } from "../model/palette.mjs";

/**
 * @typedef {object} Colours
 * @property {string} key changes with the theme
 * @property {string[]} services by slot of the palette
 * @property {Record<string, string>} by name of the CSS variable, without its dashes: `text`, `error`, `line` …
 * @property {Uint32Array} pixels the colours of `services` as image data
 */

const NAMES = [
  "ground", "panel", "raised", "sunken", "line", "line-strong", "text", "muted", "faint", "hover", "selected", "focus", "accent", "on-bar",
  "running", "waiting", "ok", "error", "cancelled", "lost", "band", "traffic", "slower", "faster",
];

// A worker that imports this module has no `matchMedia`.
const dark = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
/** @type {Colours | null} */
let known = null;

/** @returns {Colours} */
export function colours() {
  const key = `${document.documentElement.dataset.theme ?? "auto"} ${dark?.matches}`;
  if (known !== null && known.key === key) return known;
  const style = getComputedStyle(document.documentElement);
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  const services = Array.from({ length: SERVICE_COLOURS }, (_, slot) => read(`service-${slot}`));
  const by = Object.fromEntries(NAMES.map((name) => [name, read(name)]));
  known = { key, services, by, pixels: Uint32Array.from(services, pixelOf) };
  return known;
}

/** @param {string} colour `#rrggbb` @returns {number} opaque, in the byte order of image data on a little-endian machine */
export function pixelOf(colour) {
  const value = parseInt(colour.slice(1, 7), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

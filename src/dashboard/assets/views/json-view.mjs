// @ts-check
// Shows a JSON value: two levels open, deeper ones after a click, long texts shortened. Inserts texts as text, never as
// markup.

import { formatCount } from "../model/time.mjs";
import { element, shortened } from "./dom.mjs";

const OPEN_LEVELS = 2;
const TEXT_MAX = 200;
/** Maximum number of entries shown of one array or object. */
const ENTRIES_MAX = 100;
const DEPTH_MAX = 40;
/** Longer texts are not parsed as JSON. */
const JSON_MAX = 500_000;

/**
 * @param {unknown} value @returns {any} the object or array, possibly parsed from a text; undefined for other values
 */
export function structureIn(value) {
  if (value !== null && typeof value === "object") return value;
  if (typeof value !== "string" || value.length > JSON_MAX || !/^\s*[[{]/.test(value)) return undefined;
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}

/** @param {unknown} value @param {number} [depth] @returns {HTMLElement} */
export function jsonView(value, depth = 0) {
  if (value === null || typeof value !== "object") {
    const text = typeof value === "string" ? JSON.stringify(value) : String(value);
    return element("span", { class: `json-${value === null ? "null" : typeof value}`, text: shortened(text, TEXT_MAX), title: text.length > TEXT_MAX ? text.slice(0, 2_000) : null });
  }
  const isArray = Array.isArray(value);
  const entries = Object.entries(value);
  const size = `${isArray ? "[" : "{"} ${formatCount(entries.length)} ${isArray ? (entries.length === 1 ? "item" : "items") : entries.length === 1 ? "key" : "keys"} ${isArray ? "]" : "}"}`;
  if (entries.length === 0) return element("span", { text: isArray ? "[ ]" : "{ }" });
  if (depth >= DEPTH_MAX) return element("span", { class: "faint", text: size });
  const body = () => element("ul", {}, ...entries.slice(0, ENTRIES_MAX).map(([key, one]) => element("li", {}, isArray ? "" : element("span", { class: "json-key", text: `${shortened(key, TEXT_MAX)}: ` }), jsonView(one, depth + 1))),
    entries.length > ENTRIES_MAX ? element("li", { class: "faint", text: `${formatCount(entries.length - ENTRIES_MAX)} more are in the raw JSON` }) : "");
  if (depth === 0) return element("div", { class: "json" }, body());
  const details = element("details", { open: depth < OPEN_LEVELS }, element("summary", { text: size }));
  const fill = () => {
    if (details.open && details.childElementCount === 1) details.append(body());
  };
  details.addEventListener("toggle", fill);
  fill();
  return details;
}

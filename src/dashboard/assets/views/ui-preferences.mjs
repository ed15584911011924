// @ts-check
// Settings of the page that do not depend on traces: the server's clock, stored preferences, theme, time zone, and
// the width of the inspector. Must never read a trace.

import { epochMilliseconds } from "../model/time.mjs";
import { byId, icon, setAttribute, setText } from "./dom.mjs";

const PREFIX = "livespan.";

/**
 * @template T
 * @param {string} name
 * @param {T} fallback returned also if nothing is stored, or a value of another type
 * @returns {T}
 */
export function recall(name, fallback) {
  try {
    const value = JSON.parse(localStorage.getItem(PREFIX + name) ?? "null");
    const alike = typeof value === typeof fallback && Array.isArray(value) === Array.isArray(fallback);
    return value !== null && alike ? value : fallback;
  } catch {
    return fallback;
  }
}

/** @param {string} name @param {unknown} value */
export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Private windows and full storage refuse. The value then holds for this page only.
  }
}

/** An estimate of the server's clock. Spans have the server's times, and the browser's clock may differ. */
export class ServerClock {
  constructor() {
    this.offset = NaN;
    this.sampledAt = -Infinity;
    this.running = false;
    this.stoppedAt = Date.now();
  }

  /** @param {unknown} serverNow an RFC 3339 timestamp, just received */
  update(serverNow) {
    const sample = epochMilliseconds(serverNow) - Date.now();
    if (Number.isNaN(sample)) return;
    // Network delay makes the server's clock look late, so the largest recent sample is the best. Samples expire,
    // because either clock may be set.
    const aged = Date.now() - this.sampledAt > 120_000;
    if (Number.isNaN(this.offset) || sample > this.offset || aged) {
      this.offset = sample;
      this.sampledAt = Date.now();
    }
  }

  /** @returns {number} milliseconds since 1970 */
  now() {
    return this.running ? this.reading() : this.stoppedAt;
  }

  /** @param {boolean} running */
  setRunning(running) {
    if (this.running && !running) this.stoppedAt = this.reading();
    // Before the first sample, a stopped clock shows the time of the last call.
    if (!running && !this.running && Number.isNaN(this.offset)) this.stoppedAt = Date.now();
    this.running = running;
  }

  /** @returns {number} */
  reading() {
    return Date.now() + (Number.isNaN(this.offset) ? 0 : this.offset);
  }
}

const THEMES = ["auto", "light", "dark"];

/** @param {() => void} changed */
export function initTheme(changed) {
  let theme = recall("theme", "auto");
  const apply = () => {
    setAttribute(document.documentElement, "data-theme", theme === "auto" ? null : theme);
    setText(byId("theme"), `Theme: ${THEMES.includes(theme) ? theme : "auto"}`);
  };
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", theme);
    apply();
    changed();
  });
  for (const id of ["back", "compare-back"]) byId(id).append(icon("back"));
  apply();
}

/** Sets up the button for the time zone, whose value is stored. @param {import("./ui-state.mjs").Ui} ui */
export function initZone(ui) {
  const apply = () => setText(byId("zone"), ui.zone === "utc" ? "UTC" : "Local time");
  byId("zone").addEventListener("click", () => {
    ui.setZone(ui.zone === "utc" ? "local" : "utc");
    remember("zone", ui.zone);
    apply();
  });
  ui.zone = recall("zone", /** @type {string} */ ("local")) === "utc" ? "utc" : "local";
  apply();
}

const WIDTH_MIN = 280;
const WIDTH_MAX = 900;
const WIDTH_STEP = 24;

/**
 * Sets up the border between waterfall and inspector, which is dragged or moved with arrow keys.
 * @param {() => void} changed
 */
export function initResizer(changed) {
  const resizer = byId("resizer");
  let width = recall("inspector-width", 440);
  const set = (/** @type {number} */ wanted) => {
    width = Math.round(Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, wanted)));
    byId("inspector").style.setProperty("--inspector-width", `${width}px`);
    setAttribute(resizer, "aria-valuenow", width);
    changed();
  };
  setAttribute(resizer, "aria-valuemin", WIDTH_MIN);
  setAttribute(resizer, "aria-valuemax", WIDTH_MAX);
  resizer.addEventListener("pointerdown", (event) => {
    resizer.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  resizer.addEventListener("pointermove", (event) => {
    if (resizer.hasPointerCapture(event.pointerId)) set(document.documentElement.clientWidth - event.clientX);
  });
  resizer.addEventListener("pointerup", () => remember("inspector-width", width));
  resizer.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    set(width + (event.key === "ArrowLeft" ? WIDTH_STEP : -WIDTH_STEP));
    remember("inspector-width", width);
    event.preventDefault();
  });
  set(width);
}

// @ts-check
// Wheel, drag and keys on a surface of time, turned into zoom and pan. It must never draw, nor know a span.

import { pan, zoomAbout } from "../model/timescale.mjs";

/**
 * @typedef {import("../model/timescale.mjs").Stretch} Stretch
 * @typedef {object} ZoomOptions
 * @property {() => import("../model/timescale.mjs").Scale | null} scale what the surface shows now
 * @property {() => Stretch} bounds all that there is to show
 * @property {() => number} left where its time begins, in pixels of the window
 * @property {import("./ui-state.mjs").Ui} ui
 */

/** Per pixel of the wheel: a usual notch of 100 pixels zooms by a fifth. */
const WHEEL_ZOOM = 0.0019;
const WHEEL_STEP_MAX = 240;
/** A wheel that counts lines, not pixels. */
const LINE_PIXELS = 16;
/** A press that moves less is a click. */
const DRAG_MIN = 4;
export const KEY_ZOOM = 0.8;
export const KEY_PAN = 0.15;

/**
 * Ctrl- or ⌘-wheel zooms about the cursor, a sideways wheel or shift-wheel pans, a drag pans what is zoomed.
 * @param {HTMLElement} surface
 * @param {ZoomOptions} options
 */
export function attachZoom(surface, options) {
  attachWheel(surface, options);
  surface.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType !== "touch" && options.ui.zoom !== null) startDrag(surface, event, options);
  });
}

/**
 * Two fingers zoom about the point between them; one finger scrolls, as the browser does it.
 * @param {HTMLElement} surface @param {ZoomOptions} options
 */
export function attachPinch(surface, options) {
  /** @type {{distance: number, stretch: Stretch, time: number} | null} */
  let pinch = null;
  const fingers = (/** @type {TouchEvent} */ { touches }) => {
    const [one, other] = [touches[0], touches[1]];
    return { distance: Math.max(1, Math.abs(one.clientX - other.clientX)), x: (one.clientX + other.clientX) / 2 - options.left() };
  };
  surface.addEventListener("touchstart", (event) => {
    const scale = options.scale();
    if (event.touches.length !== 2 || scale === null || !(scale.width > 0)) return;
    const { distance, x } = fingers(event);
    pinch = { distance, stretch: options.ui.zoom ?? options.bounds(), time: scale.time(Math.max(0, Math.min(scale.width, x))) };
  }, { passive: true });
  surface.addEventListener("touchmove", (event) => {
    if (pinch === null || event.touches.length !== 2) return;
    event.preventDefault();
    options.ui.setZoom(zoomAbout(pinch.stretch, pinch.time, pinch.distance / fingers(event).distance, options.bounds()));
  }, { passive: false });
  for (const type of ["touchend", "touchcancel"]) surface.addEventListener(type, () => (pinch = null), { passive: true });
}

/** The same without the drag, for what a drag means something else on. @param {HTMLElement} surface @param {ZoomOptions} options */
export function attachWheel(surface, options) {
  surface.addEventListener("wheel", (event) => wheel(event, options), { passive: false });
}

/** @param {WheelEvent} event @param {ZoomOptions} options */
function wheel(event, options) {
  const scale = options.scale();
  if (scale === null || !(scale.width > 0)) return;
  const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PIXELS : 1;
  const bounds = options.bounds();
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    const by = Math.max(-WHEEL_STEP_MAX, Math.min(WHEEL_STEP_MAX, event.deltaY * unit));
    const x = Math.max(0, Math.min(scale.width, event.clientX - options.left()));
    // Of what was asked for last: a wheel may turn more than once before the next frame.
    options.ui.setZoom(zoomAbout(options.ui.zoom ?? bounds, scale.time(x), Math.exp(by * WHEEL_ZOOM), bounds));
    return;
  }
  const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
  if (Math.abs(sideways) <= Math.abs(event.shiftKey ? 0 : event.deltaY)) return;
  // Not zoomed, there is nowhere to pan to; but the browser must not take it for "back".
  event.preventDefault();
  if (options.ui.zoom !== null) options.ui.setZoom(pan(options.ui.zoom, (sideways * unit) / scale.width, bounds));
}

/** @param {HTMLElement} surface @param {PointerEvent} down @param {ZoomOptions} options */
function startDrag(surface, down, options) {
  const first = options.scale();
  if (first === null || down.clientX < options.left()) return;
  let dragging = false;
  const move = (/** @type {PointerEvent} */ event) => {
    const by = event.clientX - down.clientX;
    if (!dragging && Math.abs(by) < DRAG_MIN) return;
    if (!dragging) {
      dragging = true;
      surface.setPointerCapture(down.pointerId);
      surface.dataset.dragging = "";
    }
    options.ui.setZoom(pan(first, -by / first.width, options.bounds()));
  };
  const stop = () => {
    surface.removeEventListener("pointermove", move);
    surface.removeEventListener("pointerup", stop);
    surface.removeEventListener("pointercancel", stop);
    delete surface.dataset.dragging;
    // The click that ends a drag selects nothing.
    if (dragging) addEventListener("click", swallow, { capture: true, once: true });
    setTimeout(() => removeEventListener("click", swallow, { capture: true }), 0);
  };
  surface.addEventListener("pointermove", move);
  surface.addEventListener("pointerup", stop);
  surface.addEventListener("pointercancel", stop);
}

/** @param {Event} event */
function swallow(event) {
  event.stopPropagation();
}

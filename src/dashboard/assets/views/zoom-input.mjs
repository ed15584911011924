// @ts-check
// Turns wheel, drag and touch on a time axis into zoom and pan. Must never draw, nor read a span.

import { pan, zoomAbout } from "../model/timescale.mjs";

/**
 * @typedef {import("../model/timescale.mjs").Stretch} Stretch
 * @typedef {object} ZoomOptions
 * @property {() => import("../model/timescale.mjs").Scale | null} scale the current scale of the surface
 * @property {() => Stretch} bounds the whole stretch
 * @property {() => number} left left edge of the time axis in window pixels
 * @property {import("./ui-state.mjs").Ui} ui
 */

/** Zoom per pixel of the wheel: a usual notch of 100 pixels zooms by a fifth. */
const WHEEL_ZOOM = 0.0019;
const WHEEL_STEP_MAX = 240;
/** Pixels per line, for wheels that count lines. */
const LINE_PIXELS = 16;
/** A pointer that moves less than this between press and release makes a click. */
const DRAG_MIN = 4;
export const KEY_ZOOM = 0.8;
export const KEY_PAN = 0.15;

/**
 * Ctrl- or ⌘-wheel zooms at the pointer; a sideways wheel, shift-wheel or a drag pans a zoomed view.
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
 * Two fingers zoom at the point between them; the browser handles one finger, which scrolls.
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

/**
 * Attaches the wheel only, for surfaces where a drag has another meaning.
 * @param {HTMLElement} surface @param {ZoomOptions} options
 */
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
    // Starts from the last requested zoom: a wheel may turn more than once before the next frame.
    options.ui.setZoom(zoomAbout(options.ui.zoom ?? bounds, scale.time(x), Math.exp(by * WHEEL_ZOOM), bounds));
    return;
  }
  const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
  if (Math.abs(sideways) <= Math.abs(event.shiftKey ? 0 : event.deltaY)) return;
  // Without a zoom there is nothing to pan, but the browser must not treat the gesture as "back".
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
    // The click that ends a drag must not select anything.
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

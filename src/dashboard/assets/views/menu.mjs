// @ts-check
// Menus that open over the page, in the browser's top layer: no box of the page can clip or cover them. It must never know
// what is in a menu.

import { setAttribute, setStyle } from "./dom.mjs";

const GAP = 4;
/** Between a menu and the border of the window. */
const MARGIN = 8;

/**
 * Makes `items` the menu of `button`. The browser opens and closes it, by click, by Esc and by a click elsewhere.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} items
 */
export function attachMenu(button, items) {
  items.popover = "auto";
  button.popoverTargetElement = items;
  setAttribute(button, "aria-haspopup", "true");
  items.addEventListener("beforetoggle", (event) => {
    // Its size is known once it is shown, and this comes before it is painted.
    if (/** @type {ToggleEvent} */ (event).newState === "open") requestAnimationFrame(() => placeBelow(items, button.getBoundingClientRect()));
  });
  items.addEventListener("click", () => items.hidePopover());
}

/** Right borders in line where there is room, and never outside the window. @param {HTMLElement} items @param {DOMRect} anchor */
function placeBelow(items, anchor) {
  const { clientWidth, clientHeight } = document.documentElement;
  const { width, height } = items.getBoundingClientRect();
  const within = (/** @type {number} */ wanted, /** @type {number} */ room) => Math.max(MARGIN, Math.min(wanted, room - MARGIN));
  setStyle(items, "left", `${within(anchor.right - width, clientWidth - width)}px`);
  setStyle(items, "top", `${within(anchor.bottom + GAP, clientHeight - height)}px`);
}

/** @returns {boolean} whether some menu is open: then Esc is its key */
export function isMenuOpen() {
  return document.querySelector(":popover-open") !== null;
}

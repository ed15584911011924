// @ts-check
// Menus in the browser's top layer, where no element of the page can clip or cover them. Must never know the contents
// of a menu.

import { setAttribute, setStyle } from "./dom.mjs";

const GAP = 4;
/** Minimum distance between a menu and the border of the window. */
const MARGIN = 8;

/**
 * Makes `items` the menu of `button`. The browser opens and closes the menu: by click, by Esc and by a click elsewhere.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} items
 */
export function attachMenu(button, items) {
  items.popover = "auto";
  button.popoverTargetElement = items;
  setAttribute(button, "aria-haspopup", "true");
  items.addEventListener("beforetoggle", (event) => {
    // The size is known once the menu is shown; this callback runs before it is painted.
    if (/** @type {ToggleEvent} */ (event).newState === "open") requestAnimationFrame(() => placeBelow(items, button.getBoundingClientRect()));
  });
  items.addEventListener("click", () => items.hidePopover());
}

/**
 * Aligns the right borders of menu and button if there is room, and stays inside the window.
 * @param {HTMLElement} items @param {DOMRect} anchor
 */
function placeBelow(items, anchor) {
  const { clientWidth, clientHeight } = document.documentElement;
  const { width, height } = items.getBoundingClientRect();
  const within = (/** @type {number} */ wanted, /** @type {number} */ room) => Math.max(MARGIN, Math.min(wanted, room - MARGIN));
  setStyle(items, "left", `${within(anchor.right - width, clientWidth - width)}px`);
  setStyle(items, "top", `${within(anchor.bottom + GAP, clientHeight - height)}px`);
}

/** @returns {boolean} whether a menu is open; Esc then closes the menu */
export function isMenuOpen() {
  return document.querySelector(":popover-open") !== null;
}

// @ts-check
// Keeps the keyboard focus on the page. When a draw hides or removes the focused element, the browser moves the focus
// to the body. Must never take the focus from an element that is still there.

export class FocusKeeper {
  /** @type {Element | null} */
  last = null;

  /** @param {() => void} restore moves the focus to a useful element */
  constructor(restore) {
    this.restore = restore;
    addEventListener("focusin", ({ target }) => (this.last = /** @type {Element} */ (target)));
    addEventListener("focusout", ({ target, relatedTarget }) => {
      // The reader removed the focus deliberately.
      if (relatedTarget === null && document.hasFocus() && !isGone(/** @type {Element} */ (target))) this.last = null;
    });
  }

  /** Restores a lost focus. Called after each draw. */
  check() {
    const at = document.activeElement;
    if (this.last === null || !isGone(this.last) || (at !== null && at !== document.body && at !== this.last)) return;
    this.last = null;
    this.restore();
  }
}

/** @param {Element} node @returns {boolean} */
function isGone(node) {
  return !node.isConnected || node.closest("[hidden]") !== null;
}

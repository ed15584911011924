// @ts-check
// Keeps the focus on the page: what has it may be hidden or removed by a drawing, and then the browser drops it on the
// body, where no key leads anywhere. It must never take the focus from an element that is there.

export class FocusKeeper {
  /** @type {Element | null} */
  last = null;

  /** @param {() => void} restore puts the focus where the reader goes on */
  constructor(restore) {
    this.restore = restore;
    addEventListener("focusin", ({ target }) => (this.last = /** @type {Element} */ (target)));
    addEventListener("focusout", ({ target, relatedTarget }) => {
      // Left by the reader, for nothing in particular.
      if (relatedTarget === null && document.hasFocus() && !isGone(/** @type {Element} */ (target))) this.last = null;
    });
  }

  /** After each drawing. */
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

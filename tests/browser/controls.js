// The body of a function that describes each control that is too small, or that a pointer cannot
// reach where it is drawn. At three points of a control's box, it asks the browser which element is
// there. It scrolls only boxes that have a scroll bar, as a person would. A driver that scrolls an
// element into view also scrolls boxes that a person cannot scroll.
const CONTROLS = "button, a[href], summary, select, input, textarea, [role=row], [role=separator], [tabindex='0']";
const SIZE_MIN = 12;

const isShown = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
const nameOf = (node) => `${node.tagName.toLowerCase()}${node.id === "" ? "" : `#${node.id}`}${[...node.classList].map((name) => `.${name}`).join("")}`
  + ` "${(node.getAttribute("aria-label") ?? node.textContent).trim().slice(0, 30)}"`;

/** Returns the nearest ancestor that has its own scroll bar. */
function scrollerOf(node) {
  for (let box = node.parentElement; box !== null; box = box.parentElement) {
    const { overflowY } = getComputedStyle(box);
    if ((overflowY === "auto" || overflowY === "scroll") && box.scrollHeight > box.clientHeight) return box;
  }
  return null;
}

/**
 * Returns the top of the part of a box in which the node can be visible. Sticky rows cover the top
 * of the box, except for controls in those rows.
 */
function topOf(scroller, node) {
  const { top } = scroller.getBoundingClientRect();
  if (node.closest("#sticky-rows") !== null) return top;
  return Math.max(top, ...[...scroller.querySelectorAll("#sticky-rows > [role=row]")].filter(isShown).map((row) => row.getBoundingClientRect().bottom));
}

/**
 * Scrolls the node into the visible part of its box, and returns true. Returns false for a node in
 * a row outside that part, because scrolling adds and removes rows.
 */
function bring(node) {
  const scroller = scrollerOf(node);
  if (scroller === null) return true;
  const [own, box] = [node.getBoundingClientRect(), scroller.getBoundingClientRect()];
  const inside = own.top >= topOf(scroller, node) && own.bottom <= box.top + scroller.clientHeight;
  if (inside) return true;
  if (node.closest("[role=row]") !== null) return false;
  scroller.scrollTop += own.top - box.top - (scroller.clientHeight - own.height) / 2;
  return true;
}

function hits(node, x, y) {
  const hit = document.elementFromPoint(x, y);
  return hit !== null && (node.contains(hit) || hit.closest("label")?.control === node);
}

// If a dialog or a popover is open, only its controls are checked.
const layer = document.querySelector("dialog:modal, :popover-open") ?? document;
const faults = [];
for (const node of layer.querySelectorAll(CONTROLS)) {
  if (!isShown(node) || !bring(node)) continue;
  const box = node.getBoundingClientRect();
  if (node.getAttribute("role") !== "separator" && (box.width < SIZE_MIN || box.height < SIZE_MIN)) {
    faults.push(`${nameOf(node)} is ${box.width.toFixed(0)} by ${box.height.toFixed(0)} pixels`);
    continue;
  }
  const y = box.top + box.height / 2;
  const missed = [0.25, 0.5, 0.75].map((share) => box.left + box.width * share).filter((x) => !hits(node, x, y));
  if (missed.length > 0) {
    const other = document.elementFromPoint(missed[0], y);
    faults.push(`${nameOf(node)} at ${missed[0].toFixed(0)}, ${y.toFixed(0)} is ${other === null ? "outside of the window" : `below ${nameOf(other)}`}`);
  }
}
return faults;

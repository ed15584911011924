// Which controls of the page a pointer cannot reach where they are drawn, as texts; the body of a function.
// A control is asked at three points of its own box what the browser would hit there. What is out of the window is looked
// for by scrolling down and up, as a person would, in boxes that have a scroll bar, and in no other way: a driver that
// scrolls an element into view also scrolls boxes that nobody can.
const CONTROLS = "button, a[href], summary, select, input, textarea, [role=row], [role=separator], [tabindex='0']";
const SIZE_MIN = 12;

const isShown = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
const nameOf = (node) => `${node.tagName.toLowerCase()}${node.id === "" ? "" : `#${node.id}`}${[...node.classList].map((name) => `.${name}`).join("")}`
  + ` "${(node.getAttribute("aria-label") ?? node.textContent).trim().slice(0, 30)}"`;

/** The nearest box around it that has a scroll bar of its own. */
function scrollerOf(node) {
  for (let box = node.parentElement; box !== null; box = box.parentElement) {
    const { overflowY } = getComputedStyle(box);
    if ((overflowY === "auto" || overflowY === "scroll") && box.scrollHeight > box.clientHeight) return box;
  }
  return null;
}

/** Where what is seen of a box begins: below the rows that stay at its top. They are seen themselves. */
function topOf(scroller, node) {
  const { top } = scroller.getBoundingClientRect();
  if (node.closest("#sticky-rows") !== null) return top;
  return Math.max(top, ...[...scroller.querySelectorAll("#sticky-rows > [role=row]")].filter(isShown).map((row) => row.getBoundingClientRect().bottom));
}

/** Scrolls its box until it lies within, if there is one. Rows come and go with the scroll bar, so they stay where they are. */
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

// What is open over the page takes its place.
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

// @ts-check
// Basic functions that create and change elements. Text is inserted only as text; no function here may ever take
// markup.

/**
 * @typedef {Record<string, any>} Properties `text`: the element's text; `on`: listeners by event type; other properties
 *   become attributes, left out if null or false
 */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Properties} [properties]
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else setAttribute(node, name, value);
  }
  for (const child of children) if (child !== null) node.append(child);
  return node;
}

/** @param {Element} node @param {string} name @param {unknown} value null and false remove the attribute */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  // Writing an unchanged value would still trigger a style recalculation.
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** @param {Node} node @param {string} text */
export function setText(node, text) {
  const child = node.firstChild;
  // The usual case is a single text node. Reading `nodeValue` avoids building `textContent`.
  if (child !== null && child.nextSibling === null && child.nodeType === 3) {
    if (child.nodeValue !== text) child.nodeValue = text;
  } else if (node.textContent !== text) {
    node.textContent = text;
  }
}

/** @param {HTMLElement} node @param {string} property @param {string} value */
export function setStyle(node, property, value) {
  let known = styles.get(node);
  if (known === undefined) styles.set(node, (known = {}));
  // Reading from `style` would make the browser serialise the value.
  if (known[property] === value) return;
  known[property] = value;
  node.style.setProperty(property, value);
}

/** Styles set by `setStyle`. No other code sets these properties. @type {WeakMap<HTMLElement, Record<string, string>>} */
const styles = new WeakMap();

/** Characters shown of a name. The layout of 10,000 characters is expensive. */
export const NAME_SHOWN_MAX = 300;

/** @param {string} text @param {number} [length] maximum length @returns {string} */
export function shortened(text, length = NAME_SHOWN_MAX) {
  // Half of a surrogate pair would be drawn as a box.
  return text.length <= length ? text : `${text.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/**
 * Allows line breaks after dots, slashes and similar characters in long keys and paths.
 * @param {string} text @returns {(Node | string)[]}
 */
export function breakable(text) {
  return text.split(/(?<=[._/:-])(?=[^._/:-])/).flatMap((part, at) => (at === 0 ? [part] : [document.createElement("wbr"), part]));
}

/**
 * Shortens a text in its middle, since the ends of a name distinguish it better.
 * @param {string} text @param {number} length at most @returns {string}
 */
export function shortenedMiddle(text, length) {
  if (text.length <= length) return text;
  const tail = Math.floor((length - 1) / 2);
  return `${text.slice(0, length - 1 - tail).replace(/[\ud800-\udbff]$/, "")}…${text.slice(-tail).replace(/^[\udc00-\udfff]/, "")}`;
}

/** @param {HTMLElement} node @param {boolean} shown */
export function setShown(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/**
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T} the element, which must exist in the page's markup
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`the page has no element #${id}`);
  return /** @type {T} */ (/** @type {unknown} */ (node));
}

// One shape per state, on a 16 × 16 grid, so that states can be distinguished without colour.
/** @type {Record<string, string>} */
const SHAPES = {
  running: "M8 2a6 6 0 1 1-6 6M8 5.2v3l2 1.6",
  waiting: "M5.5 3.5v9M10.5 3.5v9",
  ok: "M3 8.5l3.2 3.2L13 4.8",
  error: "M4 4l8 8M12 4l-8 8",
  panicked: "M8.0 0.8L9.9 3.4L13.1 2.9L12.6 6.1L15.2 8.0L12.6 9.9L13.1 13.1L9.9 12.6L8.0 15.2L6.1 12.6L2.9 13.1L3.4 9.9L0.8 8.0L3.4 6.1L2.9 2.9L6.1 3.4z",
  cancelled: "M8 2a6 6 0 1 0 .01 0M4 12l8-8",
  failing: "M8 2a6 6 0 1 1-6 6M8 5v3.4M8 11v.2",
  below: "M3 8.5l3.2 3.2L13 4.8",
  lost: "M2.5 8h3l1.5-4 2 8 1.2-3M13 5.5v3M13 11.4v.2",
  placeholder: "M8 2.5a5.5 5.5 0 0 1 3 .9M13 6a5.5 5.5 0 0 1 0 4M11 12.6a5.5 5.5 0 0 1-6 0M3 10a5.5 5.5 0 0 1 0-4M5 3.4a5.5 5.5 0 0 1 1-.6",
  warning: "M8 2.2l6.2 11.3H1.8zM8 6.6v3M8 11.6v.1",
  info: "M8 5.4a2.6 2.6 0 1 0 .01 0",
  debug: "M8 4.6a3.4 3.4 0 1 0 .01 0",
  chevron: "M6 4l4 4-4 4",
  unfolded: "M4 6l4 4 4-4",
  expand: "M4.5 6L8 2.5 11.5 6M4.5 10L8 13.5 11.5 10",
  collapse: "M4.5 2.5L8 6l3.5-3.5M4.5 13.5L8 10l3.5 3.5",
  previous: "M10 4L6 8l4 4",
  steps: "M2 3.5h5v4.5h4v4.5h3",
  follow: "M8 2.5v7M4.8 6.6L8 9.8l3.2-3.2M3 13h10",
  group: "M3 4.5h10M3 8h10M3 11.5h10",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  find: "M7 2.5a4.5 4.5 0 1 0 .01 0M10.3 10.3l3.5 3.5",
  back: "M10 3.5L5.5 8l4.5 4.5",
  close: "M4 4l8 8M12 4l-8 8",
  bell: "M4 11V7.2a4 4 0 0 1 8 0V11l1.2 1.2H2.8zM6.8 14h2.4",
  keep: "M5.5 2.5h5l-.8 4.2 2.3 2.3H4l2.3-2.3zM8 9v5",
  swap: "M2.5 5.5h11M10.5 2.5l3 3-3 3M13.5 10.5h-11M5.5 7.5l-3 3 3 3",
};

/**
 * A second path of some shapes: the dot of `below`, and the exclamation mark of `panicked`.
 * @type {Record<string, string>}
 */
const INNER_SHAPES = { below: "M13 12.6v.01", panicked: "M8 5v3.4M8 11v.1" };

// Read from the logo: no asset may contain the address of another host, not even a namespace, and a test searches for
// one.
const svgNamespace = () => byId("logo").namespaceURI;

/** The state names that the page shows. @type {Record<string, string>} */
export const STATE_WORDS = {
  running: "running", waiting: "waiting", ok: "ok", error: "error", panicked: "panicked", cancelled: "cancelled", lost: "lost",
  failing: "failing", below: "ok, errors below",
  placeholder: "not seen",
};

/**
 * @param {string} shape
 * @returns {SVGSVGElement}
 */
export function icon(shape) {
  const svg = /** @type {SVGSVGElement} */ (document.createElementNS(svgNamespace(), "svg"));
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(svgNamespace(), "path"), document.createElementNS(svgNamespace(), "path"));
  setIcon(svg, shape);
  return svg;
}

/** @param {SVGSVGElement} svg @param {string} shape */
export function setIcon(svg, shape) {
  setAttribute(svg, "data-shape", shape);
  setAttribute(/** @type {Element} */ (svg.firstChild), "d", SHAPES[shape] ?? SHAPES.placeholder);
  // The inner path has its own colour.
  setAttribute(/** @type {Element} */ (svg.lastChild), "d", INNER_SHAPES[shape] ?? "");
}

/** @type {Map<string, Path2D>} */
const paths = new Map();

/**
 * @param {string} shape @param {"outer" | "inner"} [part]
 * @returns {Path2D} the same shape for a canvas, on a 16 × 16 grid
 */
export function shapePath(shape, part = "outer") {
  const key = `${part} ${shape}`;
  let path = paths.get(key);
  if (path === undefined) paths.set(key, (path = new Path2D(part === "inner" ? INNER_SHAPES[shape] : (SHAPES[shape] ?? SHAPES.placeholder))));
  return path;
}

/** Whether the reader prefers reduced motion. */
export const calm = globalThis.matchMedia?.("(prefers-reduced-motion: reduce)") ?? { matches: true };

/**
 * Row elements that are reused while the reader scrolls. Row `index` uses the element `index % size`, so scrolling by
 * one row moves one element to another row.
 * @template R
 */
export class RowPool {
  /**
   * @param {HTMLElement} container
   * @param {() => {node: HTMLElement, row: R}} make
   */
  constructor(container, make) {
    this.container = container;
    this.make = make;
    /** @type {{node: HTMLElement, row: R}[]} */
    this.slots = [];
  }

  /**
   * Shows rows `first` up to but not including `last`.
   * @param {number} first
   * @param {number} last
   * @param {number} rowHeight
   * @param {(row: R, index: number, node: HTMLElement) => void} draw
   */
  show(first, last, rowHeight, draw) {
    while (this.slots.length < last - first) {
      const slot = this.make();
      this.slots.push(slot);
      this.container.append(slot.node);
    }
    const size = this.slots.length;
    for (let index = first; index < last; index += 1) {
      const slot = this.slots[index % size];
      setShown(slot.node, true);
      // No transform: each would create a layer for the compositor.
      setStyle(slot.node, "top", `${index * rowHeight}px`);
      draw(slot.row, index, slot.node);
    }
    for (let index = last; index < first + size; index += 1) setShown(this.slots[index % size].node, false);
  }

  /** @param {number} index @returns {HTMLElement | null} */
  nodeAt(index) {
    return this.slots.length === 0 || index < 0 ? null : this.slots[index % this.slots.length].node;
  }
}

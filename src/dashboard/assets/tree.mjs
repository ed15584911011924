// @ts-check
// The span tree of one trace: nodes, links, and three things kept true as it grows (counts, the innermost open spans,
// error marks), each in constant or amortised constant time per event.
// Must never parse an event (`model.mjs` does), touch the DOM, or recurse: a trace may be 100,000 spans deep.

/**
 * @typedef {"running" | "waiting" | "ok" | "error" | "cancelled" | "lost" | "placeholder"} SpanState
 * @typedef {{reason: string, lastHeard: number, local: boolean}} Loss
 * @typedef {object} Span one node. `model.mjs` owns every field but `row` and `depth`, which are `layout.mjs`'s
 * @property {string} id
 * @property {string | null} parentId
 * @property {Span | null} parent
 * @property {Span[]} children
 * @property {boolean} unsorted children must be sorted by start before they are read in order
 * @property {boolean} remote a placeholder whose child said that its parent lives elsewhere
 * @property {any} event the newest `started` or `ended` object, or null for a placeholder
 * @property {string} name
 * @property {string} service
 * @property {number} start milliseconds after the tree's origin, NaN for a placeholder
 * @property {number | null} end null while open
 * @property {SpanState} state
 * @property {Loss | null} loss
 * @property {boolean} errorBelow some descendant is an error or lost
 * @property {number} openChildren
 * @property {Record<string, unknown> | null} changes attributes from `updated` events
 * @property {Record<string, string> | null} changedTypes their `attributeTypes`
 * @property {boolean} renamed
 * @property {any[] | null} logs
 * @property {number} version grows with every change, so that a view can skip what it has drawn
 * @property {number} row
 * @property {number} depth
 * @typedef {{total: number, open: number, waiting: number, errors: number, lost: number, placeholders: number}} Counts
 * @typedef {object} Tree
 * @property {Map<string, Span>} spans
 * @property {Set<Span>} roots
 * @property {Set<Span>} openLeaves open spans without open children: what the trace is waiting for
 * @property {Counts} counts
 * @property {number} structure grows when rows appear, move or change order
 * @property {boolean} errorMarksStale some `errorBelow` may be true without cause
 */

/** @returns {Tree} */
export function createTree() {
  return {
    spans: new Map(),
    roots: new Set(),
    openLeaves: new Set(),
    counts: { total: 0, open: 0, waiting: 0, errors: 0, lost: 0, placeholders: 0 },
    structure: 0,
    errorMarksStale: false,
  };
}

/**
 * Adds a span of which nothing is known but its id.
 * @param {Tree} tree
 * @param {string} id
 * @returns {Span}
 */
export function addPlaceholder(tree, id) {
  /** @type {Span} */
  const span = {
    id, parentId: null, parent: null, children: [], unsorted: false, remote: false,
    event: null, name: "", service: "", start: NaN, end: null,
    state: "placeholder", loss: null, errorBelow: false, openChildren: 0,
    changes: null, changedTypes: null, renamed: false, logs: null, version: 0, row: -1, depth: 0,
  };
  tree.spans.set(id, span);
  tree.roots.add(span);
  tree.counts.placeholders += 1;
  tree.structure += 1;
  return span;
}

/**
 * Puts a root under its parent. A link that would close a circle is refused: the span stays a root, and so visible.
 * @param {Tree} tree
 * @param {Span} span a root
 * @param {Span} parent
 */
export function link(tree, span, parent) {
  // Only a span that already has children can be its parent's ancestor, so the usual new leaf costs no walk.
  if (span === parent || (span.children.length > 0 && isAncestor(span, parent))) return;
  tree.roots.delete(span);
  span.parent = parent;
  const siblings = parent.children;
  const last = siblings[siblings.length - 1];
  if (last !== undefined && !(sortKey(last) <= sortKey(span))) parent.unsorted = true;
  siblings.push(span);
  if (isOpen(span.state)) childOpened(tree, parent);
  if (isBad(span.state) || span.errorBelow) markAncestors(span);
  tree.structure += 1;
}

/**
 * Moves a span to another state and keeps counts, innermost open spans and error marks true.
 * @param {Tree} tree
 * @param {Span} span
 * @param {SpanState} next
 */
export function setState(tree, span, next) {
  const previous = span.state;
  if (previous === next) return;
  span.state = next;
  count(tree.counts, previous, -1);
  count(tree.counts, next, 1);
  if (!isOpen(previous) && isOpen(next)) {
    if (span.openChildren === 0) tree.openLeaves.add(span);
    if (span.parent !== null) childOpened(tree, span.parent);
  } else if (isOpen(previous) && !isOpen(next)) {
    tree.openLeaves.delete(span);
    if (span.parent !== null) childClosed(tree, span.parent);
  }
  if (isBad(next) && !isBad(previous)) markAncestors(span);
  if (isBad(previous) && !isBad(next)) tree.errorMarksStale = true;
}

/**
 * Recomputes every `errorBelow`. Needed only after an error was taken back (a lost span's real end arrived), which is
 * rare, so it costs a pass over the tree and the usual event nothing.
 * @param {Tree} tree
 */
export function refreshErrorMarks(tree) {
  if (!tree.errorMarksStale) return;
  for (const span of tree.spans.values()) span.errorBelow = false;
  for (const span of tree.spans.values()) if (isBad(span.state)) markAncestors(span);
  tree.errorMarksStale = false;
}

/**
 * The children in order of start; the order of arrival decides between equals.
 * @param {Span} span
 * @returns {Span[]}
 */
export function sortedChildren(span) {
  if (span.unsorted) {
    span.children.sort((a, b) => compare(sortKey(a), sortKey(b)));
    span.unsorted = false;
  }
  return span.children;
}

/** @param {Tree} tree @returns {Span[]} */
export function sortedRoots(tree) {
  return [...tree.roots].sort((a, b) => compare(sortKey(a), sortKey(b)));
}

/** @param {SpanState} state @returns {boolean} */
export function isOpen(state) {
  return state === "running" || state === "waiting";
}

/** Errors and lost spans: what a reader looks for first. @param {SpanState} state @returns {boolean} */
export function isBad(state) {
  return state === "error" || state === "lost";
}

/** @param {Span} span @returns {number} a placeholder stands where its first child stands */
function sortKey(span) {
  if (!Number.isNaN(span.start)) return span.start;
  return span.children.length > 0 ? span.children[0].start : NaN;
}

/** @param {number} a @param {number} b @returns {number} unknown starts last */
function compare(a, b) {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
  return Number.isNaN(b) ? -1 : a - b;
}

/** @param {Span} candidate @param {Span} span @returns {boolean} */
function isAncestor(candidate, span) {
  for (let step = span.parent; step !== null; step = step.parent) if (step === candidate) return true;
  return false;
}

/** Stops at the first marked ancestor: all above it are marked, so each is marked once. @param {Span} span */
function markAncestors(span) {
  for (let step = span.parent; step !== null && !step.errorBelow; step = step.parent) {
    step.errorBelow = true;
    step.version += 1;
  }
}

/** @param {Tree} tree @param {Span} parent */
function childOpened(tree, parent) {
  parent.openChildren += 1;
  tree.openLeaves.delete(parent);
}

/** @param {Tree} tree @param {Span} parent */
function childClosed(tree, parent) {
  parent.openChildren -= 1;
  if (parent.openChildren === 0 && isOpen(parent.state)) tree.openLeaves.add(parent);
}

/** @param {Counts} counts @param {SpanState} state @param {1 | -1} by */
function count(counts, state, by) {
  if (state === "placeholder") {
    counts.placeholders += by;
    return;
  }
  counts.total += by;
  if (isOpen(state)) counts.open += by;
  if (state === "waiting") counts.waiting += by;
  if (state === "error") counts.errors += by;
  if (state === "lost") counts.lost += by;
}

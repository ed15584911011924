// @ts-check
// Which open spans a trace is waiting for. Must never touch the DOM or a clock, nor recurse.

import { isOpenState } from "./columns.mjs";
import { awaitingOf } from "./running.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {object} Chain the chain of open spans below one root
 * @property {number} root
 * @property {number} leaf the innermost open span that the root waits for
 * @property {number[]} links the open spans from the root down to the leaf, without ended ancestors; of a long chain
 *   only the first and the last few
 * @property {number} hidden links left out, after the first
 * @property {number} others number of other innermost open spans below this root
 */

// Bounds on the work. The set of open leaves is roughly in order of arrival, so the spans that run longest are
// visited.
const LEAVES_MAX = 1_000;
const STEPS_MAX = 50_000;
const LINKS_MAX = 5;

/**
 * Returns the waiting chain of each root with open spans, longest wait first. Visits at most LEAVES_MAX innermost
 * spans, so roots of further ones are left out. An innermost span that has long awaited something is preferred over
 * spans that only run, since it is probably the one that hangs.
 * @param {Trace} trace
 * @param {number} [now] in tree time
 * @returns {{chains: Chain[], total: number}} `total`: innermost open spans of the whole trace
 */
export function waitingChains(trace, now = NaN) {
  const { spans } = trace;
  /** @type {Map<number, {leaf: number, count: number}>} */
  const roots = new Map();
  /** Roots of the spans visited so far. @type {Map<number, number>} */
  const known = new Map();
  let looked = 0;
  const isLong = (/** @type {number} */ leaf) => awaitingOf(trace, leaf, now)?.isLong === true;
  for (const leaf of trace.openLeaves) {
    if (looked >= LEAVES_MAX || known.size >= STEPS_MAX) break;
    looked += 1;
    const root = rootOf(spans.parent, leaf, known);
    const found = roots.get(root);
    if (found === undefined) roots.set(root, { leaf, count: 1 });
    else {
      found.count += 1;
      const [is, was] = [isLong(leaf), isLong(found.leaf)];
      if (is === was ? spans.start[leaf] < spans.start[found.leaf] : is) found.leaf = leaf;
    }
  }
  const chains = [...roots].map(([root, { leaf, count }]) => ({ root, leaf, ...linksTo(trace, leaf), others: count - 1 }));
  chains.sort((a, b) => spans.start[a.leaf] - spans.start[b.leaf]);
  return { chains, total: trace.openLeaves.size };
}

/** @param {Int32Array} parents @param {number} leaf @param {Map<number, number>} known @returns {number} */
function rootOf(parents, leaf, known) {
  const passed = [];
  let step = leaf;
  while (parents[step] >= 0 && !known.has(step)) {
    passed.push(step);
    step = parents[step];
  }
  const root = known.get(step) ?? step;
  for (const one of passed) known.set(one, root);
  return root;
}

/**
 * Returns the open spans from the root to the leaf. Skips ended ancestors, because they no longer wait.
 * @param {Trace} trace @param {number} leaf
 */
function linksTo({ spans }, leaf) {
  const last = [];
  let first = -1;
  let open = 0;
  for (let step = leaf; step >= 0; step = spans.parent[step]) {
    if (!isOpenState(spans.state[step])) continue;
    open += 1;
    if (last.length < LINKS_MAX - 1) last.push(step);
    first = step;
  }
  const links = last.reverse();
  if (!links.includes(first)) links.unshift(first);
  return { links, hidden: open - links.length };
}

// @ts-check
// Computes the flame view: the row of each span, the bars to draw, and the span at a position.
// Must never touch the DOM or a clock, nor recurse, nor change a trace.

import { STATE, isBadState, isOpenState } from "./columns.mjs";
import { barEnd } from "./span.mjs";
import { STRETCH_MIN } from "./timescale.mjs";

/**
 * @typedef {import("./model.mjs").Trace} Trace
 * @typedef {import("./timescale.mjs").Scale} Scale
 * @typedef {object} FlameLayout spans by row, and by time within a row; spans of a row never overlap
 * @property {number} rows
 * @property {Int32Array} offsets the first place of each row, then the total
 * @property {Int32Array} order the span at each place
 * @property {Float64Array} left start of the span at each place, in tree time
 * @property {Float64Array} right its end; Infinity while it is open
 * @property {Int32Array} bad number of failed spans before each place, then the total
 * @property {Int32Array} rowOf the row of each span, −1 if its time is unknown
 * @property {Int32Array} placeOf the place of each span, −1 if its time is unknown
 * @typedef {{left: Float64Array, right: Float64Array, key: Float64Array, order: Int32Array, count: number}} Spread
 */

/**
 * Lays out each span below its parent, in the first row that is free at its start. Consecutive spans share a row;
 * concurrent ones do not. An end or a later start does not move a span to another row.
 * @param {Trace} trace
 * @returns {FlameLayout}
 */
export function layoutFlame(trace) {
  const spread = spreadOf(trace);
  const { left, right, order, count } = spread;
  const rowOf = new Int32Array(trace.spans.count).fill(-1);
  const free = new FreeRows(count);
  const lengths = new Int32Array(count + 1);
  let rows = 0;
  for (let at = 0; at < count; at += 1) {
    const index = order[at];
    const parent = trace.spans.parent[index];
    const row = free.first(parent < 0 ? 0 : rowOf[parent] + 1, left[index]);
    // Treat an instant as a short stretch, so that two instants at the same time do not share a row.
    free.fill(row, Math.max(right[index], left[index] + STRETCH_MIN));
    rowOf[index] = row;
    lengths[row] += 1;
    if (row >= rows) rows = row + 1;
  }
  return placesOf(trace, spread, rowOf, lengths, rows);
}

/** @param {Trace} trace @param {Spread} spread @param {Int32Array} rowOf @param {Int32Array} lengths @param {number} rows @returns {FlameLayout} */
function placesOf({ spans }, spread, rowOf, lengths, rows) {
  const { count } = spread;
  const offsets = new Int32Array(rows + 1);
  for (let row = 0; row < rows; row += 1) offsets[row + 1] = offsets[row] + lengths[row];
  const next = offsets.slice();
  const layout = {
    rows, offsets, order: new Int32Array(count), left: new Float64Array(count), right: new Float64Array(count), bad: new Int32Array(count + 1), rowOf,
    placeOf: new Int32Array(spans.count).fill(-1),
  };
  for (let at = 0; at < count; at += 1) {
    const index = spread.order[at];
    const place = next[rowOf[index]];
    next[rowOf[index]] += 1;
    layout.order[place] = index;
    layout.placeOf[index] = place;
    layout.left[place] = spread.left[index];
    layout.right[place] = spread.right[index];
  }
  for (let place = 0; place < count; place += 1) layout.bad[place + 1] = layout.bad[place] + (isBadState(spans.state[layout.order[place]]) ? 1 : 0);
  return layout;
}

/**
 * Returns the extent of each span, and the spans by start with parents before their children.
 * @param {Trace} trace @returns {Spread}
 */
function spreadOf(trace) {
  const { spans } = trace;
  const { count } = spans;
  const left = new Float64Array(count);
  const right = new Float64Array(count);
  for (let index = 0; index < count; index += 1) {
    left[index] = spans.start[index];
    right[index] = isOpenState(spans.state[index]) ? Infinity : barEnd(trace, index, Infinity);
  }
  stretchPlaceholders(trace, left, right);
  const walked = walk(trace, left);
  // A child comes after its parent, even if it seems to start earlier because their clocks differ.
  const key = new Float64Array(count);
  let sorted = true;
  let before = -Infinity;
  for (const index of walked) {
    const parent = spans.parent[index];
    key[index] = parent < 0 ? left[index] : Math.max(left[index], key[parent]);
    sorted &&= key[index] >= before;
    before = key[index];
  }
  return { left, right, key, order: sorted ? walked : sortedBy(walked, key), count: walked.length };
}

/**
 * Extends placeholders over their children.
 * @param {Trace} trace @param {Float64Array} left @param {Float64Array} right
 */
function stretchPlaceholders({ spans }, left, right) {
  for (let index = 0; index < spans.count; index += 1) {
    if (spans.state[index] !== STATE.placeholder) continue;
    let from = Infinity;
    let to = -Infinity;
    for (let child = spans.firstChild[index]; child >= 0; child = spans.nextSibling[child]) {
      if (Number.isNaN(left[child])) continue;
      from = Math.min(from, left[child]);
      to = Math.max(to, right[child]);
    }
    left[index] = from === Infinity ? NaN : from;
    right[index] = to;
  }
}

/**
 * Returns spans with parents before children. Leaves out spans without a known time.
 * @param {Trace} trace @param {Float64Array} left @returns {Int32Array}
 */
function walk({ spans, roots }, left) {
  const order = new Int32Array(spans.count);
  let count = 0;
  for (const root of roots) {
    let index = root;
    for (;;) {
      if (!Number.isNaN(left[index])) order[count++] = index;
      if (spans.firstChild[index] >= 0) {
        index = spans.firstChild[index];
        continue;
      }
      while (index !== root && spans.nextSibling[index] < 0) index = spans.parent[index];
      if (index === root) break;
      index = spans.nextSibling[index];
    }
  }
  return order.subarray(0, count);
}

/** Sorts stably by key. @param {Int32Array} walked @param {Float64Array} key @returns {Int32Array} */
function sortedBy(walked, key) {
  const at = Int32Array.from(walked, (_, position) => position);
  at.sort((a, b) => key[walked[a]] - key[walked[b]] || a - b);
  return at.map((position) => walked[position]);
}

/** The time until which each row is occupied. A tree of minima finds the first free row in logarithmic time. */
class FreeRows {
  /** @param {number} rows at most */
  constructor(rows) {
    this.leaves = 2;
    while (this.leaves < rows + 1) this.leaves *= 2;
    this.until = new Float64Array(this.leaves * 2).fill(-Infinity);
  }

  /** @param {number} from @param {number} time @returns {number} the first row from `from` on that is free at `time` */
  first(from, time) {
    const { until, leaves } = this;
    let node = leaves + from;
    if (until[node] <= time) return from;
    // Climb to the first right sibling with a free row. One exists, because the tree has more rows than spans.
    while (node % 2 === 1 || until[node + 1] > time) node >>= 1;
    node += 1;
    while (node < leaves) node = until[node * 2] <= time ? node * 2 : node * 2 + 1;
    return node - leaves;
  }

  /** @param {number} row @param {number} time */
  fill(row, time) {
    const { until } = this;
    let node = this.leaves + row;
    until[node] = time;
    for (node >>= 1; node >= 1; node >>= 1) until[node] = Math.min(until[node * 2], until[node * 2 + 1]);
  }
}

/**
 * @param {FlameLayout} layout @param {number} from @param {number} to @param {number} time
 * @returns {number} the first place in `from` … `to` whose span ends after `time`, else `to`
 */
function firstAfter({ right }, from, to, time) {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (right[middle] > time) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * @typedef {object} Seen a bar that is drawn
 * @property {number} index the span, or the first of the spans that share the pixel
 * @property {number} place of that span in the layout
 * @property {number} row
 * @property {number} x pixels from the left border; negative if the span began before the view
 * @property {number} width at least 1
 * @property {number} spans number of spans in this bar: more than 1 if narrow spans share a pixel
 * @property {number} bad number of failed spans among them
 */

/**
 * Visits the bars to draw in some rows. Spans narrower than a pixel share a bar, so the cost of a row depends on its
 * width, not on its number of spans.
 * @param {FlameLayout} layout
 * @param {{trace: Trace, now: number, scale: Scale, first: number, last: number}} view rows `first` up to but not including `last`
 * @param {(seen: Seen) => void} visit
 */
export function visitVisible(layout, { trace, now, scale, first, last }, visit) {
  const { offsets, order, left, right, bad } = layout;
  for (let row = Math.max(0, first); row < Math.min(layout.rows, last); row += 1) {
    const to = offsets[row + 1];
    let place = firstAfter(layout, offsets[row], to, scale.start);
    // `firstAfter` skips an instant that lies exactly on the border.
    if (place > offsets[row] && right[place - 1] >= scale.start) place -= 1;
    // The first pixel after the last narrow bar. The next narrow bar moves there, so that it does not cover the last.
    let free = -Infinity;
    while (place < to && left[place] <= scale.end) {
      const x = scale.x(left[place]);
      const width = scale.x(endAt(layout, place, trace, now)) - x;
      let next = place + 1;
      if (width < 1) next = Math.max(next, firstAfter(layout, next, to, scale.time(Math.floor(x) + 1)));
      const alone = width >= 1;
      const pixel = Math.max(free, Math.floor(x));
      if (!alone) free = pixel + 1;
      visit({ index: order[place], place, row, x: alone ? x : pixel, width: Math.max(1, width), spans: next - place, bad: bad[next] - bad[place] });
      place = next;
    }
  }
}

/** @param {FlameLayout} layout @param {number} place @param {Trace} trace @param {number} now @returns {number} */
function endAt({ order, left, right }, place, trace, now) {
  if (right[place] !== Infinity) return right[place];
  const index = order[place];
  // The span may have ended since the layout.
  const end = trace.spans.state[index] === STATE.placeholder ? now : barEnd(trace, index, now);
  return Math.max(left[place], end);
}

/** Distance in pixels at which the pointer still hits a bar. Without it, narrow bars would be hard to hit. */
const HIT_MARGIN = 3;

/**
 * @param {FlameLayout} layout
 * @param {{trace: Trace, now: number, scale: Scale}} view
 * @param {number} row
 * @param {number} x
 * @returns {number} the span there, or −1
 */
export function spanAtPlace(layout, { trace, now, scale }, row, x) {
  if (row < 0 || row >= layout.rows) return -1;
  const from = scale.time(x - HIT_MARGIN);
  const to = layout.offsets[row + 1];
  let best = -1;
  let nearest = HIT_MARGIN;
  for (let place = firstAfter(layout, layout.offsets[row], to, from); place < to; place += 1) {
    const begin = scale.x(layout.left[place]);
    const distance = Math.max(0, begin - x, x - scale.x(endAt(layout, place, trace, now)));
    if (distance < nearest || (distance === nearest && best < 0)) {
      best = layout.order[place];
      nearest = distance;
    }
    if (distance === 0 || begin > x + HIT_MARGIN) break;
  }
  return best;
}

/**
 * Returns the bar of one span, even if it is out of view.
 * @param {FlameLayout} layout
 * @param {{trace: Trace, now: number, scale: Scale}} view
 * @param {number} index −1 for no span
 * @returns {Seen | null}
 */
export function barOfSpan(layout, { trace, now, scale }, index) {
  const row = flameRow(layout, index);
  if (row < 0) return null;
  const place = layout.placeOf[index];
  const x = scale.x(layout.left[place]);
  const width = Math.max(1, scale.x(endAt(layout, place, trace, now)) - x);
  return { index, place, row, x, width, spans: 1, bad: layout.bad[place + 1] - layout.bad[place] };
}

/**
 * @param {FlameLayout} layout @param {number} index −1 for no span
 * @returns {number} its row; −1 for no span, a span newer than the layout, or an unknown time
 */
export function flameRow({ rowOf }, index) {
  return index >= 0 && index < rowOf.length ? rowOf[index] : -1;
}

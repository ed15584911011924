// @ts-check
// Groups siblings of one name. Holds each group's members, counts, times of activity and durations. Follows the trace's
// journal: an event costs work for its own span only, unless it creates a group or renames a member. A frame walks the
// members only to create a strip, or to find the durations after a member has changed.
// Must never touch the DOM or a clock, nor recurse, nor change a trace.

import { FLAG, STATE, isBadState, isOpenState } from "./columns.mjs";
import { BUCKETS_MAX, GroupStrip } from "./group-strip.mjs";
import { shareOf } from "./progress.mjs";
import { GROUP_MIN } from "./tree.mjs";

/**
 * @typedef {import("./tree.mjs").Tree} Tree
 * @typedef {{count: number, p50: number, max: number, slowest: number[]}} GroupTimes of the members that have ended:
 *   their count, their median and longest duration in milliseconds (NaN without any), and at most SLOWEST_MAX
 *   members, the longest first
 */

/** Number of members that count as the slowest. */
export const SLOWEST_MAX = 5;
/** A longest duration of more than this many medians is an outlier. */
const OUTLIER_TIMES = 10;
// Greater than the number of texts in a trace. Each of its at most SPANS_MAX spans adds up to four: name, service, scope
// and kind. Only renamed spans add more.
const NAMES = 2 ** 22;
/** Bound on the open members whose progress is read. */
const SHARES_MAX = 200;
/** Bits that record how a member was last counted. */
const COUNTED = Object.freeze({ yes: 1, open: 2, failed: 4, below: 8 });
// Buckets of a strip by member count: groups of more than 64 members get BUCKETS_MAX.
const STEPS = /** @type {const} */ ([[64, BUCKETS_MAX], [0, 256]]);

export class Group {
  count = 0;
  open = 0;
  /** Members that failed, were lost, or report a failure while open. */
  failed = 0;
  /** Members that did not fail but have errors below them. */
  below = 0;
  /** Grows when a member changes. */
  version = 0;
  /** Created with the first open member. @type {Set<number> | null} */
  openMembers = null;
  /** Created at the first draw, then updated by each event. @type {GroupStrip | null} */
  strip = null;
  /** @type {GroupTimes & {version: number} | null} */
  times = null;

  /** @param {number} id @param {number} parent @param {number} name its number */
  constructor(id, parent, name) {
    this.id = id;
    this.parent = parent;
    this.name = name;
  }
}

export class Groups {
  place = -1;
  spans = 0;
  /** Group ids by parent and name. @type {Map<number, number>} */
  ids = new Map();
  /** By id: the newest member, the member count and, from GROUP_MIN members on, the group. @type {number[]} */
  heads = [];
  /** @type {number[]} */
  counts = [];
  /** @type {(Group | undefined)[]} */
  groups = [];
  /** By span: its group id (−1 for none), and the previous member of the same group. */
  idOf = new Int32Array(0);
  before = new Int32Array(0);
  /** By span: the state, start and end it was last counted with. */
  counted = new Uint8Array(0);
  start = new Float64Array(0);
  end = new Float64Array(0);
  /** By parent: whether its children have group ids, and how many of them are in groups. */
  split = new Uint8Array(0);
  grouped = new Int32Array(0);

  /** Applies the changes since the last call. @param {Tree} tree */
  refresh(tree) {
    const { spans, journal } = tree;
    // Time travel renumbers and removes spans, so then everything is rebuilt.
    if (spans.count < this.spans || !journal.knows(this.place)) this.forget();
    this.spans = spans.count;
    if (this.idOf.length < spans.count) this.grow(spans.count * 2);
    this.place = journal.read(this.place, spans.count, (index) => this.look(tree, index));
  }

  forget() {
    Object.assign(this, { place: -1, spans: 0, ids: new Map(), heads: [], counts: [], groups: [] });
    this.idOf.fill(-1);
    for (const column of [this.counted, this.split, this.grouped]) column.fill(0);
  }

  /** @param {number} room */
  grow(room) {
    const larger = (/** @type {any} */ column, /** @type {number} */ value) => {
      const made = new column.constructor(room).fill(value);
      made.set(column);
      return made;
    };
    for (const name of /** @type {const} */ (["before", "counted", "start", "end", "split", "grouped"])) /** @type {any} */ (this)[name] = larger(this[name], 0);
    this.idOf = larger(this.idOf, -1);
  }

  /** @param {Tree} tree @param {number} index */
  look(tree, index) {
    const { spans } = tree;
    const parent = spans.parent[index];
    if (parent < 0 || spans.childCount[parent] < GROUP_MIN) return;
    if (this.split[parent] === 1) return this.put(tree, index);
    this.split[parent] = 1;
    for (let child = spans.firstChild[parent]; child >= 0; child = spans.nextSibling[child]) this.put(tree, child);
  }

  /** @param {Tree} tree @param {number} index */
  put(tree, index) {
    const { spans } = tree;
    const key = spans.parent[index] * NAMES + spans.name[index];
    let id = this.ids.get(key);
    if (id === undefined) {
      id = this.heads.length;
      this.ids.set(key, id);
      this.heads.push(-1);
      this.counts.push(0);
    }
    if (this.idOf[index] !== id) {
      if (this.idOf[index] >= 0) this.leave(index);
      this.join(tree, index, id);
    }
    const group = this.groups[id];
    if (group !== undefined) this.account(tree, group, index);
  }

  /** @param {Tree} tree @param {number} index @param {number} id */
  join(tree, index, id) {
    const { spans } = tree;
    this.idOf[index] = id;
    this.before[index] = this.heads[id];
    this.heads[id] = index;
    this.counts[id] += 1;
    const count = this.counts[id];
    const parent = spans.parent[index];
    if (count > GROUP_MIN) this.grouped[parent] += 1;
    else if (count === GROUP_MIN) this.grouped[parent] += GROUP_MIN;
    const group = this.groups[id];
    if (group !== undefined) {
      group.count = count;
      group.version += 1;
      // A larger group gets a finer strip, which is rebuilt at the next draw.
      if (group.strip !== null && group.strip.buckets < bucketsFor(count)) group.strip = null;
    } else if (count === GROUP_MIN) {
      const made = new Group(id, parent, spans.name[index]);
      this.groups[id] = made;
      made.count = count;
      for (let member = index; member >= 0; member = this.before[member]) this.account(tree, made, member);
    }
  }

  /** Removes a renamed span from its group. @param {number} index */
  leave(index) {
    const id = this.idOf[index];
    const group = this.groups[id];
    if (group !== undefined) this.add(group, index, -1);
    this.counted[index] = 0;
    if (this.heads[id] === index) this.heads[id] = this.before[index];
    else {
      let after = this.heads[id];
      while (this.before[after] !== index) after = this.before[after];
      this.before[after] = this.before[index];
    }
    this.counts[id] -= 1;
    if (group === undefined) return;
    group.count -= 1;
    this.grouped[group.parent] -= group.count === GROUP_MIN - 1 ? GROUP_MIN : group.count >= GROUP_MIN ? 1 : 0;
  }

  /** @param {Tree} tree @param {Group} group @param {number} index */
  account({ spans }, group, index) {
    const state = spans.state[index];
    const failed = isBadState(state) || spans.has(index, FLAG.failing);
    const code = COUNTED.yes | (isOpenState(state) ? COUNTED.open : 0) | (failed ? COUNTED.failed : 0) | (!failed && spans.has(index, FLAG.errorBelow) ? COUNTED.below : 0);
    const start = spans.start[index];
    const end = isOpenState(state) ? NaN : spans.end[index];
    if (code === this.counted[index] && Object.is(start, this.start[index]) && Object.is(end, this.end[index])) return;
    this.add(group, index, -1);
    this.counted[index] = code;
    this.start[index] = start;
    this.end[index] = end;
    this.add(group, index, 1);
  }

  /** @param {Group} group @param {number} index counted with the values in `counted` @param {1 | -1} by */
  add(group, index, by) {
    const code = this.counted[index];
    if (code === 0) return;
    const isOpen = (code & COUNTED.open) !== 0;
    const isFailed = (code & COUNTED.failed) !== 0;
    const isBelow = (code & COUNTED.below) !== 0;
    if (isFailed) group.failed += by;
    if (isBelow) group.below += by;
    if (isOpen) {
      group.open += by;
      if (by > 0) (group.openMembers ??= new Set()).add(index);
      else group.openMembers?.delete(index);
    }
    group.strip?.count(this.start[index], this.end[index], isFailed || isBelow, by);
    group.version += 1;
  }

  /** @param {Group} group @returns {GroupStrip} */
  stripOf(group) {
    if (group.strip === null) {
      const strip = (group.strip = new GroupStrip(bucketsFor(group.count)));
      this.visit(group, (index) => strip.count(this.start[index], this.end[index], (this.counted[index] & (COUNTED.failed | COUNTED.below)) !== 0, 1));
    }
    return group.strip;
  }

  /** @param {number} index of a span @returns {Group | null} the group that it is in */
  of(index) {
    const id = index < this.idOf.length && index >= 0 ? this.idOf[index] : -1;
    return id < 0 ? null : this.byId(id);
  }

  /** @param {number} id @returns {Group | null} */
  byId(id) {
    return this.counts[id] >= GROUP_MIN ? (this.groups[id] ?? null) : null;
  }

  /** @param {import("./model.mjs").Trace} trace @param {number} parent −1 for none @param {string} name @returns {Group | null} */
  find({ strings }, parent, name) {
    const id = parent < 0 ? undefined : this.ids.get(parent * NAMES + (strings.ids.get(name) ?? NAMES - 1));
    return id === undefined ? null : this.byId(id);
  }

  /** @param {Group} group @param {(index: number) => void} visit its members, the newest first */
  visit({ id }, visit) {
    for (let member = this.heads[id]; member >= 0; member = this.before[member]) visit(member);
  }

  /**
   * Returns the durations. Passes over the members only if one has changed since the last call.
   * @param {Tree} tree @param {Group} group @returns {GroupTimes}
   */
  timesOf({ spans }, group) {
    if (group.times !== null && group.times.version === group.version) return group.times;
    const durations = new Float64Array(group.count);
    /** @type {number[]} */
    const slowest = [];
    const duration = (/** @type {number} */ index) => spans.end[index] - spans.start[index];
    const isBefore = (/** @type {number} */ one, /** @type {number} */ other) => duration(one) - duration(other) || spans.start[other] - spans.start[one];
    let count = 0;
    this.visit(group, (index) => {
      // The real end of a lost span is unknown.
      if (isOpenState(spans.state[index]) || spans.state[index] === STATE.lost || !(duration(index) >= 0)) return;
      durations[count] = duration(index);
      count += 1;
      let at = slowest.length;
      while (at > 0 && isBefore(index, slowest[at - 1]) > 0) at -= 1;
      if (at >= SLOWEST_MAX) return;
      slowest.splice(at, 0, index);
      if (slowest.length > SLOWEST_MAX) slowest.pop();
    });
    const ended = durations.subarray(0, count);
    group.times = { version: group.version, count, p50: nth(ended, Math.ceil(count / 2) - 1), max: slowest.length === 0 ? NaN : duration(slowest[0]), slowest };
    return group.times;
  }

  /**
   * Returns the finished share of a running group, including the progress of open members.
   * @param {Group} group @param {(index: number) => import("./progress.mjs").Progress | null} progressAt
   * @returns {number} from 0 to 1
   */
  shareDone(group, progressAt) {
    let done = group.count - group.open;
    let looked = 0;
    for (const member of group.openMembers ?? []) {
      const progress = progressAt(member);
      if (progress !== null) done += shareOf(progress) ?? 0;
      if ((looked += 1) >= SHARES_MAX) break;
    }
    return done / group.count;
  }
}

/** @param {number} count of members @returns {number} buckets of its strip */
function bucketsFor(count) {
  return STEPS.find(([from]) => count > from)?.[1] ?? BUCKETS_MAX;
}

/** @type {WeakMap<Tree, Groups>} */
const known = new WeakMap();

/** @param {Tree} tree @returns {Groups} up to date with the trace */
export function groupsOf(tree) {
  let groups = known.get(tree);
  if (groups === undefined) known.set(tree, (groups = new Groups()));
  groups.refresh(tree);
  return groups;
}

/**
 * @param {Float64Array} values reordered in place @param {number} wanted
 * @returns {number} the value that sorting would put at this index; NaN if there is none
 */
export function nth(values, wanted) {
  let from = 0;
  let to = values.length - 1;
  if (wanted < 0 || wanted > to) return NaN;
  while (from < to) {
    const middle = (from + to) >> 1;
    const pivot = median(values[from], values[middle], values[to]);
    let left = from;
    let right = to;
    while (left <= right) {
      while (values[left] < pivot) left += 1;
      while (values[right] > pivot) right -= 1;
      if (left > right) break;
      const one = values[left];
      values[left] = values[right];
      values[right] = one;
      left += 1;
      right -= 1;
    }
    if (wanted <= right) to = right;
    else if (wanted >= left) from = left;
    else return values[wanted];
  }
  return values[wanted];
}

/** @param {GroupTimes} times @returns {boolean} whether the longest duration is far from the median */
export function hasOutlier({ p50, max }) {
  return max > OUTLIER_TIMES * p50;
}

/** @param {number} a @param {number} b @param {number} c @returns {number} */
function median(a, b, c) {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}

// @ts-check
// Counts a group's active and failed spans in buckets of time. Each event changes the counts in bounded time, so
// drawing walks the members only when `groups.mjs` creates a strip. Must never touch the DOM or a clock, nor read a
// span.
//
// A bucket is a power of two milliseconds wide and begins at a multiple of its width. When the group outgrows the
// buckets, they merge exactly in pairs, and a counted span can still be subtracted after any number of merges.

/** Number of buckets for a group of many spans. */
export const BUCKETS_MAX = 1_024;
/** Exponent of the first bucket width: 2^-10 ms, about a microsecond. */
const EXPONENT_FIRST = -10;

export class GroupStrip {
  exponent = EXPONENT_FIRST;
  /** Number of the first bucket, where the bucket at time 0 has number 0. */
  base = 0;
  /** Number of buckets in use, from `base` on. */
  length = 0;
  /** The earliest start, and the latest end or start, ever counted. */
  first = Infinity;
  last = -Infinity;
  /** Grows when the counts change. */
  version = 0;
  /** @type {{version: number, active: Int32Array, most: number} | null} */
  made = null;

  /** @param {number} buckets at most */
  constructor(buckets) {
    this.buckets = buckets;
    /** By bucket: spans that began, spans that ended, open spans by their start, and failures. */
    this.began = new Int32Array(buckets);
    this.ended = new Int32Array(buckets);
    this.open = new Int32Array(buckets);
    this.failed = new Int32Array(buckets);
  }

  /** @returns {number} milliseconds */
  get width() {
    return 2 ** this.exponent;
  }

  /**
   * Counts a span, or subtracts it again.
   * @param {number} start @param {number} end NaN while open @param {boolean} failed
   * @param {1 | -1} by
   */
  count(start, end, failed, by) {
    if (Number.isNaN(start)) return;
    const isOpen = Number.isNaN(end);
    this.cover(start, isOpen ? start : end);
    this.first = Math.min(this.first, start);
    this.last = Math.max(this.last, isOpen ? start : end);
    const from = this.bucketOf(start);
    const to = isOpen ? from : this.bucketOf(end);
    this.began[from] += by;
    if (isOpen) this.open[from] += by;
    else this.ended[to] += by;
    if (failed) this.failed[to] += by;
    this.version += 1;
  }

  /** @param {number} time a covered time @returns {number} the index of its bucket */
  bucketOf(time) {
    return Math.floor(time / this.width) - this.base;
  }

  /**
   * Extends the buckets to cover a range of time. Merges buckets if necessary.
   * @param {number} start @param {number} end
   */
  cover(start, end) {
    let first = Math.floor(start / this.width);
    let last = Math.floor(end / this.width);
    if (this.length > 0) {
      first = Math.min(first, this.base);
      last = Math.max(last, this.base + this.length - 1);
    }
    let joins = 0;
    while (last - first >= this.buckets) {
      first = Math.floor(first / 2);
      last = Math.floor(last / 2);
      joins += 1;
    }
    if (joins > 0) this.join(2 ** joins);
    this.exponent += joins;
    const shift = this.length === 0 ? 0 : this.base - first;
    if (shift > 0) for (const counts of [this.began, this.ended, this.open, this.failed]) {
      counts.copyWithin(shift, 0, this.length);
      counts.fill(0, 0, shift);
    }
    this.base = first;
    this.length = last - first + 1;
  }

  /** @param {number} factor number of buckets merged into one */
  join(factor) {
    const base = Math.floor(this.base / factor);
    const { base: before, length } = this;
    for (const counts of [this.began, this.ended, this.open, this.failed]) {
      for (let at = 0; at < length; at += 1) {
        const value = counts[at];
        counts[at] = 0;
        counts[Math.floor((before + at) / factor) - base] += value;
      }
    }
    this.length = length === 0 ? 0 : Math.floor((before + length - 1) / factor) - base + 1;
    this.base = base;
  }

  /** @returns {{active: Int32Array, most: number}} the number of spans active in each bucket, and the maximum */
  activity() {
    if (this.made === null || this.made.version !== this.version) {
      const active = new Int32Array(this.length);
      let running = 0;
      let most = 0;
      for (let at = 0; at < this.length; at += 1) {
        running += this.began[at];
        active[at] = running;
        if (running > most) most = running;
        running -= this.ended[at];
      }
      this.made = { version: this.version, active, most };
    }
    return this.made;
  }

  /** @returns {number} the start of the oldest open span, rounded down to its bucket; NaN without an open span */
  openSince() {
    for (let at = 0; at < this.length; at += 1) if (this.open[at] > 0) return (this.base + at) * this.width;
    return NaN;
  }

  /**
   * Returns the largest number active between two times, and whether some span failed there. The time after the last
   * bucket is not covered, although open spans extend beyond it.
   * @param {number} from @param {number} to
   * @returns {{active: number, failed: boolean}}
   */
  between(from, to) {
    const { active } = this.activity();
    const first = Math.max(0, this.bucketOf(from));
    const last = Math.min(this.length - 1, this.bucketOf(to));
    let most = 0;
    let failed = false;
    for (let at = first; at <= last; at += 1) {
      if (active[at] > most) most = active[at];
      if (this.failed[at] > 0) failed = true;
    }
    return { active: most, failed };
  }
}

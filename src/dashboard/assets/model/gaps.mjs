// @ts-check
// Events that a reader missed, as reported by the gap events of a stream. Pure: it must never touch the DOM.

/**
 * @typedef {{starts: number, ends: number, other: number}} Dropped
 * @typedef {object} Losses
 * @property {number} evicted number of events that retention removed
 * @property {number} starts
 * @property {number} ends
 * @property {number} other
 * @property {boolean} unknown a gap of unknown size is included
 * @property {boolean} atMost the counts are upper bounds, because a gap covered several traces
 * @property {Set<string>} gaps gaps already counted, since a replay repeats them
 */

/** @returns {Losses} */
export function noLosses() {
  return { evicted: 0, starts: 0, ends: 0, other: 0, unknown: false, atMost: false, gaps: new Set() };
}

/**
 * Counts each gap once. A report of dropped events that has no id is never replayed, so it is always counted. A gap
 * between epochs has no count.
 * @param {Losses} losses @param {any} data @param {string} id
 */
export function addGap(losses, data, id) {
  const key = id || `${data.reason} ${data.from} ${data.to}`;
  if (data.reason === "epoch") losses.unknown = true;
  if (data.reason === "epoch" || losses.gaps.has(key)) return;
  if (id !== "" || data.reason !== "dropped") losses.gaps.add(key);
  if (data.traces > 1) losses.atMost = true;
  if (typeof data.lost === "number") losses.evicted += data.lost;
  else if (data.lost) {
    const lost = droppedOf(data.lost);
    losses.starts += lost.starts;
    losses.ends += lost.ends;
    losses.other += lost.other;
  } else losses.unknown = true;
}

/** @param {Losses} losses @returns {number} */
export function lostEvents(losses) {
  return losses.evicted + losses.starts + losses.ends + losses.other;
}

/** @param {any} value @returns {Dropped} */
export function droppedOf(value) {
  return { starts: Number(value?.starts) || 0, ends: Number(value?.ends) || 0, other: Number(value?.other) || 0 };
}

// @ts-check
// What a reader could have had and did not get, as gaps of a stream tell it. Pure: it must never touch the DOM.

/**
 * @typedef {{starts: number, ends: number, other: number}} Dropped
 * @typedef {object} Losses
 * @property {number} evicted events that retention had let go
 * @property {number} starts
 * @property {number} ends
 * @property {number} other
 * @property {boolean} unknown something of unknown size is missing
 * @property {boolean} atMost `evicted` is a limit: the count was of several traces together
 * @property {Set<string>} gaps that were counted: a replay tells them again
 */

/** @returns {Losses} */
export function noLosses() {
  return { evicted: 0, starts: 0, ends: 0, other: 0, unknown: false, atMost: false, gaps: new Set() };
}

/** Counts a gap once; drops that no event of the log tells of are told once by themselves. @param {Losses} losses @param {any} data @param {string} id */
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

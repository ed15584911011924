// @ts-check
// Ids as people read them. Must never be used to find anything: two ids may look the same.

const SHORT = 8;

/**
 * The first digits that tell an id from others. Tracers of 64 bits fill up trace ids with leading zeros, so those tell
 * nothing; of what then is shorter than eight digits, the last eight.
 * @param {string} id in hex
 * @returns {string}
 */
export function shortId(id) {
  const from = id.search(/[^0]/);
  return from < 0 || id.length - from < SHORT ? id.slice(-SHORT) : id.slice(from, from + SHORT);
}

// @ts-check
// Shortens ids for display. Must never be used to look anything up: two ids may have the same short form.

const SHORT = 8;

/**
 * Returns the first eight significant digits. Tracers with 64-bit ids fill trace ids up with leading zeros, so those
 * are skipped. If fewer than eight digits follow the zeros, returns the last eight of the id.
 * @param {string} id in hex
 * @returns {string}
 */
export function shortId(id) {
  const from = id.search(/[^0]/);
  return from < 0 || id.length - from < SHORT ? id.slice(-SHORT) : id.slice(from, from + SHORT);
}

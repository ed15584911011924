// @ts-check
// Ids of events, as far as a client may read them: `<epoch>-<sequence>`. Must never touch the DOM or a clock.

/** @param {unknown} id anything else is the beginning, as it is to the server @returns {number} */
export function sequenceOf(id) {
  return Number(/(?:^|-)(\d+)$/.exec(String(id ?? ""))?.[1] ?? 0);
}

/** @param {string} id @returns {string} */
export function epochOf(id) {
  return id.slice(0, Math.max(0, id.lastIndexOf("-")));
}

/** @param {string} id @param {string} last what was heard before it, of the same kind @returns {boolean} whether it was heard already; never where there are no ids */
export function isRepeated(id, last) {
  return id !== "" && last !== "" && epochOf(id) === epochOf(last) && sequenceOf(id) <= sequenceOf(last);
}

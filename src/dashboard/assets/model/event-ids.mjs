// @ts-check
// The parts of an event id that a client may read: `<epoch>-<sequence>`. Must never touch the DOM or a clock.

/** @param {unknown} id an invalid id means the beginning, as it does to the server @returns {number} */
export function sequenceOf(id) {
  return Number(/(?:^|-)(\d+)$/.exec(String(id ?? ""))?.[1] ?? 0);
}

/** @param {string} id @returns {string} */
export function epochOf(id) {
  return id.slice(0, Math.max(0, id.lastIndexOf("-")));
}

/**
 * @param {string} id @param {string} last id of the previous event of the same kind
 * @returns {boolean} whether the event is a repetition; false without ids
 */
export function isRepeated(id, last) {
  return id !== "" && last !== "" && epochOf(id) === epochOf(last) && sequenceOf(id) <= sequenceOf(last);
}

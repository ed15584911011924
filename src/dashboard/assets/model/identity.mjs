// @ts-check
// Numbers for objects, so that what is kept for one object is never taken for another of the same id: the same trace may
// come twice, from the server and from a file, or in two exports. Must never keep an object alive.

/** @type {WeakMap<object, number>} */
const numbers = new WeakMap();
let last = 0;

/** @param {object} object @returns {number} its own, for as long as it lives */
export function identityOf(object) {
  let number = numbers.get(object);
  if (number === undefined) numbers.set(object, (number = last += 1));
  return number;
}

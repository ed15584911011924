// @ts-check
// Numbers for objects, so that data about one object is never used for another with the same id. The same trace may
// be loaded twice, from the server and from a file, or from two exports. Must never keep an object alive.

/** @type {WeakMap<object, number>} */
const numbers = new WeakMap();
let last = 0;

/** @param {object} object @returns {number} the object's number, constant while it lives */
export function identityOf(object) {
  let number = numbers.get(object);
  if (number === undefined) numbers.set(object, (number = last += 1));
  return number;
}

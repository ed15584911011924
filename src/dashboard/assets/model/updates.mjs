// @ts-check
// What `updated` events add to a span that is open. Pure: events in, an event out.
// Must never touch the DOM or a clock, nor change what it was given.

/** Span events and links kept of an open span, each; more are counted. Its end brings all of them. */
export const UPDATED_ITEMS_MAX = 2_000;

/**
 * Lays an update over what is known of an open span. The last value of an attribute wins, events and links are added, and
 * what the page does not know is left out.
 * @param {any} event `started`, with the updates before this one; `{}` where the start was not seen yet
 * @param {any} update
 * @returns {any} a new object
 */
export function withUpdate(event, update) {
  const next = { ...event };
  if (isObject(update.attributes)) {
    next.attributes = { ...event.attributes, ...update.attributes };
    // A value that comes without its type has the type that JSON says.
    const types = { ...event.attributeTypes };
    for (const key in update.attributes) delete types[key];
    next.attributeTypes = { ...types, ...(isObject(update.attributeTypes) ? update.attributeTypes : {}) };
  }
  if (typeof update.name === "string") next.name = update.name;
  for (const key of ["status", "panic"]) if (isObject(update[key])) next[key] = update[key];
  for (const key of ["task", "awaiting"]) if (isObject(update[key]) || update[key] === null) next[key] = update[key];
  if (update.state === "waiting" || update.state === "running") next.state = update.state;
  for (const key of ["events", "links"]) {
    if (!Array.isArray(update[key]) || update[key].length === 0) continue;
    const { items, left } = added(Array.isArray(event[key]) ? event[key] : [], update[key]);
    next[key] = items;
    if (left > 0) next.itemsLeft = (event.itemsLeft ?? 0) + left;
  }
  return next;
}

/**
 * A lost end repeats what the start said. What updates said in between is all that is known, and stays.
 * @param {any} lost an `ended` event with `lost`
 * @param {any} open the span as it was known before
 * @returns {any} a new object
 */
export function withUpdatesOf(lost, open) {
  const next = { ...lost };
  for (const key of ["name", "attributes", "attributeTypes", "events", "links", "itemsLeft", "awaiting", "panic"]) {
    if (open[key] !== undefined) next[key] = open[key];
  }
  return next;
}

/** @param {any[]} before @param {any[]} fresh @returns {{items: any[], left: number}} what was there and what is new; `left` is how many had no room */
function added(before, fresh) {
  const items = [...before];
  let left = 0;
  for (const item of fresh) {
    if (!isObject(item)) continue;
    // A folded update repeats what its parts said.
    if (before.some((one) => one.timestamp === item.timestamp && one.name === item.name && one.spanId === item.spanId && JSON.stringify(one) === JSON.stringify(item))) continue;
    if (items.length >= UPDATED_ITEMS_MAX) left += 1;
    else items.push(item);
  }
  return { items, left };
}

/** @param {any} event of an open span @returns {boolean} whether it says that it fails, before it has ended */
export function saysFailing(event) {
  return event?.status?.code === "ERROR" || isObject(event?.panic);
}

/** @param {unknown} value @returns {boolean} */
export function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

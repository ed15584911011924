// @ts-check
// Merges `updated` events into the event of an open span. Pure: events in, an event out.
// Must never touch the DOM or a clock, nor change its arguments.

/**
 * Maximum number of span events, and of links, kept of an open span. Further ones are only counted. The span's end
 * contains them, unless the end was lost.
 */
export const UPDATED_ITEMS_MAX = 2_000;

/**
 * Merges an update into an open span's event. Later attribute values replace earlier ones, and events and links are
 * appended. Fields that the page does not know are dropped.
 * @param {any} event `started`, with the updates before this one; `{}` before the start has arrived
 * @param {any} update
 * @returns {any} a new object
 */
export function withUpdate(event, update) {
  const next = { ...event };
  if (isObject(update.attributes)) {
    next.attributes = { ...event.attributes, ...update.attributes };
    // A value without a type has the type of its JSON value.
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
 * Merges the earlier updates of a span into its lost end, which repeats only the start.
 * @param {any} lost an `ended` event with `lost`
 * @param {any} open the span's event before the lost end
 * @returns {any} a new object
 */
export function withUpdatesOf(lost, open) {
  const next = { ...lost };
  for (const key of ["name", "attributes", "attributeTypes", "events", "links", "itemsLeft", "awaiting", "panic"]) {
    if (open[key] !== undefined) next[key] = open[key];
  }
  return next;
}

/**
 * @param {any[]} before @param {any[]} fresh
 * @returns {{items: any[], left: number}} both lists, bounded, without the fresh items that `before` has; `left`:
 *   items over the bound
 */
function added(before, fresh) {
  const items = [...before];
  let left = 0;
  for (const item of fresh) {
    if (!isObject(item)) continue;
    // A merged update, as a snapshot has it, repeats the items of the updates in it.
    if (before.some((one) => one.timestamp === item.timestamp && one.name === item.name && one.spanId === item.spanId && JSON.stringify(one) === JSON.stringify(item))) continue;
    if (items.length >= UPDATED_ITEMS_MAX) left += 1;
    else items.push(item);
  }
  return { items, left };
}

/** @param {any} event of an open span @returns {boolean} whether it already reports a failure */
export function saysFailing(event) {
  return event?.status?.code === "ERROR" || isObject(event?.panic);
}

/** @param {unknown} value @returns {boolean} */
export function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

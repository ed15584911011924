// @ts-check
// Which groups are open, and which of their members are rows. Must never touch the DOM or a clock, nor change a trace.

import { FLAG, isBadState, isOpenState } from "./columns.mjs";

/**
 * @typedef {import("./tree.mjs").Tree} Tree
 * @typedef {import("./groups.mjs").Group} Group
 * @typedef {import("./groups.mjs").Groups} Groups
 * @typedef {{isOpen: boolean, shown: number, also: Set<string>}} GroupView `shown`: bits of SHOWN; `also`: ids of
 *   members that stay rows in any state, because the reader selected them or a span below them
 * @typedef {object} GroupViews
 * @property {boolean} isOn whether siblings of one name are groups
 * @property {number | null} usual bits of SHOWN for groups that the reader has neither opened nor closed; null keeps
 *   these groups closed
 * @property {Map<string, GroupView>} views of groups that the reader opened or closed
 * @property {ReadonlySet<string>} automatic groups opened by `automatic-groups.mjs`; only their open members are rows
 */

/** Which members of an open group are rows. */
export const SHOWN = Object.freeze({ open: 1, failed: 2, slowest: 4, all: 8 });
/** The members shown when a reader opens a group. */
export const SHOWN_FIRST = SHOWN.open | SHOWN.failed | SHOWN.slowest;
/** Maximum size of `also`; the oldest member is removed first. */
export const ALSO_MAX = 50;

/** @param {boolean} isOn @param {number | null} usual @returns {GroupViews} */
export function nothingOpened(isOn, usual) {
  return { isOn, usual, views: new Map(), automatic: new Set() };
}

/**
 * @param {Tree} tree @param {Group} group
 * @returns {string} a key of the group that stays valid when spans are renumbered
 */
export function groupKey({ spans, strings }, { parent, name }) {
  return `${spans.ids[parent]} ${strings.list[name]}`;
}

/** @type {GroupView} */
const AUTOMATIC = Object.freeze({ isOpen: true, shown: SHOWN.open, also: new Set() });

/**
 * @param {Tree} tree @param {GroupViews} views @param {Group} group
 * @returns {Readonly<GroupView> | null} null if the group is closed
 */
export function groupView(tree, { views, automatic, usual }, group) {
  if (views.size > 0 || automatic.size > 0) {
    const key = groupKey(tree, group);
    const view = views.get(key);
    if (view !== undefined) return view.isOpen ? view : null;
    if (automatic.has(key)) return AUTOMATIC;
  }
  return usual === null ? null : { isOpen: true, shown: usual, also: new Set() };
}

/** @param {Tree} tree @param {Readonly<GroupView>} view @param {readonly number[]} slowest @param {number} index of a member @returns {boolean} */
export function isMemberShown({ spans }, { shown, also }, slowest, index) {
  if (shown & SHOWN.all) return true;
  const state = spans.state[index];
  if (shown & SHOWN.open && isOpenState(state)) return true;
  if (shown & SHOWN.failed && (isBadState(state) || spans.has(index, FLAG.errorBelow | FLAG.failing))) return true;
  return slowest.includes(index) || (also.size > 0 && also.has(spans.ids[index]));
}

/** Opens or closes a group. @param {Tree} tree @param {GroupViews} views @param {Group} group */
export function toggleGroup(tree, views, group) {
  const key = groupKey(tree, group);
  const view = groupView(tree, views, group);
  const before = views.views.get(key);
  if (view !== null) views.views.set(key, { isOpen: false, shown: view.shown === SHOWN.open ? SHOWN_FIRST : view.shown, also: new Set(view.also) });
  else views.views.set(key, { isOpen: true, shown: before?.shown || SHOWN_FIRST, also: before?.also ?? new Set() });
}

/** @param {Tree} tree @param {GroupViews} views @param {Group} group that is open @param {number} bit of SHOWN */
export function toggleShown(tree, views, group, bit) {
  const view = groupView(tree, views, group);
  if (view !== null) views.views.set(groupKey(tree, group), { isOpen: true, shown: view.shown ^ bit, also: new Set(view.also) });
}

/**
 * Makes a member a row: opens its group, and adds the member to `also` if the group would not show it.
 * @param {Tree} tree @param {GroupViews} views @param {Groups} groups @param {Group} group @param {number} index
 * @returns {boolean} whether that changed anything
 */
export function showMember(tree, views, groups, group, index) {
  const view = groupView(tree, views, group);
  const shown = view?.shown ?? SHOWN.open | SHOWN.failed;
  const also = new Set(view?.also);
  const slowest = shown & SHOWN.slowest ? groups.timesOf(tree, group).slowest : [];
  const isShown = isMemberShown(tree, { isOpen: true, shown, also }, slowest, index);
  if (view !== null && isShown) return false;
  if (!isShown) keep(also, tree.spans.ids[index]);
  views.views.set(groupKey(tree, group), { isOpen: true, shown, also });
  return true;
}

/**
 * Adds the selected member, and its ancestors that are members of groups, to `also`. So they stay rows when they end.
 * @param {Tree} tree @param {GroupViews} views @param {Groups} groups @param {number} index selected
 */
export function keepMembers(tree, views, groups, index) {
  for (let step = index; step >= 0; step = tree.spans.parent[step]) {
    const group = groups.of(step);
    const view = group === null ? null : groupView(tree, views, group);
    if (group === null || view === null || view.also.has(tree.spans.ids[step]) || view.shown & SHOWN.all) continue;
    const also = new Set(view.also);
    keep(also, tree.spans.ids[step]);
    views.views.set(groupKey(tree, group), { isOpen: true, shown: view.shown, also });
  }
}

/** @param {Set<string>} also @param {string} id */
function keep(also, id) {
  also.add(id);
  for (const oldest of also) {
    if (also.size <= ALSO_MAX) break;
    also.delete(oldest);
  }
}

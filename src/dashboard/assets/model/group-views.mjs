// @ts-check
// Which groups are open, and which of their members are rows. Must never touch the DOM or a clock; it changes what it is told to
// change of a fold, and nothing of a trace.

import { FLAG, isBadState, isOpenState } from "./columns.mjs";

/**
 * @typedef {import("./tree.mjs").Tree} Tree
 * @typedef {import("./groups.mjs").Group} Group
 * @typedef {import("./groups.mjs").Groups} Groups
 * @typedef {{isOpen: boolean, shown: number, also: Set<string>}} GroupView `shown`: bits of SHOWN; `also`: members that were gone
 *   to, by id, which stay rows whatever becomes of them
 * @typedef {object} GroupViews
 * @property {boolean} isOn whether siblings of one name are groups
 * @property {number | null} usual what is shown of groups that nobody touched; null: they are closed
 * @property {Map<string, GroupView>} views of groups that the reader opened or closed
 * @property {ReadonlySet<string>} automatic groups that are open for what happens in them: their open members are rows
 */

/** Which members of an open group are rows. */
export const SHOWN = Object.freeze({ open: 1, failed: 2, slowest: 4, all: 8 });
/** What a reader who opens a group looks for first. */
export const SHOWN_FIRST = SHOWN.open | SHOWN.failed | SHOWN.slowest;
/** Members that stay rows because they were gone to; the oldest goes first. */
export const ALSO_MAX = 50;

/** @param {boolean} isOn @param {number | null} usual @returns {GroupViews} */
export function nothingOpened(isOn, usual) {
  return { isOn, usual, views: new Map(), automatic: new Set() };
}

/** @param {Tree} tree @param {Group} group @returns {string} what a group is called for as long as its trace is looked at, however spans are numbered */
export function groupKey({ spans, strings }, { parent, name }) {
  return `${spans.ids[parent]} ${strings.list[name]}`;
}

/** @type {GroupView} */
const AUTOMATIC = Object.freeze({ isOpen: true, shown: SHOWN.open, also: new Set() });

/** @param {Tree} tree @param {GroupViews} views @param {Group} group @returns {Readonly<GroupView> | null} null where it is closed */
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

/** Opens it, or closes it. @param {Tree} tree @param {GroupViews} views @param {Group} group */
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
 * Makes a member a row: opens its group, as a reader would, and keeps the member where the group does not show it by itself.
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
 * A member that is looked at stays a row when it ends.
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

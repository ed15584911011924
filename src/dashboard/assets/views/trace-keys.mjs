// @ts-check
// Key bindings of the waterfall: movement, folding, zoom and settings. Must never draw.

import { groupView } from "../model/group-views.mjs";
import { groupsOf } from "../model/groups.mjs";
import { barEnd } from "../model/span.mjs";
import { fitTo, pan, zoomAbout } from "../model/timescale.mjs";
import { nextBad } from "../model/tree-order.mjs";
import { ROW, foldOf, groupOfRow, rowOfGroup, spanOfRow } from "../model/visible-rows.mjs";
import { rowSize } from "../paint/row-size.mjs";
import { KEY_PAN, KEY_ZOOM } from "./zoom-input.mjs";

const TRACE_PAGE_ROWS = 20;

export class TraceKeys {
  /** @param {import("./trace-view.mjs").TraceView} view */
  constructor(view) {
    this.view = view;
    this.ui = view.ui;
  }

  /** @param {number} by rows; ±Infinity for the ends */
  move(by) {
    const { count } = this.view.rows;
    if (count === 0) return;
    const from = this.view.activeRow();
    const start = from < 0 ? (by > 0 ? -1 : 0) : from;
    let row = Number.isFinite(by) ? Math.max(0, Math.min(count - 1, start + by)) : by < 0 ? 0 : count - 1;
    // A sum row cannot be selected, so skip it.
    const isSum = () => this.view.rows.kinds[row] === ROW.sum;
    while (row > 0 && row < count - 1 && isSum()) row += Math.sign(by);
    if (isSum()) row = Math.max(0, row - 1);
    this.goToRow(row);
  }

  /** @param {number} row of a span or a group */
  goToRow(row) {
    this.view.scrollTo(row, rowSize.height);
    if (this.view.rows.kinds[row] >= ROW.group) this.view.activateGroup(row);
    else this.view.select(spanOfRow(this.view.rows, row));
    requestAnimationFrame(() => requestAnimationFrame(() => this.view.focusActive()));
  }

  /** @returns {import("../model/groups.mjs").Group | null} the group of the active row, or null */
  activeGroup() {
    const { trace, rows } = this.view;
    return trace === null || this.view.activeGroup === null ? null : groupsOf(trace).byId(groupOfRow(rows, this.view.activeRow()));
  }

  /** Opens or closes the group of the active row. @returns {boolean} whether the active row is the row of a group */
  openActive() {
    const group = this.activeGroup();
    if (group !== null) this.view.toggleGroup(group.id);
    return group !== null;
  }

  /** Collapses the active span or group. If that is not possible, goes to the row of its group or to its parent. */
  collapseOrParent() {
    const index = this.view.active();
    const group = this.activeGroup();
    const { trace } = this.view;
    if (trace !== null && group !== null) {
      if (groupView(trace, this.ui.fold.groups, group) !== null) this.view.toggleGroup(group.id);
      else this.view.goTo(trace.spans.ids[group.parent]);
      return;
    }
    if (trace === null || index < 0) return;
    const { spans } = trace;
    const own = this.ui.isGrouped ? groupsOf(trace).of(index) : null;
    if (spans.childCount[index] > 0 && foldOf(trace, this.ui.fold, index) !== "closed") this.view.toggle(index, false);
    else if (own !== null && rowOfGroup(this.view.rows, own.id) >= 0) this.goToRow(rowOfGroup(this.view.rows, own.id));
    else if (spans.parent[index] >= 0) this.view.goTo(spans.ids[spans.parent[index]]);
  }

  /** Expands the active span or group. If it is expanded already, goes to its first child. */
  expandOrChild() {
    const index = this.view.active();
    const group = this.activeGroup();
    if (this.view.trace !== null && group !== null) {
      if (groupView(this.view.trace, this.ui.fold.groups, group) === null) this.view.toggleGroup(group.id);
      else this.move(1);
      return;
    }
    if (this.view.trace === null || index < 0 || this.view.trace.spans.childCount[index] === 0) return;
    if (foldOf(this.view.trace, this.ui.fold, index) === "closed") this.view.toggle(index, false);
    else this.move(1);
  }

  /** @param {1 | -1} direction */
  goToError(direction) {
    if (this.view.trace === null) return;
    const found = nextBad(this.view.trace, this.view.active(), direction);
    if (found < 0) return;
    this.view.goTo(this.view.trace.spans.ids[found]);
    this.focusSoon();
  }

  /**
   * Focuses the active row after the next frame, since it may not be drawn yet. Leaves the focus of other elements
   * alone.
   */
  focusSoon() {
    if (this.ui.view !== "waterfall") return;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const at = document.activeElement;
      if (at === document.body || this.view.rowsNode.contains(at)) this.view.focusActive();
    }));
  }

  /** @param {number} factor */
  zoomBy(factor) {
    if (this.view.frame === null) return;
    const { scale } = this.view.frame;
    const x = this.view.axis.pointer;
    const place = x !== null && x >= 0 && x <= scale.width ? x : scale.width / 2;
    this.ui.setZoom(zoomAbout(this.ui.zoom ?? this.view.whole(), scale.time(place), factor, this.view.whole()));
  }

  /** @param {number} share */
  panBy(share) {
    if (this.view.frame !== null && this.ui.zoom !== null) this.ui.setZoom(pan(this.ui.zoom, share, this.view.whole()));
  }

  /** Zooms to the selected span, or to the whole trace if no span is selected or the zoom is that span already. */
  fit() {
    const index = this.view.active();
    const { ui, view: { frame } } = this;
    if (frame === null || index < 0 || Number.isNaN(frame.trace.spans.start[index])) return ui.setZoom(null);
    const zoom = fitTo({ start: frame.trace.spans.start[index], end: barEnd(frame.trace, index, frame.now) }, this.view.whole());
    const same = zoom !== null && ui.zoom !== null && zoom.start === ui.zoom.start && zoom.end === ui.zoom.end;
    ui.setZoom(same ? null : zoom);
  }

  /** @type {Record<string, () => void>} */
  keys = {
    ArrowDown: () => this.move(1), j: () => this.move(1), ArrowUp: () => this.move(-1), k: () => this.move(-1),
    PageDown: () => this.move(TRACE_PAGE_ROWS), PageUp: () => this.move(-TRACE_PAGE_ROWS),
    Home: () => this.move(-Infinity), End: () => this.move(Infinity),
    ArrowLeft: () => this.collapseOrParent(), h: () => this.collapseOrParent(),
    ArrowRight: () => this.expandOrChild(), l: () => this.expandOrChild(),
    E: () => this.ui.openToDepth(Infinity), C: () => this.ui.openToDepth(0),
    ...Object.fromEntries(Array.from({ length: 9 }, (_, at) => [String(at + 1), () => this.ui.openToDepth(at + 1)])),
    "]": () => this.goToError(1), "[": () => this.goToError(-1),
    w: () => this.zoomBy(KEY_ZOOM), s: () => this.zoomBy(1 / KEY_ZOOM), a: () => this.panBy(-KEY_PAN), d: () => this.panBy(KEY_PAN),
    G: () => this.view.toggleGroups(), f: () => this.fit(), g: () => this.ui.setCompress(!this.ui.compress), L: () => this.ui.setFollow(!this.ui.follow),
  };
}

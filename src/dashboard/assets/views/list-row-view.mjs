// @ts-check
// One row of the list of traces. Its element is created once and reused while the reader scrolls. Must never decide
// which traces are shown.

import { fullClock, startText } from "../model/clock.mjs";
import { shortId } from "../model/ids.mjs";
import { isOpenTrace, keptText, matchText, reasonOf, shownStateOfSummary } from "../model/list-model.mjs";
import { amountText, isCounted, leftText, percentText, progressFrom, progressText, shareOf } from "../model/progress.mjs";
import { AWAITING_LONG_MS } from "../model/running.mjs";
import { epochMilliseconds, formatAge, formatCount, formatDuration, formatOpen, formatSeconds, plural } from "../model/time.mjs";
import { isSlower, timesText, usualBar, usualTitle } from "../model/usual-bar.mjs";
import { STATE_WORDS, element, icon, setAttribute, setIcon, setShown, setStyle, setText, shortened } from "./dom.mjs";
import { besideText } from "../model/span-title.mjs";
import { ServiceChips } from "./service-chips.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {import("./list-view.mjs").ListFrame} ListFrame
 * @typedef {import("./list-view.mjs").ListActions} ListActions
 * @typedef {ReturnType<typeof makeRow>["row"]} ListRow
 */

const CHIPS_MAX = 2;
const AWAITS_LENGTH = 40;
const REASON_LENGTH = 160;

/** @param {ListActions} actions */
export function makeRow(actions) {
  const services = element("span", { class: "c-services", role: "gridcell" });
  const row = {
    traceId: "",
    /** The span that matches the search. @type {string | null} */
    spanId: null,
    started: element("span", { class: "c-started figure", role: "gridcell" }),
    shape: icon("running"),
    stateWord: element("span", { class: "state-word" }),
    below: element("span", { class: "below-count" }),
    link: element("a", { class: "trace-link", tabindex: "-1" }),
    badge: element("span", { class: "span-badge", hidden: true }),
    beside: element("span", { class: "span-beside" }),
    id: element("span", { class: "mono faint short-id" }),
    kept: element("span", { class: "chip kept", hidden: true }),
    reason: element("span", { class: "reason", hidden: true }),
    /** The reason on a narrow screen, where it has a cell of its own. */
    narrowReason: element("span", { class: "reason c-reason", role: "gridcell", hidden: true }),
    linked: "",
    services,
    chips: new ServiceChips(services, CHIPS_MAX),
    chipsFor: "",
    spans: element("span", { class: "c-spans figure", role: "gridcell" }),
    duration: element("span", { class: "c-duration figure duration-text", role: "gridcell" }),
    track: element("span", { class: "c-usual track", role: "gridcell" }),
    band: element("span", { class: "band" }),
    bar: element("span", { class: "meter" }),
    tick: element("span", { class: "median" }),
    against: element("span", { class: "c-against figure", role: "gridcell" }),
    errors: element("span", { class: "c-errors figure", role: "gridcell" }),
  };
  row.track.append(row.band, row.bar, row.tick);
  const node = element(
    "div", { class: "list-row", role: "row", tabindex: "-1" },
    row.started,
    element("span", { class: "c-state", role: "gridcell" }, row.shape, row.stateWord, row.below),
    element("span", { class: "c-name", role: "gridcell" }, row.link, row.badge, row.beside, row.kept, row.reason, row.id),
    services, row.narrowReason, row.spans, row.duration, row.track, row.against, row.errors,
  );
  node.addEventListener("click", (event) => {
    // The browser handles clicks with a modifier and opens the link in a new tab.
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    actions.openTrace(row.traceId, row.spanId);
  });
  return { node, row };
}

/** @param {ListRow} row @param {HTMLElement} node @param {Summary} trace @param {ListFrame} frame @param {ListActions} actions */
export function drawRow(row, node, trace, frame, actions) {
  const open = isOpenTrace(trace);
  const state = shownStateOfSummary(trace);
  if (row.traceId !== trace.traceId) {
    row.traceId = trace.traceId;
    setAttribute(node, "data-trace-id", trace.traceId);
    setText(row.id, shortId(trace.traceId.replace(/^file:/, "")));
    setAttribute(row.id, "title", trace.traceId);
  }
  // The link also depends on the search and the order.
  const match = frame.feed.model.matches.get(trace.traceId);
  row.spanId = match?.spanId ?? null;
  const linked = `${trace.traceId} ${row.spanId} ${frame.hrefs}`;
  if (row.linked !== linked) {
    row.linked = linked;
    setAttribute(row.link, "href", actions.traceHref(trace.traceId, row.spanId));
  }
  setAttribute(node, "data-state", state);
  drawStart(row, trace, frame);
  drawState(row, trace, state);
  const title = frame.titles.of(trace);
  const name = title.text || "(no name)";
  const beside = title.beside.map(besideText);
  setText(row.link, shortened(name));
  setAttribute(row.link, "title", (title.aside === "" ? name : `${name} · ${title.aside}`).slice(0, 1_000));
  setShown(row.badge, title.badge !== null);
  setText(row.badge, title.badge?.text ?? "");
  setAttribute(row.badge, "data-tone", title.badge?.tone);
  setText(row.beside, beside.join("  "));
  const kept = keptText(trace);
  setShown(row.kept, kept !== "");
  setText(row.kept, kept);
  setAttribute(row.kept, "title", kept === "" ? null : trace.partial != null ? "Only the first events of this trace were read for the list" : "Retention has removed the other spans of this trace");
  const awaits = open ? awaitsText(trace, frame) : "";
  const progress = open ? progressFrom(trace.progress) : null;
  const reason = drawReason(row, trace, awaits, progress, match === undefined ? "" : `${matchText(match)}${match.name === null || match.name === trace.name ? "" : ` in ${match.name}`}`);
  setText(row.spans, formatCount(trace.spans?.total ?? 0));
  setAttribute(row.spans, "title", trace.spans?.open > 0 ? `${formatCount(trace.spans.open)} open` : null);
  const errors = trace.spans?.errors ?? 0;
  setText(row.errors, errors > 0 ? formatCount(errors) : "");
  // The number of errors includes lost spans.
  setAttribute(row.errors, "title", errors > 0 ? `${plural(errors, "error")}, of which ${formatCount(trace.spans?.lost ?? 0)} lost` : null);
  drawDuration(row, trace, frame, kept);
  drawAgainst(row, trace, frame, progress, kept !== "" || trace.state === "lost");
  drawChips(row, trace, frame);
  // The label leaves out the duration of an open trace: a screen reader would announce each change.
  setAttribute(node, "aria-label", [
    STATE_WORDS[state] ?? state, shortened(title.badge === null ? name : `${name} ${title.badge.text}`), ...beside, trace.service, open ? "" : row.duration.textContent, plural(trace.spans?.total ?? 0, "span"), errors > 0 ? plural(errors, "error") : "", kept,
    progress === null ? "" : progressText(progress, null, 0), awaits === "" ? reason : `awaits ${String(trace.awaiting?.name)}`,
  ].filter((part) => part !== "").join(", "));
}

/** @param {ListRow} row @param {Summary} trace @param {ListFrame} frame */
function drawStart(row, trace, { now, age, zone }) {
  const at = epochMilliseconds(trace.startTimestamp);
  setText(row.started, startText(at, now, zone));
  setAttribute(row.started, "title", `${formatAge(age - at)} · ${fullClock(at, zone)}`);
}

/** @param {ListRow} row @param {Summary} trace @param {string} state */
function drawState(row, trace, state) {
  setIcon(row.shape, state);
  const below = state === "below" ? (trace.spans?.errors ?? 0) : 0;
  setText(row.stateWord, state === "below" ? STATE_WORDS.ok : (STATE_WORDS[state] ?? state));
  setText(row.below, below > 0 ? `${formatCount(below)} below` : "");
}

/**
 * Draws one line: the match of the search, the error, the awaited operation, or the progress.
 * @param {ListRow} row @param {Summary} trace @param {string} awaits @param {import("../model/progress.mjs").Progress | null} progress
 * @param {string} match the match of the search
 * @returns {string} the match or the error
 */
function drawReason(row, trace, awaits, progress, match) {
  const progressWords = progress === null ? "" : isCounted(progress) ? [amountText(progress), progress.message].filter((part) => part !== "").join(" · ") : progress.message;
  const wrong = reasonOf(trace);
  const text = shortened(match || wrong || awaits || progressWords, REASON_LENGTH);
  const kind = match !== "" ? "match" : wrong !== "" ? "error" : awaits !== "" ? "awaits" : null;
  setShown(row.reason, text !== "");
  setText(row.reason, text);
  // The progress is in another cell of a narrow row.
  setShown(row.narrowReason, kind !== null);
  setText(row.narrowReason, kind === null ? "" : text);
  setAttribute(row.narrowReason, "data-kind", kind);
  setAttribute(row.reason, "title", text === "" ? null : (match || wrong || awaits || progressWords).slice(0, 1_000));
  setAttribute(row.reason, "data-kind", kind);
  return match || wrong;
}

/** @param {ListRow} row @param {Summary} trace @param {ListFrame} frame @param {string} kept */
function drawDuration(row, trace, frame, kept) {
  const duration = durationOf(trace, frame.now);
  const length = isOpenTrace(trace) ? formatOpen(duration, frame.moving) : formatDuration(duration);
  setText(row.duration, kept === "" ? length : `≥ ${length}`);
}

/**
 * Draws the progress, or the duration beside the usual ones, as a bar. Draws the comparison as text.
 * @param {ListRow} row @param {Summary} trace @param {ListFrame} frame @param {import("../model/progress.mjs").Progress | null} progress
 * @param {boolean} isCut whether the trace took at least the known duration: it was lost, or spans are missing
 */
function drawAgainst(row, trace, frame, progress, isCut) {
  const open = isOpenTrace(trace);
  const duration = durationOf(trace, frame.now);
  const usual = frame.usual(trace);
  const share = progress === null ? null : shareOf(progress);
  const bar = usualBar(duration, usual);
  const slow = trace.state !== "waiting" && isSlower(duration, usual);
  setAttribute(row.track, "data-progress", share !== null);
  setAttribute(row.track, "data-slow", slow);
  setAttribute(row.track, "data-beyond", share === null && bar.beyond);
  setAttribute(row.track, "title", usualTitle(usual));
  setStyle(row.bar, "background-size", `${((share ?? bar.value) * 100).toFixed(1)}% 100%`);
  setShown(row.band, share === null && bar.band !== null);
  setShown(row.tick, share === null && bar.tick !== null);
  if (bar.band !== null) {
    setStyle(row.band, "left", percent(bar.band[0]));
    setStyle(row.band, "width", percent(bar.band[1] - bar.band[0]));
    setStyle(row.tick, "left", percent(bar.band[0]));
  }
  setAttribute(row.against, "data-slow", slow);
  setText(row.against, againstText(trace, frame, { duration, usual, slow, open, isCut, progress }));
}

/**
 * @param {Summary} trace @param {ListFrame} frame
 * @param {{duration: number, usual: import("../model/usual-bar.mjs").Usual | null, slow: boolean, open: boolean, isCut: boolean,
 *   progress: import("../model/progress.mjs").Progress | null}} known
 * @returns {string} `26 % · about 2 m 30 s left`, `5.1× usual`, `about 5 s left`, `1.7×`
 */
function againstText(trace, frame, { duration, usual, slow, open, isCut, progress }) {
  if (open && progress !== null && isCounted(progress)) {
    const left = leftText(frame.feed.model.speeds.get(trace.traceId)?.left(frame.now) ?? null);
    const text = [percentText(progress), left.replace(/^about /, "")].filter((part) => part !== "").join(" · ");
    if (text !== "") return text;
  }
  if (usual === null) return "";
  if (slow || (open && duration > usual.p50)) return `${timesText(duration, usual)} usual`;
  // A lower bound of the duration can only show that the trace was slow.
  if (isCut) return "";
  return open ? (trace.state === "running" ? leftText(usual.p50 - duration) : "") : timesText(duration, usual);
}

/** @param {number} part @returns {string} */
function percent(part) {
  return `${(part * 100).toFixed(1)}%`;
}

/**
 * @param {Summary} trace @param {ListFrame} frame
 * @returns {string} `awaits redis get for 12 s`, empty if the wait is short
 */
function awaitsText({ awaiting }, { now }) {
  if (typeof awaiting?.name !== "string") return "";
  const since = now - epochMilliseconds(awaiting.since);
  return since >= AWAITING_LONG_MS ? `awaits ${shortened(awaiting.name, AWAITS_LENGTH)} for ${formatSeconds(since)}` : "";
}

/** @param {ListRow} row @param {Summary} trace @param {ListFrame} frame */
function drawChips(row, trace, { palette }) {
  const services = trace.services ?? [];
  const key = services.map((service) => `${service.name} ${service.spans} ${service.errors}`).join("\n");
  if (row.chipsFor === key) return;
  row.chipsFor = key;
  row.chips.draw(services, (name) => palette.colour(name));
}

/** @param {Summary} trace @param {number} now @returns {number} milliseconds */
export function durationOf(trace, now) {
  if (trace.durationMs !== null && trace.durationMs !== undefined) return trace.durationMs;
  return Math.max(0, now - epochMilliseconds(trace.startTimestamp));
}

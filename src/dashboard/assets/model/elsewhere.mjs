// @ts-check
// Exports a trace for other tools: as a text tree for chats and issues, and as the JSON that Perfetto and Chrome open.
// It may sort siblings of the trace in place, but changes nothing else in the trace. Must never touch the DOM or a
// clock.

import { STATE } from "./columns.mjs";
import { attributesOf, barEnd, childrenOf, kindOf, scopeOf, serviceOf, shownName, shownStateOf } from "./span.mjs";
import { wordsOf } from "./cause.mjs";
import { formatDuration, plural } from "./time.mjs";

/** @typedef {import("./model.mjs").Trace} Trace */

/** Maximum number of lines in a text tree; the rest is only counted. */
export const TREE_LINES_MAX = 2_000;
const INDENT_MAX = 40;
/** Number of lanes of a service that are tried before a span gets a new one. */
const LANES_TRIED = 64;

/** @type {Record<string, string>} */
const MARKS = { running: "…", waiting: "‖", ok: "✓", error: "✕", panicked: "✕", cancelled: "⊘", lost: "?", failing: "!", below: "✓", placeholder: "·" };

/** @param {Trace} trace @param {number} now in tree time @returns {string} */
export function textTree(trace, now) {
  const { spans } = trace;
  const lines = [];
  const stack = [...trace.roots].sort((a, b) => spans.start[a] - spans.start[b]).reverse().map((index) => ({ index, depth: 0 }));
  while (stack.length > 0 && lines.length < TREE_LINES_MAX) {
    const { index, depth } = /** @type {{index: number, depth: number}} */ (stack.pop());
    lines.push(`${"  ".repeat(Math.min(depth, INDENT_MAX))}${lineOf(trace, index, now)}`);
    for (const child of childrenOf(trace, index).reverse()) stack.push({ index: child, depth: depth + 1 });
  }
  const left = spans.count - lines.length;
  return [...lines, ...(left > 0 ? [`… and ${plural(left, "more span")}`] : [])].join("\n");
}

/** @param {Trace} trace @param {number} index @param {number} now @returns {string} `✕ POST /charges 632 ms [payments] card declined` */
function lineOf(trace, index, now) {
  const state = shownStateOf(trace, index);
  const isOpen = state === "running" || state === "waiting" || state === "failing";
  const took = state === "placeholder" ? "" : `${formatDuration(barEnd(trace, index, now) - trace.spans.start[index])}${isOpen ? " so far" : ""}`;
  const isBad = state === "error" || state === "panicked" || state === "lost" || state === "failing";
  const words = isBad ? wordsOf(trace, index)?.message ?? "" : "";
  const service = trace.services.size > 1 && serviceOf(trace, index) !== "" ? `[${serviceOf(trace, index)}]` : "";
  return [MARKS[state] ?? "·", shownName(trace, index), took, service, words].filter((part) => part !== "").join(" ").replace(/\s+/g, " ");
}

/**
 * Returns complete events, nested like the spans. Each service is a process. Spans of a service that run in parallel
 * are in different lanes.
 * @param {Trace} trace @param {number} now in tree time @returns {{displayTimeUnit: string, traceEvents: any[]}}
 */
export function chromeTrace(trace, now) {
  const { spans } = trace;
  const order = [];
  for (let index = 0; index < spans.count; index += 1) if (spans.state[index] !== STATE.placeholder && !Number.isNaN(spans.start[index])) order.push(index);
  const ends = Float64Array.from({ length: spans.count }, (_, index) => barEnd(trace, index, now));
  order.sort((a, b) => spans.start[a] - spans.start[b] || ends[b] - ends[a] || spans.depth[a] - spans.depth[b]);
  /** @type {Map<string, {pid: number, lanes: number[][]}>} */
  const services = new Map();
  const laneOf = new Int32Array(spans.count).fill(-1);
  const events = [];
  for (const index of order) {
    const service = serviceOf(trace, index) || "(no service)";
    let known = services.get(service);
    if (known === undefined) {
      services.set(service, (known = { pid: services.size + 1, lanes: [] }));
      events.push({ ph: "M", name: "process_name", pid: known.pid, tid: 0, args: { name: service } });
    }
    const parent = spans.parent[index];
    const preferred = parent >= 0 && serviceOf(trace, parent) === serviceOf(trace, index) ? laneOf[parent] : -1;
    const lane = laneFor(known.lanes, preferred, spans.start[index], ends[index]);
    laneOf[index] = lane;
    events.push({
      ph: "X", name: shownName(trace, index), cat: scopeOf(trace, index) || kindOf(trace, index) || "span", pid: known.pid, tid: lane + 1,
      ts: microseconds(spans.start[index] - trace.start), dur: microseconds(ends[index] - spans.start[index]),
      args: { ...attributesOf(trace, index), "span.id": spans.ids[index], "span.state": shownStateOf(trace, index) },
    });
  }
  return { displayTimeUnit: "ms", traceEvents: events };
}

/** @param {number} milliseconds @returns {number} rounded to a nanosecond */
function microseconds(milliseconds) {
  return Math.round(milliseconds * 1e6) / 1e3;
}

/**
 * Returns the preferred lane if it is free, or if no span that runs in it ends before this span. Otherwise returns a
 * free lane, which may be new.
 * @param {number[][]} lanes by lane, the ends of its running spans @param {number} preferred @param {number} start @param {number} end
 * @returns {number}
 */
function laneFor(lanes, preferred, start, end) {
  const fits = (/** @type {number} */ lane, /** @type {boolean} */ mayNest) => {
    const running = lanes[lane];
    while (running.length > 0 && running[running.length - 1] <= start) running.pop();
    return running.length === 0 || (mayNest && running[running.length - 1] >= end);
  };
  if (preferred >= 0 && fits(preferred, true)) {
    lanes[preferred].push(end);
    return preferred;
  }
  const first = Math.max(0, lanes.length - LANES_TRIED);
  for (let lane = first; lane < lanes.length; lane += 1) {
    if (!fits(lane, false)) continue;
    lanes[lane].push(end);
    return lane;
  }
  lanes.push([end]);
  return lanes.length - 1;
}

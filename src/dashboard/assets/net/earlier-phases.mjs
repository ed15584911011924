// @ts-check
// The phases of an earlier run of the same job. They are cached for each trace and requested again after two minutes,
// with bounds on the number of traces and on the size of the run. Must never touch the DOM; requests and the clock are
// passed in.

import { PHASE_NAMES_MAX } from "../model/phases.mjs";
import { traceRoute } from "./api.mjs";
import { otherRuns } from "./earlier-runs.mjs";

/**
 * @typedef {import("../model/phases.mjs").EarlierPhase} EarlierPhase
 * @typedef {{phases: EarlierPhase[], asked: number}} Known
 */

/** Upper bound on the spans of a run. Larger runs are not loaded just to show phases. */
const SPANS_MAX = 5_000;
const KEPT_MS = 120_000;
const NAMES_MAX = 50;

export class EarlierPhases {
  /** @type {Map<string, Known>} */
  known = new Map();

  /** @param {{getJson: (route: string) => Promise<{status: number, body: any}>, now: () => number, changed: () => void}} world */
  constructor(world) {
    this.world = world;
  }

  /**
   * Returns the cached phases. Requests them if they are missing or old.
   * @param {string} service @param {string} name of the root @param {string} traceId the current run, which is
   *   excluded
   * @returns {EarlierPhase[]} in order of start
   */
  of(service, name, traceId) {
    const key = `${service}\0${name}\0${traceId}`;
    const known = this.known.get(key);
    if (known === undefined || this.world.now() - known.asked > KEPT_MS) void this.ask(key, service, name, traceId);
    return known?.phases ?? [];
  }

  /** @param {string} key @param {string} service @param {string} name @param {string} traceId */
  async ask(key, service, name, traceId) {
    const known = { phases: this.known.get(key)?.phases ?? [], asked: this.world.now() };
    this.known.delete(key);
    this.known.set(key, known);
    if (this.known.size > NAMES_MAX) for (const oldest of this.known.keys()) {
      this.known.delete(oldest);
      break;
    }
    const runs = await otherRuns(this.world.getJson, { traceId, name, service });
    const run = runs?.find((/** @type {any} */ one) => one.state === "ok" && one.spans.total <= SPANS_MAX && one.evicted == null);
    if (run === undefined) return;
    const { status, body } = await this.world.getJson(traceRoute(run.traceId));
    if (status !== 200 || !Array.isArray(body?.spans)) return;
    known.phases = phasesOfRun(body.spans, /** @type {any} */ (run).rootSpanId);
    this.world.changed();
  }
}

/** @param {any[]} spans @param {unknown} root @returns {EarlierPhase[]} none if there are more than PHASE_NAMES_MAX */
export function phasesOfRun(spans, root) {
  /** @type {Map<string, {start: number, end: number, spans: number}>} */
  const phases = new Map();
  const children = spans.filter((span) => span?.type === "ended" && span.parentSpanId === root);
  children.sort((a, b) => Date.parse(a.startTimestamp) - Date.parse(b.startTimestamp));
  for (const { name, startTimestamp, timestamp } of children) {
    const [start, end] = [Date.parse(startTimestamp), Date.parse(timestamp)];
    if (typeof name !== "string" || !(end >= start)) continue;
    const phase = phases.get(name);
    if (phase === undefined && phases.size === PHASE_NAMES_MAX) return [];
    if (phase === undefined) phases.set(name, { start, end, spans: 1 });
    else Object.assign(phase, { end: Math.max(phase.end, end), spans: phase.spans + 1 });
  }
  return [...phases].map(([name, { start, end, spans: count }]) => ({ name, duration: end - start, spans: count }));
}

// @ts-check
// Other runs of the same work: traces whose root has the same name and service. Must never touch the DOM; the caller
// passes the function that sends requests.

import { sequenceOf } from "../model/event-ids.mjs";
import { quoteTerm } from "../model/search.mjs";
import { listRoute } from "./api.mjs";

/**
 * @typedef {import("../model/list-model.mjs").Summary} Summary
 * @typedef {{traceId: string, name: string, service: string}} Run
 */

/** Maximum number of runs returned. */
export const RUNS_MAX = 20;
const PAGE_LIMIT = 200;
/** Maximum number of requests. The first page may hold too few runs, because the search also finds longer names. */
const PAGES_MAX = 3;

/** @param {Summary} trace @param {Run} run @returns {boolean} whether it is another run of the same work */
export function isOtherRun(trace, { traceId, name, service }) {
  return trace.traceId !== traceId && trace.name === name && trace.service === service;
}

/**
 * @param {(route: string) => Promise<{status: number, body: any}>} getJson
 * @param {Run} run @param {string | null} [firstId] id of the trace's first event; bounds the answer to earlier runs
 * @returns {Promise<Summary[] | null>} the newest first, at most RUNS_MAX; null if the first request failed
 */
export async function otherRuns(getJson, run, firstId = null) {
  /** @type {Summary[]} */
  const runs = [];
  let before = firstId === null ? null : sequenceOf(firstId);
  const query = [`name:${quoteTerm(run.name)}`, run.service === "" ? "" : `service:${quoteTerm(run.service)}`].join(" ").trim();
  for (let page = 0; page < PAGES_MAX && runs.length < RUNS_MAX; page += 1) {
    const { status, body } = await getJson(listRoute({ limit: PAGE_LIMIT, before, query }));
    if (status !== 200 || !Array.isArray(body?.traces)) return runs.length > 0 ? runs : null;
    // The search also finds names that only contain the wanted one.
    for (const trace of body.traces) if (runs.length < RUNS_MAX && isOtherRun(trace, run)) runs.push(trace);
    if (body.next == null) break;
    before = Number(body.next);
  }
  return runs;
}

/**
 * @param {Summary[]} runs the newest first @param {string} start of the trace, as a timestamp
 * @returns {Summary | null} the last run that began before the trace
 */
export function runBefore(runs, start) {
  return runs.find((run) => run.startTimestamp < start) ?? null;
}

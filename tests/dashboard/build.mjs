// @ts-check
// Builds events as the server would send them, for the tests. Contains no test.

export const TRACE = "0af7651916cd43dd8448eb211c80319c";

/** @param {number} milliseconds after 2026-11-22T11:39:00Z @returns {string} */
export function at(milliseconds) {
  const nanoseconds = Math.round(milliseconds * 1e6);
  const whole = new Date(Date.UTC(2026, 10, 22, 11, 39, 0) + Math.floor(nanoseconds / 1e9) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(nanoseconds % 1e9).padStart(9, "0")}Z`;
}

/** @param {string} spanId @param {string | null} parentSpanId @param {number} start @param {object} [more] */
export function started(spanId, parentSpanId, start, more = {}) {
  return {
    type: "started", id: "",
    data: {
      type: "started", traceId: TRACE, spanId, parentSpanId, name: spanId, kind: "INTERNAL", process: "p1", service: "shop",
      scope: "shop", attributes: {}, timestamp: at(start), ...more,
    },
  };
}

/** @param {string} spanId @param {string | null} parentSpanId @param {number} start @param {number} end @param {object} [more] */
export function ended(spanId, parentSpanId, start, end, more = {}) {
  return {
    type: "ended", id: "",
    data: {
      type: "ended", traceId: TRACE, spanId, parentSpanId, name: spanId, kind: "INTERNAL", process: "p1", service: "shop",
      scope: "shop", status: { code: "OK" }, attributes: {}, startTimestamp: at(start), timestamp: at(end), ...more,
    },
  };
}

/** @param {string} spanId @param {string | null} parentSpanId @param {number} start @param {number} end @param {number} lastHeard */
export function lost(spanId, parentSpanId, start, end, lastHeard) {
  return ended(spanId, parentSpanId, start, end, {
    status: { code: "ERROR" }, lost: { reason: "crashed", lastHeard: at(lastHeard) },
  });
}

/** @param {string} epoch @param {object} [more] */
export function hello(epoch, more = {}) {
  return { type: "hello", id: "", data: { type: "hello", protocol: 1, epoch, oldest: `${epoch}-1`, head: `${epoch}-9`, now: at(5000), pingSeconds: 15, server: "livespan/0.1.0", ...more } };
}

/** @param {string} spanId @param {number} time @param {object} [more] @param {string} [id] of the event */
export function updated(spanId, time, more = {}, id = "") {
  return { type: "updated", id, data: { type: "updated", traceId: TRACE, spanId, process: "p1", ...more, timestamp: at(time) } };
}

/** @param {string | null} spanId @param {number} time @param {object} [more] @param {string} [id] of the event */
export function log(spanId, time, more = {}, id = "") {
  return {
    type: "log", id,
    data: { type: "log", traceId: TRACE, spanId, process: "p1", severityNumber: 9, severityText: "INFO", body: spanId, attributes: {}, timestamp: at(time), ...more },
  };
}

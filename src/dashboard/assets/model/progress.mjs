// @ts-check
// The progress of a span, from its attributes `progress.*`: the amount done, its rate, and the estimated time left.
// Must never touch the DOM or a clock: every "now" is an argument.

import { formatCount } from "./time.mjs";

/**
 * @typedef {{current: number, total: number | null, units: string, message: string}} Progress
 * @typedef {{at: number, current: number}} Step `at`: time of the update, in milliseconds
 */

/** The rate is measured over this time, or over this many updates if they took longer. */
export const WINDOW_MS = 10_000;
export const WINDOW_STEPS = 20;
/** Bound on the updates in the window, for fast updates. */
const STEPS_MAX = 200;
/** With fewer updates there is no estimate of the time left. */
export const ETA_STEPS_MIN = 3;
const TEXT_MAX = 120;
/** Longer estimates are not shown. */
const LEFT_MAX_MS = 100 * 24 * 3_600_000;

/** @param {Record<string, any> | null | undefined} attributes @returns {Progress | null} */
export function progressOf(attributes) {
  if (attributes === null || attributes === undefined) return null;
  return progressFrom({
    current: attributes["progress.current"], total: attributes["progress.total"], units: attributes["progress.units"], message: attributes["progress.message"],
  });
}

/** @param {any} data the `progress` field of a summary @returns {Progress | null} */
export function progressFrom(data) {
  const current = numberOf(data?.current);
  const message = textOf(data?.message);
  if (current === null && message === "") return null;
  const total = numberOf(data.total);
  return { current: current ?? 0, total: current === null || total === 0 ? null : total, units: textOf(data.units), message };
}

/** @param {unknown} value a number, or text with a 64-bit number @returns {number | null} */
function numberOf(value) {
  const number = typeof value === "string" && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) && number >= 0 ? number : null;
}

/** @param {unknown} value @returns {string} */
function textOf(value) {
  return typeof value === "string" ? value.slice(0, TEXT_MAX) : "";
}

/** The latest progress updates of one span. */
export class ProgressWindow {
  /** @type {Step[]} */
  steps = [];
  total = /** @type {number | null} */ (null);
  units = "";

  /** @returns {ProgressWindow} an independent copy */
  copy() {
    return Object.assign(new ProgressWindow(), { ...this, steps: [...this.steps] });
  }

  /** @param {Progress} progress @param {number} at time of the update, in milliseconds */
  add({ current, total, units }, at) {
    const last = this.steps[this.steps.length - 1];
    // After a restart, or with another total or unit, the old steps say nothing about the rate.
    if (total !== this.total || units !== this.units || (last !== undefined && current < last.current)) this.steps = [];
    this.total = total;
    this.units = units;
    if (Number.isNaN(at) || (this.steps.length > 0 && !(at > this.steps[this.steps.length - 1].at))) return;
    this.steps.push({ at, current });
    let gone = 0;
    while (this.steps.length - gone > STEPS_MAX || (this.steps.length - gone > WINDOW_STEPS && at - this.steps[gone].at > WINDOW_MS)) gone += 1;
    if (gone > 0) this.steps.splice(0, gone);
  }

  /**
   * Returns the rate. It falls when an update takes longer than usual.
   * @param {number} now @returns {number} in units per millisecond; 0 if unknown
   */
  rate(now) {
    const { steps } = this;
    if (steps.length < 2) return 0;
    const [first, last] = [steps[0], steps[steps.length - 1]];
    const covered = last.at - first.at;
    const silence = Math.max(0, now - last.at - covered / (steps.length - 1));
    return (last.current - first.current) / (covered + silence);
  }

  /**
   * @param {number} now
   * @returns {number | null} estimated milliseconds until it is done, at the rate of the window; null without a basis
   *   for an estimate
   */
  left(now) {
    const { steps, total } = this;
    const rate = this.rate(now);
    if (total === null || steps.length < ETA_STEPS_MIN || rate <= 0) return null;
    const last = steps[steps.length - 1];
    if (last.current >= total) return null;
    const usual = (last.at - steps[0].at) / (steps.length - 1);
    const left = (total - last.current) / rate - Math.min(Math.max(0, now - last.at), usual);
    return left > LEFT_MAX_MS ? null : Math.max(0, left);
  }
}

/** @param {Progress} progress @returns {number | null} the share that is done, from 0 to 1; null without a total */
export function shareOf({ current, total }) {
  return total === null ? null : Math.min(1, current / total);
}

/** @param {Progress} progress @returns {boolean} whether it has an amount */
export function isCounted({ current, total }) {
  return current > 0 || total !== null;
}

/** @param {Progress} progress @returns {string} `70 %`; `100 %` only when all is done; empty without a total */
export function percentText({ current, total }) {
  // Rounded down, so that unfinished work never shows 100 %.
  return total === null ? "" : `${formatCount(Math.floor((current / total) * 100 + 1e-9))} %`;
}

/** @param {Progress} progress @returns {string} `190 of 270 pages` */
export function amountText({ current, total, units }) {
  const of = total === null ? numberText(current) : `${numberText(current)} of ${numberText(total)}`;
  return units === "" ? of : `${of} ${units}`;
}

/** @param {number} value @returns {string} */
function numberText(value) {
  return Number.isInteger(value) ? formatCount(value) : value < 100 ? value.toFixed(1) : formatCount(Math.round(value));
}

/** @param {number} rate in units per millisecond @returns {string} `3.4/s` or `12/min`, empty if unknown */
export function rateText(rate) {
  if (!(rate > 0)) return "";
  const perSecond = rate * 1_000;
  if (perSecond >= 1) return `${perSecond < 10 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond))}/s`;
  const perMinute = perSecond * 60;
  return perMinute >= 1 ? `${perMinute < 10 ? perMinute.toFixed(1) : Math.round(perMinute)}/min` : `${(perMinute * 60).toFixed(1)}/h`;
}

/**
 * @param {number | null} left milliseconds
 * @returns {string} `about 2 m 30 s left`, coarsely rounded; empty if unknown
 */
export function leftText(left) {
  if (left === null) return "";
  const seconds = left / 1_000;
  const step = seconds < 20 ? 1 : seconds < 60 ? 5 : seconds < 600 ? 10 : seconds < 3_600 ? 60 : 300;
  const rounded = Math.max(1, Math.ceil(seconds / step) * step);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  if (rounded < 60) return `about ${rounded} s left`;
  if (rounded < 3_600) return `about ${Math.floor(rounded / 60)} m${rounded % 60 === 0 ? "" : ` ${two(rounded % 60)} s`} left`;
  return `about ${formatCount(Math.floor(rounded / 3_600))} h ${two(Math.floor((rounded % 3_600) / 60))} m left`;
}

/**
 * Returns the progress in one line: the amount, or the message if there is no amount.
 * @param {Progress} progress @param {ProgressWindow | null} speed @param {number} now
 * @returns {string} `190 of 270 pages · 70 % · 3.4/s · about 24 s left`
 */
export function progressText(progress, speed, now) {
  if (!isCounted(progress) && progress.message !== "") return progress.message;
  const parts = [amountText(progress), percentText(progress)];
  if (speed !== null) parts.push(rateText(speed.rate(now)), leftText(speed.left(now)));
  return parts.filter((part) => part !== "").join(" · ");
}

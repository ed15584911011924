// @ts-check
// How far a span has come, by its attributes `progress.*`: how many of how many, how fast, and how long it may still take.
// Must never touch the DOM or a clock: every "now" is an argument.

import { formatCount } from "./time.mjs";

/**
 * @typedef {{current: number, total: number | null, units: string, message: string}} Progress
 * @typedef {{at: number, current: number}} Step when it was told, in milliseconds
 */

/** A rate is that of so much time, or of so many updates where they come slowly. */
export const WINDOW_MS = 10_000;
export const WINDOW_STEPS = 20;
/** However fast they come. */
const STEPS_MAX = 200;
/** Fewer updates say nothing of the time that is left. */
export const ETA_STEPS_MIN = 3;
const TEXT_MAX = 120;
/** Nobody waits that long, and the dates would be nonsense. */
const LEFT_MAX_MS = 100 * 24 * 3_600_000;

/** @param {Record<string, any> | null | undefined} attributes @returns {Progress | null} */
export function progressOf(attributes) {
  if (attributes === null || attributes === undefined) return null;
  return progressFrom({
    current: attributes["progress.current"], total: attributes["progress.total"], units: attributes["progress.units"], message: attributes["progress.message"],
  });
}

/** @param {any} data as the list has it @returns {Progress | null} */
export function progressFrom(data) {
  const current = numberOf(data?.current);
  const message = textOf(data?.message);
  if (current === null && message === "") return null;
  const total = numberOf(data.total);
  return { current: current ?? 0, total: current === null || total === 0 ? null : total, units: textOf(data.units), message };
}

/** @param {unknown} value a number, or a text where 64 bits came as one @returns {number | null} */
function numberOf(value) {
  const number = typeof value === "string" && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) && number >= 0 ? number : null;
}

/** @param {unknown} value @returns {string} */
function textOf(value) {
  return typeof value === "string" ? value.slice(0, TEXT_MAX) : "";
}

/** The last updates of one span's progress. */
export class ProgressWindow {
  /** @type {Step[]} */
  steps = [];
  total = /** @type {number | null} */ (null);
  units = "";

  /** @returns {ProgressWindow} one that goes its own way */
  copy() {
    return Object.assign(new ProgressWindow(), { ...this, steps: [...this.steps] });
  }

  /** @param {Progress} progress @param {number} at when it was told, in milliseconds */
  hear({ current, total, units }, at) {
    const last = this.steps[this.steps.length - 1];
    // What begins anew, or counts something else, has another speed.
    if (total !== this.total || units !== this.units || (last !== undefined && current < last.current)) this.steps = [];
    this.total = total;
    this.units = units;
    if (Number.isNaN(at) || (this.steps.length > 0 && !(at > this.steps[this.steps.length - 1].at))) return;
    this.steps.push({ at, current });
    let gone = 0;
    while (this.steps.length - gone > STEPS_MAX || (this.steps.length - gone > WINDOW_STEPS && at - this.steps[gone].at > WINDOW_MS)) gone += 1;
    if (gone > 0) this.steps.splice(0, gone);
  }

  /** How fast it goes. Silence that is longer than usual slows it down. @param {number} now @returns {number} in units a millisecond; 0 where nothing is known */
  rate(now) {
    const { steps } = this;
    if (steps.length < 2) return 0;
    const [first, last] = [steps[0], steps[steps.length - 1]];
    const heard = last.at - first.at;
    const silence = Math.max(0, now - last.at - heard / (steps.length - 1));
    return (last.current - first.current) / (heard + silence);
  }

  /** @param {number} now @returns {number | null} milliseconds until it is done, at the speed of the last window; null where that would be a guess */
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

/** @param {Progress} progress @returns {number | null} the part that is done, from 0 to 1; null without a total */
export function shareOf({ current, total }) {
  return total === null ? null : Math.min(1, current / total);
}

/** @param {Progress} progress @returns {boolean} whether it counts something; else there is only a message */
export function isCounted({ current, total }) {
  return current > 0 || total !== null;
}

/** @param {Progress} progress @returns {string} `70 %`, 100 only when all is done; or nothing */
export function percentText({ current, total }) {
  // Rounded down: what is not done is not shown as done.
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

/** @param {number} rate in units a millisecond @returns {string} `3.4/s`, `12/min`, or nothing */
export function rateText(rate) {
  if (!(rate > 0)) return "";
  const perSecond = rate * 1_000;
  if (perSecond >= 1) return `${perSecond < 10 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond))}/s`;
  const perMinute = perSecond * 60;
  return perMinute >= 1 ? `${perMinute < 10 ? perMinute.toFixed(1) : Math.round(perMinute)}/min` : `${(perMinute * 60).toFixed(1)}/h`;
}

/** @param {number | null} left milliseconds @returns {string} `about 2 m 30 s left`, rounded as a guess is; or nothing */
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
 * All of it in one line.
 * @param {Progress} progress @param {ProgressWindow | null} speed @param {number} now
 * @returns {string} `190 of 270 pages · 70 % · 3.4/s · about 24 s left`
 */
export function progressText(progress, speed, now) {
  if (!isCounted(progress) && progress.message !== "") return progress.message;
  const parts = [amountText(progress), percentText(progress)];
  if (speed !== null) parts.push(rateText(speed.rate(now)), leftText(speed.left(now)));
  return parts.filter((part) => part !== "").join(" · ");
}

// @ts-check
// The one region of the page that a screen reader reads out when it changes. It must never take back what it has just told:
// a text that replaces another within the same moment is all that is read.

import { byId, setText } from "./dom.mjs";

/** Texts that come within this time of each other are told together. */
const TOGETHER_MS = 1_000;
const TOGETHER_MAX = 4;

export class Announcer {
  node = byId("live");
  /** @type {{text: string, at: number}[]} */
  recent = [];

  /** @param {string} text */
  tell(text) {
    const now = performance.now();
    this.recent = [...this.recent.filter((one) => now - one.at < TOGETHER_MS && one.text !== text), { text, at: now }].slice(-TOGETHER_MAX);
    setText(this.node, this.recent.map((one) => one.text).join(". "));
  }

  /** @param {number} milliseconds @returns {boolean} whether nothing was told for so long */
  isQuietFor(milliseconds) {
    const last = this.recent[this.recent.length - 1];
    return last === undefined || performance.now() - last.at >= milliseconds;
  }
}

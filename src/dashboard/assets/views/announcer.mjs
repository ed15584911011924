// @ts-check
// The live region of the page, which a screen reader reads when it changes. If a text replaced another text
// immediately, a screen reader would read only the second one. So texts that follow each other closely are combined.

import { byId, setText } from "./dom.mjs";

/** Texts announced within this time are combined, at most TOGETHER_MAX of them. */
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

  /** @param {number} milliseconds @returns {boolean} whether nothing was announced for this long */
  isQuietFor(milliseconds) {
    const last = this.recent[this.recent.length - 1];
    return last === undefined || performance.now() - last.at >= milliseconds;
  }
}

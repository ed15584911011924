// @ts-check
// A part of the page that comes after the rest: it is loaded once, when it is first wanted or before. A failure is known, and
// can be tried again. It must never touch the DOM.

/**
 * @template Module, Part
 * @typedef {object} OnDemandOptions
 * @property {(attempt: number) => Promise<Module>} load hears how often it was tried: Firefox remembers an address that it could not load
 * @property {(module: Module) => Part} make what the page keeps of it, once it is there
 * @property {() => void} changed
 */

/** @template Module, Part */
export class OnDemand {
  /** @param {OnDemandOptions<Module, Part>} options */
  constructor(options) {
    this.options = options;
    /** @type {Part | null} */
    this.part = null;
    /** @type {"none" | "loading" | "failed" | "ready"} */
    this.state = "none";
    this.attempts = 0;
    /** What is to be done with the part, in order. @type {((part: Part) => void)[]} */
    this.waiting = [];
  }

  /** Loads it before anybody asks. Nobody is told if that fails: whoever wants it then tries again. */
  async preload() {
    if (this.state !== "none") return;
    await this.attempt();
    if (this.waiting.length === 0 && this.state === "failed") this.state = "none";
  }

  /** Loads it, unless it is there, on its way, or has failed: then a reader decides. */
  want() {
    if (this.state === "none") void this.attempt();
  }

  /** Hands the part over now, or as soon as it is there. @param {(part: Part) => void} use */
  with(use) {
    if (this.part !== null) return use(this.part);
    this.waiting.push(use);
    this.want();
  }

  /** After a failure. */
  again() {
    if (this.state === "failed") void this.attempt();
  }

  async attempt() {
    this.state = "loading";
    this.options.changed();
    try {
      const module = await this.options.load(this.attempts++);
      this.state = "ready";
      this.part = this.options.make(module);
    } catch (error) {
      // What is wrong with the code itself is no failure to load it.
      if (this.state === "ready") throw error;
      this.state = "failed";
    }
    const { part } = this;
    if (part !== null) for (const use of this.waiting.splice(0)) use(part);
    this.options.changed();
  }
}

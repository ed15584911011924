// @ts-check
// A part of the page that is loaded once, on first use or before. A failed load can be repeated. Must never touch the
// DOM.

/**
 * @template Module, Part
 * @typedef {object} OnDemandOptions
 * @property {(attempt: number) => Promise<Module>} load gets the number of earlier attempts, because Firefox caches a
 *   failed load by its address
 * @property {(module: Module) => Part} make makes the part from the loaded module
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
    /** Callbacks that wait for the part, in order. @type {((part: Part) => void)[]} */
    this.waiting = [];
  }

  /** Loads the part ahead of use. If that fails before the first use, the first use tries again. */
  async preload() {
    if (this.state !== "none") return;
    await this.attempt();
    if (this.waiting.length === 0 && this.state === "failed") this.state = "none";
  }

  /** Loads the part unless it is loaded, loading, or failed. After a failure, only `again` loads it. */
  want() {
    if (this.state === "none") void this.attempt();
  }

  /** Calls `use` with the part, now or once it is loaded. @param {(part: Part) => void} use */
  with(use) {
    if (this.part !== null) return use(this.part);
    this.waiting.push(use);
    this.want();
  }

  /** Tries again after a failure. */
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
      // An error in the part's own code is not a failed load.
      if (this.state === "ready") throw error;
      this.state = "failed";
    }
    const { part } = this;
    if (part !== null) for (const use of this.waiting.splice(0)) use(part);
    this.options.changed();
  }
}

// @ts-check
// Titles of rows in the list: the title of the trace's root, with attributes that distinguish it from others of its
// name.
// Must never touch the DOM, a clock or the browser's storage.

import { SAMPLES_MAX, besideOf, differingKey, titleOf } from "./span-title.mjs";

/**
 * @typedef {import("./list-model.mjs").Summary} Summary
 * @typedef {import("./span-title.mjs").Title & {beside: import("./span-title.mjs").Beside[]}} RowTitle
 */

export class ListTitles {
  /** @type {import("./list-model.mjs").ListModel | null} */
  model = null;
  version = -1;
  /** Sampled traces of each service and name. @type {Map<string, Summary[]>} */
  samples = new Map();
  /** The distinguishing attributes found, by service and name. @type {Map<string, readonly string[]>} */
  found = new Map();

  /** @param {import("./span-title.mjs").TitleChoice} choice */
  constructor(choice) {
    this.choice = choice;
  }

  /** Samples the traces of a changed list. @param {import("./list-model.mjs").ListModel} model */
  refresh(model) {
    if (model === this.model && model.version === this.version) return;
    this.model = model;
    this.version = model.version;
    this.samples.clear();
    this.found.clear();
    for (const traces of [model.traces, model.older]) {
      for (const trace of traces.values()) {
        const kind = kindOf(trace);
        const sample = this.samples.get(kind);
        if (sample === undefined) this.samples.set(kind, [trace]);
        else if (sample.length < SAMPLES_MAX) sample.push(trace);
      }
    }
  }

  /** @param {Summary} trace @returns {RowTitle} */
  of(trace) {
    const attributes = attributesOf(trace);
    const title = titleOf({ name: trace.name, attributes });
    return { ...title, beside: besideOf(attributes, this.choice.keys.get(trace.name) ?? this.keysOf(trace, title.used)) };
  }

  /** @param {Summary} trace @param {readonly string[]} used @returns {readonly string[]} */
  keysOf(trace, used) {
    const kind = kindOf(trace);
    let keys = this.found.get(kind);
    if (keys === undefined) {
      const key = differingKey([trace, ...(this.samples.get(kind) ?? []).filter((other) => other.traceId !== trace.traceId)].map(attributesOf), used);
      this.found.set(kind, (keys = key === null ? [] : [key]));
    }
    return keys;
  }
}

/** @param {Summary} trace @returns {string} the kind of trace within which distinguishing attributes are sought */
function kindOf({ service, name }) {
  return `${service}\n${name}`;
}

/** @param {Summary} trace @returns {Record<string, unknown>} */
function attributesOf({ rootAttributes }) {
  return rootAttributes !== null && typeof rootAttributes === "object" ? rootAttributes : {};
}

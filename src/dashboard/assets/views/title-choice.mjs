// @ts-check
// What the reader wants to see beside the titles of spans, kept by the browser. It must never decide what a title is:
// `span-title.mjs` does.

import { TitleChoice } from "../model/span-title.mjs";
import { recall, remember } from "./ui-preferences.mjs";

/** One for the page: the waterfall, the list and the inspector read it. */
export const titleChoice = new TitleChoice(recall("title-attributes", {}));

/** @param {string} name of a span @param {string} key of an attribute of it */
export function toggleTitleAttribute(name, key) {
  titleChoice.toggle(name, key);
  remember("title-attributes", titleChoice.kept());
}

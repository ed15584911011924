// @ts-check
// The attributes that the reader chose to see beside titles of spans, stored by the browser. Must never decide what a
// title is: `span-title.mjs` does.

import { TitleChoice } from "../model/span-title.mjs";
import { recall, remember } from "./ui-preferences.mjs";

/** The page's only instance, shared by waterfall, list and inspector. */
export const titleChoice = new TitleChoice(recall("title-attributes", {}));

/** @param {string} name of a span @param {string} key of one of its attributes */
export function toggleTitleAttribute(name, key) {
  titleChoice.toggle(name, key);
  remember("title-attributes", titleChoice.kept());
}

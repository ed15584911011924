// @ts-check
// The services of a trace, one chip each. Chips are updated, not recreated, because in a busy trace their counts
// change with every frame. Must never choose a colour.

import { formatCount, plural } from "../model/time.mjs";
import { element, setAttribute, setShown, setStyle, setText, shortenedMiddle } from "./dom.mjs";

const NAME_MAX = 20;

export class ServiceChips {
  /** @type {{chip: HTMLElement, dot: HTMLElement, text: HTMLElement, count: HTMLElement}[]} */
  chips = [];

  /** @param {HTMLElement} parent @param {number} max */
  constructor(parent, max) {
    this.parent = parent;
    this.max = max;
  }

  /** @param {{name: string, spans: number, errors?: number}[]} services @param {(name: string) => string} colour */
  draw(services, colour) {
    const rest = services.slice(this.max);
    const shown = services.slice(0, this.max).map(({ name, spans, errors = 0 }) => ({
      text: shortenedMiddle(name || "(no service)", NAME_MAX), count: ` ${formatCount(spans)}${errors > 0 ? " !" : ""}`, colour: colour(name), errors,
      title: `${name}: ${plural(spans, "span")}${errors > 0 ? `, ${plural(errors, "error")}` : ""}`,
    }));
    if (rest.length > 0) shown.push({ text: `+${rest.length}`, count: "", colour: "", errors: 0, title: rest.map((service) => service.name).join("\n") });
    while (this.chips.length < shown.length) this.chips.push(this.make());
    for (const [at, { chip, dot, text, count }] of this.chips.entries()) {
      const one = shown[at];
      setShown(chip, one !== undefined);
      if (one === undefined) continue;
      setText(text, one.text);
      setText(count, one.count);
      setShown(dot, one.colour !== "");
      setStyle(dot, "background", one.colour);
      setAttribute(chip, "data-errors", one.errors > 0);
      setAttribute(chip, "title", one.title);
    }
  }

  make() {
    const dot = element("span", { class: "service-dot" });
    const text = element("span", { class: "chip-name" });
    // A long name is shortened in its middle; the count is not shortened.
    const count = element("span", { class: "chip-count" });
    const chip = element("span", { class: "chip" }, dot, element("span", { class: "chip-text" }, text, count));
    this.parent.append(chip);
    return { chip, dot, text, count };
  }
}

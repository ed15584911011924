// @ts-check
// The status pill and what stands behind it, shown on hover and focus. It must never decide what the status is.

import { byId, element, setAttribute, setShown, setText } from "./dom.mjs";
import { statusNews } from "./status.mjs";

/** @typedef {import("./status.mjs").PageStatus} PageStatus */

/** @type {PageStatus | null} */
let shown = null;

/**
 * @param {PageStatus} status
 * @param {string} lastId
 * @returns {string} what a reader who does not see the pill should be told; mostly nothing
 */
export function drawStatus(status, lastId) {
  const pill = byId("status");
  setAttribute(pill, "data-state", status.state);
  setAttribute(pill, "data-last-id", lastId);
  setText(byId("status-text"), status.text);
  const detail = byId("status-detail");
  while (detail.childElementCount < status.lines.length) detail.append(element("li", {}));
  for (const [index, line] of [...detail.children].entries()) {
    setShown(/** @type {HTMLElement} */ (line), index < status.lines.length);
    setText(line, status.lines[index] ?? "");
  }
  const news = shown === null ? "" : statusNews(shown, status);
  shown = status;
  return news;
}

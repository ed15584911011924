// @ts-check
// Panels of the inspector for known conventions: the cause of a failure, HTTP, database statements, conversations,
// and stack frames. All texts come from outside; they must be inserted as text, never as markup.

import { causeBelow } from "../model/cause.mjs";
import { framesOf } from "../model/frames.mjs";
import { conversationOf } from "../model/gen-ai.mjs";
import { attributesOf, serviceOf, shownName, shownStateOf } from "../model/span.mjs";
import { formatSql } from "../model/sql-format.mjs";
import { formatCount, formatDuration, formatOffset, plural } from "../model/time.mjs";
import { shortPath } from "../model/span-details.mjs";
import { STATE_WORDS, element, icon, shortened } from "./dom.mjs";
import { jsonView, structureIn } from "./json-view.mjs";

/**
 * @typedef {import("../model/model.mjs").Trace} Trace
 * @typedef {{goTo: (spanId: string) => void, copy: (text: string) => void}} PanelActions
 */

const CHAIN_MAX = 4;
const OWN_FRAMES_MAX = 12;
const SQL_LINES = 12;
/** Upper bound on the descendants of a span that are searched for statements. */
const BELOW_MAX = 5_000;
const TURN_TEXT_MAX = 4_000;

/** @param {string} title @param {string} aside @param {...(Node | string)} body @returns {HTMLElement} */
function panel(title, aside, ...body) {
  return element("section", { class: "section panel" }, element("h3", {}, title, aside === "" ? null : element("span", { class: "faint aside", text: aside })), ...body);
}

/**
 * Shows the cause of a failure below the span: the cause's message, its stack frames and its nearest ancestors.
 * @param {Trace} trace @param {number} index @param {PanelActions} actions @returns {HTMLElement | null}
 */
export function wrongPanel(trace, index, actions) {
  const cause = causeBelow(trace, index);
  // The span's own failure is already shown above.
  if (cause === null || cause.index === index) return null;
  const state = shownStateOf(trace, cause.index);
  const go = (/** @type {number} */ to, /** @type {string} */ text) => element("button", { type: "button", class: "link", text: shortened(text, 80), on: { click: () => actions.goTo(trace.spans.ids[to]) } });
  const chain = cause.chain.filter((one) => one !== index).slice(0, CHAIN_MAX);
  return element("section", { class: "section wrong", "aria-label": "What went wrong" },
    element("p", { class: "wrong-head" }, icon(state), element("strong", { text: STATE_WORDS[state] ?? state }), " in ", go(cause.index, shownName(trace, cause.index)), element("span", { class: "faint", text: ` ${serviceOf(trace, cause.index)}` }),
      Number.isNaN(cause.at) ? null : element("span", { class: "faint at", text: formatOffset(cause.at - trace.start) })),
    element("p", { class: "wrong-text mono", text: [cause.type === "panic" ? "" : cause.type, cause.message].filter((part) => part !== "").join(": ") || "It has no error message." }),
    ...(cause.stack === "" ? [] : [framesView(cause.stack)]),
    chain.length + cause.more === 0 ? "" : element("p", { class: "wrong-chain faint" }, ...chain.flatMap((one, at) => [at === 0 ? "failed because of it: " : " › ", go(one, shownName(trace, one))]), cause.more > 0 ? `${chain.length > 0 ? " · " : ""}${plural(cause.more, "more span")} failed, too` : ""),
  );
}

/**
 * Shows the program's own frames, and all frames after a click.
 * @param {string} stack @returns {HTMLElement}
 */
export function framesView(stack) {
  const { frames, head } = framesOf(stack);
  if (frames.length === 0) return element("pre", { text: stack, tabindex: 0 });
  const own = frames.filter((frame) => frame.own);
  const shown = own.slice(0, OWN_FRAMES_MAX);
  const row = (/** @type {import("../model/frames.mjs").Frame} */ { name, place, own: isOwn }) => element("li", { "data-own": isOwn }, element("span", { class: "mono", text: shortened(name || "(anonymous)", 200) }), element("span", { class: "mono faint", text: shortPath(place), title: place }));
  const rest = frames.length - shown.length;
  const all = element("details", {}, element("summary", { text: shown.length === 0 ? plural(rest, "frame") : `all ${plural(frames.length, "frame")}` }));
  all.addEventListener("toggle", () => {
    if (all.open && all.childElementCount === 1) all.append(element("ol", { class: "frames" }, ...frames.map(row)));
  });
  return element("div", { class: "stack" }, head === "" ? null : element("p", { class: "mono stack-head", text: shortened(head, 1_000) }), shown.length === 0 ? null : element("ol", { class: "frames" }, ...shown.map(row)), rest > 0 ? all : null);
}

/** @type {[string, string[]][]} */
const HTTP_FACTS = [
  ["Client", ["client.address", "net.peer.ip", "http.client_ip"]], ["Server", ["server.address", "net.host.name", "http.host"]], ["Agent", ["user_agent.original", "http.user_agent"]],
  ["Request body", ["http.request.body.size", "http.request_content_length"]], ["Response body", ["http.response.body.size", "http.response_content_length"]], ["Protocol", ["network.protocol.version", "http.flavor"]], ["Try", ["http.request.resend_count"]],
];

/** @param {Record<string, unknown>} attributes @param {boolean} isOpen @returns {HTMLElement | null} */
export function httpPanel(attributes, isOpen) {
  const said = (/** @type {string[]} */ keys) => keys.map((key) => attributes[key]).find((value) => value !== undefined && value !== "");
  const method = said(["http.request.method", "http.method"]);
  if (method === undefined) return null;
  const path = said(["url.path", "http.target"]);
  const query = said(["url.query"]);
  const url = said(["url.full", "http.url"]) ?? (path === undefined ? said(["http.route"]) : `${path}${query === undefined ? "" : `?${query}`}`);
  const status = said(["http.response.status_code", "http.status_code"]);
  const list = element("dl", { class: "facts" }, element("dt", { text: "Request" }), element("dd", { class: "mono", text: `${method} ${url ?? ""}`.trim() }));
  if (status !== undefined) list.append(element("dt", { text: "Status" }), element("dd", {}, element("span", { class: "http-status", "data-class": String(status).charAt(0), text: String(status) })));
  for (const [name, keys] of HTTP_FACTS) {
    const value = said(keys);
    if (value !== undefined) list.append(element("dt", { text: name }), element("dd", { class: "mono", text: /body$/.test(name) && Number.isFinite(Number(value)) ? `${formatCount(Number(value))} B` : shortened(String(value)) }));
  }
  return panel("HTTP request", status === undefined && isOpen ? "no answer yet" : "", list);
}

/** @param {Record<string, unknown>} attributes @returns {string} */
function statementOf(attributes) {
  const text = attributes["db.query.text"] ?? attributes["db.statement"];
  return typeof text === "string" ? text : "";
}

/**
 * Shows the span's own statement. If it has none, shows the slowest statement below it, with the number and the total
 * time of all statements below it.
 * @param {Trace} trace @param {number} index @param {number} now @param {PanelActions} actions
 * @returns {HTMLElement | null}
 */
export function databasePanel(trace, index, now, actions) {
  const { spans } = trace;
  const own = attributesOf(trace, index);
  if (statementOf(own) !== "") return panel("Statement", String(own["db.system.name"] ?? own["db.system"] ?? ""), statementView(statementOf(own), own, actions));
  const found = { count: 0, time: 0, slowest: -1, longest: -1, zero: 0, seen: 0 };
  const stack = [spans.firstChild[index]];
  while (stack.length > 0 && found.seen < BELOW_MAX) {
    const at = /** @type {number} */ (stack.pop());
    if (at < 0) continue;
    found.seen += 1;
    stack.push(spans.nextSibling[at], spans.firstChild[at]);
    if (statementOf(attributesOf(trace, at)) === "") continue;
    const took = (Number.isNaN(spans.end[at]) ? now : spans.end[at]) - spans.start[at];
    found.count += 1;
    found.time += took;
    if (took > found.longest) [found.longest, found.slowest] = [took, at];
  }
  if (found.count === 0) return null;
  const attributes = attributesOf(trace, found.slowest);
  const go = element("button", { type: "button", class: "link", text: `slowest: ${formatDuration(found.longest)}`, on: { click: () => actions.goTo(spans.ids[found.slowest]) } });
  return panel("Database below", `${found.seen >= BELOW_MAX ? "at least " : ""}${plural(found.count, "statement")} · ${formatDuration(found.time)}`, element("p", { class: "aside-line" }, go), statementView(statementOf(attributes), attributes, actions));
}

/** @param {string} sql @param {Record<string, unknown>} attributes @param {PanelActions} actions @returns {HTMLElement} */
function statementView(sql, attributes, actions) {
  const lines = formatSql(sql);
  const code = (/** @type {typeof lines} */ some) => element("pre", { class: "sql", tabindex: 0 }, ...some.flatMap(({ indent, pieces }, at) => [at === 0 ? "" : "\n", "  ".repeat(indent), ...pieces.map(({ kind, text }) => (kind === "plain" ? text : element("span", { class: `sql-${kind}`, text })))]));
  const rows = attributes["db.response.returned_rows"] ?? attributes["db.rows_affected"] ?? attributes.rows;
  const parameters = Object.entries(attributes).filter(([key]) => /^db\.(query|operation)\.parameter\./.test(key)).slice(0, 20);
  const folded = element("details", {}, element("summary", { text: `all ${formatCount(lines.length)} lines` }));
  folded.addEventListener("toggle", () => {
    if (folded.open && folded.childElementCount === 1) folded.append(code(lines));
  });
  return element("div", {}, code(lines.slice(0, SQL_LINES)), lines.length > SQL_LINES ? folded : null,
    element("p", { class: "aside-line" },
      rows === undefined ? null : element("span", { class: Number(rows) === 0 ? "no-rows" : "figure", text: plural(Number(rows), "row") }),
      ...parameters.map(([key, value]) => element("code", { text: ` ${key.slice(key.lastIndexOf(".") + 1)}=${shortened(JSON.stringify(value) ?? "", 60)} ` })),
      element("button", { type: "button", class: "link", text: "Copy the statement", on: { click: () => actions.copy(sql) } })));
}

/**
 * Shows the turns of a conversation, its tools, and its tokens and cost.
 * @param {any} event @param {Record<string, unknown>} attributes @param {boolean} isOpen
 * @returns {HTMLElement | null}
 */
export function conversationPanel(event, attributes, isOpen) {
  const conversation = conversationOf(event, /** @type {any} */ (attributes));
  if (conversation === null) return null;
  const { turns, model, input, output, cached, cost, finish, recorded } = conversation;
  const meta = [model, input === null ? "" : `${formatCount(input)} in${cached === null ? "" : ` (${formatCount(cached)} cached)`}`, output === null ? "" : `${formatCount(output)} out`, cost === null ? "" : `cost ${cost}`, ...finish.filter((reason) => reason !== "stop")].filter((part) => part !== "").join(" · ");
  return panel("Conversation", meta, recorded
    ? element("ol", { class: "turns" }, ...turns.map((turn) => turnView(turn)), isOpen ? element("li", { class: "turn muted", text: "The answer is still being received." }) : "")
    : element("p", { class: "muted", text: "Messages are not recorded: content capture is off in the program." }));
}

/** @param {import("../model/gen-ai.mjs").Turn} turn @returns {HTMLElement} */
function turnView({ role, parts, output }) {
  const body = parts.map((part) => {
    if (part.kind === "text") return element("p", { class: "turn-text", text: shortened(part.text, TURN_TEXT_MAX), title: part.text.length > TURN_TEXT_MAX ? "All of it is in the raw JSON" : null });
    if (part.kind === "reasoning") return element("details", {}, element("summary", { text: "reasoning" }), element("p", { class: "turn-text muted", text: shortened(part.text, TURN_TEXT_MAX) }));
    const value = structureIn(part.value);
    const said = value === undefined ? (part.value === null ? null : element("p", { class: "turn-text mono", text: shortened(String(part.value), TURN_TEXT_MAX) })) : jsonView(value);
    return element("div", { class: "tool-card", "data-kind": part.kind }, element("p", {}, element("strong", { text: part.kind === "call" ? `→ ${part.name || "tool"}` : part.kind === "result" ? `← ${part.name || "result"}` : part.text }), part.id === "" ? null : element("code", { class: "faint", text: ` ${shortened(part.id, 24)}` })), said);
  });
  const content = role === "system" ? [element("details", {}, element("summary", { text: "system" }), ...body)] : [element("h4", { text: role }), ...body];
  return element("li", { class: "turn", "data-role": role, "data-output": output }, ...content);
}

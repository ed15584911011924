// @ts-check
// Reads a language model call as turns of a conversation, by OpenTelemetry's conventions for generative AI. Supports
// the current conventions (messages as attributes) and earlier ones (one event per message). Pure.

/**
 * @typedef {{kind: "text" | "reasoning" | "call" | "result" | "other", text: string, name: string, id: string, value: unknown}} Part
 *   `value`: the arguments of a call, a result, or content of another type
 * @typedef {{role: string, parts: Part[], output: boolean}} Turn
 * @typedef {object} Conversation
 * @property {Turn[]} turns
 * @property {string} operation
 * @property {string} model
 * @property {number | null} input tokens
 * @property {number | null} output
 * @property {number | null} cached input tokens served from a cache
 * @property {number | null} cost in the currency that the program used
 * @property {string[]} finish the finish reasons
 * @property {boolean} recorded whether messages were recorded
 */

/** Maximum number of turns read from one call. */
export const TURNS_MAX = 500;
const JSON_MAX = 2_000_000;
const COST_KEYS = ["gen_ai.usage.cost", "gen_ai.cost", "llm.usage.cost"];

/**
 * @param {any} event of the span @param {Record<string, any>} attributes
 * @returns {Conversation | null} null if the span has no `gen_ai` attribute
 */
export function conversationOf(event, attributes) {
  const operation = text(attributes["gen_ai.operation.name"]);
  const model = text(attributes["gen_ai.response.model"]) || text(attributes["gen_ai.request.model"]);
  const isCall = operation !== "" || model !== "" || Object.keys(attributes).some((key) => key.startsWith("gen_ai."));
  if (!isCall) return null;
  const turns = [
    ...systemOf(attributes["gen_ai.system_instructions"]),
    ...messagesOf(attributes["gen_ai.input.messages"] ?? attributes["gen_ai.prompt"], false), ...eventsOf(event?.events),
    ...messagesOf(attributes["gen_ai.output.messages"] ?? attributes["gen_ai.completion"], true), ...toolOf(attributes),
  ].slice(0, TURNS_MAX);
  const finish = attributes["gen_ai.response.finish_reasons"];
  return {
    turns, operation, model, recorded: turns.length > 0,
    input: count(attributes["gen_ai.usage.input_tokens"] ?? attributes["gen_ai.usage.prompt_tokens"]),
    output: count(attributes["gen_ai.usage.output_tokens"] ?? attributes["gen_ai.usage.completion_tokens"]),
    cached: count(attributes["gen_ai.usage.cache_read.input_tokens"] ?? attributes["gen_ai.usage.cached_tokens"]),
    cost: COST_KEYS.map((key) => count(attributes[key])).find((cost) => cost !== null) ?? null,
    finish: Array.isArray(finish) ? finish.map(String) : [],
  };
}

/** @param {unknown} value @returns {string} */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {number | null} */
function count(value) {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null;
}

/** @param {unknown} value a value, or text with its JSON @returns {any} */
function parsed(value) {
  if (typeof value !== "string" || value.length > JSON_MAX || !/^\s*[[{"]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** @param {string} kind @param {Partial<Part>} more @returns {Part} */
function part(kind, more) {
  return { kind: /** @type {Part["kind"]} */ (kind), text: "", name: "", id: "", value: null, ...more };
}

/** @param {unknown} value @returns {Turn[]} */
function systemOf(value) {
  const parts = partsOf(parsed(value));
  return parts.length === 0 ? [] : [{ role: "system", parts, output: false }];
}

/** @param {unknown} value @param {boolean} output @returns {Turn[]} */
function messagesOf(value, output) {
  const messages = parsed(value);
  if (typeof messages === "string" && messages !== "") return [{ role: output ? "assistant" : "user", parts: [part("text", { text: messages })], output }];
  const list = Array.isArray(messages) ? messages : messages !== null && typeof messages === "object" ? [messages] : [];
  return list.flatMap((one) => {
    const message = parsed(one);
    if (typeof message === "string") return [{ role: output ? "assistant" : "user", parts: [part("text", { text: message })], output }];
    if (message === null || typeof message !== "object") return [];
    return [turnOf(message, text(message.role) || (output ? "assistant" : "user"), output)];
  });
}

/** @param {any} message @param {string} role @param {boolean} output @returns {Turn} */
function turnOf(message, role, output) {
  const calls = (Array.isArray(message.tool_calls) ? message.tool_calls : []).map((/** @type {any} */ call) => part("call", { name: text(call?.function?.name) || text(call?.name), id: text(call?.id), value: parsed(call?.function?.arguments ?? call?.arguments ?? null) }));
  const parts = partsOf(parsed(message.parts ?? message.content));
  const isResult = role === "tool" && parts.length > 0 && parts.every(({ kind }) => kind === "text");
  const own = isResult ? [part("result", { id: text(message.id) || text(message.tool_call_id), name: text(message.name), value: parsed(parts.map((one) => one.text).join("\n")) })] : parts;
  return { role, parts: [...own, ...calls], output };
}

/** @param {any} content @returns {Part[]} */
function partsOf(content) {
  if (typeof content === "string") return content === "" ? [] : [part("text", { text: content })];
  const list = Array.isArray(content) ? content : content !== null && typeof content === "object" ? [content] : [];
  return list.flatMap((one) => {
    if (typeof one === "string") return [part("text", { text: one })];
    if (one === null || typeof one !== "object") return [];
    const type = text(one.type);
    if (/tool_call$|tool_use|function_call/.test(type)) return [part("call", { name: text(one.name), id: text(one.id), value: parsed(one.arguments ?? one.input ?? null) })];
    if (/response|result/.test(type)) return [part("result", { id: text(one.id) || text(one.tool_use_id), value: parsed(one.response ?? one.result ?? one.content ?? null) })];
    if (/reasoning|thinking/.test(type)) return [part("reasoning", { text: text(one.content) || text(one.text) || text(one.thinking) })];
    const said = text(one.content) || text(one.text);
    return said !== "" ? [part("text", { text: said })] : [part("other", { text: type || "content", value: one })];
  });
}

/**
 * Reads the events of the earlier conventions, such as `gen_ai.user.message`.
 * @param {unknown} events @returns {Turn[]}
 */
function eventsOf(events) {
  return (Array.isArray(events) ? events : []).flatMap((event) => {
    const found = /^gen_ai\.(system|user|assistant|tool)\.message$/.exec(text(event?.name));
    const attributes = event?.attributes ?? {};
    if (found !== null) return [turnOf({ ...attributes, content: attributes.content ?? attributes["gen_ai.prompt"], tool_calls: parsed(attributes.tool_calls) }, found[1], false)];
    if (event?.name === "gen_ai.choice") {
      const message = parsed(attributes.message) ?? attributes;
      return [turnOf(typeof message === "object" && message !== null ? message : { content: message }, "assistant", true)];
    }
    return [];
  });
}

/** Reads a span that runs a tool as a call and its result. @param {Record<string, any>} attributes @returns {Turn[]} */
function toolOf(attributes) {
  const name = text(attributes["gen_ai.tool.name"]);
  if (name === "") return [];
  const id = text(attributes["gen_ai.tool.call.id"]);
  const given = attributes["gen_ai.tool.call.arguments"];
  const result = attributes["gen_ai.tool.call.result"];
  const parts = [...(given === undefined ? [] : [part("call", { name, id, value: parsed(given) })]), ...(result === undefined ? [] : [part("result", { name, id, value: parsed(result) })])];
  return parts.length === 0 ? [] : [{ role: "tool", parts, output: false }];
}

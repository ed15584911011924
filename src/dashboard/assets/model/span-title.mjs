// @ts-check
// The title of a row. It follows OpenTelemetry's semantic conventions if the span does, else it is the span's name.
// One or two attributes beside the title distinguish spans of the same name.
// Must never touch the DOM, a clock or the browser's storage.

import { STATE, isBadState } from "./columns.mjs";
import { attributesOf, nameOf, readChanges, shownName } from "./model.mjs";

/**
 * @typedef {{text: string, tone: "ok" | "warning" | "error"}} Badge an HTTP status, or an RPC status other than
 *   success
 * @typedef {object} Title
 * @property {string} text
 * @property {Badge | null} badge
 * @property {string} aside the span's name if it adds to the title and is no library default, else empty
 * @property {readonly string[]} used attributes that the title includes
 * @typedef {{key: string, value: string}} Beside an attribute shown beside a title
 * @typedef {Record<string, unknown>} Attributes
 * @typedef {{text: string, used: string[], badge?: Badge | null}} Found
 */

/** Maximum number of attributes beside a title. */
export const BESIDE_MAX = 2;
/** Maximum number of spans of one name, the newest, that are compared to find a distinguishing attribute. */
export const SAMPLES_MAX = 50;
/** Maximum number of names for which a reader's choice is stored; the oldest choice is dropped first. */
export const CHOICES_MAX = 200;
const VALUE_MAX = 60;
const TITLE_MAX = 300;
const REASON_MAX = 200;

/**
 * Attributes that rarely distinguish spans: code location, thread, timings, and conventions shown in titles or panels.
 */
const COMMON = /^(code|thread|process|progress|otel|telemetry|service|host|http|url|net|network|server|client|peer|user_agent|db|messaging|rpc|gen_ai|exception|error|livespan|workflow)\.|^(target|level|busy_ns|idle_ns)$/;
/** Common attributes that may still distinguish spans of one name. */
const TELLING = ["url.path", "http.target", "gen_ai.agent.id"];
/** Names that libraries use by default. */
const STOPGAP = /^(HTTP( request)?|request|query|execute|prepare|call|send|receive|publish|process|chat|grpc|span|\(no name\))$/i;

/**
 * @param {{name: string, kind?: string, attributes: Attributes | null | undefined}} span
 * @returns {Title}
 */
export function titleOf({ name, attributes }) {
  const known = attributes ?? {};
  for (const rule of RULES) {
    const found = rule(known, name);
    if (found === null) continue;
    const text = found.text.slice(0, TITLE_MAX);
    const isSaid = name === "" || STOPGAP.test(name) || text.toLowerCase().includes(name.toLowerCase()) || name.toLowerCase().includes(text.toLowerCase());
    // A name that contains the whole title and more is the better title.
    if (isSaid && name.length > text.length && name.toLowerCase().includes(text.toLowerCase())) return { text: name, badge: found.badge ?? null, aside: "", used: found.used };
    return { text, badge: found.badge ?? null, aside: isSaid ? "" : name, used: found.used };
  }
  return { text: name, badge: null, aside: "", used: [] };
}

/** The first rule that returns a title wins. @type {((attributes: Attributes, name: string) => Found | null)[]} */
const RULES = [httpTitle, databaseTitle, messagingTitle, rpcTitle, agentTitle, graphqlTitle];

/** @param {Attributes} attributes @returns {Found | null} `GET /products/{id}` with its status */
function httpTitle(attributes) {
  const method = said(attributes, "http.request.method", "http.method");
  if (method === null) return null;
  const place = said(attributes, "http.route", "url.template", "url.path", "http.target");
  const whole = place === null ? said(attributes, "url.full", "http.url") : null;
  const status = said(attributes, "http.response.status_code", "http.status_code");
  const badge = status === null ? null : httpBadge(status.text);
  const where = place?.text ?? (whole === null ? "" : withoutScheme(whole.text));
  // Without a path or host, the method adds nothing to the name.
  if (where === "") return null;
  return { text: `${method.text} ${where}`, used: [method, place, whole, status].flatMap((one) => (one === null ? [] : [one.key])), badge };
}

/** @param {string} text @returns {Badge | null} */
function httpBadge(text) {
  const code = Number(text);
  if (!(code >= 100 && code < 600)) return null;
  return { text, tone: code >= 500 ? "error" : code >= 400 ? "warning" : "ok" };
}

/** @param {string} url @returns {string} host and path */
function withoutScheme(url) {
  return url.replace(/^[a-z]+:\/\//i, "").replace(/[?#].*$/s, "");
}

/** @param {Attributes} attributes @returns {Found | null} `SELECT products` */
function databaseTitle(attributes) {
  const summary = said(attributes, "db.query.summary");
  if (summary !== null) return { text: summary.text, used: [summary.key] };
  const operation = said(attributes, "db.operation.name", "db.operation");
  const target = said(attributes, "db.collection.name", "db.sql.table", "db.mongodb.collection", "db.stored_procedure.name", "db.namespace", "db.name");
  if (operation === null) return null;
  return { text: target === null ? operation.text : `${operation.text} ${target.text}`, used: [operation.key, ...(target === null ? [] : [target.key])] };
}

/** @param {Attributes} attributes @param {string} name @returns {Found | null} `publish orders` */
function messagingTitle(attributes, name) {
  const destination = said(attributes, "messaging.destination.template", "messaging.destination.name", "messaging.destination");
  if (destination === null) return null;
  const operation = said(attributes, "messaging.operation.name", "messaging.operation.type", "messaging.operation");
  // A destination alone does not name the operation; a name chosen by the application does.
  if (operation === null && name !== "" && !STOPGAP.test(name)) return null;
  return { text: operation === null ? destination.text : `${operation.text} ${destination.text}`, used: [destination.key, ...(operation === null ? [] : [operation.key])] };
}

/** @param {Attributes} attributes @returns {Found | null} `shop.Cart/AddItem` */
function rpcTitle(attributes) {
  const method = said(attributes, "rpc.method");
  if (method === null) return null;
  const service = said(attributes, "rpc.service");
  const status = said(attributes, "rpc.grpc.status_code", "rpc.response.status_code");
  const isBad = status !== null && status.text !== "0" && status.text !== "OK";
  return {
    text: service === null || method.text.includes("/") ? method.text : `${service.text}/${method.text}`,
    used: [method, service, status].flatMap((one) => (one === null ? [] : [one.key])), badge: isBad ? { text: status.text, tone: "error" } : null,
  };
}

/** @param {Attributes} attributes @returns {Found | null} `chat gpt-4o`, `execute_tool get_weather` */
function agentTitle(attributes) {
  const operation = said(attributes, "gen_ai.operation.name");
  if (operation === null) return null;
  const what = said(attributes, "gen_ai.tool.name", "gen_ai.agent.name", "gen_ai.request.model", "gen_ai.response.model");
  return { text: what === null ? operation.text : `${operation.text} ${what.text}`, used: [operation.key, ...(what === null ? [] : [what.key])] };
}

/** @param {Attributes} attributes @returns {Found | null} `query findBook` */
function graphqlTitle(attributes) {
  const type = said(attributes, "graphql.operation.type");
  const name = said(attributes, "graphql.operation.name");
  return type === null || name === null ? null : { text: `${type.text} ${name.text}`, used: [type.key, name.key] };
}

/**
 * @param {Attributes} attributes @param {...string} keys the newest convention first
 * @returns {{key: string, text: string} | null} the first one with a value
 */
function said(attributes, ...keys) {
  for (const key of keys) {
    const text = textOf(attributes[key]);
    if (text !== "") return { key, text };
  }
  return null;
}

/** @param {unknown} value @returns {string} empty unless the value is a string, number or boolean */
function textOf(value) {
  return typeof value === "string" ? value.trim() : typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/**
 * Returns the attributes to show beside a title.
 * @param {Attributes | null | undefined} attributes @param {readonly string[]} keys
 * @returns {Beside[]}
 */
export function besideOf(attributes, keys) {
  const beside = [];
  for (const key of keys) {
    const text = textOf(attributes?.[key]).replace(/\s+/g, " ");
    if (text !== "") beside.push({ key, value: text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX - 1)}…` : text });
  }
  return beside;
}

/** @param {Beside} beside @returns {string} `page=7`; only the last part of a dotted key */
export function besideText({ key, value }) {
  return `${key.slice(key.lastIndexOf(".") + 1)}=${value}`;
}

/**
 * Returns the first attribute by which spans of one name differ. With one sample, returns the first attribute that
 * could distinguish it.
 * @param {readonly (Attributes | null | undefined)[]} samples spans of one name, the newest first
 * @param {readonly string[]} [used] attributes that the title includes
 * @returns {string | null}
 */
export function differingKey(samples, used = []) {
  const [newest, ...others] = samples;
  if (newest === undefined) return null;
  const keys = Object.keys(newest ?? {}).filter((key) => !used.includes(key) && textOf(newest?.[key]) !== "");
  const candidates = [...keys.filter((key) => !COMMON.test(key)), ...TELLING.filter((key) => keys.includes(key))];
  if (others.length === 0) return candidates[0] ?? null;
  return candidates.find((key) => others.some((other) => other?.[key] !== undefined && other[key] !== newest?.[key])) ?? null;
}

/** The attributes that a reader chose to see beside titles, by span name. */
export class TitleChoice {
  /** Grows with every change. */
  version = 0;

  /** @param {Record<string, unknown>} [kept] an earlier result of `kept` */
  constructor(kept = {}) {
    /** @type {Map<string, string[]>} */
    this.keys = new Map();
    for (const [name, keys] of Object.entries(kept)) {
      if (Array.isArray(keys) && keys.every((key) => typeof key === "string")) this.keys.set(name, keys.slice(0, BESIDE_MAX));
    }
  }

  /** @returns {Record<string, string[]>} to save in the browser's storage */
  kept() {
    return Object.fromEntries(this.keys);
  }

  /** @param {string} name of a span @param {string} key @returns {boolean} */
  has(name, key) {
    return this.keys.get(name)?.includes(key) === true;
  }

  /**
   * Adds or removes an attribute beside spans of this name. Over BESIDE_MAX, the oldest is removed.
   * @param {string} name @param {string} key
   */
  toggle(name, key) {
    const before = this.keys.get(name) ?? [];
    const after = before.includes(key) ? before.filter((one) => one !== key) : [...before, key].slice(-BESIDE_MAX);
    this.keys.delete(name);
    if (after.length > 0) this.keys.set(name, after);
    for (const oldest of this.keys.keys()) {
      if (this.keys.size <= CHOICES_MAX) break;
      this.keys.delete(oldest);
    }
    this.version += 1;
  }
}

/** @typedef {{spans: Int32Array, count: number, foundFor: number, keys: readonly string[]}} Sample the last spans of one name */

/** The attributes beside the titles of one trace's spans, found from the newest spans of each name. */
export class TraceTitles {
  /** @type {import("./model.mjs").Trace | null} */
  trace = null;
  /** Grows when the attribute found for a name changes. */
  found = 0;
  place = -1;
  /** @type {Map<number, Sample>} */
  samples = new Map();
  /** Spans sampled already. */
  seen = new Uint8Array(0);

  /** @param {TitleChoice} choice */
  constructor(choice) {
    this.choice = choice;
  }

  /** Samples the spans that are new in the trace. @param {import("./model.mjs").Trace} trace */
  refresh(trace) {
    if (trace !== this.trace) {
      this.trace = trace;
      this.place = -1;
      this.samples.clear();
      this.seen = new Uint8Array(0);
    }
    const { spans } = trace;
    if (this.seen.length < spans.count) {
      const larger = new Uint8Array(spans.count * 2);
      larger.set(this.seen);
      this.seen = larger;
    }
    this.place = readChanges(trace, this.place, (index) => {
      if (this.seen[index] === 1 || spans.state[index] === STATE.placeholder) return;
      this.seen[index] = 1;
      const sample = this.sampleOf(spans.name[index]);
      sample.spans[sample.count % SAMPLES_MAX] = index;
      sample.count += 1;
    });
  }

  /** Changes when a drawn title may be out of date. @returns {number} */
  get version() {
    return this.found + this.choice.version;
  }

  /** @param {number} name @returns {Sample} */
  sampleOf(name) {
    let sample = this.samples.get(name);
    if (sample === undefined) this.samples.set(name, (sample = { spans: new Int32Array(SAMPLES_MAX), count: 0, foundFor: 0, keys: [] }));
    return sample;
  }

  /**
   * Returns the attributes to show beside a span: the reader's choice, or the one found. The search runs again when the
   * number of samples has doubled, until there are SAMPLES_MAX. So rows seldom change their words.
   * @param {number} index @param {readonly string[]} used
   * @returns {readonly string[]}
   */
  keysOf(index, used) {
    const trace = /** @type {import("./model.mjs").Trace} */ (this.trace);
    const chosen = this.choice.keys.get(nameOf(trace, index));
    if (chosen !== undefined) return chosen;
    const sample = this.sampleOf(trace.spans.name[index]);
    if (sample.foundFor === 0 || (sample.count >= sample.foundFor * 2 && sample.foundFor < SAMPLES_MAX)) {
      sample.foundFor = Math.max(1, sample.count);
      const newest = Array.from({ length: Math.min(sample.count, SAMPLES_MAX) }, (_, back) => attributesOf(trace, sample.spans[(sample.count - 1 - back) % SAMPLES_MAX]));
      const key = differingKey(newest, used);
      if ((sample.keys[0] ?? null) !== key) this.found += 1;
      sample.keys = key === null ? [] : [key];
    }
    return sample.keys;
  }

  /**
   * Returns the title of a row with the attributes beside it.
   * @param {number} index
   * @returns {Title & {beside: Beside[]}}
   */
  of(index) {
    const trace = /** @type {import("./model.mjs").Trace} */ (this.trace);
    if (trace.spans.state[index] === STATE.placeholder) return { text: shownName(trace, index), badge: null, aside: "", used: [], beside: [] };
    const attributes = attributesOf(trace, index);
    const title = titleOf({ name: nameOf(trace, index), attributes });
    if (title.text === "") title.text = shownName(trace, index);
    return { ...title, beside: besideOf(attributes, this.keysOf(index, title.used)) };
  }
}

/**
 * @param {import("./model.mjs").Trace} trace @param {number} index
 * @returns {string} the span's own failure message, or empty
 */
export function reasonOf({ spans }, index) {
  const event = spans.events[index];
  const reason = event?.panic?.message ?? event?.status?.message;
  return isBadState(spans.state[index]) && typeof reason === "string" ? reason.slice(0, REASON_MAX).replace(/\s+/g, " ").trim() : "";
}

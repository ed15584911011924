// @ts-check
// The severity of log records, by OpenTelemetry's numbers: 1 to 24, four per level. Pure.

/** The lowest number of each level, the most severe first. FATAL counts as ERROR. @type {readonly [string, number][]} */
export const LEVELS = Object.freeze([["ERROR", 17], ["WARN", 13], ["INFO", 9], ["DEBUG", 5], ["TRACE", 1]]);
export const ERROR = 17;
export const WARN = 13;
const INFO = 9;

/** @param {unknown} text @returns {number} the number for a level's name; 0 if unknown */
function numberOfText(text) {
  const name = String(text ?? "").toUpperCase();
  if (/^(FATAL|CRITICAL|PANIC)/.test(name)) return 21;
  return LEVELS.find(([level]) => name.startsWith(level))?.[1] ?? 0;
}

/** @param {any} record a log record @returns {number} its severity number, else that of its severity text, else INFO's */
export function severityOf(record) {
  const number = Number(record?.severityNumber);
  return number >= 1 && number <= 24 ? number : numberOfText(record?.severityText) || INFO;
}

/** @param {any} event of a span @returns {number} ERROR for an exception, else the level that `tracing` recorded, else INFO */
export function severityOfEvent(event) {
  return event?.name === "exception" ? ERROR : numberOfText(event?.attributes?.level) || INFO;
}

/** @param {number} severity @returns {string} */
export function levelOf(severity) {
  return LEVELS.find(([, least]) => severity >= least)?.[0] ?? "TRACE";
}

/** @param {any} record a log record @returns {string} its own severity text, else its level */
export function levelText(record) {
  return typeof record?.severityText === "string" && record.severityText !== "" ? record.severityText : levelOf(severityOf(record));
}

// @ts-check
// Formats an SQL statement as lines and tokens: one clause per line, with keywords, strings and parameters marked.
// Must never change any character of the statement except white space. Pure.

/** @typedef {{kind: "keyword" | "text" | "number" | "parameter" | "comment" | "plain", text: string}} Piece */
/** @typedef {{indent: number, pieces: Piece[]}} Line */

/** Statements of more characters are shown unformatted. */
export const SQL_MAX = 20_000;

const TOKEN = /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:''|[^'])*(?:'|$)|"(?:""|[^"])*(?:"|$)|`[^`]*(?:`|$)|\[[A-Za-z_][\w ]*\])|(\$\d+|\?\d*|[:@]\w+|%s)|(\b\d+(?:\.\d+)?\b)|(::|[A-Za-z_][\w$]*|\s+|[\s\S])/g;
const KEYWORDS = new Set("SELECT FROM WHERE AND OR NOT IN IS NULL LIKE ILIKE BETWEEN EXISTS GROUP ORDER BY HAVING LIMIT OFFSET INSERT INTO VALUES UPDATE SET DELETE RETURNING WITH RECURSIVE AS ON USING JOIN LEFT RIGHT INNER OUTER FULL CROSS UNION ALL DISTINCT CASE WHEN THEN ELSE END ASC DESC CREATE TABLE INDEX DROP ALTER BEGIN COMMIT ROLLBACK CONFLICT DO NOTHING PRIMARY KEY DEFAULT FOR PRAGMA EXCEPT INTERSECT IF TRUE FALSE REPLACE".split(" "));
/** Keywords that begin a line, with their indent. In a clause of several keywords, only the first begins a line. */
const CLAUSES = new Map([["SELECT", 0], ["FROM", 1], ["WHERE", 1], ["GROUP", 1], ["ORDER", 1], ["HAVING", 1], ["LIMIT", 1], ["VALUES", 1], ["SET", 1], ["RETURNING", 1], ["UNION", 0], ["EXCEPT", 0], ["INTERSECT", 0], ["JOIN", 1], ["LEFT", 1], ["RIGHT", 1], ["INNER", 1], ["FULL", 1], ["CROSS", 1], ["AND", 2], ["OR", 2]]);
/** After these words, a clause keyword does not begin a line. */
const CONTINUES = new Set(["LEFT", "RIGHT", "INNER", "FULL", "CROSS", "OUTER", "DELETE", "DO", "FOR", "IS", "DISTINCT", "BETWEEN"]);

/** @param {string} sql @returns {Line[]} */
export function formatSql(sql) {
  if (sql.length > SQL_MAX) return [{ indent: 0, pieces: [{ kind: "plain", text: sql }] }];
  /** @type {Line[]} */
  const lines = [];
  /** @type {Line} */
  let line = { indent: 0, pieces: [] };
  let depth = 0;
  let before = "";
  let isBlankDue = false;
  const flush = (/** @type {number} */ indent) => {
    if (line.pieces.length > 0) lines.push(line);
    line = { indent, pieces: [] };
    isBlankDue = false;
  };
  for (const [all, comment, quoted, parameter, number] of sql.matchAll(TOKEN)) {
    if (/^\s+$/.test(all)) {
      isBlankDue = line.pieces.length > 0;
      continue;
    }
    const word = all.toUpperCase();
    const indent = depth === 0 && comment === undefined && quoted === undefined ? CLAUSES.get(word) : undefined;
    if (indent !== undefined && !CONTINUES.has(before) && line.pieces.length > 0) flush(indent);
    if (all === "(") depth += 1;
    else if (all === ")") depth = Math.max(0, depth - 1);
    const kind = comment !== undefined ? "comment" : quoted !== undefined ? "text" : parameter !== undefined ? "parameter" : number !== undefined ? "number" : KEYWORDS.has(word) ? "keyword" : "plain";
    const text = `${isBlankDue ? " " : ""}${all}`;
    const last = line.pieces[line.pieces.length - 1];
    if (last !== undefined && last.kind === kind && kind === "plain") last.text += text;
    else line.pieces.push({ kind, text });
    isBlankDue = false;
    before = word === "AND" && before === "BETWEEN" ? "" : before === "BETWEEN" && word !== "AND" ? "BETWEEN" : word;
    // A `--` comment ends with its line.
    if (comment?.startsWith("--")) flush(line.indent);
  }
  flush(0);
  return lines;
}

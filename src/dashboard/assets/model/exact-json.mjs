// @ts-check
// JSON with integers that stay what they are: a double holds 15 digits for certain, and times in nanoseconds have 19. An
// integer that is too large for it becomes a text of its digits, which is how OTLP writes it anyway. Must never change a text.

/** Whether a text may hold such an integer; inside of texts this is found as well, and then costs only time. */
const MAY_BE_LARGE = /[:[,]\s*-?\d{16}/;
/** A text of JSON, or an integer of 16 digits and more. What follows an integer decides whether it is one. */
const TEXT_OR_LARGE = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;

/** @param {string} text @returns {any} @throws {SyntaxError} */
export function parseExactly(text) {
  return JSON.parse(MAY_BE_LARGE.test(text) ? text.replace(TEXT_OR_LARGE, exactly) : text);
}

/** @param {string} piece @returns {string} */
function exactly(piece) {
  return piece.startsWith('"') || Number.isSafeInteger(Number(piece)) ? piece : `"${piece}"`;
}

// @ts-check
// Parses JSON without rounding large integers: a double holds 15 digits exactly, and times in nanoseconds have 19. An
// integer that is too large becomes a string of its digits, which is how OTLP writes it anyway. Must never change a
// string.

/** Quick test for such an integer. A match inside a string costs time but is harmless. */
const MAY_BE_LARGE = /[:[,]\s*-?\d{16}/;
/** Matches a JSON string, or an integer of at least 16 digits that no fraction or exponent follows. */
const TEXT_OR_LARGE = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;

/** @param {string} text @returns {any} @throws {SyntaxError} */
export function parseExactly(text) {
  return JSON.parse(MAY_BE_LARGE.test(text) ? text.replace(TEXT_OR_LARGE, exactly) : text);
}

/** @param {string} piece @returns {string} */
function exactly(piece) {
  return piece.startsWith('"') || Number.isSafeInteger(Number(piece)) ? piece : `"${piece}"`;
}

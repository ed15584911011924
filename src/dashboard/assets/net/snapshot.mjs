// @ts-check
// Reads the snapshot of a trace while its bytes still come: 100,000 spans are 45 MB of JSON, and parsing them in one go
// would hold the page for as long as a second. Must never interpret a span: it cuts the text into lists and hands them on.

/** @typedef {{status: number, body: any}} Answer */

const SPANS = '"spans":[';
const AFTER_SPANS = '],"updates":[';
// Inside a JSON text an unescaped quote cannot stand, so between spans and nowhere else in them is this found; where some
// later server makes it otherwise, the piece is no JSON, and the reader says that it failed.
const BETWEEN = '},{"type":"';
const PIECE_LENGTH = 1 << 17;

/** Takes the text as it comes, and hands on complete spans. */
export class SnapshotReader {
  /** @param {(spans: any[]) => void} onSpans */
  constructor(onSpans) {
    this.onSpans = onSpans;
    /** What stands before the spans, once they have begun. */
    this.head = "";
    this.text = "";
    this.inSpans = false;
    this.afterSpans = false;
  }

  /** @param {string} chunk @throws {SyntaxError} when the text is not cut as expected */
  push(chunk) {
    this.text += chunk;
    if (!this.inSpans) this.findSpans();
    if (!this.inSpans || this.afterSpans || this.text.length < PIECE_LENGTH) return;
    const cut = this.text.lastIndexOf(BETWEEN);
    if (cut < 0) return;
    const piece = this.text.slice(0, cut + 1);
    // The rest, updates and log records, is little: it is read at the end.
    this.afterSpans = piece.includes(AFTER_SPANS);
    if (this.afterSpans) return;
    this.text = this.text.slice(cut + 2);
    this.onSpans(JSON.parse(`[${piece}]`));
  }

  findSpans() {
    const at = this.text.indexOf(SPANS);
    if (at < 0) return;
    this.inSpans = true;
    this.head = this.text.slice(0, at + SPANS.length);
    this.text = this.text.slice(at + SPANS.length);
  }

  /** @returns {any} the snapshot without the spans handed on @throws {SyntaxError} */
  end() {
    return JSON.parse(this.head + this.text);
  }
}

/**
 * Asks for a snapshot, and hands on its spans as they come. Never rejects: what went wrong is the status.
 * @param {string} url
 * @param {() => (spans: any[]) => void} begin called when the spans are to come, again if they come anew
 * @returns {Promise<Answer>}
 */
export async function getSnapshot(url, begin) {
  const options = /** @type {const} */ ({ headers: { Accept: "application/json" }, cache: "no-store" });
  try {
    const response = await fetch(url, options);
    if (response.status !== 200 || response.body === null) return { status: response.status, body: await response.json().catch(() => null) };
    return { status: 200, body: await readPieces(response.body, begin()) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) return { status: 0, body: null };
  }
  // Not cut as expected: then in one go.
  begin();
  try {
    const response = await fetch(url, options);
    return { status: response.status, body: await response.json().catch(() => null) };
  } catch {
    return { status: 0, body: null };
  }
}

const TURN_MS = 24;

/** @param {ReadableStream<Uint8Array>} body @param {(spans: any[]) => void} onSpans @returns {Promise<any>} */
async function readPieces(body, onSpans) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const snapshot = new SnapshotReader(onSpans);
  let turn = performance.now();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return snapshot.end();
    snapshot.push(decoder.decode(value, { stream: true }));
    if (performance.now() - turn < TURN_MS) continue;
    await others();
    turn = performance.now();
  }
}

const { port1, port2 } = new MessageChannel();

/** Lets whatever else waits have its turn; a timer would wait for milliseconds. @returns {Promise<void>} */
function others() {
  return new Promise((resolve) => {
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  });
}

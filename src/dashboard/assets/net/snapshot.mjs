// @ts-check
// Parses the snapshot of a trace while it is received. 100,000 spans are 45 MB of JSON, and parsing them at once
// would block the page for up to a second. Must never interpret a span: it splits the text into lists of spans and
// passes them on.

/** @typedef {{status: number, body: any}} Answer */

const SPANS = '"spans":[';
const AFTER_SPANS = '],"updates":[';
// JSON strings contain no unescaped quotes, so this text occurs only between spans. If a later server changes that, a
// piece is invalid JSON, `push` throws, and `getSnapshot` requests the text again and parses it at once.
const BETWEEN = '},{"type":"';
const PIECE_LENGTH = 1 << 17;

/** Receives the text in chunks and passes on complete spans. */
export class SnapshotReader {
  /** @param {(spans: any[]) => void} onSpans */
  constructor(onSpans) {
    this.onSpans = onSpans;
    /** The text before the spans. */
    this.head = "";
    this.text = "";
    this.inSpans = false;
    this.afterSpans = false;
  }

  /** @param {string} chunk @throws {SyntaxError} if the text cannot be split as expected */
  push(chunk) {
    this.text += chunk;
    if (!this.inSpans) this.findSpans();
    if (!this.inSpans || this.afterSpans || this.text.length < PIECE_LENGTH) return;
    const cut = this.text.lastIndexOf(BETWEEN);
    if (cut < 0) return;
    const piece = this.text.slice(0, cut + 1);
    // Updates and log records are few, so they are parsed at the end.
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

  /** @returns {any} the snapshot without the spans already passed on @throws {SyntaxError} */
  end() {
    return JSON.parse(this.head + this.text);
  }
}

/**
 * Requests a snapshot and passes on its spans as they arrive. Never rejects; a failure is in the status.
 * @param {string} url
 * @param {() => (spans: any[]) => void} begin called before the spans; called again if they start over
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
  // The text could not be split as expected, so request it again and parse it at once.
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

/**
 * Yields to other tasks. A timer would wait for milliseconds. Each call has its own channel, because two traces may be
 * loading.
 * @returns {Promise<void>}
 */
function others() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

// @ts-check
// Decodes the data inside a page that is a file: gzip as base64, in an element. Must never send a request.

/** Number of characters decoded per step. A multiple of four, since four characters encode three bytes. */
const SLICE = 256 * 1024;

/**
 * @param {string} base64
 * @param {(share: number) => void} onProgress
 * @returns {AsyncGenerator<string>} the text in pieces
 */
export async function* embeddedText(base64, onProgress) {
  let at = 0;
  /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
  const bytes = new ReadableStream({
    pull(controller) {
      if (at >= base64.length) return controller.close();
      controller.enqueue(decoded(base64.slice(at, at + SLICE)));
      at += SLICE;
    },
  });
  const reader = bytes.pipeThrough(new DecompressionStream("gzip")).pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onProgress(Math.min(1, at / base64.length));
    yield value;
  }
}

/** @param {string} base64 @returns {Uint8Array<ArrayBuffer>} */
function decoded(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes;
}

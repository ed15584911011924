// @ts-check
// Parses the frames of a stack trace in several languages, and marks the program's own frames. Pure.

/** @typedef {{name: string, place: string, own: boolean}} Frame */
/** @typedef {{frames: Frame[], head: string}} Stack `head`: the text before the first frame */

/** Maximum length of the parsed text. The rest is ignored. */
const TEXT_MAX = 100_000;
export const FRAMES_MAX = 400;

/** Frames of libraries, recognised by path or name. */
const LIBRARY_PATH = /\.cargo[/\\]|[/\\]rustc[/\\]|[/\\]rustlib[/\\]|registry[/\\]src|site-packages|dist-packages|[/\\]lib[/\\]python\d|node_modules|^node:|internal[/\\]|[/\\]go[/\\](src|pkg)[/\\]|\(Native Method\)/;
const LIBRARY_NAME = /^<?(std|core|alloc|tokio|tokio_util|hyper|hyper_util|axum|axum_core|tower|tower_http|tower_service|tracing|tracing_core|tracing_opentelemetry|opentelemetry|opentelemetry_sdk|futures|futures_util|futures_core|tonic|h2|reqwest|sqlx|sqlx_core|backtrace|anyhow|livespan)::|^(java|javax|jdk|sun|scala|kotlin|org\.springframework|org\.apache|io\.netty|reactor)\.|^(rust_begin_unwind|__rust|_start|main$|__libc|clone|start_thread|runtime\.)/;

/** @param {string} text @returns {Stack} no frames if the format is unknown */
export function framesOf(text) {
  const lines = text.slice(0, TEXT_MAX).split("\n");
  /** @type {Frame[]} */
  const frames = [];
  const head = [];
  for (let at = 0; at < lines.length && frames.length < FRAMES_MAX; at += 1) {
    const line = lines[at];
    const next = lines[at + 1] ?? "";
    // Rust: `  12: shop::pay::charge`, followed by `       at ./src/pay.rs:88:5`.
    const rust = /^\s*\d+:\s+(?:0x[0-9a-f]+ - )?(.+?)\s*$/.exec(line);
    // Python: `  File "pay.py", line 88, in charge`.
    const python = /^\s*File "(.+)", line (\d+), in (.+)$/.exec(line);
    // Java and JavaScript: `   at shop.Pay.charge(Pay.java:88)`, `   at charge (/app/pay.js:88:5)`, `   at /app/pay.js:88:5`.
    const at2 = /^\s*at (?:(.+?)\s*\((.*)\)|(\S.*))\s*$/.exec(line);
    if (rust !== null) {
      const place = /^\s+at (.+)$/.exec(next)?.[1] ?? "";
      if (place !== "") at += 1;
      frames.push(frame(rust[1], place));
    } else if (python !== null) frames.push(frame(python[3], `${python[1]}:${python[2]}`));
    else if (at2 !== null) frames.push(at2[1] !== undefined ? frame(at2[1], at2[2]) : frame("", at2[3]));
    else if (frames.length === 0 && line.trim() !== "") head.push(line);
  }
  return { frames, head: head.join("\n") };
}

/** @param {string} name @param {string} place @returns {Frame} */
function frame(name, place) {
  // The hash that Rust appends has no meaning for readers.
  const plain = name.replace(/::h[0-9a-f]{16}$/, "");
  return { name: plain, place, own: !LIBRARY_NAME.test(plain) && !LIBRARY_PATH.test(place) };
}

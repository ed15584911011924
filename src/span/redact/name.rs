//! Finds the name before a sign (`=` or `:`): of a parameter, a field, a header or a setting. Pure; the worker thread
//! calls it.

use std::ops::Range;

use memchr::memrchr;

/// A name and its notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) range: Range<usize>,
    /// The opening `"`, with the backslashes before it, if the name is in double quotes.
    pub(super) quote: Option<Range<usize>>,
    /// Whether the name is in quotes of any kind.
    pub(super) is_quoted: bool,
    /// Whether there are blanks between the name and the sign.
    pub(super) is_spaced: bool,
    /// The position of the first byte of the name, or of its opening quote.
    pub(super) start: usize,
}

/// Returns the name before a sign.
pub(super) fn before(text: &[u8], sign: usize) -> Option<Name> {
    let all = text.get(..sign)?;
    let blanks = all.iter().rev().take_while(|byte| is_blank(**byte)).count();
    let end = sign - blanks;
    match text.get(end.checked_sub(1)?)? {
        quote @ (b'"' | b'\'' | b'`') => quoted(text, end - 1, *quote, blanks > 0),
        _ => bare(text, end, blanks > 0),
    }
}

fn bare(text: &[u8], end: usize, is_spaced: bool) -> Option<Name> {
    let window = text.get(end.saturating_sub(NAME_BYTES_MAX)..end)?;
    let length = window
        .iter()
        .rev()
        .take_while(|byte| is_name(**byte))
        .count();
    let name = text.get(end - length..end)?;
    // Skips the signs before the name, as in `[token=x]` and `--token=x`.
    let lead = name
        .iter()
        .take_while(|byte| b"[.-%".contains(byte))
        .count();
    let start = end - length + lead;
    (start < end).then_some(Name {
        range: start..end,
        quote: None,
        is_quoted: false,
        is_spaced,
        start,
    })
}

/// Returns the name whose closing quote is at `close`.
fn quoted(text: &[u8], close: usize, quote: u8, is_spaced: bool) -> Option<Name> {
    let from = close.saturating_sub(NAME_BYTES_MAX);
    let open = from + memrchr(quote, text.get(from..close)?)?;
    let escapes = backslashes_before(text, open);
    let end = close - backslashes_before(text, close).min(escapes);
    let start = open - escapes;
    (open < end).then_some(Name {
        range: open + 1..end,
        quote: (quote == b'"').then_some(start..open + 1),
        is_quoted: true,
        is_spaced,
        start,
    })
}

/// Returns whether the text begins with a name and this sign, or has only blanks.
pub(super) fn is_followed_by(text: &[u8], sign: u8) -> bool {
    let text = text.trim_ascii_start();
    let escapes = text.iter().take_while(|byte| **byte == b'\\').count();
    let text = text.get(escapes..).unwrap_or_default();
    let after = match text.first() {
        None => return true,
        Some(quote @ (b'"' | b'\'')) => {
            let inner = text.get(1..).unwrap_or_default();
            let window = inner.get(..NAME_BYTES_MAX.min(inner.len()));
            let close = window.and_then(|window| memchr::memchr(*quote, window));
            close.and_then(|close| inner.get(close + 1..))
        }
        Some(_) => {
            let window = text.iter().take(NAME_BYTES_MAX);
            let length = window.take_while(|byte| is_name(**byte)).count();
            text.get(length..).filter(|_| length > 0)
        }
    };
    let after = after.unwrap_or_default().trim_ascii_start();
    after.first() == Some(&sign)
}

/// Returns the number of backslashes before a position.
pub(super) fn backslashes_before(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
}

/// Returns whether the values of this key are queries of URLs, without scheme, host and path.
pub(super) fn is_query(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    ["query", "query_string", "querystring", "fragment"]
        .iter()
        .any(|one| one.eq_ignore_ascii_case(last))
}

/// Returns whether the values of this key are command lines.
pub(super) fn is_command(key: &str) -> bool {
    // Most keys have another last letter.
    matches!(key.as_bytes().last(), Some(b'd' | b'e' | b's' | b'v'))
        && ["command_line", "command", "cmdline", "cmd", "args", "argv"]
            .iter()
            .any(|end| key.ends_with(end))
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.[]%$".contains(&byte) || !byte.is_ascii()
}

/// The longest name that is recognised.
const NAME_BYTES_MAX: usize = 256;

//! Finds the value after a name and its sign (`=`, `:` or `,`), and the end of that value. The kind of text around the
//! pair, its [`Frame`], decides which characters a value may contain. In doubt, the longer value is assumed, so that no
//! part of a secret remains. Pure; the worker thread calls it.

use std::ops::Range;

use memchr::memchr;

use crate::span::redact::name::{self, Name};

/// A value and its notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PairValue {
    /// The range of the value, without its quotes.
    pub(super) range: Range<usize>,
    pub(super) is_quoted: bool,
}

/// The kind of text around a pair of name and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The query or fragment of a URL, or a form. The value ends at the next `&` or `#`, or where the URL ends.
    Query,
    /// `name: value` or `name = value`, alone on its line.
    Line,
    /// `name=value` at the start of a line. Other pairs may follow on the line.
    Setting,
    /// Between brackets, or after a quoted name: JSON, `Debug`, a map of any language.
    List,
    /// A connection string. The value ends at the next `;`.
    Semicolon,
    /// `-H "name: value"`. The value ends at this quote.
    Quotes(u8),
    /// `name=value` within other text.
    Word,
}

impl Frame {
    /// Returns the kind of text around the pair at a sign, or `None` if there is no pair.
    pub(super) fn of(text: &[u8], sign: usize, name: &Name, is_query: bool) -> Option<Self> {
        let before = text.get(..name.start)?;
        let behind = text.get(name.range.clone())?;
        let is_equals = match text.get(sign)? {
            b',' => return Self::of_entry(before, name),
            byte => *byte == b'=',
        };
        if name.is_quoted {
            return Some(Self::List);
        }
        let is_tight = is_equals && !name.is_spaced;
        let begins_query = match before.last() {
            None => is_query,
            Some(byte) => b"?&#".contains(byte),
        };
        if is_tight && begins_query {
            return Some(Self::Query);
        }
        let skipped = |byte: &&u8| !name::is_blank(**byte) && **byte != b'-';
        match before.iter().rev().find(skipped) {
            None | Some(b'\n' | b'\r' | b'\\') if is_tight => Some(Self::Setting),
            None | Some(b'\n' | b'\r' | b'\\') => {
                // `token: expected a name` alone is an error message. A text with several lines is a file or a dump.
                let is_line = is_equals || is_header(behind) || memchr(b'\n', text).is_some();
                is_line.then_some(Self::Line)
            }
            Some(b'{' | b'[' | b'(' | b',' | b'|') => Some(Self::List),
            Some(b';') => Some(Self::Semicolon),
            Some(quote @ (b'"' | b'\'' | b'`')) => {
                (is_tight || is_header(behind)).then_some(Self::Quotes(*quote))
            }
            Some(_) => is_tight.then_some(Self::Word),
        }
    }

    /// Recognises `("name", value)`, and the entries of `[["name", value]]`.
    fn of_entry(before: &[u8], name: &Name) -> Option<Self> {
        let mut before = before
            .iter()
            .rev()
            .filter(|byte| !byte.is_ascii_whitespace());
        let is_entry = match before.next()? {
            b'(' => true,
            b'[' => matches!(before.next(), Some(b'[' | b',')),
            _ => false,
        };
        (is_entry && name.is_quoted).then_some(Self::List)
    }
}

/// Returns the value after a sign, without its quotes, or `None` if it is empty.
pub(super) fn find(text: &[u8], sign: usize, name: &Name, frame: Frame) -> Option<PairValue> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    let mut at = sign + 1;
    if byte(sign) == b'=' && byte(at) == b'>' {
        at += 1;
    }
    let is_tight = byte(sign) == b'=' && !name.is_spaced && byte(sign + 1) != b'>';
    if !is_tight || name.is_quoted {
        while name::is_blank(byte(at)) {
            at += 1;
        }
    }
    let is_header = is_header(text.get(name.range.clone())?);
    let is_whole_line = frame == Frame::Line && is_header;
    let escapes = text
        .get(at..)?
        .iter()
        .take_while(|byte| **byte == b'\\')
        .count();
    let value = if is_quote(byte(at + escapes)) && !is_whole_line {
        quoted(text, at + escapes, escapes)
    } else {
        let grouped = (frame != Frame::Query && !is_whole_line).then(|| group(text, at));
        grouped.flatten().unwrap_or_else(|| {
            let end = scalar_end(text, at, (byte(sign), frame, is_header));
            let end = if frame == Frame::Line {
                line_end(text, at..end)
            } else {
                end
            };
            PairValue {
                range: at..end,
                is_quoted: false,
            }
        })
    };
    (!value.range.is_empty()).then_some(value)
}

/// Returns the value whose opening quote is at `open`, after `escapes` backslashes.
fn quoted(text: &[u8], open: usize, escapes: usize) -> PairValue {
    let quote = text.get(open).copied().unwrap_or(b'"');
    let mut at = open + 1;
    let mut end = text.len();
    while let Some(found) = memchr(quote, text.get(at..).unwrap_or_default()) {
        let close = at + found;
        let before = name::backslashes_before(text, close).min(close - open - 1);
        // In JSON within JSON, the closing quote has as many backslashes as the opening one. A backslash that belongs
        // to the value is escaped at each level, so it adds `2 * (escapes + 1)` backslashes.
        let closes = before < escapes || (before - escapes).is_multiple_of(2 * (escapes + 1));
        at = close + 1;
        // A doubled quote is a quote within the value, as in SQL and CSV.
        if closes && escapes == 0 && text.get(at) == Some(&quote) {
            at += 1;
        } else if closes {
            end = close - before.min(escapes);
            break;
        }
    }
    PairValue {
        range: open + 1..end.max(open + 1),
        is_quoted: true,
    }
}

/// Returns a value in brackets, such as `Some("x")`, `Secret { .. }` and `[1, 2]`, or a string with a prefix, such as
/// `b"x"`.
fn group(text: &[u8], at: usize) -> Option<PairValue> {
    let rest = text.get(at..)?;
    let is_path = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_:#".contains(byte);
    let head = rest.iter().take(HEAD_BYTES_MAX).take_while(is_path).count();
    let open = match rest.get(head)? {
        b'{' | b'[' | b'(' => at + head,
        b'"' if head > 0 => return Some(quoted(text, at + head, 0)),
        b' ' if head > 0 && rest.get(head + 1) == Some(&b'{') => at + head + 1,
        _ => return None,
    };
    Some(PairValue {
        range: at..group_end(text, open),
        is_quoted: false,
    })
}

/// Returns the end of the group whose bracket opens at `open`, or the end of the text if it is not closed.
fn group_end(text: &[u8], open: usize) -> usize {
    let rest = text.get(open..).unwrap_or_default();
    let inner = rest.get(1..).unwrap_or_default().trim_ascii_start();
    // Single quotes delimit texts only if the first value has them. Otherwise a single quote may be an apostrophe or a
    // lifetime.
    let has_single_quotes = inner.first() == Some(&b'\'');
    let mut depth = 0_u32;
    let mut quote = None;
    let mut is_escaped = false;
    for (at, byte) in rest.iter().enumerate() {
        match (byte, quote) {
            _ if is_escaped => is_escaped = false,
            (b'\\', Some(_)) => is_escaped = true,
            (byte, Some(open)) if *byte == open => quote = None,
            (b'"', None) => quote = Some(b'"'),
            (b'\'', None) if has_single_quotes => quote = Some(b'\''),
            (b'{' | b'[' | b'(', None) => depth += 1,
            (b'}' | b']' | b')', None) => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return open + at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Returns the end of a value without quotes and brackets.
fn scalar_end(text: &[u8], at: usize, (sign, frame, is_header): (u8, Frame, bool)) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let behind = |place: usize| rest.get(place + 1..).unwrap_or_default();
    let ends_at = |(place, byte): (usize, &u8)| {
        let byte = *byte;
        let next = behind(place).first().copied().unwrap_or(0);
        let before_pair = || name::is_followed_by(behind(place), sign);
        let is_line_end =
            byte == b'\n' || byte == b'\r' || (byte == b'\\' && matches!(next, b'n' | b'r'));
        let is_quote_end = byte == b'"' || (byte == b'\\' && next == b'"');
        let is_blank = byte.is_ascii_whitespace();
        // Looks for a following pair only at the first of several blanks, so that a run of blanks is read only once.
        let was_blank = || place > 0 && rest.get(place - 1).is_some_and(u8::is_ascii_whitespace);
        match frame {
            Frame::Query => is_blank || is_quote_end || b"&#<>".contains(&byte),
            Frame::Line => is_line_end,
            Frame::Quotes(quote) => byte == quote || byte == b'\n',
            Frame::Semicolon => is_line_end || is_quote_end || byte == b';',
            _ if is_line_end => true,
            Frame::List => {
                b"}])".contains(&byte)
                    || (byte == b',' && (before_pair() || is_list_end(behind(place))))
                    || (is_blank && !is_header && sign == b'=' && !was_blank() && before_pair())
            }
            Frame::Setting | Frame::Word if is_header => {
                is_quote_end || (byte == b',' && before_pair())
            }
            Frame::Setting => {
                let may_end = byte == b',' || byte == b';' || (is_blank && !was_blank());
                is_quote_end || (may_end && before_pair())
            }
            Frame::Word => {
                is_blank
                    || is_quote_end
                    || byte == b'&'
                    || ((byte == b',' || byte == b';')
                        && (before_pair() || behind(place).is_empty()))
            }
        }
    };
    let found = rest.iter().enumerate().position(ends_at);
    at + found.unwrap_or(rest.len())
}

/// Returns the end of the value in a line. A comma at its end, as `{:#?}` writes between fields, is not part of the
/// value. If a bracket opens at the end of the line, the value ends where that bracket closes.
fn line_end(text: &[u8], line: Range<usize>) -> usize {
    let last = text.get(line.clone()).unwrap_or_default().trim_ascii_end();
    match last.last() {
        Some(b',') => line.start + last.len() - 1,
        Some(b'{' | b'[' | b'(') => group_end(text, line.start + last.len() - 1),
        _ => line.end,
    }
}

/// Returns whether a closing bracket or the end of the text follows.
fn is_list_end(rest: &[u8]) -> bool {
    let next = rest.trim_ascii_start().first();
    next.is_none_or(|byte| b"}])".contains(byte))
}

/// Returns whether values of this name may have blanks, commas and semicolons, as values of headers do: `Bearer x`,
/// `a=b; c=d`.
fn is_header(name: &[u8]) -> bool {
    HEADERS.iter().any(|header| {
        let last = name.len().checked_sub(header.len());
        last.and_then(|at| name.get(at..))
            .is_some_and(|last| last.eq_ignore_ascii_case(header))
    })
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

const HEADERS: [&[u8]; 3] = [b"authorization", b"cookie", b"cookies"];
/// Upper bound on the length of a type's name before a bracket.
const HEAD_BYTES_MAX: usize = 64;

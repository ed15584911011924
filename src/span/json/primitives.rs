//! The smallest pieces of JSON: escaped texts, numbers. This is the hot path of the worker thread, so it checks eight
//! bytes at a time, and allocates only for the output. Pure.

use std::io::Write as _;

use crate::{util::hex, wire::frame::number};

/// Larger integers are written as text, because JavaScript's numbers are doubles.
pub(super) const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

#[inline]
pub(super) fn field(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(super) fn integer(out: &mut Vec<u8>, value: i64) {
    let text = value.unsigned_abs() > SAFE_INTEGER_MAX;
    if text {
        out.push(b'"');
    }
    if value < 0 {
        out.push(b'-');
    }
    number(out, value.unsigned_abs());
    if text {
        out.push(b'"');
    }
}

/// Rust's debug form is the shortest text that is parsed as the same number, and always has a point or an exponent.
pub(super) fn double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        });
    } else {
        // Writing to a `Vec` cannot fail.
        drop(write!(out, "{value:?}"));
    }
}

#[inline]
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// RFC 8259, section 7: quote, backslash and control characters must be escaped; nothing else is.
#[inline]
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    let plain = plain_length(text);
    out.extend_from_slice(text.get(..plain).unwrap_or_default());
    if plain < text.len() {
        escape_rest(out, text.get(plain..).unwrap_or_default());
    }
}

fn escape_rest(out: &mut Vec<u8>, mut rest: &[u8]) {
    while let Some((byte, tail)) = rest.split_first() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                out.extend_from_slice(b"\\u00");
                let [.., high, low] = hex::eight_digits([0, 0, 0, *other]);
                out.extend_from_slice(&[high, low]);
            }
        }
        let (plain, tail) = tail.split_at(plain_length(tail));
        out.extend_from_slice(plain);
        rest = tail;
    }
}

/// Returns the number of bytes before the first that must be escaped. Checks eight at a time.
#[inline]
pub(crate) fn plain_length(text: &[u8]) -> usize {
    let Some(last) = text.last_chunk::<8>() else {
        let is_plain = text.is_empty() || !has_escaped(short_word(text));
        return if is_plain {
            text.len()
        } else {
            plain_bytes(text)
        };
    };
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let marks = escaped_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            // The lowest mark is exact.
            return 8 * at + (marks.trailing_zeros() / 8) as usize;
        }
    }
    // Checking the last eight bytes, some of them twice, is quicker than going byte by byte.
    if has_escaped(u64::from_le_bytes(*last)) {
        text.len() - rest.len() + plain_bytes(rest)
    } else {
        text.len()
    }
}

/// Returns all bytes of a text of one to seven bytes as one word. Some may occur twice, and blanks fill the rest.
#[inline]
fn short_word(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    let byte = |at: usize| text.get(at).copied().unwrap_or(b' ');
    let bytes = [
        byte(0),
        byte(text.len() / 2),
        byte(text.len().saturating_sub(1)),
    ];
    let [first, middle, last] = bytes.map(u64::from);
    first | middle << 8 | last << 16 | (ONES * u64::from(b' ')) << 24
}

/// Returns whether a text has one of these ASCII characters. For long texts, `memchr` is quicker.
#[inline]
pub(crate) fn has_any_of(text: &[u8], bytes: [u8; 3]) -> bool {
    let has = |word: u64| {
        let marks = bytes.map(|byte| byte_marks(word, byte));
        marks.iter().fold(0, |all, marks| all | marks) & HIGH != 0
    };
    let Some(last) = text.last_chunk::<8>() else {
        return !text.is_empty() && has(short_word(text));
    };
    let (words, _) = text.as_chunks::<8>();
    let mut words = words.iter().chain([last]);
    words.any(|word| has(u64::from_le_bytes(*word)))
}

#[inline]
fn plain_bytes(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
        .unwrap_or(text.len())
}

/// Returns whether a quote, a backslash or a control character is among these eight bytes.
#[inline]
fn has_escaped(word: u64) -> bool {
    escaped_marks(word) != 0
}

/// Sets the high bit of each of these eight bytes that is a quote, a backslash or a control character. Like
/// [`control_marks`], it may also mark a byte above a match.
#[inline]
fn escaped_marks(word: u64) -> u64 {
    (control_marks(word) | byte_marks(word, b'"') | byte_marks(word, b'\\')) & HIGH
}

const ONES: u64 = u64::MAX / 255;
pub(super) const HIGH: u64 = ONES * 0x80;

/// Sets the high bit of each of these eight bytes that is a control character. A byte above a match may be marked, too,
/// because the subtraction borrows from it. So callers only test whether any bit is set. Bytes that are not ASCII have
/// the high bit set already, and are masked out.
#[inline]
pub(super) fn control_marks(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word
}

/// Sets the high bit of each of these eight bytes that is this ASCII character. Like [`control_marks`], it may also
/// mark a byte above a match.
#[inline]
pub(super) fn byte_marks(word: u64, byte: u8) -> u64 {
    (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES) & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_at_each_place_of_texts_of_each_length() {
        for length in 0..20 {
            for at in 0..=length {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; length];
                    if let Some(place) = text.get_mut(at) {
                        *place = byte;
                    }
                    let plain = text
                        .iter()
                        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
                    assert_eq!(plain_length(&text), plain.unwrap_or(length), "{text:?}");
                    let has = text.iter().any(|byte| b"=:,".contains(byte));
                    assert_eq!(has_any_of(&text, *b"=:,"), has, "{text:?}");
                }
            }
        }
    }
}

//! Lowercase hexadecimal digits: writes those of ids and codes, and reads those that clients send. Pure.

#![cfg_attr(
    all(feature = "spans", not(feature = "http")),
    expect(dead_code, reason = "only HTTP requests have digits to read")
)]

/// Each byte of this number is 1.
const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// Appends the bytes as hexadecimal digits. `N` is a multiple of four.
#[inline]
pub(crate) fn push<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    const { assert!(N.is_multiple_of(4)) };
    let mut text = [[0; 8]; N];
    let (fours, _) = bytes.as_chunks::<4>();
    for (digits, four) in text.iter_mut().zip(fours) {
        *digits = eight_digits(*four);
    }
    let used = text.as_flattened().get(..2 * N);
    out.extend_from_slice(used.unwrap_or_default());
}

/// Returns the digits of four bytes, computed all at once.
#[inline]
pub(crate) fn eight_digits(bytes: [u8; 4]) -> [u8; 8] {
    // Each half byte gets a byte of its own, in order.
    let word = u64::from(u32::from_be_bytes(bytes));
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (word | word << 4) & (ONES * 0x0f);
    // Half bytes of ten or more are letters: 'a' is 39 code points after the character that follows '9'.
    let letters = ((halves + ONES * 6) >> 4) & ONES;
    (halves + ONES * u64::from(b'0') + letters * 39).to_be_bytes()
}

/// Returns any number of bytes as hexadecimal digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)])
        .collect()
}

/// Reads exactly `N` bytes from lowercase digits. Returns `None` for anything else.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_bytes(text.as_bytes())
}

/// Like [`decode`], for bytes that may not be UTF-8.
#[inline]
pub(crate) fn decode_bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let (eights, digits) = digits.as_chunks::<8>();
    let (fours, rest) = bytes.as_chunks_mut::<4>();
    for (four, eight) in fours.iter_mut().zip(eights) {
        *four = four_bytes(*eight)?;
    }
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, pair) in rest.iter_mut().zip(pairs) {
        *byte = byte_of(*pair)?;
    }
    Some(bytes)
}

/// Reads eight digits all at once.
#[inline]
fn four_bytes(digits: [u8; 8]) -> Option<[u8; 4]> {
    let word = u64::from_be_bytes(digits);
    // Only letters have this bit. The low half of 'a' is 1 and its value is 10, so letters need 9 more.
    let letters = (word >> 6) & ONES;
    let halves = ((word & (ONES * 0x0f)) + letters * 9) & (ONES * 0x0f);
    // Joins the half bytes: two into a byte, then the bytes.
    let word = (halves | halves >> 4) & 0x00ff_00ff_00ff_00ff;
    let word = (word | word >> 8) & 0x0000_ffff_0000_ffff;
    let [.., first, second, third, fourth] = (word | word >> 16).to_be_bytes();
    let bytes = [first, second, third, fourth];
    // Any other input gives bytes whose own digits differ from the input.
    (eight_digits(bytes) == digits).then_some(bytes)
}

/// Reads any number of bytes from lowercase digits. Returns `None` for anything else.
pub(crate) fn decode_all(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().copied().map(byte_of).collect()
}

fn byte_of([high, low]: [u8; 2]) -> Option<u8> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(value(high)? << 4 | value(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 8] = [0x00, 0x09, 0x0a, 0x0f, 0x90, 0xa9, 0xf0, 0xff];
    const TEXT: &str = "00090a0f90a9f0ff";

    #[test]
    fn append_and_encode_give_the_same_digits() {
        let mut out = b"id: ".to_vec();
        push(&mut out, &BYTES);
        assert_eq!(out, format!("id: {TEXT}").into_bytes());
        assert_eq!(encode(&BYTES), TEXT);
        assert_eq!(encode(&[]), "");
        for byte in 0..=u8::MAX {
            let mut out = Vec::new();
            push(&mut out, &[byte; 4]);
            assert_eq!(out, format!("{byte:02x}").repeat(4).into_bytes());
            assert_eq!(encode(&[byte]), format!("{byte:02x}"));
        }
    }

    #[test]
    fn other_lengths_and_other_characters_are_refused() {
        assert_eq!(decode(TEXT), Some(BYTES));
        assert_eq!(decode::<0>(""), Some([]));
        for text in [
            "", "0", "0g", "0G", "0A", "+1", " 1", "001", "0001", "\u{e9}",
        ] {
            assert_eq!(decode::<1>(text), None, "{text}");
        }
    }

    #[test]
    fn eight_digits_at_once_are_read_like_pairs_of_digits() {
        for at in 0..TEXT.len() {
            for byte in 0..=u8::MAX {
                let mut digits = TEXT.as_bytes().to_vec();
                digits[at] = byte;
                let (pairs, _) = digits.as_chunks::<2>();
                let expected: Option<Vec<u8>> = pairs.iter().copied().map(byte_of).collect();
                let found: Option<[u8; 8]> = decode_bytes(&digits);
                assert_eq!(found.map(Vec::from), expected, "{digits:?}");
            }
        }
    }

    #[test]
    fn any_number_of_bytes_is_read_back() {
        for bytes in [&BYTES[..], &BYTES[..3], &[]] {
            assert_eq!(decode_all(&encode(bytes)).as_deref(), Some(bytes));
        }
        for text in ["0", "0g", "0A", "001", "\u{e9}"] {
            assert_eq!(decode_all(text), None, "{text}");
        }
    }
}

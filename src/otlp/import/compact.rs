//! Removes the white space between the tokens of JSON, so that the fields of an object can be found
//! without parsing their values. Pure.

use serde::de::IgnoredAny;

/// Upper bound on the nesting of objects and lists. Deeper nesting could overflow the stack of a
/// recursive reader.
pub(super) const DEPTH_MAX: usize = 128;

/// The reason why a text was rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text is not JSON. The fields are the line within the text, and the error.
    Syntax(usize, String),
    Depth,
}

/// Checks that a text is JSON. Returns it without white space between the tokens.
pub(super) fn compact(text: &str) -> Result<Vec<u8>, Fault> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(Fault::Syntax(error.line(), error.to_string()));
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut is_text, mut is_escaped) = (false, false);
    let mut depth = 0_usize;
    for byte in text.bytes() {
        if is_text {
            is_text = byte != b'"' || is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
        } else if byte == b'"' {
            is_text = true;
        } else if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        }
        if !is_text {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH_MAX {
                return Err(Fault::Depth);
            }
        }
        out.push(byte);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_is_removed() {
        let text = "\u{9} { \"a b\\\\\" : [ 1 , \"\\\" x\" ] ,\r\n \"\" : null }\n";
        let expected = r#"{"a b\\":[1,"\" x"],"":null}"#;
        assert_eq!(compact(text).unwrap(), expected.as_bytes());
        let line = |text| match compact(text) {
            Err(Fault::Syntax(line, _)) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!((line("{\n\n\"a\": }"), line("1 2")), (3, 1));
    }

    #[test]
    fn too_deeply_nested_json_is_refused() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(compact(&nested(DEPTH_MAX)).unwrap().len(), 2 * DEPTH_MAX);
        assert_eq!(compact(&nested(DEPTH_MAX + 1)), Err(Fault::Depth));
        let text = format!("\"{}\"", nested(200));
        assert_eq!(compact(&text).unwrap(), text.as_bytes());
    }
}

//! Finds and replaces fields of encoded events without parsing the rest. It stops at anything that is not JSON and
//! never panics. Pure; the worker thread, the tasks of HTTP readers and the threads that dispatch encoded events call
//! it.

use memchr::memchr2;

use crate::span::json::primitives::string;

/// Returns the top-level fields of an event in order, as raw keys and values. Stops at anything that is not JSON.
pub(crate) fn fields(payload: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = payload.strip_prefix(b"{").unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        let (key, after) = rest.split_at_checked(value_length(rest)?)?;
        let after = after.strip_prefix(b":")?;
        let (value, after) = after.split_at_checked(value_length(after)?)?;
        rest = after;
        Some((key.strip_prefix(b"\"")?.strip_suffix(b"\"")?, value))
    })
}

/// Returns the elements of an array in order, as raw values. Stops at anything that is not JSON.
pub(crate) fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = array.strip_prefix(b"[").unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        let (element, after) = rest.split_at_checked(value_length(rest)?)?;
        rest = after;
        Some(element)
    })
}

/// Returns valid JSON without the white space between its tokens, or `None` if it has no white space.
pub(crate) fn without_white_space(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut out = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at)?,
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.extend_from_slice(bytes.get(copied..at)?);
                at += 1;
                copied = at;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(bytes.get(copied..)?);
    String::from_utf8(out).ok()
}

/// Replaces some values of an event and copies all others.
pub(crate) struct PayloadRewriter<'a> {
    payload: &'a [u8],
    /// The payload up to here has been copied to `out`.
    copied: usize,
    out: Vec<u8>,
}

impl<'a> PayloadRewriter<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Self {
            payload,
            copied: 0,
            out: Vec::new(),
        }
    }

    /// Replaces a value. `value` must be a slice of the payload, after all values replaced before.
    pub(crate) fn replace(&mut self, value: &[u8], with: &[u8]) {
        let at = (value.as_ptr() as usize).wrapping_sub(self.payload.as_ptr() as usize);
        let Some(before) = self.payload.get(self.copied..at) else {
            return;
        };
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(with);
        self.copied = at + value.len();
    }

    /// Returns the complete event, or `None` if nothing was replaced.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        if self.copied == 0 {
            return None;
        }
        let rest = self.payload.get(self.copied..).unwrap_or_default();
        self.out.extend_from_slice(rest);
        Some(self.out)
    }
}

/// Returns the JSON text of a string, for comparison with raw field values.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    string(&mut out, text);
    out
}

/// Returns the length of the JSON value at the start of `text`, or `None` if `text` ends before the value does.
fn value_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return (at > 0).then_some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Returns the position after the string whose opening quote is at `start`.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        // Skips a backslash and the byte that it escapes.
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of(payload: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields(payload.as_bytes())
            .map(|(key, value)| (text(key), text(value)))
            .collect()
    }

    #[test]
    fn a_value_ends_where_its_last_quote_or_bracket_is() {
        let values = [
            r#""""#,
            r#""a""#,
            r#""a\"b""#,
            r#""a\\""#,
            r#""\\\"\\""#,
            r#""}],:{[""#,
            "0",
            "-1.5e3",
            "null",
            "[]",
            r#"["]","[",["\""]]"#,
            r#"{"a":{"b":"}\\"},"c":[{}]}"#,
        ];
        let all: Vec<String> = (0..values.len())
            .map(|at| format!(r#""k\"{at}":{}"#, values[at]))
            .collect();
        let payload = format!("{{{}}}", all.join(","));
        let expected: Vec<(String, String)> = (0..values.len())
            .map(|at| (format!(r#"k\"{at}"#), values[at].to_owned()))
            .collect();
        assert_eq!(fields_of(&payload), expected);
        assert_eq!(
            elements(format!("[{}]", values.join(",")).as_bytes()).collect::<Vec<_>>(),
            values.map(str::as_bytes)
        );
    }

    #[test]
    fn text_that_is_not_json_ends_the_search() {
        for broken in [
            "",
            "{",
            "{}",
            r#"{"a"#,
            r#"{"a\"#,
            r#"{"a""#,
            r#"{"a":"#,
            r#"{"a":"b"#,
            r#"{"a":"b\"}"#,
            r#"{"a":[1"#,
            r#"{"a":1"#,
            r#"["a":1}"#,
        ] {
            assert_eq!(fields_of(broken), [], "{broken}");
        }
        let first = [("a".to_owned(), "1".to_owned())];
        for cut in [
            r#"{"a":1,"#,
            r#"{"a":1,"b"#,
            r#"{"a":1,"b":"\"#,
            r#"{"a":1,"b":[""#,
        ] {
            assert_eq!(fields_of(cut), first, "{cut}");
        }
    }
}

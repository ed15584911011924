//! Masks secrets within texts: in URLs, queries, settings, `Debug` output, JSON and dumps of headers. It masks the
//! values of sensitive names, and users and passwords in URLs. It never changes a text in which it finds no secret. Its
//! time is linear in the length of the text. Pure; the worker thread calls it.
//!
//! [`Scan`] stops at each sign: `=`, `:` and `",`. [`name`] finds the name before the sign, [`value`] finds where the
//! value after it ends, and [`user_info`] finds the user of a URL.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3, memmem};
use percent_encoding::percent_decode_str;

use crate::span::{
    json::has_any_of,
    redact::{
        name::{self, Name},
        redaction::Redaction,
        user_info::{self, UserInfo},
        value::{self, Frame, PairValue},
    },
};

impl Redaction {
    /// Returns the text with its secrets masked, or `None` if there are none.
    pub(super) fn without_secrets(&self, key: &str, text: &str) -> Option<String> {
        self.scanned(key, text, Nested::Searched)
    }

    fn scanned(&self, key: &str, text: &str, nested: Nested) -> Option<String> {
        let bytes = text.as_bytes();
        // Most texts are short and have none of these signs.
        if bytes.len() <= SHORT_MAX && !has_any_of(bytes, *b"=:\"") {
            return None;
        }
        let first = memchr3(b'=', b':', b'"', bytes)?;
        let quote = memchr(b'"', bytes);
        let quoted = quote.and_then(|quote| bytes.get(quote..));
        let lists = quoted.is_some_and(|quoted| memmem::find(quoted, b"\",").is_some());
        let mut scan = Scan {
            redaction: self,
            text,
            bytes,
            is_query: name::is_query(key) || is_bare_query(bytes),
            nested,
            copied: 0,
            out: String::new(),
        };
        let mut at = first;
        while let Some(rest) = bytes.get(at..) {
            let found = if lists {
                memchr3(b'=', b':', b',', rest)
            } else {
                memchr2(b'=', b':', rest)
            };
            let Some(found) = found else { break };
            let sign = at + found;
            at = scan.examine(sign).max(sign + 1);
        }
        scan.finish()
    }

    /// Returns a command line with the values of sensitive flags masked, or `None` if there are none.
    pub(super) fn without_flags(&self, text: &str) -> Option<String> {
        let mut words: Vec<&str> = text.split(' ').collect();
        let mut found = false;
        for at in 1..words.len() {
            let flag = words.get(at - 1).copied().unwrap_or_default();
            if let Some(value) = words.get_mut(at)
                && !value.is_empty()
                && self.is_secret_flag(flag)
            {
                *value = Self::PLACEHOLDER;
                found = true;
            }
        }
        found.then(|| words.join(" "))
    }

    /// Returns whether the argument is a flag whose value (the next argument) is secret.
    pub(super) fn is_secret_flag(&self, argument: &str) -> bool {
        let name = argument.strip_prefix('-');
        name.is_some_and(|name| !name.contains(['=', ' ']) && self.is_secret(name))
    }

    /// Returns whether a value of this name is secret. The name may be percent-encoded more than once.
    fn is_secret(&self, name: &str) -> bool {
        let name = decoded(name);
        let is_signature = || {
            SIGNATURE_PARAMETERS
                .iter()
                .any(|one| one.eq_ignore_ascii_case(&name))
        };
        self.denies(&name) || is_signature()
    }
}

struct Scan<'a> {
    redaction: &'a Redaction,
    text: &'a str,
    bytes: &'a [u8],
    /// Whether the text begins with the first parameter of a query.
    is_query: bool,
    nested: Nested,
    /// The text up to here has been copied to `out`.
    copied: usize,
    out: String,
}

impl Scan<'_> {
    /// Examines the text around a sign. Returns where the search continues.
    fn examine(&mut self, sign: usize) -> usize {
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        match (byte(sign), byte(sign + 1)) {
            (b':', b'/') if byte(sign + 2) == b'/' => return self.url(sign),
            (b':', b':') | (b'=', b'=') => return sign + 2,
            (b'=', _) if sign > 0 && b"<>!=".contains(&byte(sign - 1)) => return sign + 1,
            _ => {}
        }
        let Some(name) = name::before(self.bytes, sign) else {
            return sign + 1;
        };
        let written = self.text.get(name.range.clone()).unwrap_or_default();
        let is_secret = self.redaction.is_secret(written);
        // Most pairs are not secret and need no further check.
        if !is_secret && (byte(sign) != b'=' || self.nested == Nested::Skipped) {
            return sign + 1;
        }
        match Frame::of(self.bytes, sign, &name, self.is_query) {
            Some(Frame::Query) if !is_secret => self.encoded_value(sign, &name),
            Some(frame) if is_secret => match value::find(self.bytes, sign, &name, frame) {
                Some(value) => self.mask(&name, &value, frame),
                None => sign + 1,
            },
            _ => sign + 1,
        }
    }

    /// Masks a parameter whose percent-encoded value contains a secret. Returns where the search continues.
    fn encoded_value(&mut self, sign: usize, name: &Name) -> usize {
        let start = sign + 1;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let ends = |byte: &u8| b"&?#<>\"".contains(byte) || byte.is_ascii_whitespace();
        let end = start + rest.iter().position(ends).unwrap_or(rest.len());
        let text = self.text.get(start..end).unwrap_or_default();
        if memchr(b'%', text.as_bytes()).is_none() {
            return start;
        }
        let found = self
            .redaction
            .scanned("query", &decoded(text), Nested::Skipped);
        if found.is_some() {
            let value = PairValue {
                range: start..end,
                is_quoted: false,
            };
            self.mask(name, &value, Frame::Query);
        }
        end
    }

    /// Masks the user of the URL whose scheme ends at `sign`.
    fn url(&mut self, sign: usize) -> usize {
        let rest = sign + "://".len();
        let Some(UserInfo { end, has_password }) = user_info::find(self.bytes, sign) else {
            return rest;
        };
        let mask = if has_password {
            "REDACTED:REDACTED"
        } else {
            REDACTED_PART
        };
        self.replace(rest, end, mask);
        end
    }

    fn mask(&mut self, name: &Name, value: &PairValue, frame: Frame) -> usize {
        let mask = if frame == Frame::Query {
            REDACTED_PART
        } else {
            Redaction::PLACEHOLDER
        };
        // The mask of an unquoted value gets the quotes of its name, so that JSON stays valid.
        let quote = name.quote.clone().filter(|_| !value.is_quoted);
        let quote = quote.and_then(|quote| self.text.get(quote)).unwrap_or("");
        let mask = format!("{quote}{mask}{quote}");
        self.replace(value.range.start, value.range.end, &mask);
        value.range.end
    }

    fn replace(&mut self, start: usize, end: usize, mask: &str) {
        // An already masked text stays unchanged.
        if self.text.get(start..end) == Some(mask) {
            return;
        }
        let Some(before) = self.text.get(self.copied..start) else {
            return;
        };
        self.out.push_str(before);
        self.out.push_str(mask);
        self.copied = end;
    }

    fn finish(mut self) -> Option<String> {
        if self.copied == 0 {
            return None;
        }
        let rest = self.text.get(self.copied..).unwrap_or_default();
        self.out.push_str(rest);
        Some(self.out)
    }
}

/// Whether percent-encoded values are decoded and searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nested {
    Searched,
    Skipped,
}

/// Decodes a text that may be percent-encoded several times, up to [`NESTED_MAX`] levels.
fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..NESTED_MAX {
        if memchr(b'%', text.as_bytes()).is_none() {
            break;
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        text = Cow::Owned(decoded);
    }
    text
}

/// Returns whether the text consists only of parameters, such as `page=2&token=x`.
fn is_bare_query(text: &[u8]) -> bool {
    memchr(b'&', text).is_some() && !text.iter().any(u8::is_ascii_whitespace)
}

/// Replaces a masked part of a URL. OpenTelemetry's semantic conventions define this placeholder for `url.full`.
const REDACTED_PART: &str = "REDACTED";

/// Up to this length of a text in bytes, a check of eight bytes at a time is quicker than `memchr`.
const SHORT_MAX: usize = 64;

/// Upper bound on the levels of percent-encoding that are decoded: enough for a URL in a parameter of another URL.
const NESTED_MAX: u32 = 3;

/// Parameters that are masked in addition to those whose names a pattern matches. The semantic conventions list these
/// signature parameters of signed links to cloud storage.
const SIGNATURE_PARAMETERS: &[&str] = &[
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
];

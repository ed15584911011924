//! Finds users and passwords in URLs (RFC 3986, section 3.2.1), even if a password is not properly encoded. Pure; the
//! worker thread calls it.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

use crate::span::json::VALUE_BYTES_MAX;

/// The user part of a URL, directly after its `://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserInfo {
    /// The position of the `@` after it, or the end of a text that was cut before the `@`.
    pub(super) end: usize,
    pub(super) has_password: bool,
}

/// Returns the user part of the URL whose scheme ends at `sign`.
pub(super) fn find(text: &[u8], sign: usize) -> Option<UserInfo> {
    let start = sign + "://".len();
    let rest = text.get(start..)?;
    let url = rest.get(..url_end(rest))?;
    let path = memchr::memchr3(b'/', b'?', b'#', url).unwrap_or(url.len());
    let authority = url.get(..path)?;
    let query = memchr2(b'?', b'#', url).unwrap_or(url.len());
    let before_query = url.get(..query)?;
    let scheme = text.get(scheme_start(text, sign)..sign)?;
    let is_web = WEB_SCHEMES
        .iter()
        .any(|web| ends_in_ignoring_case(scheme, web));
    let colon = memrchr(b':', authority).filter(|_| !authority.starts_with(b"["));
    let port = colon.and_then(|colon| authority.get(colon + 1..));
    // The text after the colon is a port if it has only digits. An empty text is a port that is filled in later.
    let has_port = port.is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    let end = if memchr(b'@', authority).is_some() {
        // As in `postgres://user:p@ss/word@host/db`: the path of a database URL has no `@`.
        let is_split = colon.is_some() && !is_web;
        memrchr(b'@', if is_split { before_query } else { authority })
    } else if colon.is_some() && !(is_web && has_port) {
        // As in `postgres://user:pass/word@host/db`.
        let anywhere = || memrchr(b'@', url).filter(|_| !has_port);
        memrchr(b'@', before_query).or_else(anywhere)
    } else {
        None
    };
    // A text that was cut at its limit may have lost the `@`.
    let is_cut = start + url.len() == text.len() && text.len() + CUT_BYTES > VALUE_BYTES_MAX;
    let end = end.or_else(|| (is_cut && colon.is_some() && !has_port).then_some(url.len()))?;
    Some(UserInfo {
        end: start + end,
        has_password: memchr(b':', url.get(..end)?).is_some(),
    })
}

/// Returns the length of the URL at the start of a text: up to a byte that no URL has, or to the next URL.
fn url_end(rest: &[u8]) -> usize {
    let is_scheme_end = |sign: &usize| rest.get(sign + 1..sign + 3) == Some(b"//");
    let next = memchr_iter(b':', rest).find(is_scheme_end);
    let next = next.map(|sign| scheme_start(rest, sign));
    let rest = rest.get(..next.unwrap_or(rest.len())).unwrap_or(rest);
    rest.iter()
        .position(|byte| byte.is_ascii_whitespace() || b"\"<>`".contains(byte))
        .unwrap_or(rest.len())
}

/// Returns the position where the scheme that ends at `sign` begins.
fn scheme_start(text: &[u8], sign: usize) -> usize {
    let before = text.get(..sign).unwrap_or_default();
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let scheme = before.iter().rev().take(SCHEME_BYTES_MAX);
    sign - scheme.take_while(|byte| is_scheme(byte)).count()
}

fn ends_in_ignoring_case(text: &[u8], end: &[u8]) -> bool {
    text.len() >= end.len()
        && text
            .get(text.len() - end.len()..)
            .is_some_and(|last| last.eq_ignore_ascii_case(end))
}

/// Schemes whose paths may have an `@`, as in `https://shop.example/@eve`.
const WEB_SCHEMES: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];
const SCHEME_BYTES_MAX: usize = 64;
/// A text is cut at a character boundary, at most this many bytes below its limit.
const CUT_BYTES: usize = 4;

//! Secrets within URLs: the user, the password and secret parameters are masked, as OpenTelemetry's conventions require
//! for `url.full` and `url.query`. It never changes a URL without secrets. Pure; the worker thread calls it.

use std::borrow::Cow;

use memchr::{memchr2, memmem};

use crate::span::{
    json::start_template::URL_SECRET_BYTES,
    redact::redaction::{Redaction, is_query},
};

impl Redaction {
    /// Returns the URL with its user, its password and its secret parameters masked; `None` if it has no secret. The
    /// conventions of OpenTelemetry require this for `url.full` and `url.query`.
    pub(super) fn without_secrets(&self, key: &str, text: &str) -> Option<String> {
        let [query, user] = URL_SECRET_BYTES;
        memchr2(query, user, text.as_bytes()).or_else(|| is_query(key).then_some(0))?;
        let without_user = without_user(text);
        let shown = without_user.as_deref().unwrap_or(text);
        let without_secret_parameters = self.without_secret_parameters(key, shown);
        without_secret_parameters.or(without_user)
    }

    fn without_secret_parameters(&self, key: &str, text: &str) -> Option<String> {
        let (before, query) = match text.split_once('?') {
            Some((before, query)) => (Some(before), query),
            None if is_query(key) => (None, text),
            None => return None,
        };
        let (query, fragment) = query
            .split_once('#')
            .map_or((query, None), |(query, fragment)| (query, Some(fragment)));
        let is_secret = |name: &str| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]%".contains(&byte);
            let lower = name.to_ascii_lowercase();
            !name.is_empty()
                && name.bytes().all(is_name)
                && (SIGNATURE_PARAMETERS.contains(&&*lower) || self.masks_key(name))
        };
        let mut found = false;
        let pairs: Vec<Cow<'_, str>> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) if !value.is_empty() && is_secret(name) => {
                    found = true;
                    Cow::Owned(format!("{name}={REDACTED_PART}"))
                }
                _ => Cow::Borrowed(pair),
            })
            .collect();
        found.then(|| {
            let mut shown = before.map_or_else(String::new, |before| format!("{before}?"));
            shown.push_str(&pairs.join("&"));
            if let Some(fragment) = fragment {
                shown.push('#');
                shown.push_str(fragment);
            }
            shown
        })
    }
}

/// Returns the URL with user and password masked (RFC 3986, section 3.2.1); `None` if it has none.
fn without_user(text: &str) -> Option<String> {
    let at = memmem::find(text.as_bytes(), b"://")? + "://".len();
    let (scheme, rest) = text.split_at_checked(at)?;
    let end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let (user, host) = authority.rsplit_once('@')?;
    let mask = if user.contains(':') {
        format!("{REDACTED_PART}:{REDACTED_PART}")
    } else {
        REDACTED_PART.to_owned()
    };
    Some(format!("{scheme}{mask}@{host}{rest}"))
}

/// Replaces a masked part of a URL: the placeholder of the OpenTelemetry semantic conventions for `url.full`.
const REDACTED_PART: &str = "REDACTED";

/// URL parameters that are masked in addition to those whose names a pattern matches: the ones that the semantic
/// conventions list, from signed links of cloud storage.
const SIGNATURE_PARAMETERS: &[&str] = &[
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
];

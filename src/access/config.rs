//! The access settings of the builder. They are validated once, when the log is built, and `http::auth` reads them on
//! each request. `Debug` must never print a secret.

use std::{env, fmt};

use crate::{
    access::{Auth, AuthRule, DEFAULT_SUBSCRIBERS_MAX, view::View},
    error::Error,
};

/// The access settings of the builder: who may connect, and how.
#[derive(Clone, Debug)]
pub(crate) struct AccessConfig {
    pub(crate) auth: Option<Auth>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) ticket_key: Option<SecretBytes>,
    pub(crate) ticket_view: View,
    pub(crate) subscribers_max: usize,
    /// `None` means the default limit, and no limit for loopback addresses.
    pub(crate) subscribers_per_address: Option<usize>,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            auth: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            ticket_key: None,
            ticket_view: View::default(),
            subscribers_max: DEFAULT_SUBSCRIBERS_MAX,
            subscribers_per_address: None,
        }
    }
}

/// Bytes that `Debug` never prints.
#[derive(Clone)]
pub(crate) struct SecretBytes(pub(crate) Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes")
    }
}

impl AccessConfig {
    /// Reads the token from its environment variable if one is named, and rejects settings that cannot work.
    pub(crate) fn validated(mut self) -> Result<Self, Error> {
        if let Some(Auth(rule)) = &mut self.auth {
            *rule = validated_rule(rule)?;
        }
        if self
            .ticket_key
            .as_ref()
            .is_some_and(|key| key.0.len() < TICKET_KEY_BYTES_MIN)
        {
            return Err(Error::invalid(format!(
                "the ticket key has fewer than {TICKET_KEY_BYTES_MIN} bytes"
            )));
        }
        for origin in &mut self.allowed_origins {
            *origin = validated_origin(origin)?;
        }
        Ok(self)
    }

    #[cfg(feature = "http")]
    pub(crate) fn token(&self) -> Option<&str> {
        match &self.auth {
            Some(Auth(AuthRule::Token(token))) => Some(token),
            _ => None,
        }
    }
}

/// Lower bound on the length of the key that signs tickets, in bytes.
pub(crate) const TICKET_KEY_BYTES_MIN: usize = 16;

fn validated_rule(rule: &AuthRule) -> Result<AuthRule, Error> {
    let (token, place) = match rule {
        AuthRule::Token(token) => (token.clone(), "the token".to_owned()),
        AuthRule::TokenFrom(variable) => {
            let value = env::var_os(variable).ok_or_else(|| {
                Error::invalid(format!(
                    "{variable} is not set: it must hold the token that readers send"
                ))
            })?;
            (
                value.to_string_lossy().into_owned(),
                format!("the token in {variable}"),
            )
        }
        other => return Ok(other.clone()),
    };
    if token.is_empty() {
        return Err(Error::invalid(format!("{place} is empty")));
    }
    // RFC 9110, section 5.5: the characters that a field value may hold without ambiguity.
    if !token
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        || token.trim() != token
    {
        return Err(Error::invalid(format!(
            "{place} has characters that a header cannot carry: only visible ASCII, and blanks within"
        )));
    }
    Ok(AuthRule::Token(token))
}

/// Returns the origin as browsers write it in `Origin` (RFC 6454, section 6.2): scheme, host and, unless it is the
/// default, port.
fn validated_origin(origin: &str) -> Result<String, Error> {
    let wrong = || {
        Error::invalid(format!(
            "{origin:?} is not an origin, such as \"https://shop.example\" or \"http://localhost:3000\""
        ))
    };
    let lower = origin.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or_else(wrong)?;
    let is_scheme = matches!(scheme, "http" | "https");
    let parsed: http::uri::Authority = authority.parse().map_err(|_invalid| wrong())?;
    if !is_scheme || authority.contains(['/', '@', '*', '?', '#']) || parsed.host().is_empty() {
        return Err(wrong());
    }
    let default = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default).unwrap_or(authority);
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for (given, written) in [
            ("https://shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example:443", "https://shop.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(validated_origin(given).unwrap(), written);
        }
        for wrong in [
            "*",
            "null",
            "",
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://*.example",
            "https://user@shop.example",
            "file://shop",
        ] {
            let error = validated_origin(wrong).unwrap_err();
            assert!(error.is_invalid());
            assert_eq!(
                error.to_string(),
                format!(
                    "{wrong:?} is not an origin, such as \"https://shop.example\" or \"http://localhost:3000\""
                )
            );
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        let refused = |token: &str| {
            let rule = AuthRule::Token(token.to_owned());
            validated_rule(&rule).map(drop).unwrap_err().to_string()
        };
        assert_eq!(refused(""), "the token is empty");
        for token in ["a\nb", "späti", " a", "a ", "a\u{7f}"] {
            assert_eq!(
                refused(token),
                "the token has characters that a header cannot carry: only visible ASCII, and blanks within"
            );
        }
        let missing = AuthRule::TokenFrom("LIVESPAN_TEST_NOT_SET".to_owned());
        assert_eq!(
            validated_rule(&missing).map(drop).unwrap_err().to_string(),
            "LIVESPAN_TEST_NOT_SET is not set: it must hold the token that readers send"
        );
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let config = AccessConfig {
            auth: Some(Auth::token("hush-hush")),
            ticket_key: Some(SecretBytes(b"hush-hush".to_vec())),
            ..AccessConfig::default()
        };
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }
}

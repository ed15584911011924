//! The address of a livespan's page. Pure.

use http::Uri;

/// An address such as `http://127.0.0.1:4380/` or `http://[::1]:4380/live/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    authority: String,
    host: String,
    port: u16,
    /// The path, without a slash at the end.
    prefix: String,
}

impl Address {
    /// Parses an address. The only scheme is `http://`, which may be omitted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let refused = || format!("{text:?} is not an address such as http://127.0.0.1:4380/");
        let uri: Uri = whole.parse().map_err(|_malformed| refused())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!(
                    "{text:?}: https is not supported; forward the port, for example with ssh -L 4380:127.0.0.1:4380 HOST"
                ));
            }
            _ => return Err(refused()),
        }
        let authority = uri.authority().ok_or_else(refused)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(refused());
        }
        let host = authority.host();
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns host and port as they appear in a request.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}/", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_a_prefix() {
        for (text, host, port, prefix, shown) in [
            (
                "http://127.0.0.1:4380/",
                "127.0.0.1",
                4380,
                "",
                "http://127.0.0.1:4380/",
            ),
            (
                "127.0.0.1:4380",
                "127.0.0.1",
                4380,
                "",
                "http://127.0.0.1:4380/",
            ),
            (
                "http://[::1]:9/live/",
                "::1",
                9,
                "/live",
                "http://[::1]:9/live/",
            ),
            (
                "http://ops.example/live",
                "ops.example",
                80,
                "/live",
                "http://ops.example/live/",
            ),
        ] {
            let address = Address::parse(text).unwrap();
            let parts = (address.host(), address.port(), address.prefix());
            assert_eq!(
                (parts, &*address.to_string()),
                ((host, port, prefix), shown)
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "http://",
            "ftp://a/",
            "http://u@a/",
            "http://a/?q=1",
            "http://a b/",
        ] {
            let expected = format!("{text:?} is not an address such as http://127.0.0.1:4380/");
            assert_eq!(Address::parse(text), Err(expected), "{text}");
        }
        let message = Address::parse("https://a/").unwrap_err();
        assert!(
            message.starts_with("\"https://a/\": https is not supported;"),
            "{message}"
        );
    }
}

//! Parses `host[:port]`: the form of `Host`, and of `Origin` after its scheme (RFC 9110, section 7.2; RFC 3986, section
//! 3.2). Text with other parts, such as user information, is rejected, so that no two parsers can disagree about the
//! host. Pure.

use std::net::Ipv6Addr;

/// Upper bound on the length of a host name, in bytes (RFC 1035, section 2.3.4).
const HOST_LENGTH_MAX: usize = 255;

/// A host, and its port if one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Lowercase, without brackets and without a trailing dot.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl HostPort {
    /// Parses the text; returns `None` if it is not a host with an optional port.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
        } else {
            let port = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(port);
            (name(host)?, port)
        };
        let port = match port.strip_prefix(':') {
            // An empty port means the default port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Parses an origin into its scheme and host; returns `None` for `null` and for invalid text. A port is kept even
    /// if it is the scheme's default.
    pub(crate) fn of_origin(origin: &str) -> Option<(&str, Self)> {
        let (scheme, authority) = origin.split_once("://")?;
        Some((scheme, Self::parse(authority)?))
    }

    /// Returns the port, or the default port of this scheme.
    pub(crate) fn port_or_default(&self, scheme: &str) -> u16 {
        let default = if scheme.eq_ignore_ascii_case("https") {
            443
        } else {
            80
        };
        self.port.unwrap_or(default)
    }
}

/// Parses a host name or an IPv4 address.
fn name(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_in_name)
    };
    (name.len() <= HOST_LENGTH_MAX && name.split('.').all(is_label))
        .then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_or_without_a_port_is_read() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("LocalHost:4380", "localhost", Some(4380)),
            ("localhost.", "localhost", None),
            ("localhost.:80", "localhost", Some(80)),
            ("localhost:", "localhost", None),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("my_service:1", "my_service", Some(1)),
            ("xn--ls8h.example", "xn--ls8h.example", None),
            ("[::1]", "::1", None),
            ("[0:0::0:1]:4380", "::1", Some(4380)),
            ("[::ffff:127.0.0.1]:", "::ffff:127.0.0.1", None),
        ] {
            let read = HostPort::parse(text);
            let expected = HostPort {
                host: host.to_owned(),
                port,
            };
            assert_eq!(read, Some(expected), "{text}");
        }
    }

    #[test]
    fn text_with_missing_or_further_parts_is_refused() {
        for text in [
            "",
            ".",
            ":80",
            "localhost:80@evil.com",
            "localhost:evil.com",
            "localhost@evil.com",
            "user:pass@localhost",
            "localhost:80:80",
            "localhost:-1",
            "localhost:+80",
            "localhost:65536",
            "localhost: 80",
            " localhost",
            "localhost..",
            "a..b",
            "localhost/",
            "localhost#",
            "localhost\\@evil.com",
            "local%68ost",
            "localhost,evil.com",
            "evil.com\tlocalhost",
            "käse.example",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]x:80",
            "[::1%25eth0]",
            "[localhost]",
            "[127.0.0.1]",
            "[]",
        ] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
        assert_eq!(HostPort::parse(&"a".repeat(256)), None);
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let (scheme, host) = HostPort::of_origin("https://Shop.example").unwrap();
        assert_eq!((scheme, &*host.host), ("https", "shop.example"));
        assert_eq!(host.port_or_default(scheme), 443);
        for text in [
            "null",
            "",
            "http://",
            "http://a@b",
            "http://a/",
            "http://a:b",
            "a:80",
        ] {
            assert_eq!(HostPort::of_origin(text), None, "{text}");
        }
    }
}

//! One file as it is sent, in two content codings: identity and gzip. The request's headers decide which one is sent.
//! If the client has the file already, the response is `304` without a body.
//!
//! It never reads a file or a clock. A file is compressed on the caller's thread when the first client accepts gzip, so
//! callers on a runtime must use `spawn_blocking`.

use std::{io::Write as _, sync::OnceLock};

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// Scripts, styles, pictures and connections may come only from this server. A picture may also be inside the page as a
/// `data:` URL, as the tab's icon is. No frame may contain the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// How long caches may keep a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caching {
    /// The name changes with the contents: cached for a year, never revalidated.
    Immutable,
    /// The contents change under one name: cached, revalidated each time.
    Revalidate,
}

impl Caching {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Revalidate => "no-cache",
        })
    }
}

/// A file with its hash and its caching rule.
#[derive(Debug)]
pub(crate) struct Representation {
    content_type: &'static str,
    caching: Caching,
    hash: String,
    identity: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Representation {
    pub(crate) fn new(bytes: Bytes, content_type: &'static str, caching: Caching) -> Self {
        Self {
            content_type,
            caching,
            hash: hash(&bytes),
            identity: bytes,
            gzip: OnceLock::new(),
        }
    }

    /// Returns the first 64 bits of the SHA-256 of the contents, in hexadecimal digits.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the file in a coding that the request accepts, or `304` if the client has it in that coding.
    pub(crate) fn respond(&self, request: &HeaderMap) -> Response<Body> {
        let is_gzip = accepts_gzip(request);
        let tag = self.entity_tag(is_gzip);
        let is_known = values(request, &header::IF_NONE_MATCH).any(|known| names(known, &tag));
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        if !is_known && is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        let content_type = HeaderValue::from_static(self.content_type);
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CACHE_CONTROL, self.caching.header());
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        // Scripts need it, too: a worker has the policy of its own script, not that of the page.
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_SECURITY_POLICY),
        );
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::from(self.bytes(is_gzip));
        }
        response
    }

    /// Returns the strong entity tag. It identifies the bytes, so each coding has a tag of its own.
    fn entity_tag(&self, is_gzip: bool) -> String {
        let coding = if is_gzip { "-gzip" } else { "" };
        format!("\"{}{coding}\"", self.hash)
    }

    fn bytes(&self, is_gzip: bool) -> Bytes {
        if is_gzip {
            self.gzip.get_or_init(|| gzip(&self.identity)).clone()
        } else {
            self.identity.clone()
        }
    }
}

/// Returns the first 64 bits of the SHA-256 of the bytes, in hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = digest.iter().take(8);
    let first = first.fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    format!("{first:016x}")
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    compressed.map_or_else(|_never| Bytes::new(), Bytes::from)
}

/// Returns whether the client accepts gzip (RFC 9110, section 12.5.3): by name or by `*`, with a weight above zero.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let codings: Vec<(&str, bool)> = values(request, &header::ACCEPT_ENCODING)
        .flat_map(|value| value.split(','))
        .map(|item| {
            let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
            (coding.trim(), !is_zero_weight(weight))
        })
        .collect();
    let accepts = |wanted: &[&str]| {
        let is_wanted = |coding: &str| wanted.iter().any(|one| coding.eq_ignore_ascii_case(one));
        let found = codings.iter().find(|(coding, _)| is_wanted(coding));
        found.map(|(_, is_accepted)| *is_accepted)
    };
    // An entry for gzip takes precedence over one for `*`.
    accepts(&["gzip", "x-gzip"])
        .or_else(|| accepts(&["*"]))
        .unwrap_or(false)
}

/// Returns whether this is `q=0`, `q=0.` or `q=0.000`.
fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let value = value.trim();
    name.trim().eq_ignore_ascii_case("q")
        && value.starts_with('0')
        && value.bytes().all(|byte| matches!(byte, b'0' | b'.'))
}

/// Returns whether an `If-None-Match` has the tag, perhaps as a weak one: a compressing proxy makes tags weak.
fn names(known: &str, tag: &str) -> bool {
    known
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn values<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = request.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_clients_that_accept_it() {
        for (lines, expected) in [
            (&[][..], false),
            (&["gzip, deflate, br, zstd"], true),
            (&["br"], false),
            (&["br", "GZip"], true),
            (&["x-gzip"], true),
            (&["gzip;q=0.5"], true),
            (&["gzip;q=0"], false),
            (&["gzip ; Q=0.000"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["*, gzip;q=0"], false),
            (&["*;q=0, gzip"], true),
            (&["identity"], false),
            (&[""], false),
        ] {
            let mut request = HeaderMap::new();
            for line in lines {
                request.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(accepts_gzip(&request), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_hash_is_the_beginning_of_sha_256() {
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own() {
        let file = Representation::new(
            Bytes::from_static(b"abc"),
            "text/plain",
            Caching::Revalidate,
        );
        let answer = |accepted: &'static str, known: &'static str| {
            let mut request = HeaderMap::new();
            request.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            request.insert(header::IF_NONE_MATCH, HeaderValue::from_static(known));
            let response = file.respond(&request);
            let tag = response.headers()[header::ETAG].to_str().unwrap();
            (response.status().as_u16(), tag.to_owned())
        };
        let (plain, zipped) = ("\"ba7816bf8f01cfea\"", "\"ba7816bf8f01cfea-gzip\"");
        assert_eq!(answer("br", plain), (304, plain.to_owned()));
        assert_eq!(answer("gzip", zipped), (304, zipped.to_owned()));
        assert_eq!(answer("gzip", plain), (200, zipped.to_owned()));
        assert_eq!(answer("br", zipped), (200, plain.to_owned()));
    }
}

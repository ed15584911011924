//! Serves the page. The page's own addresses are relative. So the page gets a `<base>` with its folder if the requested
//! address does not end in a slash, or if a proxy removed a prefix from it. No other part of a request may get into the
//! page, and the folder may contain only characters without a special meaning in HTML.

use std::sync::LazyLock;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::dashboard::representation::{Caching, Representation};

const PAGE: &str = include_str!("bundle/index.html");
/// A `<base>` is inserted after this.
const HEAD: &str = "<head>";

/// The page without a `<base>`.
static PLAIN: LazyLock<Representation> =
    LazyLock::new(|| representation(Bytes::from_static(PAGE.as_bytes())));

/// Returns the page for a browser that requested `path`, perhaps behind a proxy that removed a prefix.
pub(crate) fn page(
    path: &str,
    forwarded_prefix: Option<&str>,
    request: &HeaderMap,
) -> Response<Body> {
    match base(path, forwarded_prefix) {
        None => PLAIN.respond(request),
        Some(base) => representation(with_base(&base).into()).respond(request),
    }
}

fn representation(bytes: Bytes) -> Representation {
    Representation::new(bytes, "text/html; charset=utf-8", Caching::Revalidate)
}

fn with_base(base: &str) -> String {
    PAGE.replacen(HEAD, &format!("{HEAD}\n<base href=\"{base}\">"), 1)
}

/// Returns the page's folder if the browser might not derive it from the address. Without a slash at the end, the
/// browser ignores the last segment. Behind a proxy that removed a prefix, `path` does not show whether the browser's
/// address ends in a slash. Returns `None` for a path that is not plain.
fn base(path: &str, forwarded_prefix: Option<&str>) -> Option<String> {
    let prefix = forwarded_prefix.filter(|prefix| is_plain_path(prefix));
    if (prefix.is_none() && path.ends_with('/')) || !is_plain_path(path) {
        return None;
    }
    let prefix = prefix.unwrap_or_default().trim_end_matches('/');
    Some(format!("{prefix}{}/", path.trim_end_matches('/')))
}

/// Returns whether the text is a path that HTML and browsers can only read as a path.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~%!$()*+,;=:@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_finds_its_files_under_any_prefix() {
        assert_eq!(base("/", None), None);
        assert_eq!(base("/live/", None), None);
        assert_eq!(base("/live", None).as_deref(), Some("/live/"));
        assert_eq!(base("/a@b.c/live", None).as_deref(), Some("/a@b.c/live/"));
        assert_eq!(
            base("/", Some("/tools/live")).as_deref(),
            Some("/tools/live/")
        );
        assert_eq!(base("/", Some("/")).as_deref(), Some("/"));
        assert_eq!(
            base("/live", Some("/tools/")).as_deref(),
            Some("/tools/live/")
        );
        assert_eq!(
            base("/live/", Some("/tools")).as_deref(),
            Some("/tools/live/")
        );
        assert_eq!(base("//evil.example", None), None);
        assert_eq!(base("//evil.example/", Some("/")), None);
        assert_eq!(base("/", Some("//evil.example")), None);
        assert_eq!(base("/", Some("/\"><script>")), None);
        assert!(with_base("/live/").contains("<head>\n<base href=\"/live/\">\n"));
    }
}

//! Decides on requests that pages of other origins make. By default, a page of another site may only link to us. A page
//! of another origin on the same site may send reading requests, but it cannot read the responses. Pages of an origin
//! that the app allowed by name may read whatever a ticket or a token permits (CORS, WHATWG Fetch, section 3.2). A
//! browser's cookie never gives such a page access, because it identifies the person at the browser and not the author
//! of the page. Pure; it runs on the connection's task.

use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::{
    access::config::AccessConfig,
    http::{auth::host_port::HostPort, error::HttpError},
};

/// The time for which a browser caches the response to a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// Returns the origin of the request, if the app allowed it.
pub(crate) fn allowed<'a>(config: &AccessConfig, request: &'a Parts) -> Option<&'a HeaderValue> {
    let origin = request.headers.get(header::ORIGIN)?;
    let is_allowed = config
        .allowed_origins
        .iter()
        .any(|allowed| allowed.as_bytes() == origin.as_bytes());
    is_allowed.then_some(origin)
}

/// Removes the cookies from a request that a page of another origin caused, before any check uses them. This is
/// needed because a browser also sends a `SameSite=Strict` cookie for pages on other hosts and ports of the same
/// *site*. When a person follows a link, the request keeps its cookies.
pub(crate) fn strip_foreign_cookies(config: &AccessConfig, request: &mut Parts) {
    let is_of_other_page = match request.headers.get("sec-fetch-site") {
        Some(site) if site == "same-site" || site == "cross-site" => {
            request.headers.contains_key(header::ORIGIN)
                || !header_is(request, "sec-fetch-mode", "navigate")
        }
        Some(_) => false,
        // For clients without `Sec-Fetch-Site`. `check_reader` refuses origins that are not allowed, so only allowed
        // ones matter here. A browser sends the page's origin with a module script; behind a proxy that reaches us
        // under another name, the page's own origin may be an allowed one that differs from `Host`. Assets contain
        // nothing of the log, so requests for them keep their cookies.
        None => {
            allowed(config, request).is_some() && !is_same_origin(request) && !is_asset(request)
        }
    };
    if is_of_other_page {
        request.headers.remove(header::COOKIE);
    }
}

/// Returns whether the request is for a file of the dashboard.
pub(crate) fn is_asset(request: &Parts) -> bool {
    request
        .uri
        .path()
        .trim_start_matches('/')
        .starts_with("assets/")
}

/// Returns whether the request is a CORS preflight.
pub(crate) fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers a preflight from an allowed origin: its page may use these methods, resume and send a
/// token. Refuses one from another origin. The response contains nothing of the log, and a browser
/// sends no credentials with a preflight.
pub(crate) fn preflight(
    config: &AccessConfig,
    request: &Parts,
    methods: &'static str,
) -> Result<Response<Body>, HttpError> {
    if allowed(config, request).is_none() {
        let message = "pages of this origin may not read: allow it with .allowed_origins(..) on LiveSpans::builder()";
        return Err(HttpError::new(StatusCode::FORBIDDEN, message));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Last-Event-ID, Authorization, Cache-Control, Content-Type, MCP-Protocol-Version, Mcp-Method, Mcp-Name",
        ),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    Ok(response)
}

/// Marks a response as readable for a page of an allowed origin. `Access-Control-Allow-Credentials`
/// is left out, because credentials give such a page no access. Without that header, a browser
/// hides the response to a request with credentials from the page.
pub(crate) fn mark(config: &AccessConfig, request: &Parts, response: &mut Response<Body>) {
    if config.allowed_origins.is_empty() {
        return;
    }
    // Also set without an origin in the request, so that a cache never gives one page's response to
    // another page.
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed(config, request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// Refuses a request that a page of another site caused, unless its origin is allowed. Such a page
/// cannot see the response, but it could hold streams open and measure times. Following a link is
/// permitted.
pub(crate) fn check_reader(config: &AccessConfig, request: &Parts) -> Result<(), HttpError> {
    let is_foreign = match request.headers.get("sec-fetch-site") {
        Some(site) => site == "cross-site" && !header_is(request, "sec-fetch-mode", "navigate"),
        None => !is_same_origin(request),
    };
    if !is_foreign || allowed(config, request).is_some() {
        return Ok(());
    }
    let message = "pages of other sites may not read: allow their origin with .allowed_origins(..) on \
                   LiveSpans::builder()";
    Err(HttpError::new(StatusCode::FORBIDDEN, message))
}

/// Refuses a change that a page of another origin caused, unless that origin is allowed. Such a change would take
/// effect even though the page cannot read the response.
pub(crate) fn check_writer(config: &AccessConfig, request: &Parts) -> Result<(), HttpError> {
    if is_of_own_page(request) || allowed(config, request).is_some() {
        return Ok(());
    }
    let message = "a page of another site may not do this";
    Err(HttpError::new(StatusCode::FORBIDDEN, message))
}

/// Returns whether the request was caused by our own page or by a program, and not by a page of
/// another origin.
pub(crate) fn is_of_own_page(request: &Parts) -> bool {
    match request.headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => is_same_origin(request),
    }
}

fn header_is(request: &Parts, name: &str, value: &str) -> bool {
    request.headers.get(name).is_some_and(|is| is == value)
}

/// Compares the `Origin` with the `Host`, for clients without `Sec-Fetch-Site`. Browsers send that header only to HTTPS
/// and loopback addresses (W3C Fetch Metadata, section 2). Programs send no origin and count as the same origin.
fn is_same_origin(request: &Parts) -> bool {
    let Some(origin) = request.headers.get(header::ORIGIN) else {
        return true;
    };
    let origin = origin.to_str().ok().and_then(HostPort::of_origin);
    let host = request.headers.get(header::HOST);
    let host = host.and_then(|host| HostPort::parse(host.to_str().ok()?));
    origin.is_some_and(|(scheme, origin)| {
        host.is_some_and(|host| {
            host.host == origin.host
                && host.port_or_default(scheme) == origin.port_or_default(scheme)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::builder().uri("/");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn config() -> AccessConfig {
        AccessConfig {
            allowed_origins: vec!["https://shop.example".to_owned()],
            ..AccessConfig::default()
        }
    }

    #[test]
    fn only_a_page_of_ours_or_of_an_allowed_origin_changes_anything() {
        let own = ("host", "ops.example:1");
        for headers in [
            vec![own],
            vec![own, ("origin", "https://ops.example:1")],
            vec![
                ("host", "Ops.example."),
                ("origin", "https://ops.example:443"),
            ],
            vec![own, ("sec-fetch-site", "same-origin")],
            vec![own, ("sec-fetch-site", "none")],
            vec![
                own,
                ("origin", "https://shop.example"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(
                check_writer(&config(), &request(&headers)).is_ok(),
                "{headers:?}"
            );
        }
        for headers in [
            vec![own, ("origin", "https://evil.example")],
            vec![own, ("origin", "https://ops.example")],
            vec![own, ("origin", "null")],
            vec![own, ("origin", "https://ops.example:1@evil.example")],
            vec![own, ("origin", "https://evil.example/ops.example:1")],
            vec![
                ("host", "evil.example@"),
                ("origin", "https://evil.example@"),
            ],
            vec![own, ("sec-fetch-site", "cross-site")],
            vec![own, ("sec-fetch-site", "same-site")],
            vec![
                own,
                ("origin", "https://shop.example.evil"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(
                check_writer(&config(), &request(&headers)).is_err(),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn other_sites_may_only_link_to_us() {
        let site = ("sec-fetch-site", "cross-site");
        for headers in [
            vec![],
            vec![("sec-fetch-site", "same-site")],
            vec![
                ("host", "ops.example:1"),
                ("origin", "http://ops.example:1"),
            ],
            vec![site, ("sec-fetch-mode", "navigate")],
            vec![
                site,
                ("sec-fetch-mode", "cors"),
                ("origin", "https://shop.example"),
            ],
        ] {
            assert!(
                check_reader(&config(), &request(&headers)).is_ok(),
                "{headers:?}"
            );
        }
        for headers in [
            vec![
                site,
                ("sec-fetch-mode", "cors"),
                ("origin", "https://evil.example"),
            ],
            vec![site, ("sec-fetch-mode", "no-cors")],
            vec![site],
            vec![
                ("host", "ops.example:1"),
                ("origin", "http://evil.example:1"),
            ],
            vec![("host", "ops.example:1"), ("origin", "null")],
        ] {
            assert!(
                check_reader(&config(), &request(&headers)).is_err(),
                "{headers:?}"
            );
        }
    }
}

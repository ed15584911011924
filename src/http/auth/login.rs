//! Signs in a browser when a token is needed: with the token in a form, or with a one-time link. Afterwards the browser
//! has a cookie. No URL that is kept or logged may contain the token. All of this runs on the connection's task.

use std::time::{Duration, SystemTime};

use axum::{
    body::{Body, to_bytes},
    extract::OriginalUri,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use tokio::time::timeout;

use crate::{
    access::{Auth, token_signer::TokenSigner},
    error::Error,
    http::{
        auth::authorize,
        auth::cors,
        error::{HttpError, challenge},
        query_params::QueryParams,
        response,
    },
    live_spans::LiveSpans,
    util::query,
};

/// Upper bound on a login form, in bytes.
const FORM_BYTES_MAX: usize = 8 * 1024;
/// Time within which a client must send the whole form: 10 seconds.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// The query parameter of a one-time link.
const CODE: &str = "login";

/// The style of the page below is inline. A browser accepts it by its hash (CSP level 3, section 2.3.1), and a test
/// compares the hash. The form may be submitted only to this origin.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-mACrKx1shMYXIOexsTXkh8YxZ5yBNAKwr+oG5/mA5a8='; img-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:22em;padding:0 1em;color-scheme:light dark}\
    label,input,button{display:block;width:100%;box-sizing:border-box;font:inherit}\
    input,button{padding:.5em;margin:.5em 0 1em}";
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>livespan: sign in</title>";

impl LiveSpans {
    /// Returns a link that signs in one browser, once, within [`Auth::LOGIN_LINK_AGE`](crate::Auth::LOGIN_LINK_AGE).
    /// `page` is the address at which [`router`](Self::router) is mounted. Only this process accepts the link. Once
    /// used, the link is worthless, so it may stay in histories and logs. Without [`Auth::token`](crate::Auth::token),
    /// this returns `page` unchanged.
    ///
    /// ```
    /// use livespan::{Auth, LiveSpans};
    ///
    /// let live = LiveSpans::builder().auth(Auth::token("a long random text")).build()?;
    /// let link = live.login_link("https://ops.example/live/")?;
    /// assert!(link.starts_with("https://ops.example/live/?login="));
    /// # Ok::<(), livespan::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the system cannot provide random numbers.
    pub fn login_link(&self, page: &str) -> Result<String, Error> {
        if self.shared.access.token().is_none() {
            return Ok(page.to_owned());
        }
        let code = self.shared.signer.issue_login_code(SystemTime::now())?;
        let joint = if page.contains('?') { '&' } else { '?' };
        Ok(format!("{page}{joint}{CODE}={code}"))
    }
}

/// Answers a request whose address has the code of a one-time link; returns `None` for other requests.
pub(crate) fn by_link(
    live: &LiveSpans,
    request: &Parts,
    params: &QueryParams<'_>,
) -> Result<Option<Response<Body>>, HttpError> {
    let Some(code) = params.one(CODE)? else {
        return Ok(None);
    };
    // Without a token no login is needed, so even an old link shows the page.
    if live.shared.access.token().is_none() {
        return Ok(Some(redirect_page(&own_path(request), None)));
    }
    let signer = &live.shared.signer;
    // A link preview that sends only a `HEAD` request must not use up the link.
    if request.method == http::Method::GET && signer.redeem_login_code(code, SystemTime::now()) {
        return Ok(Some(redirect_page(
            &own_path(request),
            cookie(signer, request),
        )));
    }
    Ok(Some(form(
        "This link was used before, or is too old. Ask for another, or sign in with the token.",
    )))
}

/// Returns the login page if the error is 401 and the client accepts HTML; otherwise returns `error`.
pub(crate) fn page(error: HttpError, headers: &HeaderMap) -> Result<Response<Body>, HttpError> {
    let accepts = headers.get(header::ACCEPT);
    let wants_page = accepts
        .and_then(|accepts| accepts.to_str().ok())
        .is_some_and(|accepts| accepts.contains("text/html"));
    if error.is_unauthorized() && wants_page {
        return Ok(form("Reading needs this log's token."));
    }
    Err(error)
}

/// Signs in with the token that the form contains.
pub(crate) async fn by_form(
    live: &LiveSpans,
    request: &Parts,
    body: Body,
) -> Result<Response<Body>, HttpError> {
    if live.shared.access.token().is_none() {
        return Err(HttpError::method_not_allowed());
    }
    cors::check_writer(&live.shared.access, request)?;
    let read = timeout(FORM_TIMEOUT, to_bytes(body, FORM_BYTES_MAX)).await;
    let Ok(Ok(bytes)) = read else {
        let message = format!("the form is incomplete, or has more than {FORM_BYTES_MAX} bytes");
        return Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    };
    let fields = std::str::from_utf8(&bytes).unwrap_or_default();
    let token = query::first(fields, "token").and_then(Result::ok);
    let signer = &live.shared.signer;
    if token.is_some_and(|token| signer.is_token(token.trim().as_bytes())) {
        Ok(redirect_page(&own_path(request), cookie(signer, request)))
    } else {
        authorize::count_invalid_credentials(live);
        Ok(form("That is not the token."))
    }
}

/// Returns the path that the browser requested, as a relative address. Only its last segment is used, because a proxy
/// may have removed a prefix.
fn own_path(request: &Parts) -> String {
    let original = request.extensions.get::<OriginalUri>();
    let path = original.map_or_else(|| request.uri.path(), |OriginalUri(uri)| uri.path());
    let last = path.rsplit('/').next().unwrap_or_default();
    format!("./{last}")
}

/// Returns the cookie. It has no `Path`, so a browser sends it to the page's directory and below
/// (RFC 6265, section 5.1.4). This also works behind a proxy that removed a prefix.
fn cookie(signer: &TokenSigner, request: &Parts) -> Option<HeaderValue> {
    let (name, value) = (
        signer.cookie_name()?,
        signer.issue_cookie(SystemTime::now())?,
    );
    let age = Auth::LOGIN_AGE.as_secs();
    let is_secure = request
        .headers
        .get("x-forwarded-proto")
        .is_some_and(|scheme| scheme == "https")
        || request.uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).ok()
}

/// Sends the browser to the page without the code in the address. An HTTP redirect would fail after
/// a click on another site, such as a link in a mail: the browser would not send the
/// `SameSite=Strict` cookie.
fn redirect_page(path: &str, cookie: Option<HeaderValue>) -> Response<Body> {
    let escaped = path.replace('&', "&amp;").replace('"', "&quot;");
    let mut response = html(&format!(
        "{HEAD}<meta http-equiv=\"refresh\" content=\"0;url={escaped}\"></head><body><p><a href=\"{escaped}\">\
         Signed in</a></p></body></html>"
    ));
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn form(text: &str) -> Response<Body> {
    let mut response = html(&format!(
        "{HEAD}<style>{STYLE}</style></head><body><h1>livespan</h1><p>{text}</p><form method=\"post\">\
         <label>Token <input type=\"password\" name=\"token\" autocomplete=\"current-password\" required autofocus></label>\
         <button>Sign in</button></form></body></html>"
    ));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    challenge(headers);
    // With `no-referrer`, a browser would send the form without its origin (WHATWG Fetch, section 3.1).
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    response
}

fn html(text: &str) -> Response<Body> {
    let mut response = response::with_type(Body::from(text.to_owned()), "text/html; charset=utf-8");
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Encodes as base64 (RFC 4648, section 4).
    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let mut bits = 0_usize;
            for at in 0..3 {
                bits = bits << 8 | usize::from(three.get(at).copied().unwrap_or(0));
            }
            for at in 0..=three.len() {
                text.push(char::from(ALPHABET[bits >> (18 - 6 * at) & 63]));
            }
            text.extend(std::iter::repeat_n('=', 3 - three.len()));
        }
        text
    }

    #[test]
    fn the_policy_names_the_style_of_the_page() {
        let hash = base64(&Sha256::digest(STYLE));
        let policy = POLICY;
        assert!(
            policy
                .to_str()
                .unwrap()
                .contains(&format!("'sha256-{hash}'")),
            "{hash}"
        );
    }

    #[test]
    fn a_browser_is_redirected_to_the_path_that_it_requested() {
        let asked = |path: &str| {
            let request = http::Request::builder().uri(path).body(()).unwrap();
            own_path(&request.into_parts().0)
        };
        assert_eq!(asked("/?login=x"), "./");
        assert_eq!(asked("/live/?login=x"), "./");
        assert_eq!(asked("/ops/live?login=x"), "./live");
    }
}

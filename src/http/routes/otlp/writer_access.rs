//! Decides who may write. If the receiver has a token, a sender needs it. Otherwise a sender needs
//! read access to the whole log. Pages of other origins must be allowed by name.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use crate::{
    http::{
        auth::{authorize, cors, host_check},
        error::HttpError,
        routes::otlp::answer::OtlpError,
    },
    live_spans::LiveSpans,
    otlp::receiver::Receiver,
};

/// Upper bound on the bytes of a preflight's header names, which the response repeats.
const HEADERS_MAX: usize = 1024;

/// Refuses a sender that may not write.
pub(super) async fn check(
    live: &LiveSpans,
    receiver: &Receiver,
    request: &Parts,
) -> Result<(), OtlpError> {
    host_check::check_host(&live.shared.access, request)?;
    check_origin(receiver, request)?;
    let Some(signer) = &receiver.token else {
        let authorized = authorize::authorize(live, request).await;
        let authorization = authorized.map_err(HttpError::from)?;
        return Ok(authorization.require_full_access()?);
    };
    let key = request.headers.get("x-otlp-api-key");
    let key = key.map(HeaderValue::as_bytes);
    let bearer = request.headers.get(header::AUTHORIZATION);
    let presented = key.or_else(|| authorize::bearer(bearer?));
    match presented {
        Some(token) if signer.is_token(token) => Ok(()),
        Some(_) => {
            authorize::count_invalid_credentials(live);
            Err(OtlpError::new(
                StatusCode::UNAUTHORIZED,
                "the token is wrong",
            ))
        }
        None => Err(OtlpError::new(
            StatusCode::UNAUTHORIZED,
            "senders need the token: set OTEL_EXPORTER_OTLP_HEADERS=x-otlp-api-key=… in their environment",
        )),
    }
}

/// Returns the origin of the request, if pages of this origin may send OTLP.
fn allowed<'a>(receiver: &Receiver, request: &'a Parts) -> Option<&'a HeaderValue> {
    let origin = request.headers.get(header::ORIGIN)?;
    let is_allowed = |text: &str| receiver.config.allows_origin(text);
    origin.to_str().is_ok_and(is_allowed).then_some(origin)
}

fn check_origin(receiver: &Receiver, request: &Parts) -> Result<(), OtlpError> {
    if allowed(receiver, request).is_some() || cors::is_of_own_page(request) {
        return Ok(());
    }
    Err(OtlpError::new(
        StatusCode::FORBIDDEN,
        "pages of this origin may not send: allow it with OtlpReceiver::allowed_origins(..)",
    ))
}

/// Answers a preflight. A page of an allowed origin may send any headers that its SDK needs.
pub(super) fn preflight(live: &LiveSpans, receiver: &Receiver, request: &Parts) -> Response<Body> {
    let checked = host_check::check_host(&live.shared.access, request)
        .map_err(OtlpError::from)
        .and_then(|()| check_origin(receiver, request));
    if let Err(error) = checked {
        return error.into_response(None);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST"),
    );
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.filter(|asked| asked.len() <= HEADERS_MAX).cloned();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        asked.unwrap_or(HeaderValue::from_static(
            "content-type, content-encoding, authorization, x-otlp-api-key",
        )),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    mark(receiver, request, &mut response);
    response
}

/// Lets a page of an allowed origin read the response.
pub(super) fn mark(receiver: &Receiver, request: &Parts, response: &mut Response<Body>) {
    if receiver.config.allowed_origins.is_empty() {
        return;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed(receiver, request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

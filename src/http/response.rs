//! Responses that are complete at once. It runs on the connection's task.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(Body::from(bytes), "application/json"),
        Err(error) => {
            let mut response =
                with_type(Body::from(error.to_string()), "text/plain; charset=utf-8");
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

pub(crate) fn with_type(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Appends `separator`, a brace or a comma, and then the fields of an object.
pub(crate) fn fields(out: &mut Vec<u8>, separator: u8, object: &impl Serialize) {
    let text = serde_json::to_vec(object).unwrap_or_default();
    let inside = text
        .strip_prefix(b"{")
        .and_then(|text| text.strip_suffix(b"}"));
    out.push(separator);
    out.extend_from_slice(inside.unwrap_or_default());
}

//! Errors of requests: the status of each cause, and the header that each of 401, 405 and 503 needs. This code runs on
//! the connection's task.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{error::Error, http::response};

/// A request that is answered with an error.
#[derive(Clone, Debug)]
pub(crate) struct HttpError {
    status: StatusCode,
    message: String,
}

impl HttpError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// Creates an error for a client that did not authenticate. The client may be accepted if it sends a valid token.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are answered",
        )
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        struct ErrorBody {
            error: String,
        }
        let mut response = response::json(&ErrorBody {
            error: self.message,
        });
        *response.status_mut() = self.status;
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            challenge(response.headers_mut());
        }
        response
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let status = if error.is_store() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_REQUEST
        };
        Self::new(status, error.with_causes())
    }
}

/// Names the scheme by which a client can authenticate (RFC 6750, section 3).
pub(crate) fn challenge(headers: &mut HeaderMap) {
    let scheme = HeaderValue::from_static("Bearer realm=\"livespan\"");
    headers.insert(header::WWW_AUTHENTICATE, scheme);
}

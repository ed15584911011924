//! Answers that are not streams: JSON, errors, and bodies made of pieces that share the log's memory.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use serde::Serialize;

use crate::error::Error;

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

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The sender did not show that it may read, and could.
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
        struct Shown {
            error: String,
        }
        let mut response = json(&Shown {
            error: self.message,
        });
        *response.status_mut() = self.status;
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
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

/// Says how to show who one is (RFC 6750, section 3).
pub(crate) fn challenge(headers: &mut HeaderMap) {
    let scheme = HeaderValue::from_static("Bearer realm=\"livespan\"");
    headers.insert(header::WWW_AUTHENTICATE, scheme);
}

/// Does work that takes a while where it holds nobody up: the caller may be on the host's own runtime.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let failed = |error: tokio::task::JoinError| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

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

pub(crate) fn pieces(pieces: VecDeque<Bytes>, content_type: &'static str) -> Response<Body> {
    with_type(Body::new(Pieces(pieces)), content_type)
}

pub(crate) fn with_type(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Bytes up to which small pieces are joined.
const JOINED_BYTES_MAX: usize = 32 * 1024;

/// Bytes that are sent one after another.
#[derive(Debug)]
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }
}

impl Pieces {
    /// The next piece, or many small ones joined: each costs a chunk of its own on the wire.
    fn next(&mut self) -> Option<Bytes> {
        let first = self.0.pop_front()?;
        let fits = |length: usize, next: Option<&Bytes>| {
            next.is_some_and(|next| length + next.len() <= JOINED_BYTES_MAX)
        };
        if !fits(first.len(), self.0.front()) {
            return Some(first);
        }
        let mut joined = Vec::with_capacity(JOINED_BYTES_MAX);
        joined.extend_from_slice(&first);
        while fits(joined.len(), self.0.front()) {
            joined.extend_from_slice(&self.0.pop_front()?);
        }
        Some(joined.into())
    }
}

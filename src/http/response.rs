//! Answers that are not streams: JSON, and bodies of pieces that share the memory of the log. It runs on the connection's
//! task.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
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

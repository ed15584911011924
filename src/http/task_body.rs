//! A body that a task of its own writes, piece by piece: as long as the client does not take a piece, the task waits, and holds
//! nothing but that piece and the one before. The task ends with the body, or when the client takes nothing for
//! [`LiveSpans::TRACE_STALL_TIMEOUT`]. A body whose task did not say that it is whole fails, so that no client takes a part for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use opentelemetry::context::{Context as TelemetryContext, FutureExt as _};
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};

use crate::{http::response, live_spans::LiveSpans};

/// The size at which a piece is sent.
const PIECE_BYTES: usize = 64 * 1024;

/// The client has gone, or takes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientGone;

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// Where the task writes.
#[derive(Debug)]
pub(crate) struct BodyWriter {
    pub(crate) out: Vec<u8>,
    pieces: mpsc::Sender<Piece>,
}

impl BodyWriter {
    /// Hands on what was written if it is much: to be called between pages.
    pub(crate) async fn send_if_large(&mut self) -> Result<(), ClientGone> {
        if self.out.len() < PIECE_BYTES {
            return Ok(());
        }
        self.send().await
    }

    /// Hands on what was written, when the client has taken the piece before.
    pub(crate) async fn send(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let piece = Piece::Bytes(Bytes::from(std::mem::take(&mut self.out)));
        self.hand_on(piece).await
    }

    /// Says that the body is whole.
    pub(crate) async fn finish(mut self) -> Result<(), ClientGone> {
        self.send().await?;
        self.hand_on(Piece::End).await
    }

    async fn hand_on(&self, piece: Piece) -> Result<(), ClientGone> {
        let sent = timeout(LiveSpans::TRACE_STALL_TIMEOUT, self.pieces.send(piece)).await;
        sent.map_err(|_elapsed| ClientGone)?
            .map_err(|_closed| ClientGone)
    }
}

/// Answers with what `write` writes.
pub(crate) fn written_by<F>(
    content_type: &'static str,
    write: impl FnOnce(BodyWriter) -> F,
) -> Response<Body>
where
    F: Future<Output = Result<(), ClientGone>> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(1);
    let writing = write(BodyWriter {
        out: Vec::new(),
        pieces: sender,
    });
    let suppressed = TelemetryContext::new().with_telemetry_suppressed();
    let task = tokio::spawn(
        async move {
            // Where the client is gone, nobody is left to be told.
            writing.await.unwrap_or_default();
        }
        .with_context(suppressed),
    );
    let body = TaskBody {
        pieces,
        task: task.abort_handle(),
        is_whole: false,
    };
    response::with_type(Body::new(body), content_type)
}

#[derive(Debug)]
struct TaskBody {
    pieces: mpsc::Receiver<Piece>,
    task: AbortHandle,
    is_whole: bool,
}

impl http_body::Body for TaskBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_whole {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.is_whole = true;
                None
            }
            None => Some(Err(io::Error::other("the rest of the answer is missing"))),
        })
    }
}

impl Drop for TaskBody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

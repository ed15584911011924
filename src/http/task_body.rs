//! A body that its own task writes, piece by piece. While the client does not take a piece, the task waits, and holds
//! only that piece and the one before. The task ends with the body, or when the client takes nothing for
//! [`LiveSpans::TRACE_STALL_TIMEOUT`]. If the task ends without having marked the body as whole, the body fails, so
//! that no client takes a part for the whole.

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

/// The client is gone, or has stopped reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientGone;

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// The writing side of the body.
#[derive(Debug)]
pub(crate) struct BodyWriter {
    pub(crate) out: Vec<u8>,
    pieces: mpsc::Sender<Piece>,
}

impl BodyWriter {
    /// Sends what was written if that is a piece or more. It is called between pages.
    pub(crate) async fn send_if_large(&mut self) -> Result<(), ClientGone> {
        if self.out.len() < PIECE_BYTES {
            return Ok(());
        }
        self.send().await
    }

    /// Sends what was written, once the client has taken the piece before.
    pub(crate) async fn send(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let piece = Piece::Bytes(Bytes::from(std::mem::take(&mut self.out)));
        self.hand_on(piece).await
    }

    /// Marks the body as whole.
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

/// Returns a response whose body `write` writes.
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
            // If the client is gone, nobody is left to tell.
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

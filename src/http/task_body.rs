//! A response body that a separate task writes, piece by piece. While the client does not read, the task
//! waits with at most two pieces in memory. The task ends with the body, or when the client reads nothing for
//! [`LiveSpans::TRACE_STALL_TIMEOUT`]. If the task ends without marking the body as complete, the body fails,
//! so that no client mistakes a part for the whole.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use opentelemetry::context::{Context as TelemetryContext, FutureExt as _};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, timeout},
};

use crate::{http::response, live_spans::LiveSpans};

/// The size at which a piece is sent.
const PIECE_BYTES: usize = 64 * 1024;
/// The time without output after which a body that ignores white space sends a line break. Proxies
/// close connections that are silent for much longer.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The response ends early: its client is gone or has stopped reading, or the data cannot be read to the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyFailed;

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
    sent_at: Instant,
    fills_silence: bool,
}

impl BodyWriter {
    /// From now on, sends a line break after [`SILENCE_MAX`] without output. Use it only for a
    /// document that ignores white space, and whose output always ends between two tokens.
    pub(crate) fn fill_silence(&mut self) {
        self.fills_silence = true;
    }

    /// Sends the output if it is at least one piece, or if the silence has lasted too long. It is
    /// called between pages.
    pub(crate) async fn send_if_large(&mut self) -> Result<(), BodyFailed> {
        if self.out.len() < PIECE_BYTES && !self.is_silent_too_long() {
            return Ok(());
        }
        self.send().await
    }

    fn is_silent_too_long(&self) -> bool {
        self.fills_silence && self.sent_at.elapsed() >= SILENCE_MAX
    }

    /// Waits until the channel has room, then sends the output.
    pub(crate) async fn send(&mut self) -> Result<(), BodyFailed> {
        if self.is_silent_too_long() {
            self.out.push(b'\n');
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let piece = Piece::Bytes(Bytes::from(std::mem::take(&mut self.out)));
        self.send_piece(piece).await?;
        self.sent_at = Instant::now();
        Ok(())
    }

    /// Marks the body as complete.
    pub(crate) async fn finish(mut self) -> Result<(), BodyFailed> {
        self.send().await?;
        self.send_piece(Piece::End).await
    }

    async fn send_piece(&self, piece: Piece) -> Result<(), BodyFailed> {
        let sent = timeout(LiveSpans::TRACE_STALL_TIMEOUT, self.pieces.send(piece)).await;
        sent.map_err(|_elapsed| BodyFailed)?
            .map_err(|_closed| BodyFailed)
    }
}

/// Returns a response whose body `write` writes.
pub(crate) fn written_by<F>(
    content_type: &'static str,
    write: impl FnOnce(BodyWriter) -> F,
) -> Response<Body>
where
    F: Future<Output = Result<(), BodyFailed>> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(1);
    let writing = write(BodyWriter {
        out: Vec::new(),
        pieces: sender,
        sent_at: Instant::now(),
        fills_silence: false,
    });
    let suppressed = TelemetryContext::new().with_telemetry_suppressed();
    let task = tokio::spawn(
        async move {
            // On an error, the dropped sender makes the body fail.
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body::Body as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_document_sends_white_space_during_long_searches() {
        let mut body = written_by("application/json", |mut body| async move {
            body.fill_silence();
            body.out.extend_from_slice(b"{\"list\":[");
            body.send().await?;
            for _ in 0..4 {
                tokio::time::advance(SILENCE_MAX / 2).await;
                body.send_if_large().await?;
            }
            body.out.extend_from_slice(b"]}");
            body.finish().await
        });
        let mut pieces = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(body.body_mut()).poll_frame(cx)).await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(pieces, ["{\"list\":[", "\n", "\n", "]}"]);
    }
}

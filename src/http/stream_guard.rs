//! Guards a stream. It ends the stream as `expired` when the reader's permission has expired or was
//! revoked, and as `shutdown` when the server stops although the log continues. The stream's permit
//! is released when the response body is dropped. It runs on the connection's task.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

use crate::{
    access::{Access, Auth, stream_limits::StreamPermit},
    engine::log::Log,
    http::auth::authorize::Authorization,
    log::waker::WakeGroup,
    sse::body::{self, jittered_retry},
    wire::{
        control::{self, EndReason},
        frame,
    },
};

/// A client that got no permit should reconnect after this time, in milliseconds, plus a random
/// spread.
const OVERLOAD_RETRY: u64 = 10_000;

/// Returns a stream that contains only a `retry` time and the reason of its end. An `EventSource`
/// gives up after an HTTP error, but reconnects after such a stream.
pub(crate) fn ended_stream(reason: EndReason) -> Response<Body> {
    let mut out = Vec::with_capacity(128);
    let spread = jittered_retry();
    let retry = match reason {
        EndReason::Overload => OVERLOAD_RETRY + spread,
        _ => spread,
    };
    frame::retry(&mut out, retry);
    control::end(&mut out, reason);
    let mut response = Response::new(Body::from(out));
    body::stream_headers(response.headers_mut());
    response
}

/// The parts of the server that its streams need.
#[derive(Clone)]
pub(crate) struct StreamServer {
    /// The signal that the server stops. It is set once.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Wakes the readers of the server's streams.
    pub(crate) readers: Arc<WakeGroup>,
}

/// Waits for the end of a server whose log may continue.
pub(crate) struct ServerShutdown {
    log: Arc<Log>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl ServerShutdown {
    pub(crate) fn new(log: &Arc<Log>, server: &StreamServer) -> Self {
        let mut stopping = server.stopping.clone();
        Self {
            log: Arc::clone(log),
            // It also completes when the signal's sender is dropped.
            stopped: Box::pin(async move { drop(stopping.wait_for(|on| *on).await) }),
        }
    }

    /// Returns the last frames of the stream when the server stops. If the log has ended too, the
    /// stream itself writes its last frames, after its remaining events.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        if self.log.is_closed() {
            return Poll::Pending;
        }
        ready!(self.stopped.as_mut().poll(cx));
        let mut out = Vec::with_capacity(96);
        body::write_shutdown_frames(&mut out, &self.log);
        Poll::Ready(out)
    }
}

/// Ends the stream when its reader may no longer read, or when the server stops.
pub(crate) fn guard_stream(
    response: Response<Body>,
    authorization: Authorization,
    permit: StreamPermit,
    shutdown: Option<ServerShutdown>,
) -> Response<Body> {
    response.map(|stream| Body::new(GuardedBody::new(stream, authorization, permit, shutdown)))
}

struct GuardedBody {
    stream: Option<Body>,
    authorization: Authorization,
    _permit: StreamPermit,
    /// Fires when the permission must be checked again; `None` for a permanent permission.
    timer: Option<Pin<Box<Sleep>>>,
    pending_check: Option<Pin<Box<dyn Future<Output = Access> + Send>>>,
    /// Dropped once the stream has written its last frames.
    shutdown: Option<ServerShutdown>,
}

impl fmt::Debug for GuardedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody")
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

impl GuardedBody {
    fn new(
        stream: Body,
        authorization: Authorization,
        permit: StreamPermit,
        shutdown: Option<ServerShutdown>,
    ) -> Self {
        let is_permanent = authorization.recheck.is_none() && authorization.access.until.is_none();
        let next = next_check(&authorization);
        Self {
            stream: Some(stream),
            authorization,
            _permit: permit,
            timer: (!is_permanent).then(|| Box::pin(tokio::time::sleep_until(next))),
            pending_check: None,
            shutdown,
        }
    }

    /// Returns whether the permission is known to have ended.
    fn poll_revoked(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if let Some(pending_check) = &mut self.pending_check
                && let Poll::Ready(access) = pending_check.as_mut().poll(cx)
            {
                self.pending_check = None;
                let access = access.at(SystemTime::now());
                if !access.covers(&self.authorization.access) {
                    return true;
                }
                self.authorization.access.until = access.until;
                self.check_at(next_check(&self.authorization));
            }
            let Some(timer) = &mut self.timer else {
                return false;
            };
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            let is_over = self
                .authorization
                .access
                .until
                .is_some_and(|until| until <= SystemTime::now());
            // A check that does not finish in time has not granted anything.
            if is_over || self.pending_check.is_some() {
                return true;
            }
            match &self.authorization.recheck {
                Some(recheck) => {
                    self.pending_check = Some(Box::pin(recheck.run()));
                    self.check_at(Instant::now() + Auth::CHECK_TIMEOUT);
                }
                None => self.check_at(next_check(&self.authorization)),
            }
        }
    }

    fn check_at(&mut self, until: Instant) {
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(until);
        }
    }
}

/// Returns the time of the next check. An [`Access`] expires by the wall clock, which may jump, so
/// it is checked at intervals.
fn next_check(authorization: &Authorization) -> Instant {
    let left = authorization.access.until.map(|until| {
        let left = until.duration_since(SystemTime::now());
        // One millisecond more, because timers count in milliseconds and the access must have
        // expired by then.
        left.unwrap_or_default() + Duration::from_millis(1)
    });
    Instant::now()
        + left
            .unwrap_or(Auth::RECHECK_INTERVAL)
            .min(Auth::RECHECK_INTERVAL)
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stream.is_some() && self.poll_revoked(cx) {
            // Also drops the reader of the log.
            self.stream = None;
            let mut out = Vec::with_capacity(64);
            control::end(&mut out, EndReason::Expired);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        match Pin::new(stream).poll_frame(cx) {
            Poll::Ready(Some(Ok(piece))) => Poll::Ready(Some(Ok(piece))),
            // The streams of a log yield no errors.
            Poll::Ready(_) => {
                self.stream = None;
                Poll::Ready(None)
            }
            // The stream has sent all events that were ready.
            Poll::Pending => {
                let Some(shutdown) = &mut self.shutdown else {
                    return Poll::Pending;
                };
                let last = ready!(shutdown.poll(cx));
                self.stream = None;
                self.shutdown = None;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(last)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }
}

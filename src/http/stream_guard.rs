//! A stream for as long as its reader may read and its server runs: it ends as `expired` when the permission has run out
//! or was taken back, as `shutdown` when the server stops though the log goes on, and its seat is free when it is gone. It
//! runs on the connection's task.

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
    access::{Access, Auth, stream_limits::Seat},
    engine::log::Log,
    http::authorize::Permit,
    sse::body::{self, jittered_retry},
    wire::{
        control::{self, EndReason},
        frame,
    },
};

/// When a client may come back that found no seat, in milliseconds.
const OVERLOAD_RETRY: u64 = 10_000;

/// An answer that only says why there is no stream, in the one way that an `EventSource` survives.
pub(crate) fn ended(reason: EndReason) -> Response<Body> {
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

/// Whether the server that took a request stops: turned on once.
#[derive(Clone)]
pub(crate) struct Stopping(pub(crate) watch::Receiver<bool>);

/// The end of a server whose log may go on.
pub(crate) struct Stop {
    log: Arc<Log>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stop {
    pub(crate) fn new(log: &Arc<Log>, stopping: &Stopping) -> Self {
        let Stopping(mut stopping) = stopping.clone();
        Self {
            log: Arc::clone(log),
            // It is also over when nobody is left to say so.
            stopped: Box::pin(async move { drop(stopping.wait_for(|on| *on).await) }),
        }
    }

    /// The last words of the stream, when the server stops. Where the log has ended, too, the stream has its own, after
    /// what it still has to read.
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

/// Holds the stream to what its reader may do, until the server stops.
pub(crate) fn hold(
    response: Response<Body>,
    permit: Permit,
    seat: Seat,
    stop: Option<Stop>,
) -> Response<Body> {
    response.map(|stream| Body::new(Lasting::new(stream, permit, seat, stop)))
}

struct Lasting {
    stream: Option<Body>,
    permit: Permit,
    _seat: Seat,
    /// When to look at the permission again; none for one that lasts.
    timer: Option<Pin<Box<Sleep>>>,
    asking: Option<Pin<Box<dyn Future<Output = Access> + Send>>>,
    /// Dropped when it was told.
    stop: Option<Stop>,
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lasting")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

impl Lasting {
    fn new(stream: Body, permit: Permit, seat: Seat, stop: Option<Stop>) -> Self {
        let lasts = permit.renewal.is_none() && permit.access.until.is_none();
        let next = next_look(&permit);
        Self {
            stream: Some(stream),
            permit,
            _seat: seat,
            timer: (!lasts).then(|| Box::pin(tokio::time::sleep_until(next))),
            asking: None,
            stop,
        }
    }

    /// Whether the permission has gone, as far as is known now.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if let Some(asking) = &mut self.asking
                && let Poll::Ready(access) = asking.as_mut().poll(cx)
            {
                self.asking = None;
                let access = access.at(SystemTime::now());
                if !access.covers(&self.permit.access) {
                    return true;
                }
                self.permit.access.until = access.until;
                self.rest(next_look(&self.permit));
            }
            let Some(timer) = &mut self.timer else {
                return false;
            };
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            let is_over = self
                .permit
                .access
                .until
                .is_some_and(|until| until <= SystemTime::now());
            // Who was asked and does not answer has not allowed it.
            if is_over || self.asking.is_some() {
                return true;
            }
            match &self.permit.renewal {
                Some(renewal) => {
                    self.asking = Some(Box::pin(renewal.ask()));
                    self.rest(Instant::now() + Auth::CHECK_TIMEOUT);
                }
                None => self.rest(next_look(&self.permit)),
            }
        }
    }

    fn rest(&mut self, until: Instant) {
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(until);
        }
    }
}

/// The moments of an [`Access`] are those of the wall clock, which may jump: it is looked at now and then.
fn next_look(permit: &Permit) -> Instant {
    let left = permit.access.until.map(|until| {
        let left = until.duration_since(SystemTime::now());
        // A moment more: timers have milliseconds, and it must be over then.
        left.unwrap_or_default() + Duration::from_millis(1)
    });
    Instant::now()
        + left
            .unwrap_or(Auth::RECHECK_INTERVAL)
            .min(Auth::RECHECK_INTERVAL)
}

impl http_body::Body for Lasting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stream.is_some() && self.poll_gone(cx) {
            // The reader of the log goes with it.
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
            // Our streams know no errors.
            Poll::Ready(_) => {
                self.stream = None;
                Poll::Ready(None)
            }
            // What it had at hand is sent.
            Poll::Pending => {
                let Some(stop) = &mut self.stop else {
                    return Poll::Pending;
                };
                let last = ready!(stop.poll(cx));
                self.stream = None;
                self.stop = None;
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

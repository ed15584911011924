//! [`SseBody`], the body of an SSE response: `hello`, then the reader's events, a `ping` when nothing was sent for a
//! while, and `end`. It holds at most one unsent piece and runs on the connection's task. It never fails: it announces
//! every end to the client.

use std::{
    convert::Infallible,
    fmt,
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, Uri, header};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::{
    engine::log::Log,
    log::block::{BlockEvent, Slice},
    reader::{ReadItem, Reader},
    util::query,
    wire::{
        control::{self, EndReason},
        frame,
        id::{EventId, ResumePoint},
    },
};

/// Reconnection times for clients are spread over this range, so that they do not all reconnect at once.
const RETRY_MILLISECONDS: std::ops::Range<u64> = 1000..3000;

/// The spread of reconnects after a shutdown, in milliseconds: `RETURN_STEP` is added to the delay for each further
/// stream that ends. At `RETURN_WIDTH`, the added delay starts again at 0.
const RETURN_STEP: u64 = 5;
const RETURN_WIDTH: u64 = 60_000;

/// Upper bound on hidden events that one poll skips before it yields to other tasks. The last block may exceed it.
const HIDDEN_EVENTS_PER_TURN: usize = 128;

/// Decides whether the subject of a stream, such as a trace, is complete.
pub(crate) trait Completion: Send + Sync {
    /// Called for every event that the reader reads. Returns whether the client gets the event.
    fn read(&mut self, _event: &BlockEvent<'_>) -> bool {
        true
    }

    /// Returns whether the stream is complete when its reader has read up to `after`.
    fn is_complete(&self, after: u64) -> bool;
}

/// Decides which part of each event a restricted client gets.
pub(crate) trait Projection: Send + Sync {
    /// Called for every event that the reader reads, in log order.
    fn project(&mut self, id: EventId, event: &BlockEvent<'_>) -> Projected;
}

/// The part of an event that a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Projected {
    Hidden,
    Unchanged,
    /// Sent instead of the event. These are complete frames.
    Replaced(Bytes),
}

impl Projected {
    /// Returns the size of the frames in memory.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Replaced(bytes) => bytes.len(),
            Self::Hidden | Self::Unchanged => 0,
        }
    }
}

/// The body of an SSE response: implements [`http_body::Body`], so it fits `axum::body::Body::new`, hyper and tower.
///
/// It needs a tokio runtime with time enabled, for the pings.
#[must_use]
pub struct SseBody {
    state: BodyState,
    retry: u64,
}

enum BodyState {
    /// `hello` has not been sent yet.
    New(Box<Live>),
    Live(Box<Live>),
    Done,
}

struct Live {
    reader: Reader,
    complete: Option<Box<dyn Completion>>,
    projection: Option<Box<dyn Projection>>,
    timer: Pin<Box<Sleep>>,
    /// When the stream ends if its key is still unknown.
    unknown_until: Option<Instant>,
    /// Whether the client must still get a `ping` that says that the key is unknown.
    unknown_unsaid: bool,
    /// Whether the reader began at the head and the client's cursor still has to be moved there.
    at_head: bool,
}

impl fmt::Debug for SseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseBody").finish_non_exhaustive()
    }
}

impl SseBody {
    /// A stream that has sent nothing for this time sends a `ping`: 15 seconds.
    pub const PING_INTERVAL: Duration = Duration::from_secs(15);
    /// How long a stream stays open while its key is unknown: 5 minutes. Then it ends with the reason `unknown`.
    pub const UNKNOWN_STREAM_TIMEOUT: Duration = Duration::from_secs(5 * 60);

    pub(crate) fn new(reader: Reader, live: bool, complete: Option<Box<dyn Completion>>) -> Self {
        let unknown = reader.known() == Some(false);
        let live = Live {
            reader,
            complete,
            projection: None,
            timer: Box::pin(tokio::time::sleep_until(
                Instant::now() + SseBody::PING_INTERVAL,
            )),
            unknown_unsaid: unknown,
            unknown_until: unknown.then(|| Instant::now() + SseBody::UNKNOWN_STREAM_TIMEOUT),
            at_head: live,
        };
        Self {
            state: BodyState::New(Box::new(live)),
            retry: jittered_retry(),
        }
    }

    /// Sends the client only the parts of events that `projection` allows.
    pub(crate) fn with_projection(mut self, projection: Option<Box<dyn Projection>>) -> Self {
        if let BodyState::New(live) = &mut self.state {
            live.projection = projection;
        }
        self
    }

    /// Returns the response 204, which tells an `EventSource` not to reconnect: it has all events already.
    pub(crate) fn no_content() -> Response<Self> {
        let mut response = Response::new(Self {
            state: BodyState::Done,
            retry: 0,
        });
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        response
    }

    /// Returns a response with this body.
    pub(crate) fn into_response(self) -> Response<Self> {
        let mut response = Response::new(self);
        stream_headers(response.headers_mut());
        response
    }
}

/// Sets the headers of an event stream, including those that keep proxies from buffering it.
pub(crate) fn stream_headers(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// Returns the reconnection time for one client, in milliseconds.
pub(crate) fn jittered_retry() -> u64 {
    let width = RETRY_MILLISECONDS.end - RETRY_MILLISECONDS.start;
    RETRY_MILLISECONDS.start + RandomState::new().hash_one(0) % width
}

/// Writes the last frames of a stream that ends together with many others, because its log or server shuts down. The
/// clients must not all reconnect at once, so each stream adds one step more to its random delay than the one before.
pub(crate) fn write_shutdown_frames(out: &mut Vec<u8>, log: &Log) {
    let place = log.count_shut_down_stream();
    let retry = jittered_retry() + place.wrapping_mul(RETURN_STEP) % RETURN_WIDTH;
    frame::retry(out, retry);
    control::end(out, EndReason::Shutdown);
}

impl Live {
    fn hello(&mut self, retry: u64) -> Bytes {
        let mut out = Vec::with_capacity(512);
        frame::retry(&mut out, retry);
        control::hello(
            &mut out,
            &self.reader.log().position(),
            SseBody::PING_INTERVAL.as_secs(),
        );
        Bytes::from(out)
    }

    fn ping(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        let known = self.reader.known().filter(|known| !known);
        control::ping(&mut out, &self.reader.log().position(), known);
        if self.reader.is_filtered() {
            self.cursor(&mut out);
        }
        Bytes::from(out)
    }

    fn cursor(&self, out: &mut Vec<u8>) {
        let id = self.reader.log().id(self.reader.after());
        frame::cursor(out, id.epoch(), id.sequence().get());
    }

    /// Returns the bytes of the item for the client, or `None` if the client gets none of it. The error is the reason
    /// why the stream ends.
    fn encode(&mut self, item: &ReadItem) -> Result<Option<Bytes>, EndReason> {
        let mut out = Vec::new();
        match item {
            ReadItem::Events(slice) => return Ok(self.events(slice)),
            ReadItem::OpenGlobal(slice) => {
                // Sent without ids: the reader begins at a later event, and the client's cursor must not move back.
                for event in slice.events() {
                    let id = self.reader.log().id(event.sequence());
                    match self
                        .projection
                        .as_mut()
                        .map(|projection| projection.project(id, &event))
                    {
                        None | Some(Projected::Unchanged) => event.with_payload(|payload| {
                            frame::control(&mut out, event.name(), payload);
                        }),
                        Some(Projected::Hidden | Projected::Replaced(_)) => {}
                    }
                }
            }
            ReadItem::Gap(gap) => control::gap(&mut out, gap),
            ReadItem::Degraded => control::degraded(&mut out),
            ReadItem::Closed => return Err(EndReason::Shutdown),
        }
        Ok((!out.is_empty()).then(|| Bytes::from(out)))
    }

    /// Returns the events that the client may get, as its projection shows them.
    fn events(&mut self, slice: &Slice) -> Option<Bytes> {
        let wanted = match self.complete.as_deref_mut() {
            Some(complete) => slice.clone().filter(|event| complete.read(event)),
            None => vec![slice.clone()],
        };
        let mut out = Vec::new();
        match (&mut self.projection, wanted.as_slice()) {
            (None, [all]) => return Some(all.bytes()),
            (None, runs) => runs
                .iter()
                .for_each(|run| out.extend_from_slice(&run.bytes())),
            (Some(projection), runs) => {
                for event in runs.iter().flat_map(Slice::events) {
                    let id = self.reader.log().id(event.sequence());
                    match projection.project(id, &event) {
                        Projected::Hidden => {}
                        Projected::Unchanged => out.extend_from_slice(&event.frame()),
                        Projected::Replaced(frames) => out.extend_from_slice(&frames),
                    }
                }
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    /// Returns the frames that a client gets once, after everything is replayed.
    fn initial_notices(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.at_head) {
            self.cursor(&mut out);
        }
        // While the reader pages through the store, it may still find an older event of this stream.
        if self.unknown_unsaid && !self.reader.is_paging() {
            self.unknown_unsaid = false;
            if self.reader.known() == Some(false) {
                control::ping(&mut out, &self.reader.log().position(), Some(false));
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    /// Returns the next bytes to send, or the reason why the stream ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, EndReason>> {
        let mut hidden = 0;
        loop {
            if let Some(last) = self.reader.log().streams_end_at()
                && self.reader.has_delivered(last)
            {
                break;
            }
            let Poll::Ready(item) = self.reader.poll_next(cx) else {
                break;
            };
            let pieces = self.encode(&item)?;
            if let Some(bytes) = pieces {
                self.timer
                    .as_mut()
                    .reset(Instant::now() + SseBody::PING_INTERVAL);
                return Poll::Ready(Ok(bytes));
            }
            hidden += item.events();
            if hidden >= HIDDEN_EVENTS_PER_TURN {
                // Yields: if everything is in memory, nothing else here lets other tasks run.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Some(bytes) = self.initial_notices() {
            return Poll::Ready(Ok(bytes));
        }
        if self
            .complete
            .as_ref()
            .is_some_and(|complete| complete.is_complete(self.reader.after()))
            && !self.reader.is_paging()
        {
            return Poll::Ready(Err(EndReason::Complete));
        }
        // Checked after the reader has stored its waker. A pending read of the store is not awaited.
        if self.reader.log().streams_end_at().is_some() {
            return Poll::Ready(Err(EndReason::Shutdown));
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self
            .unknown_until
            .is_some_and(|until| until <= Instant::now())
            && self.reader.known() == Some(false)
        {
            return Poll::Ready(Err(EndReason::Unknown));
        }
        if self.reader.log().is_closed() {
            // The remaining events are in a store that does not answer. The client must not wait for them.
            return Poll::Ready(Err(EndReason::Shutdown));
        }
        self.timer
            .as_mut()
            .reset(Instant::now() + SseBody::PING_INTERVAL);
        Poll::Ready(Ok(self.ping()))
    }
}

fn end(log: &Log, reason: EndReason) -> Bytes {
    let mut out = Vec::with_capacity(96);
    if reason == EndReason::Shutdown {
        write_shutdown_frames(&mut out, log);
    } else {
        control::end(&mut out, reason);
    }
    Bytes::from(out)
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let retry = self.retry;
        let (next, bytes) = match std::mem::replace(&mut self.state, BodyState::Done) {
            // Streams already end, so this one sends its last frames instead of `hello`.
            BodyState::New(live) if live.reader.log().streams_end_at().is_some() => {
                (BodyState::Done, end(live.reader.log(), EndReason::Shutdown))
            }
            BodyState::New(mut live) => {
                let hello = live.hello(retry);
                (BodyState::Live(live), hello)
            }
            BodyState::Live(mut live) => match live.poll(cx) {
                Poll::Pending => {
                    self.state = BodyState::Live(live);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(bytes)) => (BodyState::Live(live), bytes),
                Poll::Ready(Err(reason)) => (BodyState::Done, end(live.reader.log(), reason)),
            },
            BodyState::Done => return Poll::Ready(None),
        };
        self.state = next;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, BodyState::Done)
    }
}

/// Returns the point from which a client wants to resume: the header `Last-Event-ID`, or else the query's
/// `lastEventId`. Without them, it is the head if the query has `replay=none`, or else the oldest event. It never
/// fails, because a browser cannot recover from an error.
///
/// ```
/// use livespan::sse::{ResumePoint, resume_point};
///
/// let uri = "/events?lastEventId=7".parse()?;
/// let headers = http::HeaderMap::new();
/// assert_eq!(resume_point(&headers, &uri), ResumePoint::parse(b"7"));
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
pub fn resume_point(headers: &HeaderMap, uri: &Uri) -> ResumePoint {
    if let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) {
        return ResumePoint::parse(id.as_bytes());
    }
    let query = uri.query().unwrap_or_default();
    match query::first(query, "lastEventId") {
        Some(Ok(id)) => return ResumePoint::parse(id.as_bytes()),
        Some(Err(_not_utf8)) => return ResumePoint::Malformed,
        None => {}
    }
    match query::first(query, "replay") {
        Some(Ok(replay)) if replay == "none" => ResumePoint::Live,
        _ => ResumePoint::Oldest,
    }
}

//! The list of traces: one page of it, and the live one, whose load does not grow with the rate of spans: a viewer
//! looks at most every [`LiveSpans::LIST_INTERVAL`], and a trace that changed a thousand times since is sent once.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Frame;
use serde::Serialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};

use crate::{
    engine::log::Log,
    http::{auth::authorize::Authorization, error::HttpError, query_params::QueryParams, response},
    live_spans::LiveSpans,
    log::waker::WakeFlag,
    span::event::TraceId,
    sse::body::{self, SseBody},
    trace::{
        filter::TraceFilter,
        live_list::{Older, ViewerState},
        stored,
        summary::Summary,
    },
    util::time::Timestamp,
    wire::{
        control::{self, Dropped},
        frame,
    },
};

/// How long a viewer waits at most until what others put into the store is known here.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

const PAGE_DEFAULT: usize = 50;
const LIVE_DEFAULT: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListPage {
    traces: Vec<Summary>,
    next: Option<String>,
    /// Whether the page is short because reading on would have taken too long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stopped_early: bool,
    head: String,
    now: String,
}

pub(crate) async fn page(
    live: &LiveSpans,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    let filter = filter(params, authorization)?;
    let limit = params.limit(PAGE_DEFAULT)?;
    let before = params.before()?;
    let (log, index) = (live.log(), &live.shared.index);
    let (mut page, is_whole) = stored::indexed_page(log, index, &filter, before, limit);
    if !is_whole {
        let _permit = permit(live).await?;
        page = stored::whole_page(log, index, &filter, (page, before, limit)).await?;
    }
    Ok(response::json(&ListPage {
        traces: page.traces.into_iter().map(|(_, trace)| trace).collect(),
        next: page.next.map(|next| next.to_string()),
        stopped_early: page.stopped_early,
        head: log.id(log.head()).to_string(),
        now: Timestamp::now().text(),
    }))
}

/// Waits for a turn to read a page from the store.
async fn permit(live: &LiveSpans) -> Result<OwnedSemaphorePermit, HttpError> {
    let permit = live.shared.read_permits.for_stored_page().await;
    permit.ok_or_else(|| {
        let message = "other pages of the list are being read from the store: try again";
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })
}

/// What the reader asks for, of what it may see.
fn filter(
    params: &QueryParams<'_>,
    authorization: &Authorization,
) -> Result<TraceFilter, HttpError> {
    Ok(TraceFilter {
        within: authorization.traces().map(Arc::clone),
        ..params.trace_filter()?
    })
}

/// What a live list shows.
#[derive(Debug)]
pub(crate) struct LiveListQuery {
    filter: TraceFilter,
    limit: usize,
    /// For a reader of some traces: where the page begins with those of them that the index does not know. Where others
    /// begin, it must not learn.
    own_older: Option<u64>,
}

impl LiveListQuery {
    pub(crate) async fn of(
        live: &LiveSpans,
        (params, authorization): (&QueryParams<'_>, &Authorization),
    ) -> Result<Self, HttpError> {
        let filter = filter(params, authorization)?;
        let limit = params.limit(LIVE_DEFAULT)?;
        let log = live.log();
        let own_older = if filter.within.is_none() || log.is_in_memory() {
            None
        } else {
            // A stream must not fail because its store does: then there may be older ones.
            let older = own_older(live, &filter).await;
            older.unwrap_or_else(|_error| Some(log.head() + 1))
        };
        Ok(Self {
            filter,
            limit,
            own_older,
        })
    }
}

async fn own_older(live: &LiveSpans, filter: &TraceFilter) -> Result<Option<u64>, HttpError> {
    let _permit = permit(live).await?;
    Ok(stored::older_than_index(live.log(), &live.shared.index, filter).await?)
}

pub(crate) fn live(live: &LiveSpans, query: LiveListQuery) -> Response<Body> {
    let body = TracesBody::new(live.clone(), query);
    let mut response = Response::new(Body::new(body));
    body::stream_headers(response.headers_mut());
    response
}

#[derive(Serialize)]
struct Update {
    #[serde(rename = "type")]
    kind: &'static str,
    snapshot: bool,
    traces: Vec<Summary>,
    removed: Vec<String>,
    /// Of a snapshot: where the page of `GET /traces` begins that goes on from it, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    head: String,
    now: String,
}

/// The body of the live list.
struct TracesBody {
    live: LiveSpans,
    query: LiveListQuery,
    viewed: ViewerState,
    waiter: Arc<WakeFlag>,
    state: ListStreamState,
    /// What was dropped before it came, or that it was told of.
    dropped: Dropped,
    /// Whether it was told that the store fails.
    is_degraded: bool,
    /// When it may look again, or, while it waits for a change, when it pings; before the first look, when it waits no
    /// longer.
    timer: Pin<Box<Sleep>>,
    /// When it pings, unless there is something to send before.
    ping_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListStreamState {
    Hello,
    /// Until all is known that the list shows.
    CatchingUp,
    /// Just looked: changes gather until the timer rings.
    Resting,
    Waiting,
    Ended,
}

impl fmt::Debug for TracesBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracesBody")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl TracesBody {
    fn new(live: LiveSpans, query: LiveListQuery) -> Self {
        let waiter = Arc::new(WakeFlag::default());
        live.log().join(&waiter);
        live.log().readers().register();
        let dropped = live.log().dropped();
        Self {
            live,
            query,
            viewed: ViewerState::default(),
            waiter,
            state: ListStreamState::Hello,
            dropped,
            is_degraded: false,
            timer: Box::pin(tokio::time::sleep_until(Instant::now() + CATCH_UP_MAX)),
            ping_at: Instant::now() + SseBody::PING_INTERVAL,
        }
    }

    fn hello(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        frame::retry(&mut out, body::jittered_retry());
        control::hello(
            &mut out,
            &self.live.log().position(),
            SseBody::PING_INTERVAL.as_secs(),
        );
        out
    }

    /// Frames with what changed, if anything did.
    fn update(&mut self, snapshot: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.write_health(&mut out);
        self.write_changes(snapshot, &mut out);
        (!out.is_empty()).then_some(out)
    }

    /// Says that the store fails, or that it works again and what was lost.
    fn write_health(&mut self, out: &mut Vec<u8>) {
        let log = self.live.log();
        let is_degraded = log.is_degraded();
        if is_degraded && !self.is_degraded {
            control::degraded(out);
        } else if self.is_degraded && !is_degraded {
            let dropped = log.dropped();
            control::gap_dropped(out, dropped.since(self.dropped));
            self.dropped = dropped;
        }
        self.is_degraded = is_degraded;
    }

    fn write_changes(&mut self, snapshot: bool, out: &mut Vec<u8>) {
        let log = self.live.log();
        let index = &self.live.shared.index;
        let LiveListQuery { filter, limit, .. } = &self.query;
        let changes = index.changes(&mut self.viewed, filter, *limit, |at| log.id(at));
        if !snapshot && changes.traces.is_empty() && changes.removed.is_empty() {
            return;
        }
        let next = snapshot
            .then(|| next(log, &self.query, changes.older))
            .flatten();
        let hex = |id: &[u8; 16]| TraceId::from_bytes(*id).map(|id| id.to_string());
        let update = Update {
            kind: "traces",
            snapshot,
            traces: changes.traces,
            removed: changes.removed.iter().filter_map(hex).collect(),
            next: next.map(|next| next.to_string()),
            head: log.id(log.head()).to_string(),
            now: Timestamp::now().text(),
        };
        let payload = serde_json::to_vec(&update).unwrap_or_default();
        frame::control(out, "traces", &payload);
    }

    fn rest(&mut self) {
        self.state = ListStreamState::Resting;
        self.timer
            .as_mut()
            .reset(Instant::now() + LiveSpans::LIST_INTERVAL);
    }

    /// The first look, once all is known or cannot be.
    fn poll_catching_up(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            let rung = self.waiter.poll_notified(cx).is_ready();
            let log = self.live.log();
            if log.has_caught_up() || log.is_degraded() || is_over(log) {
                break;
            }
            if !rung {
                std::task::ready!(self.timer.as_mut().poll(cx));
                break;
            }
        }
        self.rest();
        Poll::Ready(self.update(true))
    }

    fn poll_resting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        if self.timer.as_mut().poll(cx).is_pending() {
            // While throttled, this does not watch for shutdown: the 250 ms timer bounds the delay.
            return Poll::Pending;
        }
        self.state = ListStreamState::Waiting;
        let ping_at = self.ping_at;
        self.timer.as_mut().reset(ping_at);
        Poll::Ready(None)
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let rung = self.waiter.poll_notified(cx).is_ready();
        if is_over(self.live.log()) {
            self.state = ListStreamState::Ended;
            let mut out = self.update(false).unwrap_or_default();
            body::write_shutdown_frames(&mut out, self.live.log());
            return Poll::Ready(Some(out));
        }
        if rung {
            // It rests whether or not it found something: a look costs the same.
            self.rest();
            let update = self.update(false);
            if update.is_some() || Instant::now() < self.ping_at {
                return Poll::Ready(update);
            }
        } else if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        } else {
            let ping_at = Instant::now() + SseBody::PING_INTERVAL;
            self.timer.as_mut().reset(ping_at);
        }
        let mut out = Vec::with_capacity(256);
        control::ping(&mut out, &self.live.log().position(), None);
        Poll::Ready(Some(out))
    }
}

/// Whether the list ends when it has said what it knows.
fn is_over(log: &Log) -> bool {
    log.is_closed() || log.streams_end_at().is_some()
}

/// The event before which traces may have begun that a list does not show.
fn next(log: &Log, query: &LiveListQuery, older: Older) -> Option<u64> {
    match older {
        Older::Indexed(event) => Some(event),
        Older::Stored(_) if query.filter.within.is_some() => query.own_older,
        Older::Stored(event) => (log.store.oldest().get() < event).then_some(event),
    }
}

impl http_body::Body for TracesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let out = match self.state {
                // It came too late.
                ListStreamState::Hello if self.live.log().streams_end_at().is_some() => {
                    self.state = ListStreamState::Ended;
                    let mut out = Vec::with_capacity(96);
                    body::write_shutdown_frames(&mut out, self.live.log());
                    Some(out)
                }
                ListStreamState::Hello => {
                    self.state = ListStreamState::CatchingUp;
                    Some(self.hello())
                }
                ListStreamState::CatchingUp => std::task::ready!(self.poll_catching_up(cx)),
                ListStreamState::Resting => std::task::ready!(self.poll_resting(cx)),
                ListStreamState::Waiting => std::task::ready!(self.poll_waiting(cx)),
                ListStreamState::Ended => return Poll::Ready(None),
            };
            if let Some(out) = out {
                self.ping_at = Instant::now() + SseBody::PING_INTERVAL;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
            }
        }
    }
}

impl Drop for TracesBody {
    fn drop(&mut self) {
        self.live.log().leave(&self.waiter);
        self.live.log().readers().unregister();
    }
}

//! The list of traces: single pages, and the live list. The load of the live list does not grow
//! with the rate of spans. Each viewer is updated at most once per [`LiveSpans::LIST_INTERVAL`],
//! and a trace with a thousand changes in that time is sent once. It runs on the connection's task.

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
        index::TracePage,
        live_list::{Older, ViewerState},
        search::page::{self as search_page, PageBudget},
        stored,
        summary::Summary,
    },
    util::time::Timestamp,
    wire::{
        control::{self, Dropped},
        frame,
    },
};

/// Upper bound on the time that a new viewer waits until this process has read the events of other processes from the
/// store.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

const PAGE_DEFAULT: usize = 50;
const LIVE_DEFAULT: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListPage {
    traces: Vec<Summary>,
    next: Option<String>,
    /// Whether the page is short because searching further would have taken too long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stopped_early: bool,
    /// Traces with so many events that a search read only a part of them, and found nothing there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    searched_in_part: Vec<String>,
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
    let mut budget = PageBudget::of(&filter);
    let mut permit = None;
    let mut page = TracePage::default();
    if log.is_shared() {
        // In a shared log, the index has only traces that this process followed. So the page is read from the store.
    } else if filter.search.reads_events() {
        if !log.is_in_memory() {
            permit = Some(self::permit(live).await?);
        }
        let range = (before, limit);
        page = search_page::indexed_page(log, index, &filter, range, &mut budget).await?;
    } else {
        page = index.page(&filter, before, limit, |at| log.id(at));
    }
    if !stored::is_whole(log, &page) {
        if permit.is_none() {
            permit = Some(self::permit(live).await?);
        }
        let range = stored::PageRange {
            before,
            after: 0,
            limit,
        };
        page = stored::whole_page(log, index, &filter, (page, range), &mut budget).await?;
    }
    drop(permit);
    let kept = log.kept();
    let hex = |id: &[u8; 16]| TraceId::from_bytes(*id).map(|id| id.to_string());
    Ok(response::json(&ListPage {
        traces: page
            .traces
            .into_iter()
            .map(|(_, trace)| trace.with_kept(&kept))
            .collect(),
        next: page.next.map(|next| next.to_string()),
        stopped_early: page.stopped_early,
        searched_in_part: page.searched_in_part.iter().filter_map(hex).collect(),
        head: log.id(log.head()).to_string(),
        now: Timestamp::now().text(),
    }))
}

/// Waits for a permit to read a page from the store.
pub(super) async fn permit(live: &LiveSpans) -> Result<OwnedSemaphorePermit, HttpError> {
    let permit = live.shared.read_permits.for_stored_page().await;
    permit.ok_or_else(|| {
        let message = "other pages of the list are being read from the store: try again";
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })
}

/// Returns the filter from the reader's request, limited to the reader's traces.
fn filter(
    params: &QueryParams<'_>,
    authorization: &Authorization,
) -> Result<TraceFilter, HttpError> {
    Ok(TraceFilter {
        within: authorization.traces().map(Arc::clone),
        ..params.trace_filter()?
    })
}

/// The filter and the length of a live list.
#[derive(Debug)]
pub(crate) struct LiveListQuery {
    filter: TraceFilter,
    limit: usize,
    /// For a reader of some traces: the event before which the next page begins. Only the reader's own traces that the
    /// index lacks affect it, because the reader must not learn where other traces begin.
    own_older: Option<u64>,
}

impl LiveListQuery {
    pub(crate) async fn of(
        live: &LiveSpans,
        (params, authorization): (&QueryParams<'_>, &Authorization),
    ) -> Result<Self, HttpError> {
        let filter = filter(params, authorization)?;
        filter.search.require_summary_terms()?;
        let limit = params.limit(LIVE_DEFAULT)?;
        let log = live.log();
        let own_older = if filter.within.is_none() || log.is_in_memory() {
            None
        } else {
            // A stream must not fail because the store fails. If the store cannot be read, assume
            // that there are older traces.
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
    /// Present only in a snapshot, and only if there may be more traces: the event before which the
    /// next page of `GET /traces` begins.
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
    /// The last sent count of dropped events. Before the first one is sent, the count when the
    /// viewer connected.
    dropped: Dropped,
    /// Whether the last report to the viewer was that the store fails.
    is_degraded: bool,
    /// While catching up, the time at which the wait ends. While resting, the time of the next update. While waiting
    /// for a change, the time of the next ping.
    timer: Pin<Box<Sleep>>,
    /// The time of the next ping, unless something else is sent first.
    ping_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListStreamState {
    Hello,
    /// Waiting until the index has all traces that the list shows.
    CatchingUp,
    /// An update was just sent. Changes accumulate until the timer fires.
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
        live.log().join(&waiter, None);
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

    /// Returns frames with the changes, or `None` if nothing changed.
    fn update(&mut self, snapshot: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.write_health(&mut out);
        self.write_changes(snapshot, &mut out);
        (!out.is_empty()).then_some(out)
    }

    /// On a change, writes that the store fails, or that it works again and how many events were lost.
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
        let kept = log.kept();
        let hex = |id: &[u8; 16]| TraceId::from_bytes(*id).map(|id| id.to_string());
        let update = Update {
            kind: "traces",
            snapshot,
            traces: changes
                .traces
                .into_iter()
                .map(|trace| trace.with_kept(&kept))
                .collect(),
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

    /// Sends the snapshot when the index has caught up, cannot catch up, or the wait has timed out.
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
            // A shutdown is noticed only when the timer fires, so at most one [`LiveSpans::LIST_INTERVAL`] late.
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
            // Rests even if the look-up finds no change, so that look-ups are limited, too.
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

/// Returns whether the next update ends the list.
fn is_over(log: &Log) -> bool {
    log.is_closed() || log.streams_end_at().is_some()
}

/// Returns the event before which there may be traces that the list does not show.
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
                // The viewer connected after the shutdown began.
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
        self.live.log().leave(&self.waiter, None);
        self.live.log().readers().unregister();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        span::event::{SpanEvent, SpanId, SpanStatus},
        trace::search::Search,
    };

    fn put(live: &LiveSpans, trace: u8, spans: u64) {
        let trace = TraceId::from_bytes([trace; 16]).unwrap();
        let span = |number: u64| SpanId::from_bytes(number.to_be_bytes()).unwrap();
        let spans = (1..=spans).map(|number| {
            SpanEvent::ended(trace, span(number), "row", SpanStatus::Ok)
                .attribute("number", i64::try_from(number).unwrap())
        });
        for event in spans {
            live.target().try_dispatch(&event).unwrap();
        }
        live.target().flush(Duration::from_secs(60)).unwrap();
    }

    async fn page(live: &LiveSpans, query: &str, before: u64) -> TracePage {
        let filter = TraceFilter {
            search: Search::parse(query).unwrap(),
            ..TraceFilter::default()
        };
        let mut budget = PageBudget::of_rows(100);
        let range = (before, 10);
        let (log, index) = (live.log(), &live.shared.index);
        search_page::indexed_page(log, index, &filter, range, &mut budget)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_page_has_a_read_budget_and_names_traces_that_exceed_it() {
        let live = LiveSpans::builder().build().unwrap();
        put(&live, 1, 60);
        put(&live, 2, 5_000);
        put(&live, 3, 60);
        put(&live, 4, 60);
        let mut found = Vec::new();
        let mut before = u64::MAX;
        let mut pages = 0;
        let mut in_part = Vec::new();
        loop {
            pages += 1;
            assert!(pages < 10, "the search needs too many pages");
            let page = page(&live, "number:50", before).await;
            found.extend(page.traces.iter().map(|(_, summary)| summary.id[0]));
            in_part.extend(page.searched_in_part.iter().map(|id| id[0]));
            let Some(next) = page.next else {
                assert!(!page.stopped_early);
                break;
            };
            assert!(page.stopped_early);
            before = next;
        }
        assert_eq!(found, [4, 3, 2, 1], "the search did not find every trace");
        assert_eq!(in_part, [0_u8; 0]);
        let in_large = page(&live, "number:4999", 60 + 2).await;
        assert_eq!((in_large.traces.len(), in_large.next), (0, Some(2)));
        assert_eq!(in_large.searched_in_part, [[2; 16]]);
    }
}

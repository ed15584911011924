//! Reads one trace page by page. It can be read several times, each time up to the same event. It
//! runs on the task that writes the response, and holds one page at a time.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use crate::{
    engine::log::Log,
    http::error::HttpError,
    live_spans::LiveSpans,
    log::{batch::StoredEvent, block::Slice, event::StreamKey},
    reader::{ReadItem, Reader, subscription::Subscribe},
    span::event::TraceId,
    store::PageLimit,
    wire::{
        control::Gap,
        id::{EventId, Sequence},
    },
};

/// A trace, up to the last event of the response.
#[derive(Debug)]
pub(super) struct TraceEvents {
    log: Arc<Log>,
    key: StreamKey,
    /// The newest event of the log at the time of the request. The trace's stream continues after it.
    head: u64,
    /// The first event of the trace at the time of the request.
    first: u64,
    /// Events up to this one were evicted before the request, so they do not count as a loss of
    /// this response.
    evicted_until: u64,
}

/// The reason why a response is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "lowercase")]
pub(super) enum Loss {
    /// This many events of the trace were evicted while it was read; `None` if the number is unknown.
    Evicted { lost: Option<u64> },
    /// The store could not be read.
    Unreadable,
    /// This many stored events are damaged.
    Damaged { lost: u64 },
}

impl Loss {
    /// Adds `more` to the evicted events. Other losses stay unchanged.
    fn and(self, more: Option<u64>) -> Self {
        match self {
            Self::Evicted { lost } => Self::Evicted {
                lost: lost.zip(more).map(|(lost, more)| lost + more),
            },
            other => other,
        }
    }
}

impl TraceEvents {
    /// Opens a trace whose events are all indexed.
    pub(super) fn indexed(live: &LiveSpans, trace: TraceId) -> Self {
        let log = live.log();
        Self {
            log: Arc::clone(log),
            key: trace.stream_key(),
            head: log.tail.published(),
            first: live.shared.index.first(trace.to_bytes()).unwrap_or(0),
            evicted_until: log.oldest().saturating_sub(1),
        }
    }

    /// Opens a trace that may be only in the store. Returns `None` if the store does not have it.
    pub(super) async fn stored(
        live: &LiveSpans,
        trace: TraceId,
    ) -> Result<Option<Self>, HttpError> {
        let log = live.log();
        let head = match log.store.shared_log() {
            Some(shared) => shared.head().await?.get(),
            None => log.tail.published(),
        };
        let mut events = Self {
            log: Arc::clone(log),
            key: trace.stream_key(),
            head,
            first: 0,
            evicted_until: log.oldest().saturating_sub(1),
        };
        let mut after = Sequence::START;
        while events.first == 0 {
            let page = events.read_stored(after).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = last.sequence;
            let own = page.iter().find(|event| event.key == Some(events.key));
            events.first = own.map_or(0, |event| event.sequence.get());
        }
        Ok((events.first <= head).then_some(events))
    }

    async fn read_stored(&self, after: Sequence) -> Result<Vec<StoredEvent>, HttpError> {
        let keys = [self.key];
        let page = self
            .log
            .store
            .read_streams_after(&keys, after, PageLimit::LARGE);
        let page = page.await;
        page.map_err(|error| HttpError::new(StatusCode::SERVICE_UNAVAILABLE, error.with_causes()))
    }

    /// Returns the id after which the trace's stream continues.
    pub(super) fn cursor(&self) -> String {
        self.id(self.head).to_string()
    }

    pub(super) fn id(&self, sequence: u64) -> EventId {
        self.log.id(sequence)
    }

    /// Starts a pass over the trace.
    pub(super) fn pages(&self) -> TracePages<'_> {
        let source = if self.log.is_shared() {
            PageSource::Store(Sequence::START)
        } else {
            let options = Subscribe::to(self.key).gaps_reported_until(self.evicted_until);
            PageSource::Reader(Box::new(options.reader(&self.log)))
        };
        TracePages {
            trace: self,
            source,
            events: 0,
            loss: None,
        }
    }
}

/// One pass over a trace.
#[derive(Debug)]
pub(super) struct TracePages<'a> {
    trace: &'a TraceEvents,
    source: PageSource,
    events: u64,
    loss: Option<Loss>,
}

#[derive(Debug)]
enum PageSource {
    /// Reads from memory and, in a log with one writer, from its store.
    Reader(Box<Reader>),
    /// Reads from the store alone, because only the store has every event of a shared log. The
    /// value is the last sequence that was read.
    Store(Sequence),
}

/// A page of events, in log order.
#[derive(Debug)]
pub(super) enum EventPage {
    Slice(Slice),
    Stored(Vec<StoredEvent>),
}

impl TracePages<'_> {
    /// Returns the next page, or `None` at the end of the trace or after a failed read.
    pub(super) async fn next(&mut self) -> Option<EventPage> {
        // If everything is in memory, only this call lets other tasks run between two pages.
        tokio::task::yield_now().await;
        let page = match &mut self.source {
            PageSource::Reader(_) => self.next_slice().await,
            PageSource::Store(after) => {
                let after = *after;
                self.next_stored(after).await
            }
        };
        page.filter(|page| page.first() <= self.trace.head)
    }

    async fn next_slice(&mut self) -> Option<EventPage> {
        let PageSource::Reader(reader) = &mut self.source else {
            return None;
        };
        let (head, first) = (self.trace.head, self.trace.first);
        let mut is_unread = false;
        loop {
            match reader.next_below(head).await {
                Some(ReadItem::Events(slice) | ReadItem::OpenGlobal(slice)) => {
                    return Some(EventPage::Slice(slice));
                }
                // A gap that ends before the first event of the trace contains no event of the trace.
                Some(ReadItem::Gap(Gap::Evicted { to, lost, .. }))
                    if lost != Some(0) && to.sequence().get() >= first =>
                {
                    self.loss = Some(match self.loss {
                        _ if is_unread => Loss::Unreadable,
                        None => Loss::Evicted { lost },
                        Some(before) => before.and(lost),
                    });
                }
                // `Degraded` precedes the gap for events that could not be read.
                Some(item) => is_unread = matches!(item, ReadItem::Degraded),
                None => {
                    if reader.after() < head {
                        self.loss = Some(Loss::Unreadable);
                    }
                    return None;
                }
            }
        }
    }

    async fn next_stored(&mut self, after: Sequence) -> Option<EventPage> {
        if after.get() >= self.trace.head {
            return None;
        }
        let Ok(page) = self.trace.read_stored(after).await else {
            self.loss = Some(Loss::Unreadable);
            return None;
        };
        self.source = PageSource::Store(page.last()?.sequence);
        Some(EventPage::Stored(page))
    }

    /// Calls `event` for each event of the page that belongs to the response.
    pub(super) fn read(&mut self, page: &EventPage, mut event: impl FnMut(TraceEvent<'_>)) {
        let head = self.trace.head;
        match page {
            EventPage::Slice(slice) => {
                for stored in slice.events().take_while(|event| event.sequence() <= head) {
                    self.events += 1;
                    stored.with_payload(|payload| {
                        event(TraceEvent {
                            sequence: stored.sequence(),
                            name: stored.name(),
                            payload,
                        });
                    });
                }
            }
            EventPage::Stored(events) => {
                for stored in events
                    .iter()
                    .take_while(|event| event.sequence.get() <= head)
                {
                    self.events += 1;
                    event(TraceEvent {
                        sequence: stored.sequence.get(),
                        name: &stored.name,
                        payload: &stored.payload,
                    });
                }
            }
        }
    }

    /// Returns the number of events that this pass has passed to `event`.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Returns the loss of a pass that should have found `events` events.
    pub(super) fn loss_of(&self, events: u64) -> Loss {
        match self.loss {
            Some(Loss::Unreadable) => Loss::Unreadable,
            None | Some(_) => Loss::Evicted {
                lost: Some(events.saturating_sub(self.events)),
            },
        }
    }

    /// Returns the loss that is known so far.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.loss
    }
}

impl EventPage {
    fn first(&self) -> u64 {
        match self {
            Self::Slice(slice) => slice.events().next().map_or(0, |event| event.sequence()),
            Self::Stored(events) => events.first().map_or(0, |event| event.sequence.get()),
        }
    }
}

/// An event of the trace, or an event that belongs to every stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceEvent<'a> {
    pub(super) sequence: u64,
    pub(super) name: &'a str,
    pub(super) payload: &'a [u8],
}

//! [`Subscription`]: a stream of events for Rust code. It reads the log as an HTTP client does, but without SSE
//! framing. It runs on the task that polls it, and must never delay the log.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::stream::{FusedStream, Stream};

use crate::{
    engine::log::Log,
    log::{block::BlockEvent, event::StreamKey, waker::WakeGroup},
    reader::{Filter, OpenGlobalEvents, ReadItem, Reader, Scope},
    wire::{
        control::{EndReason, Gap},
        id::{EventId, ResumePoint},
    },
};

/// The options of a [`Subscription`]: its streams and its resume point. By default it gets all retained events of every
/// stream.
///
/// ```
/// use livespan::sse::{ResumePoint, StreamKey, Subscribe};
///
/// let options = Subscribe::all().stream(StreamKey::new("job-42")?).resume(ResumePoint::Live);
/// # drop(options);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Subscribe {
    keys: Vec<StreamKey>,
    filter: Option<Filter>,
    resume: ResumePoint,
    gaps_reported_until: Option<u64>,
    open_global_events: OpenGlobalEvents,
    wake_group: Option<Arc<WakeGroup>>,
}

impl fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("keys", &self.keys)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

impl Subscribe {
    /// Follows every stream.
    pub fn all() -> Self {
        Self::default()
    }

    /// Follows one stream. The cost is independent of the traffic of other streams.
    pub fn to(key: StreamKey) -> Self {
        Self::all().stream(key)
    }

    /// Adds a stream. The first call limits the subscription from all streams to this one.
    pub fn stream(mut self, key: StreamKey) -> Self {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        self
    }

    /// Delivers only events whose name and payload `filter` accepts. Events that belong to every stream always pass.
    /// `filter` runs once per event and subscriber, on the task that reads, so it must be quick and must not block.
    pub fn filter(mut self, filter: impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// Resumes from this point.
    pub fn resume(mut self, resume: ResumePoint) -> Self {
        self.resume = resume;
        self
    }

    /// Sets the last sequence up to which the reader already knows all losses. The reader begins at the oldest event,
    /// and only gaps after this sequence are reported.
    pub(crate) fn gaps_reported_until(mut self, upto: u64) -> Self {
        self.gaps_reported_until = Some(upto);
        self
    }

    /// Sets whether the reader first gets the opening events that are still open at its resume point.
    pub(crate) fn open_global_events(mut self, open_global_events: OpenGlobalEvents) -> Self {
        self.open_global_events = open_global_events;
        self
    }

    /// Wakes the reader together with the others of `group`, if it reads all streams.
    pub(crate) fn wake_group(mut self, group: Option<Arc<WakeGroup>>) -> Self {
        self.wake_group = group;
        self
    }

    pub(crate) fn reader(self, log: &Arc<Log>) -> Reader {
        Reader::new(
            log,
            Scope {
                keys: self.keys,
                filter: self.filter,
                gaps_reported_until: self.gaps_reported_until,
                open_global_events: self.open_global_events,
                wake_group: self.wake_group,
            },
            self.resume,
        )
    }
}

/// One item of a [`Subscription`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// An event of the log.
    Event(Event),
    /// Events that this subscription will not get, or the end of an outage.
    Gap(Gap),
    /// The store is failing, or could not be read for this subscription. If this log is the store's only writer,
    /// subscribers get the events until the recovery under a separate epoch. These events are counted as dropped,
    /// because the store will never return them. In a shared log, events wait in the buffer, and those that do not fit
    /// are counted as dropped. A [`Gap`](Self::Gap) reports the end of the outage.
    Degraded,
    /// No more messages will come.
    End(EndReason),
}

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its SSE name.
    pub name: String,
    /// The stream it belongs to, or `None` if it belongs to every stream.
    pub key: Option<StreamKey>,
    /// Its payload, which shares the log's memory.
    pub payload: Bytes,
}

/// A stream of [`Message`]s: first the retained events that were requested, then live ones, in log order, until the log
/// is shut down. A slow subscriber is only a position in the log, and holds at most one block of events.
///
/// After the shutdown, the subscription still delivers the events that it has not read, and then [`Message::End`]. If
/// the store does not answer within its [append time-out](crate::EventStore::append_timeout), the end comes without
/// those events, within twice that time. A subscription that begins after the shutdown waits until the store answers. A
/// subscription that is never dropped keeps the log's thread running for a bounded time: three append time-outs, at
/// least one minute and at most ten.
#[derive(Debug)]
#[must_use]
pub struct Subscription {
    reader: Reader,
    current: std::vec::IntoIter<Event>,
    ended: bool,
}

impl Subscription {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            current: Vec::new().into_iter(),
            ended: false,
        }
    }

    fn event(&self, event: &BlockEvent<'_>) -> Event {
        Event {
            id: self.reader.log().id(event.sequence()),
            name: event.name().to_owned(),
            key: event.key(),
            payload: event.payload(),
        }
    }
}

impl FusedStream for Subscription {
    fn is_terminated(&self) -> bool {
        self.ended && self.current.len() == 0
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            if let Some(event) = self.current.next() {
                return Poll::Ready(Some(Message::Event(event)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.reader.poll_next(cx)) {
                ReadItem::Events(slice) | ReadItem::OpenGlobal(slice) => {
                    let events: Vec<Event> =
                        slice.events().map(|event| self.event(&event)).collect();
                    self.current = events.into_iter();
                }
                ReadItem::Gap(gap) => return Poll::Ready(Some(Message::Gap(gap))),
                ReadItem::Degraded => return Poll::Ready(Some(Message::Degraded)),
                ReadItem::Closed => {
                    self.ended = true;
                    return Poll::Ready(Some(Message::End(EndReason::Shutdown)));
                }
            }
        }
    }
}

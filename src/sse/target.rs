//! [`SseTarget`] accepts events of any type and serves them as SSE. App threads and tasks call it.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::{HeaderMap, Response, Uri};

use crate::{
    engine::{
        encoder::RecordEncoder,
        log::{Status, StoreHealth},
        worker::{LogRuntime, WorkerSettings},
    },
    error::Error,
    ingest::{
        buffer::{self, Ack, PushError, RecordClass},
        envelope::Envelope,
        write_buf::WriteBuf,
    },
    log::{
        batch::Batch,
        event::{SseEvent, is_event_name},
    },
    reader::subscription::{Subscribe, Subscription},
    sse::body::{SseBody, resume_point},
    store::{EventStore, kind::StoreKind},
    wire::{
        control::Dropped,
        id::{EventId, ResumePoint},
    },
};

/// Stores dispatched events and streams them to any number of readers. Replayed and live events come in one order.
///
/// Cloning is cheap and gives another handle to the same log. When the last handle is dropped, buffered events are
/// stored and every stream ends.
///
/// ```
/// use livespan::{SseEvent, SseTarget};
///
/// struct Tick(u64);
///
/// impl SseEvent for Tick {
///     fn name(&self) -> &str {
///         "tick"
///     }
///     fn encode(&self, out: &mut Vec<u8>) {
///         out.extend_from_slice(self.0.to_string().as_bytes());
///     }
/// }
///
/// let target = SseTarget::<Tick>::builder().build()?;
/// target.try_dispatch(&Tick(1))?;
/// # Ok::<(), livespan::Error>(())
/// ```
pub struct SseTarget<E> {
    runtime: Arc<LogRuntime>,
    event: PhantomData<fn(E)>,
}

impl<E> SseTarget<E> {
    /// Upper bound on the payload of one event, in bytes: 256 KiB. A larger payload is [invalid](Error::is_invalid).
    pub const PAYLOAD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;
}

impl<E> Clone for SseTarget<E> {
    fn clone(&self) -> Self {
        Self::from_runtime(Arc::clone(&self.runtime))
    }
}

impl<E> fmt::Debug for SseTarget<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseTarget")
            .field("epoch", &self.runtime.log.epoch())
            .finish_non_exhaustive()
    }
}

/// Configures an [`SseTarget`]. [`build`](Self::build) opens the log.
///
/// ```
/// use livespan::{MemoryEventStore, Retention, SseEvent, SseTarget};
///
/// # struct Tick(u64);
/// # impl SseEvent for Tick {
/// #     fn name(&self) -> &str {
/// #         "tick"
/// #     }
/// #     fn encode(&self, out: &mut Vec<u8>) {
/// #         out.extend_from_slice(self.0.to_string().as_bytes());
/// #     }
/// # }
/// let retention = Retention::default().events(1_000);
/// let target = SseTarget::<Tick>::builder()
///     .store(MemoryEventStore::with_retention(retention))
///     .build()?;
/// # drop(target);
/// # Ok::<(), livespan::Error>(())
/// ```
#[must_use]
pub struct SseTargetBuilder<E> {
    store: Option<StoreKind>,
    settings: WorkerSettings,
    event: PhantomData<fn(E)>,
}

impl<E> fmt::Debug for SseTargetBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseTargetBuilder")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl<E> SseTargetBuilder<E> {
    /// Default bound on the bytes that wait for the log's thread: 16 MiB. The buffer reserves twice as much address
    /// space.
    pub const DEFAULT_BUFFER_BYTES: usize = buffer::DEFAULT_BUFFER_BYTES;
    /// Default bound on the events that wait for the log's thread: 131,072.
    pub const DEFAULT_BUFFER_EVENTS: usize = buffer::DEFAULT_BUFFER_EVENTS;
}

impl<E: SseEvent> SseTargetBuilder<E> {
    /// Stores the log's events in `store`. The default is a [`MemoryEventStore`](crate::MemoryEventStore) with its
    /// default retention.
    pub fn store(mut self, store: impl EventStore) -> Self {
        self.store = Some(StoreKind::new(store));
        self
    }

    /// Bounds the bytes that wait for the log's thread; by default
    /// [`DEFAULT_BUFFER_BYTES`](Self::DEFAULT_BUFFER_BYTES). Events may use about two thirds; the rest is reserved for
    /// ends of spans.
    pub fn buffer_bytes(mut self, max: usize) -> Self {
        self.settings.buffer_bytes = max;
        self
    }

    /// Bounds the events that wait for the log's thread; by default
    /// [`DEFAULT_BUFFER_EVENTS`](Self::DEFAULT_BUFFER_EVENTS). As with [bytes](Self::buffer_bytes), about one third is
    /// reserved for ends of spans.
    pub fn buffer_events(mut self, max: usize) -> Self {
        self.settings.buffer_events = max;
        self
    }

    /// Opens the store and starts the log's thread.
    ///
    /// # Errors
    /// Returns an error if the store cannot be opened, or the thread cannot be started.
    pub fn build(self) -> Result<SseTarget<E>, Error> {
        let store = self.store.unwrap_or_default();
        let runtime = LogRuntime::start(store, self.settings, |_| PreEncoded)?;
        Ok(SseTarget::from_runtime(Arc::new(runtime)))
    }
}

/// The encoder of a target. Callers encode the events themselves, so it does nothing.
struct PreEncoded;

impl RecordEncoder for PreEncoded {
    fn encode(&mut self, _record: &[u8], _batch: &mut Batch) {}
}

impl<E> SseTarget<E> {
    pub(crate) fn from_runtime(runtime: Arc<LogRuntime>) -> Self {
        Self {
            runtime,
            event: PhantomData,
        }
    }

    /// Follows the log as a stream of messages.
    pub fn subscribe(&self, options: Subscribe) -> Subscription {
        Subscription::new(options.reader(&self.runtime.log))
    }

    /// Answers a request with a stream, for your own route behind your own authorisation. The resume point of the
    /// request (`Last-Event-ID`, `?lastEventId=`, `?replay=none`) replaces that of `options`.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime with time enabled, because the stream has a timer for its pings.
    pub fn respond(&self, options: Subscribe, headers: &HeaderMap, uri: &Uri) -> Response<SseBody> {
        let resume = resume_point(headers, uri);
        let live = resume == ResumePoint::Live;
        let reader = options.resume(resume).reader(&self.runtime.log);
        SseBody::new(reader, live, None).into_response()
    }

    /// Returns the id of the newest visible event. In an empty log, this is the position before the first event.
    pub fn head(&self) -> EventId {
        self.runtime.log.id(self.runtime.log.tail.published())
    }

    /// Returns how many events were dropped since the log was opened.
    pub fn dropped(&self) -> Dropped {
        self.runtime.log.dropped()
    }

    /// Returns how many readers are open: HTTP streams and [`Subscription`]s.
    pub fn subscribers(&self) -> usize {
        self.runtime.log.readers().count()
    }

    /// Returns the state of the log.
    pub fn status(&self) -> Status {
        self.runtime.log.status()
    }

    /// Returns the health of the store.
    pub fn health(&self) -> StoreHealth {
        self.runtime.log.health()
    }

    /// Blocks the thread until every event dispatched before the call is in the store and visible.
    ///
    /// # Errors
    /// Returns an error if the time limit passes first ([`is_timeout`](Error::is_timeout)), the store refused events,
    /// or the log [ended by itself](Status::ended).
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.runtime.buffer.flush(timeout)
    }

    /// Ends every HTTP stream, now and later; the log itself stays open. Each stream sends the events that it has
    /// ready, a `retry` delay that spreads the clients' reconnects, and `end` (`shutdown`). Call it before the graceful
    /// shutdown of a server of your own, because that server waits for open streams. Requests in flight can still
    /// dispatch events. The call does not wait, cannot be undone, and leaves every [`Subscription`] open. Call
    /// [`shutdown`](Self::shutdown) after the server has ended.
    pub fn end_streams(&self) {
        self.runtime.log.end_streams();
    }

    /// Refuses later events, stores buffered ones and ends every stream with `end` (`shutdown`). It blocks until that
    /// is done. A second call has no effect.
    ///
    /// # Errors
    /// Returns an error if the time limit passes first (the log then ends when its store answers), or if the log has
    /// already [ended by itself](Status::ended).
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.runtime.shutdown(timeout)
    }
}

impl<E: SseEvent> SseTarget<E> {
    /// Returns a builder for a target.
    pub fn builder() -> SseTargetBuilder<E> {
        SseTargetBuilder {
            store: None,
            settings: WorkerSettings::default(),
            event: PhantomData,
        }
    }

    /// Stores and streams the event. It never waits: if the buffer is full, the event is dropped, counted, and reported
    /// to readers as a gap. In rare cases, the event is also dropped because other threads write to every part of the
    /// buffer and the scheduler has suspended them all.
    ///
    /// # Errors
    /// Returns an error if the event was dropped ([`is_full`](Error::is_full)), the log is shut down, or the event's
    /// name or payload is invalid.
    pub fn try_dispatch(&self, event: &E) -> Result<(), Error> {
        let payload = payload_of(event)?;
        let envelope = envelope(event, 0);
        let write = |buf: &mut WriteBuf<'_>| envelope.write(buf, &payload);
        let pushed = self.runtime.buffer.push(RecordClass::Other, write);
        pushed.map_err(|refused| match refused {
            PushError::Full => Error::full(),
            PushError::Closed => self.runtime.buffer.closed_error(),
        })
    }

    /// Stores and streams the event and returns its id. It waits for space in the buffer and for the store. If the
    /// future is dropped, the event may or may not be stored.
    ///
    /// # Errors
    /// Returns an error if the log is shut down, the store refused the event, the event's name or payload is invalid,
    /// or the log keeps a [deduplicated](SseEvent::is_deduplicated) event already
    /// ([`is_duplicate`](Error::is_duplicate)).
    pub async fn dispatch(&self, event: &E) -> Result<EventId, Error> {
        let payload = payload_of(event)?;
        if self.runtime.buffer.is_forked() {
            return Err(self.runtime.buffer.closed_error());
        }
        let mut ack = self.runtime.buffer.pending_ack();
        let envelope = envelope(event, ack.number);
        self.runtime
            .push(RecordClass::Other, |buf| envelope.write(buf, &payload))
            .await?;
        match ack.recv().await {
            Some(Ack::Stored(id)) => Ok(id),
            Some(Ack::Duplicate) => Err(Error::duplicate()),
            None if self.runtime.log.is_closed() => Err(self.runtime.buffer.closed_error()),
            None => Err(Error::store_failed("the event store refused the event")),
        }
    }

    /// Stores and streams the events in this order, and returns the id of the last one; returns `None` if `events` is
    /// empty. It waits like [`dispatch`](Self::dispatch), but only once for the store. If the future is dropped or
    /// fails, perhaps only the first events are stored.
    ///
    /// # Errors
    /// Returns the errors of [`dispatch`](Self::dispatch). If the store refused earlier events but not the last one, no
    /// error is returned; readers get a gap.
    pub async fn dispatch_all(&self, events: &[E]) -> Result<Option<EventId>, Error> {
        let Some((last, earlier)) = events.split_last() else {
            return Ok(None);
        };
        for event in earlier {
            let payload = payload_of(event)?;
            let envelope = envelope(event, 0);
            self.runtime
                .push(RecordClass::Other, |buf| envelope.write(buf, &payload))
                .await?;
        }
        self.dispatch(last).await.map(Some)
    }
}

fn envelope<E: SseEvent>(event: &E, ack: u64) -> Envelope<'_> {
    Envelope {
        ack,
        name: event.name(),
        key: event.stream_key(),
        pin: event.pin(),
        once: event.is_deduplicated(),
    }
}

fn payload_of<E: SseEvent>(event: &E) -> Result<Vec<u8>, Error> {
    if !is_event_name(event.name()) {
        let name = event.name().chars().take(64).collect::<String>();
        return Err(Error::invalid(format!(
            "the event name {name:?} is not 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'"
        )));
    }
    let mut payload = Vec::with_capacity(256);
    event.encode(&mut payload);
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the payload of {} bytes is larger than {PAYLOAD_BYTES_MAX}",
            payload.len()
        )));
    }
    if std::str::from_utf8(&payload).is_err() {
        return Err(Error::invalid("the payload is not UTF-8"));
    }
    Ok(payload)
}

/// The value of [`SseTarget::PAYLOAD_BYTES_MAX`], for code that has no event type to name that constant with.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

//! Storage of a log: the trait, the stores, and the types that a store and the log exchange. [`EventStore`] lists which
//! thread calls each method.
//!
//! Invariant: no store parses a payload, so one contract applies to all stores.

pub(crate) mod kind;
pub(crate) mod memory;
pub(crate) mod null;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
pub(crate) mod threads;
pub(crate) mod validated;

use std::{
    fmt,
    future::{Future, ready},
    ops::RangeInclusive,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::error::Error;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use crate::store::redis::{RedisEventStore, RedisEventStoreBuilder};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use crate::store::sqlite::{SqliteEventStore, Synchronous};
#[doc(no_inline)]
pub use crate::{
    log::event::{Pinning, StreamKey},
    wire::id::{Epoch, Sequence},
};
pub use crate::{
    log::{
        batch::{Batch, BatchRecord, StoredEvent},
        retention::{EvictedEvents, KeepError, Retention},
    },
    store::{memory::MemoryEventStore, null::NullEventStore},
};

/// Default time limit of an append. Readers get the events of a slower append before they are stored, unless the store
/// is [shared](EventStore::shared_log).
pub const DEFAULT_APPEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The storage of an event log: numbered, opaque records in order.
///
/// A log opens and owns one value of an implementing type: its *handle*. The log keeps its newest events in memory as
/// well, and reads only older events from the store (see [`tail_retention`](Self::tail_retention)). A store never
/// parses a payload.
///
/// The threads that call each method:
///
/// - [`open`](Self::open): the thread that builds the log, once, before everything else.
/// - [`append`](Self::append): one thread of the log, one call at a time. It may block; the host never waits for it.
/// - [`recover_open_events`](OpenEventRecovery::recover_open_events) and [`close`](Self::close): the log's own thread.
/// - Reads: any thread, concurrently with all other calls. They return futures, which need no async runtime and must
///   not block.
/// - The other methods of this trait: any thread, and they must not block.
///
/// An event's number is its *sequence*: 1, 2, 3 … over the whole life of the store, regardless of the writer. The crate
/// [`livespan-conformance`](https://docs.rs/livespan-conformance) has the suite that every store must pass, and a
/// complete store as an example.
pub trait EventStore: fmt::Debug + Send + Sync + 'static {
    /// Returns a short name for diagnostics, such as `memory`.
    fn kind(&self) -> &'static str;

    /// Opens the store and begins a new [epoch](EpochStart), unless the store continues the current one. Returns the
    /// sequence of the newest event ever stored, or [`Sequence::START`].
    ///
    /// # Errors
    /// Returns an error if the store cannot be used. The log is then not built.
    fn open(&self) -> Result<Sequence, Error>;

    /// Returns the epochs that the store still remembers, oldest first. The last one is the current epoch. An open
    /// store has at least one. This call must not block.
    fn epochs(&self) -> Arc<[EpochStart]>;

    /// Stores the events of the batch, all or none, under consecutive sequences, and returns the sequence of the first.
    /// Once the call has returned, the events can be read and are as durable as the store promises.
    ///
    /// A [deduplicated](BatchRecord::is_deduplicated) event is left out if it is stored already or appears earlier in
    /// the batch. It gets no sequence, and [`Appended::duplicates`] has its index. A store that does not deduplicate
    /// stores every event.
    ///
    /// If the log is the only writer, it assigns the sequences: `first` is above every earlier sequence. Sequences are
    /// skipped only for events that readers got while the store failed. A [shared](Self::shared_log) store ignores
    /// `first` and assigns the sequences itself, without holes. When the log appends a batch again after a failure, a
    /// shared store must not store it twice.
    ///
    /// # Errors
    /// Returns an error if the events could not be stored. The log reports this to its readers and keeps trying.
    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error>;

    /// Returns the oldest sequence from which on every event can be read. For an empty store, this is the next sequence
    /// to be written. This call must not block.
    fn oldest(&self) -> Sequence;

    /// Reads events after a sequence, oldest first. An empty page means that there are none. Opening events that are
    /// kept beyond retention (see [`Pinning::Open`]) come first, although they are older than [`oldest`](Self::oldest).
    /// Other events that the store keeps for open streams come first, too. A store should keep open streams complete
    /// while they need less than a [quarter](Retention::CARRIED_DIVISOR) of its bounds, and remove ended streams first.
    /// Every other event that retention removed before the read must be below `oldest` once the page arrives. From
    /// `oldest`, readers compute how many events they missed.
    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_>;

    /// Reads the events of these streams, and those that belong to every stream, like [`read_after`](Self::read_after).
    /// `keys` is never empty.
    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_>;

    /// Lists at most `limit` streams whose first kept event is before the given sequence, sorted by that event, newest
    /// first. With the default, an empty list, the log lists only the streams that it remembers itself.
    fn streams_before(&self, _before: Sequence, _limit: usize) -> StreamsFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns for each of these streams, in order, how many of its events retention has removed. `None`, the default
    /// for every stream, means that the number is unknown. The counts must survive a restart, or be unknown after it.
    /// Readers whose streams lost no event get no gap.
    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        Box::pin(ready(Ok(vec![None; keys.len()])))
    }

    /// Returns the interval at which the log calls [`check`](Self::check). `None`, the default, is for a store that
    /// needs no check, because its other calls notice every failure.
    fn check_interval(&self) -> Option<Duration> {
        None
    }

    /// Checks that the appended events are still in place and that more can be appended. For example, somebody may have
    /// removed the log's file. This call must be quick and must not wait for other calls.
    ///
    /// # Errors
    /// Returns an error if the check fails. The log is then degraded until a later call succeeds.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Cleans up after the log's last append, and releases any lock that keeps other writers from opening the store.
    /// The log calls this at shutdown, perhaps long before it drops the store. The call may take a while if the store
    /// works, but must be quick if the store is known to fail. Reads may run at the same time. The log does not call it
    /// while an append hangs, or when the process exits without a shutdown. The default does nothing.
    fn close(&self) {}

    /// Returns the access to events that other processes append to this store. `None`, the default, is for a store with
    /// one writer. Every call must return the same value.
    fn shared_log(&self) -> Option<&dyn SharedLog> {
        None
    }

    /// Returns the access to events that their writer left open. `None`, the default, is for a store that cannot find
    /// such events. New readers then get only open events that this log appended itself. Every call must return the
    /// same value.
    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        None
    }

    /// Returns the access to streams that are kept on request. `None`, the default, is for a store that cannot keep
    /// them. Every call must return the same value.
    fn kept_streams(&self) -> Option<&dyn KeptStreams> {
        None
    }

    /// Returns the time limit of an append. If an append takes longer, readers get its events before they are stored,
    /// as if the store had failed. `None` means that an append never takes long, or that the store limits its time
    /// itself. The log then appends on its own thread; with a limit, it appends on a second thread. It decides this
    /// once, at opening, and asks for the limit again at each append.
    ///
    /// A [shared](Self::shared_log) store assigns the sequences itself, so readers cannot get them before the store
    /// answers. After the time limit, the log tells readers that the store fails, and waits for the answer. It appends
    /// the batch again only if the answer is an error.
    fn append_timeout(&self) -> Option<Duration> {
        Some(DEFAULT_APPEND_TIMEOUT)
    }

    /// Returns the bounds of the store's retention, for `/status`. `None`, the default, means that they are unknown.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Returns the bounds of the events that the log keeps in memory, in front of this store.
    fn tail_retention(&self) -> Retention {
        Retention::default().events(10_000).bytes(8 * 1024 * 1024)
    }
}

/// Access to events that their writer left open, because it died or was suspended. A store that outlives its process
/// may have such events.
///
/// A store returns it from [`EventStore::open_event_recovery`].
pub trait OpenEventRecovery: Send + Sync {
    /// Returns the open events that the log must close or append again. The log's thread calls it once after opening,
    /// and about once a second on a [shared](EventStore::shared_log) store. It may block.
    ///
    /// # Errors
    /// Returns an error if the store cannot be read. The log calls it again a second later.
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error>;

    /// Reads the opening events that belong to every stream and are still open, oldest first. A reader that begins at
    /// the head gets them first. With the default, which returns none, such a reader gets only the open events that
    /// this log appended itself.
    fn read_open_global_events(&self) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// Streams that are kept beyond retention because somebody asked for it, such as a trace that a person still reads.
///
/// At most [`KEPT_STREAMS_MAX`](Retention::KEPT_STREAMS_MAX) streams are kept. Together they may use a
/// [share](Retention::KEPT_DIVISOR) of the store's bounds, and they count towards these bounds. If they grow beyond it,
/// the largest one is no longer kept, at the latest when retention passes its events. A persistent store keeps them
/// after a restart, too.
///
/// A store returns it from [`EventStore::kept_streams`].
pub trait KeptStreams: Send + Sync {
    /// Keeps all events of the stream that can be read now, and all later ones. If the stream is kept already, nothing
    /// changes. It may block.
    ///
    /// # Errors
    /// Returns the reason if the stream cannot be kept.
    fn keep(&self, key: &StreamKey) -> Result<(), KeepError>;

    /// Lets retention remove the stream's events again. Returns whether the stream was kept. It may block.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    fn stop_keeping(&self, key: &StreamKey) -> Result<bool, Error>;

    /// Returns the kept streams. It must not block.
    fn kept(&self) -> Vec<StreamKey>;
}

/// Access to the events that other processes append to the same store. The waits block: the log calls each on its own
/// thread.
///
/// A store returns it from [`EventStore::shared_log`].
pub trait SharedLog: Send + Sync {
    /// Reads the sequence of the newest event in the store.
    fn head(&self) -> HeadFuture<'_>;

    /// Returns the newest sequence that this handle knows, without a call to the store. With the default, the log knows
    /// only the events that it has read itself.
    fn known_head(&self) -> Sequence {
        Sequence::START
    }

    /// Waits at most `timeout` for an event after `after`. Returns a page of the events after it, oldest first and
    /// without holes, except for removed events. The thread that appends passes a `timeout` of zero; the call must then
    /// return at once. An empty page means that the time has passed or the wait was [interrupted](Self::interrupt).
    ///
    /// # Errors
    /// Returns an error if the store cannot be read.
    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error>;

    /// Waits at most `timeout` until one of these streams has an event after the sequence beside it, or an event of
    /// every stream follows `global_after`. Returns the streams with such events, each with its newest sequence; `None`
    /// stands for every stream. It need not return every such stream: the next wait may return the rest. Its cost must
    /// not depend on the traffic of other streams.
    ///
    /// # Errors
    /// Returns an error if the store cannot be read.
    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error>;

    /// Ends the current wait, or the next one if there is none.
    fn interrupt(&self);
}

/// Future of a page of events. It is a future because a durable store does I/O.
pub type ReadFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<StoredEvent>, Error>> + Send + 'a>>;

/// Future of the newest sequence.
pub type HeadFuture<'a> = Pin<Box<dyn Future<Output = Result<Sequence, Error>> + Send + 'a>>;

/// Future of a list of streams.
pub type StreamsFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<StoredStream>, Error>> + Send + 'a>>;

/// Future of the counts of evicted events.
pub type EvictedFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<Option<EvictedEvents>>, Error>> + Send + 'a>>;

/// The outcome of a batch that a store accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The sequence of the first stored event. If no event was stored, the sequence that it would have got.
    pub first: Sequence,
    /// Indices in the batch, ascending, of the events that were left out as duplicates.
    pub duplicates: Vec<usize>,
}

impl Appended {
    /// Creates the outcome of a batch that is stored from this sequence on, except for the duplicates at these
    /// ascending indices.
    pub fn new(first: Sequence, duplicates: Vec<usize>) -> Self {
        Self { first, duplicates }
    }
}

impl From<Sequence> for Appended {
    /// Creates the outcome of a batch that was stored without duplicates.
    fn from(first: Sequence) -> Self {
        Self::new(first, Vec::new())
    }
}

/// The beginning of an epoch. The sequences from `first` up to the next epoch's `first` belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochStart {
    /// The epoch. The ids of its events begin with the text of this value.
    pub epoch: Epoch,
    /// The first sequence that was, or will be, assigned in it.
    pub first: Sequence,
}

impl EpochStart {
    /// Creates the beginning of this epoch at this sequence.
    pub const fn new(epoch: Epoch, first: Sequence) -> Self {
        Self { epoch, first }
    }
}

/// A stream with events in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredStream {
    /// The key of the stream.
    pub key: StreamKey,
    /// The sequence of the stream's first kept event.
    pub first: Sequence,
    /// The sequence of the stream's last event.
    pub last: Sequence,
}

impl StoredStream {
    /// Creates an entry for a stream whose stored events begin and end at these sequences.
    pub fn new(key: StreamKey, sequences: RangeInclusive<Sequence>) -> Self {
        let (first, last) = sequences.into_inner();
        Self { key, first, last }
    }
}

/// Events that their writers left open, for the log to close or to append again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredEvents {
    /// Opening events on streams that their writer left open when it died. The log closes those that it knows how to
    /// close. The store returns each event to one log only, and to another log only if the first one dies before it has
    /// closed the event. Events that belong to every stream may be missing here.
    pub abandoned: Vec<AbandonedEvent>,
    /// Opening events of this writer that others closed while it was suspended. The log appends them again.
    pub reopened: Vec<StoredEvent>,
}

impl RecoveredEvents {
    /// Creates the result from opening events whose writer is gone, and events of this writer that others closed.
    pub fn new(abandoned: Vec<AbandonedEvent>, reopened: Vec<StoredEvent>) -> Self {
        Self {
            abandoned,
            reopened,
        }
    }
}

/// An opening event whose writer is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbandonedEvent {
    /// The opening event.
    pub event: StoredEvent,
    /// When the event's writer was last known to live.
    pub last_heard: SystemTime,
}

impl AbandonedEvent {
    /// Creates an entry for an opening event whose writer was last known to live at this time.
    pub fn new(event: StoredEvent, last_heard: SystemTime) -> Self {
        Self { event, last_heard }
    }
}

/// The bounds of a page. Reading stops at the bound that is reached first, but a page has at least one event if there
/// is one. A page may be shorter; only an empty page means that there are no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimit {
    /// Upper bound on the events in a page.
    pub events: usize,
    /// Upper bound on the payload bytes in a page.
    pub bytes: usize,
}

impl PageLimit {
    /// No bounds: the page has all events.
    pub const UNBOUNDED: Self = Self {
        events: usize::MAX,
        bytes: usize::MAX,
    };

    /// Bounds the events in a page.
    #[must_use]
    pub const fn events(self, events: usize) -> Self {
        Self { events, ..self }
    }

    /// Bounds the payload bytes in a page.
    #[must_use]
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Page size of reads that go through many events, such as those of a whole trace.
    pub(crate) const LARGE: Self = Self {
        events: 1_000,
        bytes: 1024 * 1024,
    };
}

impl Default for PageLimit {
    fn default() -> Self {
        Self {
            events: 256,
            bytes: 64 * 1024,
        }
    }
}

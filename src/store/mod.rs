//! Storage of a log: the trait, the stores, and the types that a store and the log exchange.
//!
//! Invariant: no store parses a payload, so one contract serves them all.

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
        retention::{EvictedEvents, Retention},
    },
    store::{memory::MemoryEventStore, null::NullEventStore},
};

/// Default time limit of an append. After it, readers get the events although they are not stored yet.
pub const DEFAULT_APPEND_TIMEOUT: Duration = Duration::from_secs(3);

/// Storage of an event log: numbered, opaque records in order.
///
/// A log opens its own handle on a store. The log keeps its newest events in memory as well, and reads from the store
/// only what is older than [`tail_retention`](Self::tail_retention). A store never parses a payload.
///
/// Which thread calls what:
///
/// - [`open`](Self::open): the thread that builds the log, once, before everything else.
/// - [`append`](Self::append): one thread of the log, one call at a time. It may block; the host never waits for it.
/// - [`recover_open_events`](OpenEventRecovery::recover_open_events) and [`close`](Self::close): the log's own thread.
/// - Reads: any thread, concurrently with everything. They return futures, need no async runtime, and must not block.
/// - Everything else: any thread, and it must not block.
///
/// Events are numbered 1, 2, 3 … over the whole life of the store, whoever appends them. The crate
/// [`livespan-conformance`](https://docs.rs/livespan-conformance) has the suite that every store must pass, and a
/// complete store as an example.
pub trait EventStore: fmt::Debug + Send + Sync + 'static {
    /// Returns a short name for diagnostics, such as `memory`.
    fn kind(&self) -> &'static str;

    /// Opens the store and begins a new [epoch](EpochStart), unless the store continues the current one. Returns the
    /// sequence of the newest event ever stored, or [`Sequence::START`].
    ///
    /// # Errors
    /// If the store cannot be used. The log is then not built.
    fn open(&self) -> Result<Sequence, Error>;

    /// Returns the epochs that the store still remembers, oldest first. The last one is the current epoch. An open
    /// store has at least one. It must not block.
    fn epochs(&self) -> Arc<[EpochStart]>;

    /// Stores the events of the batch, all or none, under consecutive numbers, and returns the number of the first.
    /// When it returns, the events are as durable as the store promises, and can be read.
    ///
    /// A [deduplicated](BatchRecord::is_deduplicated) event is left out if it is stored already or appears earlier in
    /// the batch. It takes no number, and [`Appended::duplicates`] has its index. A store that does not deduplicate
    /// stores every event.
    ///
    /// If the log is the only writer, it assigns the numbers: `first` is above every earlier number. Numbers are
    /// skipped only for events that readers got while the store failed. A [shared](Self::shared_log) store ignores
    /// `first` and numbers the batch itself, without holes. It must not store a batch twice when the log appends it
    /// again after a failure.
    ///
    /// # Errors
    /// If the events could not be stored. The log reports this to its readers and keeps trying.
    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error>;

    /// Returns the oldest sequence from which on every event can be read. For an empty store this is the next sequence
    /// to be written. It must not block.
    fn oldest(&self) -> Sequence;

    /// Reads events after a sequence, oldest first. An empty page means that there are none. Opening events that are
    /// kept beyond retention (see [`Pinning::Open`]) come first, although they are older than [`oldest`](Self::oldest).
    /// So may other events of streams that are or were open, if the store keeps them longer.
    /// Every other event that retention removed before the read must be below `oldest` once the page arrives. Readers
    /// tell from this how much they missed.
    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_>;

    /// Reads the events of these streams, and those that belong to every stream, as [`read_after`](Self::read_after)
    /// does. `keys` is never empty.
    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_>;

    /// Lists streams whose first kept event is before a sequence, newest first by that event. The default lists none.
    /// The log's lists then show only the streams that the log itself remembers.
    fn streams_before(&self, _before: Sequence, _limit: usize) -> StreamsFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns for each of these streams, in their order, how much retention has removed of it. `None`, the default for
    /// every stream, means that the store does not know. The counts must survive a restart or be unknown after it.
    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        Box::pin(ready(Ok(vec![None; keys.len()])))
    }

    /// Returns how often the log calls [`check`](Self::check). `None`, the default, is for a store that needs no check,
    /// because its other calls notice every failure.
    fn check_interval(&self) -> Option<Duration> {
        None
    }

    /// Checks that the appended events are still in place and that more can be appended: somebody may have removed the
    /// log's file. It must be quick and must not wait for other calls.
    ///
    /// # Errors
    /// If the check fails. The log is then degraded until a later call succeeds.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Cleans up after the log's last append, and releases what keeps other writers from opening the store. The log
    /// calls it at shutdown, perhaps long before it drops the store. It may take a while if the store works, but must
    /// be quick if the store is known to fail. Reads may run at the same time. The log does not call it while an append
    /// hangs, and nothing calls it when the process exits without a shutdown. The default does nothing.
    fn close(&self) {}

    /// Returns the access to events that other processes append to this store. `None`, the default, is for a store with
    /// one writer. Every call must return the same.
    fn shared_log(&self) -> Option<&dyn SharedLog> {
        None
    }

    /// Returns the access to events that their writer left open. `None`, the default, is for a store that cannot find
    /// them. The log then hands out only open events that it appended itself. Every call must return the same.
    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        None
    }

    /// Returns the time limit of an append. After it, readers get the events although they are not stored yet, as if
    /// the store had failed. `None` means that an append never takes long, or that the store limits its time itself.
    /// The log then appends on its own thread; with a limit, it appends on a second thread. It asks once, at opening.
    ///
    /// Only a [shared](Self::shared_log) store itself can number its events, so readers cannot get them before it
    /// answers. After the time limit, the log tells readers that the store fails, and waits for the answer. It appends
    /// the batch again only if the answer is an error.
    fn append_timeout(&self) -> Option<Duration> {
        Some(DEFAULT_APPEND_TIMEOUT)
    }

    /// Returns the bounds of what the store keeps, for `/status`. `None`, the default, means that they are not known.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Returns how much of the log is kept in memory, in front of this store.
    fn tail_retention(&self) -> Retention {
        Retention::default().events(10_000).bytes(8 * 1024 * 1024)
    }
}

/// Events that their writer left open, because it died or was suspended. A store that outlives its process has them.
///
/// A store returns it from [`EventStore::open_event_recovery`].
pub trait OpenEventRecovery: Send + Sync {
    /// Returns the open events that the log must close or append again. The log's thread calls it once after opening,
    /// and about once a second on a [shared](EventStore::shared_log) store. It may block.
    ///
    /// # Errors
    /// When the store cannot be read; the log calls it again a second later.
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error>;

    /// Reads the opening events that belong to every stream and are still open, oldest first. A reader that begins at
    /// the head gets them first. The default returns none: the log then hands out those that it appended itself.
    fn read_open_global_events(&self) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// Access to what other processes append to the same store. The waits block: the log calls each on a thread of its own.
///
/// A store returns it from [`EventStore::shared_log`].
pub trait SharedLog: Send + Sync {
    /// Reads the sequence of the newest event in the store.
    fn head(&self) -> HeadFuture<'_>;

    /// Returns the newest sequence that this handle has heard of, without asking the store. With the default, the log
    /// knows only what it has read itself.
    fn known_head(&self) -> Sequence {
        Sequence::START
    }

    /// Waits at most `timeout` for an event after `after`. Returns a page of the events after it, oldest first and
    /// without holes, except for events that are gone. An empty page means that the time has passed or the wait was
    /// [interrupted](Self::interrupt).
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error>;

    /// Waits at most `timeout` until one of these streams has an event after the sequence beside it, or an event of
    /// every stream follows `global_after`. Returns the streams that have news, each with its newest sequence; `None`
    /// stands for every stream. It may leave streams with news to the next wait. Its cost must not depend on the
    /// traffic of other streams.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error>;

    /// Ends the current wait, or the next one if there is none.
    fn interrupt(&self);
}

/// Future of a page of events: a durable store does I/O.
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
    /// The number of the first event that was stored. If none was, the number that it would have got.
    pub first: Sequence,
    /// Indices in the batch, ascending, of the events that were left out because they are stored already.
    pub duplicates: Vec<usize>,
}

impl Appended {
    /// Creates the outcome of a batch that is stored from this number on, except for the events at these ascending
    /// indices, which were stored already.
    pub fn new(first: Sequence, duplicates: Vec<usize>) -> Self {
        Self { first, duplicates }
    }
}

impl From<Sequence> for Appended {
    /// Every event of the batch is stored.
    fn from(first: Sequence) -> Self {
        Self::new(first, Vec::new())
    }
}

/// The beginning of an epoch: the numbers from `first` on, up to the next epoch's first, belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochStart {
    /// The epoch, with which its ids begin.
    pub epoch: Epoch,
    /// The first number that was, or will be, assigned in it.
    pub first: Sequence,
}

impl EpochStart {
    /// Creates the beginning of this epoch at this number.
    pub const fn new(epoch: Epoch, first: Sequence) -> Self {
        Self { epoch, first }
    }
}

/// One stream that a store holds events of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredStream {
    /// Its name.
    pub key: StreamKey,
    /// The sequence of its first kept event.
    pub first: Sequence,
    /// The sequence of its last one.
    pub last: Sequence,
}

impl StoredStream {
    /// Creates an entry for a stream whose stored events begin and end with these numbers.
    pub fn new(key: StreamKey, sequences: RangeInclusive<Sequence>) -> Self {
        let (first, last) = sequences.into_inner();
        Self { key, first, last }
    }
}

/// Events that their writers left open, for the log to close or to append again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredEvents {
    /// Opening events on streams that their writer left open when it died. The log closes those that it has a meaning
    /// for. Each is handed to one log once, and to another only if that log dies before it has closed it. Events that
    /// belong to every stream may be missing here.
    pub abandoned: Vec<AbandonedEvent>,
    /// Opening events of this very writer that others closed while it was suspended. The log appends them again.
    pub reopened: Vec<StoredEvent>,
}

impl RecoveredEvents {
    /// Creates the result from opening events whose writer is gone, and those of this writer that others closed.
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
    /// When its writer was last known to live.
    pub last_heard: SystemTime,
}

impl AbandonedEvent {
    /// Creates an entry for an opening event whose writer was last known to live at this time.
    pub fn new(event: StoredEvent, last_heard: SystemTime) -> Self {
        Self { event, last_heard }
    }
}

/// The size of a page: reading stops at the bound that is reached first, but never before one event. A page may be
/// shorter; only an empty page means that there are no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimit {
    /// Events in a page.
    pub events: usize,
    /// Payload bytes in a page.
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

    /// Page size of reads where no client waits for each page.
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

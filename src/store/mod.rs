//! Where a log is kept: the trait, the stores, and what passes between them and the log.
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

/// How long an append may take by default before readers get its events all the same.
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

    /// Opens the store and begins a new [epoch](EpochStart), unless one goes on. Returns the sequence of the newest
    /// event ever stored, or [`Sequence::START`].
    ///
    /// # Errors
    /// When the store cannot be used. The log is then not made.
    fn open(&self) -> Result<Sequence, Error>;

    /// Returns the epochs that the store still remembers, oldest first. The last one is the current epoch. An open
    /// store has at least one. It must not block.
    fn epochs(&self) -> Arc<[EpochStart]>;

    /// Stores the events of the batch, all or none, under consecutive numbers, and returns the number of the first.
    /// When it returns, the events are as durable as the store promises, and can be read.
    ///
    /// An event that is [deduplicated](BatchRecord::is_deduplicated), and is stored already or stands twice in the
    /// batch, is left out: it takes no number, and [`Appended::duplicates`] names it. A store that does not deduplicate
    /// stores every event.
    ///
    /// Where the log is the only writer, it hands out the numbers: `first` is above every earlier number. Numbers are
    /// skipped only for events that readers got while the store failed. A [shared](Self::shared_log) store ignores
    /// `first` and numbers the batch itself, without holes. When a failed batch is handed in again, a shared store must
    /// not store it twice.
    ///
    /// # Errors
    /// When the events could not be stored. The log tells its readers, and goes on trying.
    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error>;

    /// Returns the oldest sequence from which on everything can be read, or the next one to be written when the store
    /// is empty. It must not block.
    fn oldest(&self) -> Sequence;

    /// Reads events after a sequence, oldest first. An empty page means that there are none. Opening events that are
    /// kept beyond retention (see [`Pinning::Open`]) come first, although they are older
    /// than [`oldest`](Self::oldest). What is missing in a page but was kept once stands before what `oldest` is
    /// afterwards: so a reader tells what retention took meanwhile.
    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_>;

    /// Reads the events of these streams, of which there is at least one, and those that belong to every stream, after
    /// a sequence, oldest first, as [`read_after`](Self::read_after) does.
    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_>;

    /// Lists streams whose first kept event is before a sequence, newest first by that event. A store that cannot
    /// tell lists none: what the log itself remembers is then all that its lists show.
    fn streams_before(&self, _before: Sequence, _limit: usize) -> StreamsFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Returns for each of these streams, in their order, what retention has let go of it. `None` means that the store
    /// does not know, as by default for every stream. The counts must outlive a restart, or be unknown after it.
    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        Box::pin(ready(Ok(vec![None; keys.len()])))
    }

    /// Returns how often the log calls [`check`](Self::check); `None`, the default, for a store that learns from its calls
    /// alone how it does.
    fn check_interval(&self) -> Option<Duration> {
        None
    }

    /// Looks whether what was appended is still where it was, and can be appended to: the file of the log may have been
    /// removed. It must be quick and must not wait for other calls.
    ///
    /// # Errors
    /// When it is not. The log is then degraded until a later call succeeds.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Tidies up after the log's last append, and gives back what keeps others from opening the store for writing: the
    /// log was shut down, though it may not be dropped for long. It may take a while when the store works, but must not
    /// when it is known to fail. Reads go on beside it. It is not called while an append hangs, nor when the process just
    /// ends. By default it does nothing.
    fn close(&self) {}

    /// Returns the access to events that other processes append to this store; `None`, the default, for a store with
    /// one writer. It must return the same at every time.
    fn shared_log(&self) -> Option<&dyn SharedLog> {
        None
    }

    /// Returns the access to events that their writer left open; `None`, the default, for a store that does not tell.
    /// The log then hands out only what it appended itself. It must return the same at every time.
    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        None
    }

    /// Returns how long an append may take before readers get its events though they are not kept yet, as if the store
    /// had failed. `None` means that an append never takes long, or that the store bounds the time itself: it then runs
    /// on the log's own thread, else on one beside it. Which of the two is decided at opening.
    ///
    /// A [shared](Self::shared_log) store alone numbers its events, so readers cannot get them before it answers: after
    /// this time they are told that the store fails, and the log waits for the answer. It hands the batch in again only
    /// when the answer is an error.
    fn append_timeout(&self) -> Option<Duration> {
        Some(DEFAULT_APPEND_TIMEOUT)
    }

    /// Returns the bounds of what the store keeps, for `/status`; by default it does not tell.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Returns how much of the log is kept in memory before this store.
    fn tail_retention(&self) -> Retention {
        Retention::default().events(10_000).bytes(8 * 1024 * 1024)
    }
}

/// Events that their writer left open, because it died or stood still. A store that outlives its process has them.
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
    /// the head gets them first. By default none: the log then hands out those that it appended itself.
    fn read_open_global_events(&self) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// Access to what other processes append to the same store. The waits block, each on a thread of the log of its own.
///
/// A store returns it from [`EventStore::shared_log`].
pub trait SharedLog: Send + Sync {
    /// Reads the sequence of the newest event in the store.
    fn head(&self) -> HeadFuture<'_>;

    /// Returns the newest sequence that this handle has heard of, without asking. By default none: the log then knows
    /// of what it has followed itself.
    fn known_head(&self) -> Sequence {
        Sequence::START
    }

    /// Waits until there is an event after `after`, at most for `timeout`, and returns a page of what is after it,
    /// oldest first and without holes, but for events that are gone. An empty page means that time has passed or that
    /// the wait was [interrupted](Self::interrupt).
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error>;

    /// Waits until one of these streams has an event after the sequence beside it, or there is an event of every
    /// stream after `global_after`, at most for `timeout`; returns what has news (`None`: every stream) with its newest
    /// sequence; of what else has some, the next wait may tell. Its cost must not depend on the traffic of other streams.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error>;

    /// Ends the wait that goes on now, or the next one if there is none.
    fn interrupt(&self);
}

/// What a page of events is read into: a future, because a durable store does I/O.
pub type ReadFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<StoredEvent>, Error>> + Send + 'a>>;

/// What the newest sequence is read into.
pub type HeadFuture<'a> = Pin<Box<dyn Future<Output = Result<Sequence, Error>> + Send + 'a>>;

/// What a list of streams is read into.
pub type StreamsFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<StoredStream>, Error>> + Send + 'a>>;

/// What the counts of evicted events are read into.
pub type EvictedFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<Option<EvictedEvents>>, Error>> + Send + 'a>>;

/// What became of a batch that a store took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The number of the first event that is kept, or that would have been.
    pub first: Sequence,
    /// Places in the batch, ascending, of the events that are left out because they are kept already.
    pub duplicates: Vec<usize>,
}

impl Appended {
    /// Says that the batch is stored from this number on, but for its events at these ascending places, which are
    /// stored already.
    pub fn new(first: Sequence, duplicates: Vec<usize>) -> Self {
        Self { first, duplicates }
    }
}

impl From<Sequence> for Appended {
    /// Says that every event of the batch is stored.
    fn from(first: Sequence) -> Self {
        Self::new(first, Vec::new())
    }
}

/// The begin of an epoch: the numbers from `first` on, up to the next epoch's, belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochStart {
    /// What its ids begin with.
    pub epoch: Epoch,
    /// The first number that was, or will be, given in it.
    pub first: Sequence,
}

impl EpochStart {
    /// Says that this epoch begins with this number.
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
    /// Says that the stored events of this stream begin and end with these numbers.
    pub fn new(key: StreamKey, sequences: RangeInclusive<Sequence>) -> Self {
        let (first, last) = sequences.into_inner();
        Self { key, first, last }
    }
}

/// Events that their writers left open, for the log to close or to append again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredEvents {
    /// Opening events on streams whose writer died before it closed them: the log closes those that mean something to
    /// it. Each is handed to one log once, unless that log dies over it. Events that belong to every stream need not be
    /// among them.
    pub abandoned: Vec<AbandonedEvent>,
    /// Opening events of this very writer that others closed while it stood still: the log appends them again.
    pub reopened: Vec<StoredEvent>,
}

impl RecoveredEvents {
    /// Hands over opening events whose writer is gone, and those of this writer that others closed.
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
    /// Says that the writer of this opening event was last known to live at this time.
    pub fn new(event: StoredEvent, last_heard: SystemTime) -> Self {
        Self { event, last_heard }
    }
}

/// How much a page may hold: reading stops at whichever bound comes first, but never before one event. It may stop
/// earlier; only an empty page means that there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimit {
    /// Events in a page.
    pub events: usize,
    /// Payload bytes in a page.
    pub bytes: usize,
}

impl PageLimit {
    /// A page that ends only where the events do.
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

    /// What the log reads at once where no client waits for each page.
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

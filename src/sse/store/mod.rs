//! Where a log is kept: the trait, and the stores that need no dependency.
//!
//! Invariant: no store parses a payload, so one contract serves them all.

mod memory;
mod null;

use std::{fmt, future::Future, pin::Pin as StdPin, sync::Arc};

pub use self::{memory::MemoryEventStore, null::NullEventStore};
use crate::{
    error::Error,
    sse::{
        batch::{Batch, StoredEvent},
        event::StreamKey,
        id::{Epoch, Sequence},
        retention::Retention,
        tail::Tail,
    },
};

/// What a log is kept in.
///
/// One log owns one store. [`open`](Self::open) runs once, before anything else; [`append`](Self::append) runs on the
/// log's own thread, one call at a time, and may block: the host never waits for it. Reads run concurrently with
/// everything and must not block. The log keeps the newest events in memory itself, so a store is read only for what
/// is older than [`tail`](Self::tail).
pub trait EventStore: fmt::Debug + Send + Sync + 'static {
    /// Returns a short name for diagnostics, such as `memory`.
    fn kind(&self) -> &'static str;

    /// Opens the store and begins a new epoch, unless the store resumes a life that never ended.
    ///
    /// # Errors
    /// When the store cannot be used; the log is then not made.
    fn open(&self) -> Result<Opened, Error>;

    /// Numbers and keeps the events of the batch, all or none, and returns the sequence of the first. The others
    /// follow without holes. When it returns, the events are as durable as the store promises.
    ///
    /// # Errors
    /// When the events could not be kept. The log counts them as dropped, tells readers, and goes on trying with
    /// later batches.
    fn append(&self, batch: &Batch) -> Result<Sequence, Error>;

    /// Returns the oldest sequence that can still be read, or the next one to be written when nothing is kept.
    fn oldest(&self) -> Sequence;

    /// Reads events after a sequence, oldest first. An empty page means that there are none.
    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_>;

    /// Reads the events of one stream, and those that belong to every stream, after a sequence, oldest first.
    fn read_stream_after(
        &self,
        key: &StreamKey,
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_>;

    /// Returns how much of the log is kept in memory before this store.
    fn tail(&self) -> Retention {
        Retention::default().events(10_000).bytes(8 * 1024 * 1024)
    }

    /// The memory that the log shares with [`MemoryEventStore`]; no other store has it.
    #[doc(hidden)]
    fn shared_tail(&self) -> Option<SharedTail> {
        None
    }
}

/// What a page of events is read into: a future, because a durable store does I/O.
pub type ReadFuture<'a> =
    StdPin<Box<dyn Future<Output = Result<Vec<StoredEvent>, Error>> + Send + 'a>>;

/// What a store knows when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The epoch that new events belong to.
    pub epoch: Epoch,
    /// The sequence of the newest event kept, or [`Sequence::START`].
    pub head: Sequence,
    /// Earlier epochs whose events share the sequence, each with its first and last sequence.
    pub earlier: Vec<(Epoch, Sequence, Sequence)>,
}

/// How much a page may hold: reading stops at whichever bound comes first, but never before one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Events in a page.
    pub events: usize,
    /// Payload bytes in a page.
    pub bytes: usize,
}

impl Default for PageLimit {
    fn default() -> Self {
        Self {
            events: 256,
            bytes: 64 * 1024,
        }
    }
}

/// A handle on the log's memory; opaque.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct SharedTail(pub(crate) Arc<Tail>);

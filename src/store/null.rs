//! A store that keeps nothing: readers get live events and resume only from events that are still in flight.

use std::{future::ready, sync::Arc, time::Duration};

use crate::{
    error::Error,
    log::{batch::Batch, event::StreamKey, retention::Retention},
    store::{Appended, EpochStart, EventStore, PageLimit, ReadFuture},
    util::sync::atomic::{AtomicU64, Ordering},
    wire::id::{Epoch, Sequence},
};

/// Keeps only the events in flight: the newest 4,096 events, 1 MiB or 10 seconds, whichever is least. A reader that was
/// away longer gets a `gap`.
///
/// ```
/// use livespan::{LiveSpans, NullEventStore};
///
/// let live = LiveSpans::builder().store(NullEventStore::new()).build()?;
/// # live.shutdown()?;
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Debug)]
pub struct NullEventStore {
    next: AtomicU64,
    /// Created once, because it is read for the id of each event.
    epochs: Arc<[EpochStart]>,
}

impl Default for NullEventStore {
    fn default() -> Self {
        Self::new()
    }
}

impl NullEventStore {
    /// Makes the store.
    pub fn new() -> Self {
        let (epoch, first) = (Epoch::random(), Sequence::new(1));
        Self {
            next: AtomicU64::new(1),
            epochs: Arc::new([EpochStart { epoch, first }]),
        }
    }
}

impl EventStore for NullEventStore {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn open(&self) -> Result<Sequence, Error> {
        Ok(Sequence::new(self.next.load(Ordering::Relaxed) - 1))
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        Arc::clone(&self.epochs)
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let next = first.get() + batch.len() as u64;
        self.next.store(next, Ordering::Relaxed);
        Ok(first.into())
    }

    fn oldest(&self) -> Sequence {
        Sequence::new(self.next.load(Ordering::Relaxed))
    }

    fn read_after(&self, _after: Sequence, _limit: PageLimit) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn read_streams_after(
        &self,
        _keys: &[StreamKey],
        _after: Sequence,
        _limit: PageLimit,
    ) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn append_timeout(&self) -> Option<Duration> {
        None
    }

    fn tail_retention(&self) -> Retention {
        Retention::default()
            .events(4096)
            .bytes(1024 * 1024)
            .age(Duration::from_secs(10))
    }
}

//! The default store: keeps events in memory only. The log reads and publishes this store's blocks directly, so there
//! is no second copy of an event.

use std::{future::ready, sync::Arc, time::Duration};

use crate::{
    error::Error,
    log::{
        batch::{Batch, StoredEvent},
        block::{BlockEvent, Slice},
        event::{Pinning, StreamKey},
        retention::{KeepError, Retention},
        tail::{Tail, TailRead},
    },
    store::{Appended, EpochStart, EventStore, EvictedFuture, KeptStreams, PageLimit, ReadFuture},
    util::sync::{
        Instant,
        atomic::{AtomicBool, Ordering},
    },
    wire::id::{Epoch, Sequence},
};

/// Keeps the newest events in memory, bounded by events, bytes and age. It needs no installation, and its events are
/// lost when the process ends. The defaults are 250,000 events, 64 MiB and one day.
///
/// ```
/// use livespan::{MemoryEventStore, Retention};
///
/// let store = MemoryEventStore::with_retention(Retention::default().bytes(16 << 20));
/// # drop(store);
/// ```
#[derive(Debug)]
pub struct MemoryEventStore {
    tail: Arc<Tail>,
    epoch: Epoch,
    /// Created once, because it is read for the id of each event.
    epochs: Arc<[EpochStart]>,
    /// Whether a log shares the memory. If so, the log decides when appended events become visible.
    shared: AtomicBool,
}

impl Default for MemoryEventStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEventStore {
    /// Makes a store with the default retention.
    pub fn new() -> Self {
        Self::with_retention(Retention::default())
    }

    /// Makes a store with this retention.
    pub fn with_retention(retention: Retention) -> Self {
        let epoch = Epoch::random();
        let first = Sequence::new(1);
        Self {
            tail: Arc::new(Tail::carrying(1, retention)),
            epoch,
            epochs: Arc::new([EpochStart { epoch, first }]),
            shared: AtomicBool::new(false),
        }
    }

    /// Shares the memory with a log. From now on, the log decides when appended events become visible.
    pub(crate) fn share_tail(&self) -> Arc<Tail> {
        self.shared.store(true, Ordering::Release);
        Arc::clone(&self.tail)
    }

    fn page(&self, keys: &[StreamKey], after: Sequence, limit: PageLimit) -> Vec<StoredEvent> {
        let mut page = MemoryPage::new(limit);
        let mut after = after.get();
        loop {
            let read = if keys.is_empty() {
                self.tail.read_after(after)
            } else {
                self.tail.read_streams_after(keys, after)
            };
            let slices = match read {
                TailRead::Events(slices) => slices,
                // Ends the page: events that retention removes during the read must not leave a hole in it.
                TailRead::Evicted(_) if !page.events.is_empty() => return page.events,
                TailRead::Evicted(oldest) => {
                    let skipped = self.tail.skip_evicted(keys, after, oldest - 1);
                    after = skipped.to;
                    skipped.kept
                }
                TailRead::Nothing(_) => return page.events,
            };
            for event in slices.iter().flat_map(Slice::events) {
                if !page.push(&event) {
                    return page.events;
                }
                after = after.max(event.sequence());
            }
        }
    }
}

impl EventStore for MemoryEventStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn open(&self) -> Result<Sequence, Error> {
        Ok(Sequence::new(self.tail.next() - 1))
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        Arc::clone(&self.epochs)
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let now = Instant::now();
        let duplicates = self.tail.duplicates(batch);
        if duplicates.is_empty() {
            self.tail.append(self.epoch, first.get(), batch, now);
        } else {
            let batch = batch.without(&duplicates);
            self.tail.append(self.epoch, first.get(), &batch, now);
        }
        if !self.shared.load(Ordering::Acquire) {
            self.tail.publish();
            // Only a log uses the evictions, and this store has no log.
            drop(self.tail.take_evictions());
        }
        Ok(Appended { first, duplicates })
    }

    fn oldest(&self) -> Sequence {
        Sequence::new(self.tail.stats().oldest)
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        Box::pin(ready(Ok(self.page(&[], after, limit))))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        // If a stream is unknown here, the page still has the events that belong to every stream.
        Box::pin(ready(Ok(self.page(keys, after, limit))))
    }

    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        let evicted = keys.iter().map(|key| self.tail.evicted(key)).collect();
        Box::pin(ready(Ok(evicted)))
    }

    fn kept_streams(&self) -> Option<&dyn KeptStreams> {
        Some(self)
    }

    fn append_timeout(&self) -> Option<Duration> {
        None
    }

    fn tail_retention(&self) -> Retention {
        self.tail.retention()
    }
}

impl KeptStreams for MemoryEventStore {
    fn keep(&self, key: &StreamKey) -> Result<(), KeepError> {
        self.tail.keep(key)
    }

    fn stop_keeping(&self, key: &StreamKey) -> Result<bool, Error> {
        Ok(self.tail.stop_keeping(key))
    }

    fn kept(&self) -> Vec<StreamKey> {
        self.tail.kept()
    }
}

/// A page under construction.
struct MemoryPage {
    limit: PageLimit,
    events: Vec<StoredEvent>,
    bytes: usize,
}

impl MemoryPage {
    fn new(limit: PageLimit) -> Self {
        Self {
            limit,
            events: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds an event. Returns whether there was room for it.
    fn push(&mut self, event: &BlockEvent<'_>) -> bool {
        let payload = event.payload();
        let full =
            self.events.len() >= self.limit.events || self.bytes + payload.len() > self.limit.bytes;
        if full && !self.events.is_empty() {
            return false;
        }
        self.bytes += payload.len();
        self.events.push(StoredEvent {
            sequence: Sequence::new(event.sequence()),
            name: event.name().to_owned(),
            key: event.key(),
            // Memory keeps pins by token, not by event.
            pin: Pinning::None,
            payload,
        });
        true
    }
}

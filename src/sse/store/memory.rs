//! The default store: the log's memory with more retention. It keeps nothing twice: the log reads and publishes the
//! very blocks that this store appends.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    sse::{
        batch::{Batch, StoredEvent},
        block::Slice,
        event::{Pin, StreamKey},
        id::{Epoch, Sequence},
        retention::Retention,
        store::{EventStore, Life, PageLimit, ReadFuture, SharedTail},
        tail::{Tail, TailRead},
    },
};

/// Keeps the newest events in memory, bounded by events, bytes and age: nothing to install, nothing survives the
/// process. The defaults are 250,000 events, 64 MiB and one day.
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
    /// Whether a log shares the memory: it then decides when appended events are shown.
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
        Self {
            tail: Arc::new(Tail::new(1, retention)),
            epoch: Epoch::random(),
            shared: AtomicBool::new(false),
        }
    }

    fn slices_after(&self, after: u64) -> Option<Vec<Slice>> {
        retained(after, |after| self.tail.read_after(after))
    }

    fn stream_slices_after(&self, keys: &[StreamKey], after: u64) -> Option<Vec<Slice>> {
        let known = keys.iter().filter_map(|key| self.tail.keys().get(key));
        let keys: Vec<_> = known.collect();
        retained(after, |after| self.tail.read_streams_after(&keys, after))
    }
}

fn retained(after: u64, read: impl Fn(u64) -> TailRead) -> Option<Vec<Slice>> {
    let mut after = after;
    loop {
        match read(after) {
            TailRead::Events(slices) => return Some(slices),
            TailRead::Evicted(oldest) => after = oldest - 1,
            TailRead::Nothing(_) => return None,
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

    fn lives(&self) -> Arc<[Life]> {
        Arc::new([Life {
            epoch: self.epoch,
            first: Sequence::new(1),
        }])
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Sequence, Error> {
        let now = Instant::now();
        self.tail.append(self.epoch, first.get(), batch, now);
        if !self.shared.load(Ordering::Acquire) {
            self.tail.publish();
            // Nobody else asks for them.
            drop(self.tail.take_evicted_keys());
        }
        Ok(first)
    }

    fn oldest(&self) -> Sequence {
        Sequence::new(self.tail.holding().oldest)
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        let page = page(|after| self.slices_after(after), after.get(), limit);
        Box::pin(ready(Ok(page)))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        let page = page(
            |after| self.stream_slices_after(keys, after),
            after.get(),
            limit,
        );
        Box::pin(ready(Ok(page)))
    }

    fn patience(&self) -> Option<Duration> {
        None
    }

    fn tail(&self) -> Retention {
        self.tail.retention()
    }

    fn shared_tail(&self) -> Option<SharedTail> {
        self.shared.store(true, Ordering::Release);
        Some(SharedTail(Arc::clone(&self.tail)))
    }
}

/// Collects a page from the slices that `wanted` finds after a place.
fn page(
    wanted: impl Fn(u64) -> Option<Vec<Slice>>,
    mut after: u64,
    limit: PageLimit,
) -> Vec<StoredEvent> {
    let mut page = Vec::new();
    let mut bytes = 0;
    while let Some(slices) = wanted(after) {
        for event in slices.iter().flat_map(Slice::events) {
            let payload = event.payload();
            let full = page.len() >= limit.events || bytes + payload.len() > limit.bytes;
            if full && !page.is_empty() {
                return page;
            }
            bytes += payload.len();
            after = event.sequence();
            page.push(StoredEvent {
                sequence: Sequence::new(after),
                name: event.name().to_owned(),
                key: event.key().map(|key| *key.id()),
                pin: Pin::None,
                payload,
            });
        }
    }
    page
}

//! Keeps nothing: live delivery, and resumption only from what is still in flight.

use std::{
    future::ready,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    error::Error,
    sse::{
        batch::Batch,
        event::StreamKey,
        id::{Epoch, Sequence},
        retention::Retention,
        store::{EventStore, Opened, PageLimit, ReadFuture},
    },
};

/// Keeps nothing beyond what is in flight: the newest 4,096 events, 1 MiB or 10 seconds, whichever is least. A reader
/// that was away longer gets a `gap`.
#[derive(Debug)]
pub struct NullEventStore {
    next: AtomicU64,
}

impl Default for NullEventStore {
    fn default() -> Self {
        Self::new()
    }
}

impl NullEventStore {
    /// Makes the store.
    pub fn new() -> Self {
        Self {
            next: AtomicU64::new(1),
        }
    }
}

impl EventStore for NullEventStore {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn open(&self) -> Result<Opened, Error> {
        let head = Sequence::new(self.next.load(Ordering::Relaxed) - 1);
        Ok(Opened {
            epoch: Epoch::random(),
            head,
            earlier: Vec::new(),
        })
    }

    fn append(&self, batch: &Batch) -> Result<Sequence, Error> {
        Ok(Sequence::new(
            self.next.fetch_add(batch.len() as u64, Ordering::Relaxed),
        ))
    }

    fn oldest(&self) -> Sequence {
        Sequence::new(self.next.load(Ordering::Relaxed))
    }

    fn read_after(&self, _after: Sequence, _limit: PageLimit) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn read_stream_after(
        &self,
        _key: &StreamKey,
        _after: Sequence,
        _limit: PageLimit,
    ) -> ReadFuture<'_> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn tail(&self) -> Retention {
        Retention::default()
            .events(4096)
            .bytes(1024 * 1024)
            .age(Duration::from_secs(10))
    }
}

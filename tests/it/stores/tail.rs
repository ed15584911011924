//! A store with few events in memory in front of it, so that readers must read from the store.

use std::{sync::Arc, time::Duration};

use livespan::{
    Error, EventStore, Retention,
    sse::{Sequence, StreamKey},
    store::{
        Appended, Batch, EpochStart, EvictedFuture, OpenEventRecovery, PageLimit, ReadFuture,
        SharedLog, StreamsFuture,
    },
};

/// A store, and the number of events that the log in front of it holds in memory.
#[derive(Debug)]
pub(crate) struct WithTail<S>(pub(crate) S, pub(crate) usize);

impl<S: EventStore> EventStore for WithTail<S> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn open(&self) -> Result<Sequence, Error> {
        self.0.open()
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.0.epochs()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        self.0.append(first, batch)
    }

    fn oldest(&self) -> Sequence {
        self.0.oldest()
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.0.read_after(after, limit)
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.0.read_streams_after(keys, after, limit)
    }

    fn streams_before(&self, before: Sequence, limit: usize) -> StreamsFuture<'_> {
        self.0.streams_before(before, limit)
    }

    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        self.0.evicted(keys)
    }

    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        self.0.open_event_recovery()
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        self.0.shared_log()
    }

    fn check_interval(&self) -> Option<Duration> {
        self.0.check_interval()
    }

    fn check(&self) -> Result<(), Error> {
        self.0.check()
    }

    fn close(&self) {
        self.0.close();
    }

    fn append_timeout(&self) -> Option<Duration> {
        self.0.append_timeout()
    }

    fn tail_retention(&self) -> Retention {
        Retention::default().events(self.1)
    }
}

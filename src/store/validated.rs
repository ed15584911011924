//! Checks the events that a store returns, because a file or a server may be damaged, or changed by another program. A
//! name with a line break could forge an SSE frame, and bytes that are not UTF-8 would end the stream.
//!
//! An event that the log cannot have written is replaced by a `gap` under its own sequence, on its own stream. So
//! readers learn that exactly this event is missing, sequences stay dense, and reading continues. Every read passes
//! through this check, except those of the log's own memory.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    error::Error,
    log::{
        batch::{Batch, StoredEvent},
        event::{StreamKey, is_event_name},
        retention::Retention,
    },
    store::{
        Appended, EpochStart, EventStore, EvictedFuture, HeadFuture, KeptStreams,
        OpenEventRecovery, PageLimit, ReadFuture, RecoveredEvents, SharedLog, StreamsFuture,
    },
    util::sync::{Mutex, lock},
    wire::{
        control::{DAMAGED, GAP},
        id::Sequence,
    },
};

/// The format of a log's payloads: UTF-8 text that this function accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadFormat(pub(crate) fn(&str) -> bool);

impl PayloadFormat {
    /// Any UTF-8 text.
    pub(crate) const TEXT: Self = Self(|_| true);

    fn accepts(self, payload: &[u8]) -> bool {
        std::str::from_utf8(payload).is_ok_and(self.0)
    }
}

/// Counts the damaged events of a store, and reports the first.
pub(crate) struct DamagedEvents {
    seen: Mutex<BTreeSet<u64>>,
    on_first: Box<dyn Fn(Sequence) + Send + Sync>,
}

impl fmt::Debug for DamagedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DamagedEvents")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl DamagedEvents {
    /// Upper bound on the damaged events that are counted.
    const COUNTED_MAX: usize = 4_096;

    pub(crate) fn new(on_first: impl Fn(Sequence) + Send + Sync + 'static) -> Self {
        Self {
            seen: Mutex::default(),
            on_first: Box::new(on_first),
        }
    }

    /// Returns how many different damaged events were read, at most [`COUNTED_MAX`](Self::COUNTED_MAX).
    pub(crate) fn count(&self) -> usize {
        lock(&self.seen).len()
    }

    fn note(&self, sequence: Sequence) {
        let mut seen = lock(&self.seen);
        let is_first = seen.is_empty();
        if seen.len() < Self::COUNTED_MAX {
            seen.insert(sequence.get());
        }
        drop(seen);
        if is_first {
            (self.on_first)(sequence);
        }
    }
}

/// A store whose events are checked on every read.
pub(crate) struct ValidatedStore {
    store: Arc<dyn EventStore>,
    format: PayloadFormat,
    damaged: Arc<DamagedEvents>,
}

impl fmt::Debug for ValidatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl ValidatedStore {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        format: PayloadFormat,
        damaged: Arc<DamagedEvents>,
    ) -> Self {
        Self {
            store,
            format,
            damaged,
        }
    }

    fn replace_damaged(&self, event: &mut StoredEvent) {
        if is_event_name(&event.name) && self.format.accepts(&event.payload) {
            return;
        }
        self.damaged.note(event.sequence);
        GAP.clone_into(&mut event.name);
        event.payload = Bytes::from_static(DAMAGED);
    }

    fn check_page<'a>(&'a self, read: ReadFuture<'a>) -> ReadFuture<'a> {
        Box::pin(async move {
            let mut events = read.await?;
            for event in &mut events {
                self.replace_damaged(event);
            }
            Ok(events)
        })
    }

    fn shared(&self) -> Result<&dyn SharedLog, Error> {
        let not_shared = || Error::store_failed("the event store is no longer shared");
        self.store.shared_log().ok_or_else(not_shared)
    }
}

impl EventStore for ValidatedStore {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn open(&self) -> Result<Sequence, Error> {
        self.store.open()
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.store.epochs()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        self.store.append(first, batch)
    }

    fn oldest(&self) -> Sequence {
        self.store.oldest()
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.check_page(self.store.read_after(after, limit))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.check_page(self.store.read_streams_after(keys, after, limit))
    }

    fn streams_before(&self, before: Sequence, limit: usize) -> StreamsFuture<'_> {
        self.store.streams_before(before, limit)
    }

    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        self.store.evicted(keys)
    }

    fn check_interval(&self) -> Option<Duration> {
        self.store.check_interval()
    }

    fn check(&self) -> Result<(), Error> {
        self.store.check()
    }

    fn close(&self) {
        self.store.close();
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        self.store.shared_log().map(|_| self as &dyn SharedLog)
    }

    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        let recovery = self.store.open_event_recovery();
        recovery.map(|_| self as &dyn OpenEventRecovery)
    }

    fn kept_streams(&self) -> Option<&dyn KeptStreams> {
        self.store.kept_streams()
    }

    fn append_timeout(&self) -> Option<Duration> {
        self.store.append_timeout()
    }

    fn retention(&self) -> Option<Retention> {
        self.store.retention()
    }

    fn tail_retention(&self) -> Retention {
        self.store.tail_retention()
    }
}

impl OpenEventRecovery for ValidatedStore {
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error> {
        let Some(recovery) = self.store.open_event_recovery() else {
            return Ok(RecoveredEvents::default());
        };
        let mut recovered = recovery.recover_open_events()?;
        let abandoned = recovered.abandoned.iter_mut().map(|one| &mut one.event);
        for event in abandoned.chain(&mut recovered.reopened) {
            self.replace_damaged(event);
        }
        Ok(recovered)
    }

    fn read_open_global_events(&self) -> ReadFuture<'_> {
        match self.store.open_event_recovery() {
            Some(recovery) => self.check_page(recovery.read_open_global_events()),
            None => Box::pin(std::future::ready(Ok(Vec::new()))),
        }
    }
}

impl SharedLog for ValidatedStore {
    fn head(&self) -> HeadFuture<'_> {
        match self.shared() {
            Ok(shared) => shared.head(),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn known_head(&self) -> Sequence {
        self.store
            .shared_log()
            .map_or(Sequence::START, SharedLog::known_head)
    }

    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error> {
        let mut events = self.shared()?.wait_after(after, limit, timeout)?;
        for event in &mut events {
            self.replace_damaged(event);
        }
        Ok(events)
    }

    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error> {
        self.shared()?.wait_streams(streams, global_after, timeout)
    }

    fn interrupt(&self) {
        if let Some(shared) = self.store.shared_log() {
            shared.interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_that_passes_the_check() {
        let short = PayloadFormat(|text| text.len() < 3);
        let cases: [(&[u8], bool, bool); 4] = [
            (b"", true, true),
            ("\u{e9}".as_bytes(), true, true),
            (b"abc", true, false),
            (b"\xe9", false, false),
        ];
        for (payload, is_text, is_short) in cases {
            let accepted = [PayloadFormat::TEXT, short].map(|it| it.accepts(payload));
            assert_eq!(accepted, [is_text, is_short], "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn damaged_events_are_counted_once_each_and_within_a_bound() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&reported);
        let damaged = DamagedEvents::new(move |sequence| lock(&sink).push(sequence.get()));
        for sequence in [7, 7, 8] {
            damaged.note(Sequence::new(sequence));
        }
        assert_eq!(damaged.count(), 2);
        for sequence in 1..=DamagedEvents::COUNTED_MAX as u64 + 1 {
            damaged.note(Sequence::new(sequence));
        }
        assert_eq!(damaged.count(), DamagedEvents::COUNTED_MAX);
        assert_eq!(*lock(&reported), [7]);
    }
}

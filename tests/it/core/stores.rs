//! Stores for tests: a `Vec` with history, faults on demand, and a store that records every stream.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use livespan::{
    Error, EventStore, MemoryEventStore, Retention,
    sse::{Epoch, Pinning, Sequence, StreamKey},
    store::{
        Appended, Batch, BatchRecord, EpochStart, PageLimit, ReadFuture, StoredEvent, StoredStream,
        StreamsFuture,
    },
};

use super::test_event::key;
use crate::support::PATIENCE;

/// Runs before a call. It does nothing, fails, panics, or waits.
pub(crate) type Hook = Box<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// A change that a test makes to a page.
pub(crate) type OnPage = Box<dyn Fn(&mut Vec<StoredEvent>) + Send + Sync>;

/// A naive durable store: it keeps everything in a `Vec`, behind a small memory tail.
pub(crate) struct VecStore {
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) tail: Retention,
    pub(crate) append_timeout: Box<dyn Fn() -> Duration + Send + Sync>,
    pub(crate) on_append: Hook,
    pub(crate) on_read: Hook,
    /// Changes each page before it is returned.
    pub(crate) on_page: OnPage,
    /// Whether reads never return.
    pub(crate) hangs: AtomicBool,
    /// A hook sets this to make the store remove every event before it.
    pub(crate) oldest_moves_to: Arc<AtomicU64>,
    events: Mutex<Vec<StoredEvent>>,
    oldest: AtomicU64,
}

impl VecStore {
    pub(crate) fn new(tail_events: usize) -> Self {
        Self {
            epochs: vec![EpochStart::new(Epoch::random(), Sequence::new(1))],
            tail: Retention::default().events(tail_events),
            append_timeout: Box::new(|| PATIENCE),
            on_append: Box::new(|| Ok(())),
            on_read: Box::new(|| Ok(())),
            on_page: Box::new(|_| ()),
            hangs: AtomicBool::new(false),
            oldest_moves_to: Arc::default(),
            events: Mutex::default(),
            oldest: AtomicU64::new(1),
        }
    }

    /// Adds `count` events of an earlier run, on the streams that `stream` returns.
    pub(crate) fn with_history(
        self,
        count: u64,
        stream: impl Fn(u64) -> Option<&'static str>,
    ) -> Self {
        let events = (1..=count).map(|sequence| {
            let key = stream(sequence).map(key);
            let payload = sequence.to_string();
            StoredEvent::new(Sequence::new(sequence), "note", key, Pinning::None, payload)
        });
        *self.events.lock().unwrap() = events.collect();
        self
    }

    /// Adds one event of an earlier run with this sequence.
    pub(crate) fn with_last(self, sequence: Sequence) -> Self {
        let event = StoredEvent::new(sequence, "note", None, Pinning::None, "last");
        self.events.lock().unwrap().push(event);
        self
    }

    fn head(&self) -> u64 {
        let events = self.events.lock().unwrap();
        events.last().map_or(0, |event| event.sequence.get())
    }

    pub(crate) fn share(self) -> (Shared, Arc<Self>) {
        let store = Arc::new(self);
        (Shared(Arc::clone(&store)), store)
    }

    /// Removes every event before this one.
    pub(crate) fn evict_before(&self, oldest: u64) {
        self.oldest.store(oldest, Ordering::SeqCst);
    }

    fn page(
        &self,
        after: Sequence,
        limit: PageLimit,
        wanted: impl Fn(&StoredEvent) -> bool,
    ) -> ReadFuture<'_> {
        // The hook runs first, so events that it removes are missing from this page.
        let allowed = (self.on_read)();
        let oldest = self.oldest.load(Ordering::SeqCst);
        let events = self.events.lock().unwrap();
        let page = events.iter().filter(|event| {
            event.sequence > after && event.sequence.get() >= oldest && wanted(event)
        });
        let mut bytes = 0;
        let fitting = page.enumerate().take_while(|(place, event)| {
            bytes += event.payload.len();
            *place == 0 || (*place < limit.events && bytes <= limit.bytes)
        });
        let mut page: Vec<StoredEvent> = fitting.map(|(_, event)| event.clone()).collect();
        (self.on_page)(&mut page);
        if self.hangs.load(Ordering::SeqCst) {
            return Box::pin(pending());
        }
        Box::pin(ready(allowed.map(|()| page)))
    }
}

/// A log's store. The test keeps another reference to the same `VecStore`.
pub(crate) struct Shared(pub(crate) Arc<VecStore>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl EventStore for Shared {
    fn kind(&self) -> &'static str {
        "vec"
    }

    fn open(&self) -> Result<Sequence, Error> {
        Ok(Sequence::new(self.0.head()))
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.0.epochs.clone().into()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        (self.0.on_append)()?;
        let mut events = self.0.events.lock().unwrap();
        events.extend(
            batch
                .iter()
                .zip(first.get()..)
                .map(|(record, sequence)| stored(&record, sequence)),
        );
        Ok(first.into())
    }

    fn oldest(&self) -> Sequence {
        let oldest = self.0.oldest.load(Ordering::SeqCst);
        Sequence::new(oldest.max(self.0.oldest_moves_to.load(Ordering::SeqCst)))
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.0.page(after, limit, |_| true)
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.0.page(after, limit, |event| {
            event.key.is_none_or(|of| keys.contains(&of))
        })
    }

    fn streams_before(&self, before: Sequence, limit: usize) -> StreamsFuture<'_> {
        let events = self.0.events.lock().unwrap();
        let mut streams: BTreeMap<&[u8], StoredStream> = BTreeMap::new();
        for event in events.iter() {
            let Some(key) = &event.key else {
                continue;
            };
            let new = StoredStream::new(*key, event.sequence..=event.sequence);
            streams.entry(key.as_bytes()).or_insert(new).last = event.sequence;
        }
        let mut streams: Vec<StoredStream> = streams.into_values().collect();
        streams.retain(|stream| stream.first < before);
        streams.sort_by_key(|stream| Reverse(stream.first));
        streams.truncate(limit);
        Box::pin(ready(Ok(streams)))
    }

    fn append_timeout(&self) -> Option<Duration> {
        Some((self.0.append_timeout)())
    }

    fn tail_retention(&self) -> Retention {
        self.0.tail
    }
}

/// The memory store, with a list of the stream of every event. Retention does not shorten the list.
#[derive(Debug)]
pub(crate) struct Remembering {
    inner: MemoryEventStore,
    keys: Arc<Mutex<Vec<Option<StreamKey>>>>,
}

impl Remembering {
    /// Returns the store, and the list with the streams of the events 1, 2, 3 …
    pub(crate) fn new(retention: Retention) -> (Self, Arc<Mutex<Vec<Option<StreamKey>>>>) {
        let keys = Arc::default();
        (
            Self {
                inner: MemoryEventStore::with_retention(retention),
                keys: Arc::clone(&keys),
            },
            keys,
        )
    }
}

impl EventStore for Remembering {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn open(&self) -> Result<Sequence, Error> {
        self.inner.open()
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.inner.epochs()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        self.keys
            .lock()
            .unwrap()
            .extend(batch.iter().map(|record| record.stream_key().copied()));
        self.inner.append(first, batch)
    }

    fn oldest(&self) -> Sequence {
        self.inner.oldest()
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.inner.read_after(after, limit)
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.inner.read_streams_after(keys, after, limit)
    }

    fn append_timeout(&self) -> Option<Duration> {
        self.inner.append_timeout()
    }

    fn tail_retention(&self) -> Retention {
        self.inner.tail_retention()
    }
}

/// Returns the event that a store would return for this record and sequence.
pub(crate) fn stored(record: &BatchRecord<'_>, sequence: u64) -> StoredEvent {
    StoredEvent::new(
        Sequence::new(sequence),
        record.name(),
        record.stream_key().copied(),
        record.pin(),
        record.payload().to_vec(),
    )
}

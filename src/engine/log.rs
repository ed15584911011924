//! [`Log`] joins a store with the tail of blocks in memory. The worker thread appends to it; readers read from it on
//! their own tasks. It never blocks a reader.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        diagnostics::{Diagnostic, DiagnosticSink, Diagnostics},
        outage::Outages,
        reader_registry::ReaderRegistry,
        shared::{blocked_readers::BlockedReaders, demand::Demand},
    },
    error::Error,
    ingest::buffer::IngestBuffer,
    log::{
        batch::Batch,
        event::StreamKey,
        retention::{EvictedEvents, Retention},
        tail::Tail,
        waker::{WakeFlag, WakeGroup},
    },
    store::{
        DEFAULT_APPEND_TIMEOUT, EventStore, KeptStreams,
        kind::StoreKind,
        validated::{DamagedEvents, PayloadFormat, ValidatedStore},
    },
    util::sync::{
        Instant, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        catch_panic, lock,
    },
    wire::{
        control::{Dropped, LogPosition},
        id::{Epoch, EventId, Sequence},
    },
};

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) tail: Arc<Tail>,
    pub(crate) store: Arc<dyn EventStore>,
    damaged: Arc<DamagedEvents>,
    is_in_memory: bool,
    pub(crate) buffer: Arc<IngestBuffer>,
    closed: AtomicBool,
    readers: Arc<ReaderRegistry>,
    /// HTTP streams end once they have sent everything up to this sequence. [`NO_END`] while they may continue.
    streams_end_at: AtomicU64,
    /// The number of streams that were ended by the end of the log or of a server, or by `end_streams`.
    streams_shut_down: AtomicU64,
    failure: Mutex<Option<String>>,
    blocked_readers: BlockedReaders,
    /// Counts the store outages. A reader compares it with the value that it saw last, to announce each outage once.
    degradations: AtomicU64,
    /// Counts the ends of outages that no event of the log may announce, for example because nothing was lost. Readers
    /// learn of these ends from this counter.
    recoveries: AtomicU64,
    pub(super) outages: Outages,
    demand: Demand,
    pub(crate) merge: MergeState,
    diagnostics: Arc<Diagnostics>,
    started: Instant,
    opened_at: u64,
}

/// Coordinates the two threads that advance the tail of a shared log.
#[derive(Debug, Default)]
pub(crate) struct MergeState {
    /// Held while the tail is advanced, by the worker thread or by the follower thread.
    pub(crate) merging: Mutex<()>,
    /// Set by a rebuild, cleared when events were skipped or an error occurred. Written while `merging` is held.
    pub(crate) is_index_complete: AtomicBool,
}

/// Upper bound on the stored events that are loaded when a log is opened or its index is rebuilt.
pub(crate) const WARM_UP_EVENTS_MAX: u64 = 10_000;

/// The sequence that stands for "no end": no event has it.
const NO_END: u64 = u64::MAX;

/// The number of sequences at the end of the range that are reserved for the log's own events.
const RESERVED_NUMBERS: u64 = 1 << 16;
/// How often the removed events of a stream are counted before their number is reported as unknown.
const COUNTS_MAX: usize = 4;
/// The reason given when a log ended because all its sequences were used.
pub(crate) const NUMBERS_USED_UP: &str = "the event log has ended: its numbers are used up";

/// Returns the first sequence that is loaded into memory when a log with this head is opened. For a shared log, nothing
/// is loaded.
fn first_in_memory(store: &dyn EventStore, head: u64) -> u64 {
    let wanted = (store.tail_retention().events_max() as u64).min(WARM_UP_EVENTS_MAX);
    let first = store.oldest().get().max((head + 1).saturating_sub(wanted));
    if store.shared_log().is_some() {
        head + 1
    } else {
        first.clamp(1, head + 1)
    }
}

fn leaves_numbers_for(events: u64, next: u64) -> bool {
    (Sequence::MAX.get() - RESERVED_NUMBERS)
        .checked_sub(next)
        .is_some_and(|left| left >= events)
}

/// The number of events that retention has removed from some streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemovedBefore {
    /// The number of events that can no longer be read. `None` if unknown.
    pub(crate) events: Option<u64>,
    /// The oldest event at the time of the count.
    pub(crate) oldest: u64,
}

/// The health of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// The name of the store.
    pub kind: &'static str,
    /// The last failure, until the store works again.
    pub failure: Option<String>,
    /// The bounds of its retention, if it reports them.
    pub retention: Option<Retention>,
    /// Number of damaged stored events that were read so far, at most 4,096. The log cannot have written them: the
    /// store's file or server was damaged or changed by another program. Readers got a `gap` in place of each.
    pub damaged_events: usize,
}

/// The state of a log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The oldest event that can be replayed.
    pub oldest: EventId,
    /// The newest event.
    pub head: EventId,
    /// Events in memory.
    pub retained_events: usize,
    /// The bytes of the events in memory, as SSE frames.
    pub retained_bytes: usize,
    /// Number of streams, such as traces, with an event in memory.
    pub retained_streams: usize,
    /// Number of opening events, such as starts of spans, whose closing event has not come yet.
    pub open: usize,
    /// Number of opening events, and of [states](crate::sse::Pinning::State), that could not be kept beyond retention.
    pub unpinned: u64,
    /// Number of streams, such as traces, that are kept on request.
    pub kept_streams: usize,
    /// Number of events that were dropped because the buffer was full, the store failed, or their encoding panicked.
    pub dropped: Dropped,
    /// Number of open streams of readers.
    pub subscribers: usize,
    /// The health of the store.
    pub store: StoreHealth,
    /// Why the log ended by itself: its thread panicked, its sequences were used up, or this process is a fork of the
    /// process that opened the log. All its streams have then ended, and further events are refused and counted as
    /// dropped. Only a restart of the program opens another log.
    pub ended: Option<&'static str>,
    /// How long the log has been open.
    pub uptime: Duration,
    /// The bounds on the events in memory.
    pub retention: Retention,
}

impl Log {
    pub(crate) fn open(
        store: StoreKind,
        format: PayloadFormat,
        buffer: Arc<IngestBuffer>,
        sink: Option<DiagnosticSink>,
    ) -> Result<Self, Error> {
        let diagnostics = Arc::new(Diagnostics::new(sink));
        let reporting = Arc::clone(&diagnostics);
        let damaged = Arc::new(DamagedEvents::new(move |sequence| {
            reporting.report(Diagnostic::DamagedEvents(sequence));
        }));
        let (store, own_memory) = match store {
            StoreKind::Memory(memory) => (Arc::clone(&memory) as Arc<dyn EventStore>, Some(memory)),
            StoreKind::Dyn(store) => {
                let validated = ValidatedStore::new(store, format, Arc::clone(&damaged));
                (Arc::new(validated) as Arc<dyn EventStore>, None)
            }
        };
        let head = store.open()?.get();
        if !leaves_numbers_for(1, head.saturating_add(1)) {
            return Err(Error::ended(NUMBERS_USED_UP));
        }
        let is_in_memory = own_memory.is_some();
        let tail = match own_memory {
            Some(memory) => memory.share_tail(),
            None => Arc::new(Tail::new(
                first_in_memory(&*store, head),
                store.tail_retention(),
            )),
        };
        Ok(Self {
            opened_at: head,
            tail,
            store,
            damaged,
            is_in_memory,
            buffer,
            closed: AtomicBool::new(false),
            readers: Arc::default(),
            streams_end_at: AtomicU64::new(NO_END),
            streams_shut_down: AtomicU64::new(0),
            failure: Mutex::default(),
            blocked_readers: BlockedReaders::default(),
            degradations: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            outages: Outages::default(),
            demand: Demand::default(),
            merge: MergeState::default(),
            diagnostics,
            started: Instant::now(),
        })
    }

    /// Returns whether memory is the only store, so nothing older can be read elsewhere.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    /// Returns the sequence of the newest event at the time when the log was opened.
    pub(crate) fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// Returns whether enough sequences are left for this many events.
    pub(crate) fn has_numbers_for(&self, events: usize) -> bool {
        leaves_numbers_for(events as u64, self.tail.next())
    }

    /// Adds events that the store has kept to the tail, unless memory is the only store: it has added them already.
    /// Readers see them at the next [`Tail::publish`].
    pub(crate) fn append_stored(&self, first: u64, batch: &Batch) {
        if !self.is_in_memory {
            self.tail.append(self.epoch(), first, batch, Instant::now());
        }
    }

    /// Adds events that the store refused, for the readers that are connected now. Returns the sequence of the first
    /// event.
    pub(crate) fn append_unstored(&self, batch: &Batch) -> u64 {
        let first = self.tail.next();
        let epoch = self.outages.begin(first);
        self.tail
            .append_unstored(epoch, first, batch, Instant::now());
        first
    }

    /// Ends an outage: the store works again, and an event of the log reports the lost events.
    pub(crate) fn recover(&self) {
        self.outages.end(self.tail.next() - 1);
        *lock(&self.failure) = None;
    }

    /// Ends an outage in which nothing was lost.
    pub(crate) fn recover_without_loss(&self) {
        self.recover();
        self.recoveries.fetch_add(1, Ordering::Release);
        self.tail.wake_everyone();
    }

    /// Ends an outage of reading: the store can be read again. The outcome of appends in the meantime is announced by
    /// the report of drops.
    pub(crate) fn recover_reading(&self) {
        if lock(&self.failure).take().is_some() {
            self.recoveries.fetch_add(1, Ordering::Release);
        }
        self.tail.wake_everyone();
    }

    /// Returns the first part of `from..=to` that readers got in an outage. The store may not have it.
    pub(crate) fn first_outage(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        self.outages.first_within(from, to)
    }

    pub(crate) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Returns whether other processes append to the store, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.shared_log().is_some()
    }

    /// Records that the store failed and informs every reader, once per outage.
    pub(crate) fn fail(&self, message: String) {
        self.diagnostics.report(Diagnostic::StoreFailing(&message));
        if lock(&self.failure).replace(message).is_none() {
            self.degradations.fetch_add(1, Ordering::Release);
            self.tail.wake_everyone();
        }
    }

    /// Returns the readers of a shared store whose last read failed.
    pub(crate) fn blocked_readers(&self) -> &BlockedReaders {
        &self.blocked_readers
    }

    pub(crate) fn diagnostics(&self) -> &Arc<Diagnostics> {
        &self.diagnostics
    }

    pub(crate) fn report_diagnostic(&self, diagnostic: Diagnostic<'_>) {
        self.diagnostics.report(diagnostic);
    }

    pub(crate) fn degradations(&self) -> u64 {
        self.degradations.load(Ordering::Acquire)
    }

    pub(crate) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Acquire)
    }

    pub(crate) fn is_degraded(&self) -> bool {
        lock(&self.failure).is_some()
    }

    pub(crate) fn health(&self) -> StoreHealth {
        StoreHealth {
            kind: self.store.kind(),
            failure: lock(&self.failure).clone(),
            retention: self.store.retention(),
            damaged_events: self.damaged.count(),
        }
    }

    /// Closes the log: every stream ends once it has sent everything.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.demand.close();
        self.tail.wake_everyone();
        if let Some(shared) = self.store.shared_log() {
            shared.interrupt();
        }
    }

    /// Ends every HTTP stream; the log itself continues. A stream sends what it has ready, and ends at the present head
    /// at the latest. Otherwise it might never end in a busy log.
    pub(crate) fn end_streams(&self) {
        let head = self.tail.published();
        let first =
            self.streams_end_at
                .compare_exchange(NO_END, head, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.tail.wake_everyone();
            self.readers.wake_waiting();
        }
    }

    /// Returns the sequence up to which HTTP streams send, if the streams are ending.
    pub(crate) fn streams_end_at(&self) -> Option<u64> {
        let end = self.streams_end_at.load(Ordering::Acquire);
        (end != NO_END).then_some(end)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.store
            .epochs()
            .last()
            .map_or(Epoch::NONE, |start| start.epoch)
    }

    /// Returns the streams that are kept on request.
    pub(crate) fn kept(&self) -> Vec<StreamKey> {
        let store = self.store.kept_streams();
        store.map(KeptStreams::kept).unwrap_or_default()
    }

    /// Returns the id of an event, with the epoch that wrote it.
    pub(crate) fn id(&self, sequence: u64) -> EventId {
        let sequence = Sequence::new(sequence);
        let kept = || {
            let epochs = self.store.epochs();
            let begun = epochs.partition_point(|start| start.first <= sequence);
            let start = epochs.get(begun.saturating_sub(1));
            start.map_or(Epoch::NONE, |start| start.epoch)
        };
        let epoch = self.outages.epoch(sequence.get()).unwrap_or_else(kept);
        EventId::new(epoch, sequence)
    }

    /// Returns the oldest sequence that a reader can get from memory or the store. If there is no event, returns the
    /// next sequence.
    pub(crate) fn oldest(&self) -> u64 {
        let held = self.tail.stats().oldest.min(self.store.oldest().get());
        held.min(self.head() + 1)
    }

    /// Returns the newest sequence that this process knows.
    pub(crate) fn head(&self) -> u64 {
        let known_head = self
            .store
            .shared_log()
            .map_or(0, |shared| shared.known_head().get());
        self.tail.published().max(known_head)
    }

    pub(crate) fn position(&self) -> LogPosition {
        LogPosition {
            epoch: self.epoch(),
            oldest: self.id(self.oldest()),
            head: self.id(self.head()),
            dropped: self.dropped(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let stats = self.tail.stats();
        Status {
            oldest: self.id(self.oldest()),
            head: self.id(self.head()),
            retained_events: stats.events,
            retained_bytes: stats.bytes,
            retained_streams: stats.streams,
            open: stats.open,
            unpinned: stats.unpinned,
            kept_streams: self.kept().len(),
            dropped: self.dropped(),
            subscribers: self.readers.count(),
            store: self.health(),
            ended: self.buffer.abort_reason(),
            uptime: self.started.elapsed(),
            retention: self.tail.retention(),
        }
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.buffer.dropped()
    }

    /// Returns how many events retention has removed from this stream, or `None` if that is unknown or the store cannot
    /// be read. If memory is not the only store, the number is also unknown while an unshared store has removed nothing
    /// at all.
    pub(crate) async fn evicted(&self, key: StreamKey) -> Option<EvictedEvents> {
        self.evicted_of(&[key]).await.pop().flatten()
    }

    /// Like [`evicted`](Self::evicted), for several streams.
    pub(crate) async fn evicted_of(&self, keys: &[StreamKey]) -> Vec<Option<EvictedEvents>> {
        if self.is_in_memory {
            return keys.iter().map(|key| self.tail.evicted(key)).collect();
        }
        // A process that only reads may not know the oldest event yet.
        if keys.is_empty() || (self.store.oldest().get() <= 1 && !self.is_shared()) {
            return vec![None; keys.len()];
        }
        let evicted = self.store.evicted(keys).await.unwrap_or_default();
        let unknown = std::iter::repeat(None);
        let evicted = evicted.into_iter().chain(unknown);
        let known = keys.iter().zip(evicted);
        known
            .map(|(key, evicted)| Some(self.without_held(key, evicted?)))
            .collect()
    }

    /// Returns whether retention certainly has not removed any event of these streams.
    pub(crate) async fn has_evicted_nothing(&self, keys: &[StreamKey]) -> bool {
        let evicted = self.evicted_of(keys).await;
        let is_whole = |evicted: &Option<EvictedEvents>| evicted.is_some_and(|one| one.events == 0);
        evicted.iter().all(is_whole)
    }

    /// Returns how many events retention has removed from these streams together, or `None` if that is unknown. If
    /// retention removes events during each of [`COUNTS_MAX`] counts, the result has no number.
    ///
    /// The count and the oldest event belong to the same moment. Otherwise an event that is removed between the two
    /// would be counted twice or not at all.
    pub(crate) async fn removed_of(&self, keys: &[StreamKey]) -> Option<RemovedBefore> {
        let mut last = None;
        for _ in 0..COUNTS_MAX {
            let before = self.oldest_readable();
            let evicted = self.evicted_of(keys).await;
            let events = evicted.iter().map(|evicted| Some(evicted.as_ref()?.events));
            let events: Option<u64> = events.sum();
            let oldest = self.oldest_readable();
            last = Some(RemovedBefore {
                events: Some(events?),
                oldest: oldest.1,
            });
            if oldest == before {
                return last;
            }
        }
        // If retention has removed events in the meantime, their number is unknown.
        let last = last.filter(|removed| removed.events != Some(0))?;
        Some(RemovedBefore {
            events: None,
            ..last
        })
    }

    /// Returns the store's oldest event, and the oldest event that can be read from the store or from memory. For a
    /// shared log, memory does not count, because this process may not have followed every stream.
    fn oldest_readable(&self) -> (u64, u64) {
        let stored = self.store.oldest().get();
        let held = if self.is_shared() {
            stored
        } else {
            self.tail.stats().oldest.min(stored)
        };
        (stored, held)
    }

    /// Subtracts the events of a stream that the store has removed but memory still has.
    pub(crate) fn without_held(&self, key: &StreamKey, evicted: EvictedEvents) -> EvictedEvents {
        let held = self.tail.count_before(key, self.store.oldest().get());
        EvictedEvents {
            events: evicted.events.saturating_sub(held),
            // Unknown if memory has some of the events: their closing events are not counted separately.
            closings: evicted.closings.filter(|_| held == 0),
        }
    }

    pub(crate) fn knows(&self, key: &StreamKey) -> bool {
        self.tail.knows(key)
    }

    /// Registers a reader that is woken at every event.
    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>, group: Option<&WakeGroup>) {
        self.tail.join(wake_flag, group);
        if self.is_shared() {
            self.demand.add_reader_of_all();
        }
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>, group: Option<&WakeGroup>) {
        self.tail.leave(wake_flag, group);
        if self.is_shared() {
            self.demand.remove_reader_of_all();
        }
    }

    /// Registers a reader that is woken at the events of this stream.
    pub(crate) fn join_stream(&self, key: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        self.tail.join_stream(key, wake_flag);
        if let Some(shared) = self.store.shared_log()
            && self.demand.add_stream_reader(key)
        {
            shared.interrupt();
        }
    }

    pub(crate) fn leave_stream(&self, key: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        self.tail.leave_stream(key, wake_flag);
        if self.is_shared() {
            self.demand.remove_stream_reader(key);
        }
    }

    pub(crate) fn readers(&self) -> &Arc<ReaderRegistry> {
        &self.readers
    }

    /// Returns the store's time limit for an append, or [`DEFAULT_APPEND_TIMEOUT`] if it has none. After the log has
    /// ended, readers wait no longer than that for the store's answer.
    pub(crate) fn append_timeout(&self) -> Duration {
        catch_panic(|| self.store.append_timeout())
            .flatten()
            .unwrap_or(DEFAULT_APPEND_TIMEOUT)
    }

    /// Counts a stream that was ended. Returns how many were ended before it.
    pub(crate) fn count_shut_down_stream(&self) -> u64 {
        self.streams_shut_down.fetch_add(1, Ordering::Relaxed)
    }
}

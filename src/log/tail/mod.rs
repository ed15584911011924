//! The tail: the newest blocks of a log, in memory. One thread at a time appends; all readers read concurrently. Replay
//! and live delivery are the same read. It does no I/O and reads no clock: callers pass the time.
//!
//! Invariant: an event is added to the index of its stream before it is published, and readers see only published
//! events. So a reader of several streams never sees a later event before an earlier one.

mod carried;
#[cfg(test)]
mod carried_model;
pub(crate) mod keep;
mod merge;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    log::{
        batch::{Batch, BatchRecord, StoredEvent},
        block::{BLOCK_BYTES_MAX, BlockBuilder, Slice},
        dedup::DedupIndex,
        event::{Pinning, StreamKey},
        retention::{EvictedEvents, Retention},
        stream_index::{EvictedCount, StreamIndex, StreamSlot},
        tail::{
            carried::{CarriedEvents, push_adjacent},
            state::TailState,
        },
        waker::{WakeFlag, WakeGroup, WakeSet},
    },
    util::{
        hash::Map,
        sync::{
            Instant, Mutex, RwLock,
            atomic::{AtomicU64, Ordering},
            lock, read, write,
        },
    },
    wire::{frame, id::Epoch},
};

/// Upper bound on the pinned and carried events (both kept beyond retention) that a reader gets in one
/// [`SkippedRange`]. It bounds the reader's memory.
const PINNED_PAGE_EVENTS: usize = 256;

#[derive(Debug)]
pub(crate) struct Tail {
    retention: Retention,
    state: RwLock<TailState>,
    published: AtomicU64,
    /// Readers of all streams.
    readers_of_all: WakeSet,
    /// Readers that do not read all streams. They are woken for events that belong to every stream.
    readers_of_streams: WakeSet,
    /// Held while appending, publishing or evicting. The appending thread merges small blocks outside the state's lock.
    appending: Mutex<()>,
}

/// The result of a read after a position.
#[derive(Debug)]
pub(crate) enum TailRead {
    /// Events of one block, or carried events with at most the bytes of one block. This bounds the memory that a reader
    /// holds.
    Events(Vec<Slice>),
    /// The position is before the oldest retained event. Holds that event's sequence.
    Evicted(u64),
    /// There is no event to read after the position, up to this sequence. The reader continues after this sequence.
    Nothing(u64),
}

/// A range of events that are no longer in memory, except those in `kept`.
#[derive(Debug)]
pub(crate) struct SkippedRange {
    /// The last sequence of the range.
    pub(crate) to: u64,
    /// The number of events of the reader's streams in the range that can no longer be read. `None` if unknown.
    pub(crate) lost: Option<u64>,
    /// The events in the range that are kept beyond retention, in order.
    pub(crate) kept: Vec<Slice>,
}

/// The streams from which retention removed events.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    /// Streams that have lost their last remaining event.
    pub(crate) streams: Vec<StreamKey>,
    /// Streams that lost some of their events, with the total of their evicted events.
    pub(crate) shortened: Vec<(StreamKey, EvictedEvents)>,
    /// Streams that are no longer kept on request, because the kept streams outgrew their bound.
    pub(crate) outgrown: Vec<StreamKey>,
}

/// The current contents of the tail, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TailStats {
    pub(crate) oldest: u64,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) streams: usize,
    pub(crate) open: usize,
    pub(crate) unpinned: u64,
}

impl Tail {
    pub(crate) fn new(next: u64, retention: Retention) -> Self {
        let state = TailState {
            streams: StreamIndex::new(next - 1),
            blocks: VecDeque::new(),
            front_evicted: 0,
            run: 0,
            run_bytes: 0,
            next,
            events: 0,
            bytes: 0,
            global: VecDeque::new(),
            global_evicted: EvictedCount::default(),
            global_dirty: false,
            unindexed_until: next - 1,
            open: Map::default(),
            states: Map::default(),
            open_in_streams: 0,
            carried: CarriedEvents::default(),
            kept: Vec::new(),
            outgrown: Vec::new(),
            pinned: BTreeMap::new(),
            pinned_bytes: 0,
            unpinned: 0,
            dedup: DedupIndex::default(),
            evicted_keys: Vec::new(),
        };
        Self {
            retention,
            state: RwLock::new(state),
            published: AtomicU64::new(next - 1),
            readers_of_all: WakeSet::default(),
            readers_of_streams: WakeSet::default(),
            appending: Mutex::default(),
        }
    }

    /// Makes a tail without a store behind it. It keeps the events of open streams longer than those of others
    /// ([`Retention::CARRIED_DIVISOR`]).
    pub(crate) fn carrying(next: u64, retention: Retention) -> Self {
        let tail = Self::new(next, retention);
        write(&tail.state).carried = CarriedEvents::within(&retention);
        tail
    }

    pub(crate) fn retention(&self) -> Retention {
        self.retention
    }

    /// Returns the last sequence that readers may see.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Returns the sequence of the next event to be appended.
    pub(crate) fn next(&self) -> u64 {
        read(&self.state).next
    }

    pub(crate) fn stats(&self) -> TailStats {
        let state = read(&self.state);
        TailStats {
            oldest: state.oldest(),
            events: state.events,
            bytes: state.bytes,
            streams: state.streams.held(),
            open: state.open_in_streams,
            unpinned: state.unpinned,
        }
    }

    /// Appends the batch as the events `first..` of this epoch. Readers do not see it until it is published.
    pub(crate) fn append(&self, epoch: Epoch, first: u64, batch: &Batch, now: Instant) {
        let map_pin = |pin| pin;
        self.append_as(
            first,
            batch,
            AppendContext {
                epoch,
                now,
                map_pin,
            },
        );
    }

    /// Returns the indexes of the batch's events that are duplicates of events in the tail.
    pub(crate) fn duplicates(&self, batch: &Batch) -> Vec<usize> {
        if batch.iter().any(|record| record.is_deduplicated()) {
            read(&self.state).dedup.duplicates(batch)
        } else {
            Vec::new()
        }
    }

    /// Appends a batch that no store keeps. A token that the batch closes stays open, because it is still open in the
    /// store.
    pub(crate) fn append_unstored(&self, epoch: Epoch, first: u64, batch: &Batch, now: Instant) {
        let map_pin = |pin| match pin {
            Pinning::Close(_) => Pinning::None,
            Pinning::None | Pinning::Open(_) | Pinning::State(_) => pin,
        };
        self.append_as(
            first,
            batch,
            AppendContext {
                epoch,
                now,
                map_pin,
            },
        );
    }

    fn append_as(&self, first: u64, batch: &Batch, context: AppendContext) {
        let _appending = lock(&self.appending);
        if first != self.next() {
            // The store has numbered events that were never appended here, so the new events do not follow those in
            // memory.
            self.reset_to(first);
        }
        let mut records = batch.iter().zip(first..);
        loop {
            let (bytes, events) = block_extent(records.clone());
            if events == 0 {
                break;
            }
            let mut builder = BlockBuilder::with_capacity(bytes, events);
            for (record, sequence) in records.clone().take(events) {
                builder.push(context.epoch, sequence, &record);
            }
            self.merge_run_before(builder.size());
            let mut state = write(&self.state);
            state.index(records.by_ref().take(events), &mut builder, context.map_pin);
            state.push(builder.build(context.now));
        }
        for (record, sequence) in batch
            .iter()
            .zip(first..)
            .filter(|(one, _)| one.is_deduplicated())
        {
            write(&self.state).dedup.insert(&record, sequence);
        }
        let mut state = write(&self.state);
        state.keep_evicted_only();
        state.evict(&self.retention, context.now);
    }

    /// Appends events that a store returned, except those that the tail already has. Readers do not see them until they
    /// are published.
    pub(crate) fn append_stored(
        &self,
        epoch: impl Fn(u64) -> Epoch,
        events: &[StoredEvent],
        now: Instant,
    ) {
        let next = self.next();
        let new = events.iter().filter(|event| event.sequence.get() >= next);
        let events: Vec<&StoredEvent> = new.collect();
        let adjacent = |one: &&StoredEvent, other: &&StoredEvent| {
            let (one, other) = (one.sequence.get(), other.sequence.get());
            one + 1 == other && epoch(one) == epoch(other)
        };
        for run in events.chunk_by(adjacent) {
            let Some(first) = run.first().map(|event| event.sequence.get()) else {
                continue;
            };
            let mut batch = Batch::default();
            for event in run {
                batch.push(&event.name, event.key, event.pin, |out| {
                    out.extend_from_slice(&event.payload);
                });
            }
            self.append(epoch(first), first, &batch, now);
        }
    }

    /// Publishes all appended events and wakes their readers.
    pub(crate) fn publish(&self) {
        let (streams, is_global_dirty) = {
            // Waits for a running append. Otherwise `published` could move backwards, or readers could be woken for
            // events that are not visible yet.
            let _appending = lock(&self.appending);
            let mut state = write(&self.state);
            let head = state.next - 1;
            let before = self.published.swap(head, Ordering::AcqRel);
            if before == head {
                return;
            }
            let is_global_dirty = std::mem::take(&mut state.global_dirty);
            (state.streams.take_dirty(), is_global_dirty)
        };
        self.readers_of_all.wake();
        for wake_flag in streams {
            wake_flag.wake();
        }
        if is_global_dirty {
            self.readers_of_streams.wake();
        }
    }

    /// Wakes every reader, for a reason other than new events.
    pub(crate) fn wake_everyone(&self) {
        self.readers_of_all.wake();
        self.readers_of_streams.wake();
    }

    /// Wakes the readers of this stream.
    pub(crate) fn wake_stream(&self, key: &StreamKey) {
        // A waker is foreign code, so it never runs under our lock.
        let wake_flags = read(&self.state).streams.wake_flags(key);
        for wake_flag in wake_flags {
            wake_flag.wake();
        }
    }

    /// Wakes the readers that do not read all streams.
    pub(crate) fn wake_streams(&self) {
        self.readers_of_streams.wake();
    }

    /// Wakes the readers of all streams although no event was published. The live lists need this when retention or a
    /// request to keep a trace changes their contents.
    pub(crate) fn wake_watchers(&self) {
        self.readers_of_all.wake();
    }

    /// Removes events that are too old. Returns the time at which the next event becomes too old.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let _appending = lock(&self.appending);
        let mut state = write(&self.state);
        state.evict(&self.retention, now);
        let front = state.blocks.front().map(|block| block.created());
        let oldest = front
            .into_iter()
            .chain(state.carried.oldest_ended())
            .min()?;
        oldest.checked_add(self.retention.age_max())
    }

    /// Returns the evictions since the last call.
    pub(crate) fn take_evictions(&self) -> Evictions {
        let mut state = write(&self.state);
        Evictions {
            streams: std::mem::take(&mut state.evicted_keys),
            shortened: state.streams.take_shortened(),
            outgrown: std::mem::take(&mut state.outgrown),
        }
    }

    /// Returns how many retained events of this stream come before `sequence`.
    pub(crate) fn count_before(&self, key: &StreamKey, sequence: u64) -> u64 {
        let state = read(&self.state);
        if state.oldest() >= sequence {
            return 0;
        }
        state.streams.count_before(key, sequence)
    }

    /// Returns how many events of these streams retention has removed, and the oldest event at that moment. Both are
    /// read under one lock: events evicted in between would otherwise be missing from the count.
    pub(crate) fn evicted_events(&self, keys: &[StreamKey]) -> (u64, u64) {
        let state = read(&self.state);
        let evicted = keys.iter().filter_map(|key| state.streams.evicted(key));
        (evicted.map(|evicted| evicted.events).sum(), state.oldest())
    }

    /// Returns how many events of this stream were evicted, or `None` if the stream is unknown here.
    pub(crate) fn evicted(&self, key: &StreamKey) -> Option<EvictedEvents> {
        read(&self.state).streams.evicted(key)
    }

    /// Returns the next events after `after`: at most those of one block.
    pub(crate) fn read_after(&self, after: u64) -> TailRead {
        let upto = self.published();
        let state = read(&self.state);
        let oldest = state.oldest().min(upto + 1);
        if after + 1 < oldest {
            return TailRead::Evicted(oldest);
        }
        match state.block_of(after + 1) {
            Some(block) if after < upto => {
                let range = block.index_after(after)..block.index_after(upto);
                TailRead::Events(vec![Slice {
                    block: Arc::clone(block),
                    range,
                }])
            }
            _ => TailRead::Nothing(after),
        }
    }

    /// Returns the next events of these streams after `after`, and those that belong to every stream: at most those of
    /// one block.
    pub(crate) fn read_streams_after(&self, keys: &[StreamKey], after: u64) -> TailRead {
        let upto = self.published();
        // `oldest`, the index and the blocks are read under one lock, so retention cannot change them in between.
        let state = read(&self.state);
        let oldest = state.oldest().min(upto + 1);
        // If these streams lost nothing, all their events before `oldest` are carried.
        if after + 1 < oldest && state.lost(keys, after, oldest - 1) != Some(0) {
            return TailRead::Evicted(oldest);
        }
        let slices = state.slices_at(&state.sequences(keys, after, upto));
        if slices.is_empty() {
            TailRead::Nothing(upto)
        } else {
            TailRead::Events(slices)
        }
    }

    /// Returns the range after `after` that is no longer in memory, at most up to `limit`. No keys mean all streams.
    pub(crate) fn skip_evicted(&self, keys: &[StreamKey], after: u64, limit: u64) -> SkippedRange {
        let upto = self.published();
        let state = read(&self.state);
        let to = (state.oldest() - 1).min(upto).min(limit).max(after + 1);
        let pinned = state.pinned_in(keys, after, to, PINNED_PAGE_EVENTS);
        let carried = state.carried_in(keys, after, to, PINNED_PAGE_EVENTS);
        let mut kept: Vec<(Slice, bool)> = pinned.into_iter().map(|slice| (slice, true)).collect();
        kept.extend(carried.into_iter().map(|slice| (slice, false)));
        kept.sort_unstable_by_key(|(slice, _)| slice.last());
        kept.truncate(PINNED_PAGE_EVENTS);
        let last = kept.get(PINNED_PAGE_EVENTS - 1);
        let to = last.map_or(to, |(slice, _)| slice.last());
        let (evicted, readable) = if keys.is_empty() {
            (Some(to - after), kept.len())
        } else {
            // Carried events do not count as evicted.
            let pinned = kept.iter().filter(|(_, is_pinned)| *is_pinned);
            (state.lost(keys, after, to), pinned.count())
        };
        let mut slices = Vec::new();
        for (slice, _) in kept {
            push_adjacent(&mut slices, slice);
        }
        SkippedRange {
            to,
            lost: evicted.map(|evicted| evicted.saturating_sub(readable as u64)),
            kept: slices,
        }
    }

    /// Returns how many events of these streams in `after + 1..=to` were evicted, or `None` if that is unknown.
    pub(crate) fn lost(&self, keys: &[StreamKey], after: u64, to: u64) -> Option<u64> {
        read(&self.state).lost(keys, after, to)
    }

    /// Returns the opening events up to `upto` that belong to every stream and are still open, in order.
    pub(crate) fn open_global_events(&self, upto: u64) -> Vec<Slice> {
        let state = read(&self.state);
        let global = state
            .open
            .iter()
            .filter(|((slot, _), sequence)| *slot == StreamSlot::NONE && **sequence <= upto);
        let mut sequences: Vec<u64> = global.map(|(_, sequence)| *sequence).collect();
        sequences.sort_unstable();
        sequences
            .iter()
            .filter_map(|sequence| state.retained(*sequence))
            .collect()
    }

    /// Returns the opening events of all open tokens, in order.
    pub(crate) fn open_events(&self) -> Vec<Slice> {
        let state = read(&self.state);
        let mut sequences: Vec<u64> = state.open.values().copied().collect();
        sequences.sort_unstable();
        sequences
            .iter()
            .filter_map(|sequence| state.retained(*sequence))
            .collect()
    }

    /// Returns the opening event of this token, if the token is open.
    pub(crate) fn open_event(&self, key: &StreamKey, token: u64) -> Option<Slice> {
        let state = read(&self.state);
        let slot = state.streams.find(key)?;
        let sequence = state.open.get(&(slot, token))?;
        state.retained(*sequence)
    }

    /// Counts a state that is not kept beyond retention, because the writer had no room for it.
    pub(crate) fn count_unpinned(&self) {
        write(&self.state).unpinned += 1;
    }

    /// Returns whether the stream has or had events in the tail.
    pub(crate) fn knows(&self, key: &StreamKey) -> bool {
        read(&self.state).streams.knows(key)
    }

    /// Adds a reader of all streams, as a member of `group` if there is one.
    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>, group: Option<&WakeGroup>) {
        match group {
            Some(group) => group.join(wake_flag, &self.readers_of_all),
            None => self.readers_of_all.join(wake_flag),
        }
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>, group: Option<&WakeGroup>) {
        match group {
            Some(group) => group.leave(wake_flag, &self.readers_of_all),
            None => self.readers_of_all.leave(wake_flag),
        }
    }

    pub(crate) fn join_stream(&self, key: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        self.readers_of_streams.join(wake_flag);
        let mut state = write(&self.state);
        // Read under the lock, which the publishing thread also holds when it publishes.
        let published = self.published();
        state.streams.join(key, wake_flag, published);
    }

    pub(crate) fn leave_stream(&self, key: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        self.readers_of_streams.leave(wake_flag);
        write(&self.state).streams.leave(key, wake_flag);
    }

    /// Drops all current events and continues at a later sequence. Used when the events before that sequence cannot be
    /// read in order.
    pub(crate) fn skip_to(&self, next: u64) {
        let _appending = lock(&self.appending);
        if self.next() < next {
            self.reset_to(next);
        }
    }

    fn reset_to(&self, next: u64) {
        let mut state = write(&self.state);
        state.evict_while(|_, _| true);
        state.next = next;
        state.unindexed_until = next.saturating_sub(1);
    }
}

/// The values that all events of one batch share.
#[derive(Clone, Copy)]
struct AppendContext {
    epoch: Epoch,
    now: Instant,
    /// Maps the pin of each event to the one that the tail applies.
    map_pin: fn(Pinning) -> Pinning,
}

/// Returns the bytes and the number of events of the next block.
fn block_extent<'a>(records: impl Iterator<Item = (BatchRecord<'a>, u64)>) -> (usize, usize) {
    let (mut bytes, mut events) = (0, 0);
    for (record, sequence) in records {
        let size = frame::event_size(record.name(), sequence, record.payload());
        if events > 0 && bytes + size > BLOCK_BYTES_MAX {
            break;
        }
        bytes += size;
        events += 1;
    }
    (bytes, events)
}

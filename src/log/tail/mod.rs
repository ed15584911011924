//! The newest blocks of a log, in memory: appended by one thread at a time, read by every subscriber. Replay and
//! live are the same read. It does no I/O and knows no clock but the one it is handed.
//!
//! Invariant: an event is indexed under its stream before it is published, and readers look at nothing that is
//! not published, so a reader of several streams never sees a later event before an earlier one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    log::{
        batch::{Batch, BatchRecord, StoredEvent},
        block::{BLOCK_BYTES_MAX, Block, BlockBuilder, Slice},
        dedup::DedupIndex,
        event::{Pinning, StreamKey},
        retention::Retention,
        stream_index::{EvictedCount, StreamIndex, StreamSlot, WakeFlag, WakeSet},
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

/// Small blocks that may stand at the end before they are merged.
const RUN_BLOCKS_MAX: usize = 256;

/// Positions of single streams that are looked up at once.
const SEQUENCES_MAX: usize = 256;

/// Events kept beyond retention that are handed to a reader at once: a reader's memory is bounded, too.
const PINNED_PAGE_EVENTS: usize = 256;

/// Blocks are merged only when their ages differ by less than this part of what retention allows.
const MERGED_AGE_DIVISOR: u32 = 16;

#[derive(Debug)]
pub(crate) struct Tail {
    retention: Retention,
    state: RwLock<TailState>,
    published: AtomicU64,
    /// Readers of everything.
    readers_of_all: WakeSet,
    /// Readers of some streams, for the events that belong to every stream.
    readers_of_streams: WakeSet,
    /// Held by whoever appends: the run of small blocks is merged outside the state's lock.
    appending: Mutex<()>,
}

#[derive(Debug)]
struct TailState {
    streams: StreamIndex,
    blocks: VecDeque<Arc<Block>>,
    /// Events at the start of the front block that are already let go.
    front_evicted: usize,
    /// Blocks at the end that are small and not merged yet, and their bytes.
    run: usize,
    run_bytes: usize,
    next: u64,
    events: usize,
    bytes: usize,
    /// Events that belong to every stream.
    global: VecDeque<u64>,
    global_evicted: EvictedCount,
    /// Whether there are such events that are not published yet.
    global_dirty: bool,
    /// The last sequence whose stream was not seen here: it was written before this log was opened, or by another.
    unindexed_until: u64,
    /// The opening event of each token that is open.
    open: Map<OpenToken, u64>,
    /// How many of them belong to a stream.
    open_in_streams: usize,
    pinned: BTreeMap<u64, Arc<Block>>,
    pinned_bytes: usize,
    unpinned: u64,
    dedup: DedupIndex,
    evicted_keys: Vec<StreamKey>,
}

/// A stream, which is held in its place as long as something is open in it, and a token of it.
type OpenToken = (StreamSlot, u64);

/// What a reader finds after its place.
#[derive(Debug)]
pub(crate) enum TailRead {
    /// Of one block, so that a reader holds no more than that.
    Events(Vec<Slice>),
    /// The place is before the oldest retained event, which is this one.
    Evicted(u64),
    /// There is nothing up to this sequence.
    Nothing(u64),
}

/// A stretch that is not in memory any more, as a reader of some streams sees it.
#[derive(Debug)]
pub(crate) struct SkippedRange {
    /// Its last sequence.
    pub(crate) to: u64,
    /// Events of these streams in it that are gone; `None` when not known.
    pub(crate) lost: Option<u64>,
    /// Opening events in it that are kept beyond retention.
    pub(crate) pinned: Vec<Slice>,
}

/// What the tail holds now.
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
            open_in_streams: 0,
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

    pub(crate) fn retention(&self) -> Retention {
        self.retention
    }

    /// The last sequence that readers may see.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The sequence that the next appended event gets.
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

    /// Stores the batch as the events `first..` of this epoch, without showing them to readers yet.
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

    /// The places of the batch whose events may be here only once, and are.
    pub(crate) fn duplicates(&self, batch: &Batch) -> Vec<usize> {
        if batch.iter().any(|record| record.is_deduplicated()) {
            read(&self.state).dedup.duplicates(batch)
        } else {
            Vec::new()
        }
    }

    /// Stores a batch that no store keeps. What it closes stays open, because in the store it is.
    pub(crate) fn append_unstored(&self, epoch: Epoch, first: u64, batch: &Batch, now: Instant) {
        let map_pin = |pin| match pin {
            Pinning::Close(_) => Pinning::None,
            Pinning::None | Pinning::Open(_) => pin,
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
            // The store numbered events that did not pass here; what stands before them is no longer adjacent.
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

    /// Takes in events that a store gave back, without showing them to readers yet. What is already here is left out.
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

    /// Shows everything appended to readers and wakes those concerned.
    pub(crate) fn publish(&self) {
        let (streams, is_global_dirty) = {
            // Not while another thread appends: it would show less than was shown before, or take the bells of what it
            // does not show yet.
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

    /// Wakes every reader, to look at something other than new events.
    pub(crate) fn wake_everyone(&self) {
        self.readers_of_all.wake();
        self.readers_of_streams.wake();
    }

    /// Wakes those who read this stream.
    pub(crate) fn wake_stream(&self, key: &StreamKey) {
        // A waker is foreign code: it never runs under our lock.
        let wake_flags = read(&self.state).streams.wake_flags(key);
        for wake_flag in wake_flags {
            wake_flag.wake();
        }
    }

    /// Wakes those who read some streams.
    pub(crate) fn wake_streams(&self) {
        self.readers_of_streams.wake();
    }

    /// Wakes those who watch everything: what the log keeps has changed.
    #[cfg(feature = "spans")]
    pub(crate) fn wake_watchers(&self) {
        self.readers_of_all.wake();
    }

    /// Lets go of what is too old; the moment at which the next event will be.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let _appending = lock(&self.appending);
        let mut state = write(&self.state);
        state.evict(&self.retention, now);
        state
            .blocks
            .front()
            .and_then(|block| block.created().checked_add(self.retention.age_max()))
    }

    /// The streams whose last event was let go since the last call.
    pub(crate) fn take_evicted_keys(&self) -> Vec<StreamKey> {
        std::mem::take(&mut write(&self.state).evicted_keys)
    }

    /// Everything after `after`, one block at a time.
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

    /// What these streams hold after `after`, and events that belong to every stream, one block at a time.
    pub(crate) fn read_streams_after(&self, keys: &[StreamKey], after: u64) -> TailRead {
        let upto = self.published();
        // One look for the place, the index and the blocks: retention must not pass between them unseen.
        let state = read(&self.state);
        let oldest = state.oldest().min(upto + 1);
        let mut after = after;
        if after + 1 < oldest {
            if state.lost(keys, after, oldest - 1) != Some(0) {
                return TailRead::Evicted(oldest);
            }
            after = oldest - 1;
        }
        let slices = state.slices_at(&state.sequences(keys, after, upto));
        if slices.is_empty() {
            TailRead::Nothing(upto)
        } else {
            TailRead::Events(slices)
        }
    }

    /// The stretch after `after` that is not in memory any more, at most up to `limit`. A reader of no single stream
    /// reads all of them.
    pub(crate) fn skip_evicted(&self, keys: &[StreamKey], after: u64, limit: u64) -> SkippedRange {
        let upto = self.published();
        let state = read(&self.state);
        let to = (state.oldest() - 1).min(upto).min(limit).max(after + 1);
        let wanted = |key: &StreamKey| keys.is_empty() || keys.contains(key);
        let pinned: Vec<Slice> = state
            .pinned
            .range(after + 1..=to)
            .filter(|(_, block)| {
                block
                    .event(0)
                    .is_some_and(|event| event.key().is_none_or(|key| wanted(&key)))
            })
            .take(PINNED_PAGE_EVENTS)
            .map(|(_, block)| Slice::whole(Arc::clone(block)))
            .collect();
        let to = pinned.get(PINNED_PAGE_EVENTS - 1).map_or(to, Slice::last);
        let evicted = if keys.is_empty() {
            Some(to - after)
        } else {
            state.lost(keys, after, to)
        };
        SkippedRange {
            to,
            lost: evicted.map(|evicted| evicted.saturating_sub(pinned.len() as u64)),
            pinned,
        }
    }

    /// How many events of these streams in `after + 1..=to` retention took; `None` when not known.
    pub(crate) fn lost(&self, keys: &[StreamKey], after: u64, to: u64) -> Option<u64> {
        read(&self.state).lost(keys, after, to)
    }

    /// The opening events up to `upto` of what still runs and belongs to every stream, in order.
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

    /// The opening events of everything in a stream that still runs, in order.
    #[cfg(feature = "spans")]
    pub(crate) fn open_events(&self) -> Vec<Slice> {
        let state = read(&self.state);
        let mut sequences: Vec<u64> = state.open.values().copied().collect();
        sequences.sort_unstable();
        sequences
            .iter()
            .filter_map(|sequence| state.retained(*sequence))
            .collect()
    }

    /// The opening event of this token, while it is open.
    #[cfg(feature = "spans")]
    pub(crate) fn open_event(&self, key: &StreamKey, token: u64) -> Option<Slice> {
        let state = read(&self.state);
        let slot = state.streams.find(key)?;
        let sequence = state.open.get(&(slot, token))?;
        state.retained(*sequence)
    }

    /// Whether the stream has or had events here.
    pub(crate) fn knows(&self, key: &StreamKey) -> bool {
        read(&self.state).streams.knows(key)
    }

    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>) {
        self.readers_of_all.join(wake_flag);
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>) {
        self.readers_of_all.leave(wake_flag);
    }

    pub(crate) fn join_stream(&self, key: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        self.readers_of_streams.join(wake_flag);
        let mut state = write(&self.state);
        // Under the lock, which whoever publishes holds, too.
        let published = self.published();
        state.streams.join(key, wake_flag, published);
    }

    pub(crate) fn leave_stream(&self, key: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        self.readers_of_streams.leave(wake_flag);
        write(&self.state).streams.leave(key, wake_flag);
    }

    /// Merges the small blocks at the end when the next one would not fit beside them in one block. Readers hold
    /// places, not blocks, so they do not notice.
    fn merge_run_before(&self, size: usize) {
        let (run, front_evicted) = {
            let state = read(&self.state);
            if state.run < RUN_BLOCKS_MAX && state.run_bytes + size <= BLOCK_BYTES_MAX {
                return;
            }
            let from = state.blocks.len() - state.run;
            let run: Vec<Arc<Block>> = state.blocks.range(from..).map(Arc::clone).collect();
            (run, if from == 0 { state.front_evicted } else { 0 })
        };
        let merged = if self.may_merge(&run) {
            merge(&run, front_evicted)
        } else {
            None
        };
        let mut state = write(&self.state);
        if let Some(merged) = merged {
            let keep = state.blocks.len() - run.len();
            if keep == 0 {
                state.front_evicted = 0;
            }
            state.blocks.truncate(keep);
            state.blocks.push_back(Arc::new(merged));
        }
        state.run = 0;
        state.run_bytes = 0;
    }

    /// Whether the blocks may become one, which then goes when the newest of them would.
    fn may_merge(&self, run: &[Arc<Block>]) -> bool {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return false;
        };
        let spread = last.created().saturating_duration_since(first.created());
        run.len() > 1 && spread <= self.retention.age_max() / MERGED_AGE_DIVISOR
    }

    /// Goes on at a later place, as the events until there are not to be had in order.
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

/// What the events of one batch share.
#[derive(Clone, Copy)]
struct AppendContext {
    epoch: Epoch,
    now: Instant,
    /// What becomes of an event's pin.
    map_pin: fn(Pinning) -> Pinning,
}

impl TailState {
    fn oldest(&self) -> u64 {
        self.blocks
            .front()
            .map_or(self.next, |block| block.sequence(self.front_evicted))
    }

    fn block_of(&self, sequence: u64) -> Option<&Arc<Block>> {
        // Most readers are at the end, and a search would fetch one cold block after another.
        let newest = self.blocks.back()?;
        if newest.sequence(0) <= sequence {
            return Some(newest).filter(|newest| sequence <= newest.last());
        }
        let index = self.blocks.partition_point(|block| block.last() < sequence);
        self.blocks.get(index)
    }

    /// The next positions after `after` in these streams and of events that belong to every stream, ascending.
    fn sequences(&self, keys: &[StreamKey], after: u64, upto: u64) -> Vec<u64> {
        let from = self.global.partition_point(|one| *one <= after);
        let global = self.global.range(from..).take_while(|one| **one <= upto);
        let mut sequences: Vec<u64> = global.take(SEQUENCES_MAX).copied().collect();
        for key in keys {
            sequences.extend(self.streams.sequences(key, after, upto, SEQUENCES_MAX));
        }
        // Each list holds its own first positions, so the first of all of them are exact.
        sequences.sort_unstable();
        sequences.truncate(SEQUENCES_MAX);
        sequences
    }

    /// The retained events at these ascending positions that stand in the first one's block.
    fn slices_at(&self, sequences: &[u64]) -> Vec<Slice> {
        let Some(block) = sequences.first().and_then(|first| self.block_of(*first)) else {
            return Vec::new();
        };
        let mut slices: Vec<Slice> = Vec::new();
        for &sequence in sequences
            .iter()
            .take_while(|sequence| **sequence <= block.last())
        {
            let index = block.index_after(sequence - 1);
            match slices.last_mut() {
                Some(slice) if slice.range.end == index => slice.range.end = index + 1,
                _ => slices.push(Slice {
                    block: Arc::clone(block),
                    range: index..index + 1,
                }),
            }
        }
        slices
    }

    /// The event at this position, whether retained or kept beyond retention.
    fn retained(&self, sequence: u64) -> Option<Slice> {
        match self.pinned.get(&sequence) {
            Some(block) => Some(Slice::whole(Arc::clone(block))),
            None if sequence < self.oldest() => None,
            None => self.slices_at(&[sequence]).pop(),
        }
    }

    /// How many events of these streams in `after + 1..=to` retention took, those kept beyond it included; `None`
    /// when not known.
    fn lost(&self, keys: &[StreamKey], after: u64, to: u64) -> Option<u64> {
        if after < self.unindexed_until {
            return None;
        }
        let global = self.global_evicted.count_in(after, to)?;
        keys.iter().try_fold(global, |lost, key| {
            Some(lost + self.streams.lost(key, after, to)?)
        })
    }

    fn push(&mut self, block: Block) {
        self.events += block.len();
        self.bytes += block.size();
        self.next = block.last() + 1;
        self.run += 1;
        self.run_bytes += block.size();
        self.blocks.push_back(Arc::new(block));
    }

    /// Takes the events of a block that is being built into their streams' entries.
    fn index<'a>(
        &mut self,
        records: impl Iterator<Item = (BatchRecord<'a>, u64)>,
        builder: &mut BlockBuilder,
        map_pin: fn(Pinning) -> Pinning,
    ) {
        let mut first = None;
        let mut last = StreamSlot::NONE;
        for (place, (record, sequence)) in records.enumerate() {
            let first = *first.get_or_insert(sequence);
            let slot = if let Some(key) = record.stream_key() {
                let slot = self.streams.push(key, sequence, last);
                let stream = self
                    .streams
                    .stream_in_block(slot, first, || builder.add_stream(slot, key));
                builder.set_stream(place, stream);
                last = slot;
                slot
            } else {
                self.global.push_back(sequence);
                self.global_dirty = true;
                StreamSlot::NONE
            };
            self.pin(map_pin(record.pin()), slot, sequence);
        }
    }

    fn pin(&mut self, pin: Pinning, slot: StreamSlot, sequence: u64) {
        match pin {
            Pinning::None => {}
            Pinning::Open(token) if self.open.len() < Retention::PINNED_EVENTS_MAX => {
                match self.open.insert((slot, token), sequence) {
                    Some(before) => self.unpin(before),
                    None if slot != StreamSlot::NONE => {
                        self.streams.opened(slot);
                        self.open_in_streams += 1;
                    }
                    None => {}
                }
            }
            Pinning::Open(_) => self.unpinned += 1,
            Pinning::Close(token) => {
                let Some(sequence) = self.open.remove(&(slot, token)) else {
                    return;
                };
                if slot != StreamSlot::NONE {
                    self.streams.closed(slot);
                    self.open_in_streams -= 1;
                }
                self.unpin(sequence);
            }
        }
    }

    /// The event opens nothing any more.
    fn unpin(&mut self, sequence: u64) {
        if let Some(block) = self.pinned.remove(&sequence) {
            self.pinned_bytes -= block.size();
            self.dedup.forget(sequence);
        }
    }

    /// Streams whose last event was let go may have got another since.
    fn keep_evicted_only(&mut self) {
        let Self {
            streams,
            evicted_keys,
            ..
        } = self;
        evicted_keys.retain(|key| !streams.holds_events(key));
    }

    fn evict(&mut self, retention: &Retention, now: Instant) {
        self.evict_while(|state, block| {
            state.events > retention.events_max()
                || (state.bytes > retention.bytes_max() && state.events > 1)
                || now.saturating_duration_since(block.created()) > retention.age_max()
        });
    }

    /// Lets go of the oldest events as long as `is_over` says so, which also sees the block of the next one.
    fn evict_while(&mut self, is_over: impl Fn(&Self, &Block) -> bool) {
        while let Some(block) = self.blocks.front().map(Arc::clone) {
            while self.front_evicted < block.len() {
                if !is_over(self, &block) {
                    return;
                }
                self.evict_event(&block, self.front_evicted);
                self.front_evicted += 1;
            }
            self.blocks.pop_front();
            self.front_evicted = 0;
            if self.run > self.blocks.len() {
                self.run = self.blocks.len();
                self.run_bytes = self.blocks.iter().map(|block| block.size()).sum();
            }
        }
    }

    fn evict_event(&mut self, block: &Arc<Block>, index: usize) {
        let Some(event) = block.event(index) else {
            return;
        };
        let sequence = event.sequence();
        self.events -= 1;
        self.bytes -= event.size();
        let slot = if let Some((slot, key)) = event.stream() {
            if self.streams.evict(slot, sequence) {
                self.evicted_keys.extend(StreamKey::new(key));
            }
            slot
        } else {
            self.global.pop_front();
            self.global_evicted.add(sequence);
            StreamSlot::NONE
        };
        if (slot == StreamSlot::NONE || self.streams.is_open(slot))
            && let Some(token) = event.opens()
            && self.open.get(&(slot, token)) == Some(&sequence)
        {
            self.keep_beyond_retention(block, index);
        }
        if !self.pinned.contains_key(&sequence) {
            self.dedup.forget(sequence);
        }
    }

    /// Copies the event out of its block, so that the block's memory can go.
    fn keep_beyond_retention(&mut self, block: &Arc<Block>, index: usize) {
        let slice = Slice {
            block: Arc::clone(block),
            range: index..index + 1,
        };
        let size = slice.bytes().len();
        if self.pinned_bytes + size > Retention::PINNED_BYTES_MAX {
            self.unpinned += 1;
            return;
        }
        let mut builder = BlockBuilder::with_capacity(size, 1);
        builder.push_slice(&slice, &mut Map::default());
        self.pinned_bytes += size;
        self.pinned
            .insert(slice.last(), Arc::new(builder.build(block.created())));
    }
}

/// Bytes and events of the next block.
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

fn merge(run: &[Arc<Block>], front_evicted: usize) -> Option<Block> {
    let bytes = run.iter().map(|block| block.size()).sum();
    let events = run.iter().map(|block| block.len()).sum();
    let mut builder = BlockBuilder::with_capacity(bytes, events);
    let mut streams_by_slot = Map::default();
    for (index, block) in run.iter().enumerate() {
        let from = if index == 0 { front_evicted } else { 0 };
        builder.push_slice(
            &Slice {
                block: Arc::clone(block),
                range: from..block.len(),
            },
            &mut streams_by_slot,
        );
    }
    // The newest moment: merging may keep an event a sixteenth longer, never shorter.
    Some(builder.build(run.last()?.created()))
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread, time::Duration};

    use super::*;

    const EPOCH: Epoch = Epoch::NONE;
    const MINUTE: Duration = Duration::from_secs(60);

    /// A tail and the moment of its first event.
    struct Fixture {
        tail: Tail,
        begun: Instant,
    }

    impl Fixture {
        fn new(retention: Retention) -> Self {
            Self {
                tail: Tail::new(1, retention),
                begun: Instant::now(),
            }
        }

        /// Appends events on these streams (`-` is every stream) in one batch, and shows them.
        fn put(&self, streams: &[&str], after: Duration) {
            self.pin(
                &streams
                    .iter()
                    .map(|stream| (*stream, Pinning::None))
                    .collect::<Vec<_>>(),
                after,
            );
        }

        fn pin(&self, events: &[(&str, Pinning)], after: Duration) {
            let mut batch = Batch::default();
            for (stream, pin) in events {
                let key = (*stream != "-").then(|| StreamKey::new(stream).unwrap());
                batch.push("note", key, *pin, |out| out.extend_from_slice(b"x"));
            }
            self.tail
                .append(EPOCH, self.tail.next(), &batch, self.begun + after);
            self.tail.publish();
        }

        /// The place and the number of events held, and the number of blocks.
        fn held(&self) -> (u64, usize, usize) {
            let TailStats { oldest, events, .. } = self.tail.stats();
            (oldest, events, read(&self.tail.state).blocks.len())
        }
    }

    fn keys(streams: &[&str]) -> Vec<StreamKey> {
        let keys = streams.iter().map(StreamKey::new);
        keys.map(Result::unwrap).collect()
    }

    fn sequences(read: &TailRead) -> Vec<u64> {
        let TailRead::Events(slices) = read else {
            panic!("{read:?}")
        };
        slices
            .iter()
            .flat_map(Slice::events)
            .map(|event| event.sequence())
            .collect()
    }

    #[test]
    fn events_go_when_they_are_older_than_retention_and_not_before() {
        let log = Fixture::new(Retention::default().age(MINUTE));
        for second in [0, 10, 20] {
            log.put(&["a"], Duration::from_secs(second));
        }
        assert_eq!(
            log.tail.expire(log.begun + MINUTE),
            Some(log.begun + MINUTE)
        );
        assert_eq!(log.held().1, 3);
        let past = Duration::from_nanos(1);
        let next = log.begun + MINUTE + Duration::from_secs(10);
        assert_eq!(log.tail.expire(log.begun + MINUTE + past), Some(next));
        assert_eq!((log.held().0, log.held().1), (2, 2));
        assert_eq!(log.tail.expire(next + MINUTE), None);
        assert_eq!(
            (log.held(), log.tail.stats().bytes, log.tail.stats().streams),
            ((4, 0, 0), 0, 0)
        );
        assert_eq!(log.tail.take_evicted_keys(), [StreamKey::new("a").unwrap()]);
    }

    #[test]
    fn events_that_come_one_at_a_time_share_blocks() {
        let log = Fixture::new(Retention::default());
        for _ in 0..10_000 {
            log.put(&["a"], Duration::ZERO);
        }
        let (oldest, events, blocks) = log.held();
        assert_eq!((oldest, events), (1, 10_000));
        assert!(
            blocks <= RUN_BLOCKS_MAX + 10_000 / RUN_BLOCKS_MAX,
            "{blocks} blocks"
        );
        let mut place = 0;
        while let TailRead::Events(slices) = log.tail.read_after(place) {
            for event in slices.iter().flat_map(Slice::events) {
                place += 1;
                let frame = format!("event: note\nid: {EPOCH}-{place}\ndata: x\n\n");
                assert_eq!(
                    (event.sequence(), &event.frame()[..]),
                    (place, frame.as_bytes())
                );
            }
        }
        assert_eq!(place, 10_000);
    }

    #[test]
    fn retention_is_exact_while_blocks_are_merged() {
        let log = Fixture::new(Retention::default().events(300));
        for number in 1..=3000_u64 {
            log.put(&[if number % 3 == 0 { "-" } else { "a" }], Duration::ZERO);
            let held = usize::try_from(number).unwrap().min(300);
            assert_eq!(
                (log.held().0, log.held().1),
                (number - held as u64 + 1, held)
            );
            let state = read(&log.tail.state);
            let bytes: usize = state.blocks.iter().map(|block| block.size()).sum();
            let skipped: usize = (0..state.front_evicted)
                .filter_map(|index| state.blocks[0].event(index))
                .map(|event| event.size())
                .sum();
            assert_eq!(state.bytes, bytes - skipped);
            assert!(state.run <= state.blocks.len());
        }
        let state = read(&log.tail.state);
        let sequences = state.streams.sequences(&keys(&["a"])[0], 0, u64::MAX, 1000);
        assert_eq!((sequences.len(), state.global.len()), (200, 100));
    }

    #[test]
    fn merging_does_not_keep_old_events_much_longer() {
        let log = Fixture::new(Retention::default().age(MINUTE * 16));
        for minute in 0..512 {
            log.put(&["a"], MINUTE / 64 * minute);
        }
        // The first run spans four minutes: too much to go as one.
        assert_eq!(
            log.tail.expire(log.begun + MINUTE * 17),
            Some(log.begun + MINUTE * 17)
        );
        assert_eq!(log.held().0, 65);
    }

    #[test]
    fn readers_see_nothing_that_is_not_published() {
        let log = Fixture::new(Retention::default().events(2));
        log.put(&["a"], Duration::ZERO);
        let mut batch = Batch::default();
        for _ in 0..4 {
            batch.push(
                "note",
                Some(StreamKey::new("a").unwrap()),
                Pinning::None,
                |out| out.push(b'x'),
            );
        }
        log.tail.append(EPOCH, 2, &batch, log.begun);
        let a = keys(&["a"]);
        assert!(matches!(log.tail.read_after(1), TailRead::Nothing(1)));
        assert!(matches!(
            log.tail.read_streams_after(&a, 1),
            TailRead::Nothing(1)
        ));
        // What retention took before anyone could see it does not put a reader beyond the head.
        assert!(matches!(log.tail.read_after(0), TailRead::Evicted(2)));
        assert_eq!(log.tail.skip_evicted(&[], 0, u64::MAX).to, 1);
        log.tail.publish();
        assert!(matches!(log.tail.read_after(1), TailRead::Evicted(4)));
        assert_eq!(sequences(&log.tail.read_streams_after(&a, 3)), [4, 5]);
    }

    #[test]
    fn a_reader_of_streams_gets_one_block_at_a_time() {
        let log = Fixture::new(Retention::default());
        for _ in 0..5 {
            log.put(&["a", "b", "a", "-", "c"], Duration::ZERO);
        }
        let streams = keys(&["a", "c"]);
        let mut all = Vec::new();
        while let TailRead::Events(slices) = log
            .tail
            .read_streams_after(&streams, all.last().copied().unwrap_or(0))
        {
            assert!(
                slices
                    .iter()
                    .all(|slice| Arc::ptr_eq(&slice.block, &slices[0].block))
            );
            all.extend(
                slices
                    .iter()
                    .flat_map(Slice::events)
                    .map(|event| event.sequence()),
            );
        }
        assert_eq!(
            all,
            (1..=25)
                .filter(|sequence| sequence % 5 != 2)
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_loss_is_counted_for_the_streams_asked_for() {
        let log = Fixture::new(Retention::default().events(1));
        log.put(&["a", "-", "b", "b", "a", "b"], Duration::ZERO);
        let lost =
            |streams: &[&str], after| log.tail.skip_evicted(&keys(streams), after, u64::MAX).lost;
        assert_eq!((lost(&[], 0), lost(&["b"], 2)), (Some(5), Some(2)));
        // The entry of "a" went with its last event: nobody can tell any more.
        assert_eq!(read(&log.tail.state).streams.find(&keys(&["a"])[0]), None);
        assert_eq!(
            lost(&["b"], 0),
            None,
            "the entry of b was made by its first event"
        );
    }

    #[test]
    fn an_event_never_lands_in_an_entry_that_is_being_forgotten() {
        let log = Fixture::new(Retention::default().events(1));
        let streams = keys(&["a"]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let wake_flag = Arc::new(WakeFlag::default());
                while !done.load(Ordering::Relaxed) {
                    log.tail.join_stream(&streams[0], &wake_flag);
                    log.tail.leave_stream(&streams[0], &wake_flag);
                }
            });
            let lost = (1..=10_000_u64).find(|number| {
                log.put(&["a"], Duration::ZERO);
                let found = match log.tail.read_streams_after(&streams, 2 * number - 2) {
                    TailRead::Events(slices) => slices.iter().flat_map(Slice::events).count(),
                    TailRead::Evicted(_) | TailRead::Nothing(_) => 0,
                };
                log.put(&["b"], Duration::ZERO);
                found != 1
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(lost, None);
        });
        assert_eq!(read(&log.tail.state).streams.find(&streams[0]), None);
    }

    #[test]
    fn what_still_runs_is_kept_beyond_retention_and_only_that() {
        let log = Fixture::new(Retention::default().events(1));
        let open = [1, 2, 3].map(|token| ("a", Pinning::Open(token)));
        log.pin(&open, Duration::ZERO);
        log.pin(
            &[("a", Pinning::Close(2)), ("a", Pinning::Open(3))],
            Duration::ZERO,
        );
        log.put(&["b"], Duration::ZERO);
        let standing = |sequence| read(&log.tail.state).retained(sequence).is_some();
        // Of the third, its later start counts.
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(standing),
            [true, false, false, false, true, true]
        );
        assert_eq!(log.tail.stats().open, 2);
        log.pin(
            &[("a", Pinning::Close(1)), ("a", Pinning::Close(3))],
            Duration::ZERO,
        );
        log.put(&["b"], Duration::ZERO);
        let state = read(&log.tail.state);
        assert!(state.open.is_empty() && state.pinned.is_empty());
        assert_eq!((state.open_in_streams, state.pinned_bytes), (0, 0));
        assert_eq!(state.streams.find(&keys(&["a"])[0]), None);
    }

    #[test]
    fn what_is_kept_beyond_retention_is_handed_on_in_pages() {
        let log = Fixture::new(Retention::default().events(1));
        let events: Vec<(&str, Pinning)> = (0..600)
            .flat_map(|token| [("a", Pinning::Open(token)), ("b", Pinning::None)])
            .collect();
        log.pin(&events, Duration::ZERO);
        let (mut after, mut pages) = (0, Vec::new());
        while after < 1199 {
            let passed = log.tail.skip_evicted(&[], after, u64::MAX);
            pages.push((passed.to, passed.lost, passed.pinned.len()));
            after = passed.to;
        }
        assert_eq!(
            pages,
            [
                (511, Some(255), 256),
                (1023, Some(256), 256),
                (1199, Some(88), 88)
            ]
        );
    }

    #[test]
    fn a_store_that_skips_numbers_leaves_no_false_neighbours() {
        let log = Fixture::new(Retention::default());
        log.put(&["a", "a"], Duration::ZERO);
        let mut batch = Batch::default();
        batch.push(
            "note",
            Some(StreamKey::new("a").unwrap()),
            Pinning::None,
            |out| out.push(b'x'),
        );
        log.tail.append(EPOCH, 10, &batch, log.begun);
        log.tail.publish();
        assert_eq!((log.tail.published(), log.held()), (10, (10, 1, 1)));
        assert!(matches!(log.tail.read_after(2), TailRead::Evicted(10)));
        assert_eq!(
            log.tail.skip_evicted(&keys(&["a"]), 2, u64::MAX).lost,
            None,
            "others wrote 3 to 9"
        );
        assert_eq!(sequences(&log.tail.read_after(9)), [10]);
    }
}

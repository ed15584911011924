//! The state that the tail's lock guards: the blocks, the stream index and the open events. It also removes old events.
//! It is called with the lock held, so it does no I/O and never waits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    log::{
        batch::BatchRecord,
        block::{BLOCK_BYTES_MAX, Block, BlockBuilder, Slice},
        dedup::DedupIndex,
        event::{Pinning, StreamKey},
        retention::Retention,
        stream_index::{EvictedCount, StreamIndex, StreamSlot},
        tail::carried::{CarriedEvents, Overflow, StreamSize, StreamState, push_adjacent},
    },
    util::{hash::Map, sync::Instant},
};

/// Upper bound on the sequences that one look-up of streams returns.
pub(super) const SEQUENCES_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct TailState {
    pub(super) streams: StreamIndex,
    pub(super) blocks: VecDeque<Arc<Block>>,
    /// The number of events at the start of the front block that are evicted already.
    pub(super) front_evicted: usize,
    /// The number of small blocks at the end that are not merged yet. `run_bytes` is their size.
    pub(super) run: usize,
    pub(super) run_bytes: usize,
    pub(super) next: u64,
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// The sequences of retained events that belong to every stream.
    pub(super) global: VecDeque<u64>,
    pub(super) global_evicted: EvictedCount,
    /// Whether some of the `global` events are not published yet.
    pub(super) global_dirty: bool,
    /// The last sequence whose stream is unknown, because the event was written before this log was opened, or by
    /// another process.
    pub(super) unindexed_until: u64,
    /// The sequence of the event that opened each open token. An event opens a token, a later one closes it (see
    /// [`Pinning`]).
    pub(super) open: Map<OpenToken, u64>,
    /// The sequence of the newest state of each open token that has one.
    pub(super) states: Map<OpenToken, u64>,
    /// The number of open tokens that belong to a stream.
    pub(super) open_in_streams: usize,
    /// The carried events, which come before the front block (see [`CarriedEvents`]). The totals of events and bytes in
    /// this struct include them.
    pub(super) carried: CarriedEvents,
    /// The streams that are kept on request.
    pub(super) kept: Vec<StreamSlot>,
    /// The streams that are no longer kept on request, because the kept streams outgrew their bound.
    pub(super) outgrown: Vec<StreamKey>,
    pub(super) pinned: BTreeMap<u64, Arc<Block>>,
    pub(super) pinned_bytes: usize,
    pub(super) unpinned: u64,
    pub(super) dedup: DedupIndex,
    pub(super) evicted_keys: Vec<StreamKey>,
}

/// A token and the slot of its stream. The slot stays valid while a token of the stream is open.
pub(super) type OpenToken = (StreamSlot, u64);

impl TailState {
    pub(super) fn oldest(&self) -> u64 {
        self.blocks
            .front()
            .map_or(self.next, |block| block.sequence(self.front_evicted))
    }

    pub(super) fn block_of(&self, sequence: u64) -> Option<&Arc<Block>> {
        // Checks the newest block first, because most readers are near the end. A binary search would fetch one cold
        // block after another.
        let newest = self.blocks.back()?;
        if newest.sequence(0) <= sequence {
            return Some(newest).filter(|newest| sequence <= newest.last());
        }
        let index = self.blocks.partition_point(|block| block.last() < sequence);
        self.blocks.get(index)
    }

    /// Returns at most [`SEQUENCES_MAX`] sequences after `after`, ascending: those of the given streams and those of
    /// events that belong to every stream.
    pub(super) fn sequences(&self, keys: &[StreamKey], after: u64, upto: u64) -> Vec<u64> {
        let from = self.global.partition_point(|one| *one <= after);
        let global = self.global.range(from..).take_while(|one| **one <= upto);
        let mut sequences: Vec<u64> = global.take(SEQUENCES_MAX).copied().collect();
        for key in keys {
            sequences.extend(self.streams.sequences(key, after, upto, SEQUENCES_MAX));
        }
        // Each stream gave its lowest sequences. So the merged list lacks none up to its last one, also when it is cut.
        sequences.sort_unstable();
        sequences.truncate(SEQUENCES_MAX);
        sequences
    }

    /// Returns the retained events with these ascending sequences, as far as they are in the same block as the first.
    /// If the first is carried, returns carried events instead.
    pub(super) fn slices_at(&self, sequences: &[u64]) -> Vec<Slice> {
        let oldest = self.oldest();
        if sequences.first().is_some_and(|first| *first < oldest) {
            return self.carried_at(sequences, oldest);
        }
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

    /// Returns the carried events with these ascending sequences before `oldest`: at most [`BLOCK_BYTES_MAX`] bytes, or
    /// one larger event.
    fn carried_at(&self, sequences: &[u64], oldest: u64) -> Vec<Slice> {
        let mut slices = Vec::new();
        let mut bytes = 0;
        for sequence in sequences.iter().take_while(|one| **one < oldest) {
            let Some(slice) = self.carried.get(*sequence) else {
                continue;
            };
            bytes += slice.bytes().len();
            if bytes > BLOCK_BYTES_MAX && !slices.is_empty() {
                break;
            }
            push_adjacent(&mut slices, slice);
        }
        slices
    }

    /// Returns the event with this sequence, whether it is within retention or kept beyond it.
    pub(super) fn retained(&self, sequence: u64) -> Option<Slice> {
        match self.pinned.get(&sequence) {
            Some(block) => Some(Slice::whole(Arc::clone(block))),
            None if sequence < self.oldest() => self.carried.get(sequence),
            None => self.slices_at(&[sequence]).pop(),
        }
    }

    /// Returns the first pinned events of these streams in `after + 1..=to`; no keys mean all streams.
    pub(super) fn pinned_in(
        &self,
        keys: &[StreamKey],
        after: u64,
        to: u64,
        limit: usize,
    ) -> Vec<Slice> {
        let is_wanted = |block: &Block| {
            let event = block.event(0);
            event.is_some_and(|event| {
                keys.is_empty() || event.key().is_none_or(|key| keys.contains(&key))
            })
        };
        let pinned = self.pinned.range(after + 1..=to);
        let wanted = pinned.filter(|(_, block)| is_wanted(block)).take(limit);
        wanted
            .map(|(_, block)| Slice::whole(Arc::clone(block)))
            .collect()
    }

    /// Returns the first carried events of these streams in `after + 1..=to`; no keys mean all streams.
    pub(super) fn carried_in(
        &self,
        keys: &[StreamKey],
        after: u64,
        to: u64,
        limit: usize,
    ) -> Vec<Slice> {
        if keys.is_empty() {
            return self.carried.range(after, to).take(limit).collect();
        }
        let mut sequences = Vec::new();
        for key in keys {
            sequences.extend(self.streams.sequences(key, after, to, limit));
        }
        sequences.sort_unstable();
        let carried = sequences.iter().take(limit);
        carried
            .filter_map(|sequence| self.carried.get(*sequence))
            .collect()
    }

    /// Returns how many events of these streams in `after + 1..=to` were evicted, or `None` if that is unknown. Evicted
    /// events that are pinned, that is, kept beyond retention, count, too.
    pub(super) fn lost(&self, keys: &[StreamKey], after: u64, to: u64) -> Option<u64> {
        if after < self.unindexed_until {
            return None;
        }
        let global = self.global_evicted.count_in(after, to)?;
        keys.iter().try_fold(global, |lost, key| {
            Some(lost + self.streams.lost(key, after, to)?)
        })
    }

    pub(super) fn push(&mut self, block: Block) {
        self.events += block.len();
        self.bytes += block.size();
        self.next = block.last() + 1;
        self.run += 1;
        self.run_bytes += block.size();
        self.blocks.push_back(Arc::new(block));
    }

    /// Adds the events of the block under construction to the index entries of their streams.
    pub(super) fn index<'a>(
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

    pub(super) fn pin(&mut self, pin: Pinning, slot: StreamSlot, sequence: u64) {
        match pin {
            Pinning::None => {}
            Pinning::Open(token) if self.open.len() < Retention::PINNED_EVENTS_MAX => {
                match self.open.insert((slot, token), sequence) {
                    Some(before) => {
                        self.unpin(before);
                        self.forget_state((slot, token));
                    }
                    None if slot != StreamSlot::NONE => {
                        self.streams.opened(slot);
                        self.carried.update(self.stream_state(slot));
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
                    self.carried.update(self.stream_state(slot));
                    self.open_in_streams -= 1;
                }
                self.unpin(sequence);
                self.forget_state((slot, token));
            }
            Pinning::State(token) => {
                let is_open = slot != StreamSlot::NONE && self.open.contains_key(&(slot, token));
                if is_open && let Some(before) = self.states.insert((slot, token), sequence) {
                    self.unpin(before);
                }
            }
        }
    }

    /// Stops keeping the state of a token beyond retention, because the token was closed or opened again.
    fn forget_state(&mut self, token: OpenToken) {
        if let Some(sequence) = self.states.remove(&token) {
            self.unpin(sequence);
        }
    }

    /// Stops keeping the event beyond retention.
    pub(super) fn unpin(&mut self, sequence: u64) {
        if let Some(block) = self.pinned.remove(&sequence) {
            self.pinned_bytes -= block.size();
            self.dedup.forget(sequence);
            if let Some((slot, _)) = block.event(0).and_then(|event| event.stream()) {
                self.streams.unpinned(slot);
            }
        }
    }

    /// Removes from `evicted_keys` the streams that have events again.
    pub(super) fn keep_evicted_only(&mut self) {
        let Self {
            streams,
            evicted_keys,
            ..
        } = self;
        evicted_keys.retain(|key| !streams.holds_events(key));
    }

    pub(super) fn evict(&mut self, retention: &Retention, now: Instant) {
        self.evict_while(|state, block| {
            state.events > retention.events_max()
                || (state.bytes > retention.bytes_max() && state.events - state.carried.len() > 1)
                || now.saturating_duration_since(block.created()) > retention.age_max()
        });
        let is_too_old = |created| now.saturating_duration_since(created) > retention.age_max();
        self.trim_carried(is_too_old);
    }

    /// Evicts the carried events of whole streams until the bounds hold and no ended stream is too old.
    fn trim_carried(&mut self, is_too_old: impl Fn(Instant) -> bool) {
        loop {
            let Self {
                carried, streams, ..
            } = self;
            match carried.overflow(|slot| streams.last(slot), &is_too_old) {
                None => return,
                Some(Overflow::StopKeeping(slot)) => {
                    self.outgrown.extend(self.streams.key(slot));
                    self.stop_keeping(slot);
                }
                Some(Overflow::Evict(slot)) => {
                    self.streams.stop_carrying(slot);
                    for event in self.carried.take_stream(slot) {
                        self.evict_event(&event.block, event.range.start);
                    }
                }
            }
        }
    }

    /// Keeps the stream until [`stop_keeping`](Self::stop_keeping).
    pub(super) fn keep(&mut self, slot: StreamSlot) {
        self.kept.push(slot);
        self.streams.set_kept(slot, true);
        self.carried.update(self.stream_state(slot));
    }

    pub(super) fn stop_keeping(&mut self, slot: StreamSlot) {
        self.kept.retain(|kept| *kept != slot);
        self.streams.set_kept(slot, false);
        self.carried.update(self.stream_state(slot));
    }

    /// Returns the size of the stream's readable events. If the stream has more events than the bound allows, the
    /// bytes are 0.
    pub(super) fn size_of(&self, slot: StreamSlot) -> StreamSize {
        let events = self.streams.len(slot);
        if events > self.carried.kept_max().events {
            return StreamSize { events, bytes: 0 };
        }
        let Some(key) = self.streams.key(slot) else {
            return StreamSize::default();
        };
        let sequences = self.streams.sequences(&key, 0, u64::MAX, events);
        let slices = sequences.iter().filter_map(|one| self.retained(*one));
        StreamSize {
            events,
            bytes: slices.map(|slice| slice.bytes().len()).sum(),
        }
    }

    fn stream_state(&self, slot: StreamSlot) -> StreamState {
        StreamState {
            slot,
            is_open: self.streams.is_open(slot),
            is_kept: self.streams.is_kept(slot),
            last: self.streams.last(slot),
        }
    }

    /// Carries the event if its stream is open or kept, or has carried events already. A stream that has lost its
    /// carried events is not carried again. Returns whether the event is carried.
    fn carry(&mut self, block: &Arc<Block>, index: usize) -> bool {
        if !self.carried.is_enabled() {
            return false;
        }
        let Some((slot, _)) = block.event(index).and_then(|event| event.stream()) else {
            return false;
        };
        let state = self.stream_state(slot);
        let is_wanted = state.is_open || state.is_kept || self.carried.has_stream(slot);
        if !is_wanted || self.streams.has_stopped_carrying(slot) {
            return false;
        }
        self.carried.push(state, block, index);
        self.trim_carried(|_| false);
        true
    }

    /// Evicts or carries the oldest events while `is_over` returns true for the state and the block of the oldest
    /// event.
    pub(super) fn evict_while(&mut self, is_over: impl Fn(&Self, &Block) -> bool) {
        while let Some(block) = self.blocks.front().map(Arc::clone) {
            while self.front_evicted < block.len() {
                if !is_over(self, &block) {
                    return;
                }
                if !self.carry(&block, self.front_evicted) {
                    self.evict_event(&block, self.front_evicted);
                }
                self.front_evicted += 1;
            }
            self.carried.detach_from(&block);
            self.blocks.pop_front();
            self.front_evicted = 0;
            if self.run > self.blocks.len() {
                self.run = self.blocks.len();
                self.run_bytes = self.blocks.iter().map(|block| block.size()).sum();
            }
        }
    }

    pub(super) fn evict_event(&mut self, block: &Arc<Block>, index: usize) {
        let Some(event) = block.event(index) else {
            return;
        };
        let sequence = event.sequence();
        self.events -= 1;
        self.bytes -= event.size();
        let slot = if let Some((slot, key)) = event.stream() {
            if event.closes() {
                self.streams.count_evicted_closing(slot);
            }
            if self.streams.evict(slot, sequence) {
                self.evicted_keys.extend(StreamKey::new(key));
            }
            slot
        } else {
            self.global.pop_front();
            self.global_evicted.add(sequence);
            StreamSlot::NONE
        };
        if slot == StreamSlot::NONE || self.streams.is_open(slot) {
            match event.pin() {
                Pinning::Open(token) if self.open.get(&(slot, token)) == Some(&sequence) => {
                    self.keep_beyond_retention(block, index, slot, Retention::PINNED_BYTES_MAX);
                }
                Pinning::State(token) if self.states.get(&(slot, token)) == Some(&sequence) => {
                    self.keep_beyond_retention(block, index, slot, Retention::STATE_BYTES_MAX);
                }
                _ => {}
            }
        }
        if !self.pinned.contains_key(&sequence) {
            self.dedup.forget(sequence);
        }
    }

    /// Copies the event out of its block, so that the block's memory can be freed. If the pinned events
    /// together would then exceed `bytes_max` bytes, the event is dropped and counted in `unpinned`.
    pub(super) fn keep_beyond_retention(
        &mut self,
        block: &Arc<Block>,
        index: usize,
        stream: StreamSlot,
        bytes_max: usize,
    ) {
        let slice = Slice {
            block: Arc::clone(block),
            range: index..index + 1,
        };
        let size = slice.bytes().len();
        if self.pinned_bytes + size > bytes_max {
            self.unpinned += 1;
            return;
        }
        let mut builder = BlockBuilder::with_capacity(size, 1);
        builder.push_slice(&slice, &mut Map::default());
        self.pinned_bytes += size;
        self.pinned
            .insert(slice.last(), Arc::new(builder.build(block.created())));
        self.streams.pinned(stream);
    }
}

//! The stream index: the sequences of each stream's events, and the readers that wait for them. All access is under the
//! tail's lock. It does no I/O.

mod entry;
#[cfg(test)]
mod tests;

use std::{hash::BuildHasher as _, sync::Arc};

use hashbrown::HashTable;

pub(crate) use self::entry::{EvictedCount, StreamSlot};
use crate::{
    log::{
        event::StreamKey,
        retention::EvictedEvents,
        stream_index::entry::{CHUNK, Carrying, EntrySlab, StreamEntry},
        waker::WakeFlag,
    },
    util::hash::RandomState,
};

/// The entries of all streams. The tail's lock guards both the tail and this index, because they must agree.
#[derive(Debug)]
pub(crate) struct StreamIndex {
    /// Slots of the entries, found by the hash of the key.
    table: HashTable<StreamSlot>,
    hashing: RandomState,
    entries: EntrySlab,
    /// The newest sequence of all streams.
    newest: u64,
    /// Number of streams with an entry that holds events or open tokens.
    held: usize,
    /// Streams with unpublished events and waiting readers.
    dirty: Vec<StreamSlot>,
    /// Streams that lost events to retention since the last call of `take_shortened`.
    shortened: Vec<StreamSlot>,
}

impl StreamIndex {
    pub(crate) fn new(newest: u64) -> Self {
        Self {
            table: HashTable::new(),
            hashing: RandomState::default(),
            entries: EntrySlab::default(),
            newest,
            held: 0,
            dirty: Vec::new(),
            shortened: Vec::new(),
        }
    }

    /// Returns the slot of the stream, or `None` if it has no entry.
    pub(crate) fn find(&self, id: &StreamKey) -> Option<StreamSlot> {
        let hash = self.hashing.hash_one(id.as_bytes());
        let is_it = |slot: &StreamSlot| self.has_name(*slot, id);
        self.table.find(hash, is_it).copied()
    }

    fn get(&self, id: &StreamKey) -> Option<&StreamEntry> {
        self.entries.get(self.find(id)?)
    }

    fn has_name(&self, slot: StreamSlot, id: &StreamKey) -> bool {
        let stream = self.entries.get(slot);
        stream.is_some_and(|stream| stream.name.bytes() == id.as_bytes())
    }

    /// Returns the slot of a stream, and creates its entry if needed. A new entry covers only events from `since` on.
    fn find_or_insert(&mut self, id: &StreamKey, since: u64) -> StreamSlot {
        let hash = self.hashing.hash_one(id.as_bytes());
        let Self {
            table,
            hashing,
            entries,
            ..
        } = self;
        let is_it = |slot: &StreamSlot| {
            let stream = entries.get(*slot);
            stream.is_some_and(|stream| stream.name.bytes() == id.as_bytes())
        };
        if let Some(slot) = table.find(hash, is_it) {
            return *slot;
        }
        let slot = entries.insert(StreamEntry::new(id, since));
        table.insert_unique(hash, slot, |slot| {
            let stream = entries.get(*slot);
            hashing.hash_one(stream.map_or(&[][..], |stream| stream.name.bytes()))
        });
        slot
    }

    /// Adds an event to its stream, and creates the stream's entry if needed. `last` is the slot of the previous
    /// event's stream, which is often the same.
    pub(crate) fn push(&mut self, id: &StreamKey, sequence: u64, last: StreamSlot) -> StreamSlot {
        self.newest = sequence;
        let slot = if self.has_name(last, id) {
            last
        } else {
            self.find_or_insert(id, sequence)
        };
        if let Some(stream) = self.entries.get_mut(slot) {
            self.held += usize::from(!stream.is_held());
            stream.sequences.push(sequence);
            if stream.wake_flags.is_some() && !stream.dirty {
                stream.dirty = true;
                self.dirty.push(slot);
            }
        }
        slot
    }

    /// Returns the stream's index in the block that begins with the event `first`. If the stream is not in that block
    /// yet, `name` adds it and returns the index.
    pub(crate) fn stream_in_block(
        &mut self,
        slot: StreamSlot,
        first: u64,
        name: impl FnOnce() -> u32,
    ) -> u32 {
        let Some(stream) = self.entries.get_mut(slot) else {
            return name();
        };
        if stream.block_stream.0 != first {
            stream.block_stream = (first, name());
        }
        stream.block_stream.1
    }

    pub(crate) fn opened(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.open += 1;
        }
    }

    pub(crate) fn closed(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.open = stream.open.saturating_sub(1);
        }
    }

    /// Returns whether the stream has open tokens.
    pub(crate) fn is_open(&self, slot: StreamSlot) -> bool {
        self.entries.get(slot).is_some_and(|stream| stream.open > 0)
    }

    /// Returns whether the stream has lost its [carried](crate::log::tail) events, and its later events are not
    /// carried.
    pub(crate) fn has_stopped_carrying(&self, slot: StreamSlot) -> bool {
        self.carrying(slot) == Carrying::Never
    }

    /// Returns whether the stream is kept on request.
    pub(crate) fn is_kept(&self, slot: StreamSlot) -> bool {
        self.carrying(slot) == Carrying::Always
    }

    fn carrying(&self, slot: StreamSlot) -> Carrying {
        let stream = self.entries.get(slot);
        stream.map_or(Carrying::Never, |stream| stream.carrying)
    }

    /// Records that the stream has lost its carried events.
    pub(crate) fn stop_carrying(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.carrying = Carrying::Never;
        }
    }

    /// Records whether the stream is kept on request. If so, its events are carried from now on. Otherwise they are
    /// carried only while the stream is open.
    pub(crate) fn set_kept(&mut self, slot: StreamSlot, is_kept: bool) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.carrying = if is_kept {
                Carrying::Always
            } else {
                Carrying::WhileOpen
            };
        }
    }

    pub(crate) fn key(&self, slot: StreamSlot) -> Option<StreamKey> {
        StreamKey::new(self.entries.get(slot)?.name.bytes()).ok()
    }

    /// Returns how many events of the stream can still be read, not counting opening events that are kept beyond
    /// retention.
    pub(crate) fn len(&self, slot: StreamSlot) -> usize {
        let stream = self.entries.get(slot);
        stream.map_or(0, |stream| stream.sequences.len())
    }

    /// Returns the newest sequence of the stream that can still be read, or 0.
    pub(crate) fn last(&self, slot: StreamSlot) -> u64 {
        let stream = self.entries.get(slot);
        stream
            .and_then(|stream| stream.sequences.last())
            .unwrap_or(0)
    }

    /// Returns the stream's first sequences in `after + 1..=upto`, at most `limit`.
    pub(crate) fn sequences(
        &self,
        id: &StreamKey,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Vec<u64> {
        let mut found = Vec::new();
        if let Some(stream) = self.get(id) {
            stream.sequences.range_into(after, upto, limit, &mut found);
        }
        found
    }

    /// Returns how many events of the stream in `after + 1..=to` were evicted, or `None` if that is unknown.
    pub(crate) fn lost(&self, id: &StreamKey, after: u64, to: u64) -> Option<u64> {
        self.get(id)?.lost(after, to)
    }

    /// Returns whether the index has an entry with events of the stream, retained or evicted.
    pub(crate) fn knows(&self, id: &StreamKey) -> bool {
        let stream = self.get(id);
        stream.is_some_and(|stream| stream.is_held() || stream.evicted.count > 0)
    }

    pub(crate) fn holds_events(&self, id: &StreamKey) -> bool {
        self.get(id).is_some_and(StreamEntry::is_held)
    }

    /// Returns how many of the stream's sequences are less than `sequence`.
    pub(crate) fn count_before(&self, id: &StreamKey, sequence: u64) -> u64 {
        let stream = self.get(id);
        stream.map_or(0, |stream| stream.sequences.count_before(sequence))
    }

    /// Returns how many events of the stream were evicted, or `None` if it has no entry.
    pub(crate) fn evicted(&self, id: &StreamKey) -> Option<EvictedEvents> {
        self.get(id).map(StreamEntry::evicted_events)
    }

    /// Records that an evicted opening event is kept beyond retention.
    pub(crate) fn pinned(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.pinned += 1;
        }
    }

    /// Records that an opening event is no longer kept beyond retention.
    pub(crate) fn unpinned(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.pinned = stream.pinned.saturating_sub(1);
            self.list_shortened(slot);
        }
    }

    fn list_shortened(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot)
            && !stream.is_eviction_listed
        {
            stream.is_eviction_listed = true;
            self.shortened.push(slot);
        }
    }

    /// Returns the streams that lost events to retention since the last call and still have an entry.
    pub(crate) fn take_shortened(&mut self) -> Vec<(StreamKey, EvictedEvents)> {
        let mut shortened = Vec::new();
        for slot in self.shortened.drain(..) {
            // Another stream may use the slot by now.
            if let Some(stream) = self.entries.get_mut(slot)
                && std::mem::take(&mut stream.is_eviction_listed)
                && let Ok(key) = StreamKey::new(stream.name.bytes())
            {
                shortened.push((key, stream.evicted_events()));
            }
        }
        shortened
    }

    /// Counts a closing event that is about to be evicted.
    pub(crate) fn count_evicted_closing(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.evicted_closings += 1;
        }
    }

    /// Removes this sequence if it is the oldest of the stream. Returns whether the stream holds nothing afterwards. In
    /// that case its entry is removed, unless a reader waits for it.
    pub(crate) fn evict(&mut self, slot: StreamSlot, sequence: u64) -> bool {
        let Some(stream) = self.entries.get_mut(slot) else {
            return false;
        };
        if !stream.sequences.pop(sequence) {
            return false;
        }
        stream.evicted.add(sequence);
        if stream.is_held() {
            self.list_shortened(slot);
            return false;
        }
        self.held = self.held.saturating_sub(1);
        self.forget(slot);
        true
    }

    /// Removes the entry if the stream holds nothing and no reader waits for it.
    fn forget(&mut self, slot: StreamSlot) {
        let Some(stream) = self.entries.get(slot) else {
            return;
        };
        if stream.is_held() || stream.wake_flags.is_some() {
            return;
        }
        let hash = self.hashing.hash_one(stream.name.bytes());
        if let Ok(place) = self.table.find_entry(hash, |one| *one == slot) {
            place.remove();
        }
        self.entries.remove(slot);
        if self.table.is_empty() && self.table.capacity() > 2 * CHUNK {
            self.table = HashTable::new();
        }
    }

    /// Adds a waiting reader to a stream. `published` is the last published sequence. The entry of a stream without
    /// events lives as long as its waiting readers.
    pub(crate) fn join(&mut self, id: &StreamKey, wake_flag: &Arc<WakeFlag>, published: u64) {
        let slot = self.find_or_insert(id, self.newest + 1);
        let Some(stream) = self.entries.get_mut(slot) else {
            return;
        };
        let wake_flags = stream.wake_flags.get_or_insert_default();
        wake_flags.0.push(Arc::clone(wake_flag));
        // A reader that joins between append and publish must be woken by that publish.
        if !stream.dirty && stream.sequences.last() > Some(published) {
            stream.dirty = true;
            self.dirty.push(slot);
        }
    }

    pub(crate) fn leave(&mut self, id: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        let Some(slot) = self.find(id) else {
            return;
        };
        if let Some(stream) = self.entries.get_mut(slot) {
            if let Some(wake_flags) = &mut stream.wake_flags {
                wake_flags.0.retain(|one| !Arc::ptr_eq(one, wake_flag));
            }
            stream
                .wake_flags
                .take_if(|wake_flags| wake_flags.0.is_empty());
        }
        self.forget(slot);
    }

    /// Returns the wake flags of the readers that wait for the stream.
    pub(crate) fn wake_flags(&self, id: &StreamKey) -> Vec<Arc<WakeFlag>> {
        let wake_flags = self.get(id).and_then(|stream| stream.wake_flags.as_ref());
        wake_flags.map_or_else(Vec::new, |wake_flags| wake_flags.0.clone())
    }

    /// Returns the wake flags of the readers whose streams got events since the last call.
    pub(crate) fn take_dirty(&mut self) -> Vec<Arc<WakeFlag>> {
        let mut wake_flags = Vec::new();
        for slot in self.dirty.drain(..) {
            // The last reader may have left, and another stream may use the slot.
            if let Some(stream) = self.entries.get_mut(slot)
                && std::mem::take(&mut stream.dirty)
            {
                let waiting = stream
                    .wake_flags
                    .iter()
                    .flat_map(|wake_flags| &wake_flags.0);
                wake_flags.extend(waiting.map(Arc::clone));
            }
        }
        wake_flags
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }
}

//! The index entry of one stream: the sequences of its events, its number of open tokens (see
//! [`Pinning`](crate::log::event::Pinning)), and a count of evicted events. The slab that holds the entries is here,
//! too. Nothing here does I/O; all runs under the tail's lock.

use std::{collections::VecDeque, sync::Arc};

use crate::log::{event::StreamKey, retention::EvictedEvents, waker::WakeFlag};

/// The slot of a stream's entry. A slot is valid while the stream has events or open tokens, or a reader waits for the
/// stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamSlot(u32);

impl StreamSlot {
    /// The slot of events that belong to no stream in the index.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// When the stream's events are carried, that is, kept longer than the events of other streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrying {
    WhileOpen,
    /// Never, because the stream has lost its carried events.
    Never,
    /// Whether or not the stream is open, because it is kept on request.
    Always,
}

/// One stream of the log.
#[derive(Debug)]
pub(super) struct StreamEntry {
    pub(super) name: InlineKey,
    /// The first sequence that this entry covers. Earlier events may have belonged to a previous entry of the stream
    /// that was removed.
    pub(super) since: u64,
    /// The sequences of the retained events, ascending.
    pub(super) sequences: SequenceList,
    /// The sequence at which the last block with this stream begins, and the stream's index in that block.
    pub(super) block_stream: (u64, u32),
    /// The number of opening events without a closing one. While it is not 0, the entry is kept.
    pub(super) open: u32,
    /// Whether the stream is in the list of streams to wake at the next publication.
    pub(super) dirty: bool,
    pub(super) evicted: EvictedCount,
    /// The number of closing events among the evicted ones.
    pub(super) evicted_closings: u64,
    /// The number of evicted events that are still kept because they open a token.
    pub(super) pinned: u32,
    /// Whether the stream is in the list of streams that lost events since the last call of `take_shortened`.
    pub(super) is_eviction_listed: bool,
    pub(super) carrying: Carrying,
    /// The waiting readers; only few streams have any.
    pub(super) wake_flags: Option<Box<StreamWakers>>,
}

#[derive(Debug, Default)]
pub(super) struct StreamWakers(pub(super) Vec<Arc<WakeFlag>>);

impl StreamEntry {
    pub(super) fn new(id: &StreamKey, since: u64) -> Self {
        Self {
            name: InlineKey::of(id),
            since,
            sequences: SequenceList::default(),
            block_stream: (0, 0),
            open: 0,
            dirty: false,
            evicted: EvictedCount::default(),
            evicted_closings: 0,
            pinned: 0,
            is_eviction_listed: false,
            carrying: Carrying::WhileOpen,
            wake_flags: None,
        }
    }

    pub(super) fn is_held(&self) -> bool {
        !self.sequences.is_empty() || self.open > 0
    }

    /// Returns the number of events that retention has removed from the stream, not counting opening events that are
    /// kept beyond retention.
    pub(super) fn evicted_events(&self) -> EvictedEvents {
        let events = self.evicted.count.saturating_sub(u64::from(self.pinned));
        EvictedEvents::new(events, Some(self.evicted_closings))
    }

    /// Returns how many events of the stream in `after + 1..=to` were evicted, or `None` if that is unknown.
    pub(super) fn lost(&self, after: u64, to: u64) -> Option<u64> {
        if after.saturating_add(1) < self.since {
            return None;
        }
        self.evicted.count_in(after, to)
    }
}

/// The bytes of a stream's key. Most keys are ids of 16 bytes: the entry itself stores them.
#[derive(Debug)]
pub(super) enum InlineKey {
    Short(u8, [u8; 22]),
    Long(Box<[u8]>),
}

impl InlineKey {
    pub(super) fn of(id: &StreamKey) -> Self {
        let bytes = id.as_bytes();
        let mut short = [0; 22];
        match (u8::try_from(bytes.len()), short.get_mut(..bytes.len())) {
            (Ok(length), Some(slot)) => {
                slot.copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

/// Ascending sequences. The entry itself stores short lists.
#[derive(Debug)]
pub(super) enum SequenceList {
    Few(u8, [u64; FEW]),
    Many(VecDeque<u64>),
}

pub(super) const FEW: usize = 4;

impl Default for SequenceList {
    fn default() -> Self {
        Self::Few(0, [0; FEW])
    }
}

impl SequenceList {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(length, _) => *length == 0,
            Self::Many(all) => all.is_empty(),
        }
    }

    pub(super) fn push(&mut self, sequence: u64) {
        match self {
            Self::Few(length, few) => match few.get_mut(usize::from(*length)) {
                Some(place) => {
                    *place = sequence;
                    *length += 1;
                }
                None => *self = Self::Many(few.iter().copied().chain([sequence]).collect()),
            },
            Self::Many(all) => all.push_back(sequence),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(length, _) => usize::from(*length),
            Self::Many(all) => all.len(),
        }
    }

    pub(super) fn last(&self) -> Option<u64> {
        match self {
            Self::Few(length, few) => few.get(usize::from(*length).checked_sub(1)?).copied(),
            Self::Many(all) => all.back().copied(),
        }
    }

    /// Removes the first sequence if it equals `sequence`. Returns whether a sequence was removed.
    pub(super) fn pop(&mut self, sequence: u64) -> bool {
        match self {
            Self::Few(length, few) => {
                let is_first = *length > 0 && few.first() == Some(&sequence);
                if is_first {
                    few.rotate_left(1);
                    *length -= 1;
                }
                is_first
            }
            Self::Many(all) => {
                let is_first = all.front() == Some(&sequence);
                if is_first {
                    all.pop_front();
                }
                is_first
            }
        }
    }

    /// Returns how many sequences are less than `sequence`.
    pub(super) fn count_before(&self, sequence: u64) -> u64 {
        let count = match self {
            Self::Few(length, few) => {
                let few = few.iter().take(usize::from(*length));
                few.take_while(|one| **one < sequence).count()
            }
            Self::Many(all) => all.partition_point(|one| *one < sequence),
        };
        count as u64
    }

    /// Appends the first sequences in `after + 1..=upto` to `found`, at most `limit`.
    pub(super) fn range_into(&self, after: u64, upto: u64, limit: usize, found: &mut Vec<u64>) {
        let wanted = |one: &&u64| **one <= upto;
        match self {
            Self::Few(length, few) => {
                let few = few.iter().take(usize::from(*length));
                let few = few.skip_while(|one| **one <= after);
                found.extend(few.take_while(wanted).take(limit));
            }
            Self::Many(all) => {
                let from = all.partition_point(|one| *one <= after);
                found.extend(all.range(from..).take_while(wanted).take(limit));
            }
        }
    }
}

/// The number of events that retention has removed from one stream, and the first and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EvictedCount {
    pub(super) count: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl EvictedCount {
    pub(crate) fn add(&mut self, sequence: u64) {
        if self.count == 0 {
            self.first = sequence;
        }
        self.count += 1;
        self.last = sequence;
    }

    /// Returns how many evicted events are in `after + 1..=to`. Returns `None` if only some of them may be in that
    /// range: this type stores no sequences between the first and the last.
    pub(crate) fn count_in(self, after: u64, to: u64) -> Option<u64> {
        if self.count == 0 || self.last <= after || to < self.first {
            Some(0)
        } else if after < self.first && self.last <= to {
            Some(self.count)
        } else {
            None
        }
    }
}

/// A slab in fixed chunks: growth never moves entries. Free slots are reused last in, first out, because the slot freed
/// last is most likely still in the processor's cache.
#[derive(Debug, Default)]
pub(super) struct EntrySlab {
    pub(super) chunks: Vec<Vec<Option<StreamEntry>>>,
    pub(super) free: Vec<u32>,
    pub(super) count: usize,
}

/// The number of entries per chunk.
pub(super) const CHUNK: usize = 256;

impl EntrySlab {
    pub(super) fn get(&self, StreamSlot(slot): StreamSlot) -> Option<&StreamEntry> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?;
        chunk.get(slot as usize % CHUNK)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, StreamSlot(slot): StreamSlot) -> Option<&mut StreamEntry> {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK)?;
        chunk.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    pub(super) fn insert(&mut self, stream: StreamEntry) -> StreamSlot {
        self.count += 1;
        if let Some(slot) = self.free.pop() {
            let chunk = self.chunks.get_mut(slot as usize / CHUNK);
            if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(slot as usize % CHUNK)) {
                *place = Some(stream);
            }
            return StreamSlot(slot);
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.last_mut() else {
            return StreamSlot::NONE;
        };
        chunk.push(Some(stream));
        // Retention and readers bound the number of entries far below `u32::MAX`.
        StreamSlot(u32::try_from(before + chunk.len() - 1).unwrap_or(u32::MAX))
    }

    pub(super) fn remove(&mut self, StreamSlot(slot): StreamSlot) {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK);
        if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(slot as usize % CHUNK))
            && place.take().is_some()
        {
            self.count -= 1;
            self.free.push(slot);
        }
        if self.count == 0 {
            self.chunks.truncate(1);
            self.chunks.iter_mut().for_each(Vec::clear);
            self.free = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lists_give_the_same_positions_as_a_model() {
        let mut sequences = SequenceList::default();
        let mut model = VecDeque::new();
        for step in 1..=200_u64 {
            // In the first half more sequences are added than removed, in the second half fewer.
            let comes = if step <= 100 {
                step % 3 > 0
            } else {
                step % 3 == 0
            };
            if comes {
                sequences.push(step);
                model.push_back(step);
            } else if let Some(first) = model.pop_front() {
                assert!(!sequences.pop(first + 1));
                assert!(sequences.pop(first));
            }
            let mut found = Vec::new();
            sequences.range_into(step / 2, step - 1, 3, &mut found);
            let wanted = model
                .iter()
                .filter(|one| (step / 2 + 1..step).contains(*one));
            let wanted: Vec<u64> = wanted.take(3).copied().collect();
            assert_eq!(found, wanted, "{step}");
            assert_eq!(sequences.last(), model.back().copied());
            let before = model.iter().filter(|one| **one < step / 2).count();
            assert_eq!(sequences.count_before(step / 2), before as u64);
            assert_eq!(sequences.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn a_loss_is_known_exactly_or_not_at_all() {
        let mut evicted = EvictedCount::default();
        assert_eq!(evicted.count_in(0, 100), Some(0));
        for sequence in [10, 20, 30] {
            evicted.add(sequence);
        }
        let cases = [
            ((0, 9), Some(0)),
            ((0, 10), None),
            ((0, 29), None),
            ((0, 30), Some(3)),
            ((9, 30), Some(3)),
            ((10, 30), None),
            ((29, 30), None),
            ((30, 99), Some(0)),
        ];
        for ((after, to), lost) in cases {
            assert_eq!(evicted.count_in(after, to), lost, "{after} to {to}");
        }
    }
}

//! Carried events: events of open streams, and of streams kept on request, that retention would otherwise have removed.
//! They keep running traces complete, while ended traces are removed as a whole. Carried events have a bound. Above it,
//! one stream loses all of them at once: the ended stream whose last event is the oldest, or else the largest open one.
//! Nothing here does I/O; all runs under the tail's lock.
//!
//! Cost: an evicted event of an open stream is inserted into an ordered map, and copied when its whole block has been
//! evicted. For an evicted event of any other stream, the entry of its stream is read once.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    log::{
        block::{Block, BlockBuilder, Slice},
        retention::Retention,
        stream_index::StreamSlot,
    },
    util::{hash::Map, sync::Instant},
};

/// The carried events of all streams. Streams kept on request have a bound of their own.
#[derive(Debug, Default)]
pub(super) struct CarriedEvents {
    events_max: usize,
    bytes_max: usize,
    kept_max: StreamSize,
    /// The place of each carried event, by its sequence.
    places: BTreeMap<u64, Place>,
    bytes: usize,
    streams: Map<StreamSlot, CarriedStream>,
    /// All streams in order of eviction.
    ranks: BTreeSet<EvictionRank>,
}

#[derive(Clone, Debug)]
struct Place {
    block: Arc<Block>,
    index: usize,
}

impl Place {
    fn slice(&self) -> Slice {
        Slice {
            block: Arc::clone(&self.block),
            range: self.index..self.index + 1,
        }
    }
}

#[derive(Debug)]
struct CarriedStream {
    /// The carried sequences, ascending. They are the first sequences of the stream that can still be read.
    sequences: Vec<u64>,
    bytes: usize,
    rank: EvictionRank,
}

/// The order in which streams lose their carried events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EvictionRank {
    /// `last` is the stream's newest sequence at the time when this rank was set.
    Ended {
        last: u64,
        slot: StreamSlot,
    },
    Open {
        bytes: Reverse<usize>,
        slot: StreamSlot,
    },
    Kept {
        bytes: usize,
        slot: StreamSlot,
    },
}

/// The events and bytes of one or more streams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamSize {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl StreamSize {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
        }
    }

    pub(super) fn fits(self, max: Self) -> bool {
        self.events <= max.events && self.bytes <= max.bytes
    }
}

/// The action that an exceeded bound requires.
#[derive(Clone, Copy, Debug)]
pub(super) enum Overflow {
    /// Evict all carried events of the stream.
    Evict(StreamSlot),
    /// Stop keeping the stream: it is then carried like any other.
    StopKeeping(StreamSlot),
}

/// The index's data on a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamState {
    pub(super) slot: StreamSlot,
    pub(super) is_open: bool,
    pub(super) is_kept: bool,
    /// The stream's newest sequence.
    pub(super) last: u64,
}

impl StreamState {
    fn rank(self, bytes: usize) -> EvictionRank {
        let Self { slot, last, .. } = self;
        if self.is_kept {
            EvictionRank::Kept { bytes, slot }
        } else if self.is_open {
            EvictionRank::Open {
                bytes: Reverse(bytes),
                slot,
            }
        } else {
            EvictionRank::Ended { last, slot }
        }
    }
}

impl CarriedEvents {
    /// Returns an empty collection with the bounds of this retention.
    pub(super) fn within(retention: &Retention) -> Self {
        Self {
            events_max: retention.events_max() / Retention::CARRIED_DIVISOR,
            bytes_max: retention.bytes_max() / Retention::CARRIED_DIVISOR,
            kept_max: StreamSize {
                events: retention.events_max() / Retention::KEPT_DIVISOR,
                bytes: retention.bytes_max() / Retention::KEPT_DIVISOR,
            },
            ..Self::default()
        }
    }

    /// Returns whether any event may be carried at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.events_max > 0
    }

    /// Returns the bound on streams kept on request.
    pub(super) fn kept_max(&self) -> StreamSize {
        self.kept_max
    }

    /// Returns the size of all carried events of kept streams.
    fn kept(&self) -> StreamSize {
        let ranks = self.ranks.iter().rev();
        let kept = ranks.map_while(|rank| match rank {
            EvictionRank::Kept { bytes, slot } => Some((*bytes, self.streams.get(slot)?)),
            EvictionRank::Ended { .. } | EvictionRank::Open { .. } => None,
        });
        kept.fold(StreamSize::default(), |sum, (bytes, stream)| {
            let events = stream.sequences.len();
            sum.plus(StreamSize { events, bytes })
        })
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn has_stream(&self, slot: StreamSlot) -> bool {
        self.streams.contains_key(&slot)
    }

    /// Returns the carried event with this sequence.
    pub(super) fn get(&self, sequence: u64) -> Option<Slice> {
        self.places.get(&sequence).map(Place::slice)
    }

    /// Returns the carried events in `after + 1..=to`, in order.
    pub(super) fn range(&self, after: u64, to: u64) -> impl Iterator<Item = Slice> {
        self.places
            .range(after + 1..=to)
            .map(|(_, place)| place.slice())
    }

    /// Adds the next event of a stream.
    pub(super) fn push(&mut self, stream: StreamState, block: &Arc<Block>, index: usize) {
        let Some(event) = block.event(index) else {
            return;
        };
        let block = Arc::clone(block);
        self.places.insert(event.sequence(), Place { block, index });
        self.bytes += event.size();
        let entry = self
            .streams
            .entry(stream.slot)
            .or_insert_with(|| CarriedStream {
                sequences: Vec::new(),
                bytes: 0,
                rank: stream.rank(0),
            });
        entry.sequences.push(event.sequence());
        entry.bytes += event.size();
        self.update(stream);
    }

    /// Updates the rank of a stream that was opened, closed or got an event.
    pub(super) fn update(&mut self, stream: StreamState) {
        if let Some(entry) = self.streams.get_mut(&stream.slot) {
            self.ranks.remove(&entry.rank);
            entry.rank = stream.rank(entry.bytes);
            self.ranks.insert(entry.rank);
        }
    }

    /// Returns the action that is due now, if any. If the kept streams exceed their bound, the largest of them must no
    /// longer be kept. Otherwise, the first stream in order must be evicted in two cases. Either the other carried
    /// events exceed their bounds, or this stream has ended and `is_too_old` accepts the time of its last event. `last`
    /// returns the newest sequence of a stream.
    pub(super) fn overflow(
        &mut self,
        last: impl Fn(StreamSlot) -> u64,
        is_too_old: impl Fn(Instant) -> bool,
    ) -> Option<Overflow> {
        let kept = self.kept();
        if !kept.fits(self.kept_max)
            && let Some(EvictionRank::Kept { slot, .. }) = self.ranks.last()
        {
            return Some(Overflow::StopKeeping(*slot));
        }
        loop {
            let first = *self.ranks.first()?;
            let slot = match first {
                EvictionRank::Ended { last: known, slot } => {
                    let last = last(slot);
                    if last > known {
                        // The ended stream got events since its rank was set.
                        self.update(StreamState {
                            slot,
                            is_open: false,
                            is_kept: false,
                            last,
                        });
                        continue;
                    }
                    if self.oldest_ended().is_some_and(&is_too_old) {
                        return Some(Overflow::Evict(slot));
                    }
                    slot
                }
                EvictionRank::Open { slot, .. } => slot,
                EvictionRank::Kept { .. } => return None,
            };
            let is_over = self.places.len() - kept.events > self.events_max
                || self.bytes - kept.bytes > self.bytes_max;
            return is_over.then_some(Overflow::Evict(slot));
        }
    }

    /// Returns when the last event of the first stream in order was stored, if that stream has ended and the event is
    /// carried.
    pub(super) fn oldest_ended(&self) -> Option<Instant> {
        let Some(EvictionRank::Ended { last, .. }) = self.ranks.first() else {
            return None;
        };
        Some(self.places.get(last)?.block.created())
    }

    /// Removes all events of a stream and returns them in order.
    pub(super) fn take_stream(&mut self, slot: StreamSlot) -> Vec<Slice> {
        let Some(stream) = self.streams.remove(&slot) else {
            return Vec::new();
        };
        self.ranks.remove(&stream.rank);
        self.bytes -= stream.bytes;
        let sequences = stream.sequences.iter();
        let places = sequences.filter_map(|sequence| self.places.remove(sequence));
        places.map(|place| place.slice()).collect()
    }

    /// Copies the carried events out of this block into a new block for each stream. The old block can then be freed,
    /// and each new block when its stream loses its carried events.
    pub(super) fn detach_from(&mut self, block: &Arc<Block>) {
        let mut by_stream: Map<StreamSlot, Vec<u64>> = Map::default();
        for (sequence, place) in self.places.range(block.sequence(0)..=block.last()) {
            if Arc::ptr_eq(&place.block, block)
                && let Some((slot, _)) = block.event(place.index).and_then(|event| event.stream())
            {
                by_stream.entry(slot).or_default().push(*sequence);
            }
        }
        for sequences in by_stream.values() {
            let mut builder = BlockBuilder::with_capacity(0, sequences.len());
            let mut streams_by_slot = Map::default();
            for sequence in sequences {
                if let Some(slice) = self.get(*sequence) {
                    builder.push_slice(&slice, &mut streams_by_slot);
                }
            }
            let copy = Arc::new(builder.build(block.created()));
            for (index, sequence) in sequences.iter().enumerate() {
                let block = Arc::clone(&copy);
                self.places.insert(*sequence, Place { block, index });
            }
        }
    }
}

/// Adds a slice to the list. If it follows the last slice in the same block, extends that slice.
pub(super) fn push_adjacent(slices: &mut Vec<Slice>, next: Slice) {
    match slices.last_mut() {
        Some(last)
            if Arc::ptr_eq(&last.block, &next.block) && last.range.end == next.range.start =>
        {
            last.range.end = next.range.end;
        }
        _ => slices.push(next),
    }
}

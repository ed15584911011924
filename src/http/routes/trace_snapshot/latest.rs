//! Selects the one event that represents each span: its newest real end; else its newest lost end;
//! else its start. A start after a lost end replaces that end. Pure.
//!
//! Several spans may share an id. Spans that are open at once are distinguished by parent and kind.
//! A start after a real end begins another span.
//!
//! A trace may have millions of spans, so they are compared in parts of at most [`SPANS_AT_ONCE`]
//! spans. Each part takes one pass over the whole trace. The result of a pass is a list of
//! sequences, at one to two bytes a span.

use std::hash::BuildHasher as _;

use crate::{
    trace::parse,
    util::hash::{Map, RandomState, Set},
};

/// Upper bound on the spans that are compared at once. Each takes 17 bytes, and half as much again while the table
/// grows: less than 32 MiB in all.
pub(super) const SPANS_AT_ONCE: usize = 800_000;

/// The kind of a span event, as far as it affects the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanEventKind {
    Started,
    Ended,
    /// An end that the log wrote itself, because it no longer expects the real one.
    LostEnd,
    Updated,
}

impl SpanEventKind {
    /// Returns the kind, or `None` for an event that neither starts, updates nor ends a span.
    pub(super) fn of(name: &str, payload: &[u8]) -> Option<Self> {
        match name {
            "started" => Some(Self::Started),
            "ended" if parse::is_lost(payload) => Some(Self::LostEnd),
            "ended" => Some(Self::Ended),
            "updated" => Some(Self::Updated),
            _ => None,
        }
    }
}

/// The identity of a span in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SpanName {
    pub(super) id: u64,
    /// A hash of parent and kind. Spans of different kinds never have the same value.
    pub(super) origin: u8,
}

/// The selected event of a span: its sequence in the upper bits, then the span's origin, then three flags.
/// Sequences are below 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SpanVerdict(u64);

impl SpanVerdict {
    const ENDED: u64 = 1;
    const LOST: u64 = 2;
    const UPDATED: u64 = 4;
    const FLAG_BITS: u32 = 3;
    const ORIGIN_BITS: u32 = 8;

    fn sequence(self) -> u64 {
        self.0 >> (Self::FLAG_BITS + Self::ORIGIN_BITS)
    }

    /// Returns whether this verdict has the origin, or has no event yet.
    fn is_of(self, origin: u8) -> bool {
        let [own, ..] = (self.0 >> Self::FLAG_BITS).to_le_bytes();
        self.sequence() == 0 || own == origin
    }

    fn is_final(self) -> bool {
        self.has(Self::ENDED) && !self.has(Self::LOST)
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    fn add(&mut self, sequence: u64, kind: SpanEventKind, origin: u8) {
        let flags = match kind {
            SpanEventKind::Started => 0,
            SpanEventKind::Ended => Self::ENDED,
            SpanEventKind::LostEnd => Self::ENDED | Self::LOST,
            SpanEventKind::Updated => {
                self.0 |= Self::UPDATED;
                return;
            }
        };
        // Only a later real end replaces an earlier real end.
        if !self.is_final() || kind == SpanEventKind::Ended {
            let event = sequence << Self::ORIGIN_BITS | u64::from(origin);
            self.0 = event << Self::FLAG_BITS | flags | self.0 & Self::UPDATED;
        }
    }
}

/// Selects the event of each span, in one or more passes over the trace.
#[derive(Debug)]
pub(super) struct LatestBuilder {
    spans: Map<u64, SpanVerdict>,
    /// Spans that were open while another span with their id was open. An id has at most one of
    /// them per origin.
    twins: Map<SpanName, SpanVerdict>,
    /// The sequence of the selected end of each span whose id was used again.
    done: Vec<(u64, u64)>,
    spans_at_once: usize,
    /// Spans are divided into 2^`part_bits` parts by their hash.
    part_bits: u32,
    hash: RandomState,
    /// The results of the parts that were already compared.
    parts: Vec<SequenceSet>,
    updated: Option<Set<u64>>,
}

impl LatestBuilder {
    pub(super) fn new(spans_at_once: usize) -> Self {
        Self {
            spans: Map::default(),
            twins: Map::default(),
            done: Vec::new(),
            spans_at_once: spans_at_once.max(1),
            part_bits: 0,
            hash: RandomState::default(),
            parts: Vec::new(),
            updated: Some(Set::default()),
        }
    }

    /// Adds an event. Every pass must add the same events, in log order.
    pub(super) fn add(&mut self, sequence: u64, kind: SpanEventKind, span: SpanName) {
        if part_of(&self.hash, self.part_bits, span.id) != self.parts.len() {
            return;
        }
        let first = self.spans.entry(span.id).or_default();
        let is_twin = match kind {
            SpanEventKind::Updated => false,
            _ if first.is_of(span.origin) => false,
            SpanEventKind::Started => true,
            // An end whose origin matches no open span is the end of the one span that is open.
            SpanEventKind::Ended | SpanEventKind::LostEnd => {
                first.has(SpanVerdict::ENDED) || self.twins.contains_key(&span)
            }
        };
        let verdict = if is_twin {
            self.twins.entry(span).or_default()
        } else {
            first
        };
        if kind == SpanEventKind::Started && verdict.is_final() {
            self.done.push((span.id, verdict.sequence()));
            // An update has only the id, so earlier updates may belong to the span that begins
            // here.
            *verdict = SpanVerdict(verdict.0 & SpanVerdict::UPDATED);
        }
        verdict.add(sequence, kind, span.origin);
        // The number of parts is not known before the first pass. Later parts are about as large as the first.
        while self.parts.is_empty() && self.spans.len() > self.spans_at_once {
            self.part_bits += 1;
            let (hash, part_bits) = (&self.hash, self.part_bits);
            let is_held = |span: u64| part_of(hash, part_bits, span) == 0;
            self.spans.retain(|span, _| is_held(*span));
            self.twins.retain(|span, _| is_held(span.id));
            self.done.retain(|(span, _)| is_held(*span));
        }
    }

    /// Ends a pass. Returns whether another one is needed.
    pub(super) fn end_pass(&mut self) -> bool {
        let mut sequences = Vec::with_capacity(self.spans.len());
        sequences.extend(self.done.drain(..).map(|(_, sequence)| sequence));
        sequences.extend(self.twins.values().map(|verdict| verdict.sequence()));
        for (span, verdict) in self.spans.drain() {
            if verdict.sequence() > 0 {
                sequences.push(verdict.sequence());
            }
            if verdict.has(SpanVerdict::UPDATED)
                && !verdict.has(SpanVerdict::ENDED)
                && let Some(updated) = &mut self.updated
            {
                updated.insert(span);
            }
        }
        // An update has no origin, so it may belong to any open span with the id.
        for (span, verdict) in self.twins.drain() {
            if !verdict.has(SpanVerdict::ENDED)
                && let Some(updated) = &mut self.updated
            {
                updated.insert(span.id);
            }
        }
        if self
            .updated
            .as_ref()
            .is_some_and(|updated| updated.len() > self.spans_at_once)
        {
            self.updated = None;
        }
        sequences.sort_unstable();
        self.parts.push(SequenceSet::from_sorted(&sequences));
        self.parts.len() < 1 << self.part_bits
    }

    pub(super) fn finish(self) -> Latest {
        Latest {
            part_bits: self.part_bits,
            hash: self.hash,
            parts: self.parts,
            updated: self.updated,
        }
    }
}

fn part_of(hash: &RandomState, part_bits: u32, span: u64) -> usize {
    if part_bits == 0 {
        return 0;
    }
    // The hash table uses the lowest and the highest bits of a hash, so parts use the middle ones.
    let hash = hash.hash_one(span) >> 32;
    usize::try_from(hash & ((1 << part_bits) - 1)).unwrap_or_default()
}

/// The selected event of each span.
#[derive(Debug)]
pub(super) struct Latest {
    part_bits: u32,
    hash: RandomState,
    parts: Vec<SequenceSet>,
    /// Spans that were updated and have not ended; `None` if there are too many to store.
    updated: Option<Set<u64>>,
}

impl Latest {
    /// Returns the number of selected events.
    pub(super) fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len).sum()
    }

    /// Returns whether the updates of the span are needed because no end contains them. If there
    /// are too many open spans to store, this is true for all spans. A reader that prefers ends to
    /// updates then gets superfluous updates, which change nothing.
    pub(super) fn wants_updates_of(&self, span: u64) -> bool {
        self.updated
            .as_ref()
            .is_none_or(|updated| updated.contains(&span))
    }

    pub(super) fn wants_updates(&self) -> bool {
        self.updated
            .as_ref()
            .is_none_or(|updated| !updated.is_empty())
    }

    /// Begins a pass over the selected events.
    pub(super) fn cursor(&self) -> LatestCursor<'_> {
        LatestCursor {
            latest: self,
            parts: self.parts.iter().map(SequenceSet::cursor).collect(),
        }
    }
}

/// One pass over the selected events.
#[derive(Debug)]
pub(super) struct LatestCursor<'a> {
    latest: &'a Latest,
    parts: Vec<SequenceCursor<'a>>,
}

impl LatestCursor<'_> {
    /// Returns whether this event of the span is the selected one. It must be called in log order.
    pub(super) fn is_latest(&mut self, sequence: u64, span: u64) -> bool {
        let part = part_of(&self.latest.hash, self.latest.part_bits, span);
        self.parts
            .get_mut(part)
            .is_some_and(|part| part.contains(sequence))
    }
}

/// Ascending sequences, stored as differences in a variable-length encoding: seven bits a byte, lowest first.
#[derive(Debug, Default)]
struct SequenceSet {
    distances: Vec<u8>,
    len: u64,
}

impl SequenceSet {
    fn from_sorted(sequences: &[u64]) -> Self {
        let mut set = Self {
            distances: Vec::with_capacity(sequences.len()),
            len: sequences.len() as u64,
        };
        let mut before = 0;
        for sequence in sequences {
            let mut distance = sequence - before;
            before = *sequence;
            while distance >= 0x80 {
                set.distances.push(distance.to_le_bytes()[0] | 0x80);
                distance >>= 7;
            }
            set.distances.push(distance.to_le_bytes()[0]);
        }
        set.distances.shrink_to_fit();
        set
    }

    fn cursor(&self) -> SequenceCursor<'_> {
        let mut cursor = SequenceCursor {
            rest: &self.distances,
            next: Some(0),
        };
        cursor.advance();
        cursor
    }
}

#[derive(Debug)]
struct SequenceCursor<'a> {
    rest: &'a [u8],
    next: Option<u64>,
}

impl SequenceCursor<'_> {
    fn advance(&mut self) {
        let mut distance = 0;
        for (place, byte) in self.rest.iter().enumerate() {
            distance |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(place + 1..).unwrap_or_default();
                self.next = self.next.map(|before| before + distance);
                return;
            }
        }
        self.next = None;
    }

    fn contains(&mut self, sequence: u64) -> bool {
        while self.next.is_some_and(|next| next < sequence) {
            self.advance();
        }
        self.next == Some(sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn kinds() -> impl Strategy<Value = SpanEventKind> {
        prop_oneof![
            4 => Just(SpanEventKind::Started),
            4 => Just(SpanEventKind::Ended),
            1 => Just(SpanEventKind::LostEnd),
            2 => Just(SpanEventKind::Updated),
        ]
    }

    /// The selected events, and the spans whose updates are needed, computed directly from the
    /// rules.
    fn model(events: &[(u64, SpanEventKind, u64)]) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let mut latest: BTreeMap<u64, (u64, SpanEventKind)> = BTreeMap::new();
        let mut before = BTreeSet::new();
        for (sequence, kind, span) in events {
            let replaces = match (latest.get(span), kind) {
                (_, SpanEventKind::Updated) => false,
                (Some((ended, SpanEventKind::Ended)), SpanEventKind::Started) => {
                    before.insert(*ended)
                }
                (None, _) | (_, SpanEventKind::Ended) => true,
                (Some((_, before)), _) => *before != SpanEventKind::Ended,
            };
            if replaces {
                latest.insert(*span, (*sequence, *kind));
            }
        }
        let is_open = |span: &u64| {
            latest
                .get(span)
                .is_none_or(|(_, kind)| *kind == SpanEventKind::Started)
        };
        let updated = events
            .iter()
            .filter(|(_, kind, _)| *kind == SpanEventKind::Updated)
            .map(|(_, _, span)| *span)
            .filter(is_open)
            .collect();
        let sequences = latest.values().map(|(sequence, _)| *sequence);
        (sequences.chain(before).collect(), updated)
    }

    fn named(id: u64) -> SpanName {
        SpanName { id, origin: 0 }
    }

    proptest! {
        #[test]
        fn the_number_of_spans_per_pass_does_not_change_the_result(
            events in vec((1..1_000_000_u64, kinds(), 0..40_u64), 0..300),
            spans_at_once in 1..64_usize,
        ) {
            let mut sequence = 0;
            let events: Vec<(u64, SpanEventKind, u64)> = events
                .into_iter()
                .map(|(distance, kind, span)| {
                    sequence += distance;
                    (sequence, kind, span)
                })
                .collect();
            let mut builder = LatestBuilder::new(spans_at_once);
            loop {
                for (sequence, kind, span) in &events {
                    builder.add(*sequence, *kind, named(*span));
                }
                if !builder.end_pass() {
                    break;
                }
            }
            let latest = builder.finish();
            let (expected, updated) = model(&events);
            prop_assert_eq!(latest.len(), expected.len() as u64);
            let mut cursor = latest.cursor();
            for (sequence, _, span) in &events {
                prop_assert_eq!(cursor.is_latest(*sequence, *span), expected.contains(sequence));
            }
            if latest.updated.is_some() {
                for (_, _, span) in &events {
                    prop_assert_eq!(latest.wants_updates_of(*span), updated.contains(span));
                }
            }
        }
    }

    /// Returns the selected events, and whether updates of the span are needed.
    fn counted(events: &[(SpanEventKind, u8)]) -> (Vec<u64>, bool) {
        let mut builder = LatestBuilder::new(SPANS_AT_ONCE);
        for ((kind, origin), sequence) in events.iter().zip(1..) {
            let origin = *origin;
            builder.add(sequence, *kind, SpanName { id: 7, origin });
        }
        assert!(!builder.end_pass());
        let latest = builder.finish();
        let mut cursor = latest.cursor();
        let all = 1..=events.len() as u64;
        let found: Vec<u64> = all.filter(|one| cursor.is_latest(*one, 7)).collect();
        assert_eq!(latest.len(), found.len() as u64);
        (found, latest.wants_updates_of(7))
    }

    #[test]
    fn spans_that_share_an_id_count_one_by_one() {
        use SpanEventKind::{Ended, LostEnd, Started};
        for (events, found, is_open) in [
            (vec![(Started, 1), (Started, 2)], vec![1, 2], true),
            (vec![(Started, 1), (Started, 1)], vec![2], false),
            (
                vec![(Started, 1), (Started, 2), (Ended, 2), (Ended, 1)],
                vec![3, 4],
                false,
            ),
            (
                vec![(Started, 1), (Started, 2), (Ended, 1), (LostEnd, 2)],
                vec![3, 4],
                false,
            ),
            // An id that is used again.
            (
                vec![(Started, 1), (Ended, 1), (Started, 1), (Ended, 1)],
                vec![2, 4],
                false,
            ),
            // The kind in the end differs from that in the start.
            (vec![(Started, 1), (Ended, 2)], vec![2], false),
            (vec![(Ended, 1), (Ended, 2)], vec![1, 2], false),
            (vec![(Ended, 1), (Ended, 1)], vec![2], false),
            (
                vec![(Started, 1), (LostEnd, 1), (Started, 1)],
                vec![3],
                false,
            ),
        ] {
            assert_eq!(counted(&events), (found, is_open), "{events:?}");
        }
    }

    #[test]
    fn many_spans_are_compared_in_parts_that_stay_small() {
        let mut builder = LatestBuilder::new(20_000);
        let mut passes = 0;
        loop {
            for span in 0..200_000 {
                builder.add(2 * span + 1, SpanEventKind::Started, named(span));
                builder.add(2 * span + 2, SpanEventKind::Ended, named(span));
                assert!(builder.spans.capacity() < 60_000);
            }
            passes += 1;
            if !builder.end_pass() {
                break;
            }
        }
        let latest = builder.finish();
        let bytes: usize = latest
            .parts
            .iter()
            .map(|part| part.distances.capacity())
            .sum();
        assert_eq!((passes, latest.len()), (16, 200_000));
        assert!(bytes <= 400_000, "{bytes}");
    }
}

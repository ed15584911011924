//! The start slots: which open spans' starts the worker remembers, so that their ends need not repeat them. `on_start`
//! and `on_end` use them on the host's threads and never wait: one compare-and-swap takes a slot, one store frees it.
//! The worker does not read them; a flag in the start's record says that the worker must remember it.
//!
//! A start that finds its slot free holds it until the end of its span. Invariant: from taking a slot to freeing it, no
//! other start is remembered there. A slot is taken before the start's record draws its number, and freed after the
//! end's record drew its own. The worker reads records in the order of their numbers. So it reads the record that
//! needs a remembered start before the next start that takes the slot.
//!
//! A span whose slots are held by other open spans gets a complete end. That costs a little time and nothing else.

use std::cell::Cell;

use crate::util::sync::atomic::{AtomicU64, Ordering};

/// Upper bound on remembered starts. The slots take 144 KiB.
pub(crate) const SLOTS: usize = SMALL + LARGE;
/// 16 KiB, so that the table stays in the L1 cache. A slot in a larger table costs each start a cache miss, which is a
/// fifth of what a start costs.
const SMALL: usize = 1 << SMALL_BITS;
const SMALL_BITS: u32 = 11;
const LARGE: usize = 1 << LARGE_BITS;
const LARGE_BITS: u32 = 14;

/// The two tables of slots. A span has one slot in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SlotTable {
    Small,
    /// For spans whose slot in the small table is taken: needed when thousands are open.
    Large,
}

/// The fields that the end need not repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentPrefix {
    /// The number of attributes, counted from the first: the SDK only ever appends attributes.
    pub(crate) attributes: u8,
    pub(crate) scope: StartScope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartScope {
    Recorded,
    Unknown,
}

/// Flag in the low byte of a slot: the start did not have its scope.
const SCOPE_UNKNOWN: u8 = 0x80;

impl SentPrefix {
    /// `None` if there are more attributes than the byte of a slot can count.
    #[inline]
    pub(crate) fn new(attributes: usize, scope: StartScope) -> Option<Self> {
        let attributes = u8::try_from(attributes).ok()?;
        (attributes < SCOPE_UNKNOWN - 1).then_some(Self { attributes, scope })
    }

    /// Never 0, because 0 is a free slot.
    #[inline]
    fn byte(self) -> u8 {
        let scope = match self.scope {
            StartScope::Recorded => 0,
            StartScope::Unknown => SCOPE_UNKNOWN,
        };
        (self.attributes + 1) | scope
    }

    #[inline]
    fn from_byte(byte: u8) -> Self {
        Self {
            attributes: (byte & !SCOPE_UNKNOWN).saturating_sub(1),
            scope: if byte & SCOPE_UNKNOWN == 0 {
                StartScope::Recorded
            } else {
                StartScope::Unknown
            },
        }
    }
}

/// A hash of a span's ids. If two open spans have the same hash, one is taken for the other here; the worker then
/// notices that the ids differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotKey(u64);

impl SlotKey {
    #[inline]
    pub(crate) fn of(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, u @ ..] = trace_id;
        let upper = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let lower = u64::from_be_bytes(u);
        // One odd multiplier without a pattern for each part: ids that are counted up, or derived from one another,
        // hash as evenly as random ones.
        let span = u64::from_be_bytes(span_id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let upper = upper.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let lower = lower.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(span.wrapping_add(upper).wrapping_add(lower))
    }

    /// The index of the span's slot in `table`, counted over both tables. It comes from the upper bits.
    #[inline]
    pub(crate) fn slot(self, table: SlotTable) -> usize {
        match table {
            SlotTable::Small => self.small(),
            SlotTable::Large => SMALL + self.large(),
        }
    }

    #[inline]
    fn small(self) -> usize {
        (self.0 >> (u64::BITS - SMALL_BITS)) as usize
    }

    #[inline]
    fn large(self) -> usize {
        (self.0 >> (u64::BITS - LARGE_BITS)) as usize
    }

    /// The lower 56 bits of the hash, in the upper part of a word.
    #[inline]
    fn tag(self) -> u64 {
        self.0 << 8
    }
}

/// The slots of one span processor. Host threads share them.
#[derive(Debug)]
pub(crate) struct StartSlots {
    small: Box<[AtomicU64]>,
    large: Box<[AtomicU64]>,
}

impl Default for StartSlots {
    fn default() -> Self {
        Self::with_slots(SMALL, LARGE)
    }
}

impl StartSlots {
    /// Makes tables of these sizes, both powers of two. Fewer than [`SLOTS`] are for the loom model.
    pub(crate) fn with_slots(small: usize, large: usize) -> Self {
        let free = |slots| (0..slots).map(|_| AtomicU64::new(0)).collect();
        Self {
            small: free(small),
            large: free(large),
        }
    }

    #[inline]
    fn slot(&self, key: SlotKey, table: SlotTable) -> Option<&AtomicU64> {
        let (slots, at) = match table {
            SlotTable::Small => (&self.small, key.small()),
            SlotTable::Large => (&self.large, key.large()),
        };
        slots.get(at & slots.len().wrapping_sub(1))
    }

    /// Takes one of the span's slots, if one is free and `sent` is given. The guard frees it unless it is kept.
    #[inline]
    pub(crate) fn acquire(&self, key: SlotKey, sent: Option<SentPrefix>) -> SlotGuard<'_> {
        let taken = sent.and_then(|sent| {
            let word = key.tag() | u64::from(sent.byte());
            self.acquire_in(key, SlotTable::Small, word)
                .or_else(|| self.acquire_in(key, SlotTable::Large, word))
        });
        SlotGuard(Cell::new(taken))
    }

    #[inline]
    fn acquire_in(&self, key: SlotKey, table: SlotTable, word: u64) -> Option<SlotRef<'_>> {
        let slot = self.slot(key, table)?;
        // Acquire: the record of the end that freed the slot drew its number before.
        let taken = slot.compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(SlotRef { slot, table })
    }

    /// Finds the slot that the span holds, if it holds one.
    #[inline]
    pub(crate) fn find(&self, key: SlotKey) -> Option<OccupiedSlot<'_>> {
        self.find_in(key, SlotTable::Small)
            .or_else(|| self.find_in(key, SlotTable::Large))
    }

    #[inline]
    fn find_in(&self, key: SlotKey, table: SlotTable) -> Option<OccupiedSlot<'_>> {
        let slot = self.slot(key, table)?;
        let word = slot.load(Ordering::Relaxed);
        let [byte, ..] = word.to_le_bytes();
        (word & !0xff == key.tag() && byte != 0).then(|| OccupiedSlot {
            sent: SentPrefix::from_byte(byte),
            slot: SlotRef { slot, table },
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct SlotRef<'a> {
    slot: &'a AtomicU64,
    table: SlotTable,
}

impl SlotRef<'_> {
    /// Release: the record that needed the slot drew its number before.
    #[inline]
    fn release(self) {
        self.slot.store(0, Ordering::Release);
    }
}

/// A slot that a start took before its record was written. Drop frees it unless it was kept.
#[derive(Debug)]
pub(crate) struct SlotGuard<'a>(Cell<Option<SlotRef<'a>>>);

impl SlotGuard<'_> {
    /// The guard of a start that is not to be remembered.
    pub(crate) const fn none() -> Self {
        Self(Cell::new(None))
    }

    /// The table of the slot, if one is held.
    #[inline]
    pub(crate) fn table(&self) -> Option<SlotTable> {
        self.0.get().map(|taken| taken.table)
    }

    /// Frees the slot: the start is too large to be remembered, or the buffer refused it.
    #[inline]
    pub(crate) fn release(&self) {
        if let Some(taken) = self.0.take() {
            taken.release();
        }
    }

    /// Holds the slot until the end of the span frees it.
    #[inline]
    pub(crate) fn keep(self) {
        self.0.take();
    }
}

impl Drop for SlotGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

/// The slot of a span that ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OccupiedSlot<'a> {
    pub(crate) sent: SentPrefix,
    slot: SlotRef<'a>,
}

impl OccupiedSlot<'_> {
    #[inline]
    pub(crate) fn table(&self) -> SlotTable {
        self.slot.table
    }

    /// Frees the slot. Only the end of the span that holds it may do so.
    #[inline]
    pub(crate) fn release(self) {
        self.slot.release();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(number: u64) -> SlotKey {
        SlotKey::of([0; 16], number.to_be_bytes())
    }

    /// Takes a slot and keeps it. Returns its table.
    fn taken(slots: &StartSlots, key: SlotKey, sent: SentPrefix) -> Option<SlotTable> {
        let guard = slots.acquire(key, Some(sent));
        let table = guard.table();
        guard.keep();
        table
    }

    fn found(slots: &StartSlots, key: SlotKey) -> Option<(SentPrefix, SlotTable)> {
        slots.find(key).map(|found| (found.sent, found.table()))
    }

    #[test]
    fn a_place_is_held_by_one_span_until_that_gives_it_back() {
        let slots = StartSlots::default();
        let all = [SlotTable::Small, SlotTable::Large];
        let same =
            |one: &SlotKey| all.map(|table| one.slot(table)) == all.map(|table| key(0).slot(table));
        let [one, two, three] = [0, 1, 2].map(|nth| {
            let mut alike = (0..10_000_000).map(key).filter(same);
            alike.nth(nth).unwrap()
        });
        let sent = SentPrefix::new(4, StartScope::Recorded).unwrap();
        let less = SentPrefix::new(0, StartScope::Unknown).unwrap();
        assert_eq!(found(&slots, one), None);
        assert_eq!(taken(&slots, one, sent), Some(SlotTable::Small));
        assert_eq!(taken(&slots, two, less), Some(SlotTable::Large));
        assert_eq!(taken(&slots, three, sent), None);
        assert_eq!(found(&slots, one), Some((sent, SlotTable::Small)));
        assert_eq!(found(&slots, two), Some((less, SlotTable::Large)));
        assert_eq!(found(&slots, three), None);
        slots.find(one).unwrap().release();
        assert_eq!(found(&slots, one), None);
        assert_eq!(found(&slots, two), Some((less, SlotTable::Large)));
        assert_eq!(taken(&slots, three, sent), Some(SlotTable::Small));
        slots.find(two).unwrap().release();
        assert_eq!(taken(&slots, one, less), Some(SlotTable::Large));
    }

    #[test]
    fn a_place_that_is_not_kept_is_free_again() {
        let slots = StartSlots::default();
        let sent = SentPrefix::new(4, StartScope::Recorded);
        drop(slots.acquire(key(1), sent));
        assert_eq!(found(&slots, key(1)), None);
        let guard = slots.acquire(key(1), sent);
        guard.release();
        assert_eq!(guard.table(), None);
        assert!(taken(&slots, key(1), sent.unwrap()).is_some());
        drop(guard);
        assert_eq!(
            found(&slots, key(1)),
            Some((sent.unwrap(), SlotTable::Small)),
            "it is another's now"
        );
        assert_eq!(slots.acquire(key(2), None).table(), None);
    }

    #[test]
    fn what_was_sent_reads_back_and_too_much_is_refused() {
        for attributes in 0..=126 {
            for scope in [StartScope::Recorded, StartScope::Unknown] {
                let sent = SentPrefix::new(attributes, scope).unwrap();
                assert_ne!(sent.byte(), 0);
                assert_eq!(SentPrefix::from_byte(sent.byte()), sent);
            }
        }
        assert_eq!(SentPrefix::new(127, StartScope::Recorded), None);
        assert_eq!(SentPrefix::new(256, StartScope::Recorded), None);
    }

    #[test]
    fn ids_that_are_counted_up_have_bits_and_places_of_their_own() {
        let mut bits = HashSet::new();
        let mut slots = HashSet::new();
        for trace in 0..100_u64 {
            for upper in [0, trace] {
                let trace_id = u128::from(upper) << 64 | u128::from(trace);
                for span in 0..100_u64 {
                    bits.insert(SlotKey::of(trace_id.to_be_bytes(), span.to_be_bytes()).0);
                }
            }
            slots.insert(
                SlotKey::of(u128::from(trace).to_be_bytes(), trace.to_be_bytes())
                    .slot(SlotTable::Small),
            );
        }
        // Trace 0 occurs twice.
        assert_eq!(bits.len(), 199 * 100);
        assert!(slots.len() > 95, "{}", slots.len());
    }
}

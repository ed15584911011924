//! The start slots: the open spans whose starts the worker remembers, so their ends need not repeat the starts.
//! `on_start` and `on_end` use the slots on the host's threads and never wait: one compare-and-swap takes a slot, one
//! frees it. The worker does not read the slots. A flag in the start's record tells the worker to remember the start.
//!
//! A start that finds its slot free holds it until the end of its span. Invariant: while a slot is taken, no other
//! start is remembered in it. A slot is taken before the start's record draws its number, and freed after the end's
//! record has drawn its own. The worker reads records in the order of their numbers. So it reads the record that needs
//! a remembered start before the next start in the same slot.
//!
//! Ids do not identify a span: two open spans of one process may share them, such as the host and the worker of a
//! function runtime. Kind and parent usually differ, so the tag of a slot covers these, too, and each of the two spans
//! has its own slot. Spans that share even kind and parent are *twins*: they share one slot, which counts them, and
//! each gets a complete end. One case is not detected: a twin in the large table, while its slot in the small table is
//! free again.
//!
//! A span whose slots are held by other open spans also gets a complete end, which only costs a little time.

use std::{cell::Cell, sync::OnceLock};

use crate::util::sync::{
    atomic::{AtomicU64, Ordering},
    zeros,
};

/// Upper bound on remembered starts. The slots use 144 KiB. Of these, 128 KiB are allocated only when a slot of the
/// small table is found taken, which is rare in a program with few open spans, such as a test.
pub(crate) const SLOTS: usize = SMALL + LARGE;
/// 16 KiB, so that the table stays in the L1 cache. A larger table would cost each start a cache miss, which is a fifth
/// of the cost of a start.
const SMALL: usize = 1 << SMALL_BITS;
const SMALL_BITS: u32 = 11;
const LARGE: usize = 1 << LARGE_BITS;
const LARGE_BITS: u32 = 14;

/// The two tables of slots. A span has one slot in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SlotTable {
    Small,
    /// For spans whose slot in the small table is taken.
    Large,
}

/// The fields of the start that the end need not repeat.
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

/// Flag in the low byte of a slot: the start's record lacks the scope.
const SCOPE_UNKNOWN: u8 = 0x80;
/// Flag in the low byte of a slot: the slot's spans get complete ends. The bits below are the number of these spans
/// minus 1.
const WHOLE: u8 = 0x40;
/// The bits for the number of attributes plus 1, or of twins minus 1.
const COUNT: u8 = WHOLE - 1;

impl SentPrefix {
    /// Returns `None` if there are more attributes than the byte of a slot can count.
    #[inline]
    pub(crate) fn new(attributes: usize, scope: StartScope) -> Option<Self> {
        let attributes = u8::try_from(attributes).ok()?;
        (attributes < COUNT).then_some(Self { attributes, scope })
    }

    /// Returns the low byte of the slot's word. It is never 0, because 0 means a free slot.
    #[inline]
    fn byte(self) -> u8 {
        let scope = match self.scope {
            StartScope::Recorded => 0,
            StartScope::Unknown => SCOPE_UNKNOWN,
        };
        (self.attributes + 1) | scope
    }

    /// Returns `None` if the spans of the slot get complete ends.
    #[inline]
    fn from_byte(byte: u8) -> Option<Self> {
        (byte & WHOLE == 0).then_some(Self {
            attributes: (byte & COUNT).saturating_sub(1),
            scope: if byte & SCOPE_UNKNOWN == 0 {
                StartScope::Recorded
            } else {
                StartScope::Unknown
            },
        })
    }
}

/// Determines the slots of a span, and the tag that the span writes there. If two open spans with different ids have
/// the same tag, they are confused here; the worker then notices that the ids differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotKey {
    /// A hash of the span's ids. Only this hash selects the slots.
    ids: u64,
    /// A hash of the ids, the parent and the kind.
    tag: u64,
}

impl SlotKey {
    #[inline]
    pub(crate) fn of(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, u @ ..] = trace_id;
        let upper = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let lower = u64::from_be_bytes(u);
        // Each part has its own odd multiplier with irregular bits, so sequential or related ids hash as evenly as
        // random ones.
        let span = u64::from_be_bytes(span_id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let upper = upper.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let lower = lower.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let ids = span.wrapping_add(upper).wrapping_add(lower);
        Self { ids, tag: ids }
    }

    /// Adds parent and kind to the tag, to distinguish spans with the same ids. `kind` is the number of the span's
    /// kind.
    #[inline]
    pub(crate) fn with_origin(self, parent: [u8; 8], kind: u8) -> Self {
        let parent = u64::from_be_bytes(parent).wrapping_mul(0xa076_1d64_78bd_642f);
        let kind = u64::from(kind) << 40;
        Self {
            tag: self.tag.wrapping_add(parent).wrapping_add(kind),
            ..self
        }
    }

    /// Returns the index of the span's slot in `table`, counted over both tables. The index is taken from the upper
    /// bits of the hash.
    #[inline]
    pub(crate) fn slot(self, table: SlotTable) -> usize {
        match table {
            SlotTable::Small => self.small(),
            SlotTable::Large => SMALL + self.large(),
        }
    }

    /// Returns the span's slot among the slots of one table.
    #[inline]
    fn slot_in(self, slots: &[AtomicU64], table: SlotTable) -> Option<&AtomicU64> {
        let at = match table {
            SlotTable::Small => self.small(),
            SlotTable::Large => self.large(),
        };
        slots.get(at & slots.len().wrapping_sub(1))
    }

    #[inline]
    fn small(self) -> usize {
        (self.ids >> (u64::BITS - SMALL_BITS)) as usize
    }

    #[inline]
    fn large(self) -> usize {
        (self.ids >> (u64::BITS - LARGE_BITS)) as usize
    }

    /// Returns the lower 56 bits of the tag, shifted into the upper part of a word.
    #[inline]
    fn tag(self) -> u64 {
        self.tag << 8
    }

    #[inline]
    fn is_tag_of(self, word: u64) -> bool {
        word & !0xff == self.tag()
    }
}

/// The slots of one span processor. Host threads share them.
#[derive(Debug)]
pub(crate) struct StartSlots {
    small: Box<[AtomicU64]>,
    large: OnceLock<Box<[AtomicU64]>>,
    large_size: usize,
}

impl Default for StartSlots {
    fn default() -> Self {
        Self::with_slots(zeros::<SMALL>(), LARGE, OnceLock::new())
    }
}

impl StartSlots {
    /// Creates the slots. `small` is the small table, `large_size` the size of the large one. Both sizes are powers of
    /// two. The large table is created when a span first needs it. The loom model passes a ready-made `large`,
    /// because loom does not model the ordering of a `OnceLock`.
    pub(crate) fn with_slots(
        small: Box<[AtomicU64]>,
        large_size: usize,
        large: OnceLock<Box<[AtomicU64]>>,
    ) -> Self {
        Self {
            small,
            large,
            large_size,
        }
    }

    /// Returns the slots of a table, or `None` if the large table does not exist yet.
    #[inline]
    fn table(&self, table: SlotTable) -> Option<&[AtomicU64]> {
        match table {
            SlotTable::Small => Some(&self.small),
            SlotTable::Large => self.large.get().map(|slots| &**slots),
        }
    }

    /// Takes one of the span's slots, if one is free. If a twin holds a slot, that slot counts the span instead. The
    /// guard is empty unless `sent` is given and a slot was free.
    #[inline]
    pub(crate) fn acquire(&self, key: SlotKey, sent: Option<SentPrefix>) -> SlotGuard<'_> {
        let word = key.tag() | u64::from(sent.map_or(WHOLE, SentPrefix::byte));
        let held = match self.take_free(key, SlotTable::Small, word) {
            Ok(slot) => Some(HeldSlot { slot, word }),
            Err(found) => self.acquire_other(key, word, found),
        };
        SlotGuard(Cell::new(held.filter(|_| sent.is_some())))
    }

    /// Takes the span's slot in the large table, or counts the span in the slot of a twin.
    #[cold]
    #[inline(never)]
    fn acquire_other<'a>(
        &'a self,
        key: SlotKey,
        word: u64,
        found: Option<(SlotRef<'a>, u64)>,
    ) -> Option<HeldSlot<'a>> {
        let mut entered = Entry::after_miss(key, word, found);
        if matches!(entered, Entry::Occupied) {
            if self.large.get().is_none() {
                // If two threads create a table at once, `set` keeps the first. With `get_or_init`, one thread would
                // wait while the other allocates.
                drop(self.large.set(free_slots(self.large_size)));
            }
            entered = match self.take_free(key, SlotTable::Large, word) {
                Ok(slot) => Entry::Acquired(slot),
                Err(found) => Entry::after_miss(key, word, found),
            };
        }
        match entered {
            Entry::Acquired(slot) => Some(HeldSlot { slot, word }),
            Entry::Counted | Entry::Occupied => None,
        }
    }

    /// Takes the span's slot in a table, if the slot is free. Otherwise returns the slot and its word.
    #[inline]
    fn take_free(
        &self,
        key: SlotKey,
        table: SlotTable,
        word: u64,
    ) -> Result<SlotRef<'_>, Option<(SlotRef<'_>, u64)>> {
        let slots = self.table(table).ok_or(None)?;
        let slot = key.slot_in(slots, table).ok_or(None)?;
        let slot_ref = SlotRef { slot, table };
        // Acquire: the record of the end that freed the slot drew its number before.
        match slot.compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(slot_ref),
            Err(found) => Err(Some((slot_ref, found))),
        }
    }

    /// Finds the slot that the span holds, or that counts the span.
    #[inline]
    pub(crate) fn find(&self, key: SlotKey) -> Option<OccupiedSlot<'_>> {
        self.find_in(key, SlotTable::Small)
            .or_else(|| self.find_in(key, SlotTable::Large))
    }

    #[inline]
    fn find_in(&self, key: SlotKey, table: SlotTable) -> Option<OccupiedSlot<'_>> {
        let slot = key.slot_in(self.table(table)?, table)?;
        let word = slot.load(Ordering::Relaxed);
        let [byte, ..] = word.to_le_bytes();
        (key.is_tag_of(word) && byte != 0).then(|| OccupiedSlot {
            sent: SentPrefix::from_byte(byte),
            held: HeldSlot {
                slot: SlotRef { slot, table },
                word,
            },
        })
    }
}

pub(crate) fn free_slots(count: usize) -> Box<[AtomicU64]> {
    let mut slots = Vec::new();
    slots.resize_with(count, || AtomicU64::new(0));
    slots.into_boxed_slice()
}

/// The result of an attempt to take a slot.
enum Entry<'a> {
    Acquired(SlotRef<'a>),
    /// A twin holds the slot. The slot now counts both spans.
    Counted,
    /// Another span holds the slot.
    Occupied,
}

impl<'a> Entry<'a> {
    /// Returns the outcome of a start whose slot was not free. The slot's word was `found`.
    fn after_miss(key: SlotKey, word: u64, found: Option<(SlotRef<'a>, u64)>) -> Self {
        match found {
            Some((slot, found)) if key.is_tag_of(found) => slot.count_twin(key, word, found),
            _ => Self::Occupied,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct SlotRef<'a> {
    slot: &'a AtomicU64,
    table: SlotTable,
}

impl<'a> SlotRef<'a> {
    /// Counts one more span in a slot that a twin holds. If the twin ends meanwhile, takes the slot for the span: a
    /// later twin that looks here would not find the span in its other slot.
    #[cold]
    fn count_twin(self, key: SlotKey, word: u64, mut found: u64) -> Entry<'a> {
        loop {
            let next = if found == 0 {
                word
            } else if key.is_tag_of(found) {
                let [byte, ..] = found.to_le_bytes();
                let byte = match byte & WHOLE {
                    0 => WHOLE | 1,
                    // There are more twins than can be counted, so the slot is never freed.
                    _ => WHOLE | (byte & COUNT).saturating_add(1).min(COUNT),
                };
                key.tag() | u64::from(byte)
            } else {
                return Entry::Occupied;
            };
            let swapped =
                self.slot
                    .compare_exchange(found, next, Ordering::Acquire, Ordering::Relaxed);
            match swapped {
                Ok(0) => return Entry::Acquired(self),
                Ok(_) => return Entry::Counted,
                Err(now) => found = now,
            }
        }
    }

    /// Removes one span from the count of a slot with twins.
    #[cold]
    fn release_twin(self, mut found: u64) {
        loop {
            let [byte, ..] = found.to_le_bytes();
            let fewer = match byte & COUNT {
                _ if byte & WHOLE == 0 => return,
                COUNT => return,
                0 => 0,
                _ => found - 1,
            };
            let swapped =
                self.slot
                    .compare_exchange(found, fewer, Ordering::Release, Ordering::Relaxed);
            match swapped {
                Ok(_) => return,
                Err(now) => found = now,
            }
        }
    }
}

/// A slot, and the word that the span has written there.
#[derive(Clone, Copy, Debug)]
struct HeldSlot<'a> {
    slot: SlotRef<'a>,
    word: u64,
}

impl HeldSlot<'_> {
    /// Replaces the word. If a twin has changed the word meanwhile, keeps it and returns it. Release: the record that
    /// needed the slot has drawn its number before.
    #[inline]
    fn replace(self, word: u64) -> Option<u64> {
        let slot = self.slot.slot;
        slot.compare_exchange(self.word, word, Ordering::Release, Ordering::Relaxed)
            .err()
    }
}

/// A slot that a start took before its record was written. Dropping the guard releases the slot, unless it was kept.
#[derive(Debug)]
pub(crate) struct SlotGuard<'a>(Cell<Option<HeldSlot<'a>>>);

impl SlotGuard<'_> {
    /// Returns the guard of a start that is not remembered.
    pub(crate) const fn none() -> Self {
        Self(Cell::new(None))
    }

    /// Returns the table of the slot, if one is held.
    #[inline]
    pub(crate) fn table(&self) -> Option<SlotTable> {
        self.0.get().map(|held| held.slot.table)
    }

    /// Releases the slot, because the start is too large to be remembered, or the buffer refused it. The slot still
    /// counts the span, so that a twin is detected.
    #[inline]
    pub(crate) fn release(&self) {
        if let Some(held) = self.0.take() {
            // If a twin has changed the word, the slot already counts both.
            held.replace(held.word & !0xff | u64::from(WHOLE));
        }
    }

    /// Keeps the slot taken until the end of the span frees it.
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

/// The slot of a span that is ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OccupiedSlot<'a> {
    /// `None` if the span needs a complete end.
    pub(crate) sent: Option<SentPrefix>,
    held: HeldSlot<'a>,
}

impl OccupiedSlot<'_> {
    #[inline]
    pub(crate) fn table(&self) -> SlotTable {
        self.held.slot.table
    }

    /// Frees the slot. Only the end of the span that holds it may do so.
    #[inline]
    pub(crate) fn release(self) {
        let found = match self.sent {
            Some(_) => self.held.replace(0),
            None => Some(self.held.word),
        };
        if let Some(found) = found {
            self.held.slot.release_twin(found);
        }
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

    fn found(slots: &StartSlots, key: SlotKey) -> Option<(Option<SentPrefix>, SlotTable)> {
        slots.find(key).map(|found| (found.sent, found.table()))
    }

    #[test]
    fn a_slot_is_held_by_one_span_until_the_span_frees_it() {
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
        assert!(
            slots.large.get().is_none(),
            "the large table was created before it was needed"
        );
        assert_eq!(taken(&slots, two, less), Some(SlotTable::Large));
        assert_eq!(taken(&slots, three, sent), None);
        assert_eq!(found(&slots, one), Some((Some(sent), SlotTable::Small)));
        assert_eq!(found(&slots, two), Some((Some(less), SlotTable::Large)));
        assert_eq!(found(&slots, three), None);
        slots.find(one).unwrap().release();
        assert_eq!(found(&slots, one), None);
        assert_eq!(found(&slots, two), Some((Some(less), SlotTable::Large)));
        assert_eq!(taken(&slots, three, sent), Some(SlotTable::Small));
        slots.find(two).unwrap().release();
        assert_eq!(taken(&slots, one, less), Some(SlotTable::Large));
    }

    #[test]
    fn a_released_slot_still_counts_its_span() {
        let slots = StartSlots::default();
        let sent = SentPrefix::new(4, StartScope::Recorded);
        drop(slots.acquire(key(1), sent));
        assert_eq!(found(&slots, key(1)), Some((None, SlotTable::Small)));
        slots.find(key(1)).unwrap().release();
        assert_eq!(found(&slots, key(1)), None);
        let guard = slots.acquire(key(1), sent);
        guard.release();
        assert_eq!(guard.table(), None);
        drop(guard);
        assert_eq!(found(&slots, key(1)), Some((None, SlotTable::Small)));
        let unsent = slots.acquire(key(2), None);
        assert_eq!(unsent.table(), None);
        drop(unsent);
        assert_eq!(found(&slots, key(2)), Some((None, SlotTable::Small)));
    }

    #[test]
    fn spans_with_the_same_ids_have_separate_slots_if_parent_or_kind_differs() {
        let slots = StartSlots::default();
        let outer = key(1).with_origin([0; 8], 1);
        let inner = key(1).with_origin([0; 8], 2);
        let other = key(1).with_origin([1; 8], 1);
        let sent = SentPrefix::new(4, StartScope::Recorded).unwrap();
        let less = SentPrefix::new(3, StartScope::Recorded).unwrap();
        assert_eq!(taken(&slots, outer, sent), Some(SlotTable::Small));
        assert_eq!(taken(&slots, inner, less), Some(SlotTable::Large));
        assert_eq!(taken(&slots, other, sent), None);
        assert_eq!(found(&slots, other), None);
        assert_eq!(found(&slots, inner), Some((Some(less), SlotTable::Large)));
        slots.find(inner).unwrap().release();
        assert_eq!(found(&slots, outer), Some((Some(sent), SlotTable::Small)));
        assert_eq!(found(&slots, inner), None);
    }

    #[test]
    fn twins_share_a_slot_until_the_last_of_them_ends() {
        let slots = StartSlots::default();
        let sent = SentPrefix::new(4, StartScope::Recorded).unwrap();
        assert_eq!(taken(&slots, key(1), sent), Some(SlotTable::Small));
        let ending = slots.find(key(1)).unwrap();
        for _ in 0..2 {
            assert_eq!(taken(&slots, key(1), sent), None);
        }
        assert_eq!(found(&slots, key(1)), Some((None, SlotTable::Small)));
        // This end found the slot before the others took it. It omits only fields of its own start, so it is correct.
        ending.release();
        for _ in 0..2 {
            assert_eq!(found(&slots, key(1)), Some((None, SlotTable::Small)));
            slots.find(key(1)).unwrap().release();
        }
        assert_eq!(found(&slots, key(1)), None);
        assert_eq!(taken(&slots, key(1), sent), Some(SlotTable::Small));
    }

    #[test]
    fn more_twins_than_can_be_counted_never_free_their_slot() {
        let slots = StartSlots::default();
        let sent = SentPrefix::new(4, StartScope::Recorded).unwrap();
        for _ in 0..1_000 {
            taken(&slots, key(1), sent);
        }
        for _ in 0..2_000 {
            assert_eq!(found(&slots, key(1)), Some((None, SlotTable::Small)));
            slots.find(key(1)).unwrap().release();
        }
    }

    #[test]
    fn a_sent_prefix_reads_back_and_too_many_attributes_are_refused() {
        for attributes in 0..=62 {
            for scope in [StartScope::Recorded, StartScope::Unknown] {
                let sent = SentPrefix::new(attributes, scope).unwrap();
                assert_ne!(sent.byte(), 0);
                assert_eq!(SentPrefix::from_byte(sent.byte()), Some(sent));
            }
        }
        assert_eq!(SentPrefix::new(63, StartScope::Recorded), None);
        assert_eq!(SentPrefix::new(256, StartScope::Recorded), None);
    }

    #[test]
    fn sequential_ids_spread_over_tags_and_slots() {
        let mut bits = HashSet::new();
        let mut slots = HashSet::new();
        for trace in 0..100_u64 {
            for upper in [0, trace] {
                let trace_id = u128::from(upper) << 64 | u128::from(trace);
                for span in 0..100_u64 {
                    bits.insert(SlotKey::of(trace_id.to_be_bytes(), span.to_be_bytes()).ids);
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

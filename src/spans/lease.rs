//! Which open spans' starts the worker remembers, so that their ends need not repeat them. The host's threads decide it
//! here, each with one store, and the worker is told with the start.
//!
//! A start that finds its place free takes it until its end. Invariant: from taking a place to giving it back, no other
//! start is remembered there. The place is taken before the start's record gets its number, and given back after that
//! of the end got its own. So in the order of numbers, which is the worker's, the record that needs a remembered start
//! stands before the next start that takes its place.
//!
//! A span that finds its place taken, by another that is still open, is written whole at its end: that costs a little
//! time and nothing else.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Starts that are remembered at most: 128 KiB here.
pub(crate) const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 14;

/// What the end need not repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// So many attributes, from the first on: the SDK only ever appends some.
    pub(crate) attributes: u8,
    pub(crate) scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Sent,
    Unknown,
}

/// In the byte of a place.
const SCOPE_UNKNOWN: u8 = 0x80;

impl Sent {
    /// `None` when there are more attributes than a place has bits for.
    #[inline]
    pub(crate) fn new(attributes: u32, scope: Scope) -> Option<Self> {
        let attributes = u8::try_from(attributes).ok()?;
        (attributes < SCOPE_UNKNOWN - 1).then_some(Self { attributes, scope })
    }

    /// Never 0, which is a free place.
    #[inline]
    fn byte(self) -> u8 {
        let scope = match self.scope {
            Scope::Sent => 0,
            Scope::Unknown => SCOPE_UNKNOWN,
        };
        (self.attributes + 1) | scope
    }

    #[inline]
    fn from_byte(byte: u8) -> Self {
        Self {
            attributes: (byte & !SCOPE_UNKNOWN).saturating_sub(1),
            scope: if byte & SCOPE_UNKNOWN == 0 {
                Scope::Sent
            } else {
                Scope::Unknown
            },
        }
    }
}

/// A span's ids, mixed into 64 bits. Two open spans with the same bits would be taken for one another; the worker then
/// sees that the ids differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    #[inline]
    pub(crate) fn of(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, u @ ..] = trace_id;
        let upper = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let lower = u64::from_be_bytes(u);
        // Odd numbers without a pattern, one for each part: ids that somebody counts up, or makes of one another, give
        // as different bits as random ones.
        let span = u64::from_be_bytes(span_id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let upper = upper.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let lower = lower.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(span.wrapping_add(upper).wrapping_add(lower))
    }

    /// The one place that the span can have: the upper bits.
    #[inline]
    pub(crate) fn place(self) -> usize {
        (self.0 >> (u64::BITS - PLACES_BITS)) as usize
    }

    /// The lower bits, in the upper part of a word.
    #[inline]
    fn tag(self) -> u64 {
        self.0 << 8
    }
}

/// The host's side.
#[derive(Debug)]
pub(crate) struct Leases(Box<[AtomicU64]>);

impl Default for Leases {
    fn default() -> Self {
        Self::with_places(PLACES)
    }
}

impl Leases {
    /// Makes as many places, a power of two; fewer than [`PLACES`] are for a model of them.
    pub(crate) fn with_places(places: usize) -> Self {
        Self((0..places).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    fn place(&self, key: Key) -> Option<&AtomicU64> {
        self.0.get(key.place() & self.0.len().wrapping_sub(1))
    }

    /// Takes the span's place, if it is free.
    #[inline]
    pub(crate) fn take(&self, key: Key, sent: Sent) -> bool {
        let word = key.tag() | u64::from(sent.byte());
        // Acquire: what was given back before is numbered before.
        self.place(key).is_some_and(|place| {
            place
                .compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// What was sent of the span, if it has its place.
    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<Sent> {
        let word = self.place(key)?.load(Ordering::Relaxed);
        let [byte, ..] = word.to_le_bytes();
        (word & !0xff == key.tag() && byte != 0).then(|| Sent::from_byte(byte))
    }

    /// Gives the place back. Only the end of the span that has it may do so.
    #[inline]
    pub(crate) fn release(&self, key: Key) {
        if let Some(place) = self.place(key) {
            // Release: the number of the end was drawn before.
            place.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(number: u64) -> Key {
        Key::of([0; 16], number.to_be_bytes())
    }

    #[test]
    fn a_place_is_held_by_one_span_until_that_gives_it_back() {
        let leases = Leases::default();
        let taken = (1..1_000_000)
            .map(key)
            .find(|one| one.place() == key(0).place());
        let (one, other) = (key(0), taken.unwrap());
        let sent = Sent::new(4, Scope::Sent).unwrap();
        let less = Sent::new(0, Scope::Unknown).unwrap();
        assert_eq!(leases.find(one), None);
        assert!(leases.take(one, sent));
        assert!(!leases.take(other, less));
        assert_eq!((leases.find(one), leases.find(other)), (Some(sent), None));
        leases.release(one);
        assert_eq!(leases.find(one), None);
        assert!(leases.take(other, less));
        assert_eq!((leases.find(one), leases.find(other)), (None, Some(less)));
    }

    #[test]
    fn what_was_sent_reads_back_and_too_much_is_refused() {
        for attributes in 0..=126 {
            for scope in [Scope::Sent, Scope::Unknown] {
                let sent = Sent::new(attributes, scope).unwrap();
                assert_ne!(sent.byte(), 0);
                assert_eq!(Sent::from_byte(sent.byte()), sent);
            }
        }
        assert_eq!(Sent::new(127, Scope::Sent), None);
        assert_eq!(Sent::new(256, Scope::Sent), None);
    }

    #[test]
    fn ids_that_are_counted_up_have_bits_and_places_of_their_own() {
        let mut bits = HashSet::new();
        let mut places = HashSet::new();
        for trace in 0..100_u64 {
            for upper in [0, trace] {
                let trace_id = u128::from(upper) << 64 | u128::from(trace);
                for span in 0..100_u64 {
                    bits.insert(Key::of(trace_id.to_be_bytes(), span.to_be_bytes()).0);
                }
            }
            places.insert(Key::of(u128::from(trace).to_be_bytes(), trace.to_be_bytes()).place());
        }
        // Trace 0 is there twice.
        assert_eq!(bits.len(), 199 * 100);
        assert!(places.len() > 95, "{}", places.len());
    }
}

//! Which open spans' starts the worker remembers, so that their ends need not repeat them. The host's threads decide it
//! here, each with one store, and the worker is told with the start.
//!
//! A start that finds its place free takes it until its end. Invariant: from taking a place to giving it back, no other
//! start is remembered there. The place is taken before the start's record gets its number, and given back after that
//! of the end got its own. So in the order of numbers, which is the worker's, the record that needs a remembered start
//! stands before the next start that takes its place.
//!
//! A span that finds its places taken, by others that are still open, is written whole at its end: that costs a little
//! time and nothing else.

use std::cell::Cell;

use crate::util::sync::atomic::{AtomicU64, Ordering};

/// Starts that are remembered at most: 144 KiB here.
pub(crate) const PLACES: usize = NEAR + FAR;
/// 16 KiB, which a processor keeps in its first cache: a place in a larger table costs each start a miss, and that is a
/// fifth of what it costs in all.
const NEAR: usize = 1 << NEAR_BITS;
const NEAR_BITS: u32 = 11;
const FAR: usize = 1 << FAR_BITS;
const FAR_BITS: u32 = 14;

/// Where a span has its place: one of its own in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Region {
    Near,
    /// For spans that find the other place taken: where thousands are open.
    Far,
}

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
    pub(crate) fn new(attributes: usize, scope: Scope) -> Option<Self> {
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

    /// The span's place in a region, among all of them: the upper bits.
    #[inline]
    pub(crate) fn place(self, region: Region) -> usize {
        match region {
            Region::Near => self.near(),
            Region::Far => NEAR + self.far(),
        }
    }

    #[inline]
    fn near(self) -> usize {
        (self.0 >> (u64::BITS - NEAR_BITS)) as usize
    }

    #[inline]
    fn far(self) -> usize {
        (self.0 >> (u64::BITS - FAR_BITS)) as usize
    }

    /// The lower bits, in the upper part of a word.
    #[inline]
    fn tag(self) -> u64 {
        self.0 << 8
    }
}

/// The host's side.
#[derive(Debug)]
pub(crate) struct Leases {
    near: Box<[AtomicU64]>,
    far: Box<[AtomicU64]>,
}

impl Default for Leases {
    fn default() -> Self {
        Self::with_places(NEAR, FAR)
    }
}

impl Leases {
    /// Makes as many places, powers of two; fewer than [`PLACES`] are for a model of them.
    pub(crate) fn with_places(near: usize, far: usize) -> Self {
        let free = |places| (0..places).map(|_| AtomicU64::new(0)).collect();
        Self {
            near: free(near),
            far: free(far),
        }
    }

    #[inline]
    fn place(&self, key: Key, region: Region) -> Option<&AtomicU64> {
        let (places, at) = match region {
            Region::Near => (&self.near, key.near()),
            Region::Far => (&self.far, key.far()),
        };
        places.get(at & places.len().wrapping_sub(1))
    }

    /// Takes a place of the span's, if one is free and there is something to remember.
    #[inline]
    pub(crate) fn take(&self, key: Key, sent: Option<Sent>) -> Lease<'_> {
        let taken = sent.and_then(|sent| {
            let word = key.tag() | u64::from(sent.byte());
            self.take_in(key, Region::Near, word)
                .or_else(|| self.take_in(key, Region::Far, word))
        });
        Lease(Cell::new(taken))
    }

    #[inline]
    fn take_in(&self, key: Key, region: Region, word: u64) -> Option<Taken<'_>> {
        let place = self.place(key, region)?;
        // Acquire: what was given back before is numbered before.
        let taken = place.compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(Taken { place, region })
    }

    /// What was sent of the span, if it has a place.
    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<Found<'_>> {
        self.find_in(key, Region::Near)
            .or_else(|| self.find_in(key, Region::Far))
    }

    #[inline]
    fn find_in(&self, key: Key, region: Region) -> Option<Found<'_>> {
        let place = self.place(key, region)?;
        let word = place.load(Ordering::Relaxed);
        let [byte, ..] = word.to_le_bytes();
        (word & !0xff == key.tag() && byte != 0).then(|| Found {
            sent: Sent::from_byte(byte),
            taken: Taken { place, region },
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Taken<'a> {
    place: &'a AtomicU64,
    region: Region,
}

impl Taken<'_> {
    /// Release: the number of the record that needed the place was drawn before.
    #[inline]
    fn give_back(self) {
        self.place.store(0, Ordering::Release);
    }
}

/// A place that a start took before its record was written. It goes back unless it is kept.
#[derive(Debug)]
pub(crate) struct Lease<'a>(Cell<Option<Taken<'a>>>);

impl Lease<'_> {
    /// Of a start that is not to be remembered.
    pub(crate) const fn none() -> Self {
        Self(Cell::new(None))
    }

    /// Where the start is to be remembered, if it is.
    #[inline]
    pub(crate) fn region(&self) -> Option<Region> {
        self.0.get().map(|taken| taken.region)
    }

    /// Gives the place back: the start is too large to be remembered, or was not taken.
    #[inline]
    pub(crate) fn give_back(&self) {
        if let Some(taken) = self.0.take() {
            taken.give_back();
        }
    }

    /// Leaves the place to the end of the span.
    #[inline]
    pub(crate) fn keep(self) {
        self.0.take();
    }
}

impl Drop for Lease<'_> {
    #[inline]
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The place of a span that ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) sent: Sent,
    taken: Taken<'a>,
}

impl Found<'_> {
    #[inline]
    pub(crate) fn region(&self) -> Region {
        self.taken.region
    }

    /// Gives the place back. Only the end of the span that has it may do so.
    #[inline]
    pub(crate) fn release(self) {
        self.taken.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(number: u64) -> Key {
        Key::of([0; 16], number.to_be_bytes())
    }

    /// Takes a place and keeps it; which one.
    fn taken(leases: &Leases, key: Key, sent: Sent) -> Option<Region> {
        let lease = leases.take(key, Some(sent));
        let region = lease.region();
        lease.keep();
        region
    }

    fn found(leases: &Leases, key: Key) -> Option<(Sent, Region)> {
        leases.find(key).map(|found| (found.sent, found.region()))
    }

    #[test]
    fn a_place_is_held_by_one_span_until_that_gives_it_back() {
        let leases = Leases::default();
        let all = [Region::Near, Region::Far];
        let same = |one: &Key| {
            all.map(|region| one.place(region)) == all.map(|region| key(0).place(region))
        };
        let [one, two, three] = [0, 1, 2].map(|nth| {
            let mut alike = (0..10_000_000).map(key).filter(same);
            alike.nth(nth).unwrap()
        });
        let sent = Sent::new(4, Scope::Sent).unwrap();
        let less = Sent::new(0, Scope::Unknown).unwrap();
        assert_eq!(found(&leases, one), None);
        assert_eq!(taken(&leases, one, sent), Some(Region::Near));
        assert_eq!(taken(&leases, two, less), Some(Region::Far));
        assert_eq!(taken(&leases, three, sent), None);
        assert_eq!(found(&leases, one), Some((sent, Region::Near)));
        assert_eq!(found(&leases, two), Some((less, Region::Far)));
        assert_eq!(found(&leases, three), None);
        leases.find(one).unwrap().release();
        assert_eq!(found(&leases, one), None);
        assert_eq!(found(&leases, two), Some((less, Region::Far)));
        assert_eq!(taken(&leases, three, sent), Some(Region::Near));
        leases.find(two).unwrap().release();
        assert_eq!(taken(&leases, one, less), Some(Region::Far));
    }

    #[test]
    fn a_place_that_is_not_kept_is_free_again() {
        let leases = Leases::default();
        let sent = Sent::new(4, Scope::Sent);
        drop(leases.take(key(1), sent));
        assert_eq!(found(&leases, key(1)), None);
        let lease = leases.take(key(1), sent);
        lease.give_back();
        assert_eq!(lease.region(), None);
        assert!(taken(&leases, key(1), sent.unwrap()).is_some());
        drop(lease);
        assert_eq!(
            found(&leases, key(1)),
            Some((sent.unwrap(), Region::Near)),
            "it is another's now"
        );
        assert_eq!(leases.take(key(2), None).region(), None);
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
            places.insert(
                Key::of(u128::from(trace).to_be_bytes(), trace.to_be_bytes()).place(Region::Near),
            );
        }
        // Trace 0 is there twice.
        assert_eq!(bits.len(), 199 * 100);
        assert!(places.len() > 95, "{}", places.len());
    }
}

//! Handles repeated attribute keys: the last value of each key is written, at the position of the first. Pure; every
//! thread that writes events calls it.

use std::collections::HashMap;

use crate::span::json::{
    size_limits::{VALUE_BYTES_MAX, clip},
    value::{Pairs, Value},
};

/// Returns each key once, at its first position, with its last value. Keys may be repeated because the SDK's span
/// appends an attribute that is set again.
pub(super) fn last_of_each_key<'p, 'a>(
    pairs: &'p Pairs<'a>,
) -> impl Iterator<Item = (&'a str, &'p Value<'a>)> {
    // Spans have at most 128 attributes by the SDK's default limit; a linear search is quicker than hashing.
    let positions = (pairs.len() > PAIRS_UNHASHED_MAX).then(|| positions_of(pairs));
    pairs
        .iter()
        .enumerate()
        .filter_map(move |(index, (key, _))| {
            let last = match &positions {
                None => last_position(pairs, index, key),
                Some(positions) => positions
                    .get(clipped_key(key))
                    .and_then(|(first, last)| (*first == index).then_some(*last)),
            };
            let (_, value) = pairs.get(last?)?;
            Some((*key, value))
        })
}

/// A set of keys that stores only one of 128 bits for each key. It may mistake a new key for a known one, but never a
/// known key for a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeySet {
    pub(super) seen: u128,
    pub(super) count: usize,
}

impl KeySet {
    /// Returns the set of the keys, or `None` if a key is repeated or might be.
    #[inline]
    pub(super) fn of(pairs: &Pairs<'_>) -> Option<Self> {
        let mut keys = Self::default();
        let mut pairs_and_places = pairs.iter().enumerate();
        let are_new = pairs_and_places.all(|(index, (key, _))| {
            keys.add(key) || (index < PAIRS_UNHASHED_MAX && !occurs_before(pairs, index, key))
        });
        are_new.then_some(keys)
    }

    /// Adds the key. Returns `true` only if it is certainly new.
    #[inline]
    pub(super) fn add(&mut self, key: &str) -> bool {
        // Equal keys have the same length and the same last byte.
        let key = clipped_key(key);
        let last = key.as_bytes().last().copied().unwrap_or_default();
        let mark = 1 << ((key.len() * 7 + usize::from(last) * 3) % 128);
        let is_new = self.seen & mark == 0;
        self.seen |= mark;
        self.count += 1;
        is_new
    }
}

/// Returns whether the key occurs before this index.
pub(super) fn occurs_before(pairs: &Pairs<'_>, index: usize, key: &str) -> bool {
    let key = clipped_key(key);
    let mut before = pairs.iter().take(index);
    before.any(|(one, _)| clipped_key(one) == key)
}

/// Returns the key as it is written. Keys that are equal after the cut are one key in the object.
#[inline]
fn clipped_key(key: &str) -> &str {
    clip(key, VALUE_BYTES_MAX).0
}

/// Returns the first and the last index of every key.
fn positions_of<'a>(pairs: &Pairs<'a>) -> HashMap<&'a str, (usize, usize)> {
    let mut positions = HashMap::new();
    for (index, (key, _)) in pairs.iter().enumerate() {
        let place = positions.entry(clip(key, VALUE_BYTES_MAX).0);
        place.or_insert((index, index)).1 = index;
    }
    positions
}

/// Returns the last index of the key at `index`, or `None` if the key also occurs before.
#[inline]
fn last_position(pairs: &Pairs<'_>, index: usize, key: &str) -> Option<usize> {
    let key = clipped_key(key);
    let end = key.as_bytes().last();
    let is_same = |(one, _): &(&str, Value<'_>)| {
        // Most keys differ in length or at their end, so the rest is not compared.
        let one = clipped_key(one);
        one.len() == key.len() && one.as_bytes().last() == end && one == key
    };
    let (before, from) = pairs.split_at(index);
    if before.iter().any(is_same) {
        return None;
    }
    let after = from.get(1..).unwrap_or_default();
    let again = after.iter().rposition(is_same);
    Some(again.map_or(index, |at| index + 1 + at))
}

/// Up to this number of attributes, repeated keys are found by a linear search; beyond, by hashing.
pub(super) const PAIRS_UNHASHED_MAX: usize = 128;

//! A map of recently added keys. Pure; the worker uses it.

use crate::util::hash::Map;

/// Values by keys that are hashes. When the map is full, it forgets the older half at once. An
/// entry thus costs one insertion, and no list of the order is needed.
#[derive(Debug)]
pub(super) struct RecentKeys<V> {
    newer: Map<u64, V>,
    older: Map<u64, V>,
    max: usize,
}

impl<V: Copy> RecentKeys<V> {
    /// Creates a map that keeps at most this many keys, and at least the newest half of that
    /// number.
    pub(super) fn new(max: usize) -> Self {
        Self {
            newer: Map::default(),
            older: Map::default(),
            max,
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<V> {
        let found = self.newer.get(&key).or_else(|| self.older.get(&key));
        found.copied()
    }

    /// Adds a key, or replaces its value.
    pub(super) fn insert(&mut self, key: u64, value: V) {
        self.newer.insert(key, value);
        if self.newer.len() >= self.max.div_ceil(2) {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.newer.remove(&key);
        self.older.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_half_is_known_and_no_more_than_the_bound() {
        let mut keys = RecentKeys::new(8);
        for key in 0..1_000 {
            keys.insert(key, key);
            assert!(keys.newer.len() + keys.older.len() <= 8);
            for recent in key.saturating_sub(3)..=key {
                assert_eq!(keys.get(recent), Some(recent));
            }
            assert_eq!(key.checked_sub(8).and_then(|old| keys.get(old)), None);
        }
    }

    #[test]
    fn the_last_value_counts_and_a_removed_key_is_unknown() {
        let mut keys = RecentKeys::new(4);
        // The third insertion is in the newer half; the first two are in the older one.
        for (key, value) in [(1, 10), (2, 20), (1, 11)] {
            keys.insert(key, value);
        }
        assert_eq!(
            [1, 2, 3].map(|key| keys.get(key)),
            [Some(11), Some(20), None]
        );
        keys.remove(1);
        assert_eq!([1, 2].map(|key| keys.get(key)), [None, Some(20)]);
    }
}

//! The spans that ended lately, with a hash of what they said, so that a repetition is left out. Bounded: the oldest is
//! forgotten first. Pure; the worker uses it.

use std::collections::VecDeque;

use crate::{
    otlp::request::{SpanIdPair, hash_of},
    util::hash::Map,
};

#[derive(Debug)]
pub(super) struct RecentEnds {
    /// By the hash of the ids.
    contents: Map<u64, u64>,
    order: VecDeque<u64>,
    max: usize,
}

impl RecentEnds {
    pub(super) fn new(max: usize) -> Self {
        Self {
            contents: Map::default(),
            order: VecDeque::new(),
            max,
        }
    }

    pub(super) fn content_of(&self, key: &SpanIdPair) -> Option<u64> {
        self.contents.get(&hash_of(key)).copied()
    }

    pub(super) fn insert(&mut self, key: &SpanIdPair, content: u64) {
        let key = hash_of(key);
        if self.contents.insert(key, content).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.contents.remove(&oldest);
            }
        }
    }

    /// Forgets a span: the store does not have its end. Its place in the order stays until it is the oldest.
    pub(super) fn remove(&mut self, key: &SpanIdPair) {
        self.contents.remove(&hash_of(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_the_rest_is_not() {
        let key = |number: u8| ([number; 16], [number; 8]);
        let mut recent = RecentEnds::new(3);
        for number in 1..=4 {
            recent.insert(&key(number), number.into());
        }
        recent.insert(&key(2), 20);
        recent.remove(&key(3));
        let kept = [1, 2, 3, 4].map(|number| recent.content_of(&key(number)));
        assert_eq!(kept, [None, Some(20), None, Some(4)]);
        // A removed one that comes again does not count twice for ever.
        for number in 5..=40 {
            recent.insert(&key(number), 0);
        }
        assert_eq!((recent.contents.len(), recent.order.len()), (3, 3));
    }
}

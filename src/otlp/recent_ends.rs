//! Remembers the spans that ended lately, so that repeated ends are recognized. For each span it
//! has a hash of the content that the sender reported. A sender also repeats a request if this
//! program ended before it responded. So for spans that an earlier run stored, it has a hash of the
//! stored event. Bounded: the oldest is forgotten first. Pure; the worker uses it.

use std::collections::VecDeque;

use crate::{
    otlp::request::{SpanIdPair, hash_of},
    span::json,
    util::hash::Map,
};

#[derive(Debug)]
pub(super) struct RecentEnds {
    /// The ends by the hash of their ids.
    ends: Map<u64, RecentEnd>,
    /// The keys in the order in which they were added, with their numbers. The entry of a key that
    /// was removed from `ends` stays until it is the oldest, or until there are too many such
    /// entries.
    order: VecDeque<(u64, u64)>,
    /// The number of the next entry.
    next: u64,
    max: usize,
    /// The hashes of the `ended` events that an earlier run stored. They are forgotten once `max` spans of this run are
    /// remembered.
    stored: Map<u64, u64>,
}

/// The known content of a span's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownEnd {
    /// The hash of the content that the sender reported.
    Content(u64),
    /// The hash of the event that an earlier run stored.
    Stored(u64),
}

#[derive(Clone, Copy, Debug)]
struct RecentEnd {
    content: u64,
    number: u64,
}

impl RecentEnds {
    pub(super) fn new(max: usize) -> Self {
        Self {
            ends: Map::default(),
            order: VecDeque::new(),
            next: 0,
            max,
            stored: Map::default(),
        }
    }

    /// Adds the end of a span that an earlier run stored.
    pub(super) fn add_stored(&mut self, key: &SpanIdPair, event: &[u8]) {
        self.stored.insert(hash_of(key), event_hash(event));
    }

    pub(super) fn content_of(&self, key: &SpanIdPair) -> Option<u64> {
        self.ends.get(&hash_of(key)).map(|end| end.content)
    }

    pub(super) fn get(&self, key: &SpanIdPair) -> Option<KnownEnd> {
        let content = self.content_of(key).map(KnownEnd::Content);
        content.or_else(|| {
            self.stored
                .get(&hash_of(key))
                .copied()
                .map(KnownEnd::Stored)
        })
    }

    /// Records the content of a span's end. `None` forgets the span.
    pub(super) fn set(&mut self, key: &SpanIdPair, content: Option<u64>) {
        let key = hash_of(key);
        let Some(content) = content else {
            self.ends.remove(&key);
            return;
        };
        if let Some(known) = self.ends.get_mut(&key) {
            known.content = content;
            return;
        }
        let number = self.next;
        self.next += 1;
        self.ends.insert(key, RecentEnd { content, number });
        self.order.push_back((key, number));
        if self.ends.len() >= self.max {
            self.stored = Map::default();
        }
        while self.ends.len() > self.max {
            let Some((oldest, number)) = self.order.pop_front() else {
                break;
            };
            if self.is_current(oldest, number) {
                self.ends.remove(&oldest);
            }
        }
        if self.order.len() > 2 * self.max {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(key, number)| self.is_current(*key, *number));
            self.order = order;
        }
    }

    /// Returns whether this entry of `order` is the current one of its key. A key that was removed and added again has
    /// an older entry, too.
    fn is_current(&self, key: u64, number: u64) -> bool {
        self.ends.get(&key).is_some_and(|end| end.number == number)
    }
}

/// Returns a hash of an event without its time of receipt, because a repetition arrives later.
pub(super) fn event_hash(event: &[u8]) -> u64 {
    let fields = json::fields(event).filter(|(key, _)| *key != json::RECEIVED_KEY);
    hash_of(fields.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_receipts_of_one_event_are_alike() {
        let event = |receipt: &str| format!(r#"{{"type":"ended","name":"a"{receipt}}}"#);
        let hashes = [
            "",
            r#","receivedTimestamp":"1""#,
            r#","receivedTimestamp":"2""#,
        ]
        .map(|receipt| event_hash(event(receipt).as_bytes()));
        assert_eq!(hashes, [hashes[0]; 3]);
        assert_ne!(event_hash(event(r#","x":1"#).as_bytes()), hashes[0]);
    }

    fn key(number: u8) -> SpanIdPair {
        ([number; 16], [number; 8])
    }

    #[test]
    fn the_oldest_is_forgotten_and_the_rest_is_not() {
        let mut recent = RecentEnds::new(3);
        for number in 1..=4 {
            recent.set(&key(number), Some(number.into()));
        }
        recent.set(&key(2), Some(20));
        recent.set(&key(3), None);
        let kept = [1, 2, 3, 4].map(|number| recent.get(&key(number)));
        let content = |hash| Some(KnownEnd::Content(hash));
        assert_eq!(kept, [None, content(20), None, content(4)]);
    }

    #[test]
    fn one_that_was_removed_and_came_again_is_as_young_as_the_others() {
        let mut recent = RecentEnds::new(3);
        recent.set(&key(1), Some(1));
        recent.set(&key(2), Some(2));
        recent.set(&key(1), None);
        for number in [1, 3] {
            recent.set(&key(number), Some(number.into()));
        }
        let known =
            |recent: &RecentEnds| [1, 2, 3, 4].map(|number| recent.content_of(&key(number)));
        assert_eq!(known(&recent), [Some(1), Some(2), Some(3), None]);
        recent.set(&key(4), Some(4));
        assert_eq!(known(&recent), [Some(1), None, Some(3), Some(4)]);
    }

    #[test]
    fn removing_and_adding_for_ever_takes_no_more_memory() {
        let mut recent = RecentEnds::new(3);
        for _ in 0..1_000 {
            recent.set(&key(1), Some(1));
            recent.set(&key(1), None);
        }
        assert!(recent.order.len() <= 6, "{}", recent.order.len());
        for number in 2..=40 {
            recent.set(&key(number), Some(0));
        }
        assert_eq!((recent.ends.len(), recent.order.len()), (3, 3));
    }

    #[test]
    fn what_an_earlier_run_stored_is_known_until_as_many_have_ended_since() {
        let mut recent = RecentEnds::new(2);
        for number in 1..=2 {
            recent.add_stored(&key(number), b"{}");
        }
        let stored = Some(KnownEnd::Stored(event_hash(b"{}")));
        assert_eq!(
            [1, 2, 3].map(|number| recent.get(&key(number))),
            [stored, stored, None]
        );
        // The span ended again, with other content.
        recent.set(&key(2), Some(7));
        assert_eq!(
            [1, 2].map(|number| recent.get(&key(number))),
            [stored, Some(KnownEnd::Content(7))]
        );
        recent.set(&key(3), Some(8));
        assert_eq!(recent.get(&key(1)), None);
        assert_eq!(recent.stored.len(), 0);
    }
}

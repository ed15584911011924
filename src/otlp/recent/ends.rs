//! Remembers the spans that ended lately, so that repeated ends are recognized. For each span of
//! this run, it keeps a hash of the content that the sender reported. For spans that an earlier run
//! stored, it keeps a hash of the stored event: a sender repeats a request if the program ended
//! before it responded. The number of spans is bounded. Pure; the worker uses it.

use crate::{
    otlp::{
        recent::recent_keys::RecentKeys,
        request::{SpanIdPair, hash_of},
    },
    span::json,
    util::hash::Map,
};

#[derive(Debug)]
pub(in crate::otlp) struct RecentEnds {
    /// The hashes of the reported contents, by the hash of the ids.
    ends: RecentKeys<u64>,
    /// The number of recorded ends, counted only up to `max`.
    count: usize,
    max: usize,
    /// The hashes of the `ended` events that an earlier run stored. They are forgotten once more
    /// than `max` ends of this run were recorded.
    stored: Map<u64, u64>,
}

/// The known content of a span's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::otlp) enum KnownEnd {
    /// The hash of the content that the sender reported.
    Content(u64),
    /// The hash of the event that an earlier run stored.
    Stored(u64),
}

impl RecentEnds {
    pub(in crate::otlp) fn new(max: usize) -> Self {
        Self {
            ends: RecentKeys::new(max),
            count: 0,
            max,
            stored: Map::default(),
        }
    }

    /// Returns the key under which a span is remembered.
    pub(in crate::otlp) fn key_of(ids: &SpanIdPair) -> u64 {
        hash_of(ids)
    }

    /// Adds the end of a span that an earlier run stored.
    pub(in crate::otlp) fn add_stored(&mut self, ids: &SpanIdPair, event: &[u8]) {
        self.stored.insert(Self::key_of(ids), event_hash(event));
    }

    pub(in crate::otlp) fn content_of(&self, key: u64) -> Option<u64> {
        self.ends.get(key)
    }

    pub(in crate::otlp) fn get(&self, key: u64) -> Option<KnownEnd> {
        let content = self.ends.get(key).map(KnownEnd::Content);
        content.or_else(|| self.stored.get(&key).copied().map(KnownEnd::Stored))
    }

    /// Records the content of a span's end in this run. `None` removes that content.
    pub(in crate::otlp) fn set(&mut self, key: u64, content: Option<u64>) {
        let Some(content) = content else {
            self.ends.remove(key);
            return;
        };
        self.ends.insert(key, content);
        if self.count < self.max {
            self.count += 1;
        } else if !self.stored.is_empty() {
            self.stored = Map::default();
        }
    }
}

/// Returns a hash of an event without its time of receipt, because a repetition arrives later.
pub(in crate::otlp) fn event_hash(event: &[u8]) -> u64 {
    let fields = json::fields(event).filter(|(key, _)| *key != json::RECEIVED_KEY);
    hash_of(fields.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_event_ignores_its_time_of_receipt() {
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

    fn known(recent: &RecentEnds, number: u8) -> Option<KnownEnd> {
        recent.get(RecentEnds::key_of(&key(number)))
    }

    #[test]
    fn ends_of_an_earlier_run_are_known_until_more_than_the_bound_have_ended_since() {
        let mut recent = RecentEnds::new(2);
        let set = |recent: &mut RecentEnds, number, content| {
            recent.set(RecentEnds::key_of(&key(number)), content);
        };
        for number in 1..=2 {
            recent.add_stored(&key(number), b"{}");
        }
        let stored = Some(KnownEnd::Stored(event_hash(b"{}")));
        assert_eq!(
            [1, 2, 3].map(|number| known(&recent, number)),
            [stored, stored, None]
        );
        // The span ended again, with other content.
        set(&mut recent, 2, Some(7));
        assert_eq!(
            [1, 2].map(|number| known(&recent, number)),
            [stored, Some(KnownEnd::Content(7))]
        );
        // The store rejected the end.
        set(&mut recent, 2, None);
        assert_eq!(known(&recent, 2), stored);
        for number in 3..=4 {
            set(&mut recent, number, Some(8));
        }
        assert_eq!(known(&recent, 1), None);
        assert_eq!(recent.stored.len(), 0);
    }
}

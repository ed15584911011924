//! Updates of open spans that came too soon after the last `updated` event. The newest state of
//! each span is kept until its next update is due, so the last value is never lost. Bounded in
//! bytes. Pure; the worker uses it.

use std::collections::BTreeSet;

use crate::{
    otlp::request::{SpanIdPair, SpanPlace},
    util::{hash::Map, sync::Instant, time::Timestamp},
};

/// Upper bound on the deferred spans, in bytes of their protobuf. An update beyond it is emitted at
/// once.
const BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct DeferredUpdates {
    spans: Map<SpanIdPair, (DeferredUpdate, usize)>,
    /// The spans by the time at which their update is due.
    due: BTreeSet<(Instant, SpanIdPair)>,
    bytes: usize,
    bytes_max: usize,
}

/// The newest state of an open span, to be emitted when it is due.
#[derive(Clone, Debug)]
pub(super) struct DeferredUpdate {
    /// The protobuf of the span.
    pub(super) span: Box<[u8]>,
    pub(super) place: SpanPlace,
    pub(super) received: Timestamp,
    pub(super) due: Instant,
}

impl Default for DeferredUpdates {
    fn default() -> Self {
        Self {
            spans: Map::default(),
            due: BTreeSet::new(),
            bytes: 0,
            bytes_max: BYTES_MAX,
        }
    }
}

impl DeferredUpdates {
    /// Replaces the stored state of a span. If there is no room, only removes the earlier state,
    /// and returns `false`.
    pub(super) fn insert(&mut self, update: &DeferredUpdate) -> bool {
        let key = update.place.key;
        self.remove(&key);
        let bytes = update.span.len() + size_of::<DeferredUpdate>();
        if self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.bytes += bytes;
        self.due.insert((update.due, key));
        self.spans.insert(key, (update.clone(), bytes));
        true
    }

    pub(super) fn remove(&mut self, key: &SpanIdPair) -> Option<DeferredUpdate> {
        let (update, bytes) = self.spans.remove(key)?;
        self.bytes -= bytes;
        self.due.remove(&(update.due, *key));
        Some(update)
    }

    /// Removes and returns the first update that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<DeferredUpdate> {
        let (_, key) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.remove(&key)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message as _;

    use super::*;

    fn update(number: u8, name: &str, due: Instant) -> DeferredUpdate {
        let span = Span {
            name: name.to_owned(),
            ..Span::default()
        };
        let span = span.encode_to_vec().into();
        DeferredUpdate {
            place: SpanPlace::of_key(([number; 16], [number; 8])),
            span,
            received: Timestamp::default(),
            due,
        }
    }

    fn name_of(update: &DeferredUpdate) -> String {
        Span::decode(&*update.span).unwrap().name
    }

    #[test]
    fn the_newest_state_of_each_span_is_reported_when_it_is_due() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut deferred = DeferredUpdates::default();
        assert!(deferred.insert(&update(1, "old", now)));
        assert!(deferred.insert(&update(1, "new", later)));
        assert!(deferred.insert(&update(2, "other", now)));
        let name = |update: Option<DeferredUpdate>| update.map(|update| name_of(&update));
        assert_eq!(name(deferred.take_due(now)).as_deref(), Some("other"));
        assert_eq!(name(deferred.take_due(now)), None);
        assert_eq!(deferred.next_due(), Some(later));
        assert_eq!(name(deferred.take_due(later)).as_deref(), Some("new"));
        assert_eq!((deferred.next_due(), deferred.bytes), (None, 0));
    }

    #[test]
    fn an_update_without_room_also_removes_the_earlier_state() {
        let now = Instant::now();
        let mut deferred = DeferredUpdates {
            bytes_max: 2 * size_of::<DeferredUpdate>() + 100,
            ..DeferredUpdates::default()
        };
        assert!(deferred.insert(&update(1, "a", now)));
        assert!(deferred.insert(&update(2, "b", now)));
        assert!(!deferred.insert(&update(3, "c", now)));
        assert!(!deferred.insert(&update(2, &"b".repeat(200), now)));
        let left: Vec<String> = std::iter::from_fn(|| deferred.take_due(now))
            .map(|update| name_of(&update))
            .collect();
        assert_eq!((left, deferred.bytes), (vec!["a".to_owned()], 0));
    }
}

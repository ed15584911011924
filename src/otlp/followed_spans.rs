//! The open spans of other processes, with hashes of their last emitted state, so that only changes
//! are emitted. Bounded in spans and in attributes. Pure; the worker uses it.

use crate::{
    otlp::{
        decode::SpanView,
        mapping::{awaiting, shown_attributes, span_links, status_of},
        request::{SpanIdPair, SpanPlace, hash_of, hash_of_value},
    },
    span::{
        json::{ChangeFields, EndStatus, SpanFields, Value},
        updates::Awaiting,
    },
    util::{hash::Map, sync::Instant, time::Timestamp},
};

/// Upper bound on the attribute hashes of all open spans together. For a span beyond it, an update
/// repeats all attributes.
const ATTRIBUTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct FollowedSpans {
    spans: Map<SpanIdPair, FollowedSpan>,
    spans_max: usize,
    attributes: usize,
}

/// The last emitted state of one open span.
#[derive(Clone, Debug)]
pub(super) struct FollowedSpan {
    pub(super) sender: usize,
    pub(super) content: u64,
    name: u64,
    status: u64,
    awaiting: u64,
    /// The hashes of the keys and the values; `None` if there was no room.
    attributes: Option<Box<[(u64, u64)]>>,
    events: usize,
    links: usize,
    pub(super) sent_at: Instant,
    pub(super) reported_at: Instant,
}

impl FollowedSpan {
    fn of(span: &SpanView<'_>, place: &SpanPlace, now: Instant) -> Self {
        Self {
            sender: place.sender,
            content: place.content,
            name: hash_of(span.name),
            status: status_hash(span),
            awaiting: hash_of(awaiting(span)),
            attributes: Some(span.attributes.iter().map(pair_hash).collect()),
            events: span.events.len(),
            links: span.links.len(),
            sent_at: now,
            reported_at: now,
        }
    }

    fn attribute_count(&self) -> usize {
        self.attributes.as_ref().map_or(0, |pairs| pairs.len())
    }

    /// Returns whether the last emitted state has this attribute.
    fn has(&self, pair: (u64, u64)) -> bool {
        let known = self.attributes.as_ref();
        known.is_some_and(|known| known.contains(&pair))
    }
}

fn status_hash(span: &SpanView<'_>) -> u64 {
    hash_of(span.status)
}

/// Returns the hashes of an attribute's key and value.
fn pair_hash((key, value): &(&str, Value<'_>)) -> (u64, u64) {
    (hash_of(key), hash_of_value(value))
}

impl FollowedSpans {
    pub(super) fn new(spans_max: usize) -> Self {
        Self {
            spans: Map::default(),
            spans_max,
            attributes: 0,
        }
    }

    pub(super) fn contains(&self, key: &SpanIdPair) -> bool {
        self.spans.contains_key(key)
    }

    pub(super) fn get(&self, key: &SpanIdPair) -> Option<&FollowedSpan> {
        self.spans.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &SpanIdPair) -> Option<&mut FollowedSpan> {
        self.spans.get_mut(key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.spans.len() >= self.spans_max
    }

    /// Records the emitted state of the span.
    pub(super) fn insert(&mut self, span: &SpanView<'_>, place: &SpanPlace, now: Instant) {
        self.restore(place.key, Some(FollowedSpan::of(span, place, now)));
    }

    /// Restores the state of a span. `None` removes the span.
    pub(super) fn restore(&mut self, key: SpanIdPair, open: Option<FollowedSpan>) {
        self.remove(&key);
        let Some(mut open) = open else { return };
        if self.attributes + open.attribute_count() > ATTRIBUTES_MAX {
            open.attributes = None;
        }
        self.attributes += open.attribute_count();
        self.spans.insert(key, open);
    }

    pub(super) fn remove(&mut self, key: &SpanIdPair) -> Option<FollowedSpan> {
        let open = self.spans.remove(key)?;
        self.attributes -= open.attribute_count();
        Some(open)
    }

    /// Removes all spans of a sender, and returns their ids.
    pub(super) fn take_of(&mut self, sender: usize) -> Vec<SpanIdPair> {
        let of_sender =
            |(key, open): (&SpanIdPair, &FollowedSpan)| (open.sender == sender).then_some(*key);
        let keys: Vec<SpanIdPair> = self.spans.iter().filter_map(of_sender).collect();
        for key in &keys {
            self.remove(key);
        }
        keys
    }

    /// Returns the changes since the last emitted state, or `None` if there are none or the span is
    /// not followed. The returned span fields are the ids, and the attributes and links that
    /// changed.
    pub(super) fn changes<'a>(
        &self,
        span: &SpanView<'a>,
        place: &SpanPlace,
        received: Timestamp,
    ) -> Option<(SpanFields<'a>, ChangeFields<'a>)> {
        let open = self.spans.get(&place.key)?;
        if open.content == place.content {
            return None;
        }
        let mut attributes = shown_attributes(span.attributes.clone());
        if open.attributes.is_some() {
            let changed: Vec<&str> = span
                .attributes
                .iter()
                .filter(|pair| !open.has(pair_hash(pair)))
                .map(|(key, _)| *key)
                .collect();
            attributes.retain(|(key, _)| changed.contains(key));
        }
        let fields = SpanFields {
            attributes,
            links: span_links(span.links.get(open.links..).unwrap_or_default().to_vec()),
            ..SpanFields::bare(place.key.0, place.key.1)
        };
        let awaits = if open.awaiting == hash_of(awaiting(span)) {
            Awaiting::Unchanged
        } else {
            awaits(span, received)
        };
        let changes = ChangeFields {
            name: (open.name != hash_of(span.name)).then_some(span.name),
            status: (open.status != status_hash(span)).then(|| status_of(span)),
            events: span.events.get(open.events..).unwrap_or_default().to_vec(),
            awaiting: awaits,
            ..ChangeFields::default()
        };
        let has_changes = !fields.attributes.is_empty()
            || !fields.links.is_empty()
            || !changes.events.is_empty()
            || changes.name.is_some()
            || changes.status.is_some()
            || changes.awaiting != Awaiting::Unchanged;
        has_changes.then_some((fields, changes))
    }
}

/// Returns the fields for the first update of a span that was first seen while open: those that its
/// start event lacks. Returns `None` if there are none.
pub(crate) fn first_changes<'a>(
    span: &SpanView<'a>,
    key: &SpanIdPair,
    received: Timestamp,
) -> Option<(SpanFields<'a>, ChangeFields<'a>)> {
    let status = status_of(span);
    let awaiting = match awaits(span, received) {
        Awaiting::Nothing => Awaiting::Unchanged,
        other => other,
    };
    let changes = ChangeFields {
        status: (status != EndStatus::Unset).then_some(status),
        events: span.events.clone(),
        awaiting,
        ..ChangeFields::default()
    };
    let has_changes = changes.status.is_some()
        || !changes.events.is_empty()
        || changes.awaiting != Awaiting::Unchanged;
    has_changes.then(|| (SpanFields::bare(key.0, key.1), changes))
}

fn awaits<'a>(
    span: &SpanView<'a>,
    received: Timestamp,
) -> Awaiting<(std::borrow::Cow<'a, str>, Timestamp)> {
    awaiting(span).map_or(Awaiting::Nothing, |name| {
        Awaiting::On((name.into(), received))
    })
}

//! Decides whether a span starts, changes or ends, by the span's earlier events. The documentation of
//! [`otlp`](crate::otlp) lists the forms of open spans. It runs on the worker thread.

use std::time::Duration;

use crate::{
    encoder::{PreparedIndex, PreparedSpans, SpanEncoder},
    log::batch::Batch,
    otlp::{
        decode::{SpanBytes, SpanParts, SpanView},
        deferred_updates::DeferredUpdate,
        encoder::{
            otlp_encoder::{Before, OtlpEncoder},
            preparer::completed_span,
        },
        followed_spans::first_changes,
        mapping::{bare_start, end_fields, fields_of, implausible},
        recent::{KnownEnd, RecentEnds, event_hash},
        request::SpanPlace,
    },
    span::updates::UPDATE_INTERVAL,
    util::{
        sync::{Instant, lock},
        time::Timestamp,
    },
};

/// The encoded bytes of a request after which the worker encodes starts and ends separately.
const PREPARED_BYTES_MAX: usize = 512 * 1024;

impl OtlpEncoder {
    pub(super) fn source(&self, sender: usize) -> u32 {
        self.activities
            .get(sender)
            .map_or(u32::MAX, |activity| activity.source)
    }

    /// Returns whether the span is open. A span of length zero from .NET counts as open, unless its sender is known to
    /// send only ended spans.
    fn is_open(&self, place: &SpanPlace) -> bool {
        let activity = self.activities.get(place.sender);
        place.is_open
            || place.is_empty
                && activity.is_some_and(|activity| activity.reporting.sends_open_as_empty())
    }

    /// Appends the start of a span. If the span has ended, and there is room for its end, encodes its end, too.
    pub(super) fn start(
        &mut self,
        place: &mut SpanPlace,
        (spans, prepared, received): (&SpanBytes, &mut PreparedSpans, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        let is_open = self.is_open(place);
        if self.open.contains(&place.key) {
            if is_open && let Some(span) = spans.view(place.range, SpanParts::All) {
                self.resent((&span, place, received), encoder, batch);
            }
            return;
        }
        // Skips an open span that this request repeats, because it is already followed. Also skips
        // a span with a known end: it is a repetition, a correction, or a late start.
        if place.is_repeated || self.recent.get(RecentEnds::key_of(&place.key)).is_some() {
            return;
        }
        let source = self.source(place.sender);
        let is_prepared = !is_open && place.prepared.is_some();
        let needs_all = is_open || prepared.encoded_bytes() < PREPARED_BYTES_MAX;
        if !is_prepared {
            let parts = if needs_all {
                SpanParts::All
            } else {
                SpanParts::Head
            };
            let Some(span) = spans.view(place.range, parts) else {
                return;
            };
            let time = Timestamp::from_nanos(span.start_nanos);
            if is_open {
                self.open((&span, place, received), (source, time), encoder, batch);
                return;
            }
            if !needs_all {
                let fields = bare_start(&span, place.key, place.parent);
                encoder.received_start((source, time), fields, batch);
                return;
            }
            let span = completed_span(span, place, received);
            place.prepared = encoder.prepare_received(source, span, (batch, prepared));
        }
        if let Some(index) = place.prepared {
            let (_, end) = prepared.times(index);
            self.receipt(place.sender, end, received);
            encoder.received_prepared_start(source, index, (batch, prepared));
        }
    }

    /// Encodes the start of an open span, and follows the span. If too many spans are followed,
    /// only counts it.
    fn open(
        &mut self,
        (span, place, received): (&SpanView<'_>, &SpanPlace, Timestamp),
        (source, time): (u32, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        if self.open.is_full() {
            lock(&self.senders).open_spans_not_followed += 1;
            return;
        }
        self.note_before(place.key);
        let mut fields = fields_of(span.clone(), place.key, place.parent);
        fields.received = self.receipt(place.sender, time, received);
        encoder.received_start((source, time), fields, batch);
        if let Some((fields, changes)) = first_changes(span, &place.key, received) {
            encoder.received_update((source, received), fields, changes, batch);
        }
        self.open.insert(span, place, Instant::now());
        if let Some(activity) = self.activities.get_mut(place.sender) {
            activity.opened();
        }
    }

    /// Handles an open span that was sent again: counts it as a sign of life, and emits its changes.
    fn resent(
        &mut self,
        (span, place, received): (&SpanView<'_>, &SpanPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        let now = Instant::now();
        let Some(open) = self.open.get_mut(&place.key) else {
            return;
        };
        let gap = now.saturating_duration_since(open.sent_at);
        open.sent_at = now;
        let (sender, due) = (open.sender, open.reported_at + UPDATE_INTERVAL);
        let mut place = *place;
        place.sender = sender;
        let has_changed = open.content != place.content;
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.resent(gap);
        }
        // A deferred update is older than this one.
        self.deferred.remove(&place.key);
        if !has_changed {
            return;
        }
        let is_deferred = due > now
            && self.deferred.insert(&DeferredUpdate {
                span: span.bytes.into(),
                place,
                received,
                due,
            });
        if !is_deferred {
            self.note_before(place.key);
            self.update((span, &place, received), encoder, batch);
        }
    }

    /// Emits the changes of an open span.
    fn update(
        &mut self,
        (span, place, received): (&SpanView<'_>, &SpanPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        if let Some((fields, changes)) = self.open.changes(span, place, received) {
            let source = self.source(place.sender);
            encoder.received_update((source, received), fields, changes, batch);
            self.open.insert(span, place, Instant::now());
        }
    }

    /// Emits a deferred update.
    pub(super) fn update_deferred(
        &mut self,
        update: DeferredUpdate,
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        self.note_before(update.place.key);
        if let Some(span) = SpanView::again(&update.span, SpanParts::All) {
            self.update((&span, &update.place, update.received), encoder, batch);
        }
        if let Some(before) = self.uncommitted.last_mut() {
            before.answered = Some(Box::new(update));
        }
    }

    /// Returns the time of receipt if the event's own time is implausible.
    fn receipt(
        &mut self,
        sender: usize,
        time: Timestamp,
        received: Timestamp,
    ) -> Option<Timestamp> {
        let (received, ahead) = implausible(time, received)?;
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.ahead = activity.ahead.max(ahead);
        }
        Some(received)
    }

    pub(super) fn end(
        &mut self,
        (mut span, place, received): (SpanView<'_>, &SpanPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        if self.is_open(place) {
            return;
        }
        let key = RecentEnds::key_of(&place.key);
        let known = self.recent.get(key);
        let is_repetition = match known {
            None => false,
            Some(KnownEnd::Content(content)) => content == place.content,
            Some(KnownEnd::Stored(hash)) => {
                let source = self.source(place.sender);
                let end = end_fields(&mut span.clone());
                let fields = fields_of(span.clone(), place.key, place.parent);
                let event = encoder.received_end_event(source, fields, end);
                event.is_some_and(|event| event_hash(&event) == hash)
            }
        };
        if is_repetition {
            self.count_repetition(place.sender);
            return;
        }
        if let Some(update) = self.deferred.remove(&place.key) {
            // The last value is emitted before the end.
            self.update_deferred(update, encoder, batch);
        }
        let open = self.open.remove(&place.key);
        let was_open = open.is_some();
        let sender = open.as_ref().map_or(place.sender, |open| open.sender);
        self.uncommitted.push(Before {
            key: place.key,
            open,
            ended: self.recent.content_of(key),
            answered: None,
        });
        let source = self.source(sender);
        let end = end_fields(&mut span);
        let length = span.end_nanos - span.start_nanos;
        let mut fields = fields_of(span, place.key, place.parent);
        fields.received = self.receipt(sender, end.end, received);
        if known.is_some() {
            encoder.received_correction(source, fields, end, batch);
        } else {
            encoder.received_end(source, fields, end, batch);
        }
        self.recent.set(key, Some(place.content));
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.ended(was_open, Duration::from_nanos(length));
        }
    }

    /// Returns whether no event of the span is known, except the start of this request.
    pub(super) fn is_new(&self, place: &SpanPlace) -> bool {
        let key = RecentEnds::key_of(&place.key);
        self.recent.get(key).is_none() && !self.open.contains(&place.key)
    }

    /// Appends an end that was encoded with its start.
    pub(super) fn end_prepared(
        &mut self,
        place: &SpanPlace,
        (index, prepared): (PreparedIndex, &mut PreparedSpans),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        self.uncommitted.push(Before {
            key: place.key,
            open: None,
            ended: None,
            answered: None,
        });
        let (start, end) = prepared.times(index);
        let length = Duration::from_nanos(end.nanos().saturating_sub(start.nanos()));
        encoder.received_prepared_end(self.source(place.sender), index, (batch, prepared));
        let key = RecentEnds::key_of(&place.key);
        self.recent.set(key, Some(place.content));
        if let Some(activity) = self.activities.get_mut(place.sender) {
            activity.ended(false, length);
        }
    }
}

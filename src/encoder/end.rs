//! Encodes ends: turns a record into an `ended` event. A delta end, a record that has only what changed since the
//! start, is joined with the start that the worker remembers. If the start is missing, the delta end is counted as
//! dropped. It runs on the worker thread.

use std::sync::atomic::Ordering;

use crate::{
    encoder::{span_encoder::SpanEncoder, start_cache::EncodedStart},
    ingest::buffer::RecordClass,
    log::{
        batch::Batch,
        event::{Pinning, StreamKey},
    },
    span::{
        delta::end::EndDelta,
        dropped_ends::DroppedEnd,
        json::{self, EndCause, EndFields, EndFromStart, EndStatus, SpanFields},
        progress::SpanProgress,
        record::{self, Record, SpanRecord},
        root_attributes::RootAttributes,
    },
    trace::{
        parse,
        span_change::{ChangeKind, SpanChange, SpanOutcome, SpanStart},
    },
    util::time::Timestamp,
};

impl SpanEncoder {
    pub(super) fn end(&mut self, record: SpanRecord<'_>, end: EndFields<'_>, batch: &mut Batch) {
        self.ended_count.fetch_add(1, Ordering::Relaxed);
        if !self.own_requests.hides_end(record.span.span_id) {
            self.shown_end(record, end, batch);
        }
    }

    pub(super) fn shown_end(
        &mut self,
        record: SpanRecord<'_>,
        end: EndFields<'_>,
        batch: &mut Batch,
    ) {
        let SpanRecord {
            source,
            is_deduplicated,
            start,
            span,
            ..
        } = record;
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut masked_name = None;
        let span = self.masked_span(&process, span, &mut masked_name);
        // A replayed workflow does not know the time of the span's first start.
        let start = if is_deduplicated {
            self.first_start(&span)
                .map_or(start, |first| first.min(start))
        } else {
            start
        };
        let mut end = EndFields { start, ..end };
        self.redaction.end(span.name, &mut end);
        let (outcome, message) = (outcome(&end), message(&end));
        let pin = Pinning::Close(u64::from_be_bytes(span.span_id));
        batch.push_line("ended", span.trace_id, pin, |out| {
            json::ended(out, &span, &end);
        });
        if is_deduplicated {
            batch.mark_deduplicated();
        }
        let span_start = self.span_start(&span, start);
        self.push_change(
            batch,
            &span,
            end.end,
            ChangeKind::Ended {
                start: span_start,
                outcome,
                message,
            },
        );
    }

    /// Encodes a delta end: from the event of the remembered start if possible, or else from the start's record.
    pub(super) fn end_from_delta(&mut self, delta: EndDelta<'_>, batch: &mut Batch) {
        let dropped = DroppedEnd {
            trace_id: delta.trace_id,
            span_id: delta.span_id,
            end: delta.end.end,
        };
        let source = delta.source as usize;
        let cache = self.start_caches.get_mut(source);
        let start = cache.and_then(|cache| cache.take(delta.slot));
        let Some(mut start) = start else {
            self.end_from_record(delta, &[], dropped, batch);
            return;
        };
        match start
            .encoded
            .take_if(|encoded| encoded.can_make(&start.event, &delta))
        {
            Some(encoded) => self.end_from_start(delta, &start.event, encoded, batch),
            None => self.end_from_record(delta, &start.record, dropped, batch),
        }
        if let Some(cache) = self.start_caches.get_mut(source) {
            cache.recycle(start);
        }
    }

    /// Encodes a delta end from the `started` event of its span.
    pub(super) fn end_from_start(
        &mut self,
        mut delta: EndDelta<'_>,
        started: &[u8],
        encoded: EncodedStart,
        batch: &mut Batch,
    ) {
        self.ended_count.fetch_add(1, Ordering::Relaxed);
        if self.own_requests.hides_end(delta.span_id)
            || self.announce_process(delta.source, batch).is_none()
        {
            return;
        }
        self.redaction
            .attributes_and_links(delta.name, &mut delta.added, &mut delta.links);
        self.redaction.end(delta.name, &mut delta.end);
        let EncodedStart {
            layout, span_start, ..
        } = encoded;
        let start = delta.scope.scope.map(|_| delta.start);
        let from_start = EndFromStart {
            started,
            layout: &layout,
            start,
            scope: delta.scope.scope,
            scope_version: delta.scope.version,
            added: &delta.added,
            links: &delta.links,
            received: None,
            truncated: delta.truncated,
        };
        let pin = Pinning::Close(u64::from_be_bytes(delta.span_id));
        batch.push_line("ended", delta.trace_id, pin, |out| {
            json::ended_from_start(out, &from_start, &delta.end);
        });
        let progress = match (span_start.progress, SpanProgress::of(&delta.added)) {
            (Some(mut progress), Some(added)) => {
                progress.update(&added);
                Some(progress)
            }
            (known, added) => known.or(added),
        };
        let of_root = match (span_start.parent, span_start.parent_remote) {
            (Some(_), false) => None,
            _ => match (span_start.of_root, RootAttributes::of(&delta.added)) {
                (Some(known), Some(added)) => Some(known.updated(&added)),
                (known, added) => known.or(added),
            },
        };
        let span_start = SpanStart {
            start_time: start.unwrap_or(span_start.start_time),
            links: delta.links.iter().map(|link| link.trace_id).collect(),
            progress,
            of_root,
            ..span_start
        };
        let change = SpanChange {
            trace_id: delta.trace_id,
            span_id: delta.span_id,
            time: delta.end.end,
            kind: ChangeKind::Ended {
                start: span_start,
                outcome: outcome(&delta.end),
                message: message(&delta.end),
            },
        };
        self.pending_changes
            .push((batch.len().saturating_sub(1), change));
    }

    /// Encodes a delta end from the record of its start.
    pub(super) fn end_from_record(
        &mut self,
        delta: EndDelta<'_>,
        start: &[u8],
        dropped: DroppedEnd,
        batch: &mut Batch,
    ) {
        let joined = match record::read(start) {
            Some(Record::Start(start)) => delta.join(start),
            _ => None,
        };
        if let Some((record, end)) = joined {
            self.end(record, end, batch);
        } else {
            // For example, two open spans had the same ids, or the provider was shut down long ago. This end is
            // counted as dropped, and the span ends as lost.
            self.log.buffer.count_dropped(RecordClass::End, 1);
            self.dropped_ends.add(dropped, || false);
        }
    }

    pub(super) fn is_shown(&self, span: &SpanFields<'_>) -> bool {
        let key = StreamKey::of_id(span.trace_id);
        let token = u64::from_be_bytes(span.span_id);
        self.log.tail.open_event(&key, token).is_some()
    }

    /// Returns the time of the span's first start, if that event is still in memory.
    pub(super) fn first_start(&self, span: &SpanFields<'_>) -> Option<Timestamp> {
        let key = StreamKey::of_id(span.trace_id);
        let token = u64::from_be_bytes(span.span_id);
        let opened = self.log.tail.open_event(&key, token)?;
        let started = opened.events().next()?.payload();
        parse::timestamp(&started)
    }
}

/// Returns the status message of a failed span, cut to the length that the index keeps.
pub(super) fn message(end: &EndFields<'_>) -> Option<Box<str>> {
    match (outcome(end), &end.status) {
        (SpanOutcome::Error | SpanOutcome::Panicked, EndStatus::Error(message)) => {
            SpanStart::message(message)
        }
        _ => None,
    }
}

pub(super) fn outcome(end: &EndFields<'_>) -> SpanOutcome {
    match (&end.reason, &end.status) {
        (EndCause::Cancelled, _) => SpanOutcome::Cancelled,
        (EndCause::Panicked(_), _) => SpanOutcome::Panicked,
        (EndCause::Done, EndStatus::Error(_)) => SpanOutcome::Error,
        (EndCause::Done, EndStatus::Ok | EndStatus::Unset) => SpanOutcome::Ok,
    }
}

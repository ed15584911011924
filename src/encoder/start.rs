//! Encodes starts: turns a record into a `started` event, with a start template if one fits. The start is remembered
//! for the end of the span. A start is never encoded if its provider was shut down, or if it belongs to a request to
//! our own routes. It runs on the worker thread.

use std::sync::Arc;

use crate::{
    encoder::{
        span_encoder::SpanEncoder,
        start_cache::{EncodedStart, StartCache},
    },
    log::{batch::Batch, event::Pinning},
    span::{
        event::SpanState,
        json::{self, SpanFields},
        record::{SpanRecord, StartOutline, StepActivity},
    },
    trace::{
        index::SpanPhase,
        span_change::{ChangeKind, SpanChange},
    },
};

impl SpanEncoder {
    pub(super) fn start(
        &mut self,
        record: SpanRecord<'_>,
        outline: Option<&StartOutline<'_>>,
        batch: &mut Batch,
    ) {
        // A start that arrives after the shutdown of its provider is discarded, because the span's end would never
        // come.
        if self.closed_sources.contains(&record.source)
            || self.own_requests.hides_start(&record.span)
        {
            return;
        }
        self.shown_start(record, outline, batch);
    }

    pub(super) fn shown_start(
        &mut self,
        SpanRecord {
            source,
            is_deduplicated,
            activity,
            slot,
            start,
            span,
        }: SpanRecord<'_>,
        outline: Option<&StartOutline<'_>>,
        batch: &mut Batch,
    ) {
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut masked_name = None;
        let span = self.masked_span(&process, span, &mut masked_name);
        if is_deduplicated && activity != StepActivity::Waiting && self.is_waiting(&span) {
            // A replayed start of a waiting step means that the step runs again.
            self.push_update(&span, Some(SpanState::Running), start, batch);
            return;
        }
        let pin = Pinning::Open(u64::from_be_bytes(span.span_id));
        let mut layout = None;
        batch.push_line("started", span.trace_id, pin, |out| {
            layout = json::started(out, &span, start);
        });
        // Deduplicated, unless it is a non-durable span that was ended as lost. Only its process could have continued
        // it, and that process died. So this start is new work, not a replay.
        if is_deduplicated && (span.durable || !self.is_lost(&span)) {
            batch.mark_deduplicated();
        }
        let span_start = self.span_start(&span, start);
        if let Some(outline) = outline {
            let redaction = &self.redaction;
            let depends_on_value = |key: &str| redaction.depends_on_value(key);
            self.templates
                .learn(outline, &span, &span_start, depends_on_value);
        }
        if let (Some(slot), Some(layout), false) = (slot, layout, is_deduplicated) {
            let encoded = EncodedStart {
                trace_id: span.trace_id,
                span_id: span.span_id,
                layout,
                span_start: span_start.clone(),
            };
            self.set_encoded(source, slot, encoded, batch);
        }
        self.push_change(batch, &span, start, ChangeKind::Started(span_start));
    }

    /// Encodes a start with a template. Returns `false`, and appends no start, if no template fits or the start must be
    /// hidden.
    pub(super) fn start_from_template(
        &mut self,
        outline: &StartOutline<'_>,
        record: &[u8],
        batch: &mut Batch,
    ) -> bool {
        let Some(template) = self.templates.find(outline) else {
            return false;
        };
        let StartOutline { source, ids, .. } = *outline;
        if self.closed_sources.contains(&source) || template.is_hidden(&self.own_requests, outline)
        {
            return false;
        }
        let template = Arc::clone(template);
        if self.announce_process(source, batch).is_none() {
            return false;
        }
        let pin = Pinning::Open(u64::from_be_bytes(ids.span_id));
        let mut layout = None;
        let before = batch.len();
        let redaction = &self.redaction;
        batch.push_line("started", ids.trace_id, pin, |out| {
            layout = template.write(out, outline, redaction);
        });
        let Some(layout) = layout else {
            batch.truncate(before);
            return false;
        };
        let span_start = template.span_start(outline);
        if let Some(slot) = outline.slot {
            self.remember(source, slot, record);
            let encoded = EncodedStart {
                trace_id: ids.trace_id,
                span_id: ids.span_id,
                layout,
                span_start: span_start.clone(),
            };
            self.set_encoded(source, slot, encoded, batch);
        }
        let change = SpanChange {
            trace_id: ids.trace_id,
            span_id: ids.span_id,
            time: ids.start,
            kind: ChangeKind::Started(span_start),
        };
        self.pending_changes.push((before, change));
        true
    }

    /// Keeps the encoded start, which is the last event of the batch, for the end of its span.
    pub(super) fn set_encoded(
        &mut self,
        source: u32,
        slot: usize,
        encoded: EncodedStart,
        batch: &Batch,
    ) {
        if let Some(cache) = self.start_caches.get_mut(source as usize) {
            cache.set_encoded(slot, batch.last_payload(), encoded);
        }
    }

    /// Remembers the record of a start whose end will be a delta end.
    pub(super) fn remember(&mut self, source: u32, slot: usize, record: &[u8]) {
        let source = source as usize;
        if source >= self.start_caches.len() {
            self.start_caches
                .resize_with(source + 1, StartCache::default);
        }
        if let Some(cache) = self.start_caches.get_mut(source) {
            cache.insert(slot, record);
        }
    }

    /// Returns whether the log has ended the span as lost and has no later event of it.
    pub(super) fn is_lost(&self, span: &SpanFields<'_>) -> bool {
        self.index.span_phase(span.trace_id, span.span_id) == Some(SpanPhase::Lost)
    }
}

//! Spans of workflows: what changed while they are open, and steps that wait because nobody works on them. It runs on the
//! worker thread.

use crate::{
    encoder::span_encoder::SpanEncoder,
    log::{
        batch::Batch,
        event::{Pinning, StreamKey},
    },
    span::{
        event::SpanState,
        json::{self, SpanFields},
        record::SpanRecord,
    },
    trace::{index::SpanPhase, parse, span_change::ChangeKind},
    util::time::Timestamp,
};

impl SpanEncoder {
    /// An open span of a workflow changed.
    pub(super) fn update(
        &mut self,
        record: SpanRecord<'_>,
        state: Option<SpanState>,
        time: Timestamp,
        batch: &mut Batch,
    ) {
        let SpanRecord { source, span, .. } = record;
        let known = self.index.span_phase(span.trace_id, span.span_id);
        // Another run of the instance may have ended it, or have said the same.
        let is_news = match known {
            None => true,
            Some(SpanPhase::Running) => state != Some(SpanState::Running),
            Some(SpanPhase::Waiting) => state != Some(SpanState::Waiting),
            Some(SpanPhase::Closed | SpanPhase::Lost) => false,
        };
        if self.closed_sources.contains(&source) || !is_news {
            return;
        }
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let span = process.own_span(span);
        self.push_update(&span, state, time, batch);
    }

    pub(super) fn push_update(
        &mut self,
        span: &SpanFields<'_>,
        state: Option<SpanState>,
        time: Timestamp,
        batch: &mut Batch,
    ) {
        let mut span = SpanFields {
            attributes: span.attributes.clone(),
            links: Vec::new(),
            ..*span
        };
        self.redaction.span(&mut span);
        // The name is the span's own, and no change.
        span.name = "";
        let key = Some(StreamKey::of_id(span.trace_id));
        batch.push("updated", key, Pinning::None, |out| {
            json::updated(out, &span, state, time);
        });
        let change = match state {
            Some(state) => ChangeKind::Waiting(state == SpanState::Waiting),
            None => ChangeKind::Other,
        };
        self.note_fact(batch, &span, time, change);
    }

    /// Whether the span waits, as far as the log or the batch knows.
    pub(super) fn is_waiting(&self, span: &SpanFields<'_>) -> bool {
        let pending = self
            .facts
            .iter()
            .rev()
            .filter(|(_, fact)| fact.span_id == span.span_id && fact.trace_id == span.trace_id)
            .find_map(|(_, fact)| match fact.kind {
                ChangeKind::Waiting(waits) => Some(waits),
                ChangeKind::Ended { .. } => Some(false),
                ChangeKind::Started(_) | ChangeKind::Other => None,
            });
        pending.unwrap_or_else(|| {
            self.index.span_phase(span.trace_id, span.span_id) == Some(SpanPhase::Waiting)
        })
    }

    /// The span is open, and who worked on it is gone: it waits until it is taken up again.
    pub(super) fn mark_waiting(&mut self, started: &[u8], batch: &mut Batch) {
        let Some(fact) = parse::span_change(started) else {
            return;
        };
        if self.index.span_phase(fact.trace_id, fact.span_id) != Some(SpanPhase::Running) {
            return;
        }
        let process = parse::event(started).map(|event| event.process);
        let span = SpanFields {
            process: process.as_deref().unwrap_or_default(),
            ..SpanFields::bare(fact.trace_id, fact.span_id)
        };
        self.push_update(&span, Some(SpanState::Waiting), Timestamp::now(), batch);
    }
}

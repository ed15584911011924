//! Ends spans whose own end will never come: the end was dropped by a full buffer, the store rejected it, the process died,
//! or the provider was shut down. Each is ended as `lost`, once, from its stored start. It runs on the worker thread.

use crate::{
    encoder::{
        span_encoder::{IndexedAs, SpanEncoder},
        start_cache::StartCache,
    },
    ingest::buffer::RecordClass,
    log::{
        batch::Batch,
        event::{Pinning, StreamKey},
        retention::Retention,
    },
    span::{
        dropped_ends::DroppedEnd,
        json::{self, LostReason},
        record,
    },
    trace::{
        parse,
        span_change::{ChangeKind, SpanChange},
    },
    util::time::Timestamp,
};

impl SpanEncoder {
    /// Ends a span for its program, from its stored start; nothing when that is not there or has ended.
    pub(super) fn end_as_lost(
        &mut self,
        started: &[u8],
        reason: LostReason,
        heard: Timestamp,
        batch: &mut Batch,
    ) {
        let Some(payload) = json::lost(started, reason, heard) else {
            return;
        };
        let Some(fact) = parse::span_change(&payload) else {
            return;
        };
        let pin = Pinning::Close(u64::from_be_bytes(fact.span_id));
        let key = Some(StreamKey::of_id(fact.trace_id));
        batch.push("ended", key, pin, |out| out.extend_from_slice(&payload));
        self.facts.push((batch.len().saturating_sub(1), fact));
    }

    pub(super) fn end_dropped(
        &mut self,
        &DroppedEnd {
            trace_id,
            span_id,
            end,
        }: &DroppedEnd,
        batch: &mut Batch,
    ) {
        if self.own_requests.hides_end(span_id) {
            return;
        }
        let key = StreamKey::of_id(trace_id);
        let Some(opened) = self.log.tail.open_event(&key, u64::from_be_bytes(span_id)) else {
            return;
        };
        for event in opened.events() {
            self.end_as_lost(&event.payload(), LostReason::Dropped, end, batch);
        }
    }

    /// Notes an end that the store refused.
    pub(super) fn note_unstored_end(&mut self, fact: &SpanChange, index: IndexedAs) {
        let is_end = matches!(fact.kind, ChangeKind::Ended { .. });
        if is_end && self.unstored_ends.len() < Retention::PINNED_EVENTS_MAX {
            let dropped = DroppedEnd {
                trace_id: fact.trace_id,
                span_id: fact.span_id,
                end: fact.time,
            };
            self.unstored_ends.push((dropped, index));
        }
    }

    /// Ends the spans whose end the store refused.
    pub(super) fn end_unstored(&mut self, batch: &mut Batch) {
        for (dropped, index) in std::mem::take(&mut self.unstored_ends) {
            let facts = self.facts.len();
            self.end_dropped(&dropped, batch);
            if index == IndexedAs::Ended {
                // A lost end never takes the place of a real one.
                self.facts.truncate(facts);
            }
        }
    }

    /// Takes the marks that were kept aside. Starts of their spans may still be on the way, so they are looked at when
    /// a note that is sent now, behind those starts, arrives here.
    pub(super) fn collect_dropped_ends(&mut self) {
        if self.is_fence_sent {
            return;
        }
        if self.collected_ends.is_empty() {
            self.collected_ends = self.dropped_ends.take();
        }
        if !self.collected_ends.is_empty() {
            let pushed = self
                .log
                .buffer
                .try_push(RecordClass::Internal, record::write_dropped_ends_fence);
            self.is_fence_sent = pushed.is_ok();
        }
    }

    /// Ends the spans of the marks that were kept aside.
    pub(super) fn end_collected(&mut self, batch: &mut Batch) {
        self.is_fence_sent = false;
        for dropped in std::mem::take(&mut self.collected_ends) {
            self.end_dropped(&dropped, batch);
        }
    }

    /// Ends everything that a source left open.
    pub(super) fn end_source(&mut self, source: u32, heard: Timestamp, batch: &mut Batch) {
        self.closed_sources.insert(source);
        let before = self
            .last_closed
            .replace(source)
            .filter(|before| *before != source);
        let forgotten = before.and_then(|before| self.start_caches.get_mut(before as usize));
        if let Some(cache) = forgotten {
            *cache = StartCache::default();
        }
        let Some(process) = self.processes.get(source) else {
            return;
        };
        let id = json::quoted(&process.id);
        for slice in self.log.tail.open_events() {
            for event in slice.events() {
                let payload = event.payload();
                let is_of_source =
                    json::fields(&payload).any(|(key, value)| key == b"process" && value == id);
                if is_of_source && parse::is_durable(&payload) {
                    self.mark_waiting(&payload, batch);
                } else if is_of_source {
                    self.end_as_lost(&payload, LostReason::Shutdown, heard, batch);
                }
            }
        }
    }
}

//! Ends spans whose own end will never come: the full buffer dropped it, the store rejected it, the process died, or
//! the provider was shut down. Each such span is ended as `lost` once. The end is made from the stored start
//! and later updates. This code runs on the worker thread.

use crate::{
    encoder::{
        lost_span_updates::{LostSpanUpdates, OpenedAt},
        span_encoder::{IndexedAs, SpanEncoder},
        start_cache::StartCache,
    },
    ingest::buffer::RecordClass,
    log::{
        batch::{Batch, StoredEvent},
        event::{Pinning, StreamKey},
        retention::Retention,
    },
    span::{
        dropped_ends::DroppedEnd,
        json::{self, LostReason, MergedUpdate},
        record,
    },
    trace::{
        parse,
        span_change::{ChangeKind, SpanChange},
    },
    util::time::Timestamp,
};

impl SpanEncoder {
    /// Ends a span as lost, from its stored start. Does nothing if `started` is not a `started` event.
    pub(super) fn end_as_lost(
        &mut self,
        started: &[u8],
        updates: Option<&MergedUpdate>,
        (reason, last_heard): (LostReason, Timestamp),
        batch: &mut Batch,
    ) {
        let Some(payload) = json::lost(started, updates, (reason, last_heard)) else {
            return;
        };
        let Some(change) = parse::span_change(&payload) else {
            return;
        };
        let pin = Pinning::Close(u64::from_be_bytes(change.span_id));
        let key = Some(StreamKey::of_id(change.trace_id));
        batch.push("ended", key, pin, |out| out.extend_from_slice(&payload));
        self.pending_changes
            .push((batch.len().saturating_sub(1), change));
    }

    /// Keeps open a span that an earlier run of the log left open. If its start is too old to be in memory, appends the
    /// start again: otherwise lists would not show the span. Returns whether it does so.
    pub(super) fn keep_open(&mut self, started: &StoredEvent, batch: &mut Batch) -> bool {
        let Pinning::Open(token) = started.pin else {
            return false;
        };
        let is_in_memory = started
            .key
            .is_some_and(|key| self.log.tail.open_event(&key, token).is_some());
        if is_in_memory {
            return false;
        }
        let Some(change) = parse::span_change(&started.payload) else {
            return false;
        };
        batch.push(&started.name, started.key, started.pin, |out| {
            out.extend_from_slice(&started.payload);
        });
        self.pending_changes
            .push((batch.len().saturating_sub(1), change));
        true
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
        self.end_open((trace_id, span_id), (LostReason::Dropped, end), batch);
    }

    /// Ends a span as lost. Does nothing if the span is not open, or retention has removed its start.
    pub(super) fn end_open(
        &mut self,
        (trace_id, span_id): ([u8; 16], [u8; 8]),
        why: (LostReason, Timestamp),
        batch: &mut Batch,
    ) {
        let (key, token) = (StreamKey::of_id(trace_id), u64::from_be_bytes(span_id));
        let Some(opened) = self.log.tail.open_event(&key, token) else {
            return;
        };
        for event in opened.events() {
            let opened = OpenedAt {
                key,
                token,
                sequence: event.sequence(),
            };
            let updates = LostSpanUpdates::in_memory(&self.log, &[opened]);
            self.end_as_lost(&event.payload(), updates.of(opened), why, batch);
        }
    }

    /// Remembers a span whose end the store rejected. The number of such spans is bounded.
    pub(super) fn note_unstored_end(&mut self, change: &SpanChange, index: IndexedAs) {
        let is_end = matches!(change.kind, ChangeKind::Ended { .. });
        if is_end && self.unstored_ends.len() < Retention::PINNED_EVENTS_MAX {
            let dropped = DroppedEnd {
                trace_id: change.trace_id,
                span_id: change.span_id,
                end: change.time,
            };
            self.unstored_ends.push((dropped, index));
        }
    }

    /// Ends the remembered spans whose end the store rejected.
    pub(super) fn end_unstored(&mut self, batch: &mut Batch) {
        for (dropped, index) in std::mem::take(&mut self.unstored_ends) {
            let change_count = self.pending_changes.len();
            self.end_dropped(&dropped, batch);
            if index == IndexedAs::Ended {
                // The index has the real end. A lost end must not replace it.
                self.pending_changes.truncate(change_count);
            }
        }
    }

    /// Collects the dropped ends that found no room in the buffer. Their starts may still be in the buffer. So a fence,
    /// a record that only marks a position, is pushed behind those starts. The ends are handled when the worker reads
    /// the fence.
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

    /// Ends the spans of the collected ends. Called when the worker reads the fence.
    pub(super) fn end_collected(&mut self, batch: &mut Batch) {
        self.is_fence_sent = false;
        for dropped in std::mem::take(&mut self.collected_ends) {
            self.end_dropped(&dropped, batch);
        }
    }

    /// Ends the spans that a source (the number of a process) left open at the shutdown of its provider. Spans of
    /// durable steps wait instead.
    pub(super) fn end_source(&mut self, source: u32, last_heard: Timestamp, batch: &mut Batch) {
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
        self.end_process(&process.id, LostReason::Shutdown, last_heard, batch);
    }

    /// Ends the open spans of a process. Spans of durable steps wait instead.
    pub(super) fn end_process(
        &mut self,
        process: &str,
        reason: LostReason,
        last_heard: Timestamp,
        batch: &mut Batch,
    ) {
        let id = json::quoted(process);
        let mut lost = Vec::new();
        for slice in self.log.tail.open_events() {
            for event in slice.events() {
                let payload = event.payload();
                let is_of_source =
                    json::fields(&payload).any(|(key, value)| key == b"process" && value == id);
                if is_of_source && parse::is_durable(&payload) {
                    self.mark_waiting(&payload, batch);
                } else if is_of_source
                    && let Some(opened) = OpenedAt::of(event.key(), event.sequence(), &payload)
                {
                    lost.push((opened, payload));
                }
            }
        }
        let opened: Vec<OpenedAt> = lost.iter().map(|(opened, _)| *opened).collect();
        let updates = LostSpanUpdates::in_memory(&self.log, &opened);
        for (opened, payload) in lost {
            self.end_as_lost(&payload, updates.of(opened), (reason, last_heard), batch);
        }
    }
}

//! Encodes events that other processes report. A receiver queues requests, and a record in the ingest buffer announces
//! each request. The receiver then appends its events through these methods, so redaction, limits and the trace index
//! apply as for the program's own spans. It runs on the worker thread.

use std::sync::{Arc, Mutex};

use crate::{
    encoder::{
        received::state::{ReceivedEvents, RequestProgress},
        span_encoder::SpanEncoder,
    },
    log::batch::{Batch, StoredEvent},
    span::{
        json::{ChangeFields, EndFields, LogFields, LostReason, SpanFields},
        record::{SpanChanges, SpanRecord, StepActivity},
    },
    store::PageLimit,
    trace::parse,
    util::{
        block_on::block_on,
        sync::{Instant, lock},
        time::Timestamp,
    },
    wire::id::Sequence,
};

/// An event that was stored when the log was opened.
#[derive(Debug)]
pub(crate) enum EarlierEvent<'a> {
    /// The end of a span with these ids.
    Ended(([u8; 16], [u8; 8]), &'a [u8]),
    Log(&'a [u8]),
}

impl<'a> EarlierEvent<'a> {
    fn of(event: &'a StoredEvent) -> Option<Self> {
        match event.name.as_str() {
            "ended" if !parse::is_lost(&event.payload) => {
                let trace_id = event.key.as_ref()?.as_bytes().try_into().ok()?;
                let span_id = parse::span_id(&event.payload)?.to_bytes();
                Some(Self::Ended((trace_id, span_id), &event.payload))
            }
            "log" => Some(Self::Log(&event.payload)),
            _ => None,
        }
    }
}

/// The receiver whose events this encoder appends.
pub(crate) type SharedReceiver = Arc<Mutex<dyn ReceivedEvents<SpanEncoder>>>;

impl SpanEncoder {
    pub(in crate::encoder) fn encode_received(&mut self, batch: &mut Batch) {
        // If encoding panics, the rest of the request is abandoned.
        self.receiver.has_more = false;
        if let Some(receiver) = self.receiver.receiver.clone() {
            let progress = lock(&receiver).encode_next(self, batch);
            self.receiver.has_more = progress == RequestProgress::BatchFull;
        }
    }

    pub(in crate::encoder) fn encode_received_due(&mut self, batch: &mut Batch) {
        if let Some(receiver) = self.receiver.receiver.clone() {
            lock(&receiver).encode_due(self, batch);
        }
    }

    pub(in crate::encoder) fn next_received(&self) -> Option<Instant> {
        lock(self.receiver.receiver.as_ref()?).next_due()
    }

    /// Appends the start of a span.
    pub(crate) fn received_start(
        &mut self,
        (source, start): (u32, Timestamp),
        span: SpanFields<'_>,
        batch: &mut Batch,
    ) {
        self.shown_start(record(source, start, span), None, batch);
    }

    /// Calls `take` with the `ended` events of spans and the log records that were stored when the log was opened. It
    /// reads only the last `events_max` events of the log. It skips lost ends, because a real end may still replace
    /// them.
    pub(crate) fn events_before_opening(
        &self,
        events_max: u64,
        mut take: impl FnMut(EarlierEvent<'_>),
    ) {
        let opened_at = self.log.opened_at();
        let oldest = self.log.store.oldest().get().saturating_sub(1);
        let mut after = opened_at.saturating_sub(events_max).max(oldest);
        while after < opened_at {
            let from = Sequence::new(after);
            // If the store cannot be read, spans that are sent again may be stored twice.
            let Ok(page) = block_on(self.log.store.read_after(from, PageLimit::LARGE)) else {
                return;
            };
            let Some(last) = page.last().map(|event| event.sequence.get()) else {
                return;
            };
            after = last;
            page.iter().filter_map(EarlierEvent::of).for_each(&mut take);
        }
    }

    /// Returns the event that [`received_end`](Self::received_end) would append.
    pub(crate) fn received_end_event(
        &mut self,
        source: u32,
        span: SpanFields<'_>,
        end: EndFields<'_>,
    ) -> Option<Vec<u8>> {
        self.event_of(source, |encoder, batch| {
            encoder.shown_end(record(source, end.start, span), end, batch);
        })
    }

    /// Returns the last event that `append` would append, and appends nothing.
    fn event_of(
        &mut self,
        source: u32,
        append: impl FnOnce(&mut Self, &mut Batch),
    ) -> Option<Vec<u8>> {
        let mut batch = Batch::default();
        let is_new = self.announced.insert(source);
        let change_count = self.pending_changes.len();
        append(self, &mut batch);
        self.pending_changes.truncate(change_count);
        if is_new {
            self.announced.remove(&source);
        }
        batch.iter().last().map(|event| event.payload().to_vec())
    }

    /// Appends the end of a span.
    pub(crate) fn received_end(
        &mut self,
        source: u32,
        span: SpanFields<'_>,
        end: EndFields<'_>,
        batch: &mut Batch,
    ) {
        self.shown_end(record(source, end.start, span), end, batch);
    }

    /// Appends an end that replaces an earlier end. The index already counts the earlier one.
    pub(crate) fn received_correction(
        &mut self,
        source: u32,
        span: SpanFields<'_>,
        end: EndFields<'_>,
        batch: &mut Batch,
    ) {
        let change_count = self.pending_changes.len();
        self.shown_end(record(source, end.start, span), end, batch);
        self.pending_changes.truncate(change_count);
    }

    /// Appends the changes of an open span.
    pub(crate) fn received_update(
        &mut self,
        (source, time): (u32, Timestamp),
        span: SpanFields<'_>,
        changes: ChangeFields<'_>,
        batch: &mut Batch,
    ) {
        let changes = SpanChanges {
            source,
            is_source_guessed: false,
            span,
            changes,
            time,
        };
        self.encode_update(changes, batch);
    }

    /// Appends a log record.
    pub(crate) fn received_log(&mut self, source: u32, log: LogFields<'_>, batch: &mut Batch) {
        self.log(source, log, batch);
    }

    /// Returns the event that [`received_log`](Self::received_log) would append.
    pub(crate) fn received_log_event(
        &mut self,
        source: u32,
        log: LogFields<'_>,
    ) -> Option<Vec<u8>> {
        self.event_of(source, |encoder, batch| encoder.log(source, log, batch))
    }

    /// Ends an open span as lost, because its process died. Does nothing if retention has removed its start.
    pub(crate) fn received_lost(
        &mut self,
        span: ([u8; 16], [u8; 8]),
        last_heard: Timestamp,
        batch: &mut Batch,
    ) {
        self.end_open(span, (LostReason::Crashed, last_heard), batch);
    }
}

fn record(source: u32, start: Timestamp, span: SpanFields<'_>) -> SpanRecord<'_> {
    SpanRecord {
        source,
        is_deduplicated: false,
        activity: StepActivity::Working,
        slot: None,
        start,
        span,
    }
}

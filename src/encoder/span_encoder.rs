//! [`SpanEncoder`]: records become events, and the trace index learns of them before readers see them. It runs on the
//! log's worker thread only. It holds what the steps in the files beside it share.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use crate::{
    encoder::{start_cache::StartCache, start_templates::TemplateCache},
    engine::{
        encoder::{RecordEncoder, SharedObserver},
        log::Log,
    },
    log::{
        batch::{Batch, StoredEvent},
        event::{Pinning, StreamKey},
    },
    span::{
        delta::end::read_end_delta,
        dropped_ends::{DroppedEnd, DroppedEnds},
        json::{LostReason, SpanFields},
        own_requests::OwnRequestSpans,
        process::{Process, Processes},
        record::{self, Record, StartOutline},
        redact::Redaction,
    },
    trace::{
        index::TraceIndex,
        interner::Interner,
        observer::IndexObserver,
        parse,
        span_change::{ChangeKind, SpanChange, SpanStart},
    },
    util::{hash::Set, time::Timestamp},
};

pub(crate) struct SpanEncoder {
    pub(super) log: Arc<Log>,
    pub(super) index: Arc<TraceIndex>,
    pub(super) processes: Arc<Processes>,
    pub(super) own_requests: OwnRequestSpans,
    pub(super) announced: Set<u32>,
    /// Sources whose provider was shut down.
    pub(super) closed_sources: Set<u32>,
    /// Processes announced in the batch that is not stored yet.
    pub(super) pending_processes: Vec<u32>,
    /// Processes announced to readers while the store failed.
    pub(super) unstored_processes: Vec<u32>,
    /// The last process that was looked up: most batches are of one.
    pub(super) current: Option<(u32, Arc<Process>)>,
    /// Starts whose ends say only the rest, by source.
    pub(super) start_caches: Vec<StartCache>,
    /// The source that was shut down last: some of its ends may still come.
    pub(super) last_closed: Option<u32>,
    /// Facts of the batch that is not stored yet, each with its place in it.
    pub(super) facts: Vec<(usize, SpanChange)>,
    /// Spans whose end the store refused, and when that was: they would be shown as running for ever.
    pub(super) unstored_ends: Vec<(DroppedEnd, IndexedAs)>,
    /// Marks of dropped ends for which the buffer had no room.
    pub(super) dropped_ends: Arc<DroppedEnds>,
    pub(super) redaction: Redaction,
    pub(super) names: Interner,
    pub(super) templates: TemplateCache,
    pub(super) ended_count: Arc<AtomicU64>,
    /// Marks from the buffer, which wait until their starts, which stand before them, are stored.
    pub(super) read_ends: Vec<DroppedEnd>,
    /// Marks for which there was no room, that a note, which may be on its way, will settle.
    pub(super) collected_ends: Vec<DroppedEnd>,
    pub(super) is_fence_sent: bool,
}

/// What the index knows of a span whose end the store refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexedAs {
    Open,
    Ended,
}

impl SpanEncoder {
    pub(crate) fn new(
        log: &Arc<Log>,
        index: Arc<TraceIndex>,
        processes: Arc<Processes>,
        own_requests: OwnRequestSpans,
        dropped_ends: Arc<DroppedEnds>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            index,
            processes,
            own_requests,
            announced: Set::default(),
            closed_sources: Set::default(),
            pending_processes: Vec::new(),
            unstored_processes: Vec::new(),
            current: None,
            start_caches: Vec::new(),
            last_closed: None,
            facts: Vec::new(),
            unstored_ends: Vec::new(),
            dropped_ends,
            redaction: Redaction::none(),
            names: Interner::default(),
            templates: TemplateCache::default(),
            ended_count: Arc::default(),
            read_ends: Vec::new(),
            collected_ends: Vec::new(),
            is_fence_sent: false,
        }
    }

    /// Counts here.
    pub(crate) fn counting_ends(mut self, ended_count: Arc<AtomicU64>) -> Self {
        self.ended_count = ended_count;
        self
    }

    /// Masks what this says.
    pub(crate) fn redacting(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    pub(super) fn span_start(&mut self, span: &SpanFields<'_>, start: Timestamp) -> SpanStart {
        SpanStart {
            parent: span.parent,
            parent_remote: span.parent_remote,
            name: self.names.intern(SpanStart::text(span.name)),
            service: self.names.intern(SpanStart::text(span.service)),
            kind: span.kind,
            start_time: start,
            links: span.links.iter().map(|link| link.trace_id).collect(),
        }
    }

    /// The process of a source, whose own event stands before the first of its spans.
    pub(super) fn announce_process(
        &mut self,
        source: u32,
        batch: &mut Batch,
    ) -> Option<Arc<Process>> {
        let process = match &self.current {
            Some((current, process)) if *current == source => Arc::clone(process),
            _ => {
                let process = self.processes.get(source)?;
                self.current = Some((source, Arc::clone(&process)));
                process
            }
        };
        if self.announced.insert(source) {
            self.pending_processes.push(source);
            let pin = Pinning::Open(process.token());
            batch.push("process", None, pin, |out| {
                process.write(&self.redaction, out);
            });
        }
        Some(process)
    }

    /// Notes what the last event of the batch says. An event whose encoding panics is not there, and so is its fact.
    pub(super) fn note_fact(
        &mut self,
        batch: &Batch,
        span: &SpanFields<'_>,
        time: Timestamp,
        kind: ChangeKind,
    ) {
        let fact = SpanChange {
            trace_id: span.trace_id,
            span_id: span.span_id,
            time,
            kind,
        };
        self.facts.push((batch.len().saturating_sub(1), fact));
    }
}

impl RecordEncoder for SpanEncoder {
    fn on_hint(&mut self, record: &[u8]) {
        let Some(Record::Hide { trace_id, span_id }) = record::read(record) else {
            return;
        };
        let key = StreamKey::of_id(trace_id);
        // A start that readers have seen must be followed by its end: then it is too late to hide the span.
        if self
            .log
            .tail
            .open_event(&key, u64::from_be_bytes(span_id))
            .is_none()
        {
            self.own_requests.hide(span_id);
        } else {
            self.own_requests.identified_too_late();
        }
    }

    fn needs_commit_before(&self, record: &[u8]) -> bool {
        record::needs_stored(record)
    }

    fn encode(&mut self, record: &[u8], batch: &mut Batch) {
        self.collect_dropped_ends();
        if !self.unstored_ends.is_empty() {
            self.end_unstored(batch);
        }
        let outline = StartOutline::of(record);
        if let Some(outline) = &outline
            && self.start_from_template(outline, record, batch)
        {
            return;
        }
        // Nearly all others are these: and as one of many kinds it would be moved about.
        if let Some(delta) = read_end_delta(record) {
            self.end_from_delta(delta, batch);
            return;
        }
        match record::read(record) {
            Some(Record::Start(start)) => {
                if let Some(slot) = start.slot {
                    self.remember(start.source, slot, record);
                }
                self.start(start, outline.as_ref(), batch);
            }
            Some(Record::End(record, end)) => self.end(record, end, batch),
            Some(Record::EndIfShown(record, end)) => {
                if self.is_shown(&record.span) {
                    self.end(record, end, batch);
                }
            }
            Some(Record::Update(record, state, time)) => {
                self.update(record, state, time, batch);
            }
            Some(Record::DroppedEnd(end)) => self.read_ends.push(end),
            Some(Record::DroppedEndsFence) => self.end_collected(batch),
            Some(Record::Fence { ack }) => {
                let head = self.log.id(self.log.head());
                self.log.buffer.resolve_ack(ack, Some(head));
            }
            Some(Record::Shutdown { source, time }) => self.end_source(source, time, batch),
            Some(Record::Hide { .. }) | None => {}
        }
    }

    fn on_committed(&mut self, batch: &mut Batch) {
        for dropped in std::mem::take(&mut self.read_ends) {
            self.end_dropped(&dropped, batch);
        }
    }

    fn redact_encoded<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let redacted = self.redaction.encoded(payload);
        redacted.map_or(Cow::Borrowed(payload), Cow::Owned)
    }

    fn on_pre_encoded(&mut self, place: usize, payload: &[u8]) {
        if let Some(fact) = parse::span_change(payload) {
            self.facts.push((place, fact));
        }
    }

    fn on_duplicates(&mut self, places: &[usize]) {
        // What is left out says nothing new, and what stands behind it moves up.
        self.facts.retain_mut(|(position, _)| {
            let before = places.partition_point(|one| *one < *position);
            let is_kept = places.get(before) != Some(position);
            *position -= before;
            is_kept
        });
    }

    fn on_stored(&mut self, first: u64) {
        self.pending_processes.clear();
        self.unstored_processes.clear();
        if !self.facts.is_empty() {
            let facts = self.facts.drain(..);
            self.index
                .apply(facts.map(|(position, fact)| (first + position as u64, fact)));
        }
    }

    fn on_already_observed(&mut self) {
        self.pending_processes.clear();
        self.facts.clear();
    }

    fn on_rejected(&mut self) {
        for (_, fact) in std::mem::take(&mut self.facts) {
            self.note_unstored_end(&fact, IndexedAs::Open);
        }
        for source in self.pending_processes.drain(..) {
            self.announced.remove(&source);
        }
    }

    fn on_unstored(&mut self, first: u64) {
        let facts = std::mem::take(&mut self.facts);
        for (_, fact) in &facts {
            self.note_unstored_end(fact, IndexedAs::Ended);
        }
        let facts = facts.into_iter();
        self.index
            .apply(facts.map(|(position, fact)| (first + position as u64, fact)));
        self.unstored_processes.append(&mut self.pending_processes);
    }

    fn on_store_recovered(&mut self, batch: &mut Batch) {
        for source in self
            .unstored_processes
            .iter()
            .filter_map(|&source| self.processes.get(source))
        {
            let pin = Pinning::Open(source.token());
            batch.push("process", None, pin, |out| {
                source.write(&self.redaction, out);
            });
        }
    }

    fn close_abandoned(&mut self, event: &StoredEvent, last_heard: SystemTime, batch: &mut Batch) {
        if parse::is_durable(&event.payload) {
            self.mark_waiting(&event.payload, batch);
        } else {
            self.end_as_lost(
                &event.payload,
                LostReason::Crashed,
                last_heard.into(),
                batch,
            );
        }
    }

    fn observer(&self) -> SharedObserver {
        Arc::new(IndexObserver(Arc::clone(&self.index)))
    }

    fn on_evicted(&mut self, keys: &[StreamKey]) {
        self.index.forget(keys);
        if !keys.is_empty() {
            // The live list tells its viewers what is gone, and nothing else may happen for long.
            self.log.tail.wake_watchers();
        }
    }
}

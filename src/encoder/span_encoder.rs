//! [`SpanEncoder`] holds the state that the steps in the neighbouring files share, and implements [`RecordEncoder`]. It
//! updates the trace index before readers see the events. It runs on the worker thread only. It waits for the store to
//! read:
//!
//! - the updates of spans that end as lost,
//! - the traces whose durable spans an earlier run left open,
//! - for an OTLP receiver, the events that were stored when the log was opened.

use std::{
    borrow::Cow,
    cell::LazyCell,
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use serde::de::IgnoredAny;

#[cfg(feature = "otlp")]
use std::sync::Mutex;

#[cfg(feature = "otlp")]
use crate::encoder::received::state::{ReceivedEvents, ReceiverState};
use crate::{
    encoder::{
        eviction_query::EvictionQuery,
        lost_span_updates::{LostSpanUpdates, OpenedAt},
        start_cache::StartCache,
        start_templates::TemplateCache,
        updates::{schedule::UpdateSchedule, states::SpanStates},
    },
    engine::{
        encoder::{RecordEncoder, SharedObserver},
        log::Log,
    },
    ingest::buffer::Ack,
    log::{
        batch::{Batch, StoredEvent},
        event::{Pinning, StreamKey},
        tail::Evictions,
    },
    span::{
        delta::end::read_end_delta,
        dropped_ends::{DroppedEnd, DroppedEnds},
        json::{self, LostReason, SpanFields},
        own_requests::OwnRequestSpans,
        process::{Process, Processes},
        progress::SpanProgress,
        record::{self, Record, StartOutline},
        redact::Redaction,
        root_attributes::RootAttributes,
        updates::UpdateQueue,
    },
    store::validated::PayloadFormat,
    trace::{
        end::TraceEnd,
        index::TraceIndex,
        interner::Interner,
        observer::IndexObserver,
        parse::{self, plain_span::PlainSpan},
        span_change::{ChangeKind, SpanChange, SpanStart},
    },
    util::{hash::Set, sync::Instant, time::Timestamp},
};

pub(crate) struct SpanEncoder {
    pub(super) log: Arc<Log>,
    pub(super) index: Arc<TraceIndex>,
    pub(super) processes: Arc<Processes>,
    pub(super) own_requests: OwnRequestSpans,
    pub(super) announced: Set<u32>,
    /// Sources (numbers of processes) whose provider was shut down.
    pub(super) closed_sources: Set<u32>,
    /// Processes whose `process` event is in the batch that is not stored yet.
    pub(super) pending_processes: Vec<u32>,
    /// Processes whose `process` event readers got while the store failed. It is written again when the store recovers.
    pub(super) unstored_processes: Vec<u32>,
    /// The last process that was looked up. Most batches have only one process.
    pub(super) current: Option<(u32, Arc<Process>)>,
    /// Starts whose ends will be delta ends (records with only what has changed since the start), by source.
    pub(super) start_caches: Vec<StartCache>,
    /// The source that was shut down last. Its cache is kept, because some of its ends may still arrive.
    pub(super) last_closed: Option<u32>,
    /// Changes of the batch that is not stored yet, each with the index of its event in the batch.
    pub(super) pending_changes: Vec<(usize, SpanChange)>,
    /// Spans whose `ended` event the store rejected, with their end time. They are ended as lost at the next
    /// opportunity; otherwise they would appear to run for ever.
    pub(super) unstored_ends: Vec<(DroppedEnd, IndexedAs)>,
    /// Dropped ends whose record found no room in the buffer. Host threads add to this list.
    pub(super) dropped_ends: Arc<DroppedEnds>,
    /// Created at its first use, so that a process that encodes nothing does not pay for it.
    pub(super) redaction: LazyCell<Redaction, Box<dyn FnOnce() -> Redaction + Send>>,
    pub(super) names: Interner,
    eviction_query: EvictionQuery,
    pub(super) templates: TemplateCache,
    pub(super) ended_count: Arc<AtomicU64>,
    /// Dropped ends that were read from the buffer. They wait until the batch with their starts is stored.
    pub(super) read_ends: Vec<DroppedEnd>,
    /// Dropped ends taken from `dropped_ends`. A fence, a record that only marks a position, is pushed behind their
    /// starts. The ends are handled when the worker reads the fence.
    pub(super) collected_ends: Vec<DroppedEnd>,
    /// Whether the fence for `collected_ends` is in the buffer.
    pub(super) is_fence_sent: bool,
    pub(super) updates: UpdateSchedule,
    pub(super) states: SpanStates,
    #[cfg(feature = "otlp")]
    pub(super) receiver: ReceiverState<Self>,
    /// Ids of processes, as JSON strings, whose open spans stay open when the log is opened.
    running_processes: Set<Vec<u8>>,
    /// The updates of the spans of dead processes. Used while the worker ends these spans.
    abandoned_updates: LostSpanUpdates,
    /// The traces that an earlier run of the log left open and that memory does not have. They stay in the index while
    /// they are open.
    pub(super) left_open: Set<[u8; 16]>,
}

/// The state that the index has of a span whose end the store rejected.
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
        let mut states = SpanStates::default();
        states.begin_at(log.opened_at() + 1);
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
            pending_changes: Vec::new(),
            unstored_ends: Vec::new(),
            dropped_ends,
            redaction: LazyCell::new(Box::new(Redaction::none)),
            names: Interner::default(),
            eviction_query: EvictionQuery::default(),
            templates: TemplateCache::default(),
            ended_count: Arc::default(),
            read_ends: Vec::new(),
            collected_ends: Vec::new(),
            is_fence_sent: false,
            updates: UpdateSchedule::default(),
            states,
            #[cfg(feature = "otlp")]
            receiver: ReceiverState::of(None),
            running_processes: Set::default(),
            abandoned_updates: LostSpanUpdates::default(),
            left_open: Set::default(),
        }
    }

    /// Sets the counter of encoded ends.
    pub(crate) fn counting_ends(mut self, ended_count: Arc<AtomicU64>) -> Self {
        self.ended_count = ended_count;
        self
    }

    /// Sets the queue from which the changes of open spans are taken.
    pub(crate) fn with_update_queue(mut self, queue: Arc<UpdateQueue>) -> Self {
        self.updates = UpdateSchedule::new(queue);
        self
    }

    /// Sets the processes whose open spans stay open when the log is opened.
    pub(crate) fn with_running_processes(mut self, ids: &[String]) -> Self {
        self.running_processes = ids.iter().map(|id| json::quoted(id)).collect();
        self
    }

    /// Sets the receiver whose requests this encoder appends.
    #[cfg(feature = "otlp")]
    pub(crate) fn receiving(
        mut self,
        receiver: Option<Arc<Mutex<dyn ReceivedEvents<Self>>>>,
    ) -> Self {
        self.receiver = ReceiverState::of(receiver);
        self
    }

    /// Applies the changes of a batch to the index. `first` is the sequence of the batch's first event.
    fn apply(&self, first: u64, changes: impl Iterator<Item = (usize, SpanChange)>) {
        let changes = changes.map(|(position, change)| (first + position as u64, change));
        if !self.index.ends.is_watched() {
            self.index.apply(changes);
            return;
        }
        for id in self.index.apply_watched(changes) {
            let summary = self.index.summary(id, |at| self.log.id(at));
            if let Some(end) = summary.and_then(TraceEnd::of) {
                self.index.ends.send(&end);
            }
        }
    }

    /// Sets the redaction that masks values.
    pub(crate) fn redacting(
        mut self,
        redaction: impl FnOnce() -> Redaction + Send + 'static,
    ) -> Self {
        self.redaction = LazyCell::new(Box::new(redaction));
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
            progress: SpanProgress::of(&span.attributes),
            of_root: match (span.parent, span.parent_remote) {
                (Some(_), false) => None,
                _ => RootAttributes::of(&span.attributes),
            },
        }
    }

    /// Returns the span with the id and service of `process`, masked. If anything in the span's name had to be masked,
    /// `name` holds the masked name.
    pub(super) fn masked_span<'a>(
        &self,
        process: &'a Process,
        span: SpanFields<'a>,
        name: &'a mut Option<String>,
    ) -> SpanFields<'a> {
        *name = self.redaction.name(span.name);
        let mut span = process.own_span(span);
        span.name = name.as_deref().unwrap_or(span.name);
        self.redaction.span(&mut span);
        span
    }

    /// Returns the process of a source, or `None` if it is unknown. If no `process` event of it was written yet, adds
    /// that event to the batch.
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

    /// Adds the change that the last event of the batch reports. It must be called after the event is encoded: if
    /// encoding panics, the batch has no such event, and no change is added.
    pub(super) fn push_change(
        &mut self,
        batch: &Batch,
        span: &SpanFields<'_>,
        time: Timestamp,
        kind: ChangeKind,
    ) {
        let change = SpanChange {
            trace_id: span.trace_id,
            span_id: span.span_id,
            time,
            kind,
        };
        self.pending_changes
            .push((batch.len().saturating_sub(1), change));
    }
}

impl RecordEncoder for SpanEncoder {
    const PAYLOAD_FORMAT: PayloadFormat = PayloadFormat(is_json_object);

    fn on_hint(&mut self, record: &[u8]) {
        let Some(Record::Hide { trace_id, span_id }) = record::read(record) else {
            return;
        };
        let key = StreamKey::of_id(trace_id);
        // If readers have the start, they must get the end: it is too late to hide the span.
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
        // Most of the remaining records are delta ends, so this is tried first. As a variant of the large `Record`
        // enum, a delta end would be copied around.
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
            Some(Record::Log { source, log }) => self.log(source, log, batch),
            #[cfg(feature = "otlp")]
            Some(Record::Received) => self.encode_received(batch),
            Some(Record::Changes(changes)) => self.last_changes(changes, batch),
            Some(Record::DroppedEnd(end)) => self.read_ends.push(end),
            Some(Record::DroppedEndsFence) => self.end_collected(batch),
            Some(Record::Fence { ack }) => {
                let head = self.log.id(self.log.head());
                self.log.buffer.resolve_ack(ack, Some(Ack::Stored(head)));
            }
            Some(Record::Shutdown { source, time }) => self.end_source(source, time, batch),
            Some(Record::ProcessGone { process, time }) => {
                self.end_process(process, LostReason::Crashed, time, batch);
            }
            Some(Record::Hide { .. }) | None => {}
        }
    }

    #[cfg(feature = "otlp")]
    fn has_more(&self) -> bool {
        self.receiver.has_more
    }

    #[cfg(feature = "otlp")]
    fn encode_more(&mut self, batch: &mut Batch) {
        self.encode_received(batch);
    }

    fn before_drain(&mut self) {
        self.updates.take_queued();
    }

    fn after_drain(&mut self, batch: &mut Batch) {
        self.encode_due_updates(batch);
        #[cfg(feature = "otlp")]
        self.encode_received_due(batch);
        self.write_due_states(batch);
    }

    fn has_changes(&self) -> bool {
        self.updates.has_changes()
    }

    fn next_due(&self) -> Option<Instant> {
        if self.states.is_due(|| self.log.oldest()) {
            return Some(Instant::now());
        }
        let due = self.updates.next_due();
        #[cfg(feature = "otlp")]
        let due = due.into_iter().chain(self.next_received()).min();
        due
    }

    fn on_committed(&mut self, batch: &mut Batch) {
        for dropped in std::mem::take(&mut self.read_ends) {
            self.end_dropped(&dropped, batch);
        }
        #[cfg(feature = "otlp")]
        self.receiver.report();
    }

    fn read_pre_encoded<'a>(&mut self, position: usize, payload: &'a [u8]) -> Cow<'a, [u8]> {
        if let Some(span) = PlainSpan::read(payload, &self.redaction)
            && let Some(change) = span.change(|name| self.names.intern(name))
        {
            self.note_encoded_update(&change, payload);
            self.pending_changes.push((position, change));
            return Cow::Borrowed(payload);
        }
        let redacted = self.redaction.encoded(payload);
        let payload = redacted.map_or(Cow::Borrowed(payload), Cow::Owned);
        self.on_pre_encoded(position, &payload);
        payload
    }

    fn on_pre_encoded(&mut self, position: usize, payload: &[u8]) {
        if let Some(change) = parse::span_change(payload) {
            self.note_encoded_update(&change, payload);
            self.pending_changes.push((position, change));
        }
    }

    fn on_duplicates(&mut self, positions: &[usize]) {
        // The worker removes duplicates from the batch. Their changes are removed here, and later indexes shift down.
        self.pending_changes.retain_mut(|(position, _)| {
            let before = positions.partition_point(|one| *one < *position);
            let is_kept = positions.get(before) != Some(position);
            *position -= before;
            is_kept
        });
    }

    fn on_stored(&mut self, first: u64) {
        #[cfg(feature = "otlp")]
        self.receiver.note(true);
        self.abandoned_updates = LostSpanUpdates::default();
        self.pending_processes.clear();
        self.unstored_processes.clear();
        if !self.pending_changes.is_empty() {
            let mut changes = std::mem::take(&mut self.pending_changes);
            self.number_states(&changes, first, false);
            self.apply(first, changes.drain(..));
            // Keeps the memory for the next batch.
            self.pending_changes = changes;
        }
    }

    fn on_already_observed(&mut self) {
        #[cfg(feature = "otlp")]
        self.receiver.note(true);
        self.pending_processes.clear();
        let changes = std::mem::take(&mut self.pending_changes);
        // The sequences of these events are not known here. None is above the head of the log.
        self.number_states(&changes, self.log.head(), false);
    }

    fn on_rejected(&mut self) {
        #[cfg(feature = "otlp")]
        self.receiver.note(false);
        for (_, change) in std::mem::take(&mut self.pending_changes) {
            self.note_unstored_end(&change, IndexedAs::Open);
        }
        self.states.on_rejected(self.log.tail.next());
        for source in self.pending_processes.drain(..) {
            self.announced.remove(&source);
        }
    }

    fn on_unstored(&mut self, first: u64) {
        #[cfg(feature = "otlp")]
        self.receiver.note(false);
        let changes = std::mem::take(&mut self.pending_changes);
        self.number_states(&changes, first, true);
        for (_, change) in &changes {
            self.note_unstored_end(change, IndexedAs::Ended);
        }
        self.apply(first, changes.into_iter());
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
        let opened = OpenedAt::of(event.key, event.sequence.get(), &event.payload);
        let mut updates = std::mem::take(&mut self.abandoned_updates);
        // If the store cannot be read, a lost span still ends, but its end repeats only the data of its start.
        let is_read = opened.is_some_and(|opened| updates.read_store(&self.log, opened));
        let update = opened.and_then(|opened| updates.of(opened));
        let mut fields = json::fields(&event.payload);
        if parse::is_durable(&event.payload) {
            self.restore_state(event, (update, is_read), Some(event.sequence.get()));
            self.index_open_trace(event);
            self.mark_waiting(&event.payload, batch);
        } else if fields
            .any(|(key, value)| key == b"process" && self.running_processes.contains(value))
        {
            let is_appended = self.keep_open(event, batch);
            let opened = (!is_appended).then_some(event.sequence.get());
            self.restore_state(event, (update, is_read), opened);
        } else {
            let why = (LostReason::Crashed, last_heard.into());
            self.end_as_lost(&event.payload, update, why, batch);
        }
        self.abandoned_updates = updates;
    }

    fn observer(&self) -> SharedObserver {
        Arc::new(IndexObserver(Arc::clone(&self.index)))
    }

    fn awaits_store(&self) -> bool {
        self.eviction_query.is_pending()
    }

    fn on_evicted(&mut self, evictions: &Evictions) {
        let gone = self.without_left_open(&evictions.streams);
        if !self.states.is_empty() {
            let traces = gone.iter().filter_map(|key| key.as_bytes().try_into().ok());
            traces.for_each(|trace_id| self.states.forget_trace(trace_id));
        }
        self.index.forget(&gone);
        self.index.set_evicted(&evictions.shortened);
        self.index.note_changed(&evictions.outgrown);
        let has_evictions = !evictions.streams.is_empty()
            || !evictions.shortened.is_empty()
            || !evictions.outgrown.is_empty();
        if has_evictions | self.eviction_query.poll(&self.log, &self.index) {
            // Wakes the live lists, so that they remove or change these traces. Otherwise they might not wake for a
            // long time.
            self.log.tail.wake_watchers();
        }
    }
}

fn is_json_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_spans_is_one_json_object() {
        let cases = [
            ("{}", true),
            ("{\"name\":\"\u{e9}\"}", true),
            ("{\"a\":[{\"b\":null}]}", true),
            ("", false),
            ("[]", false),
            ("{\"a\":1", false),
            ("{} {}", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_json_object(text), expected, "{text}");
        }
    }
}

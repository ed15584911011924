//! What the worker does with spans: records become events, and the index learns of them before readers see them. It
//! runs on the worker thread only.

pub(crate) mod start_cache;
pub(crate) mod template_cache;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::{
    encoder::{
        start_cache::{EncodedStart, StartCache},
        template_cache::TemplateCache,
    },
    engine::{
        encoder::{RecordEncoder, SharedObserver},
        log::Log,
    },
    ingest::buffer::RecordClass,
    log::{
        batch::{Batch, StoredEvent},
        event::{Pinning, StreamKey},
        retention::Retention,
    },
    span::{
        dropped_ends::{DroppedEnd, DroppedEnds},
        event::SpanState,
        json::{self, EndFields, EndFromStart, EndStatus, LostReason, SpanFields},
        own_requests::OwnRequestSpans,
        process::{Process, Processes},
        record::{self, EndDelta, Record, SpanRecord, StartOutline, StepActivity},
        redact::Redaction,
    },
    trace::{
        index::{KnownSpan, TraceIndex},
        interner::Names,
        observer::IndexObserver,
        parse,
        state::{Begun, Change, Fact, Outcome},
    },
    util::{hash::Set, time::Timestamp},
};

pub(crate) struct SpanEncoder {
    log: Arc<Log>,
    index: Arc<TraceIndex>,
    processes: Arc<Processes>,
    own_requests: OwnRequestSpans,
    announced: Set<u32>,
    /// Sources whose provider was shut down.
    closed_sources: Set<u32>,
    /// Processes announced in the batch that is not stored yet.
    pending_processes: Vec<u32>,
    /// Processes announced to readers while the store failed.
    unstored_processes: Vec<u32>,
    /// The last process that was looked up: most batches are of one.
    current: Option<(u32, Arc<Process>)>,
    /// Starts whose ends say only the rest, by source.
    start_caches: Vec<StartCache>,
    /// The source that was shut down last: some of its ends may still come.
    last_closed: Option<u32>,
    /// Facts of the batch that is not stored yet, each with its place in it.
    facts: Vec<(usize, Fact)>,
    /// Spans whose end the store refused, and when that was: they would be shown as running for ever.
    unstored_ends: Vec<(DroppedEnd, IndexedAs)>,
    /// Marks of dropped ends for which the buffer had no room.
    dropped_ends: Arc<DroppedEnds>,
    redaction: Redaction,
    names: Names,
    templates: TemplateCache,
    ended_count: Arc<AtomicU64>,
    /// Marks from the buffer, which wait until their starts, which stand before them, are stored.
    read_ends: Vec<DroppedEnd>,
    /// Marks for which there was no room, that a note, which may be on its way, will settle.
    collected_ends: Vec<DroppedEnd>,
    is_fence_sent: bool,
}

/// What the index knows of a span whose end the store refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IndexedAs {
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
            names: Names::default(),
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

    fn start(
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
        // A start that raced the shutdown of its provider comes too late: nothing would ever end it.
        if self.closed_sources.contains(&source) || self.own_requests.hides_start(&span) {
            return;
        }
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut span = process.own_span(span);
        self.redaction.span(&mut span);
        if is_deduplicated && activity != StepActivity::Waiting && self.is_waiting(&span) {
            // It was started before, and waited since then.
            self.push_update(&span, Some(SpanState::Running), start, batch);
            return;
        }
        let pin = Pinning::Open(u64::from_be_bytes(span.span_id));
        let mut layout = None;
        batch.push_line("started", span.trace_id, pin, |out| {
            layout = json::started(out, &span, start);
        });
        // What was lost with a process that alone remembered it is no replay, but done anew.
        if is_deduplicated && (span.durable || !self.is_lost(&span)) {
            batch.mark_deduplicated();
        }
        let begun = self.span_start(&span, start);
        if let Some(outline) = outline {
            let redaction = &self.redaction;
            let depends_on_value = |key: &str| redaction.depends_on_value(key);
            self.templates
                .learn(outline, &span, &begun, depends_on_value);
        }
        if let (Some(slot), Some(layout), false) = (slot, layout, is_deduplicated) {
            let encoded = EncodedStart {
                trace_id: span.trace_id,
                span_id: span.span_id,
                layout,
                begun: begun.clone(),
            };
            self.set_encoded(source, slot, encoded, batch);
        }
        self.note_fact(batch, &span, start, Change::Started(begun));
    }

    /// Takes the start of a span that looks like one before; whether it did.
    fn start_from_template(
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
        batch.push_line("started", ids.trace_id, pin, |out| {
            layout = template.write(out, outline);
        });
        let Some(layout) = layout else {
            batch.truncate(before);
            return false;
        };
        let begun = template.span_start(outline);
        if let Some(slot) = outline.slot {
            self.remember(source, slot, record);
            let encoded = EncodedStart {
                trace_id: ids.trace_id,
                span_id: ids.span_id,
                layout,
                begun: begun.clone(),
            };
            self.set_encoded(source, slot, encoded, batch);
        }
        let fact = Fact {
            trace_id: ids.trace_id,
            span_id: ids.span_id,
            time: ids.start,
            change: Change::Started(begun),
        };
        self.facts.push((before, fact));
        true
    }

    /// Keeps what the start of a span became, which is the last event of the batch, for its end.
    fn set_encoded(&mut self, source: u32, slot: usize, encoded: EncodedStart, batch: &Batch) {
        if let Some(cache) = self.start_caches.get_mut(source as usize) {
            cache.set_encoded(slot, batch.last_payload(), encoded);
        }
    }

    fn end(&mut self, record: SpanRecord<'_>, end: EndFields<'_>, batch: &mut Batch) {
        let SpanRecord {
            source,
            is_deduplicated,
            start,
            span,
            ..
        } = record;
        self.ended_count.fetch_add(1, Ordering::Relaxed);
        if self.own_requests.hides_end(span.span_id) {
            return;
        }
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut span = process.own_span(span);
        self.redaction.span(&mut span);
        // A workflow may have been replayed since, and not know when the span began.
        let start = if is_deduplicated {
            self.first_start(&span)
                .map_or(start, |first| first.min(start))
        } else {
            start
        };
        let mut end = EndFields { start, ..end };
        self.redaction.end(span.name, &mut end);
        let outcome = outcome(&end);
        let pin = Pinning::Close(u64::from_be_bytes(span.span_id));
        batch.push_line("ended", span.trace_id, pin, |out| {
            json::ended(out, &span, &end);
        });
        if is_deduplicated {
            batch.mark_deduplicated();
        }
        let begun = self.span_start(&span, start);
        self.note_fact(batch, &span, end.end, Change::Ended { begun, outcome });
    }

    /// Remembers the start of a span whose end will say only the rest.
    fn remember(&mut self, source: u32, slot: usize, record: &[u8]) {
        let source = source as usize;
        if source >= self.start_caches.len() {
            self.start_caches
                .resize_with(source + 1, StartCache::default);
        }
        if let Some(cache) = self.start_caches.get_mut(source) {
            cache.insert(slot, record);
        }
    }

    /// Joins the end of a span with its start.
    fn end_from_delta(&mut self, delta: EndDelta<'_>, batch: &mut Batch) {
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

    /// Makes the end of a span of the event that its start became.
    fn end_from_start(
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
        let EncodedStart { layout, begun, .. } = encoded;
        let start = delta.scope.scope.map(|_| delta.start);
        let from_start = EndFromStart {
            started,
            layout: &layout,
            start,
            scope: delta.scope.scope,
            scope_version: delta.scope.version,
            added: &delta.added,
            links: &delta.links,
            truncated: delta.truncated,
        };
        let pin = Pinning::Close(u64::from_be_bytes(delta.span_id));
        batch.push_line("ended", delta.trace_id, pin, |out| {
            json::ended_from_start(out, &from_start, &delta.end);
        });
        let begun = Begun {
            start: start.unwrap_or(begun.start),
            links: delta.links.iter().map(|link| link.trace_id).collect(),
            ..begun
        };
        let fact = Fact {
            trace_id: delta.trace_id,
            span_id: delta.span_id,
            time: delta.end.end,
            change: Change::Ended {
                begun,
                outcome: outcome(&delta.end),
            },
        };
        self.facts.push((batch.len().saturating_sub(1), fact));
    }

    /// Makes the end of a span whole, with the record of its start.
    fn end_from_record(
        &mut self,
        delta: EndDelta<'_>,
        start: &[u8],
        dropped: DroppedEnd,
        batch: &mut Batch,
    ) {
        let joined = match record::read(start) {
            Some(Record::Start(begun)) => delta.join(begun),
            _ => None,
        };
        if let Some((record, end)) = joined {
            self.end(record, end, batch);
        } else {
            // Two open spans had the same ids, or its provider was shut down long ago: counted, and marked, as any end
            // that is lost on the way.
            self.log.buffer.count_dropped(RecordClass::End, 1);
            self.dropped_ends.add(dropped, || false);
        }
    }

    /// An open span of a workflow changed.
    fn update(
        &mut self,
        record: SpanRecord<'_>,
        state: Option<SpanState>,
        time: Timestamp,
        batch: &mut Batch,
    ) {
        let SpanRecord { source, span, .. } = record;
        let known = self.index.span_state(span.trace_id, span.span_id);
        // Another run of the instance may have ended it, or have said the same.
        let is_news = match known {
            None => true,
            Some(KnownSpan::Running) => state != Some(SpanState::Running),
            Some(KnownSpan::Waiting) => state != Some(SpanState::Waiting),
            Some(KnownSpan::Closed | KnownSpan::Lost) => false,
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

    fn push_update(
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
            Some(state) => Change::Waiting(state == SpanState::Waiting),
            None => Change::Other,
        };
        self.note_fact(batch, &span, time, change);
    }

    /// Whether the span waits, as far as the log or the batch knows.
    fn is_waiting(&self, span: &SpanFields<'_>) -> bool {
        let pending = self
            .facts
            .iter()
            .rev()
            .filter(|(_, fact)| fact.span_id == span.span_id && fact.trace_id == span.trace_id)
            .find_map(|(_, fact)| match fact.change {
                Change::Waiting(waits) => Some(waits),
                Change::Ended { .. } => Some(false),
                Change::Started(_) | Change::Other => None,
            });
        pending.unwrap_or_else(|| {
            self.index.span_state(span.trace_id, span.span_id) == Some(KnownSpan::Waiting)
        })
    }

    /// Whether the span was ended for its program, and nothing was heard of it since, as far as the log knows.
    fn is_lost(&self, span: &SpanFields<'_>) -> bool {
        self.index.span_state(span.trace_id, span.span_id) == Some(KnownSpan::Lost)
    }

    /// When the span began, if its start is kept.
    fn first_start(&self, span: &SpanFields<'_>) -> Option<Timestamp> {
        let key = StreamKey::of_id(span.trace_id);
        let token = u64::from_be_bytes(span.span_id);
        let opened = self.log.tail.open_event(&key, token)?;
        let started = opened.events().next()?.payload();
        parse::timestamp(&started)
    }

    /// The span is open, and who worked on it is gone: it waits until it is taken up again.
    fn mark_waiting(&mut self, started: &[u8], batch: &mut Batch) {
        let Some(fact) = parse::fact(started) else {
            return;
        };
        if self.index.span_state(fact.trace_id, fact.span_id) != Some(KnownSpan::Running) {
            return;
        }
        let process = parse::event(started).map(|event| event.process);
        let span = SpanFields {
            process: process.as_deref().unwrap_or_default(),
            ..SpanFields::bare(fact.trace_id, fact.span_id)
        };
        self.push_update(&span, Some(SpanState::Waiting), Timestamp::now(), batch);
    }

    fn span_start(&mut self, span: &SpanFields<'_>, start: Timestamp) -> Begun {
        Begun {
            parent: span.parent,
            parent_remote: span.parent_remote,
            name: self.names.share(Begun::text(span.name)),
            service: self.names.share(Begun::text(span.service)),
            kind: span.kind,
            start,
            links: span.links.iter().map(|link| link.trace_id).collect(),
        }
    }

    fn is_shown(&self, span: &SpanFields<'_>) -> bool {
        let key = StreamKey::of_id(span.trace_id);
        let token = u64::from_be_bytes(span.span_id);
        self.log.tail.open_event(&key, token).is_some()
    }

    /// The process of a source, whose own event stands before the first of its spans.
    fn announce_process(&mut self, source: u32, batch: &mut Batch) -> Option<Arc<Process>> {
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
    fn note_fact(&mut self, batch: &Batch, span: &SpanFields<'_>, time: Timestamp, change: Change) {
        let fact = Fact {
            trace_id: span.trace_id,
            span_id: span.span_id,
            time,
            change,
        };
        self.facts.push((batch.len().saturating_sub(1), fact));
    }

    /// Ends a span for its program, from its stored start; nothing when that is not there or has ended.
    fn end_as_lost(
        &mut self,
        started: &[u8],
        reason: LostReason,
        heard: Timestamp,
        batch: &mut Batch,
    ) {
        let Some(payload) = json::lost(started, reason, heard) else {
            return;
        };
        let Some(fact) = parse::fact(&payload) else {
            return;
        };
        let pin = Pinning::Close(u64::from_be_bytes(fact.span_id));
        let key = Some(StreamKey::of_id(fact.trace_id));
        batch.push("ended", key, pin, |out| out.extend_from_slice(&payload));
        self.facts.push((batch.len().saturating_sub(1), fact));
    }

    fn end_dropped(
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
    fn note_unstored_end(&mut self, fact: &Fact, index: IndexedAs) {
        let is_end = matches!(fact.change, Change::Ended { .. });
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
    fn end_unstored(&mut self, batch: &mut Batch) {
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
    fn collect_dropped_ends(&mut self) {
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
    fn end_collected(&mut self, batch: &mut Batch) {
        self.is_fence_sent = false;
        for dropped in std::mem::take(&mut self.collected_ends) {
            self.end_dropped(&dropped, batch);
        }
    }

    /// Ends everything that a source left open.
    fn end_source(&mut self, source: u32, heard: Timestamp, batch: &mut Batch) {
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
        if let Some(delta) = record::read_end_delta(record) {
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
        if let Some(fact) = parse::fact(payload) {
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

fn outcome(end: &EndFields<'_>) -> Outcome {
    match end.status {
        _ if end.cancelled => Outcome::Cancelled,
        EndStatus::Error(_) => Outcome::Error,
        EndStatus::Ok | EndStatus::Unset => Outcome::Ok,
    }
}

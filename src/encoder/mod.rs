//! What the worker does with spans: records become events, and the index learns of them before readers see them. It
//! runs on the worker thread only.

pub(crate) mod dropped_count;
pub(crate) mod start_cache;
pub(crate) mod template_cache;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use crate::{
    encoder::{
        dropped_count::Tally,
        start_cache::{Remembered, Told},
        template_cache::Shapes,
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
        dropped_ends::{Mark, Marks},
        event::SpanState,
        json::{self, Again, End, LostReason, Span, Status},
        process::{Process, Processes},
        record::{self, Doing, Outline, Record, Rest, Spanned},
        redact::Redaction,
        self_requests::Hidden,
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

pub(crate) struct SpanTranslator {
    log: Arc<Log>,
    index: Arc<TraceIndex>,
    processes: Arc<Processes>,
    hidden: Hidden,
    announced: Set<u32>,
    /// Sources whose provider was shut down.
    closed: Set<u32>,
    /// Processes announced in the batch that is not stored yet.
    announcing: Vec<u32>,
    /// Processes announced to readers while the store failed.
    unkept: Vec<u32>,
    /// The last process that was looked up: most batches are of one.
    current: Option<(u32, Arc<Process>)>,
    /// Starts whose ends say only the rest, by source.
    remembered: Vec<Remembered>,
    /// The source that was shut down last: some of its ends may still come.
    closing: Option<u32>,
    /// Facts of the batch that is not stored yet, each with its place in it.
    facts: Vec<(usize, Fact)>,
    /// Spans whose end the store refused, and when that was: they would be shown as running for ever.
    owed: Vec<(Mark, IndexSays)>,
    /// Marks of dropped ends for which the buffer had no room.
    marks: Arc<Marks>,
    redaction: Redaction,
    names: Names,
    shapes: Shapes,
    tally: Arc<Tally>,
    /// Marks from the buffer, which wait until their starts, which stand before them, are stored.
    marked: Vec<Mark>,
    /// Marks for which there was no room, that a note, which may be on its way, will settle.
    settling: Vec<Mark>,
    is_settling: bool,
}

/// What the index knows of a span whose end the store refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IndexSays {
    Open,
    Ended,
}

impl SpanTranslator {
    pub(crate) fn new(
        log: &Arc<Log>,
        index: Arc<TraceIndex>,
        processes: Arc<Processes>,
        hidden: Hidden,
        marks: Arc<Marks>,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            index,
            processes,
            hidden,
            announced: Set::default(),
            closed: Set::default(),
            announcing: Vec::new(),
            unkept: Vec::new(),
            current: None,
            remembered: Vec::new(),
            closing: None,
            facts: Vec::new(),
            owed: Vec::new(),
            marks,
            redaction: Redaction::none(),
            names: Names::default(),
            shapes: Shapes::default(),
            tally: Arc::default(),
            marked: Vec::new(),
            settling: Vec::new(),
            is_settling: false,
        }
    }

    /// Counts here.
    pub(crate) fn counting(mut self, tally: Arc<Tally>) -> Self {
        self.tally = tally;
        self
    }

    /// Masks what this says.
    pub(crate) fn redacting(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    fn start(
        &mut self,
        Spanned {
            source,
            once,
            doing,
            place,
            start,
            span,
        }: Spanned<'_>,
        outline: Option<&Outline<'_>>,
        batch: &mut Batch,
    ) {
        // A start that raced the shutdown of its provider comes too late: nothing would ever end it.
        if self.closed.contains(&source) || self.hidden.hides_start(&span) {
            return;
        }
        let Some(process) = self.introduce(source, batch) else {
            return;
        };
        let mut span = process.own(span);
        self.redaction.span(&mut span);
        if once && doing != Doing::Rests && self.is_waiting(&span) {
            // It was started before, and waited since then.
            self.change(&span, Some(SpanState::Running), start, batch);
            return;
        }
        let pin = Pinning::Open(u64::from_be_bytes(span.span_id));
        let mut places = None;
        batch.push_line("started", span.trace_id, pin, |out| {
            places = json::started(out, &span, start);
        });
        // What was lost with a process that alone remembered it is no replay, but done anew.
        if once && (span.durable || !self.is_lost(&span)) {
            batch.mark_deduplicated();
        }
        let begun = self.begun(&span, start);
        if let Some(outline) = outline {
            let redaction = &self.redaction;
            let is_watched = |key: &str| redaction.watches(key);
            self.shapes.learn(outline, &span, &begun, is_watched);
        }
        if let (Some(place), Some(places), false) = (place, places, once) {
            let told = Told {
                trace_id: span.trace_id,
                span_id: span.span_id,
                places,
                begun: begun.clone(),
            };
            self.tell(source, place, told, batch);
        }
        self.note_fact(batch, &span, start, Change::Started(begun));
    }

    /// Takes the start of a span that looks like one before; whether it did.
    fn start_alike(&mut self, outline: &Outline<'_>, record: &[u8], batch: &mut Batch) -> bool {
        let Some(shape) = self.shapes.find(outline) else {
            return false;
        };
        let Outline { source, ids, .. } = *outline;
        if self.closed.contains(&source) || shape.is_hidden(&self.hidden, outline) {
            return false;
        }
        let shape = Arc::clone(shape);
        if self.introduce(source, batch).is_none() {
            return false;
        }
        let pin = Pinning::Open(u64::from_be_bytes(ids.span_id));
        let mut places = None;
        let before = batch.len();
        batch.push_line("started", ids.trace_id, pin, |out| {
            places = shape.write(out, outline);
        });
        let Some(places) = places else {
            batch.truncate(before);
            return false;
        };
        let begun = shape.begun(outline);
        if let Some(place) = outline.place {
            self.remember(source, place, record);
            let told = Told {
                trace_id: ids.trace_id,
                span_id: ids.span_id,
                places,
                begun: begun.clone(),
            };
            self.tell(source, place, told, batch);
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
    fn tell(&mut self, source: u32, place: usize, told: Told, batch: &Batch) {
        if let Some(remembered) = self.remembered.get_mut(source as usize) {
            remembered.tell(place, batch.last_payload(), told);
        }
    }

    fn end(&mut self, spanned: Spanned<'_>, end: End<'_>, batch: &mut Batch) {
        let Spanned {
            source,
            once,
            start,
            span,
            ..
        } = spanned;
        self.tally.count_ended();
        if self.hidden.hides_end(span.span_id) {
            return;
        }
        let Some(process) = self.introduce(source, batch) else {
            return;
        };
        let mut span = process.own(span);
        self.redaction.span(&mut span);
        // A workflow may have been replayed since, and not know when the span began.
        let start = if once {
            self.first_start(&span)
                .map_or(start, |first| first.min(start))
        } else {
            start
        };
        let mut end = End { start, ..end };
        self.redaction.end(span.name, &mut end);
        let outcome = outcome(&end);
        let pin = Pinning::Close(u64::from_be_bytes(span.span_id));
        batch.push_line("ended", span.trace_id, pin, |out| {
            json::ended(out, &span, &end);
        });
        if once {
            batch.mark_deduplicated();
        }
        let begun = self.begun(&span, start);
        self.note_fact(batch, &span, end.end, Change::Ended { begun, outcome });
    }

    /// Remembers the start of a span whose end will say only the rest.
    fn remember(&mut self, source: u32, place: usize, record: &[u8]) {
        let source = source as usize;
        if source >= self.remembered.len() {
            self.remembered.resize_with(source + 1, Remembered::default);
        }
        if let Some(remembered) = self.remembered.get_mut(source) {
            remembered.keep(place, record);
        }
    }

    /// Joins the end of a span with its start.
    fn end_with(&mut self, rest: Rest<'_>, batch: &mut Batch) {
        let mark = Mark {
            trace_id: rest.trace_id,
            span_id: rest.span_id,
            end: rest.end.end,
        };
        let source = rest.source as usize;
        let remembered = self.remembered.get_mut(source);
        let start = remembered.and_then(|remembered| remembered.take(rest.place));
        let Some(mut start) = start else {
            self.end_joined(rest, &[], mark, batch);
            return;
        };
        match start.told.take_if(|told| told.serves(&start.event, &rest)) {
            Some(told) => self.end_again(rest, &start.event, told, batch),
            None => self.end_joined(rest, &start.record, mark, batch),
        }
        if let Some(remembered) = self.remembered.get_mut(source) {
            remembered.put_back(start);
        }
    }

    /// Makes the end of a span of the event that its start became.
    fn end_again(&mut self, mut rest: Rest<'_>, started: &[u8], told: Told, batch: &mut Batch) {
        self.tally.count_ended();
        if self.hidden.hides_end(rest.span_id) || self.introduce(rest.source, batch).is_none() {
            return;
        }
        self.redaction
            .parts(rest.name, &mut rest.added, &mut rest.links);
        self.redaction.end(rest.name, &mut rest.end);
        let Told { places, begun, .. } = told;
        let start = rest.scope.scope.map(|_| rest.start);
        let again = Again {
            started,
            places: &places,
            start,
            scope: rest.scope.scope,
            scope_version: rest.scope.version,
            added: &rest.added,
            links: &rest.links,
            truncated: rest.truncated,
        };
        let pin = Pinning::Close(u64::from_be_bytes(rest.span_id));
        batch.push_line("ended", rest.trace_id, pin, |out| {
            json::ended_again(out, &again, &rest.end);
        });
        let begun = Begun {
            start: start.unwrap_or(begun.start),
            links: rest.links.iter().map(|link| link.trace_id).collect(),
            ..begun
        };
        let fact = Fact {
            trace_id: rest.trace_id,
            span_id: rest.span_id,
            time: rest.end.end,
            change: Change::Ended {
                begun,
                outcome: outcome(&rest.end),
            },
        };
        self.facts.push((batch.len().saturating_sub(1), fact));
    }

    /// Makes the end of a span whole, with the record of its start.
    fn end_joined(&mut self, rest: Rest<'_>, start: &[u8], mark: Mark, batch: &mut Batch) {
        let joined = match record::read(start) {
            Some(Record::Start(begun)) => rest.join(begun),
            _ => None,
        };
        if let Some((spanned, end)) = joined {
            self.end(spanned, end, batch);
        } else {
            // Two open spans had the same ids, or its provider was shut down long ago: counted, and marked, as any end
            // that is lost on the way.
            self.log.buffer.count_dropped(RecordClass::End, 1);
            self.marks.keep(mark, || false);
        }
    }

    /// An open span of a workflow changed.
    fn update(
        &mut self,
        spanned: Spanned<'_>,
        state: Option<SpanState>,
        time: Timestamp,
        batch: &mut Batch,
    ) {
        let Spanned { source, span, .. } = spanned;
        let known = self.index.span_state(span.trace_id, span.span_id);
        // Another run of the instance may have ended it, or have said the same.
        let is_news = match known {
            None => true,
            Some(KnownSpan::Running) => state != Some(SpanState::Running),
            Some(KnownSpan::Waiting) => state != Some(SpanState::Waiting),
            Some(KnownSpan::Closed | KnownSpan::Lost) => false,
        };
        if self.closed.contains(&source) || !is_news {
            return;
        }
        let Some(process) = self.introduce(source, batch) else {
            return;
        };
        let span = process.own(span);
        self.change(&span, state, time, batch);
    }

    fn change(
        &mut self,
        span: &Span<'_>,
        state: Option<SpanState>,
        time: Timestamp,
        batch: &mut Batch,
    ) {
        let mut span = Span {
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
    fn is_waiting(&self, span: &Span<'_>) -> bool {
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
    fn is_lost(&self, span: &Span<'_>) -> bool {
        self.index.span_state(span.trace_id, span.span_id) == Some(KnownSpan::Lost)
    }

    /// When the span began, if its start is kept.
    fn first_start(&self, span: &Span<'_>) -> Option<Timestamp> {
        let key = StreamKey::of_id(span.trace_id);
        let token = u64::from_be_bytes(span.span_id);
        let opened = self.log.tail.open_event(&key, token)?;
        let started = opened.events().next()?.payload();
        parse::timestamp(&started)
    }

    /// The span is open, and who worked on it is gone: it waits until it is taken up again.
    fn rest(&mut self, started: &[u8], batch: &mut Batch) {
        let Some(fact) = parse::fact(started) else {
            return;
        };
        if self.index.span_state(fact.trace_id, fact.span_id) != Some(KnownSpan::Running) {
            return;
        }
        let process = parse::event(started).map(|event| event.process);
        let span = Span {
            process: process.as_deref().unwrap_or_default(),
            ..Span::bare(fact.trace_id, fact.span_id)
        };
        self.change(&span, Some(SpanState::Waiting), Timestamp::now(), batch);
    }

    fn begun(&mut self, span: &Span<'_>, start: Timestamp) -> Begun {
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

    fn is_shown(&self, span: &Span<'_>) -> bool {
        let key = StreamKey::of_id(span.trace_id);
        let token = u64::from_be_bytes(span.span_id);
        self.log.tail.open_event(&key, token).is_some()
    }

    /// The process of a source, whose own event stands before the first of its spans.
    fn introduce(&mut self, source: u32, batch: &mut Batch) -> Option<Arc<Process>> {
        let process = match &self.current {
            Some((current, process)) if *current == source => Arc::clone(process),
            _ => {
                let process = self.processes.get(source)?;
                self.current = Some((source, Arc::clone(&process)));
                process
            }
        };
        if self.announced.insert(source) {
            self.announcing.push(source);
            let pin = Pinning::Open(process.token());
            batch.push("process", None, pin, |out| {
                process.write(&self.redaction, out);
            });
        }
        Some(process)
    }

    /// Notes what the last event of the batch says. An event whose encoding panics is not there, and so is its fact.
    fn note_fact(&mut self, batch: &Batch, span: &Span<'_>, time: Timestamp, change: Change) {
        let fact = Fact {
            trace_id: span.trace_id,
            span_id: span.span_id,
            time,
            change,
        };
        self.facts.push((batch.len().saturating_sub(1), fact));
    }

    /// Ends a span for its program, from its stored start; nothing when that is not there or has ended.
    fn lose(&mut self, started: &[u8], reason: LostReason, heard: Timestamp, batch: &mut Batch) {
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

    fn lose_one(
        &mut self,
        &Mark {
            trace_id,
            span_id,
            end,
        }: &Mark,
        batch: &mut Batch,
    ) {
        if self.hidden.hides_end(span_id) {
            return;
        }
        let key = StreamKey::of_id(trace_id);
        let Some(opened) = self.log.tail.open_event(&key, u64::from_be_bytes(span_id)) else {
            return;
        };
        for event in opened.events() {
            self.lose(&event.payload(), LostReason::Dropped, end, batch);
        }
    }

    /// Notes an end that the store refused.
    fn owe(&mut self, fact: &Fact, index: IndexSays) {
        let is_end = matches!(fact.change, Change::Ended { .. });
        if is_end && self.owed.len() < Retention::PINNED_EVENTS_MAX {
            let mark = Mark {
                trace_id: fact.trace_id,
                span_id: fact.span_id,
                end: fact.time,
            };
            self.owed.push((mark, index));
        }
    }

    /// Ends the spans whose end the store refused.
    fn settle_owed(&mut self, batch: &mut Batch) {
        for (mark, index) in std::mem::take(&mut self.owed) {
            let facts = self.facts.len();
            self.lose_one(&mark, batch);
            if index == IndexSays::Ended {
                // A lost end never takes the place of a real one.
                self.facts.truncate(facts);
            }
        }
    }

    /// Takes the marks that were kept aside. Starts of their spans may still be on the way, so they are looked at when
    /// a note that is sent now, behind those starts, arrives here.
    fn take_marks(&mut self) {
        if self.is_settling {
            return;
        }
        if self.settling.is_empty() {
            self.settling = self.marks.take();
        }
        if !self.settling.is_empty() {
            let pushed = self
                .log
                .buffer
                .try_push(RecordClass::Internal, record::write_settle);
            self.is_settling = pushed.is_ok();
        }
    }

    /// Ends the spans of the marks that were kept aside.
    fn settle(&mut self, batch: &mut Batch) {
        self.is_settling = false;
        for mark in std::mem::take(&mut self.settling) {
            self.lose_one(&mark, batch);
        }
    }

    /// Ends everything that a source left open.
    fn lose_all(&mut self, source: u32, heard: Timestamp, batch: &mut Batch) {
        self.closed.insert(source);
        let before = self
            .closing
            .replace(source)
            .filter(|before| *before != source);
        let forgotten = before.and_then(|before| self.remembered.get_mut(before as usize));
        if let Some(remembered) = forgotten {
            *remembered = Remembered::default();
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
                    self.rest(&payload, batch);
                } else if is_of_source {
                    self.lose(&payload, LostReason::Shutdown, heard, batch);
                }
            }
        }
    }
}

impl RecordEncoder for SpanTranslator {
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
            self.hidden.hide(span_id);
        } else {
            self.hidden.heard_too_late();
        }
    }

    fn needs_commit_before(&self, record: &[u8]) -> bool {
        record::needs_stored(record)
    }

    fn encode(&mut self, record: &[u8], batch: &mut Batch) {
        self.take_marks();
        if !self.owed.is_empty() {
            self.settle_owed(batch);
        }
        let outline = Outline::of(record);
        if let Some(outline) = &outline
            && self.start_alike(outline, record, batch)
        {
            return;
        }
        // Nearly all others are these: and as one of many kinds it would be moved about.
        if let Some(rest) = record::read_rest(record) {
            self.end_with(rest, batch);
            return;
        }
        match record::read(record) {
            Some(Record::Start(spanned)) => {
                if let Some(place) = spanned.place {
                    self.remember(spanned.source, place, record);
                }
                self.start(spanned, outline.as_ref(), batch);
            }
            Some(Record::End(spanned, end)) => self.end(spanned, end, batch),
            Some(Record::EndIfShown(spanned, end)) => {
                if self.is_shown(&spanned.span) {
                    self.end(spanned, end, batch);
                }
            }
            Some(Record::Update(spanned, state, time)) => {
                self.update(spanned, state, time, batch);
            }
            Some(Record::EndMark(mark)) => self.marked.push(mark),
            Some(Record::Settle) => self.settle(batch),
            Some(Record::Fence { ticket: ack }) => {
                let head = self.log.id(self.log.head());
                self.log.buffer.resolve_ack(ack, Some(head));
            }
            Some(Record::Shutdown { source, time }) => self.lose_all(source, time, batch),
            Some(Record::Hide { .. }) | None => {}
        }
    }

    fn on_committed(&mut self, batch: &mut Batch) {
        for mark in std::mem::take(&mut self.marked) {
            self.lose_one(&mark, batch);
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
        self.facts.retain_mut(|(place, _)| {
            let before = places.partition_point(|one| *one < *place);
            let is_kept = places.get(before) != Some(place);
            *place -= before;
            is_kept
        });
    }

    fn on_stored(&mut self, first: u64) {
        self.announcing.clear();
        self.unkept.clear();
        if !self.facts.is_empty() {
            let facts = self.facts.drain(..);
            self.index
                .apply(facts.map(|(place, fact)| (first + place as u64, fact)));
        }
    }

    fn on_already_observed(&mut self) {
        self.announcing.clear();
        self.facts.clear();
    }

    fn on_rejected(&mut self) {
        for (_, fact) in std::mem::take(&mut self.facts) {
            self.owe(&fact, IndexSays::Open);
        }
        for source in self.announcing.drain(..) {
            self.announced.remove(&source);
        }
    }

    fn on_unstored(&mut self, first: u64) {
        let facts = std::mem::take(&mut self.facts);
        for (_, fact) in &facts {
            self.owe(fact, IndexSays::Ended);
        }
        let facts = facts.into_iter();
        self.index
            .apply(facts.map(|(place, fact)| (first + place as u64, fact)));
        self.unkept.append(&mut self.announcing);
    }

    fn on_store_recovered(&mut self, batch: &mut Batch) {
        for source in self
            .unkept
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
            self.rest(&event.payload, batch);
        } else {
            self.lose(
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

fn outcome(end: &End<'_>) -> Outcome {
    match end.status {
        _ if end.cancelled => Outcome::Cancelled,
        Status::Error(_) => Outcome::Error,
        Status::Ok | Status::Unset => Outcome::Ok,
    }
}

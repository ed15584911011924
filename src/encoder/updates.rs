//! Encodes changes of open spans as `updated` events, which have the latest values. A turn is one pass of the worker
//! over the records in the buffer. An event is due when [`schedule`] allows it, and once before the end of the span.
//! When retention has passed updates of an open span, all of them are written again as one event ([`states`]). This
//! code runs on the worker thread.

pub(super) mod schedule;
pub(super) mod states;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    encoder::span_encoder::SpanEncoder,
    ingest::{buffer::RecordClass, write_buf::WriteBuf},
    log::{
        batch::{Batch, StoredEvent},
        event::{Pinning, StreamKey},
    },
    span::{
        json::{self, ChangeFields, EndStatus, MergedUpdate, SpanFields},
        progress::SpanProgress,
        record::{self, Record, SpanChanges},
        root_attributes::RootAttributes,
        updates::{Awaiting, SlotIds},
    },
    trace::{
        parse,
        span_change::{AwaitPoint, ChangeKind, SpanChange, SpanStart, SpanUpdate},
    },
    util::{sync::Instant, time::Timestamp},
};

/// Upper bound on the spans whose changes are reported in one turn. The others follow in the next turn, after the
/// starts and ends that came meanwhile.
const UPDATES_PER_TURN_MAX: usize = 1024;
/// Upper bound on the spans whose updates are written again in one turn.
const STATES_PER_TURN_MAX: usize = 256;
/// The size of the buffer for one record of changes, in bytes. The largest record fits.
const RECORD_BYTES: usize = 320 * 1024;

impl SpanEncoder {
    /// Appends `updated` events for the open spans whose changes are due.
    pub(super) fn encode_due_updates(&mut self, batch: &mut Batch) {
        if self.updates.is_idle() {
            return;
        }
        let now = Instant::now();
        self.updates.schedule_taken(now);
        let mut record = std::mem::take(&mut self.updates.record);
        record.resize(RECORD_BYTES, 0);
        for _ in 0..UPDATES_PER_TURN_MAX {
            let Some(slot) = self.updates.next_slot(now) else {
                break;
            };
            let Some(changes) = slot.take() else {
                self.log.buffer.count_dropped(RecordClass::Other, 1);
                continue;
            };
            if changes.is_empty() {
                continue;
            }
            let span = (slot.trace_id, slot.span_id);
            if !self.is_open(span) {
                // The span is hidden, or its start was dropped. If the start was dropped, the end has all changes.
                self.updates.queue.remove(span);
                continue;
            }
            let mut buf = WriteBuf::new(&mut record);
            let time = Timestamp::now();
            let is_written = record::write_changes(&mut buf, &slot, &changes, time).is_some();
            if let (true, Some(Record::Changes(changes))) = (is_written, record::read(&record)) {
                self.encode_update(changes, batch);
                self.updates.mark_reported(span, now);
            }
        }
        self.updates.record = record;
        self.updates.forget_reported(now);
    }

    /// Appends the last changes, before the end of the span.
    pub(super) fn last_changes(&mut self, changes: SpanChanges<'_>, batch: &mut Batch) {
        let span = (changes.span.trace_id, changes.span.span_id);
        if self.is_open(span) || self.pending_start(span).is_some() {
            self.encode_update(changes, batch);
        }
    }

    pub(super) fn encode_update(&mut self, changes: SpanChanges<'_>, batch: &mut Batch) {
        let SpanChanges {
            source,
            is_source_guessed,
            span,
            mut changes,
            time,
        } = changes;
        let known = is_source_guessed
            .then(|| self.source_of((span.trace_id, span.span_id)))
            .flatten();
        let source = known.unwrap_or(source);
        if self.closed_sources.contains(&source) {
            return;
        }
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut span = process.own_span(span);
        let known_name = self.redacted_by_name((span.trace_id, span.span_id));
        let name = changes.name.or(known_name.as_deref()).unwrap_or_default();
        self.redaction
            .attributes_and_links(name, &mut span.attributes, &mut span.links);
        let masked_name = changes.name.and_then(|name| self.redaction.name(name));
        self.redaction.changes(name, &mut changes);
        changes.name = changes
            .name
            .map(|name| masked_name.as_deref().unwrap_or(name));
        let key = Some(StreamKey::of_id(span.trace_id));
        batch.push("updated", key, Pinning::None, |out| {
            json::updated(out, &span, &changes, time);
        });
        self.note_update((span.trace_id, span.span_id), batch.last_payload());
        let update = self.span_update(&span, &changes);
        self.push_change(batch, &span, time, ChangeKind::of_update(update));
    }

    /// Adds an update, the last event of the batch, to the state of its span.
    pub(super) fn note_update(&mut self, span: SlotIds, payload: &[u8]) {
        if self.states.add(span, payload, self.log.tail.next()) {
            self.log.tail.count_unpinned();
        }
    }

    /// Adds an update that its caller encoded to the state of its span. Does nothing if the event is no update.
    pub(super) fn note_encoded_update(&mut self, change: &SpanChange, payload: &[u8]) {
        let may_be_update = matches!(change.kind, ChangeKind::Updated(_) | ChangeKind::Other);
        let mut fields = json::fields(payload);
        if may_be_update && fields.any(|(key, value)| key == b"type" && value == b"\"updated\"") {
            self.note_update((change.trace_id, change.span_id), payload);
        }
    }

    /// Records in the states of spans which sequences the events of a batch got. `first` is the sequence of the batch's
    /// first event.
    pub(super) fn number_states(
        &mut self,
        changes: &[(usize, SpanChange)],
        first: u64,
        unstored: bool,
    ) {
        if self.states.is_empty() {
            return;
        }
        for (position, change) in changes {
            let span = (change.trace_id, change.span_id);
            match change.kind {
                ChangeKind::Ended { .. } => self.states.forget(span),
                ChangeKind::Updated(_) | ChangeKind::Other => {
                    self.states
                        .on_stored(span, first + *position as u64, unstored);
                }
                ChangeKind::Started(_) | ChangeKind::Log(_) => {}
            }
        }
        self.states.end_batch();
    }

    /// Takes over the state of a span that an earlier run of the log left open. `is_read` says whether `updates` are
    /// all updates of the span. The state is written again once retention has passed the sequence `opened`; soon if
    /// that is `None`.
    pub(super) fn restore_state(
        &mut self,
        started: &StoredEvent,
        (updates, is_read): (Option<&MergedUpdate>, bool),
        opened: Option<u64>,
    ) {
        if let Some(change) = parse::span_change(&started.payload) {
            // Another process that shares the log may update a durable span, too.
            let is_read = is_read && !(self.log.is_shared() && parse::is_durable(&started.payload));
            let merged = is_read.then(|| updates.cloned().unwrap_or_default());
            let span = (change.trace_id, change.span_id);
            self.states.restore(span, merged, opened);
        }
    }

    /// Appends the states of spans with updates that retention has passed.
    pub(super) fn write_due_states(&mut self, batch: &mut Batch) {
        if !self.states.is_due(|| self.log.oldest()) {
            return;
        }
        let oldest = self.log.oldest();
        for _ in 0..STATES_PER_TURN_MAX {
            let Some(span) = self.states.take_due(oldest) else {
                return;
            };
            let Some(payload) = self.state(span) else {
                continue;
            };
            let (key, token) = (StreamKey::of_id(span.0), u64::from_be_bytes(span.1));
            batch.push("updated", Some(key), Pinning::State(token), |out| {
                out.extend_from_slice(&payload);
            });
            if let Some(change) = parse::span_change(&payload) {
                self.pending_changes
                    .push((batch.len().saturating_sub(1), change));
            }
            self.states.mark_written(span);
        }
    }

    /// Returns the merged updates of an open span as an event. Returns `None` if some of them are not known: for example,
    /// several processes that share a log may update one durable span.
    fn state(&self, span: SlotIds) -> Option<Vec<u8>> {
        let opened = self.opening_event(span);
        let started = opened.as_ref().map(|(_, started)| started);
        if self.log.is_shared() && started.is_some_and(|started| parse::is_durable(started)) {
            return None;
        }
        let sequence = opened.as_ref().map(|(sequence, _)| *sequence);
        let merged = self.states.whole(span, sequence)?.completed();
        let mut out = Vec::with_capacity(merged.size());
        merged.write(&mut out);
        Some(out)
    }

    /// Returns the changes in the form that the index keeps.
    fn span_update(&mut self, span: &SpanFields<'_>, changes: &ChangeFields<'_>) -> SpanUpdate {
        let status = changes.status.as_ref();
        let status = status.map(|status| matches!(status, EndStatus::Error(_)));
        let awaiting = match &changes.awaiting {
            Awaiting::Unchanged => Awaiting::Unchanged,
            Awaiting::Nothing => Awaiting::Nothing,
            Awaiting::On((name, since)) => Awaiting::On(AwaitPoint {
                name: self.names.intern(SpanStart::text(name)),
                since: *since,
            }),
        };
        SpanUpdate {
            waits: None,
            name: changes
                .name
                .map(|name| self.names.intern(SpanStart::text(name))),
            fails: if changes.panic.is_some() {
                Some(true)
            } else {
                status
            },
            progress: SpanProgress::of(&span.attributes),
            of_root: RootAttributes::of(&span.attributes),
            awaiting,
        }
    }

    /// Returns the name of the span, if a redaction function of the app may depend on it.
    fn redacted_by_name(&self, span: SlotIds) -> Option<Arc<str>> {
        if !self.redaction.has_function() {
            return None;
        }
        if let Some(started) = self.started(span) {
            return match parse::span_change(&started)?.kind {
                ChangeKind::Started(start) => Some(start.name),
                _ => None,
            };
        }
        self.pending_start(span)
            .map(|start| Arc::clone(&start.name))
    }

    /// Returns the source of an open span, or `None` if readers do not have its start.
    fn source_of(&self, span: SlotIds) -> Option<u32> {
        let started = self.started(span)?;
        let (_, id) = json::fields(&started).find(|(key, _)| *key == b"process")?;
        let mut sources = 0..=self.processes.newest()?;
        sources.find(|source| {
            let process = self.processes.get(*source);
            process.is_some_and(|process| json::quoted(&process.id) == id)
        })
    }

    /// Returns the `started` event of an open span, as readers have it.
    fn started(&self, span: SlotIds) -> Option<Bytes> {
        self.opening_event(span).map(|(_, started)| started)
    }

    /// Returns the sequence and the payload of the `started` event of an open span.
    fn opening_event(&self, (trace_id, span_id): SlotIds) -> Option<(u64, Bytes)> {
        let key = StreamKey::of_id(trace_id);
        let opened = self
            .log
            .tail
            .open_event(&key, u64::from_be_bytes(span_id))?;
        let event = opened.events().next()?;
        Some((event.sequence(), event.payload()))
    }

    /// Returns whether readers have the start of the span and not its end.
    fn is_open(&self, (trace_id, span_id): SlotIds) -> bool {
        let key = StreamKey::of_id(trace_id);
        let token = u64::from_be_bytes(span_id);
        self.log.tail.open_event(&key, token).is_some()
    }

    /// Returns the start of the span if it is in the current batch, which is not stored yet.
    fn pending_start(&self, (trace_id, span_id): SlotIds) -> Option<&SpanStart> {
        self.pending_changes
            .iter()
            .rev()
            .filter(|(_, change)| change.span_id == span_id && change.trace_id == trace_id)
            .find_map(|(_, change)| match &change.kind {
                ChangeKind::Started(start) => Some(start),
                _ => None,
            })
    }
}

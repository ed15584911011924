//! Encodes changes of open spans as `updated` events, which have the latest values. An event is due when
//! [`update_schedule`](crate::encoder::update_schedule) allows it, and once before the end of the span. This code
//! runs on the worker thread.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    encoder::span_encoder::SpanEncoder,
    ingest::{buffer::RecordClass, write_buf::WriteBuf},
    log::{
        batch::Batch,
        event::{Pinning, StreamKey},
    },
    span::{
        json::{self, ChangeFields, EndStatus, SpanFields},
        progress::SpanProgress,
        record::{self, Record, SpanChanges},
        root_attributes::RootAttributes,
        updates::{Awaiting, SlotIds},
    },
    trace::{
        parse,
        span_change::{AwaitPoint, ChangeKind, SpanStart, SpanUpdate},
    },
    util::{sync::Instant, time::Timestamp},
};

/// Upper bound on the spans whose changes are reported in one turn. The others follow in the next turn, after the
/// starts and ends that came meanwhile.
const UPDATES_PER_TURN_MAX: usize = 1024;
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
        let update = self.span_update(&span, &changes);
        self.push_change(batch, &span, time, ChangeKind::of_update(update));
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
    fn started(&self, (trace_id, span_id): SlotIds) -> Option<Bytes> {
        let key = StreamKey::of_id(trace_id);
        let opened = self
            .log
            .tail
            .open_event(&key, u64::from_be_bytes(span_id))?;
        Some(opened.events().next()?.payload())
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

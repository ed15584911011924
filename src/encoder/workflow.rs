//! Encodes changes of workflow spans: updates of open spans, and steps that wait because their process is gone. A
//! closed span is never updated. When the log is opened, it also reads the traces of open durable spans from the store
//! into the index. It runs on the worker thread.

use std::borrow::Cow;

use crate::{
    encoder::span_encoder::SpanEncoder,
    log::{
        batch::{Batch, StoredEvent},
        event::{Pinning, StreamKey},
        retention::Retention,
    },
    span::{
        event::SpanState,
        json::{self, ChangeFields, SpanFields},
        progress::SpanProgress,
        record::SpanRecord,
        root_attributes::RootAttributes,
    },
    store::PageLimit,
    trace::{
        index::SpanPhase,
        parse,
        span_change::{ChangeKind, SpanUpdate},
    },
    util::{block_on::block_on, time::Timestamp},
    wire::id::Sequence,
};

/// After this many events of a trace that was left open, no further page of it is read into the index. The rest of the
/// trace is not indexed.
const INDEXED_EVENTS_MAX: usize = 20_000;

impl SpanEncoder {
    /// Encodes a change of an open span, unless the span has ended, is in this state already, or its provider was shut
    /// down.
    pub(super) fn update(
        &mut self,
        record: SpanRecord<'_>,
        state: Option<SpanState>,
        time: Timestamp,
        batch: &mut Batch,
    ) {
        let SpanRecord { source, span, .. } = record;
        let known = self.index.span_phase(span.trace_id, span.span_id);
        // Another run of the instance may have ended the span, or reported the same state.
        let is_new = match known {
            None => true,
            Some(SpanPhase::Running) => state != Some(SpanState::Running),
            Some(SpanPhase::Waiting) => state != Some(SpanState::Waiting),
            Some(SpanPhase::Closed | SpanPhase::Lost) => false,
        };
        if self.closed_sources.contains(&source) || !is_new {
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
        // The name did not change, so the event leaves it out.
        span.name = "";
        let key = Some(StreamKey::of_id(span.trace_id));
        let changes = ChangeFields {
            state,
            ..ChangeFields::default()
        };
        batch.push("updated", key, Pinning::None, |out| {
            json::updated(out, &span, &changes, time);
        });
        self.note_update((span.trace_id, span.span_id), batch.last_payload());
        let update = SpanUpdate {
            waits: state.map(|state| state == SpanState::Waiting),
            progress: SpanProgress::of(&span.attributes),
            of_root: RootAttributes::of(&span.attributes),
            ..SpanUpdate::default()
        };
        self.push_change(batch, &span, time, ChangeKind::of_update(update));
    }

    /// Returns whether the span waits, according to the batch or else the index.
    pub(super) fn is_waiting(&self, span: &SpanFields<'_>) -> bool {
        let pending = self
            .pending_changes
            .iter()
            .rev()
            .filter(|(_, change)| {
                change.span_id == span.span_id && change.trace_id == span.trace_id
            })
            .find_map(|(_, change)| match &change.kind {
                ChangeKind::Updated(update) => update.waits,
                ChangeKind::Ended { .. } => Some(false),
                ChangeKind::Started(_) | ChangeKind::Log(_) | ChangeKind::Other => None,
            });
        pending.unwrap_or_else(|| {
            self.index.span_phase(span.trace_id, span.span_id) == Some(SpanPhase::Waiting)
        })
    }

    /// Reads a trace from the store into the index, because an earlier run of the log left a durable span of it open
    /// and memory has none of its events. Otherwise no report or list of open spans would show the span.
    pub(super) fn index_open_trace(&mut self, started: &StoredEvent) {
        let (Some(key), Some(change)) = (started.key, parse::span_change(&started.payload)) else {
            return;
        };
        let id = change.trace_id;
        if self.index.knows(&id) {
            return;
        }
        if self.left_open.len() >= Retention::PINNED_EVENTS_MAX {
            return;
        }
        self.left_open.insert(id);
        let mut after = Sequence::START;
        let mut events = 0;
        while events < INDEXED_EVENTS_MAX {
            let page = self
                .log
                .store
                .read_streams_after(&[key], after, PageLimit::LARGE);
            // If the store cannot be read, the span is in no list, but it stays open.
            let Ok(page) = block_on(page) else {
                return;
            };
            let Some(last) = page.last() else {
                return;
            };
            after = last.sequence;
            events += page.len();
            let own = page.iter().filter(|event| event.key == Some(key));
            self.index.apply(own.filter_map(|event| {
                let change = parse::span_change(&event.payload)?;
                Some((event.sequence.get(), change))
            }));
        }
    }

    /// Returns these traces without those that an earlier run left open and that are still open.
    pub(super) fn without_left_open<'a>(&mut self, keys: &'a [StreamKey]) -> Cow<'a, [StreamKey]> {
        if self.left_open.is_empty() {
            return Cow::Borrowed(keys);
        }
        let gone = keys.iter().filter(|key| {
            let Ok(id) = <[u8; 16]>::try_from(key.as_bytes()) else {
                return true;
            };
            let is_open = self.left_open.contains(&id) && self.index.has_open_spans(&id);
            if !is_open {
                self.left_open.remove(&id);
            }
            !is_open
        });
        gone.copied().collect()
    }

    /// Marks a durable span as waiting: its process is gone, and it waits until another one resumes it.
    pub(super) fn mark_waiting(&mut self, started: &[u8], batch: &mut Batch) {
        let Some(change) = parse::span_change(started) else {
            return;
        };
        if self.index.span_phase(change.trace_id, change.span_id) != Some(SpanPhase::Running) {
            return;
        }
        let process = parse::event(started).map(|event| event.process);
        let span = SpanFields {
            process: process.as_deref().unwrap_or_default(),
            ..SpanFields::bare(change.trace_id, change.span_id)
        };
        self.push_update(&span, Some(SpanState::Waiting), Timestamp::now(), batch);
    }
}

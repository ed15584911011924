//! Encodes the start and the end of a span that a receiver first sees when it has ended. [`PreparedSpans::add`] is
//! pure. Mostly the threads that decode requests call it, and the worker only copies the events into its batch. It
//! encodes several spans in short passes. The code of all passes together does not fit into the processor's
//! instruction cache: one span after another costs 400 misses for each span.

use std::ops::Range;

use crate::{
    encoder::{
        end::{message, outcome},
        span_encoder::SpanEncoder,
    },
    log::{batch::Batch, event::Pinning},
    span::{
        event::SpanKind,
        json::{self, EndFields, EndFromStart, Link, Pairs, SpanFields, StartLayout},
        process::Process,
        progress::SpanProgress,
        redact::Redaction,
        root_attributes::RootAttributes,
    },
    trace::span_change::{ChangeKind, SpanChange, SpanOutcome, SpanStart},
    util::time::Timestamp,
};

/// A span that has ended.
#[derive(Debug)]
pub(crate) struct CompletedSpan<'a> {
    /// The fields of its start. They are few, because its end has the rest.
    pub(crate) start: SpanFields<'a>,
    pub(crate) attributes: Pairs<'a>,
    pub(crate) links: Vec<Link<'a>>,
    pub(crate) dropped_attributes: u32,
    pub(crate) received: Option<Timestamp>,
    pub(crate) end: EndFields<'a>,
}

/// The encoded starts and ends of the spans of one request.
#[derive(Debug, Default)]
pub(crate) struct PreparedSpans {
    starts: Vec<u8>,
    ends: Vec<u8>,
    spans: Vec<PreparedSpan>,
    /// The names of the spans. A name is stored again if it is not among the last [`NAMES_MAX`].
    names: Vec<Box<str>>,
}

/// The index of a span in [`PreparedSpans`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreparedIndex(u32);

impl PreparedIndex {
    /// Returns the index of the span that comes this many spans later.
    pub(crate) fn after(self, count: usize) -> Self {
        Self(
            self.0
                .saturating_add(u32::try_from(count).unwrap_or(u32::MAX)),
        )
    }
}

/// Upper bound on the recent names that are searched for a repetition.
const NAMES_MAX: usize = 16;
/// Room is reserved for at most this many spans.
const RESERVED_SPANS_MAX: usize = 1024;
/// The bytes that a start, and an end, usually needs.
const USUAL_START_BYTES: usize = 384;
const USUAL_END_BYTES: usize = 640;

#[derive(Debug)]
struct PreparedSpan {
    started: Range<usize>,
    ended: Range<usize>,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    parent_remote: bool,
    kind: SpanKind,
    /// Index into the names.
    name: usize,
    start_time: Timestamp,
    end_time: Timestamp,
    outcome: SpanOutcome,
    message: Option<Box<str>>,
    links: Box<[[u8; 16]]>,
    progress: Option<Box<SpanProgress>>,
    of_root: Option<RootAttributes>,
    /// The start that the worker has appended.
    appended: Option<SpanStart>,
}

impl PreparedSpans {
    /// Returns the memory that the encoded spans use, in bytes, except for rare parts.
    pub(crate) fn size(&self) -> usize {
        self.starts.capacity()
            + self.ends.capacity()
            + self.spans.capacity() * size_of::<PreparedSpan>()
    }

    /// Reserves room for this many spans of usual size, but for at most [`RESERVED_SPANS_MAX`].
    pub(crate) fn reserve(&mut self, spans: usize) {
        let spans = spans.min(RESERVED_SPANS_MAX);
        self.starts.reserve(spans * USUAL_START_BYTES);
        self.ends.reserve(spans * USUAL_END_BYTES);
        self.spans.reserve(spans);
    }

    /// Returns the bytes of the encoded events.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.starts.len() + self.ends.len()
    }

    /// Returns the index that the next span will have.
    pub(crate) fn next_index(&self) -> PreparedIndex {
        PreparedIndex(u32::try_from(self.spans.len()).unwrap_or(u32::MAX))
    }

    /// Returns whether the worker has appended the start of this span.
    pub(crate) fn has_started(&self, index: PreparedIndex) -> bool {
        self.get(index).is_some_and(|span| span.appended.is_some())
    }

    /// Returns the start and the end of the span in time.
    pub(crate) fn times(&self, index: PreparedIndex) -> (Timestamp, Timestamp) {
        let span = self.get(index);
        span.map_or_else(Default::default, |span| (span.start_time, span.end_time))
    }

    fn get(&self, PreparedIndex(index): PreparedIndex) -> Option<&PreparedSpan> {
        self.spans.get(index as usize)
    }

    /// Masks and encodes spans of one process. They get the next indexes. A start leaves out attributes and links,
    /// because the end has them.
    pub(crate) fn add(
        &mut self,
        process: &Process,
        redaction: &Redaction,
        spans: Vec<CompletedSpan<'_>>,
    ) {
        let masked_names: Vec<Option<String>> = spans
            .iter()
            .map(|span| redaction.name(span.start.name))
            .collect();
        let mut spans = spans;
        for (span, name) in spans.iter_mut().zip(&masked_names) {
            let CompletedSpan {
                start,
                attributes,
                links,
                end,
                ..
            } = span;
            process.own(start);
            start.name = name.as_deref().unwrap_or(start.name);
            redaction.attributes_and_links(start.name, attributes, links);
            redaction.end(start.name, end);
        }
        let first = self.spans.len();
        for span in &spans {
            let prepared = self.prepare(span);
            self.spans.push(prepared);
        }
        let prepared = self.spans.get_mut(first..).unwrap_or_default();
        let layouts: Vec<Option<StartLayout>> = spans
            .iter()
            .zip(&mut *prepared)
            .map(|(span, prepared)| {
                let before = self.starts.len();
                let layout = json::started(&mut self.starts, &span.start, span.end.start);
                prepared.started = before..self.starts.len();
                layout
            })
            .collect();
        for ((span, layout), prepared) in spans.iter_mut().zip(&layouts).zip(prepared) {
            let before = self.ends.len();
            let started = self.starts.get(prepared.started.clone());
            let started = started.unwrap_or_default();
            write_end(&mut self.ends, (started, layout.as_ref()), span);
            prepared.ended = before..self.ends.len();
        }
    }

    /// Returns the span without its encoded events.
    fn prepare(&mut self, span: &CompletedSpan<'_>) -> PreparedSpan {
        let CompletedSpan {
            start,
            attributes,
            links,
            end,
            ..
        } = span;
        let is_root = start.parent.is_none() || start.parent_remote;
        PreparedSpan {
            started: 0..0,
            ended: 0..0,
            trace_id: start.trace_id,
            span_id: start.span_id,
            parent: start.parent,
            parent_remote: start.parent_remote,
            kind: start.kind,
            name: self.place_of_name(SpanStart::text(start.name)),
            start_time: end.start,
            end_time: end.end,
            outcome: outcome(end),
            message: message(end),
            links: links.iter().map(|link| link.trace_id).collect(),
            progress: SpanProgress::of(attributes),
            of_root: is_root.then(|| RootAttributes::of(attributes)).flatten(),
            appended: None,
        }
    }

    fn place_of_name(&mut self, name: &str) -> usize {
        let from = self.names.len().saturating_sub(NAMES_MAX);
        let last = self.names.get(from..).unwrap_or_default();
        if let Some(at) = last.iter().position(|one| **one == *name) {
            return from + at;
        }
        self.names.push(name.into());
        self.names.len() - 1
    }
}

/// Writes the `ended` event, from the payload of the `started` event if possible.
fn write_end(
    out: &mut Vec<u8>,
    (started, layout): (&[u8], Option<&StartLayout>),
    span: &mut CompletedSpan<'_>,
) {
    let CompletedSpan {
        start,
        attributes,
        links,
        dropped_attributes,
        received,
        end,
    } = span;
    match layout {
        Some(layout) if *dropped_attributes == 0 && layout.accepts_added(started, attributes) => {
            let from_start = EndFromStart {
                started,
                layout,
                start: None,
                scope: None,
                scope_version: None,
                added: attributes,
                links,
                received: *received,
                truncated: false,
            };
            json::ended_from_start(out, &from_start, end);
        }
        _ => {
            start.attributes = std::mem::take(attributes);
            start.links = std::mem::take(links);
            start.dropped_attributes = *dropped_attributes;
            start.received = *received;
            json::ended(out, start, end);
        }
    }
}

impl SpanEncoder {
    /// Encodes a span on the worker's thread. Returns its index, or `None` if the process is unknown.
    pub(crate) fn prepare_received(
        &mut self,
        source: u32,
        span: CompletedSpan<'_>,
        (batch, prepared): (&mut Batch, &mut PreparedSpans),
    ) -> Option<PreparedIndex> {
        let process = self.announce_process(source, batch)?;
        let index = prepared.next_index();
        prepared.add(&process, &self.redaction, vec![span]);
        Some(index)
    }

    /// Appends the start of a prepared span.
    pub(crate) fn received_prepared_start(
        &mut self,
        source: u32,
        PreparedIndex(index): PreparedIndex,
        (batch, prepared): (&mut Batch, &mut PreparedSpans),
    ) {
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let PreparedSpans {
            starts,
            spans,
            names,
            ..
        } = prepared;
        let Some(span) = spans.get_mut(index as usize) else {
            return;
        };
        let pin = Pinning::Open(u64::from_be_bytes(span.span_id));
        let payload = starts.get(span.started.clone()).unwrap_or_default();
        batch.push_line("started", span.trace_id, pin, |out| {
            out.extend_from_slice(payload);
        });
        let start = SpanStart {
            parent: span.parent,
            parent_remote: span.parent_remote,
            name: self
                .names
                .intern(names.get(span.name).map_or("", |name| name)),
            service: self.names.intern(SpanStart::text(&process.service)),
            kind: span.kind,
            start_time: span.start_time,
            links: Box::default(),
            progress: None,
            of_root: None,
        };
        span.appended = Some(start.clone());
        let change = SpanChange {
            trace_id: span.trace_id,
            span_id: span.span_id,
            time: span.start_time,
            kind: ChangeKind::Started(start),
        };
        let position = batch.len().saturating_sub(1);
        self.pending_changes.push((position, change));
    }

    /// Appends the end of a prepared span whose start was appended.
    pub(crate) fn received_prepared_end(
        &mut self,
        source: u32,
        PreparedIndex(index): PreparedIndex,
        (batch, prepared): (&mut Batch, &mut PreparedSpans),
    ) {
        if self.announce_process(source, batch).is_none() {
            return;
        }
        let PreparedSpans { ends, spans, .. } = prepared;
        let Some(span) = spans.get_mut(index as usize) else {
            return;
        };
        let Some(start) = span.appended.take() else {
            return;
        };
        let pin = Pinning::Close(u64::from_be_bytes(span.span_id));
        let payload = ends.get(span.ended.clone()).unwrap_or_default();
        batch.push_line("ended", span.trace_id, pin, |out| {
            out.extend_from_slice(payload);
        });
        let start = SpanStart {
            links: std::mem::take(&mut span.links),
            progress: span.progress.take(),
            of_root: span.of_root.take(),
            ..start
        };
        let change = SpanChange {
            trace_id: span.trace_id,
            span_id: span.span_id,
            time: span.end_time,
            kind: ChangeKind::Ended {
                start,
                outcome: span.outcome,
                message: span.message.take(),
            },
        };
        let position = batch.len().saturating_sub(1);
        self.pending_changes.push((position, change));
    }
}

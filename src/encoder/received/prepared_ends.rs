//! Encodes the start and the end of a span that a receiver first sees when it has ended. The end is encoded together
//! with the start, and copies bytes of it. Then the end waits here, because all starts of a request are appended
//! before its ends. The waiting ends have a bound in bytes. It runs on the worker thread.

use std::{ops::Range, time::Duration};

use crate::{
    encoder::{
        end::{message, outcome},
        span_encoder::SpanEncoder,
    },
    log::{batch::Batch, event::Pinning},
    span::{
        json::{self, EndFields, EndFromStart, SpanFields},
        progress::SpanProgress,
        root_attributes::RootAttributes,
    },
    trace::span_change::{ChangeKind, SpanChange, SpanStart},
};

/// Upper bound on the bytes of the waiting ends. The last one may exceed it.
const BYTES_MAX: usize = 512 * 1024;

/// The encoded ends of one request, each with the place of its span in the request.
#[derive(Debug, Default)]
pub(crate) struct PreparedEnds {
    bytes: Vec<u8>,
    ends: Vec<PreparedEnd>,
}

#[derive(Debug)]
pub(crate) struct PreparedEnd {
    place: usize,
    payload: Range<usize>,
    change: SpanChange,
}

impl PreparedEnds {
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() < BYTES_MAX
    }

    /// Removes the end of the span at this place, if one was prepared. Callers must pass the places in descending
    /// order.
    pub(crate) fn take(&mut self, place: usize) -> Option<PreparedEnd> {
        self.ends.pop_if(|end| end.place == place)
    }

    /// Removes all ends.
    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }
}

impl PreparedEnd {
    /// Returns the duration of the span.
    pub(crate) fn length(&self) -> Duration {
        let nanos = match &self.change.kind {
            ChangeKind::Ended { start, .. } => self
                .change
                .time
                .nanos()
                .saturating_sub(start.start_time.nanos()),
            _ => 0,
        };
        Duration::from_nanos(nanos)
    }
}

impl SpanEncoder {
    /// Appends the start of a span, and prepares its end. The start leaves out attributes and links, because the end
    /// has them.
    pub(crate) fn received_whole(
        &mut self,
        (source, place): (u32, usize),
        span: SpanFields<'_>,
        mut end: EndFields<'_>,
        (batch, prepared): (&mut Batch, &mut PreparedEnds),
    ) {
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut masked_name = None;
        let mut span = self.masked_span(&process, span, &mut masked_name);
        self.redaction.end(span.name, &mut end);

        let attributes = std::mem::take(&mut span.attributes);
        let links = std::mem::take(&mut span.links);
        let dropped = std::mem::take(&mut span.dropped_attributes);
        let received = span.received.take();
        let pin = Pinning::Open(u64::from_be_bytes(span.span_id));
        let mut layout = None;
        batch.push_line("started", span.trace_id, pin, |out| {
            layout = json::started(out, &span, end.start);
        });
        let start = self.span_start(&span, end.start);
        let is_root = span.parent.is_none() || span.parent_remote;
        let of_end = SpanStart {
            links: links.iter().map(|link| link.trace_id).collect(),
            progress: SpanProgress::of(&attributes),
            of_root: is_root.then(|| RootAttributes::of(&attributes)).flatten(),
            ..start.clone()
        };
        self.push_change(batch, &span, end.start, ChangeKind::Started(start));

        let started = batch.last_payload();
        let before = prepared.bytes.len();
        match layout {
            Some(layout) if dropped == 0 && layout.accepts_added(started, &attributes) => {
                let from_start = EndFromStart {
                    started,
                    layout: &layout,
                    start: None,
                    scope: None,
                    scope_version: None,
                    added: &attributes,
                    links: &links,
                    received,
                    truncated: false,
                };
                json::ended_from_start(&mut prepared.bytes, &from_start, &end);
            }
            _ => {
                (span.attributes, span.links) = (attributes, links);
                (span.dropped_attributes, span.received) = (dropped, received);
                json::ended(&mut prepared.bytes, &span, &end);
            }
        }
        prepared.ends.push(PreparedEnd {
            place,
            payload: before..prepared.bytes.len(),
            change: SpanChange {
                trace_id: span.trace_id,
                span_id: span.span_id,
                time: end.end,
                kind: ChangeKind::Ended {
                    start: of_end,
                    outcome: outcome(&end),
                    message: message(&end),
                },
            },
        });
    }

    /// Appends a prepared end.
    pub(crate) fn received_prepared(
        &mut self,
        source: u32,
        PreparedEnd {
            payload, change, ..
        }: PreparedEnd,
        prepared: &PreparedEnds,
        batch: &mut Batch,
    ) {
        if self.announce_process(source, batch).is_none() {
            return;
        }
        let pin = Pinning::Close(u64::from_be_bytes(change.span_id));
        let payload = prepared.bytes.get(payload).unwrap_or_default();
        batch.push_line("ended", change.trace_id, pin, |out| {
            out.extend_from_slice(payload);
        });
        self.pending_changes
            .push((batch.len().saturating_sub(1), change));
    }
}

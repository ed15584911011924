//! Encodes the events of ended spans before their request is queued, so that several requests are encoded concurrently.
//! For most spans the log has no earlier event. The worker then appends the encoded event unchanged. It runs on the thread that decodes the request.

use std::sync::Arc;

use crate::{
    encoder::CompletedSpan,
    otlp::{
        decode::{SpanParts, SpanView},
        mapping::{bare_start, end_fields, implausible, shown_attributes, span_links},
        request::{Contents, SpanPlace},
        senders::{Sender, SharedSenders},
    },
    span::{
        process::{Process, Processes},
        redact::Redaction,
    },
    util::{sync::lock, time::Timestamp},
};

/// The most spans that are encoded together.
const SPANS_AT_ONCE: usize = 16;
/// The bytes of protobuf after which no further span is encoded together with the earlier ones.
const BYTES_AT_ONCE: usize = 64 * 1024;
/// The encoded bytes of a request after which the rest of its spans is left to the worker.
const ENCODED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Encodes the ended spans of requests.
#[derive(Debug)]
pub(in crate::otlp) struct SpanPreparer {
    redaction: Redaction,
    processes: Arc<Processes>,
    senders: SharedSenders,
}

impl SpanPreparer {
    pub(in crate::otlp) fn new(
        redaction: Redaction,
        processes: Arc<Processes>,
        senders: SharedSenders,
    ) -> Self {
        Self {
            redaction,
            processes,
            senders,
        }
    }

    /// Encodes the spans that certainly have ended. Does nothing if the app has set a function for redaction, because
    /// that runs on the log's thread only.
    pub(in crate::otlp) fn prepare(&self, contents: &mut Contents, received: Timestamp) {
        if self.redaction.has_function() {
            return;
        }
        let Contents {
            spans,
            places,
            prepared,
            ..
        } = contents;
        let wanted = places.iter().filter(|place| !place.is_open);
        prepared.reserve(wanted.count());
        for of_sender in places.chunk_by_mut(|one, other| one.sender == other.sender) {
            let sender = of_sender
                .first()
                .and_then(|place| self.sender(place.sender));
            let Some((process, is_dotnet)) = sender else {
                continue;
            };
            let mut rest = of_sender;
            while !rest.is_empty() && prepared.encoded_bytes() < ENCODED_BYTES_MAX {
                let (now, later) = rest.split_at_mut(count_at_once(rest));
                rest = later;
                let views: Vec<_> = now
                    .iter()
                    .map(|place| {
                        let is_open = place.is_open || place.is_empty && is_dotnet;
                        let is_wanted = !is_open && !place.is_repeated;
                        let view = || spans.view(place.range, SpanParts::All);
                        is_wanted.then(view).flatten()
                    })
                    .collect();
                let mut ended = Vec::with_capacity(now.len());
                for (place, view) in now.iter_mut().zip(views) {
                    if let Some(view) = view {
                        place.prepared = Some(prepared.next_index().after(ended.len()));
                        ended.push(completed_span(view, place, received));
                    }
                }
                prepared.add(&process, &self.redaction, ended);
            }
        }
    }

    /// Returns the process of a sender, and whether the sender is .NET.
    fn sender(&self, number: usize) -> Option<(Arc<Process>, bool)> {
        let (source, is_dotnet) = {
            let senders = lock(&self.senders);
            let sender = senders.get(number)?;
            (sender.source, Sender::is_dotnet(sender))
        };
        Some((self.processes.get(source)?, is_dotnet))
    }
}

fn count_at_once(places: &[SpanPlace]) -> usize {
    let mut bytes = 0;
    let more = places.iter().take(SPANS_AT_ONCE).take_while(|place| {
        let fits = bytes < BYTES_AT_ONCE;
        bytes += place.range.len();
        fits
    });
    more.count()
}

/// Returns a span that has ended.
pub(super) fn completed_span<'a>(
    mut span: SpanView<'a>,
    place: &SpanPlace,
    received: Timestamp,
) -> CompletedSpan<'a> {
    let start = bare_start(&span, place.key, place.parent);
    let end = end_fields(&mut span);
    CompletedSpan {
        start,
        received: implausible(end.end, received).map(|(received, _)| received),
        attributes: shown_attributes(span.attributes),
        links: span_links(span.links),
        dropped_attributes: span.dropped_attributes,
        end,
    }
}

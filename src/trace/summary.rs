//! One trace as lists show it: the JSON of `GET /traces`, made from a [`Trace`]. Pure; it runs on the task of a
//! request, and on the worker thread when the end of a trace is reported to the app.
//!
//! Name, service and kind are those of the root. The root is the span without a parent, else a span
//! whose parent is in another process, else a span whose parent is unknown. Among several such
//! spans, the earliest start wins, then the first in the log. In a cycle of parents, the span that
//! started first wins. The trace starts when its earliest span starts: the `ended` event gives that
//! time, or the `started` event while the span is open.

use serde::Serialize;

use crate::{
    log::retention::EvictedEvents,
    span::{json, progress::SpanProgress, root_attributes::RootAttributes},
    trace::{
        search::event_search::SearchMatch,
        span_change::AwaitPoint,
        state::{Service, Trace, TraceError, TraceState},
    },
    util::hex,
    wire::id::EventId,
};

/// A trace in the list of traces.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    #[serde(skip)]
    pub(crate) id: [u8; 16],
    pub(crate) trace_id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    kind: &'static str,
    pub(crate) state: TraceState,
    root_span_id: Option<String>,
    pub(crate) start_timestamp: String,
    end_timestamp: Option<String>,
    last_timestamp: String,
    pub(crate) duration_ms: Option<f64>,
    pub(crate) spans: SpanCounts,
    services: Vec<Service>,
    /// Attributes of the root that distinguish this trace from others in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    root_attributes: Option<RootAttributes>,
    /// The first error that has a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorSummary>,
    /// The progress of the root, even after its end. If the root has none, the progress of the open
    /// span that last reported any.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<SpanProgress>,
    /// The longest-lasting await point of an open span.
    #[serde(skip_serializing_if = "Option::is_none")]
    awaiting: Option<AwaitingSummary>,
    first_id: String,
    pub(crate) last_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evicted: Option<EvictedParts>,
    /// Whether a user asked to keep the trace.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
    /// The match of the search, if it is outside the summary.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    found: Option<SearchMatch>,
    /// Set if only the beginning and the end of the trace are summarized.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<PartialSummary>,
}

/// The part of a trace that is summarized.
#[derive(Clone, Copy, Debug, Serialize)]
struct PartialSummary {
    /// The number of summarized events: a part from the beginning of the trace, and a part from its end.
    events: usize,
}

/// All spans of the trace that were ever in the log, retained or not. Spans that share an id are
/// counted separately.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SpanCounts {
    pub(crate) total: u64,
    pub(crate) open: u64,
    /// Spans that ended with status ERROR, including panicked and lost ones, and open spans that
    /// already have this status.
    pub(crate) errors: u64,
    lost: u64,
}

/// The await point of an open span of the trace.
#[derive(Clone, Debug, Serialize)]
struct AwaitingSummary {
    name: String,
    since: String,
}

impl AwaitingSummary {
    fn of(point: &AwaitPoint) -> Self {
        Self {
            name: point.name.to_string(),
            since: point.since.text(),
        }
    }
}

/// An error within the trace.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorSummary {
    span_id: String,
    name: String,
    message: String,
}

impl ErrorSummary {
    fn of(error: &TraceError) -> Self {
        Self {
            span_id: hex::encode(&error.span_id),
            name: error.name.to_string(),
            message: error.message.to_string(),
        }
    }
}

/// The events and spans that retention has removed from a trace that is still in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EvictedParts {
    /// Events that can no longer be read.
    pub(crate) events: u64,
    /// Spans whose end was removed and that have no event left; `null` if unknown.
    pub(crate) spans: Option<u64>,
}

impl EvictedParts {
    /// Returns `None` if nothing was removed.
    pub(crate) fn of(evicted: EvictedEvents) -> Option<Self> {
        let EvictedEvents { events, closings } = evicted;
        (events > 0).then_some(Self {
            events,
            spans: closings,
        })
    }
}

impl Summary {
    /// Replaces the figures of removed events with newer ones.
    pub(crate) fn with_evicted(self, evicted: Option<EvictedParts>) -> Self {
        Self { evicted, ..self }
    }
}

impl Trace {
    pub(crate) fn summary(&self, trace_id: [u8; 16], id: impl Fn(u64) -> EventId) -> Summary {
        let open = self.is_open();
        let root = self.root.as_ref().filter(|root| root.is_genuine());
        let duration = self.duration_nanos(self.end);
        Summary {
            id: trace_id,
            trace_id: hex::encode(&trace_id),
            name: self.name().to_owned(),
            service: self.service_name().to_owned(),
            kind: json::kind_name(self.kind()),
            state: self.state(),
            root_span_id: root.map(|root| hex::encode(&root.span_id)),
            start_timestamp: self.start.unwrap_or(self.newest).text(),
            end_timestamp: (!open).then(|| self.end.max(self.start.unwrap_or_default()).text()),
            last_timestamp: self.newest.text(),
            duration_ms: (!open).then_some(milliseconds(duration)),
            spans: SpanCounts {
                total: self.total,
                open: self.open.len() as u64,
                errors: self.errors(),
                lost: self.lost.len() as u64,
            },
            services: self.services().cloned().collect(),
            root_attributes: root.and_then(|root| root.attributes.clone()),
            error: self.error().map(ErrorSummary::of),
            progress: self.progress().cloned(),
            awaiting: self.awaiting().map(AwaitingSummary::of),
            first_id: id(self.first).to_string(),
            last_id: id(self.last).to_string(),
            evicted: EvictedParts::of(self.evicted()),
            kept: false,
            found: None,
            partial: None,
        }
    }
}

impl Summary {
    /// Returns the start time of the trace's first span, in wire format.
    #[cfg(feature = "testing")]
    pub(crate) fn start_timestamp(&self) -> &str {
        &self.start_timestamp
    }

    /// Sets whether the trace is among these kept streams.
    #[cfg(feature = "http")]
    pub(crate) fn with_kept(mut self, kept: &[crate::log::event::StreamKey]) -> Self {
        self.kept = kept.iter().any(|key| key.as_bytes() == self.id);
        self
    }

    /// Sets the match of the search.
    pub(crate) fn with_match(self, found: Option<SearchMatch>) -> Self {
        Self { found, ..self }
    }

    /// Sets the number of summarized events; `None` if all events of the trace are summarized.
    pub(crate) fn partial(mut self, events: Option<usize>) -> Self {
        self.partial = events.map(|events| PartialSummary { events });
        self
    }
}

/// Converts nanoseconds to fractional milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53 nanoseconds, which is 104 days"
)]
pub(crate) fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

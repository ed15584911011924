//! One trace as the list of traces shows it: the JSON of `GET /traces`, and what of a [`Trace`] goes into it. Pure; it runs
//! on the task of the request that asks.
//!
//! Name, service and kind are those of the root: the span without a parent, else one whose parent is in another process,
//! else one whose parent is not known. Of several, it is the one with the earliest start, then with the lowest place in
//! the log; in a circle of parents, the one that started first. The start of the trace is that of its first span, as the
//! span's end says once it has ended, and as its start said until then.

use serde::Serialize;

use crate::{
    log::retention::EvictedEvents,
    span::json,
    trace::state::{Service, Trace, TraceState},
    util::hex,
    wire::id::EventId,
};

/// A trace in the list of traces.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    #[serde(skip)]
    pub(crate) id: [u8; 16],
    trace_id: String,
    name: String,
    service: String,
    kind: &'static str,
    state: TraceState,
    root_span_id: Option<String>,
    start_timestamp: String,
    end_timestamp: Option<String>,
    last_timestamp: String,
    duration_ms: Option<f64>,
    spans: SpanCounts,
    services: Vec<Service>,
    first_id: String,
    last_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) evicted: Option<EvictedParts>,
    /// Set where the trace goes on after what is summed up here.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<PartialSummary>,
}

/// How much of a trace is summed up.
#[derive(Clone, Copy, Debug, Serialize)]
struct PartialSummary {
    /// Its first so many events.
    events: usize,
}

/// Spans of all that the log ever had of the trace, retained or not. Spans that share an id are counted one by one.
#[derive(Clone, Copy, Debug, Serialize)]
struct SpanCounts {
    total: u64,
    open: u64,
    /// Spans that ended with status ERROR, and lost ones.
    errors: u64,
    lost: u64,
}

/// What retention has let go of a trace that is still in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EvictedParts {
    /// Events that can no longer be read.
    pub(crate) events: u64,
    /// Spans whose end is among them, so that nothing of them is left; `null` when not known.
    pub(crate) spans: Option<u64>,
}

impl EvictedParts {
    /// `None` if nothing is gone.
    pub(crate) fn of(evicted: EvictedEvents) -> Option<Self> {
        let EvictedEvents { events, closings } = evicted;
        (events > 0).then_some(Self {
            events,
            spans: closings,
        })
    }
}

impl Summary {
    /// Says what retention has let go of the trace, as it was asked for after the summary was made.
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
                errors: self.errors,
                lost: self.lost.len() as u64,
            },
            services: self.services().cloned().collect(),
            first_id: id(self.first).to_string(),
            last_id: id(self.last).to_string(),
            evicted: EvictedParts::of(self.evicted()),
            partial: None,
        }
    }
}

impl Summary {
    /// Says that only so many events are summed up, if there are more.
    pub(crate) fn partial(mut self, events: Option<usize>) -> Self {
        self.partial = events.map(|events| PartialSummary { events });
        self
    }
}

/// Milliseconds with the nanoseconds as decimals.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53 nanoseconds, which is 104 days"
)]
pub(crate) fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

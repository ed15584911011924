//! One trace as the list of traces shows it: the JSON of `GET /traces`, and what of a [`Trace`] goes into it. Pure; it runs
//! on the task of the request that asks.

use serde::Serialize;

use crate::{
    span::json,
    trace::state::{Service, Trace, TraceState},
    util::hex,
    wire::id::EventId,
};

/// A trace in the list of traces.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
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

#[derive(Clone, Copy, Debug, Serialize)]
struct SpanCounts {
    total: u64,
    open: u64,
    errors: u64,
    lost: u64,
}

impl Trace {
    pub(crate) fn summary(&self, trace_id: [u8; 16], id: impl Fn(u64) -> EventId) -> Summary {
        let open = self.is_open();
        let root = self.root.as_ref().filter(|root| root.is_genuine());
        let duration = self.duration_nanos(self.end);
        Summary {
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

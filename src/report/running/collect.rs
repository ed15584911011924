//! Makes the report of running spans: finds the open spans in the index, and reads their state from
//! their events. It runs on the task of a request, or on a thread that waits for it.

use std::collections::HashMap;

use serde::Serialize;

use crate::{
    live_spans::LiveSpans,
    report::{
        running::{
            span_now::{SpanNow, SpanNowBuilder, age_of},
            tree,
        },
        trace_events::{ReadBudget, ReadResult, read_trace},
    },
    span::event::SpanId,
    trace::{
        filter::TraceFilter,
        index::{
            TraceIndex,
            open_now::{OpenCounts, OpenLimits, OpenTrace},
        },
        parse,
        state::TraceState,
        summary::{EvictedParts, milliseconds},
    },
    util::{hash::Map, hex, time::Timestamp},
};

/// Bounds of one report.
const LIMITS: OpenLimits = OpenLimits {
    traces: 200,
    spans: 2_000,
    spans_of_trace: 500,
};

/// The report of running spans.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningReport {
    pub(crate) now: String,
    /// The newest event before the report was made. A stream that resumes from it has every event that the report
    /// lacks.
    pub(crate) cursor: String,
    /// The counts of all open traces and spans that the query accepts.
    pub(crate) open: ReportCounts,
    /// The counts of omitted traces and spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<ReportCounts>,
    /// Whether this log is shared by several processes, so that only the traces that this process
    /// follows are included.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) only_followed: bool,
    /// The traces, oldest first.
    pub(crate) traces: Vec<RunningTrace>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReportCounts {
    pub(crate) traces: u64,
    pub(crate) spans: u64,
}

/// One trace with open spans.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningTrace {
    pub(crate) trace_id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) state: TraceState,
    pub(crate) start_timestamp: String,
    pub(crate) age_ms: f64,
    pub(crate) spans_total: u64,
    pub(crate) spans_open: u64,
    pub(crate) errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evicted: Option<EvictedParts>,
    /// Set if some events of the trace could not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) incomplete: bool,
    /// The trace's open spans in tree order. If there are too many, only the oldest.
    pub(crate) spans: Vec<SpanNow>,
    #[serde(skip)]
    pub(crate) age: u64,
}

/// Returns the report on the open traces that the filter accepts.
pub(crate) async fn running(
    live: &LiveSpans,
    filter: &TraceFilter,
    now: Timestamp,
) -> RunningReport {
    let (log, index) = (live.log(), &live.shared.index);
    // Taken first, so that a stream from this cursor has every event that the report lacks.
    let cursor = log.id(log.tail.published()).to_string();
    let open = index.open_now(filter, LIMITS);
    let mut budget = ReadBudget::new();
    let mut usual = UsualDurations::default();
    let mut traces = Vec::with_capacity(open.traces.len());
    for trace in open.traces {
        if budget.is_spent() {
            break;
        }
        let mut read = read_open(live, trace, now, &mut budget).await;
        if filter.within.is_none() {
            usual.compare(&live.shared.index, &mut read.spans);
        }
        traces.push(read);
    }
    let shown = ReportCounts {
        traces: traces.len() as u64,
        spans: traces.iter().map(|trace| trace.spans.len() as u64).sum(),
    };
    let open = ReportCounts::of(open.all);
    RunningReport {
        now: now.text(),
        cursor,
        open,
        left_out: (shown != open).then(|| open.without(shown)),
        only_followed: log.is_shared(),
        traces,
    }
}

/// Reads the state of a trace's open spans from its events.
async fn read_open(
    live: &LiveSpans,
    trace: OpenTrace,
    now: Timestamp,
    budget: &mut ReadBudget,
) -> RunningTrace {
    let mut spans: Map<[u8; 8], SpanNowBuilder> = Map::default();
    spans.extend(
        trace
            .spans
            .iter()
            .map(|span| (span.id, SpanNowBuilder::default())),
    );
    let result = read_trace(live.log(), trace.id, trace.last, budget, |event| {
        let span = parse::span_id(event.payload).map(SpanId::to_bytes);
        if let Some(builder) = span.and_then(|span| spans.get_mut(&span)) {
            builder.add(&event);
        }
        if matches!(event.name, "started" | "ended")
            && let Some(parent) = parse::parent_span_id(event.payload)
            && let Some(builder) = spans.get_mut(&parent.to_bytes())
        {
            builder.add_child(&event);
        }
    })
    .await;
    let open_spans = trace.spans.iter().map(|open| {
        let builder = spans.remove(&open.id).unwrap_or_default();
        builder.finish(open, now)
    });
    let age = age_of(trace.start, now);
    RunningTrace {
        trace_id: hex::encode(&trace.id),
        spans: tree::in_tree_order(open_spans.collect()),
        name: trace.name,
        service: trace.service,
        state: trace.state,
        start_timestamp: trace.start.text(),
        age_ms: milliseconds(age),
        spans_total: trace.spans_total,
        spans_open: trace.spans_open,
        errors: trace.errors,
        evicted: trace.evicted,
        incomplete: result != ReadResult::Whole,
        age,
    }
}

/// The usual durations of spans by service and name: the number of ended spans, and the duration
/// that 95 % of them did not exceed. Only for readers of the whole log, because the durations come
/// from all traces.
#[derive(Debug, Default)]
pub(crate) struct UsualDurations(HashMap<(String, String), (u64, Option<u64>)>);

impl UsualDurations {
    fn compare(&mut self, index: &TraceIndex, spans: &mut [SpanNow]) {
        for span in spans {
            let (Some(service), Some(name)) = (span.service.clone(), span.name.clone()) else {
                continue;
            };
            let (count, p95) = self.of(index, &service, &name);
            span.compare_with(count, p95);
        }
    }

    /// Returns the number of ended spans, and the duration that 95 % of them did not exceed.
    pub(crate) fn of(
        &mut self,
        index: &TraceIndex,
        service: &str,
        name: &str,
    ) -> (u64, Option<u64>) {
        let usual = self.0.entry((service.to_owned(), name.to_owned()));
        *usual.or_insert_with_key(|(service, name)| {
            let operation = index.operation(service, name);
            let durations = operation.map(|operation| operation.durations());
            let durations = durations.unwrap_or_default();
            (durations.count(), durations.quantile(95))
        })
    }
}

impl ReportCounts {
    fn of(counts: OpenCounts) -> Self {
        let OpenCounts { traces, spans } = counts;
        Self { traces, spans }
    }

    fn without(self, shown: Self) -> Self {
        Self {
            traces: self.traces.saturating_sub(shown.traces),
            spans: self.spans.saturating_sub(shown.spans),
        }
    }
}

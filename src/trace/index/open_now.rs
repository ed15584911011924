//! The traces with open spans, oldest first, and these spans. It runs on the task of a request, or
//! on a thread that prints a report, and locks the index only while it copies.

use crate::{
    trace::{
        filter::TraceFilter,
        index::TraceIndex,
        state::{Trace, TraceState, open_spans::OpenEntry},
        summary::EvictedParts,
    },
    util::{
        hash::{Map, Set},
        sync::read,
        time::Timestamp,
    },
};

/// Bounds on the number of copied traces and spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenLimits {
    pub(crate) traces: usize,
    pub(crate) spans: usize,
    pub(crate) spans_of_trace: usize,
}

/// The numbers of traces and of open spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenCounts {
    pub(crate) traces: u64,
    pub(crate) spans: u64,
}

/// The traces that have open spans.
#[derive(Debug, Default)]
pub(crate) struct OpenNow {
    /// The traces in the order of their first events, oldest first.
    pub(crate) traces: Vec<OpenTrace>,
    /// The counts over all traces that the filter accepts, including those that were not copied.
    pub(crate) all: OpenCounts,
}

/// One trace with open spans.
#[derive(Clone, Debug)]
pub(crate) struct OpenTrace {
    pub(crate) id: [u8; 16],
    /// The sequence of the trace's last event that is included here.
    pub(crate) last: u64,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) state: TraceState,
    pub(crate) start: Timestamp,
    pub(crate) spans_total: u64,
    pub(crate) spans_open: u64,
    pub(crate) errors: u64,
    pub(crate) evicted: Option<EvictedParts>,
    /// Open spans, oldest first, each after its open ancestors.
    pub(crate) spans: Vec<OpenSpanEntry>,
}

/// One open span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenSpanEntry {
    pub(crate) id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) start: Timestamp,
    /// Whether the span is a workflow's step that waits for a time or an event.
    pub(crate) waits: bool,
}

impl TraceIndex {
    /// Returns the traces with open spans that the filter accepts, oldest first.
    pub(crate) fn open_now(&self, filter: &TraceFilter, limits: OpenLimits) -> OpenNow {
        let now = Timestamp::now();
        let state = read(&self.state);
        let mut open = OpenNow::default();
        let mut spans_left = limits.spans;
        for first in &state.open {
            let id = state.order.get(first);
            let Some((id, entry)) = id.and_then(|id| Some((id, state.traces.get(id)?))) else {
                continue;
            };
            if !filter.accepts(id, &entry.trace, now) {
                continue;
            }
            open.all.traces += 1;
            open.all.spans += entry.trace.open.len() as u64;
            if open.traces.len() < limits.traces && spans_left > 0 {
                let spans = limits.spans_of_trace.min(spans_left);
                let trace = OpenTrace::of(*id, &entry.trace, spans);
                spans_left -= trace.spans.len();
                open.traces.push(trace);
            }
        }
        open
    }
}

impl OpenTrace {
    pub(crate) fn of(id: [u8; 16], trace: &Trace, spans_max: usize) -> Self {
        Self {
            id,
            last: trace.last,
            name: trace.name().to_owned(),
            service: trace.service_name().to_owned(),
            state: trace.state(),
            start: trace.start.unwrap_or(trace.newest),
            spans_total: trace.total,
            spans_open: trace.open.len() as u64,
            errors: trace.errors(),
            evicted: EvictedParts::of(trace.evicted()),
            spans: oldest(trace, spans_max),
        }
    }
}

/// Returns the open spans that began first, with their open ancestors before them.
fn oldest(trace: &Trace, max: usize) -> Vec<OpenSpanEntry> {
    let by_id: Map<[u8; 8], OpenEntry> = trace.open.iter().collect();
    let mut sorted: Vec<_> = by_id.iter().map(|(id, span)| (span.start, *id)).collect();
    sorted.sort_unstable();
    let mut taken = Set::default();
    let mut spans = Vec::with_capacity(sorted.len().min(max));
    for (_, id) in sorted {
        let mut path = Vec::new();
        let mut next = Some(id);
        // A cycle of parents ends at a span that is already on the path.
        while let Some(id) = next.filter(|id| by_id.contains_key(id) && taken.insert(*id)) {
            path.push(id);
            next = by_id.get(&id).and_then(|span| span.parent);
        }
        if spans.len() + path.len() > max {
            break;
        }
        spans.extend(path.iter().rev().filter_map(|id| {
            let span = by_id.get(id)?;
            Some(OpenSpanEntry {
                id: *id,
                parent: span.parent,
                start: span.start,
                waits: trace.waiting.contains(*id),
            })
        }));
    }
    spans
}

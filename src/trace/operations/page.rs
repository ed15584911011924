//! The response of `GET /operations`: the operations with the most total time. It runs on the task
//! of the request.
//!
//! It copies figures under the index's lock, a few operations at a time, because the worker thread
//! needs the lock for every batch. It computes from the copies.

use crate::{
    span::event::SpanKind,
    trace::{
        index::TraceIndex,
        operations::{
            operation::Operation,
            summary::{OperationSummary, RunningSpan},
            table::OperationId,
        },
        search::Search,
    },
    util::{hash::Map, sync::read, time::Timestamp},
};

/// Upper bound on the operations that are copied under one lock. Copying them takes about ten microseconds.
const OPERATIONS_AT_ONCE: usize = 16;
/// Upper bound on the open traces whose spans are examined under one lock.
const TRACES_AT_ONCE: usize = 64;
/// Upper bound on the open traces that are searched for open spans. The newest traces are searched.
const TRACES_MAX: usize = 1_024;
/// Upper bound on the open spans of one trace that are examined.
const SPANS_MAX: usize = 256;

/// The filter of operations. Values within one field are alternatives; all fields must match.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperationFilter {
    pub(crate) services: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) kinds: Vec<SpanKind>,
    pub(crate) search: Search,
}

impl OperationFilter {
    fn accepts(&self, operation: &Operation) -> bool {
        let Operation { service, name, .. } = operation;
        let is = |wanted: &[String], text: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == text)
        };
        is(&self.services, service)
            && is(&self.names, name)
            && (self.kinds.is_empty() || self.kinds.contains(&operation.kind))
            && self.search.accepts_operation(operation)
    }
}

/// The operations with the most total time, and counts of the others.
#[derive(Clone, Debug)]
pub(crate) struct OperationsPage {
    pub(crate) operations: Vec<OperationSummary>,
    /// The number of operations that the filter accepts but that have no room on the page.
    pub(crate) more: usize,
    /// The number of ended spans whose names have no figures.
    pub(crate) others: u64,
}

impl TraceIndex {
    pub(crate) fn operations_page(
        &self,
        filter: &OperationFilter,
        limit: usize,
        now: Timestamp,
    ) -> OperationsPage {
        let mut wanted = Vec::new();
        let mut place = 0;
        let others = loop {
            let state = read(&self.state);
            let mut count = 0;
            for (id, operation) in state.operations.from(place).take(OPERATIONS_AT_ONCE) {
                count += 1;
                // An operation has figures only after a span has ended, or while one is running.
                let is_used = operation.running > 0 || !operation.last.is_empty();
                if is_used && filter.accepts(operation) {
                    wanted.push((id, operation.clone()));
                }
            }
            if count < OPERATIONS_AT_ONCE {
                break state.operations.forgotten();
            }
            place += count;
        };
        wanted.sort_by(|(_, one), (_, other)| {
            let order = other.total_nanos.cmp(&one.total_nanos);
            let order = order.then_with(|| one.service.cmp(&other.service));
            order.then_with(|| one.name.cmp(&other.name))
        });
        let more = wanted.len().saturating_sub(limit);
        wanted.truncate(limit);
        let running = self.running_spans(wanted.iter().map(|(id, _)| *id));
        let operations = wanted.into_iter().map(|(id, operation)| {
            let running = running.get(&id).map_or(&[][..], Vec::as_slice);
            OperationSummary::of(operation, running, now)
        });
        OperationsPage {
            operations: operations.collect(),
            more,
            others,
        }
    }

    /// Returns some open spans of each of these operations, the latest starts first. They are taken
    /// from the newest traces.
    fn running_spans(
        &self,
        operations: impl Iterator<Item = OperationId>,
    ) -> Map<OperationId, Vec<RunningSpan>> {
        let mut found: Map<OperationId, Vec<RunningSpan>> =
            operations.map(|id| (id, Vec::new())).collect();
        let mut before = u64::MAX;
        for _ in 0..TRACES_MAX / TRACES_AT_ONCE {
            let state = read(&self.state);
            let mut count = 0;
            for first in state.open.range(..before).rev().take(TRACES_AT_ONCE) {
                (count, before) = (count + 1, *first);
                let id = state.order.get(first);
                let Some((id, entry)) = id.and_then(|id| Some((id, state.traces.get(id)?))) else {
                    continue;
                };
                for (span_id, span) in entry.trace.open.iter().take(SPANS_MAX) {
                    let spans = found.get_mut(&span.operation);
                    if let Some(spans) =
                        spans.filter(|spans| spans.len() < OperationSummary::RUNNING_MAX)
                    {
                        spans.push(RunningSpan {
                            trace_id: *id,
                            span_id,
                            start: span.start,
                        });
                    }
                }
            }
            if count < TRACES_AT_ONCE {
                break;
            }
        }
        for spans in found.values_mut() {
            spans.sort_by_key(|span| std::cmp::Reverse((span.start, span.span_id)));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{
        log::event::StreamKey,
        trace::{span_change::SpanOutcome, state::tests::TraceChanges},
    };

    fn page(index: &TraceIndex, filter: &OperationFilter, limit: usize, now: u64) -> Json {
        let now = Timestamp::from_nanos(now * 1_000_000_000);
        let page = index.operations_page(filter, limit, now);
        json!({"operations": page.operations, "more": page.more, "others": page.others})
    }

    /// Returns the name, the count, the running spans and the states of the last runs of each
    /// operation.
    fn rows(page: &Json) -> Vec<(String, u64, u64, Vec<String>)> {
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        let operations = page["operations"].as_array().unwrap().iter();
        let rows = operations.map(|one| {
            let last = one["last"].as_array().unwrap().iter();
            let states = last.map(|run| text(&run["state"])).collect();
            let number = |key: &str| one[key].as_u64().unwrap();
            (
                text(&one["name"]),
                number("count"),
                number("running"),
                states,
            )
        });
        rows.collect()
    }

    #[test]
    fn an_operation_is_listed_whole() {
        const BEGIN: u64 = 1_800_000_000;
        let index = TraceIndex::default();
        let changes = TraceChanges { trace: 1 };
        let ended =
            |span, end: u64, outcome| changes.ended(span, None, [BEGIN, BEGIN + end], outcome);
        let mut failed = ended(2, 40, SpanOutcome::Error);
        if let crate::trace::span_change::ChangeKind::Ended { start, .. } = &mut failed.kind {
            start.name = "span1".into();
        }
        let all = [
            changes.started(1, None, BEGIN),
            ended(1, 4, SpanOutcome::Ok),
            failed,
            changes.started(1, None, BEGIN + 50),
        ];
        index.apply((1..).zip(all));
        let page = page(&index, &OperationFilter::default(), 10, BEGIN + 59);
        let operation = &page["operations"][0];
        let ms = |value: &Json| value.as_f64().unwrap();
        let near = |value: &Json, exact: f64| (ms(value) - exact).abs() < exact * 0.033;
        assert!(near(&operation["p50"], 4_000.0), "{operation}");
        for key in ["p95", "p99"] {
            assert!(near(&operation[key], 40_000.0), "{operation}");
            assert!(
                ms(&operation[key]) <= 40_000.0,
                "a percentile is above the slowest span: {operation}"
            );
        }
        let mut rate = vec![json!({"count": 0, "errors": 0}); 40];
        rate[36] = json!({"count": 1, "errors": 0});
        rate[38] = json!({"count": 1, "errors": 1});
        let ranges = operation["histogram"].as_array().unwrap();
        let counts: u64 = ranges
            .iter()
            .map(|range| range["count"].as_u64().unwrap())
            .sum();
        assert_eq!((counts, ranges.len()), (2, 54));
        let run = |span: u64, start: &str, duration: f64, state: &str| {
            json!({"traceId": "01".repeat(16), "spanId": format!("0{span}").repeat(8), "start": start,
                   "duration": duration, "state": state})
        };
        let begin = "2027-01-15T08:00:00.000000000Z";
        let expected = json!({
            "service": "shop", "name": "span1", "kind": "INTERNAL", "count": 2,
            "since": "2027-01-15T08:00:04.000000000Z", "perSecond": operation["perSecond"], "rate": rate,
            "p50": operation["p50"], "p95": operation["p95"], "p99": operation["p99"], "total": 44_000.0,
            "errors": 1, "errorShare": 0.5, "running": 1, "histogram": ranges,
            "slowest": run(2, begin, 40_000.0, "error"),
            "last": [run(1, begin, 4_000.0, "ok"), run(2, begin, 40_000.0, "error"),
                     run(1, "2027-01-15T08:00:50.000000000Z", 9_000.0, "running")],
            "p50Recent": operation["p50"], "p50Before": null,
        });
        assert_eq!(*operation, expected);
        let rate = ms(&operation["perSecond"]);
        assert!((rate - 2.0 / 55.0).abs() < 1e-9, "{rate}");
        assert_eq!((&page["more"], &page["others"]), (&json!(0), &json!(0)));
    }

    #[test]
    fn running_spans_are_counted_until_they_end_or_their_trace_is_gone() {
        let index = TraceIndex::default();
        let mut sequence = 0;
        let mut apply = |change| {
            sequence += 1;
            index.apply([(sequence, change)].into_iter());
        };
        let change = |trace| TraceChanges { trace };
        for trace in 1..=20 {
            apply(change(trace).started(1, None, 1));
            // A repeated start opens nothing.
            apply(change(trace).started(1, None, 1));
        }
        let rows = || rows(&page(&index, &OperationFilter::default(), 10, 100));
        let states = |states: &[(&str, usize)]| {
            let states = states.iter();
            let states = states.flat_map(|(state, count)| vec![(*state).to_owned(); *count]);
            states.collect::<Vec<_>>()
        };
        let row = |count, running, last| vec![("span1".to_owned(), count, running, last)];
        assert_eq!(rows(), row(0, 20, states(&[("running", 10)])));
        apply(change(1).ended(1, None, [1, 2], SpanOutcome::Lost));
        apply(change(2).ended(1, None, [1, 2], SpanOutcome::Ok));
        let last = states(&[("lost", 1), ("ok", 1), ("running", 10)]);
        assert_eq!(rows(), row(1, 18, last));
        // The lost span's own end arrives after all, and a lost span starts again.
        apply(change(1).ended(1, None, [1, 3], SpanOutcome::Cancelled));
        apply(change(3).ended(1, None, [1, 4], SpanOutcome::Lost));
        apply(change(3).started(1, None, 1));
        let last = states(&[("ok", 1), ("cancelled", 1), ("lost", 1), ("running", 10)]);
        assert_eq!(rows(), row(2, 18, last));
        let gone: Vec<StreamKey> = (4..=20).map(|id| StreamKey::of_id([id; 16])).collect();
        index.forget(&gone);
        let last = states(&[("ok", 1), ("cancelled", 1), ("lost", 1), ("running", 1)]);
        assert_eq!(rows(), row(2, 1, last));
        apply(change(3).ended(1, None, [1, 5], SpanOutcome::Panicked));
        let last = states(&[("ok", 1), ("cancelled", 1), ("panicked", 1)]);
        assert_eq!(rows(), row(3, 0, last));
    }

    #[test]
    fn a_page_has_the_operations_with_the_most_time_and_counts_the_others() {
        let index = TraceIndex::default();
        for span in 1..=40 {
            let end = TraceChanges { trace: span }.ended(
                span,
                None,
                [10, 10 + u64::from(span)],
                SpanOutcome::Ok,
            );
            index.apply([(u64::from(span), end)].into_iter());
        }
        let names = |filter: &OperationFilter, limit| {
            let page = page(&index, filter, limit, 100);
            let names = rows(&page).into_iter().map(|(name, ..)| name);
            (names.collect::<Vec<_>>(), page["more"].as_u64().unwrap())
        };
        let all = OperationFilter::default();
        let expected = ["span40", "span39", "span38"].map(str::to_owned).to_vec();
        assert_eq!(names(&all, 3), (expected, 37));
        let seventh = OperationFilter {
            names: vec!["span7".to_owned()],
            services: vec!["shop".to_owned()],
            kinds: vec![SpanKind::Internal],
            search: Search::default(),
        };
        assert_eq!(names(&seventh, 3), (vec!["span7".to_owned()], 0));
        let none = OperationFilter {
            services: vec!["shops".to_owned()],
            ..OperationFilter::default()
        };
        assert_eq!(names(&none, 3), (vec![], 0));
        let found = |text: &str| {
            let search = Search::parse(text).unwrap();
            search.require_operation_terms().unwrap();
            let filter = OperationFilter {
                search,
                ..OperationFilter::default()
            };
            names(&filter, 3)
        };
        let expected = vec!["span31".to_owned(), "span3".to_owned()];
        assert_eq!(
            found(
                "SHOP span3 -name:0 kind:internal -span39 -span38 -span37 -span36 -span35 -span34 -span33 -span32"
            ),
            (expected, 0)
        );
        assert_eq!(found("service:other"), (vec![], 0));
        let refused = Search::parse("span state:ok").unwrap();
        assert_eq!(
            refused.require_operation_terms().unwrap_err().to_string(),
            "operations are searched by text, name, service and kind only"
        );
    }
}

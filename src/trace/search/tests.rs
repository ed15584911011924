//! Searches, tested against the same examples as the dashboard's search.

use serde_json::Value as Json;

use super::*;
use crate::{
    trace::{
        search::event_search::{EventSearch, NotFound, SearchMatch},
        span_change::{ChangeKind, SpanChange, SpanOutcome, SpanStart},
    },
    wire::id::{EventId, Sequence},
};

/// The searches and their expected results. The dashboard's own tests read the same file.
fn shared() -> Json {
    serde_json::from_str(include_str!("../../../tests/search.json")).unwrap()
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn trace(number: u64, described: &Json) -> ([u8; 16], Trace) {
    let id: TraceId = text(&described["summary"], "traceId").parse().unwrap();
    let mut trace = Trace::new(number);
    for (span, place) in described["spans"].as_array().unwrap().iter().zip(1_u8..) {
        let at = |key: &str| Timestamp::from_nanos(span[key].as_u64().unwrap() * 1_000_000);
        let start = SpanStart {
            parent: (place > 1).then_some([1; 8]),
            parent_remote: false,
            name: text(span, "name").into(),
            service: text(span, "service").into(),
            kind: kind(text(span, "kind")).unwrap(),
            start_time: at("startMs"),
            links: Box::default(),
            progress: None,
            of_root: None,
        };
        let (time, kind) = match text(span, "outcome") {
            "" => (at("startMs"), ChangeKind::Started(start)),
            outcome => {
                let outcome = match outcome {
                    "ok" => SpanOutcome::Ok,
                    "error" => SpanOutcome::Error,
                    "panicked" => SpanOutcome::Panicked,
                    "cancelled" => SpanOutcome::Cancelled,
                    _ => SpanOutcome::Lost,
                };
                let message = None;
                let kind = ChangeKind::Ended {
                    start,
                    outcome,
                    message,
                };
                (at("endMs"), kind)
            }
        };
        let change = SpanChange {
            trace_id: id.to_bytes(),
            span_id: [place; 8],
            time,
            kind,
        };
        trace.apply(&change, number);
    }
    (id.to_bytes(), trace)
}

#[test]
fn searches_find_the_expected_traces_of_the_shared_examples() {
    let shared = shared();
    let now = Timestamp::from_nanos(shared["nowMs"].as_u64().unwrap() * 1_000_000);
    let described = shared["traces"].as_array().unwrap();
    let traces: Vec<_> = described
        .iter()
        .zip(1..)
        .map(|(one, number)| trace(number, one))
        .collect();
    for ((id, trace), (described, number)) in traces.iter().zip(described.iter().zip(1..)) {
        let to_id = |_| EventId::new("k3x9q2a7".parse().unwrap(), Sequence::new(number));
        let summary = serde_json::to_value(trace.summary(*id, to_id)).unwrap();
        assert_eq!(
            summary, described["summary"],
            "the summary in the dashboard's tests differs from that of this crate"
        );
    }
    for example in shared["finds"].as_array().unwrap() {
        let search = Search::parse(text(example, "query")).unwrap();
        let found: Vec<Json> = traces
            .iter()
            .zip(1..)
            .filter(|((id, trace), _)| search.accepts(id, trace, now))
            .map(|(_, number): (_, u64)| number.into())
            .collect();
        assert_eq!(Json::from(found), example["traces"], "{example}");
    }
}

#[test]
fn an_invalid_search_is_refused_with_the_position_of_the_error() {
    for example in shared()["wrong"].as_array().unwrap() {
        let refused = Search::parse(text(example, "query")).unwrap_err();
        assert_eq!(refused.to_string(), text(example, "message"), "{example}");
    }
}

/// Returns the result of a search in the events of the shared trace: whether the search accepts the
/// trace, and the match.
fn found_in_events(query: &str) -> (bool, Json) {
    let shared = shared();
    let search = Search::parse(query).unwrap();
    let payloads = shared["events"].as_array().unwrap().iter();
    let payloads: Vec<Vec<u8>> = payloads.map(|event| event.to_string().into()).collect();
    let id: TraceId = "99999999999999999999999999999999".parse().unwrap();
    let mut trace = Trace::new(1);
    for payload in &payloads {
        trace.apply(&crate::trace::parse::span_change(payload).unwrap(), 1);
    }
    let verdict = search.verdict(&id.to_bytes(), &trace, Timestamp::default());
    let mut events = EventSearch::of_all(&search);
    for payload in &payloads {
        events.scan(payload);
    }
    match events.decide(&verdict) {
        Ok(mut found) => {
            for payload in &payloads {
                if let Some(found) = found.as_mut().filter(|found| found.needs_name()) {
                    found.take_name(payload);
                }
            }
            (true, serde_json::to_value(found).unwrap())
        }
        Err(NotFound) => (false, Json::Null),
    }
}

#[test]
fn searches_of_events_find_the_expected_matches_of_the_shared_examples() {
    for example in shared()["inEvents"].as_array().unwrap() {
        let is_found = !example["span"].is_null();
        let expected = if is_found {
            serde_json::json!({
                "spanId": example["span"], "name": example["name"], "field": example["field"],
                "text": example["text"],
            })
        } else {
            Json::Null
        };
        let query = text(example, "query");
        assert_eq!(found_in_events(query), (is_found, expected), "{query}");
        let (is_accepted, _) = found_in_events(&format!("-{query}"));
        assert_eq!(is_accepted, !is_found, "-{query}");
    }
}

#[test]
fn terms_may_hold_in_different_spans_and_in_the_summary() {
    let refused = "checkout uri:/foo \"card declined\" -blue -gold";
    assert_eq!(found_in_events(refused), (false, Json::Null));
    let (accepted, found) = found_in_events("checkout -gold \"card declined\" uri:/foo");
    let field: Json = "status.message".into();
    assert_eq!((accepted, &found["field"]), (true, &field));
    // A term that the summary matches needs no event.
    assert_eq!(found_in_events("checkout -gold"), (true, Json::Null));
    assert_eq!(
        found_in_events("checkout state:ok uri:/foo"),
        (false, Json::Null)
    );
}

#[test]
fn an_excerpt_is_short_and_contains_the_match() {
    let long = format!("{}Straße{}", "ä".repeat(5_000), "x".repeat(5_000));
    let event = serde_json::json!({
        "type": "started", "spanId": "a", "attributes": {"sql": long},
    });
    let search = Search::parse("STRASSE").unwrap();
    let mut events = EventSearch::of_all(&search);
    assert!(!events.is_decided());
    events.scan(event.to_string().as_bytes());
    assert!(events.is_decided());
    let verdict = SummaryVerdict::Open(vec![0]);
    let found = serde_json::to_value(events.decide(&verdict).unwrap()).unwrap();
    let excerpt = found["text"].as_str().unwrap();
    assert_eq!(excerpt.chars().count(), SearchMatch::TEXT_MAX);
    assert_eq!(excerpt.matches("Straße").count(), 1);
}

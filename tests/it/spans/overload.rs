//! More spans than the buffer holds, while the store hangs. The host continues, losses are counted
//! and reported, and no span is shown as running for ever.

use std::{collections::HashSet, sync::Arc, thread};

use livespan::{LiveSpans, Retention, SpanEvent, sse::Dropped};
use opentelemetry::trace::{Span as _, Tracer as _};
use serde_json::{Value as Json, json};

use super::live_provider::{Gate, GatedStore, Watched, transcript};
use crate::support::{PATIENCE, until};

/// Eight shards of sixteen records each. In each, starts may fill eleven records, and ends fifteen.
const EVENTS: usize = 128;
const STARTS: u64 = 8 * 11;
const ENDS: u64 = 8 * 15;

/// Returns a log whose thread hangs in its store, with an empty buffer.
fn hanging() -> (Watched, Arc<Gate>) {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(
        LiveSpans::builder()
            .store(store)
            .buffer_bytes(0)
            .buffer_events(EVENTS),
    );
    drop(watched.tracer().start("first"));
    assert_eq!(
        watched.transcript(),
        ["process", "started first", "ended first"]
    );
    gate.shut();
    let (trace, span) = (
        "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap(),
        "00f067aa0ba902b7".parse().unwrap(),
    );
    watched
        .live
        .target()
        .try_dispatch(&SpanEvent::log(trace, span, "INFO", "held"))
        .unwrap();
    gate.wait_until_held();
    (watched, gate)
}

/// Waits until the buffered events are visible, and until spans whose ends were dropped have been
/// ended.
fn settle(watched: &Watched) {
    watched.live.target().flush(PATIENCE).unwrap();
    until(|| watched.open_spans() == 0);
}

fn count(events: &[Json], of: impl Fn(&Json) -> bool) -> u64 {
    events.iter().filter(|event| of(event)).count() as u64
}

fn is(kind: &'static str, name: &'static str) -> impl Fn(&Json) -> bool {
    move |event| {
        event["type"] == json!(kind) && event["name"] == json!(name) && event["lost"].is_null()
    }
}

fn dropped(starts: u64, ends: u64) -> Dropped {
    let mut dropped = Dropped::default();
    (dropped.starts, dropped.ends) = (starts, ends);
    dropped
}

#[test]
fn starts_are_dropped_before_ends_and_both_are_counted() {
    let (watched, gate) = hanging();
    let tracer = watched.tracer();
    let spans: Vec<_> = (0..500).map(|_| tracer.start("job")).collect();
    assert_eq!(watched.live.status().dropped, dropped(500 - STARTS, 0));
    for mut span in spans {
        span.end();
    }
    let expected = dropped(500 - STARTS, 500 - (ENDS - STARTS));
    assert_eq!(watched.live.status().dropped, expected);
    gate.open();
    settle(&watched);
    let events = watched.events();
    assert_eq!(count(&events, is("started", "job")), STARTS);
    assert_eq!(count(&events, is("ended", "job")), ENDS - STARTS);
    assert_eq!(
        count(&events, |event| event["lost"]["reason"] == json!("dropped")),
        STARTS - (ENDS - STARTS)
    );
    assert_eq!(
        watched.live.status().dropped,
        expected,
        "the ends that the log wrote for dropped ones are counted as drops"
    );
}

#[test]
fn gaps_in_the_log_report_exactly_the_dropped_records() {
    let (watched, gate) = hanging();
    let tracer = watched.tracer();
    let spans: Vec<_> = (0..300).map(|_| tracer.start("job")).collect();
    drop(spans);
    let dropped = watched.live.status().dropped;
    assert_eq!(
        (dropped.starts, dropped.ends),
        (300 - STARTS, 300 - (ENDS - STARTS))
    );
    gate.open();
    let events = watched.events();
    let gaps: Vec<&Json> = events
        .iter()
        .filter(|event| event["type"] == json!("gap"))
        .collect();
    let lost = json!({"starts": dropped.starts, "ends": dropped.ends, "other": 0});
    assert_eq!(
        gaps,
        [&json!({"type": "gap", "reason": "dropped", "lost": lost})]
    );
}

#[test]
fn no_span_whose_end_was_dropped_runs_for_ever() {
    let (watched, gate) = hanging();
    let tracer = watched.tracer();
    // The starts of these spans are accepted. Other ends then fill the space that is reserved for
    // ends.
    let shown: Vec<_> = (0..80).map(|_| tracer.start("shown")).collect();
    let others: Vec<_> = (0..400).map(|_| tracer.start("other")).collect();
    drop(others);
    drop(shown);
    gate.open();
    settle(&watched);
    let events = watched.events();
    let started: HashSet<String> = events
        .iter()
        .filter(|event| event["type"] == json!("started"))
        .map(|event| event["spanId"].to_string())
        .collect();
    let ended: Vec<String> = events
        .iter()
        .filter(|event| event["type"] == json!("ended"))
        .map(|event| event["spanId"].to_string())
        .collect();
    let distinct: HashSet<String> = ended.iter().cloned().collect();
    assert_eq!(distinct.len(), ended.len(), "a span ended twice");
    assert!(
        started.is_subset(&distinct),
        "a span that was shown has not ended"
    );
    let lost: Vec<String> = transcript(&events)
        .into_iter()
        .filter(|line| line.starts_with("lost"))
        .collect();
    assert_eq!(lost.len(), 80, "{lost:?}");
    assert!(
        lost.iter().all(|line| line == "lost shown: dropped"),
        "{lost:?}"
    );
}

#[test]
fn an_end_whose_start_was_dropped_is_whole() {
    let (watched, gate) = hanging();
    let tracer = watched.tracer();
    let filling: Vec<_> = (0..200).map(|_| tracer.start("filling")).collect();
    tracer.start("whole").end();
    gate.open();
    let events = watched.events();
    assert_eq!(count(&events, is("started", "whole")), 0);
    let whole = events
        .iter()
        .find(|event| is("ended", "whole")(event))
        .unwrap();
    assert_eq!(
        (&whole["parentSpanId"], &whole["kind"], &whole["scope"]),
        (&json!(null), &json!("INTERNAL"), &json!("test"))
    );
    assert_eq!(
        (&whole["service"], &whole["process"]),
        (&json!("shop"), &events[0]["process"])
    );
    assert!(whole["startTimestamp"].as_str().unwrap() <= whole["timestamp"].as_str().unwrap());
    drop(filling);
}

#[test]
fn threads_go_on_while_the_store_hangs() {
    let (watched, gate) = hanging();
    thread::scope(|scope| {
        for _ in 0..8 {
            let tracer = watched.tracer();
            scope.spawn(move || (0..5000).for_each(|_| drop(tracer.start("job"))));
        }
    });
    gate.open();
    settle(&watched);
    let events = watched.events();
    let dropped = watched.live.status().dropped;
    assert_eq!(
        count(&events, is("started", "job")) + dropped.starts,
        40_000
    );
    assert_eq!(count(&events, is("ended", "job")) + dropped.ends, 40_000);
    let reported = |key: &str| {
        events
            .iter()
            .filter_map(|event| event["lost"][key].as_u64())
            .sum::<u64>()
    };
    assert_eq!(
        (reported("starts"), reported("ends")),
        (dropped.starts, dropped.ends),
        "the gaps do not add up to the dropped records"
    );
}

//! The order of the log if many threads make spans at once.

use std::{
    collections::{HashMap, HashSet},
    thread,
};

use futures_util::StreamExt as _;
use livespan::{
    LiveSpans,
    sse::{Message, Subscribe},
};
use opentelemetry::trace::Tracer as _;
use serde_json::{Value as Json, json};

use super::live_provider::{Watched, payloads, read, stream_of};
use crate::support::{PATIENCE, block_on};

const THREADS: usize = 8;
const TREES: usize = 200;

/// Makes a root with children and grandchildren. The last child ends after the root.
fn tree(tracer: &opentelemetry_sdk::trace::SdkTracer) {
    tracer.in_span("root", |_| {
        tracer.in_span("child", |_| tracer.in_span("grandchild", |_| {}));
        tracer.in_span("child", |_| {});
    });
}

/// Asserts that each span starts before it ends, ends once, and starts after its parent, and that
/// each event comes after its process.
fn assert_ordered(events: &[Json]) {
    let mut started = HashSet::new();
    let mut ended = HashSet::new();
    let mut processes = HashSet::new();
    for event in events {
        if event["type"] == json!("process") {
            assert!(
                processes.insert(event["process"].to_string()),
                "a process is introduced twice"
            );
            continue;
        }
        assert!(
            processes.contains(&event["process"].to_string()),
            "no process precedes {event}"
        );
        let span = event["spanId"].to_string();
        if event["type"] == json!("started") {
            assert!(started.insert(span), "a span started twice");
            let parent = &event["parentSpanId"];
            assert!(
                parent.is_null() || started.contains(&parent.to_string()),
                "no parent precedes {event}"
            );
        } else {
            assert!(started.contains(&span), "an end has no earlier start");
            assert!(ended.insert(span), "a span ended twice");
        }
    }
    assert_eq!(started, ended);
}

fn run_threads(watched: &Watched) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let tracer = watched.tracer();
            scope.spawn(move || (0..TREES).for_each(|_| tree(&tracer)));
        }
    });
}

#[test]
fn starts_precede_ends_and_parents_their_children_on_every_stream() {
    let watched = Watched::new();
    run_threads(&watched);
    let events = watched.events();
    assert_eq!(events.len(), 1 + THREADS * TREES * 8);
    assert_ordered(&events);
    let mut by_trace: HashMap<String, Vec<Json>> = HashMap::new();
    for event in &events[1..] {
        by_trace
            .entry(event["traceId"].to_string())
            .or_insert_with(|| vec![events[0].clone()])
            .push(event.clone());
    }
    for expected in by_trace.values().take(50) {
        let mut reader = watched
            .live
            .target()
            .subscribe(Subscribe::to(stream_of(&expected[1])));
        assert_eq!(
            payloads(&read(&mut reader)),
            *expected,
            "the stream of a trace differs from the log without other traces"
        );
    }
}

#[test]
fn a_live_reader_sees_the_same_as_a_late_one() {
    let watched = Watched::new();
    let live = watched.live.clone();
    let reader = thread::spawn(move || {
        let subscription = live.target().subscribe(Subscribe::all());
        let messages = subscription
            .take(1 + THREADS * TREES * 8)
            .collect::<Vec<Message>>();
        payloads(&block_on(messages))
    });
    run_threads(&watched);
    assert_eq!(reader.join().unwrap(), watched.events());
}

#[test]
fn a_small_buffer_keeps_the_order_of_the_records_that_it_accepts() {
    let watched = Watched::with(LiveSpans::builder().buffer_bytes(0).buffer_events(512));
    run_threads(&watched);
    watched.live.target().flush(PATIENCE).unwrap();
    let mut seen: HashMap<String, &'static str> = HashMap::new();
    for event in watched.events() {
        let span = event["spanId"].to_string();
        match event["type"].as_str().unwrap() {
            "started" => assert_eq!(
                seen.insert(span, "started"),
                None,
                "a span started after its end, or twice"
            ),
            "ended" if event["lost"].is_null() => {
                assert_ne!(
                    seen.insert(span, "ended"),
                    Some("ended"),
                    "a span ended twice"
                );
            }
            _ => {}
        }
    }
}

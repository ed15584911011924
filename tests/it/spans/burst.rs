//! More spans at once than the worker can encode.

use std::{collections::HashSet, thread};

use livespan::{LiveSpans, MemoryEventStore, Retention, sse::Dropped};
use opentelemetry::trace::{Span as _, Tracer as _};
use serde_json::{Value as Json, json};

use super::live_provider::Watched;

const THREADS: u64 = 8;
/// The spans of all threads together. `LIVESPAN_BURST_SPANS=1000000` sets the burst for which the
/// log was designed.
const SPANS: u64 = 80_000;

/// Adds up the drops that the events of a log report.
fn announced(events: &[Json]) -> [u64; 3] {
    let mut sum = [0; 3];
    for gap in events.iter().filter(|event| event["type"] == json!("gap")) {
        for (sum, class) in sum.iter_mut().zip(["starts", "ends", "other"]) {
            *sum += gap["lost"][class].as_u64().unwrap();
        }
    }
    sum
}

#[test]
fn a_burst_from_eight_threads_adds_up_and_no_start_comes_after_its_end() {
    let spans = std::env::var("LIVESPAN_BURST_SPANS").map_or(SPANS, |spans| spans.parse().unwrap());
    let retention = Retention::default().events(1 << 24).bytes(4 << 30);
    let watched = Watched::with(
        LiveSpans::builder()
            .store(MemoryEventStore::with_retention(retention))
            // A quarter of the default bytes and an eighth of the default events, so that some
            // spans are dropped, however fast the worker is.
            .buffer_bytes(4 << 20)
            .buffer_events(16_384),
    );
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let tracer = watched.tracer();
            scope.spawn(move || (0..spans / THREADS).for_each(|_| tracer.start("job").end()));
        }
    });
    let events = watched.events();
    let mut started = HashSet::new();
    let mut ended = HashSet::new();
    for event in &events {
        let span = event["spanId"].to_string();
        match event["type"].as_str().unwrap() {
            "started" => {
                assert!(
                    !ended.contains(&span),
                    "a start came after its end: {event}"
                );
                assert!(started.insert(span), "a span started twice");
            }
            // The log wrote this end for a span whose own end was dropped.
            "ended" if !event["lost"].is_null() => {}
            "ended" => assert!(ended.insert(span), "a span ended twice"),
            _ => {}
        }
    }
    let Dropped {
        starts,
        ends,
        other,
        ..
    } = watched.live.status().dropped;
    assert_eq!(announced(&events), [starts, ends, other]);
    let delivered = [started.len() as u64, ended.len() as u64];
    let made = spans / THREADS * THREADS;
    assert_eq!(
        [delivered[0] + starts, delivered[1] + ends, other],
        [made, made, 0]
    );
}

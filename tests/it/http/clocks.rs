//! Clocks that jump between a span's start and its end, or before both. All reported times stay
//! valid, no duration is negative, and the order is that of the log.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::trace::{Span as _, SpanBuilder, TraceId, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;

use super::app::{App, at, provider};
use crate::support::PATIENCE;

const DAY: Duration = Duration::from_secs(86_400);

/// Spans with their start and end times on a clock that jumps.
fn jumps() -> Vec<(&'static str, SystemTime, SystemTime)> {
    let far = Duration::from_secs(300 * 365 * 86_400);
    vec![
        ("right", at(0), at(20)),
        ("set back within", at(1_000), at(0)),
        ("set forward within", at(0), at(0) + DAY),
        ("begun in the future", at(0) + far, at(5)),
        ("ended in the future", at(5), at(0) + far),
        (
            "before there were clocks",
            UNIX_EPOCH - DAY,
            UNIX_EPOCH - DAY * 2,
        ),
        ("beyond all clocks", UNIX_EPOCH + far * 10, UNIX_EPOCH),
        ("right again", at(100), at(120)),
    ]
}

fn names(traces: &Value) -> Vec<String> {
    let traces = traces["traces"].as_array().unwrap().iter();
    traces
        .map(|trace| trace["name"].as_str().unwrap().to_owned())
        .collect()
}

fn is_timestamp(text: &Value) -> bool {
    let text = text.as_str().unwrap();
    text.len() == 30 && text.is_ascii() && ("1970".."2555").contains(&&text[..4])
}

/// Starts an app with these spans, each in its own trace. Also returns the ids of the traces.
async fn jumped() -> (App, SdkTracerProvider, Vec<TraceId>) {
    let app = App::start().await;
    let provider = provider(&app.live);
    let tracer = provider.tracer("work");
    let mut ids = Vec::new();
    for (name, start, end) in jumps() {
        let mut span = tracer.build(SpanBuilder::from_name(name).with_start_time(start));
        span.add_event_with_timestamp("in between", end, Vec::new());
        ids.push(span.span_context().trace_id());
        span.end_with_timestamp(end);
    }
    app.live.target().flush(PATIENCE).unwrap();
    (app, provider, ids)
}

#[tokio::test]
async fn with_a_jumping_clock_no_trace_has_a_negative_duration_and_the_order_stays() {
    let (app, provider, _) = jumped().await;
    // A running span whose start time comes from a clock that is ahead.
    let ahead = SpanBuilder::from_name("running").with_start_time(SystemTime::now() + DAY);
    let _running = provider.tracer("work").build(ahead);
    app.live.target().flush(PATIENCE).unwrap();

    let mut expected: Vec<&str> = jumps().iter().map(|(name, ..)| *name).collect();
    expected.push("running");
    expected.reverse();
    let list = app.json("/traces").await;
    assert_eq!(
        names(&list),
        expected,
        "the list does not have the order of the log"
    );
    let all = list["traces"].as_array().unwrap();
    let mut lasted = BTreeMap::new();
    for trace in all {
        assert!(is_timestamp(&trace["startTimestamp"]), "{trace}");
        assert!(is_timestamp(&trace["lastTimestamp"]), "{trace}");
        if let Some(end) = trace["endTimestamp"].as_str() {
            assert!(trace["startTimestamp"].as_str().unwrap() <= end, "{trace}");
        }
        let name = trace["name"].as_str().unwrap();
        lasted.insert(name, trace["durationMs"].as_f64());
    }
    assert!(lasted.remove("ended in the future").flatten() > Some(0.0));
    let expected = [
        ("right", Some(20.0)),
        ("set back within", Some(0.0)),
        ("set forward within", Some(86_400_000.0)),
        ("begun in the future", Some(0.0)),
        ("before there were clocks", Some(0.0)),
        ("beyond all clocks", Some(0.0)),
        ("right again", Some(20.0)),
        ("running", None),
    ];
    assert_eq!(lasted, BTreeMap::from(expected));
    let slow = app.json("/traces?minDuration=21").await;
    assert_eq!(
        names(&slow),
        ["ended in the future", "set forward within"],
        "a span that began in the future has a duration"
    );
    let path = "/stats/durations?service=shop&name=set%20back%20within";
    let durations = app.json(path).await;
    assert_eq!(durations["count"], 1);
    assert!(durations["p50"].as_f64().unwrap() >= 0.0, "{durations}");
}

#[tokio::test]
async fn events_of_a_clock_that_jumps_are_valid_and_have_its_times() {
    let (app, _provider, ids) = jumped().await;
    let mut events = app.stream("/sse?type=ended").await;
    for (id, (name, start, end)) in ids.iter().zip(jumps()) {
        let ended = events.event("ended").await.json();
        assert_eq!(ended["name"], name);
        for moment in [
            &ended["startTimestamp"],
            &ended["timestamp"],
            &ended["events"][0]["timestamp"],
        ] {
            assert!(is_timestamp(moment), "{ended}");
        }
        // A time before 1970 is reported as 1970.
        let is_back = end.max(UNIX_EPOCH) < start.max(UNIX_EPOCH);
        let is_before_start = ended["timestamp"].as_str() < ended["startTimestamp"].as_str();
        assert_eq!(is_before_start, is_back, "{ended}");

        let trace = app.json(&format!("/traces/{id}")).await;
        assert_eq!(trace["summary"]["state"], "ok", "{name}");
        let otlp = app.json(&format!("/traces/{id}?format=otlp")).await;
        let span = &otlp["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        for key in ["startTimeUnixNano", "endTimeUnixNano"] {
            span[key].as_str().unwrap().parse::<u64>().unwrap();
        }
    }
}

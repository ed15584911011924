//! The list of traces: pages, filters, and the live list.

use std::{collections::HashSet, time::Duration};

use livespan::{
    LiveSpans, Retention, SpanEvent,
    span::{SpanKind, SpanStatus},
};
use opentelemetry::trace::{
    Span as _, SpanContext, TraceFlags, TraceState, Tracer as _, TracerProvider as _,
};
use serde_json::Value;
use tokio::time::Instant;

use super::app::{App, Stream, at, checkout, done, log, open, provider, put, span, trace};

fn names(answer: &Value) -> Vec<String> {
    answer["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| trace["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn pages_hold_every_trace_once_while_new_ones_arrive() {
    let app = App::start().await;
    put(
        &app.live,
        (1..=230).flat_map(|number| done(number, &number.to_string(), 1)),
    );
    let mut seen = Vec::new();
    let mut after = String::new();
    let mut arriving = 1000;
    loop {
        let page = app.json(&format!("/traces?limit=50{after}")).await;
        assert!(page["traces"].as_array().unwrap().len() <= 50);
        seen.extend(names(&page));
        put(&app.live, done(arriving, "new", 1));
        arriving += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (1..=230).rev().map(|number| number.to_string()).collect();
    assert_eq!(seen, expected);
}

/// Returns a log with the traces `checkout` (two services, one error), `fast`, `slow`, `broken`, `open` and `paused`.
fn filled() -> LiveSpans {
    let live = log();
    put(&live, checkout(1));
    put(&live, done(2, "fast", 1));
    put(&live, done(3, "slow", 5000));
    let failed = SpanStatus::Error("no".to_owned());
    put(
        &live,
        [SpanEvent::ended(trace(4), span(1), "broken", failed)
            .service("mail")
            .started_at(at(0))
            .at(at(9))],
    );
    put(
        &live,
        [SpanEvent::started(trace(5), span(1), "open")
            .kind(SpanKind::Consumer)
            .service("jobs")],
    );
    let paused = SpanEvent::started(trace(6), span(1), "paused").service("jobs");
    put(
        &live,
        [
            paused,
            SpanEvent::updated(trace(6), span(1), Some(livespan::span::SpanState::Waiting)),
        ],
    );
    live
}

#[tokio::test]
async fn the_list_is_narrowed_by_every_filter() {
    let app = App::serve(filled()).await;
    for (query, expected) in [
        (
            "",
            vec!["paused", "open", "broken", "slow", "fast", "checkout"],
        ),
        ("limit=2", vec!["paused", "open"]),
        ("state=running", vec!["open"]),
        ("state=waiting", vec!["paused"]),
        ("state=error&state=waiting", vec!["paused", "broken"]),
        ("state=ok", vec!["slow", "fast", "checkout"]),
        ("service=pay", vec!["checkout"]),
        ("service=pay&service=mail", vec!["broken", "checkout"]),
        ("name=slow", vec!["slow"]),
        ("kind=CONSUMER", vec!["open"]),
        ("kind=SERVER", vec!["checkout"]),
        ("status=ERROR", vec!["broken"]),
        ("minDuration=20&state=ok", vec!["slow", "checkout"]),
        ("minDuration=20.001&state=ok", vec!["slow"]),
        ("q=duration%3E1s%20state:ok", vec!["slow"]),
        ("q=-service:shop", vec!["paused", "open", "broken"]),
        ("q=BROK", vec!["broken"]),
        ("q=service:shop&minDuration=100", vec!["slow"]),
        ("type=ended", vec!["broken", "slow", "fast", "checkout"]),
        (
            "traceId=00000000000000000000000000000003&traceId=00000000000000000000000000000005",
            vec!["open", "slow"],
        ),
        ("traceId=00000000000000000000000000000099", vec![]),
    ] {
        assert_eq!(
            names(&app.json(&format!("/traces?{query}")).await),
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_filtered_list_is_paged_too() {
    let app = App::serve(filled()).await;
    let first = app.json("/traces?state=ok&limit=2").await;
    assert_eq!(names(&first), ["slow", "fast"]);
    let next = first["next"].as_str().unwrap();
    let second = app
        .json(&format!("/traces?state=ok&limit=2&after={next}"))
        .await;
    assert_eq!(
        (names(&second), &second["next"]),
        (vec!["checkout".to_owned()], &Value::Null)
    );
}

#[tokio::test]
async fn traces_that_link_to_another_are_found() {
    let app = App::start().await;
    let provider = provider(&app.live);
    let tracer = provider.tracer("test");
    let cause = tracer.start("cause");
    let linked = cause.span_context().clone();
    let context = SpanContext::new(
        linked.trace_id(),
        linked.span_id(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let builder = tracer
        .span_builder("effect")
        .with_links(vec![opentelemetry::trace::Link::with_context(context)]);
    drop(tracer.build(builder));
    drop(cause);
    provider.force_flush().unwrap();
    assert_eq!(
        names(
            &app.json(&format!("/traces?linkedTo={}", linked.trace_id()))
                .await
        ),
        ["effect"]
    );
}

/// Opens the live list. Returns the stream after its snapshot, and the snapshot.
async fn live_list(live: &LiveSpans, query: &str) -> (Stream, Value) {
    let mut stream = open(live, &format!("/traces/sse{query}")).await;
    stream.event("hello").await;
    let snapshot = stream.next().await.unwrap();
    assert_eq!(
        (snapshot.event.as_str(), snapshot.id.as_str()),
        ("traces", "")
    );
    let snapshot = snapshot.json();
    assert_eq!(snapshot["snapshot"], true);
    (stream, snapshot)
}

#[tokio::test]
async fn the_live_list_begins_with_the_newest_traces() {
    let live = filled();
    let (_, snapshot) = live_list(&live, "").await;
    assert_eq!(
        names(&snapshot),
        ["paused", "open", "broken", "slow", "fast", "checkout"]
    );
    let (_, snapshot) = live_list(&live, "?limit=1&state=ok").await;
    assert_eq!(names(&snapshot), ["slow"]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_spans_of_a_trace_are_one_frame() {
    let live = log();
    let (mut stream, _) = live_list(&live, "").await;
    let begun = Instant::now();
    put(&live, [SpanEvent::started(trace(1), span(1), "import")]);
    for chunk in 0..10 {
        let spans = (0..1000).map(|number| 2 + chunk * 1000 + number);
        put(
            &live,
            spans.map(|number| SpanEvent::started(trace(1), span(number), "row").parent(span(1))),
        );
    }
    let update = stream.next().await.unwrap().json();
    assert_eq!(
        begun.elapsed().as_millis(),
        LiveSpans::LIST_INTERVAL.as_millis()
    );
    assert_eq!(update["snapshot"], false);
    assert_eq!(names(&update), ["import"]);
    assert_eq!(update["traces"][0]["spans"]["total"], 10_001);
    assert_eq!(stream.next().await.unwrap().event, "ping");
}

#[tokio::test(start_paused = true)]
async fn frames_of_the_live_list_keep_their_distance() {
    let live = log();
    let (mut stream, _) = live_list(&live, "").await;
    let mut last = Instant::now();
    for number in 1..=20 {
        put(&live, done(number, "x", 1));
        assert_eq!(names(&stream.next().await.unwrap().json()), ["x"]);
        assert!(last.elapsed() >= LiveSpans::LIST_INTERVAL);
        last = Instant::now();
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_list_pings_though_others_are_busy() {
    let live = log();
    let (mut stream, _) = live_list(&live, "?service=nobody").await;
    let begun = Instant::now();
    let mut next = Box::pin(stream.next());
    for number in 1.. {
        put(&live, done(number, "x", 1));
        if let Ok(frame) = tokio::time::timeout(Duration::from_millis(100), &mut next).await {
            assert_eq!(frame.unwrap().event, "ping");
            assert!((14..=16).contains(&begun.elapsed().as_secs()));
            return;
        }
    }
}

#[tokio::test]
async fn an_evicted_trace_is_removed() {
    let live = LiveSpans::builder()
        .retention(Retention::default().events(10))
        .build()
        .unwrap();
    put(&live, done(1, "old", 1));
    let (mut stream, snapshot) = live_list(&live, "").await;
    assert_eq!(names(&snapshot), ["old"]);
    put(&live, (2..=30).flat_map(|number| done(number, "new", 1)));
    let mut removed = HashSet::new();
    while !removed.contains(&trace(1).to_string()) {
        let update = stream.next().await.unwrap().json();
        removed.extend(
            update["removed"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().to_owned()),
        );
    }
}

#[tokio::test]
async fn a_trace_that_grew_too_old_is_removed_though_nothing_else_happens() {
    let live = LiveSpans::builder()
        .retention(Retention::default().age(Duration::from_millis(600)))
        .build()
        .unwrap();
    // On a slow machine, the trace may be too old before the list is open. If so, the loop tries
    // another one.
    for number in 1.. {
        put(&live, done(number, "old", 1));
        let (mut stream, snapshot) = live_list(&live, "").await;
        if names(&snapshot).is_empty() {
            continue;
        }
        assert_eq!(names(&snapshot), ["old"]);
        // Its start may be removed shortly before its end, which causes a separate update.
        let mut update = stream.next().await.unwrap();
        while update.json()["removed"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            update = stream.next().await.unwrap();
        }
        assert_eq!(update.event, "traces");
        let removed = serde_json::json!([trace(number).to_string()]);
        assert_eq!(update.json()["removed"], removed);
        return;
    }
}

#[tokio::test]
async fn a_trace_that_leaves_the_filter_is_removed() {
    let live = filled();
    let (mut stream, snapshot) = live_list(&live, "?state=running").await;
    assert_eq!(names(&snapshot), ["open"]);
    put(
        &live,
        [SpanEvent::ended(
            trace(5),
            span(1),
            "open",
            SpanStatus::Unset,
        )],
    );
    let update = stream.next().await.unwrap().json();
    assert_eq!(
        (names(&update), &update["removed"]),
        (vec![], &serde_json::json!([trace(5).to_string()]))
    );
}

#[tokio::test]
async fn the_live_list_ends_with_the_log() {
    let live = log();
    let (mut stream, _) = live_list(&live, "").await;
    put(&live, done(1, "last", 1));
    live.shutdown().unwrap();
    let frames = stream.rest().await;
    let shown: Vec<(&str, bool)> = frames
        .iter()
        .map(|frame| (frame.event.as_str(), frame.data.contains("\"last\"")))
        .collect();
    assert_eq!(shown, [("traces", true), ("", false), ("end", false)]);
    assert_ne!(frames[1].retry, "");
    assert_eq!(frames[2].data, "{\"type\":\"end\",\"reason\":\"shutdown\"}");
    drop(stream);
    assert_eq!(live.status().subscribers, 0);
}

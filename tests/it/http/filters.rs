//! The filters of `/sse`: a repeated parameter means *or*, different parameters mean *and*, and control events always
//! pass.

use livespan::{
    LiveSpans, SpanEvent,
    span::{SpanKind, SpanState, SpanStatus},
};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use serde_json::json;

use super::app::{App, checkout, done, log, open, provider, put, replay, span, trace};

/// A log with events 1 to 8, of three traces and two services.
fn filled() -> LiveSpans {
    let live = log();
    put(&live, checkout(1));
    put(&live, done(2, "add to cart ü/\"x\"", 3));
    let charge = SpanEvent::started(trace(3), span(7), "charge")
        .service("pay")
        .kind(SpanKind::Client);
    put(
        &live,
        [
            charge,
            SpanEvent::updated(trace(3), span(7), Some(SpanState::Waiting)),
        ],
    );
    live
}

async fn sequences(path: &str) -> Vec<u64> {
    replay(&filled(), path)
        .await
        .iter()
        .map(super::app::Frame::sequence)
        .collect()
}

#[tokio::test]
async fn values_of_one_filter_are_alternatives_and_filters_must_all_hold() {
    let (one, two) = (trace(1), trace(2));
    for (query, expected) in [
        (String::new(), vec![1, 2, 3, 4, 5, 6, 7, 8]),
        (format!("traceId={one}"), vec![1, 2, 3, 4]),
        (
            format!("traceId={one}&traceId={two}"),
            vec![1, 2, 3, 4, 5, 6],
        ),
        (format!("traceId={one}&traceId={one}"), vec![1, 2, 3, 4]),
        ("service=pay".to_owned(), vec![2, 3, 7, 8]),
        ("service=Pay".to_owned(), vec![]),
        (
            "service=pay&service=shop".to_owned(),
            vec![1, 2, 3, 4, 5, 6, 7, 8],
        ),
        ("name=checkout".to_owned(), vec![1, 4]),
        ("name=check".to_owned(), vec![]),
        (
            "name=add%20to+cart%20%C3%BC%2F%22x%22".to_owned(),
            vec![5, 6],
        ),
        ("kind=CLIENT".to_owned(), vec![7, 8]),
        ("kind=SERVER&kind=CLIENT".to_owned(), vec![1, 4, 7, 8]),
        ("kind=CLIENT&type=updated".to_owned(), vec![8]),
        ("name=charge".to_owned(), vec![2, 3, 7, 8]),
        ("service=shop&type=updated".to_owned(), vec![]),
        ("status=ERROR".to_owned(), vec![3]),
        ("status=OK".to_owned(), vec![4, 6]),
        ("status=OK&status=ERROR".to_owned(), vec![3, 4, 6]),
        ("type=started".to_owned(), vec![1, 2, 5, 7]),
        ("type=updated&type=ended".to_owned(), vec![3, 4, 6, 8]),
        ("service=pay&type=started".to_owned(), vec![2, 7]),
        (format!("service=pay&type=started&traceId={one}"), vec![2]),
        (format!("service=pay&traceId={two}"), vec![]),
        // An empty value counts as a missing one.
        (
            "service=&name=&traceId=".to_owned(),
            vec![1, 2, 3, 4, 5, 6, 7, 8],
        ),
    ] {
        assert_eq!(
            sequences(&format!("/sse?{query}")).await,
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn up_to_32_traces_are_followed() {
    let query: Vec<String> = (1..=32)
        .map(|number| format!("traceId={}", trace(number)))
        .collect();
    assert_eq!(
        sequences(&format!("/sse?{}", query.join("&"))).await,
        [1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[tokio::test]
async fn process_events_pass_every_filter_before_the_first_span() {
    let live = log();
    put(&live, done(2, "before", 1));
    let provider = provider(&live);
    drop(provider.tracer("test").start("mine"));
    provider.force_flush().unwrap();
    for (query, expected) in [
        ("service=nobody", vec!["process"]),
        ("type=ended", vec!["ended", "process", "ended"]),
        (
            "service=shop&name=mine",
            vec!["process", "started", "ended"],
        ),
        ("name=before", vec!["started", "ended", "process"]),
    ] {
        let frames = replay(&live, &format!("/sse?{query}")).await;
        let names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
        assert_eq!(names, expected, "{query}");
    }
    let frames = replay(&live, &format!("/traces/{}/sse", trace(2))).await;
    let names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(names, ["started", "ended", "process"]);
}

#[tokio::test]
async fn a_gap_of_dropped_events_passes_every_filter() {
    let live = LiveSpans::builder()
        .buffer_bytes(64 * 1024)
        .buffer_events(100)
        .build()
        .unwrap();
    let event = SpanEvent::started(trace(1), span(1), "x".repeat(1000));
    let refused = (0..10_000).find(|_| live.target().try_dispatch(&event).is_err());
    assert!(refused.is_some(), "the full buffer refused no event");
    live.target().flush(crate::support::PATIENCE).unwrap();
    for query in [
        "service=nobody",
        "type=ended",
        &format!("traceId={}", trace(9)),
    ] {
        let frames = replay(&live, &format!("/sse?{query}")).await;
        assert!(
            !frames.is_empty()
                && frames
                    .iter()
                    .all(|frame| frame.event == "gap" && !frame.id.is_empty()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_quiet_stream_learns_that_its_id_is_unknown() {
    let live = filled();
    live.shutdown().unwrap();
    let frames = open(&live, "/sse?service=nobody&lastEventId=zzzzzzzz-7")
        .await
        .transcript("shutdown")
        .await;
    assert_eq!(frames.len(), 1);
    assert_eq!(
        (frames[0].event.as_str(), frames[0].id.as_str()),
        ("gap", "")
    );
    assert_eq!(
        frames[0].json(),
        json!({"type": "gap", "reason": "epoch", "lost": null})
    );
}

#[tokio::test(start_paused = true)]
async fn a_filtered_stream_moves_its_cursor_after_a_ping() {
    let live = filled();
    for (path, last) in [
        ("/sse?service=nobody", 0),
        (&format!("/traces/{}/sse", trace(1))[..], 4),
    ] {
        let mut stream = open(&live, path).await;
        stream.event("hello").await;
        let mut frame = stream.next().await.unwrap();
        let mut seen = 0;
        while frame.event != "ping" {
            seen = frame.sequence();
            frame = stream.next().await.unwrap();
        }
        assert_eq!(seen, last, "{path}");
        assert_eq!(frame.id, "");
        let cursor = stream.next().await.unwrap();
        assert_eq!(
            (
                cursor.event.as_str(),
                cursor.data.as_str(),
                cursor.sequence()
            ),
            ("", "", 8),
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unfiltered_stream_pings_without_a_cursor() {
    let live = filled();
    let mut stream = open(&live, "/sse?lastEventId=8").await;
    let begun = tokio::time::Instant::now();
    let ping = stream.event("ping").await;
    assert_eq!(begun.elapsed().as_secs(), 15);
    let expected = json!({
        "type": "ping", "head": "EPOCH-8", "now": "NOW", "dropped": {"starts": 0, "ends": 0, "other": 0},
    });
    assert_eq!(super::app::normal(ping.json(), &live), expected);
    assert_eq!(stream.next().await.unwrap().event, "ping");
}

#[tokio::test]
async fn a_live_stream_is_filtered_too() {
    let app = App::start().await;
    let mut stream = app.stream("/sse?name=wanted&replay=none").await;
    stream.event("hello").await;
    put(&app.live, done(1, "other", 1));
    put(
        &app.live,
        [SpanEvent::ended(
            trace(2),
            span(1),
            "wanted",
            SpanStatus::Unset,
        )],
    );
    let frame = stream.event("ended").await;
    assert_eq!(
        (frame.sequence(), frame.json()["name"].as_str()),
        (3, Some("wanted"))
    );
}

#[tokio::test]
async fn updates_pass_with_the_start_of_their_span_also_for_a_reader_that_came_later() {
    let app = App::start().await;
    let start = |number, service| {
        SpanEvent::started(trace(number), span(1), "job")
            .service(service)
            .kind(SpanKind::Consumer)
    };
    put(&app.live, [start(1, "pay"), start(2, "shop")]);
    let queries = [
        "/sse?service=pay&replay=none".to_owned(),
        "/sse?kind=CONSUMER&service=pay&type=updated&replay=none".to_owned(),
        format!("/traces/{}/sse?service=pay&replay=none", trace(1)),
    ];
    for query in queries {
        let mut stream = app.stream(&query).await;
        stream.event("hello").await;
        let update = |number| SpanEvent::updated(trace(number), span(1), None).attribute("n", 1);
        put(&app.live, [update(2), update(1)]);
        let frame = stream.event("updated").await;
        let of = frame.json()["traceId"].clone();
        assert_eq!(of, json!(trace(1).to_string()), "{query}");
    }
}

//! The stream of one trace that ends with the trace, as for a product's progress page.

use axum::{Router, extract::Path, routing::get};
use http::{HeaderMap, Uri};
use livespan::{LiveSpans, SpanEvent, TraceId, View, span::SpanStatus, sse::SseBody};
use serde_json::json;
use tokio::time::Instant;

use super::app::{App, Frame, Stream, ask, checkout, done, log, open, put, span, trace};

const PATH: &str = "/traces/00000000000000000000000000000001/sse?until=end";

fn sequences(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(Frame::sequence).collect()
}

#[tokio::test]
async fn a_running_trace_is_replayed_followed_and_ended() {
    let app = App::start().await;
    let [first, second, third, last] = checkout(1);
    put(&app.live, [first, second]);
    let mut stream = app.stream(PATH).await;
    stream.event("hello").await;
    assert_eq!(stream.next().await.unwrap().sequence(), 1);
    assert_eq!(stream.next().await.unwrap().sequence(), 2);
    put(&app.live, done(2, "other", 1));
    put(&app.live, [third]);
    assert_eq!(stream.next().await.unwrap().sequence(), 5);
    put(&app.live, [last]);
    assert_eq!(stream.next().await.unwrap().sequence(), 6);
    assert_eq!(
        stream.next().await.unwrap().data,
        "{\"type\":\"end\",\"reason\":\"complete\"}"
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_trace_whose_root_ended_first_waits_for_its_children() {
    let app = App::start().await;
    let [first, second, third, last] = checkout(1);
    put(&app.live, [first, second, last]);
    let mut stream = app.stream(PATH).await;
    stream.event("hello").await;
    for sequence in 1..=3 {
        assert_eq!(stream.next().await.unwrap().sequence(), sequence);
    }
    put(&app.live, [third]);
    assert_eq!(stream.next().await.unwrap().sequence(), 4);
    assert_eq!(stream.next().await.unwrap().event, "end");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_complete_trace_is_replayed_and_ended() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let frames = app.stream(PATH).await.transcript("complete").await;
    assert_eq!(sequences(&frames), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_reader_that_has_everything_is_asked_not_to_reconnect() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    put(&app.live, done(2, "other", 1));
    let epoch = app.live.target().head().epoch();
    for id in [4, 5, 6] {
        let response = app.get(&format!("{PATH}&lastEventId={epoch}-{id}")).await;
        assert_eq!(response.status(), 204, "{id}");
        assert_eq!(response.bytes().await.unwrap().len(), 0);
    }
    let request = app
        .client
        .get(app.url(PATH))
        .header("last-event-id", format!("{epoch}-4"));
    assert_eq!(request.send().await.unwrap().status(), 204);
    // Without `until=end`, the stream stays open, because more events may come.
    let plain = PATH.strip_suffix("?until=end").unwrap();
    assert_eq!(
        app.get(&format!("{plain}?lastEventId={epoch}-4"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_client_with_a_part_of_the_trace_gets_the_rest() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let epoch = app.live.target().head().epoch();
    let frames = app
        .stream(&format!("{PATH}&lastEventId={epoch}-2"))
        .await
        .transcript("complete")
        .await;
    assert_eq!(sequences(&frames), [3, 4]);
    let frames = app
        .stream(&format!("{PATH}&lastEventId=0"))
        .await
        .transcript("complete")
        .await;
    assert_eq!(sequences(&frames), [1, 2, 3, 4]);
}

#[tokio::test]
async fn an_id_of_another_epoch_gives_a_gap_and_the_whole_trace() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let frames = app
        .stream(&format!("{PATH}&lastEventId=zzzzzzzz-4"))
        .await
        .transcript("complete")
        .await;
    assert_eq!(
        frames[0].json(),
        json!({"type": "gap", "reason": "epoch", "lost": null})
    );
    assert_eq!(sequences(&frames[1..]), [1, 2, 3, 4]);
}

#[tokio::test]
async fn an_unknown_trace_is_waited_for() {
    let app = App::start().await;
    put(&app.live, done(2, "other", 1));
    let mut stream = app.stream(PATH).await;
    stream.event("hello").await;
    let ping = stream.next().await.unwrap();
    assert_eq!(
        (ping.event.as_str(), &ping.json()["known"]),
        ("ping", &json!(false))
    );
    assert_eq!(app.json("/status").await["retained"]["traces"], 1);
    put(&app.live, checkout(1));
    for sequence in 3..=6 {
        assert_eq!(stream.next().await.unwrap().sequence(), sequence);
    }
    assert_eq!(
        stream.next().await.unwrap().data,
        "{\"type\":\"end\",\"reason\":\"complete\"}"
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_never_comes_ends_as_unknown() {
    let live = log();
    let begun = Instant::now();
    let mut stream = open(&live, PATH).await;
    let mut pings = Vec::new();
    let end = loop {
        let frame = stream.next().await.unwrap();
        match frame.event.as_str() {
            "ping" => pings.push(frame.json()["known"].clone()),
            "end" => break frame,
            _ => {}
        }
    };
    assert_eq!(end.data, "{\"type\":\"end\",\"reason\":\"unknown\"}");
    assert_eq!(stream.next().await, None);
    assert!(
        (SseBody::UNKNOWN_STREAM_TIMEOUT..SseBody::UNKNOWN_STREAM_TIMEOUT * 11 / 10)
            .contains(&begun.elapsed())
    );
    assert!(pings.len() > 10 && pings.iter().all(|known| *known == json!(false)));
    assert_eq!(live.status().retained_streams, 0);
}

/// A product's own route, which itself decides who may see a job.
fn product(live: &LiveSpans) -> Router {
    let live = live.clone();
    let progress = async move |Path(trace): Path<String>, headers: HeaderMap, uri: Uri| {
        let trace: TraceId = trace.parse().unwrap();
        live.respond(trace, &View::everything(), &headers, &uri)
            .map(axum::body::Body::new)
    };
    Router::new().route("/jobs/{trace}/progress", get(progress))
}

#[tokio::test]
async fn an_app_answers_with_a_trace_behind_its_own_route() {
    let live = log();
    put(&live, checkout(1));
    let path = format!("/jobs/{}/progress", trace(1));
    let response = ask(product(&live), &path).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(
        response.headers()["cache-control"],
        "no-cache, no-transform"
    );
    let frames = Stream::of_body(response.into_body())
        .transcript("complete")
        .await;
    assert_eq!(sequences(&frames), [1, 2, 3, 4]);
    let frames = ask(product(&live), &format!("{path}?lastEventId=3")).await;
    assert_eq!(
        sequences(
            &Stream::of_body(frames.into_body())
                .transcript("complete")
                .await
        ),
        [4]
    );
    assert_eq!(
        ask(product(&live), &format!("{path}?lastEventId=4"))
            .await
            .status(),
        204
    );
}

#[tokio::test]
async fn a_trace_with_a_root_in_another_process_ends_with_that_root() {
    use opentelemetry::trace::{
        SpanContext, TraceContextExt as _, TraceFlags, TraceState, Tracer as _, TracerProvider as _,
    };
    let app = App::start().await;
    let remote = SpanContext::new(
        1_u128.into(),
        9_u64.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let context = opentelemetry::Context::new().with_remote_span_context(remote);
    let provider = super::app::provider(&app.live);
    drop(
        provider
            .tracer("test")
            .start_with_context("served", &context),
    );
    provider.force_flush().unwrap();
    let frames = app.stream(PATH).await.transcript("complete").await;
    let names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(names, ["process", "started", "ended"]);
}

#[tokio::test]
async fn a_trace_without_its_root_does_not_end() {
    let live = log();
    put(
        &live,
        [SpanEvent::ended(trace(1), span(2), "child", SpanStatus::Ok).parent(span(1))],
    );
    let frames = super::app::replay(&live, PATH).await;
    assert_eq!(sequences(&frames), [1]);
}

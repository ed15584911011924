//! Log records over HTTP: within their trace, and in the list of all records.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::body::Body;
use http::Request;
use livespan::{Access, Auth, LiveSpans, SpanEvent, View, span::SpanStatus};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::app::{App, Stream, at, done, log, normal, open, put, replay, span, text, trace};
use crate::core::stores::{Shared, VecStore};

fn line(number: u128, body: &str) -> SpanEvent {
    SpanEvent::log(trace(number), span(1), "INFO", body).at(at(1))
}

#[tokio::test]
async fn a_trace_that_begins_with_a_log_record_is_whole() {
    let app = App::start().await;
    put(
        &app.live,
        [line(1, "early"), line(2, "of a span that is filtered out")],
    );
    put(&app.live, done(1, "job", 5));
    put(&app.live, [line(1, "late")]);
    let list = app.json("/traces").await;
    let names: Vec<_> = list["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| &trace["name"])
        .collect();
    assert_eq!(names, ["job"], "a trace without spans is listed");
    let document = app.json(&format!("/traces/{}", trace(1))).await;
    let bodies: Vec<_> = document["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| &log["body"])
        .collect();
    assert_eq!(bodies, ["early", "late"]);
    assert_eq!(
        (
            &document["spans"][0]["name"],
            &document["summary"]["state"],
            &document["summary"]["spans"]["total"]
        ),
        (&json!("job"), &json!("ok"), &json!(1))
    );
    assert_eq!(document.get("incomplete"), None);
    let filtered = app.json(&format!("/traces/{}", trace(2))).await;
    assert_eq!(
        filtered["logs"][0]["body"],
        "of a span that is filtered out"
    );
    let frames = replay(&app.live, &format!("/traces/{}/sse", trace(1))).await;
    let kinds: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(kinds, ["log", "started", "ended", "log"]);
}

async fn ask(live: &LiveSpans, path: &str) -> (u16, Value) {
    let request = Request::builder().uri(path).header("host", "localhost");
    let request = request.body(Body::empty()).unwrap();
    let response = live.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

async fn page(live: &LiveSpans, query: &str) -> Value {
    let (status, page) = ask(live, &format!("/logs?{query}")).await;
    assert_eq!(status, 200, "{query}: {page}");
    page
}

fn bodies(page: &Value) -> Vec<&str> {
    let logs = page["logs"].as_array().unwrap();
    logs.iter()
        .map(|log| log["body"].as_str().unwrap())
        .collect()
}

/// Returns all pages of a list.
async fn pages(live: &LiveSpans, query: &str) -> Vec<Value> {
    let mut pages = vec![page(live, query).await];
    while let Some(next) = pages.last().unwrap()["next"].as_str() {
        let next = page(live, &format!("{query}&after={next}")).await;
        pages.push(next);
    }
    pages
}

#[tokio::test]
async fn the_newest_log_records_come_first_and_whole() {
    let live = log();
    put(&live, done(1, "job", 5));
    put(
        &live,
        [
            line(1, "one"),
            line(2, "two").service("shop").attribute("n", 1_i64),
        ],
    );
    let id = |number: u128| trace(number).to_string();
    let two = json!({
        "type": "log", "traceId": id(2), "spanId": span(1).to_string(), "process": "", "service": "shop",
        "severityNumber": 9, "severityText": "INFO", "body": "two", "attributes": {"n": 1},
        "timestamp": "2026-01-01T00:00:00.001000000Z", "id": "EPOCH-4",
    });
    let mut one = two.clone();
    (one["traceId"], one["service"]) = (json!(id(1)), json!(""));
    (one["body"], one["attributes"], one["id"]) = (json!("one"), json!({}), json!("EPOCH-3"));
    let expected = json!({"logs": [two, one], "next": null, "head": "EPOCH-4", "now": "NOW"});
    assert_eq!(normal(page(&live, "").await, &live), expected);
}

#[tokio::test]
async fn pages_list_each_log_record_once_while_new_ones_arrive() {
    let live = log();
    for number in 0..230 {
        put(&live, done(number + 1, "job", 1));
        put(&live, [line(number + 1, &number.to_string())]);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let page = page(&live, &format!("limit=50{after}")).await;
        assert!(bodies(&page).len() <= 50);
        seen.extend(bodies(&page).into_iter().map(str::to_owned));
        put(&live, [line(1, "new")]);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..230).rev().map(|number| number.to_string()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn log_records_are_found_by_text_severity_trace_and_service() {
    let live = log();
    let log_record = |number: u128, severity: &str, body: &str| {
        SpanEvent::log(trace(number), span(1), severity, body).at(at(1))
    };
    put(
        &live,
        [
            log_record(1, "DEBUG", "a")
                .service("shop")
                .attribute("order.id", 7_i64),
            log_record(1, "INFO", "Cafe\u{301} opens").service("shop"),
            log_record(2, "WARN", "c")
                .service("bank")
                .attribute("reason", "No Funds"),
            log_record(2, "ERROR", "d").service("shop"),
            log_record(3, "odd", "e"),
        ],
    );
    for (query, expected) in [
        ("", vec!["e", "d", "c", "Cafe\u{301} opens", "a"]),
        ("severity=warn", vec!["d", "c"]),
        ("severity=17", vec!["d"]),
        ("severity=1", vec!["d", "c", "Cafe\u{301} opens", "a"]),
        ("severity=fatal", vec![]),
        ("service=shop", vec!["d", "Cafe\u{301} opens", "a"]),
        ("service=shop&service=bank&severity=WARN", vec!["d", "c"]),
        (&format!("traceId={}", trace(2)), vec!["d", "c"]),
        (
            &format!("traceId={}&traceId={}", trace(1), trace(3)),
            vec!["e", "Cafe\u{301} opens", "a"],
        ),
        (&format!("traceId={}", trace(9)), vec![]),
        ("q=CAF%C3%89%20open", vec!["Cafe\u{301} opens"]),
        ("q=order.id%3D7", vec!["a"]),
        ("q=funds", vec!["c"]),
        ("q=funds&service=shop", vec![]),
        ("q=%20", vec!["e", "d", "c", "Cafe\u{301} opens", "a"]),
    ] {
        assert_eq!(bodies(&page(&live, query).await), expected, "{query}");
    }
    for (query, expected) in [
        (
            "severity=25",
            "the severity \"25\" is neither a number from 1 to 24 nor a name such as WARN",
        ),
        (
            "severity=loud",
            "the severity \"loud\" is neither a number from 1 to 24 nor a name such as WARN",
        ),
        ("traceId=1", "a trace id is 32 hex digits, not all zero"),
        ("limit=0", "the parameter limit is not between 1 and 500"),
    ] {
        let answer = ask(&live, &format!("/logs?{query}")).await;
        assert_eq!(answer, (400, json!({"error": expected})), "{query}");
    }
}

#[cfg(feature = "logs")]
#[tokio::test]
async fn a_reader_of_some_traces_gets_their_log_records_only() {
    use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _};

    let auth = Auth::check(|request| match request.headers.get("x-reader") {
        Some(_) => Access::traces([trace(1)]),
        None => Access::everything(),
    });
    let live = LiveSpans::builder().auth(auth).build().unwrap();
    put(&live, [line(1, "own"), line(2, "foreign")]);
    let provider = opentelemetry_sdk::logs::SdkLoggerProvider::builder()
        .with_log_processor(live.log_processor())
        .build();
    let logger = provider.logger("program");
    let mut record = logger.create_log_record();
    record.set_body("outside".into());
    logger.emit(record);
    provider.force_flush().unwrap();
    assert_eq!(
        bodies(&page(&live, "").await),
        ["outside", "foreign", "own"]
    );
    for (query, expected) in [
        ("", vec!["own"]),
        (&format!("traceId={}", trace(2)), vec![]),
        ("q=outside", vec![]),
    ] {
        let request = Request::builder().uri(format!("/logs?{query}"));
        let request = request.header("x-reader", "1").body(Body::empty()).unwrap();
        let response = live.router().oneshot(request).await.unwrap();
        let page: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(bodies(&page), expected, "{query}");
        assert_eq!(page["next"], Value::Null);
    }
}

#[tokio::test]
async fn a_page_of_large_log_records_is_bounded() {
    let live = log();
    let huge = "x".repeat(SpanEvent::VALUE_BYTES_MAX);
    put(&live, (0..600).map(|_| line(1, &huge)));
    let pages = pages(&live, "limit=500").await;
    let sizes: Vec<usize> = pages.iter().map(|page| bodies(page).len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 600);
    assert!(sizes.len() >= 3, "{sizes:?}");
    assert!(
        pages
            .iter()
            .all(|page| page.to_string().len() < 5 << 20 && page.get("stoppedEarly").is_none())
    );
}

#[tokio::test]
async fn more_log_records_than_the_index_has_positions_are_all_found() {
    let live = LiveSpans::builder()
        .buffer_events(200_000)
        .buffer_bytes(128 << 20)
        .build()
        .unwrap();
    let only_match = SpanEvent::log(trace(1), span(1), "ERROR", "rare").at(at(1));
    put(&live, [only_match]);
    for _ in 0..7 {
        put(&live, (0..10_000).map(|_| line(1, "often")));
    }
    let found = pages(&live, "severity=error").await;
    let found: Vec<&str> = found.iter().flat_map(bodies).collect();
    assert_eq!(found, ["rare"]);
}

/// Returns a log with a durable store, and the number of pages that were read from it.
fn durable(mut store: VecStore) -> (LiveSpans, Arc<VecStore>, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    store.on_read = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let (shared, store) = store.share();
    let live = LiveSpans::builder().store(shared).build().unwrap();
    (live, store, reads)
}

#[tokio::test]
async fn log_records_that_only_the_store_has_are_found_too() {
    let (live, store, reads) = durable(VecStore::new(100));
    let count = 5_000;
    put(&live, [line(7, "oldest")]);
    put(
        &live,
        (0..count).map(|number| SpanEvent::started(trace(1), span(number + 1), "x")),
    );
    put(&live, [line(8, "older")]);
    put(
        &live,
        (0..count).map(|number| SpanEvent::started(trace(2), span(number + 1), "x")),
    );
    put(&live, [line(9, "newest")]);
    assert_eq!(bodies(&page(&live, "limit=1").await), ["newest"]);
    let all = pages(&live, "limit=1").await;
    let all: Vec<&str> = all.iter().flat_map(bodies).collect();
    assert_eq!(all, ["newest", "older", "oldest"]);
    let by_trace = page(&live, &format!("traceId={}&traceId={}", trace(7), trace(9))).await;
    assert_eq!(bodies(&by_trace), ["newest", "oldest"]);
    live.shutdown().unwrap();
    drop(live);
    let before = reads.load(Ordering::SeqCst);
    let live = LiveSpans::builder().store(Shared(store)).build().unwrap();
    let again = pages(&live, "").await;
    let again: Vec<&str> = again.iter().flat_map(bodies).collect();
    assert_eq!(again, ["newest", "older", "oldest"]);
    assert!(reads.load(Ordering::SeqCst) > before);
}

#[tokio::test]
async fn a_page_that_would_read_too_much_stops_early_and_reports_it() {
    let (live, _store, _reads) = durable(VecStore::new(100));
    put(&live, [line(7, "oldest")]);
    for number in 1..=6 {
        put(
            &live,
            (0..10_000).map(|at| SpanEvent::started(trace(number), span(at + 1), "x")),
        );
    }
    put(&live, [line(9, "newest")]);
    let first = page(&live, "").await;
    assert_eq!(
        (bodies(&first), &first["stoppedEarly"]),
        (vec!["newest"], &json!(true))
    );
    let all = pages(&live, "").await;
    assert_eq!(all.last().unwrap().get("stoppedEarly"), None);
    let all: Vec<&str> = all.iter().flat_map(bodies).collect();
    assert_eq!(all, ["newest", "oldest"]);
}

async fn next_body(stream: &mut Stream) -> String {
    stream.event("log").await.json()["body"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn streams_of_log_records_contain_only_log_records_live_and_in_replay() {
    let app = App::start().await;
    put(&app.live, [line(1, "early"), line(2, "other")]);
    put(&app.live, [SpanEvent::started(trace(1), span(1), "job")]);
    let path = format!("/traces/{}/sse?type=log", trace(1));
    let mut all = app.stream("/sse?type=log").await;
    let mut one = app.stream(&path).await;
    let mut until_end = app.stream(&format!("{path}&until=end")).await;
    for stream in [&mut all, &mut one, &mut until_end] {
        stream.event("hello").await;
        assert_eq!(stream.next().await.unwrap().json()["body"], "early");
    }
    assert_eq!(all.next().await.unwrap().json()["body"], "other");
    put(&app.live, [line(1, "late")]);
    put(
        &app.live,
        [SpanEvent::ended(
            trace(1),
            span(1),
            "job",
            SpanStatus::Unset,
        )],
    );
    for stream in [&mut all, &mut one, &mut until_end] {
        assert_eq!(stream.next().await.unwrap().json()["body"], "late");
    }
    assert_eq!(
        until_end.next().await.unwrap().data,
        "{\"type\":\"end\",\"reason\":\"complete\"}"
    );
    put(&app.live, [line(1, "last"), line(2, "last of all")]);
    assert_eq!(next_body(&mut one).await, "last");
    assert_eq!(next_body(&mut all).await, "last");
    assert_eq!(next_body(&mut all).await, "last of all");
    let errors = replay(&app.live, &format!("/traces/{}/sse?status=ERROR", trace(1))).await;
    assert_eq!(errors, []);
}

#[tokio::test]
async fn a_filter_does_not_reveal_what_the_view_of_a_ticket_hides() {
    let view = View::new(|span| span.name() == "order");
    let live = LiveSpans::builder().ticket_view(view).build().unwrap();
    put(
        &live,
        [
            SpanEvent::started(trace(1), span(1), "order").service("secret"),
            SpanEvent::started(trace(1), span(2), "query").parent(span(1)),
            line(1, "secret"),
            SpanEvent::ended(trace(1), span(2), "query", SpanStatus::Unset).parent(span(1)),
            SpanEvent::ended(trace(1), span(1), "order", SpanStatus::Unset).service("secret"),
        ],
    );
    let ticket = live.ticket(trace(1), std::time::Duration::from_secs(60));
    let shown = async |filter: &str| {
        let path = format!("/traces/{}/sse?until=end&ticket={ticket}{filter}", trace(1));
        let frames = open(&live, &path).await.transcript("complete").await;
        let names: Vec<String> = frames.iter().map(|frame| frame.event.clone()).collect();
        names
    };
    assert_eq!(shown("").await, ["started", "ended"]);
    assert_eq!(shown("&type=log").await, [""; 0]);
    assert_eq!(shown("&type=ended").await, ["ended"]);
    assert_eq!(
        shown("&service=secret").await,
        shown("&service=other").await
    );
}

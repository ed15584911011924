//! Open spans that have outlived their updates: readers still get them, merged.

use std::time::Instant;

#[cfg(feature = "sqlite")]
use livespan::span::EncodedEvent;
use livespan::{LiveSpans, Retention, SpanEvent, span::SpanStatus};
use serde_json::{Value as Json, json};

#[cfg(feature = "redis")]
use crate::stores::redis::server::Server;
#[cfg(feature = "sqlite")]
use crate::stores::{sqlite::log::Folder, tail::WithTail};
use crate::{
    http::app::{App, at, client, done, put, span, trace},
    stores::whole::updates::{started, updated},
    support::PATIENCE,
};

/// The events that the logs keep.
const EVENTS: usize = 40;

fn retention() -> Retention {
    Retention::default().events(EVENTS)
}

/// Appends so many children to the trace that it outgrows its share of the log, and retention passes all its earlier
/// events. `first` is the id of the first child.
fn outgrow(app: &App, number: u128, first: u64) {
    let children = (first..first + EVENTS as u64).flat_map(|child| {
        let (trace, child) = (trace(number), span(child));
        [
            SpanEvent::started(trace, child, "child").parent(span(1)),
            SpanEvent::ended(trace, child, "child", SpanStatus::Ok).parent(span(1)),
        ]
    });
    put(&app.live, children);
}

async fn until_json(app: &App, path: &str, is_reached: impl Fn(&Json) -> bool) -> Json {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let document = app.json(path).await;
        if is_reached(&document) {
            return document;
        }
        assert!(Instant::now() < deadline, "{document}");
        tokio::task::yield_now().await;
    }
}

/// Returns the attributes that the updates up to `current`, 40 or 41, have set.
fn attributes(current: i64) -> Json {
    let last_with = |rest: i64| current - (current - rest).rem_euclid(3);
    json!({
        "progress.current": current, "step.0": last_with(0), "step.1": last_with(1), "step.2": last_with(2),
    })
}

/// Checks an open span of trace 1 whose updates retention has passed.
async fn check(app: &App) {
    let path = format!("/traces/{}", trace(1));
    put(&app.live, [started(1)]);
    put(&app.live, (1..=40).map(|number| updated(1, number)));
    outgrow(app, 1, 100);
    let has = |current| {
        move |document: &Json| document["updates"][0]["attributes"] == attributes(current)
    };
    let document = until_json(app, &path, has(40)).await;
    assert_eq!(document["updates"].as_array().unwrap().len(), 1);

    // A later update gets into the next state.
    put(&app.live, [updated(1, 41)]);
    outgrow(app, 1, 200);
    until_json(app, &path, has(41)).await;
    let mut stream = app.stream(&format!("{path}/sse")).await;
    stream.event("gap").await;
    assert_eq!(stream.event("started").await.json()["name"], "import");
    let state = stream.event("updated").await.json();
    assert_eq!(
        state,
        json!({
            "type": "updated", "traceId": trace(1).to_string(), "spanId": span(1).to_string(), "process": "",
            "complete": true, "attributes": attributes(41), "timestamp": "2026-01-01T00:00:00.007000000Z",
        })
    );
    let listed = app.json("/traces").await;
    assert_eq!(listed["traces"][0]["progress"]["current"], 41);

    // The end releases the start and the state.
    let ended = SpanEvent::ended(trace(1), span(1), "import", SpanStatus::Ok).at(at(9));
    put(&app.live, [ended]);
    put(
        &app.live,
        (100..100 + EVENTS as u128).flat_map(|number| done(number, "other", 1)),
    );
    let deadline = Instant::now() + PATIENCE;
    while client().get(app.url(&path)).send().await.unwrap().status() != 404 {
        assert!(
            Instant::now() < deadline,
            "the start or the state is still kept"
        );
    }
}

#[tokio::test]
async fn memory_keeps_the_state_of_an_open_span() {
    let live = LiveSpans::builder().retention(retention()).build();
    check(&App::serve(live.unwrap()).await).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_keeps_the_state_of_an_open_span() {
    let folder = Folder::new();
    let store = WithTail(folder.store().retention(retention()), 4);
    let live = LiveSpans::builder().store(store).build();
    check(&App::serve(live.unwrap()).await).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_keeps_the_state_of_an_open_span() {
    let server = Server::start();
    let store = livespan::RedisEventStore::builder(server.url()).retention(retention());
    let live = LiveSpans::builder().store(store.build().unwrap()).build();
    check(&App::serve(live.unwrap()).await).await;
}

/// Opens a log that keeps four events in memory, after an earlier log of this test has released the file.
#[cfg(feature = "sqlite")]
async fn open(folder: &Folder, retention: Retention) -> App {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let store = WithTail(folder.store().retention(retention), 4);
        let builder = LiveSpans::builder().store(store);
        match builder.running_processes(["p7f3k2aa"]).build() {
            Ok(live) => return App::serve(live).await,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_state_of_a_durable_span_is_complete_after_a_restart() {
    let folder = Folder::new();
    let app = open(&folder, retention()).await;
    put(&app.live, [started(1).durable()]);
    put(&app.live, (1..=40).map(|number| updated(1, number)));
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder, retention()).await;
    let path = format!("/traces/{}", trace(1));
    let waits = |document: &Json| document["updates"][0]["state"] == "waiting";
    until_json(&app, &path, waits).await;
    put(&app.live, [updated(1, 41)]);
    outgrow(&app, 1, 100);
    let is_whole = |document: &Json| document["updates"][0]["attributes"] == attributes(41);
    let document = until_json(&app, &path, is_whole).await;
    let state = &document["updates"][0];
    assert_eq!(
        (&state["state"], &state["complete"]),
        (&json!("waiting"), &json!(true))
    );
}

/// A start that is appended again releases the stored state of its span, so the state follows it.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_state_of_a_span_whose_process_runs_on_follows_its_repeated_start() {
    let folder = Folder::new();
    let app = open(&folder, Retention::default()).await;
    let ids = format!(
        r#""traceId":"{}","spanId":"{}","process":"p7f3k2aa""#,
        trace(1),
        span(1)
    );
    let events = [
        format!(
            r#"{{"type":"started",{ids},"parentSpanId":null,"name":"job","kind":"INTERNAL","service":"shop","attributes":{{}},"timestamp":"2026-01-01T00:00:00.000000000Z"}}"#
        ),
        format!(
            r#"{{"type":"updated",{ids},"attributes":{{"rows":7}},"timestamp":"2026-01-01T00:00:01.000000000Z"}}"#
        ),
    ];
    let events = events.map(|event| EncodedEvent::new(event).unwrap());
    app.live
        .encoded_target()
        .dispatch_all(&events)
        .await
        .unwrap();
    put(
        &app.live,
        (100..110).flat_map(|number| done(number, "other", 1)),
    );
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder, Retention::default()).await;
    let path = format!("/traces/{}", trace(1));
    let is_complete = |document: &Json| document["updates"][0]["complete"] == true;
    let document = until_json(&app, &path, is_complete).await;
    assert_eq!(document["updates"][0]["attributes"], json!({"rows": 7}));
    let mut stream = app.stream(&format!("{path}/sse")).await;
    for kind in ["started", "updated", "started", "updated"] {
        assert_eq!(
            stream.event(kind).await.json()["spanId"],
            span(1).to_string()
        );
    }
}

//! A snapshot and the stream from its cursor together are the whole trace, whenever the snapshot is
//! taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use livespan::{
    LiveSpans, SpanEvent,
    span::{SpanKind, SpanStatus},
};
use serde_json::Value;

use super::app::{App, Frame, Stream, at, checkout, done, log, put, replay, sequence, span, trace};
use crate::support::PATIENCE;

const SPANS: u64 = 3000;

/// Writes a trace of many spans, with another trace in between. `written` counts the progress.
fn write(live: &LiveSpans, written: &AtomicU64) {
    let event = |event: SpanEvent| {
        while live.target().try_dispatch(&event).is_err() {
            live.target().flush(PATIENCE).unwrap();
        }
    };
    event(SpanEvent::started(trace(1), span(1), "root"));
    for number in 2..=SPANS {
        event(SpanEvent::started(trace(1), span(number), "row").parent(span(1)));
        event(SpanEvent::started(trace(2), span(number), "other"));
        if number > 10 {
            event(
                SpanEvent::ended(trace(1), span(number - 9), "row", SpanStatus::Ok).parent(span(1)),
            );
        }
        written.store(number, Ordering::Release);
        if number % 64 == 0 {
            live.target().flush(PATIENCE).unwrap();
        }
    }
    for number in SPANS - 8..=SPANS {
        event(SpanEvent::ended(trace(1), span(number), "row", SpanStatus::Ok).parent(span(1)));
    }
    event(SpanEvent::ended(trace(1), span(1), "root", SpanStatus::Ok));
    live.target().flush(PATIENCE).unwrap();
}

/// Returns the spans of a snapshot after these events: the last payload of each span, in log order.
fn shown(events: &[Frame]) -> Vec<Value> {
    let mut last = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        let id = event.json()["spanId"].as_str().unwrap().to_owned();
        last.insert(id, place);
    }
    let places: BTreeSet<usize> = last.into_values().collect();
    places
        .into_iter()
        .map(|place| events[place].json())
        .collect()
}

#[tokio::test]
async fn a_snapshot_and_the_stream_from_its_cursor_are_the_whole() {
    let app = App::start().await;
    let written = Arc::new(AtomicU64::new(0));
    let writer = {
        let (live, written) = (app.live.clone(), Arc::clone(&written));
        std::thread::spawn(move || write(&live, &written))
    };
    let path = format!("/traces/{}", trace(1));
    let mut snapshots = Vec::new();
    for moment in [1, 7, 150, 151, 990, 1800, 2500, 2990] {
        super::app::until(|| {
            written.load(Ordering::Acquire) > moment
                && app.live.target().head().sequence().get() > 0
        })
        .await;
        let snapshot = app.json(&path).await;
        let cursor = snapshot["cursor"].as_str().unwrap().to_owned();
        let response = app
            .get(&format!("{path}/sse?until=end&lastEventId={cursor}"))
            .await;
        snapshots.push((snapshot, cursor, response));
    }
    let mut tails = Vec::new();
    for (snapshot, cursor, response) in snapshots {
        // The writer may have been faster than the client.
        let is_whole = response.status() == 204;
        let tail = if is_whole {
            Vec::new()
        } else {
            Stream::of(response).transcript("complete").await
        };
        tails.push((snapshot, cursor, tail));
    }
    writer.join().unwrap();
    let whole = replay(&app.live, &format!("{path}/sse")).await;
    for (snapshot, cursor, tail) in tails {
        let at = whole.partition_point(|frame| frame.sequence() <= sequence(&cursor));
        assert_eq!(
            snapshot["spans"],
            Value::from(shown(&whole[..at])),
            "{cursor}"
        );
        assert_eq!(tail, whole[at..], "{cursor}");
    }
}

#[tokio::test]
async fn lines_are_the_payloads_of_the_stream() {
    let app = App::start().await;
    put(&app.live, done(9, "other", 1));
    put(&app.live, checkout(1));
    put(
        &app.live,
        [SpanEvent::log(trace(1), span(1), "WARN", "a\nb\u{2028}")],
    );
    let response = app.get(&format!("/traces/{}?format=jsonl", trace(1))).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let lines = response.text().await.unwrap();
    let stream = replay(&app.live, &format!("/traces/{}/sse", trace(1))).await;
    let payloads: Vec<&str> = stream.iter().map(|frame| frame.data.as_str()).collect();
    assert_eq!(lines, payloads.join("\n") + "\n");
    assert_eq!(payloads.len(), 5);
}

#[tokio::test]
async fn a_large_trace_is_answered_whole_while_others_are_served() {
    let app = App::start().await;
    for chunk in 0..50 {
        let spans = (0..1000).map(|number| 1 + chunk * 1000 + number);
        put(
            &app.live,
            spans.map(|number| SpanEvent::started(trace(1), span(number), "row")),
        );
    }
    let path = format!("/traces/{}", trace(1));
    let otlp = format!("{path}?format=otlp");
    let (whole, _, status) = tokio::join!(app.json(&path), app.json(&otlp), app.json("/status"));
    assert_eq!(whole["spans"].as_array().unwrap().len(), 50_000);
    assert_eq!(status["openSpans"], 50_000);
}

#[tokio::test]
async fn the_newest_end_of_a_span_is_shown() {
    let live = log();
    let ended = |name: &str| SpanEvent::ended(trace(1), span(1), name, SpanStatus::Ok);
    put(
        &live,
        [
            SpanEvent::started(trace(1), span(1), "a"),
            ended("b"),
            ended("c"),
        ],
    );
    let app = App::serve(live).await;
    let answer = app.json(&format!("/traces/{}", trace(1))).await;
    let names: Vec<&str> = answer["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["c"]);
}

/// Returns the counts of the list, and the type, name and status code of each span of the snapshot.
async fn counted(app: &App, number: u128) -> (Value, Vec<String>) {
    let answer = app.json(&format!("/traces/{}", trace(number))).await;
    let list = app.json("/traces").await;
    let all = list["traces"].as_array().unwrap();
    let summary = all.iter().find(|one| one["traceId"] == answer["traceId"]);
    assert_eq!(summary, Some(&answer["summary"]));
    let line = |span: &Value| {
        let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let code = span["status"]["code"].as_str().unwrap_or("-");
        format!("{} {} {code}", text("type"), text("name"))
    };
    let spans = answer["spans"].as_array().unwrap();
    (
        answer["summary"]["spans"].clone(),
        spans.iter().map(line).collect(),
    )
}

/// Returns the names of the spans in an export.
async fn exported(app: &App, number: u128) -> Vec<String> {
    let export = app
        .json(&format!("/traces/{}?format=otlp", trace(number)))
        .await;
    let scopes = export["resourceSpans"].as_array().unwrap().iter();
    let scopes = scopes.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
    let spans = scopes.flat_map(|scope| scope["spans"].as_array().unwrap());
    spans
        .map(|span| span["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn spans_that_share_an_id_are_all_in_list_snapshot_and_export() {
    let started = |name, kind, time| {
        SpanEvent::started(trace(1), span(1), name)
            .kind(kind)
            .at(at(time))
    };
    let ended = |name, kind, [start, end]: [u64; 2], status| {
        SpanEvent::ended(trace(1), span(1), name, status)
            .kind(kind)
            .started_at(at(start))
            .at(at(end))
    };
    let app = App::start().await;
    let (server, client) = (SpanKind::Server, SpanKind::Client);
    put(
        &app.live,
        [started("outer", server, 0), started("inner", client, 1)],
    );
    let spans = |total, open, errors| serde_json::json!({"total": total, "open": open, "errors": errors, "lost": 0});
    assert_eq!(
        counted(&app, 1).await,
        (
            spans(2, 2, 0),
            vec!["started outer -".to_owned(), "started inner -".to_owned()]
        )
    );
    let failed = SpanStatus::Error("no".to_owned());
    put(&app.live, [ended("inner", client, [1, 2], failed)]);
    assert_eq!(
        counted(&app, 1).await,
        (
            spans(2, 1, 1),
            vec!["started outer -".to_owned(), "ended inner ERROR".to_owned()]
        )
    );
    put(&app.live, [ended("outer", server, [0, 3], SpanStatus::Ok)]);
    // The span's id is used again.
    put(
        &app.live,
        [
            started("again", server, 4),
            ended("again", server, [4, 5], SpanStatus::Ok),
        ],
    );
    let lines = ["ended inner ERROR", "ended outer OK", "ended again OK"];
    assert_eq!(
        counted(&app, 1).await,
        (spans(3, 0, 1), lines.map(str::to_owned).to_vec())
    );
    assert_eq!(exported(&app, 1).await, ["inner", "outer", "again"]);
}

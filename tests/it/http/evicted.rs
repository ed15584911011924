//! A trace that has lost a part to retention. Every route reports the size of that part.

use livespan::{LiveSpans, Retention, SpanEvent, span::SpanStatus};
use serde_json::{Value as Json, json};

use super::app::{App, Frame, at, done, put, sequence, span, trace};
use crate::support::PATIENCE;

/// The number of children in the long trace. Each has two events.
const CHILDREN: u64 = 30;

/// Returns the events of a running job: the start of the root, then start and end of each child.
pub(crate) fn long_trace(number: u128) -> Vec<SpanEvent> {
    let trace = trace(number);
    let root = SpanEvent::started(trace, span(1), "job").at(at(0));
    let children = (2..2 + CHILDREN).flat_map(move |child| {
        [
            SpanEvent::started(trace, span(child), "child")
                .parent(span(1))
                .at(at(child)),
            SpanEvent::ended(trace, span(child), "child", SpanStatus::Ok)
                .parent(span(1))
                .started_at(at(child))
                .at(at(child + 1)),
        ]
    });
    [root].into_iter().chain(children).collect()
}

fn log(events: usize) -> LiveSpans {
    let retention = Retention::default().events(events);
    LiveSpans::builder().retention(retention).build().unwrap()
}

/// Returns the removed events and spans that the list and the snapshot report. Both must agree.
pub(crate) async fn evicted(app: &App, number: u128) -> Json {
    let list = app.json("/traces").await;
    let id = trace(number).to_string();
    let traces = list["traces"].as_array().unwrap();
    let listed = traces.iter().find(|trace| trace["traceId"] == id.as_str());
    let listed = listed.unwrap_or_else(|| panic!("{list}"))["evicted"].clone();
    let whole = app.json(&format!("/traces/{id}")).await;
    assert_eq!(whole["evicted"], listed);
    assert_eq!(whole["summary"]["evicted"], listed);
    listed
}

/// Waits until the list and the snapshot report these as removed.
pub(crate) async fn until_evicted(app: &App, number: u128, gone: &Json) {
    let wait = async {
        loop {
            let list = app.json("/traces").await;
            let id = trace(number).to_string();
            let traces = list["traces"].as_array().unwrap();
            let listed = traces.iter().find(|trace| trace["traceId"] == id.as_str());
            if listed.is_some_and(|listed| listed["evicted"] == *gone) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{}", app.json("/traces").await);
    let whole = app.json(&format!("/traces/{}", trace(number))).await;
    assert_eq!(whole["evicted"], *gone);
    assert_eq!(whole["summary"]["evicted"], *gone);
}

/// Returns the gap at the beginning of a trace's stream, and the sequences of the events that
/// follow it.
pub(crate) async fn stream(app: &App, path: &str, events: usize) -> (Option<Json>, Vec<u64>) {
    let mut stream = app.stream(path).await;
    stream.event("hello").await;
    let mut gap = None;
    let mut sequences = Vec::new();
    while sequences.len() < events {
        let frame: Frame = stream.next().await.unwrap();
        match frame.event.as_str() {
            "gap" => {
                assert_eq!(
                    (&gap, sequences.len()),
                    (&None, 0),
                    "a gap came after an event or another gap"
                );
                gap = Some(frame.json());
            }
            _ => sequences.push(frame.sequence()),
        }
    }
    (gap, sequences)
}

#[tokio::test]
async fn every_route_reports_the_evicted_part_of_a_trace() {
    let app = App::serve(log(20)).await;
    put(&app.live, long_trace(1));
    // A later trace that has lost nothing.
    put(&app.live, done(2, "whole", 1));
    // Of 63 events, the newest 20 and the start of the open root are kept.
    let gone = json!({"events": 42, "spans": 21});
    assert_eq!(evicted(&app, 1).await, gone);
    assert_eq!(evicted(&app, 2).await, Json::Null);
    let path = format!("/traces/{}", trace(1));
    let whole = app.json(&path).await;
    assert_eq!(whole["summary"]["spans"]["total"], 31);
    assert_eq!(whole["spans"].as_array().unwrap().len(), 31 - 21);
    // The stream begins with a gap.
    let epoch = app.live.target().head().epoch();
    let gap = json!({
        "type": "gap", "reason": "evicted", "from": format!("{epoch}-1"),
        "to": format!("{epoch}-43"), "lost": 42,
    });
    let kept: Vec<u64> = [1].into_iter().chain(44..=61).collect();
    for query in ["", "?lastEventId=0", "?lastEventId=nonsense"] {
        let (reported_gap, sequences) = stream(&app, &format!("{path}/sse{query}"), 19).await;
        assert_eq!(
            (reported_gap.as_ref(), &sequences),
            (Some(&gap), &kept),
            "{query}"
        );
    }
    let (reported_gap, sequences) = stream(&app, &format!("/traces/{}/sse", trace(2)), 2).await;
    assert_eq!((reported_gap, sequences), (None, vec![62, 63]));
    // The gap counts events of the trace, whether or not the filter accepts them.
    let filtered = format!("{path}/sse?type=started");
    let (reported_gap, _) = stream(&app, &filtered, 10).await;
    assert_eq!(reported_gap.unwrap()["lost"], 42);
    // A reader that already has the removed events has missed nothing.
    let (reported_gap, _) = stream(&app, &format!("{path}/sse?lastEventId=44"), 17).await;
    assert_eq!(reported_gap, None);
}

#[tokio::test]
async fn exports_report_evicted_events() {
    let app = App::serve(log(20)).await;
    put(&app.live, long_trace(1));
    put(&app.live, done(2, "whole", 1));
    let lines = async |number| {
        let path = format!("/traces/{}?format=jsonl", trace(number));
        app.get(&path).await.text().await.unwrap()
    };
    let text = lines(1).await;
    assert_eq!(
        text.lines().next(),
        Some(r#"{"type":"gap","reason":"evicted","lost":42}"#)
    );
    assert_eq!(text.lines().count(), 1 + 19);
    assert_eq!(lines(2).await.lines().count(), 2);
    let resource = async |number| {
        let path = format!("/traces/{}?format=otlp", trace(number));
        app.json(&path).await["resourceSpans"][0]["resource"].clone()
    };
    let attributes = |named: &[(&str, Json)]| {
        let pairs = named
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}));
        json!({"attributes": pairs.collect::<Vec<_>>()})
    };
    let service = ("service.name", json!({"stringValue": ""}));
    let int = |count: &str| json!({"intValue": count});
    assert_eq!(
        resource(1).await,
        attributes(&[
            service,
            ("livespan.evicted.events", int("42")),
            ("livespan.evicted.spans", int("21")),
        ])
    );
    let service = ("service.name", json!({"stringValue": "shop"}));
    assert_eq!(resource(2).await, attributes(&[service]));
}

#[tokio::test]
async fn a_viewer_of_the_list_learns_of_evictions_from_a_silent_trace() {
    let app = App::serve(log(20)).await;
    put(&app.live, long_trace(1));
    let mut stream = app.stream("/traces/sse").await;
    let gone = |frame: Frame| {
        let update = frame.json();
        let id = trace(1).to_string();
        let traces = update["traces"].as_array().unwrap();
        let one = traces.iter().find(|trace| trace["traceId"] == id.as_str());
        one.map(|trace| trace["evicted"].clone())
    };
    let first = gone(stream.event("traces").await);
    assert_eq!(first, Some(json!({"events": 40, "spans": 20})));
    put(&app.live, done(2, "other", 1));
    loop {
        match gone(stream.event("traces").await) {
            None => {}
            Some(now) if now == json!({"events": 42, "spans": 21}) => break,
            Some(before) => assert_eq!(before, json!({"events": 40, "spans": 20})),
        }
    }
}

#[tokio::test]
async fn a_fully_evicted_trace_is_not_found() {
    let app = App::serve(log(20)).await;
    put(&app.live, long_trace(1));
    put(
        &app.live,
        [SpanEvent::ended(trace(1), span(1), "job", SpanStatus::Ok)],
    );
    // The start of the root has now been removed, too.
    assert_eq!(evicted(&app, 1).await, json!({"events": 42, "spans": 20}));
    put(
        &app.live,
        (0..10).flat_map(|number| done(10 + number, "other", 1)),
    );
    let list = app.json("/traces").await;
    assert_eq!(list["traces"].as_array().unwrap().len(), 10);
    let response = app.get(&format!("/traces/{}", trace(1))).await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_reader_that_resumes_before_evicted_events_gets_a_gap_as_exact_as_is_known() {
    let app = App::serve(log(20)).await;
    put(&app.live, long_trace(1)[..11].to_vec());
    let path = format!("/traces/{}/sse", trace(1));
    let mut early = app.stream(&path).await;
    let mut last = String::new();
    for _ in 0..11 {
        last = early.event_with_id().await.id;
    }
    drop(early);
    assert_eq!(sequence(&last), 11);
    put(&app.live, long_trace(1)[11..].to_vec());
    let (reported_gap, _) = stream(&app, &format!("{path}?lastEventId={last}"), 20).await;
    let reported_gap = reported_gap.unwrap();
    // Some removed events came before the reader's id. Their number is unknown, because memory has
    // only a total.
    assert_eq!(
        (&reported_gap["reason"], &reported_gap["lost"]),
        (&json!("evicted"), &Json::Null)
    );
}

//! How each route shows the changes of a running span.

use livespan::{SpanEvent, otel::LiveSpan, span::SpanState};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};

use super::app::{App, at, done, put, span, trace};
use crate::support::PATIENCE;

/// Returns the events of a trace.
async fn lines(app: &App, trace: &str) -> Vec<Value> {
    app.live.target().flush(PATIENCE).unwrap();
    let response = app.get(&format!("/traces/{trace}?format=jsonl")).await;
    let text = response.text().await.unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until the trace has an event for which `is_wanted` returns true. Returns the events.
async fn lines_with(app: &App, trace: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let wait = async {
        loop {
            let lines = lines(app, trace).await;
            if lines.iter().any(&is_wanted) {
                return lines;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

/// Starts a span through a wrapping provider. The provider must outlive it.
fn start(app: &App) -> (livespan::otel::LiveTracerProvider, LiveSpan, String) {
    let provider = app.live.tracer_provider(SdkTracerProvider::builder());
    let span = provider.tracer("test").start("job");
    let id = span.span_context().trace_id().to_string();
    app.live.target().flush(PATIENCE).unwrap();
    (provider, span, id)
}

#[tokio::test]
async fn a_document_has_one_update_for_an_open_span_however_often_it_changed() {
    let app = App::start().await;
    let updated = |number: i64| {
        SpanEvent::updated(trace(1), span(1), None)
            .attribute("progress.current", number)
            .attribute(format!("step.{}", number % 3), number)
            .at(at(2))
    };
    let start = SpanEvent::started(trace(1), span(1), "import").at(at(0));
    put(&app.live, [start]);
    for chunk in 0..10 {
        put(
            &app.live,
            (0..200).map(|number| updated(200 * chunk + number)),
        );
    }
    let waiting = SpanEvent::updated(trace(1), span(1), Some(SpanState::Waiting)).at(at(9));
    put(&app.live, [waiting]);
    let document = app.json(&format!("/traces/{}", trace(1))).await;
    let merged = json!({
        "type": "updated", "traceId": trace(1).to_string(), "spanId": span(1).to_string(), "process": "",
        "state": "waiting",
        "attributes": {"progress.current": 1999, "step.0": 1998, "step.1": 1999, "step.2": 1997},
        "timestamp": "2026-01-01T00:00:00.009000000Z",
    });
    assert_eq!(document["updates"], json!([merged]));
    assert_eq!(document["incomplete"], Value::Null);
    put(&app.live, done(1, "import", 10));
    let document = app.json(&format!("/traces/{}", trace(1))).await;
    assert_eq!(document["updates"], json!([]));
}

#[tokio::test]
async fn a_document_says_of_a_running_span_what_its_events_say() {
    let app = App::start().await;
    let (_provider, mut span, id) = start(&app);
    for round in 0..40_i64 {
        span.set_attribute(KeyValue::new("n", round));
        span.set_attribute(KeyValue::new("large", i64::MAX - round));
        span.add_event("tick", vec![KeyValue::new("round", round)]);
        if round % 10 == 0 {
            // Every tenth round waits, so that the next change is in another update.
            lines_with(&app, &id, |event| event["attributes"]["n"] == json!(round)).await;
        }
    }
    span.update_name("better");
    span.set_status(Status::error("no card"));
    let lines = lines_with(&app, &id, |event| event["name"] == json!("better")).await;
    let updates: Vec<&Value> = lines
        .iter()
        .filter(|event| event["type"] == "updated")
        .collect();
    let events = updates.iter().flat_map(|update| {
        let events = update["events"].as_array();
        events.into_iter().flatten().cloned()
    });
    let events: Vec<Value> = events.collect();
    assert_eq!(events.len(), 40);
    let first = updates.first().unwrap();
    let merged = json!({
        "type": "updated", "traceId": id, "spanId": first["spanId"], "process": first["process"],
        "name": "better", "status": {"code": "ERROR", "message": "no card"},
        "attributes": {"n": 39, "large": (i64::MAX - 39).to_string()}, "attributeTypes": {"large": "int"},
        "timestamp": updates.last().unwrap()["timestamp"], "events": events,
    });
    let document = app.json(&format!("/traces/{id}")).await;
    assert!(updates.len() > 4, "{}", updates.len());
    assert_eq!(document["updates"], json!([merged]));
}

#[tokio::test]
async fn otlp_leaves_running_spans_out_and_counts_them() {
    let app = App::start().await;
    let (_provider, mut span, id) = start(&app);
    span.set_attribute(KeyValue::new("n", 1));
    lines_with(&app, &id, |event| event["type"] == "updated").await;
    let export = app.json(&format!("/traces/{id}?format=otlp")).await;
    assert_eq!(
        export,
        json!({"resourceSpans": [], "omittedSpans": {"running": 1}})
    );
}

/// Returns the summary of a trace in the list.
async fn listed(app: &App, trace: &str) -> Value {
    let page = app.json("/traces").await;
    let mut traces = page["traces"].as_array().unwrap().iter();
    traces
        .find(|one| one["traceId"] == json!(trace))
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_summary_has_the_current_progress_and_name() {
    let app = App::start().await;
    let (_provider, mut span, id) = start(&app);
    assert_eq!(listed(&app, &id).await.get("progress"), None);
    // `tracing` passes on a `u64` as text.
    span.set_attribute(KeyValue::new("progress.current", "190"));
    span.set_attribute(KeyValue::new("progress.total", 270));
    span.set_attribute(KeyValue::new("progress.units", "pages"));
    span.update_name("import");
    lines_with(&app, &id, |event| event["name"] == json!("import")).await;
    let running = listed(&app, &id).await;
    let progress = json!({"current": 190, "total": 270, "units": "pages", "message": null});
    assert_eq!(running["progress"], progress);
    assert_eq!(running["name"], json!("import"));
    let document = app.json(&format!("/traces/{id}")).await;
    assert_eq!(document["summary"], running);
    // The search reads the attributes of spans, not the progress in the summary.
    let page = app.json("/traces?q=pages").await;
    let found = json!({
        "spanId": running["rootSpanId"], "name": "import", "field": "attributes.progress.units", "text": "pages",
    });
    assert_eq!(page["traces"][0]["match"], found);
    span.set_attribute(KeyValue::new("progress.message", "done"));
    span.set_attribute(KeyValue::new("progress.current", 270_i64));
    span.end();
    lines(&app, &id).await;
    let ended = listed(&app, &id).await;
    assert_eq!(ended["state"], json!("ok"));
    let progress = json!({"current": 270, "total": 270, "units": "pages", "message": "done"});
    assert_eq!(ended["progress"], progress);
}

#[tokio::test]
async fn progress_that_a_start_reports_is_in_the_summary_from_then_on() {
    let app = App::start().await;
    let provider = app.live.tracer_provider(SdkTracerProvider::builder());
    let tracer = provider.tracer("test");
    // Several equal spans, because a start that repeats an earlier one is encoded in another way.
    for number in 0..5_i64 {
        let attributes = [
            KeyValue::new("progress.current", number),
            KeyValue::new("progress.total", 9),
        ];
        let builder = tracer.span_builder("job").with_attributes(attributes);
        let mut span = builder.start(&tracer);
        let id = span.span_context().trace_id().to_string();
        lines(&app, &id).await;
        let progress = json!({"current": number, "total": 9, "units": null, "message": null});
        assert_eq!(listed(&app, &id).await["progress"], progress);
        span.end();
        lines(&app, &id).await;
        assert_eq!(listed(&app, &id).await["progress"], progress);
    }
}

#[tokio::test]
async fn a_running_span_that_fails_is_found_before_it_ends_and_counted_once() {
    let app = App::start().await;
    let (_provider, mut span, id) = start(&app);
    let found = async |query: &str| {
        let page = app.json(&format!("/traces?q={query}")).await;
        page["traces"].as_array().unwrap().len()
    };
    assert_eq!(found("state:failing").await, 0);
    span.set_status(Status::error("no card"));
    lines_with(&app, &id, |event| event["type"] == "updated").await;
    let running = listed(&app, &id).await;
    assert_eq!(running["state"], json!("running"));
    assert_eq!(
        running["spans"],
        json!({"total": 1, "open": 1, "errors": 1, "lost": 0})
    );
    assert_eq!(found("state:failing").await, 1);
    assert_eq!(found("errors%3E0").await, 1);
    span.end();
    lines(&app, &id).await;
    let ended = listed(&app, &id).await;
    assert_eq!(ended["state"], json!("error"));
    assert_eq!(
        ended["spans"],
        json!({"total": 1, "open": 0, "errors": 1, "lost": 0})
    );
    assert_eq!(found("state:failing").await, 0);
}

#[tokio::test]
async fn the_live_list_shows_progress_as_it_comes() {
    let app = App::start().await;
    let (_provider, mut span, id) = start(&app);
    let mut list = app.stream("/traces/sse").await;
    for number in [1, 2] {
        span.set_attribute(KeyValue::new("progress.current", number));
        let wait = async {
            loop {
                let frame = list.next().await.unwrap();
                if frame.event != "traces" {
                    continue;
                }
                let traces = frame.json()["traces"].clone();
                let has_progress = |one: &Value| {
                    one["traceId"] == json!(id) && one["progress"]["current"] == json!(number)
                };
                if traces.as_array().unwrap().iter().any(has_progress) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

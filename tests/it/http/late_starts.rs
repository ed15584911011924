//! A span that began before its start was recorded. Once the span has ended, the list shows the
//! start time that the `ended` event contains.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde_json::{Value, json};

use super::app::{App, at, log};
use crate::support::PATIENCE;

/// An app whose provider has our sampler, as with `init`. The sampler sees a span's start, but not
/// its exact time.
async fn app() -> (App, SdkTracerProvider) {
    let app = App::serve(log()).await;
    let provider = SdkTracerProvider::builder()
        .with_sampler(app.live.sampler(Sampler::AlwaysOn))
        .with_span_processor(app.live.span_processor())
        .build();
    (app, provider)
}

async fn one(app: &App, path: &str) -> Value {
    app.live.target().flush(PATIENCE).unwrap();
    let list = app.json(path).await;
    let [trace] = list["traces"].as_array().unwrap().as_slice() else {
        panic!("{path}: {list}");
    };
    trace.clone()
}

#[tokio::test]
async fn a_job_that_is_reported_late_has_the_duration_and_the_start_of_its_end() {
    let (app, provider) = app().await;
    let tracer = provider.tracer("test");
    let job = SpanBuilder::from_name("job").with_start_time(at(0));
    let mut job = tracer.build(job);
    job.end_with_timestamp(at(3_600_000));
    let trace = one(&app, "/traces").await;
    let fields = ["name", "startTimestamp", "endTimestamp", "durationMs"].map(|key| &trace[key]);
    assert_eq!(
        fields,
        [
            &json!("job"),
            &json!("2026-01-01T00:00:00.000000000Z"),
            &json!("2026-01-01T01:00:00.000000000Z"),
            &json!(3_600_000.0),
        ]
    );
    for path in [
        "/traces?q=duration%3E59m",
        "/traces?q=duration%3C%3D1h",
        "/traces?minDuration=3600000",
    ] {
        assert_eq!(one(&app, path).await, trace, "{path}");
    }
    for path in ["/traces?q=duration%3C59m", "/traces?minDuration=3600001"] {
        assert_eq!(app.json(path).await["traces"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn a_child_that_began_before_it_was_reported_moves_the_start_of_a_running_trace() {
    let (app, provider) = app().await;
    let tracer = provider.tracer("test");
    let before = SystemTime::now();
    let root = tracer.start("root");
    let cx = opentelemetry::Context::new().with_span(root);
    let hour = Duration::from_secs(3600);
    let child = SpanBuilder::from_name("child").with_start_time(before - hour);
    let mut child = tracer.build_with_context(child, &cx);
    assert_eq!(
        app.json("/traces?minDuration=3600000").await["traces"],
        json!([])
    );
    child.end();
    let trace = one(&app, "/traces?minDuration=3600000").await;
    let fields = ["name", "state", "durationMs"].map(|key| &trace[key]);
    assert_eq!(fields, [&json!("root"), &json!("running"), &Value::Null]);
    cx.span().end();
    let trace = one(&app, "/traces?minDuration=3600000&state=ok").await;
    assert_eq!(trace["spans"]["total"], 2);
}

#[tokio::test]
async fn of_two_roots_the_one_that_began_first_names_the_trace() {
    let (app, provider) = app().await;
    let tracer = provider.tracer("test");
    let parent = crate::spans::live_provider::remote_parent();
    let early = SpanBuilder::from_name("early").with_start_time(at(0));
    let late = SpanBuilder::from_name("late").with_start_time(at(1));
    let mut late = tracer.build_with_context(late, &parent);
    let mut early = tracer.build_with_context(early, &parent);
    early.end_with_timestamp(at(2));
    assert_eq!(one(&app, "/traces").await["name"], "early");
    late.end_with_timestamp(at(3));
    assert_eq!(
        one(&app, "/traces?name=early&state=ok").await["name"],
        "early"
    );
}

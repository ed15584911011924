//! The state "panicked" of traces: in the list, its filters, its counts, and a customer's view.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::body::Body;
use http::{HeaderMap, Uri};
use livespan::View;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};

use super::app::{App, Frame, Stream, provider};

/// Makes a span whose work panics. Returns the span's trace.
fn panics(provider: &SdkTracerProvider) -> livespan::TraceId {
    let tracer = provider.tracer("shop");
    let mut trace = None;
    let builder = tracer.span_builder("pay").with_kind(SpanKind::Server);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _cx = opentelemetry::Context::new()
            .with_span(tracer.build(builder))
            .attach();
        let cx = opentelemetry::Context::current();
        trace = cx.span().span_context().trace_id().try_into().ok();
        drop(cx);
        panic!("out of luck");
    }));
    assert!(unwound.is_err());
    provider.force_flush().unwrap();
    trace.unwrap()
}

/// Returns the entries of a list of traces, with name and state.
async fn listed(app: &App, query: &str) -> Vec<[Value; 3]> {
    let page = app.json(&format!("/traces?{query}")).await;
    let traces = page["traces"].as_array().unwrap();
    let row = |trace: &Value| {
        [
            trace["name"].clone(),
            trace["state"].clone(),
            trace["spans"]["errors"].clone(),
        ]
    };
    traces.iter().map(row).collect()
}

#[tokio::test]
async fn a_trace_whose_root_panicked_is_found_by_that_state_and_as_an_error() {
    let app = App::start().await;
    let provider = provider(&app.live);
    let trace = panics(&provider);
    provider.tracer("shop").in_span("browse", |_| {});
    provider.force_flush().unwrap();
    let pay = [[json!("pay"), json!("panicked"), json!(1)]];
    let browse = [[json!("browse"), json!("ok"), json!(0)]];
    assert_eq!(listed(&app, "").await, [browse, pay.clone()].concat());
    for query in [
        "state=panicked",
        "q=state:panicked",
        "status=ERROR",
        "q=status:error",
        "q=errors>0",
    ] {
        assert_eq!(listed(&app, query).await, pay, "{query}");
    }
    for query in ["state=error", "state=cancelled", "state=lost"] {
        assert_eq!(
            listed(&app, query).await,
            Vec::<[Value; 3]>::new(),
            "{query}"
        );
    }
    let whole = app.json(&format!("/traces/{trace}")).await;
    assert_eq!(
        (&whole["summary"]["state"], &whole["spans"][0]["panicked"]),
        (&json!("panicked"), &json!(true))
    );
    let streamed = app
        .stream(&format!("/traces/{trace}/sse?status=ERROR&until=end"))
        .await
        .transcript("complete")
        .await;
    let names: Vec<Value> = streamed
        .iter()
        .map(|one| one.json()["panicked"].clone())
        .collect();
    assert_eq!(names.last(), Some(&json!(true)));
}

#[tokio::test]
async fn a_customer_sees_that_a_span_panicked_and_not_why() {
    let live = super::app::log();
    let trace = panics(&provider(&live));
    let view = View::new(|span| span.kind() == "SERVER");
    let response = live.respond(trace, &view, &HeaderMap::new(), &Uri::from_static("/"));
    let frames = Stream::of_body(Body::new(response.into_body()))
        .transcript("complete")
        .await;
    let ended = frames
        .iter()
        .map(Frame::json)
        .find(|one| one["type"] == "ended");
    let ended = ended.unwrap();
    assert_eq!(
        (&ended["panicked"], &ended["status"]),
        (&json!(true), &json!({"code": "ERROR"}))
    );
}

//! `?format=otlp` equals the output of OpenTelemetry's own exporter.

use std::time::Duration;

use opentelemetry::{
    Array, KeyValue, Value,
    trace::{
        Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_proto::{
    tonic::{
        collector::trace::v1::ExportTraceServiceRequest, common::v1::KeyValue as ProtoKeyValue,
        trace::v1::ResourceSpans,
    },
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{InMemorySpanExporter, SdkTracerProvider, SimpleSpanProcessor},
};

use livespan::{SpanEvent, span::SpanStatus};

use super::app::{App, at, log, span, trace};
use crate::support::PATIENCE;

/// Sorts attributes, scopes and spans, because their order may differ.
fn sorted(mut all: Vec<ResourceSpans>) -> Vec<ResourceSpans> {
    fn sort(attributes: &mut [ProtoKeyValue]) {
        attributes.sort_by(|one, other| one.key.cmp(&other.key));
    }
    for resource in &mut all {
        sort(&mut resource.resource.as_mut().unwrap().attributes);
        resource
            .scope_spans
            .sort_by_key(|scope| scope.scope.as_ref().unwrap().name.clone());
        for span in resource
            .scope_spans
            .iter_mut()
            .flat_map(|scope| &mut scope.spans)
        {
            sort(&mut span.attributes);
            span.events
                .iter_mut()
                .for_each(|event| sort(&mut event.attributes));
            span.links.iter_mut().for_each(|link| {
                sort(&mut link.attributes);
                // Our wire format does not have a link's flags.
                link.flags = 0;
            });
        }
        resource
            .scope_spans
            .iter_mut()
            .for_each(|scope| scope.spans.sort_by_key(|span| span.span_id.clone()));
    }
    all
}

/// The attributes of a span whose only attribute is its state.
fn state(state: &str) -> serde_json::Value {
    serde_json::json!([{"key": "livespan.state", "value": {"stringValue": state}}])
}

fn attributes() -> Vec<KeyValue> {
    vec![
        KeyValue::new("text", "käse \"\\ \u{1f600}\n"),
        KeyValue::new("yes", true),
        KeyValue::new("int", -3_i64),
        KeyValue::new("large", i64::MAX),
        KeyValue::new("whole", 4.0),
        KeyValue::new("double", 1.5e300),
        KeyValue::new("number-like", "17"),
        KeyValue::new(
            "texts",
            Value::Array(Array::String(vec!["a".into(), "b".into()])),
        ),
        KeyValue::new("ints", Value::Array(Array::I64(vec![1, i64::MIN]))),
        KeyValue::new("doubles", Value::Array(Array::F64(vec![1.0, 2.5]))),
        KeyValue::new("flags", Value::Array(Array::Bool(vec![true, false]))),
    ]
}

fn make_spans(provider: &SdkTracerProvider) -> String {
    let tracer = provider.tracer("shop::cart");
    let other = provider.tracer_with_scope(
        opentelemetry::InstrumentationScope::builder("db")
            .with_version("1.2")
            .build(),
    );
    let linked = SpanContext::new(
        0xabc_u128.into(),
        7_u64.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let link = Link::new(linked, vec![KeyValue::new("why", 1_i64)], 0);
    let builder = tracer
        .span_builder("checkout")
        .with_kind(SpanKind::Server)
        .with_start_time(at(1))
        .with_attributes(attributes())
        .with_links(vec![link]);
    let mut root = tracer.build(builder);
    let context = opentelemetry::trace::TraceContextExt::with_remote_span_context(
        &opentelemetry::Context::new(),
        root.span_context().clone(),
    );
    for (name, kind, status) in [
        ("ok", SpanKind::Client, Status::Ok),
        ("unset", SpanKind::Producer, Status::Unset),
        ("failed", SpanKind::Consumer, Status::error("broken")),
        ("plain", SpanKind::Internal, Status::error("")),
    ] {
        let builder = other
            .span_builder(name)
            .with_kind(kind)
            .with_start_time(at(2));
        let mut child = other.build_with_context(builder, &context);
        child.set_status(status);
        child.end_with_timestamp(at(3));
    }
    root.add_event_with_timestamp("half way", at(2) + Duration::from_nanos(1), attributes());
    root.end_with_timestamp(at(9) + Duration::from_nanos(123));
    root.span_context().trace_id().to_string()
}

#[tokio::test]
async fn a_trace_as_otlp_is_what_an_exporter_would_send() {
    let app = App::serve(log()).await;
    let exporter = InMemorySpanExporter::default();
    let resource = Resource::builder_empty()
        .with_service_name("shop")
        .with_attributes([
            KeyValue::new("replica", 3_i64),
            KeyValue::new("host.name", "h"),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_span_processor(app.live.span_processor())
        .with_span_processor(SimpleSpanProcessor::new(exporter.clone()))
        .build();
    let trace = make_spans(&provider);
    provider.force_flush().unwrap();
    let text = app
        .get(&format!("/traces/{trace}?format=otlp"))
        .await
        .text()
        .await
        .unwrap();
    let ours: ExportTraceServiceRequest = serde_json::from_str(&text).unwrap();
    let resource = ResourceAttributesWithSchema::from(&resource);
    let theirs =
        group_spans_by_resource_and_scope(exporter.get_finished_spans().unwrap(), &resource);
    assert_eq!(sorted(ours.resource_spans), sorted(theirs));
}

#[tokio::test]
async fn a_span_that_runs_is_left_out_and_a_lost_one_is_an_error() {
    let app = App::serve(log()).await;
    let provider = super::app::provider(&app.live);
    let tracer = provider.tracer("test");
    let open = tracer.start("open");
    let path = format!("/traces/{}?format=otlp", open.span_context().trace_id());
    provider.force_flush().unwrap();
    let decode = async || -> ExportTraceServiceRequest {
        serde_json::from_str(&app.get(&path).await.text().await.unwrap()).unwrap()
    };
    assert_eq!(decode().await.resource_spans, []);
    provider.shutdown().unwrap();
    let lost = decode().await;
    let span = &lost.resource_spans[0].scope_spans[0].spans[0];
    let status = span.status.as_ref().unwrap();
    assert_eq!((span.name.as_str(), status.code), ("open", 2));
    assert_eq!(
        status.message,
        "lost: the tracer provider was shut down while the span was open"
    );
    assert_eq!(
        serde_json::to_value(&span.attributes).unwrap(),
        state("lost")
    );
}

#[tokio::test]
async fn a_span_that_panicked_says_so_in_an_attribute() {
    let app = App::serve(log()).await;
    let provider = super::app::provider(&app.live);
    let tracer = provider.tracer("test");
    let mut trace = String::new();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        tracer.in_span("pay", |cx| {
            trace = cx.span().span_context().trace_id().to_string();
            panic!("out of luck");
        });
    }));
    assert!(unwound.is_err());
    provider.force_flush().unwrap();
    let path = format!("/traces/{trace}?format=otlp");
    let request: ExportTraceServiceRequest = serde_json::from_value(app.json(&path).await).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "panicked"));
    assert_eq!(
        serde_json::to_value(&span.attributes).unwrap(),
        state("panicked")
    );
}

#[tokio::test]
async fn a_real_end_replaces_a_lost_one() {
    let app = App::serve(log()).await;
    let provider = super::app::provider(&app.live);
    let open = provider.tracer("test").start("open");
    let context = open.span_context().clone();
    provider.shutdown().unwrap();
    // Another process reports the real end.
    let trace: livespan::TraceId = context.trace_id().to_string().parse().unwrap();
    let span = context.span_id().to_string().parse().unwrap();
    let real = SpanEvent::ended(trace, span, "real", SpanStatus::Ok);
    super::app::put(&app.live, [real]);
    let text = app
        .get(&format!("/traces/{trace}?format=otlp"))
        .await
        .text()
        .await
        .unwrap();
    let request: ExportTraceServiceRequest = serde_json::from_str(&text).unwrap();
    let spans = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans);
    let names: Vec<&str> = spans.map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["real"]);
    let answer = app.json(&format!("/traces/{trace}")).await;
    assert_eq!(answer["spans"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&answer["spans"][0]["name"], &answer["summary"]["state"]),
        (&"real".into(), &"ok".into())
    );
}

#[tokio::test]
async fn spans_that_run_are_counted_where_they_are_left_out() {
    let live = log();
    let event = |event: SpanEvent| live.target().try_dispatch(&event).unwrap();
    let ended = SpanStatus::Ok;
    event(SpanEvent::started(trace(1), span(1), "root"));
    event(SpanEvent::started(trace(1), span(2), "call"));
    event(SpanEvent::started(trace(1), span(3), "done"));
    event(SpanEvent::ended(trace(1), span(3), "done", ended));
    live.target().flush(PATIENCE).unwrap();
    let app = App::serve(live).await;
    let path = format!("/traces/{}?format=otlp", trace(1));
    let answer = app.json(&path).await;
    assert_eq!(answer["omittedSpans"], serde_json::json!({"running": 2}));
    // By the specification, receivers ignore unknown fields.
    let request: ExportTraceServiceRequest = serde_json::from_value(answer).unwrap();
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans.len(), 1);
}

//! Everything that an SDK can record in ended spans and log records arrives unchanged.

use opentelemetry::{
    Array, KeyValue, Value as OtelValue,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
        TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::{
    Compression, LogExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    logs::{InMemoryLogExporter, SdkLoggerProvider},
    trace::{InMemorySpanExporter, SdkTracerProvider},
};
use serde_json::{Value, json};

use crate::{expected, receiver::Receiver, sdk::Sdk};

/// Removes and returns a field whose value the receiver chooses.
fn take(event: &mut Value, field: &str) -> Value {
    event.as_object_mut().unwrap().remove(field).unwrap()
}

fn sorted(events: &Value, field: &str) -> Vec<Value> {
    let mut events = events.as_array().unwrap().clone();
    events.sort_by_key(|event| event[field].to_string());
    events
}

/// Compares the receiver's trace with the one in the sender's SDK.
async fn assert_arrived(receiver: &Receiver, sent: Value) {
    let trace = sent["traceId"].as_str().unwrap();
    let shown = receiver.get(&format!("/traces/{trace}")).await;
    let [process] = shown["processes"].as_array().unwrap().as_slice() else {
        panic!(
            "not exactly one process sent the trace: {}",
            shown["processes"]
        );
    };
    assert_eq!(process["resource"], sent["resource"]);
    for (list, order) in [("spans", "spanId"), ("logs", "timestamp")] {
        let mut events = sorted(&shown[list], order);
        for event in &mut events {
            assert_eq!(take(event, "process"), process["process"]);
        }
        assert_eq!(events, sorted(&sent[list], order), "{list}");
    }
}

async fn arrives_as_the_sdk_holds_it(sdk: Sdk) {
    let receiver = Receiver::start();
    let sent = sdk.start("everything", &receiver).output().await;
    assert_arrived(&receiver, sent).await;
}

#[tokio::test]
async fn node_by_http_json() {
    arrives_as_the_sdk_holds_it(Sdk::JavaScript("http-json")).await;
}

#[tokio::test]
async fn node_by_http_protobuf() {
    arrives_as_the_sdk_holds_it(Sdk::JavaScript("http-proto")).await;
}

#[tokio::test]
async fn node_by_grpc() {
    arrives_as_the_sdk_holds_it(Sdk::JavaScript("grpc")).await;
}

#[tokio::test]
async fn python_by_grpc() {
    arrives_as_the_sdk_holds_it(Sdk::Python("grpc")).await;
}

#[tokio::test]
async fn python_by_grpc_gzip() {
    arrives_as_the_sdk_holds_it(Sdk::Python("grpc-gzip")).await;
}

#[tokio::test]
async fn python_by_http() {
    arrives_as_the_sdk_holds_it(Sdk::Python("http")).await;
}

#[tokio::test]
async fn python_by_http_gzip() {
    arrives_as_the_sdk_holds_it(Sdk::Python("http-gzip")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rust_by_http_protobuf() {
    rust_arrives_as_the_sdk_holds_it(Protocol::HttpBinary, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rust_by_http_protobuf_gzip() {
    rust_arrives_as_the_sdk_holds_it(Protocol::HttpBinary, Some(Compression::Gzip)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rust_by_http_json() {
    rust_arrives_as_the_sdk_holds_it(Protocol::HttpJson, None).await;
}

async fn rust_arrives_as_the_sdk_holds_it(protocol: Protocol, compression: Option<Compression>) {
    let receiver = Receiver::start();
    let endpoint = receiver.endpoint();
    // The simple processors block their thread until a request is answered, so they must not run on
    // a thread of the runtime.
    let sending = tokio::task::spawn_blocking(move || send(&endpoint, protocol, compression));
    assert_arrived(&receiver, sending.await.unwrap()).await;
}

/// Sends with `opentelemetry-otlp`. Returns the contents of the SDK's in-memory exporters.
fn send(endpoint: &str, protocol: Protocol, compression: Option<Compression>) -> Value {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "shop"),
            KeyValue::new("service.instance.id", "one"),
        ])
        .build();
    let mut traces = SpanExporter::builder()
        .with_http()
        .with_http_client(reqwest::Client::new())
        .with_protocol(protocol)
        .with_endpoint(format!("{endpoint}/v1/traces"));
    let mut records = LogExporter::builder()
        .with_http()
        .with_http_client(reqwest::Client::new())
        .with_protocol(protocol)
        .with_endpoint(format!("{endpoint}/v1/logs"));
    if let Some(compression) = compression {
        traces = traces.with_compression(compression);
        records = records.with_compression(compression);
    }
    let (spans, logs) = (
        InMemorySpanExporter::default(),
        InMemoryLogExporter::default(),
    );
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_max_events_per_span(4)
        .with_simple_exporter(traces.build().unwrap())
        .with_simple_exporter(spans.clone())
        .build();
    let loggers = SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_simple_exporter(records.build().unwrap())
        .with_simple_exporter(logs.clone())
        .build();
    let trace = make_spans_and_records(&provider, &loggers);

    provider.force_flush().unwrap();
    loggers.force_flush().unwrap();
    let spans = spans.get_finished_spans().unwrap();
    let logs = logs.get_emitted_logs().unwrap();
    json!({
        "traceId": trace.to_string(),
        "resource": {"service.name": "shop", "service.instance.id": "one"},
        "spans": spans.iter().map(expected::ended).collect::<Vec<_>>(),
        "logs": logs.iter().map(expected::log).collect::<Vec<_>>(),
    })
}

fn make_spans_and_records(provider: &SdkTracerProvider, loggers: &SdkLoggerProvider) -> TraceId {
    let scope = opentelemetry::InstrumentationScope::builder("shop::checkout")
        .with_version("1.2.3")
        .build();
    let tracer = provider.tracer_with_scope(scope);
    let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
    let trace = TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    let remote = SpanContext::new(trace, SpanId::from(7), TraceFlags::SAMPLED, true, state);
    let parent = opentelemetry::Context::new().with_remote_span_context(remote);

    let mut order = tracer.build_with_context(
        SpanBuilder::from_name("order").with_kind(SpanKind::Server),
        &parent,
    );
    order.set_attributes([
        KeyValue::new("text", "na\u{ef}ve \u{1f680}\0\"\\\n"),
        KeyValue::new("empty", ""),
        KeyValue::new("yes", true),
        KeyValue::new("largest", i64::MAX),
        KeyValue::new("smallest", i64::MIN),
        KeyValue::new("double", 0.1),
        KeyValue::new("whole", 3.0),
        KeyValue::new("tiny", 5e-324),
        KeyValue::new(
            "texts",
            OtelValue::Array(Array::String(vec!["a".into(), "".into()])),
        ),
        KeyValue::new("ints", OtelValue::Array(Array::I64(vec![1, -2, 1 << 60]))),
        KeyValue::new("doubles", OtelValue::Array(Array::F64(vec![0.5, 2.0]))),
        KeyValue::new("bools", OtelValue::Array(Array::Bool(vec![true, false]))),
    ]);
    for number in 0..6_i64 {
        order.add_event("reserved", vec![KeyValue::new("stock.left", number)]);
    }
    let context = parent.with_remote_span_context(order.span_context().clone());
    emit_records(loggers, &context);
    let other = SpanContext::new(
        TraceId::from(9),
        SpanId::from(10),
        TraceFlags::default(),
        false,
        TraceState::default(),
    );
    let why = vec![KeyValue::new("why", "retry")];
    let mut card = tracer.build_with_context(
        SpanBuilder::from_name("charge card")
            .with_kind(SpanKind::Client)
            .with_links(vec![Link::new(other, why, 0)]),
        &context,
    );
    card.record_error(&std::io::Error::other("card declined"));
    card.set_status(Status::error("card declined"));
    card.end();
    let mut produce = tracer.build_with_context(SpanBuilder::from_name("produce"), &context);
    produce.set_status(Status::Ok);
    produce.update_name("produced");
    produce.end();
    order.end();
    trace
}

/// Emits log records that belong to the span of this context.
fn emit_records(loggers: &SdkLoggerProvider, context: &opentelemetry::Context) {
    let logger = loggers.logger("shop::log");
    let _in_span = context.clone().attach();
    let mut record = logger.create_log_record();
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_body("stock is low".into());
    record.add_attribute("left", 3);
    logger.emit(record);
    let mut record = logger.create_log_record();
    record.set_severity_number(Severity::Info);
    record.set_body(AnyValue::Bytes(Box::new(vec![0, 255])));
    record.set_event_name("order.state");
    logger.emit(record);
}

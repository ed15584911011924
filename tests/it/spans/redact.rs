//! A masked value never reaches the store, on any path of a span to the store.

use livespan::{
    LiveSpans, LiveSpansBuilder, Redaction, SpanEvent, TraceId,
    access::RedactAction,
    span::{SpanKind, SpanStatus},
    sse::Subscribe,
};
use opentelemetry::{
    KeyValue,
    trace::{
        Link, Span as _, SpanContext, Status, TraceFlags, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use serde_json::{Value, json};

use crate::{
    spans::live_provider::{payloads as events_of, read},
    support::PATIENCE,
};

/// Returns the payloads of all stored events.
fn payloads(live: &LiveSpans) -> Vec<Value> {
    events_of(&read(&mut live.target().subscribe(Subscribe::all())))
}

fn resource() -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "shop"),
            KeyValue::new("deploy.api_key", "hush-resource"),
        ])
        .build()
}

/// Makes a span with a secret in every possible place.
fn work(provider: &SdkTracerProvider) {
    let tracer = provider.tracer("shop");
    let other = SpanContext::new(
        7.into(),
        7.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let secret = |place: &str| KeyValue::new("user.password", format!("hush-{place}"));
    let mut span = tracer
        .span_builder("login")
        .with_attributes([
            secret("start"),
            KeyValue::new(
                "url.full",
                "https://eve:hush-user@shop.example/?token=hush-query",
            ),
            KeyValue::new("user.id", "eve"),
        ])
        .with_links(vec![Link::new(other, vec![secret("link")], 0)])
        .start(&tracer);
    span.set_attribute(KeyValue::new(
        "http.request.header.cookie",
        opentelemetry::Value::Array(opentelemetry::Array::String(vec!["hush-array".into()])),
    ));
    span.add_event("tried", vec![secret("event"), KeyValue::new("attempt", 1)]);
    span.set_status(Status::error("hush-status"));
    span.end();
}

fn careful() -> LiveSpansBuilder {
    LiveSpans::builder().redact(Redaction::default().deny(["status.message"]))
}

fn expect_masked(live: &LiveSpans, counts: usize) {
    live.target().flush(PATIENCE).unwrap();
    let all = payloads(live);
    let text: String = all.iter().map(Value::to_string).collect();
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(text.matches("[redacted]").count(), counts, "{text}");
    let ended = all.iter().find(|event| event["type"] == "ended").unwrap();
    assert_eq!(
        (&ended["attributes"], &ended["status"]),
        (
            &json!({
                "user.password": "[redacted]",
                "url.full": "https://REDACTED:REDACTED@shop.example/?token=REDACTED",
                "user.id": "eve",
                "http.request.header.cookie": "[redacted]",
            }),
            &json!({"code": "ERROR", "message": "[redacted]"})
        )
    );
    assert_eq!(
        ended["events"][0]["attributes"],
        json!({"user.password": "[redacted]", "attempt": 1})
    );
}

#[test]
fn secrets_are_masked_in_every_place_of_a_span() {
    let live = careful().build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(live.span_processor())
        .build();
    work(&provider);
    // One secret in the resource; an attribute and a link at the start; two attributes, an event, a link and the message at
    // the end.
    expect_masked(&live, 1 + 2 + 5);
}

#[test]
fn secrets_are_masked_with_a_sampler_that_sees_them_first() {
    let live = careful().build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(live.sampler(Sampler::AlwaysOn))
        .with_span_processor(live.span_processor())
        .build();
    work(&provider);
    expect_masked(&live, 1 + 2 + 5);
}

#[test]
fn events_that_a_program_dispatches_itself_are_masked_too() {
    let live = careful().build().unwrap();
    let trace = TraceId::from_bytes([1; 16]).unwrap();
    let span = "00f067aa0ba902b7".parse().unwrap();
    let failed = SpanStatus::Error("hush".to_owned());
    for event in [
        SpanEvent::started(trace, span, "job")
            .kind(SpanKind::Server)
            .attribute("token", "hush"),
        SpanEvent::updated(trace, span, None).attribute("token", "hush"),
        SpanEvent::log(trace, span, "INFO", "hello").attribute("token", "hush"),
        SpanEvent::ended(trace, span, "job", failed).attribute("token", 5_i64),
    ] {
        live.target().try_dispatch(&event).unwrap();
    }
    live.target().flush(PATIENCE).unwrap();
    let all = payloads(&live);
    let text: String = all.iter().map(Value::to_string).collect();
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(
        text.matches("\"token\":\"[redacted]\"").count(),
        4,
        "{text}"
    );
    assert_eq!(all[2]["body"], "hello");
}

#[test]
fn a_log_without_redaction_keeps_everything() {
    let live = LiveSpans::builder()
        .redact(Redaction::none())
        .build()
        .unwrap();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    work(&provider);
    live.target().flush(PATIENCE).unwrap();
    let text: String = payloads(&live).iter().map(Value::to_string).collect();
    for place in ["start", "user", "query", "link", "array", "event", "status"] {
        assert!(text.contains(&format!("hush-{place}")), "{place}: {text}");
    }
}

#[test]
fn the_apps_function_sees_span_key_and_value() {
    let redaction =
        Redaction::default().with(|span, key, value| match (span, key, value.as_str()) {
            ("login", "user.id", Some(name)) => RedactAction::With(format!("{}…", &name[..1])),
            ("login", "status.message", _) => RedactAction::Mask,
            _ => RedactAction::Keep,
        });
    let live = LiveSpans::builder().redact(redaction).build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    work(&provider);
    live.target().flush(PATIENCE).unwrap();
    let ended = payloads(&live)
        .into_iter()
        .find(|event| event["type"] == "ended")
        .unwrap();
    assert_eq!(ended["attributes"]["user.id"], "e…");
    assert_eq!(ended["status"]["message"], "[redacted]");
}

#[cfg(feature = "sqlite")]
fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    let windows = bytes.windows(wanted.len());
    windows.filter(|window| *window == wanted).count()
}

#[cfg(feature = "sqlite")]
#[test]
fn no_secret_is_in_the_file() {
    let place = std::env::temp_dir().join(format!("livespan-redact-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let file = place.join("spans.db");
    let live = careful()
        .store(livespan::SqliteEventStore::new(&file))
        .build()
        .unwrap();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(live.span_processor())
        .build();
    work(&provider);
    live.target().flush(PATIENCE).unwrap();
    live.shutdown().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(&place).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert_eq!(count(&bytes, b"hush"), 0);
        seen += count(&bytes, b"[redacted]");
    }
    assert!(seen > 0, "no masked event is stored");
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn more_attributes_than_the_limit_are_cut_visibly() {
    let live = LiveSpans::builder().build().unwrap();
    let trace = TraceId::from_bytes([1; 16]).unwrap();
    let span = "00f067aa0ba902b7".parse().unwrap();
    let attributes = 0..=SpanEvent::ATTRIBUTES_MAX;
    let event = attributes.fold(SpanEvent::started(trace, span, "wide"), |event, number| {
        event.attribute(format!("k{number}"), 1_i64)
    });
    live.target().try_dispatch(&event).unwrap();
    live.target().flush(PATIENCE).unwrap();
    let shown = payloads(&live).remove(0);
    assert_eq!(
        shown["attributes"].as_object().unwrap().len(),
        SpanEvent::ATTRIBUTES_MAX
    );
    assert_eq!(shown["cut"], json!(["attributes.*"]));
}

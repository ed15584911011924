//! Checks that the event of a hostile span keeps within its bounds and names the parts that were
//! cut.

use opentelemetry::Array;
use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::StringValue;
use opentelemetry::Value as OtelValue;
use opentelemetry::trace::Event;
use opentelemetry::trace::Status as OtelStatus;
use proptest::proptest;
use proptest::test_runner::Config;
use serde_json::Value as Json;
use serde_json::json;
use std::time::UNIX_EPOCH;

use crate::encoder::tests::config;
use crate::encoder::tests::model::is_within_bounds;
use crate::encoder::tests::model::model;
use crate::encoder::tests::payloads::payloads;
use crate::encoder::tests::strategies::hostile_span;
use crate::encoder::tests::strategies::plain_span;
use crate::span::event::SpanEvent;
use crate::span::json::VALUE_BYTES_MAX;

proptest! {
    #![proptest_config(Config { cases: config().cases / 16, ..config() })]

    #[test]
    fn no_span_is_too_large_for_its_bounds(span in hostile_span()) {
        for payload in payloads(&span) {
            assert!(payload.len() <= SpanEvent::EVENT_BYTES_MAX, "{} bytes", payload.len());
            let read: Json = serde_json::from_slice(&payload).unwrap();
            assert!(is_within_bounds(&read));
            let [started, ended] = [false, true].map(|ended| model(&span, ended));
            let mut uncut = if read["type"] == "started" { started } else { ended };
            let mut read = read;
            let cut = read.as_object_mut().unwrap().remove("cut");
            uncut.as_object_mut().unwrap().remove("cut");
            assert_eq!(cut.is_none(), read == uncut, "`cut` does not agree with the missing parts: {cut:?}");
        }
    }
}

#[test]
fn a_text_is_cut_at_its_bound_between_characters() {
    let mut span = plain_span();
    // One byte, then characters of two bytes: the bound falls within a character.
    let long = format!("a{}", "é".repeat(VALUE_BYTES_MAX));
    let kept = format!("a{}", "é".repeat(VALUE_BYTES_MAX / 2 - 1));
    span.name = long.clone().into();
    span.attributes = vec![
        KeyValue::new("exact", "x".repeat(VALUE_BYTES_MAX)),
        KeyValue::new("long", long.clone()),
    ];
    span.events.events = vec![Event::new(
        long.clone(),
        UNIX_EPOCH,
        vec![KeyValue::new("inner", long.clone())],
        0,
    )];
    span.status = OtelStatus::Error {
        description: long.into(),
    };
    let [started, ended] =
        payloads(&span).map(|payload| serde_json::from_slice::<Json>(&payload).unwrap());
    assert_eq!(kept.len(), VALUE_BYTES_MAX - 1);
    for event in [&started, &ended] {
        assert_eq!(event["name"], json!(kept));
        assert_eq!(
            event["attributes"],
            json!({"exact": "x".repeat(VALUE_BYTES_MAX), "long": kept})
        );
    }
    assert_eq!(started["cut"], json!(["name", "attributes.long"]));
    assert_eq!(ended["status"]["message"], json!(kept));
    assert_eq!(ended["events"][0]["name"], json!(kept));
    assert_eq!(ended["events"][0]["attributes"]["inner"], json!(kept));
    let cut = [
        "name",
        "status.message",
        "attributes.long",
        "events[0].name",
        "events[0].attributes.inner",
    ];
    assert_eq!(ended["cut"], json!(cut));
}

#[test]
fn a_long_array_is_cut_and_named() {
    for value in [
        OtelValue::Array(Array::I64(vec![0; 5000])),
        OtelValue::Array(Array::F64(vec![0.5; 5000])),
        OtelValue::Array(Array::Bool(vec![true; 20_000])),
        OtelValue::Array(Array::String(vec![StringValue::from(""); 20_000])),
    ] {
        let mut span = plain_span();
        span.attributes = vec![KeyValue::new("all", value), KeyValue::new("next", true)];
        for payload in payloads(&span) {
            let event: Json = serde_json::from_slice(&payload).unwrap();
            assert_eq!(event["cut"], json!(["attributes.all"]));
            assert_eq!(event["attributes"]["next"], json!(true));
        }
    }
}

#[test]
fn a_huge_span_is_cut_and_marked() {
    let mut span = plain_span();
    span.name = "n".repeat(1 << 20).into();
    span.attributes = (0..1000)
        .map(|number| KeyValue::new(format!("key{number}"), "v".repeat(1000)))
        .collect();
    span.events.events = (0..1000)
        .map(|_| Event::new("e".repeat(1 << 20), UNIX_EPOCH, Vec::new(), 0))
        .collect();
    for payload in payloads(&span) {
        assert!(
            payload.len() <= SpanEvent::EVENT_BYTES_MAX,
            "{} bytes",
            payload.len()
        );
        let event: Json = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["cut"][0], json!("name"));
        assert_eq!(
            event["cut"].as_array().unwrap().last(),
            Some(&json!("...")),
            "the list of cut parts does not end with an ellipsis"
        );
        assert_eq!(
            event["attributes"]["key0"],
            json!("v".repeat(1000)),
            "the first attribute was cut"
        );
    }
}

#[test]
fn texts_that_grow_when_escaped_are_within_the_bound_too() {
    let grows = |bytes: usize| "\u{1}".repeat(bytes);
    let mut span = plain_span();
    span.name = grows(1 << 20).into();
    span.instrumentation_scope = InstrumentationScope::builder(grows(1 << 20))
        .with_version(grows(1 << 20))
        .build();
    span.status = OtelStatus::Error {
        description: grows(1 << 20).into(),
    };
    for payload in payloads(&span) {
        assert!(
            payload.len() <= SpanEvent::EVENT_BYTES_MAX,
            "{} bytes",
            payload.len()
        );
        let event: Json = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["name"], json!(grows(2 * VALUE_BYTES_MAX / 6)));
    }
    // Attributes whose keys also occur in the list of types.
    let mut span = plain_span();
    let pair = |key: String| KeyValue::new(key, f64::NAN);
    span.attributes = [9_000, 7_000, 16_000, 15_000]
        .map(|bytes| pair(grows(bytes)))
        .into();
    span.attributes
        .insert(0, KeyValue::new("first", grows(VALUE_BYTES_MAX)));
    for payload in payloads(&span) {
        assert!(
            payload.len() <= SpanEvent::EVENT_BYTES_MAX,
            "{} bytes",
            payload.len()
        );
        let event: Json = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            event["attributes"].as_object().unwrap().len(),
            2,
            "the wrong number of attributes was kept"
        );
        assert_eq!(event["cut"].as_array().unwrap().len(), 3);
    }
}

//! Bodies that are cut, damaged, nested too deep or far larger than they look. Each must decode
//! within the bounds or fail with a clear message.

use std::io::Write as _;

use super::*;
use crate::otlp::fixtures::{Damage, request_of_logs, request_of_spans};
use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value},
    logs::v1::LogRecord,
    trace::v1::{
        Span, Status,
        span::{Event, Link},
    },
};

const LIMITS: DecodeLimits = DecodeLimits {
    items_max: 16,
    memory_bytes_max: 32 * 1024,
};

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attributes() -> Vec<KeyValue> {
    let list = vec![value(Value::IntValue(-1)), value(Value::DoubleValue(0.5))];
    let map = vec![KeyValue {
        key: "inner".to_owned(),
        value: Some(value(Value::BytesValue(vec![0, 255]))),
        ..KeyValue::default()
    }];
    let values = [
        Value::StringValue("text".to_owned()),
        Value::BoolValue(true),
        Value::ArrayValue(ArrayValue { values: list }),
        Value::KvlistValue(KeyValueList { values: map }),
    ];
    let pair = |one| KeyValue {
        key: "key".to_owned(),
        value: Some(value(one)),
        ..KeyValue::default()
    };
    values.into_iter().map(pair).collect()
}

fn span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "checkout".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_795_347_540_000_000_000,
        end_time_unix_nano: 1_795_347_541_000_000_000,
        attributes: attributes(),
        events: vec![Event {
            name: "event".to_owned(),
            attributes: attributes(),
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: vec![1; 16],
            ..Link::default()
        }],
        status: Some(Status {
            message: "no".to_owned(),
            code: 2,
        }),
        ..Span::default()
    }
}

fn logs() -> Vec<u8> {
    let log_records = vec![LogRecord {
        body: Some(value(Value::StringValue("hello".to_owned()))),
        attributes: attributes(),
        ..LogRecord::default()
    }];
    request_of_logs(log_records)
}

fn json() -> Vec<u8> {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/otlp.json")).unwrap();
    let cases = cases.as_array().unwrap().iter();
    let text = cases
        .filter(|case| case.get("refused").is_none())
        .map(|case| case["text"].as_str().unwrap())
        .filter(|text| text.lines().count() == 1 && text.starts_with("{\"resourceSpans\""))
        .max_by_key(|text| text.len());
    text.unwrap().as_bytes().to_vec()
}

fn bodies() -> [(Vec<u8>, Signal, Format); 4] {
    [
        (
            request_of_spans(vec![span(), span()]),
            Signal::Traces,
            Format::Protobuf,
        ),
        (logs(), Signal::Logs, Format::Protobuf),
        (json(), Signal::Traces, Format::Json),
        (json(), Signal::Logs, Format::Json),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn decode_spans(
    body: Vec<u8>,
    format: Format,
) -> Result<(Decoded<TraceRequest<()>>, usize), DecodeError> {
    decode(body, (Signal::Traces, format), LIMITS, |_span| ())
}

/// Asserts that any body decodes to a request within the bounds, or fails with a message.
fn decode_anything(body: &[u8], signal: Signal, format: Format) {
    match decode(body.to_vec(), (signal, format), LIMITS, |_span| ()) {
        Ok((_, memory)) => assert!(memory <= LIMITS.memory_bytes_max, "{memory}"),
        Err(DecodeError::Malformed(message) | DecodeError::TooLarge(message)) => {
            assert_ne!(message, "");
        }
    }
}

#[test]
fn a_body_that_is_cut_anywhere_gets_a_clear_answer() {
    for (body, signal, format) in bodies() {
        assert!(
            decode(body.clone(), (signal, format), LIMITS, |_span| ()).is_ok(),
            "{signal:?} {format:?}"
        );
        for cut in 0..body.len() {
            decode_anything(&body[..cut], signal, format);
        }
        let packed = gzip(&body);
        assert_eq!(gunzip(&packed, body.len()).unwrap(), body);
        for cut in 0..packed.len() {
            let message = match gunzip(&packed[..cut], body.len()) {
                Err(DecodeError::Malformed(message)) => message,
                other => panic!("{cut}: {other:?}"),
            };
            assert!(message.starts_with("the body is not gzip: "), "{message}");
        }
    }
}

#[test]
fn a_body_that_is_damaged_anywhere_gets_a_clear_answer() {
    let mut damage = Damage::new();
    for (body, signal, format) in bodies() {
        for _ in 0..2_000 {
            decode_anything(&damage.apply_to(&body), signal, format);
        }
        let packed = gzip(&body);
        for _ in 0..500 {
            if let Ok(plain) = gunzip(&damage.apply_to(&packed), 2 * body.len()) {
                assert!(plain.len() <= 2 * body.len());
                decode_anything(&plain, signal, format);
            }
        }
    }
}

#[test]
fn a_body_that_is_nested_too_deep_is_refused() {
    let mut deep = value(Value::BoolValue(true));
    for _ in 0..200 {
        deep = value(Value::ArrayValue(ArrayValue { values: vec![deep] }));
    }
    let pair = KeyValue {
        key: "deep".to_owned(),
        value: Some(deep),
        ..KeyValue::default()
    };
    let body = request_of_spans(vec![Span {
        attributes: vec![pair],
        ..span()
    }]);
    let message = match decode_spans(body, Format::Protobuf) {
        Err(DecodeError::Malformed(message)) => message,
        other => panic!("{other:?}"),
    };
    let start = "the body is not the protobuf of this request: failed to decode Protobuf message: ";
    assert!(message.starts_with(start), "{message}");
    assert!(message.ends_with("recursion limit reached"), "{message}");
    let head = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":"#;
    let body = format!("{head}{}", r#"{"arrayValue":{"values":["#.repeat(10_000));
    let message = match decode_spans(body.into_bytes(), Format::Json) {
        Err(DecodeError::Malformed(message)) => message,
        other => panic!("{other:?}"),
    };
    let why = message.rsplit(" is not JSON: ").next().unwrap();
    let why = why.split(" at line ").next();
    assert_eq!(why, Some("recursion limit exceeded"), "{message}");
}

#[test]
fn a_compression_bomb_is_refused_before_it_is_unpacked_or_allocated() {
    let packed = gzip(&vec![0; 64 * 1024 * 1024]);
    assert!(packed.len() < 512 * 1024, "{}", packed.len());
    let message = "the body has more than 1000 bytes after decompression".to_owned();
    assert_eq!(gunzip(&packed, 1_000), Err(DecodeError::TooLarge(message)));
    // Two bytes decode to a value of many times that size.
    let empty = vec![KeyValue::default(); 5_000];
    let body = request_of_spans(vec![Span {
        attributes: empty,
        ..span()
    }]);
    let body_json = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"attributes\":[{}{{}}]}}]}}]}}]}}",
        "{},".repeat(5_000)
    );
    let message = format!(
        "the request needs more than {} bytes of memory",
        LIMITS.memory_bytes_max
    );
    for (body, format) in [
        (body, Format::Protobuf),
        (body_json.into_bytes(), Format::Json),
    ] {
        let refused = decode_spans(body, format).map(|_| ());
        assert_eq!(refused, Err(DecodeError::TooLarge(message.clone())));
    }
    let body = request_of_spans(vec![Span::default(); 17]);
    let refused = decode_spans(body, Format::Protobuf).map(|_| ());
    let message = "the request has more than 16 spans or log records".to_owned();
    assert_eq!(refused, Err(DecodeError::TooLarge(message)));
}

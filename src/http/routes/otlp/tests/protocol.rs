//! Tests of the protocol: the statuses, types and messages of responses, and the types of values.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Otlp},
    logs::v1::LogRecord,
    trace::v1::{Span, Status, TracesData, span::Link},
};
use prost::Message as _;

use super::*;
use crate::otlp::fixtures::{request_of_logs, request_of_spans};

fn span(name: &str) -> Span {
    Span {
        trace_id: vec![0x0a; 16],
        span_id: vec![0x01; 8],
        name: name.to_owned(),
        start_time_unix_nano: START,
        end_time_unix_nano: START + SECOND,
        ..Span::default()
    }
}

#[cfg(feature = "otlp-grpc")]
pub(super) fn request_of_names(names: &[&str]) -> Vec<u8> {
    request_of_spans(names.iter().map(|name| span(name)).collect())
}

#[tokio::test]
async fn success_is_an_empty_message_of_the_type_of_the_request() {
    let live = receiving();
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        let answer = post_protobuf(&live, path, Vec::new()).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (StatusCode::OK, &b""[..])
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/x-protobuf")
        );
        let answer = post_json(&live, path, &json!({})).await;
        assert_eq!(answer.json(), (200, json!({})));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(
        post_protobuf(&live, "/v1/traces", request_of_spans(vec![span("a")]))
            .await
            .body,
        b""
    );
    assert_eq!(
        outline(&live),
        ["started 0101010101010101 a", "ended 0101010101010101 a"]
    );
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one span with a value of every type, and the events expected of it"
)]
async fn every_type_of_value_arrives_whole_over_protobuf() {
    let live = receiving();
    let value = |value| Some(AnyValue { value: Some(value) });
    let pair = |key: &str, of: Otlp| KeyValue {
        key: key.to_owned(),
        value: value(of),
        ..KeyValue::default()
    };
    let list = ArrayValue {
        values: vec![value(Otlp::IntValue(1)).unwrap(), AnyValue::default()],
    };
    let map = KeyValueList {
        values: vec![
            pair("z", Otlp::BoolValue(true)),
            pair("a", Otlp::IntValue(i64::MIN)),
        ],
    };
    let whole = Span {
        trace_state: "k=v".to_owned(),
        parent_span_id: vec![0x02; 8],
        flags: 0x301,
        kind: 2,
        attributes: vec![
            pair("text", Otlp::StringValue("t".to_owned())),
            pair("large", Otlp::IntValue(i64::MAX)),
            pair("double", Otlp::DoubleValue(2.0)),
            pair("nan", Otlp::DoubleValue(f64::NAN)),
            pair("bytes", Otlp::BytesValue(vec![0, 255])),
            pair("list", Otlp::ArrayValue(list)),
            pair("map", Otlp::KvlistValue(map)),
            KeyValue {
                key: "unset".to_owned(),
                ..KeyValue::default()
            },
        ],
        dropped_attributes_count: 3,
        dropped_events_count: 4,
        dropped_links_count: 5,
        events: vec![opentelemetry_proto::tonic::trace::v1::span::Event {
            time_unix_nano: START + 1,
            name: "e".to_owned(),
            ..Default::default()
        }],
        links: vec![Link {
            trace_id: vec![7; 16],
            span_id: vec![8; 8],
            ..Link::default()
        }],
        status: Some(Status {
            code: 2,
            message: "no".to_owned(),
        }),
        ..span("whole")
    };
    let answer = post_protobuf(&live, "/v1/traces", request_of_spans(vec![whole])).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (StatusCode::OK, &b""[..])
    );
    let ended = events(&live).pop().unwrap();
    assert_eq!(
        ended,
        json!({
            "type": "ended", "spanId": "0101010101010101", "parentSpanId": "0202020202020202",
            "name": "whole", "parentRemote": true, "traceState": "k=v",
            "status": {"code": "ERROR", "message": "no"},
            "attributes": {
                "text": "t", "large": "9223372036854775807", "double": 2.0, "nan": "NaN",
                "bytes": "00ff", "list": [1, null],
                "map": {"a": "-9223372036854775808", "z": true}, "unset": null,
            },
            "attributeTypes": {"large": "int", "nan": "double", "bytes": "bytes"},
            "startTimestamp": "2026-11-22T11:39:00.000000000Z",
            "timestamp": "2026-11-22T11:39:01.000000000Z",
            "events": [{"name": "e", "timestamp": "2026-11-22T11:39:00.000000001Z", "attributes": {}}],
            "links": [{
                "traceId": "07070707070707070707070707070707",
                "spanId": "0808080808080808",
                "attributes": {},
            }],
            "dropped": {"attributes": 3, "events": 4, "links": 5},
        })
    );
}

#[tokio::test]
async fn invalid_spans_are_counted_and_the_rest_is_kept() {
    let live = receiving();
    let zero_trace = Span {
        trace_id: vec![0; 16],
        ..span("b")
    };
    let short_id = Span {
        span_id: vec![1; 7],
        ..span("c")
    };
    let answer = post_protobuf(
        &live,
        "/v1/traces",
        request_of_spans(vec![zero_trace, span("a"), short_id]),
    )
    .await;
    assert_eq!(
        ExportTraceServiceResponse::decode(answer.body.as_slice()).unwrap(),
        ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 2,
                error_message: "a trace id is all zeros".to_owned(),
            }),
        }
    );
    let spans = json!([{"traceId": TRACE, "spanId": "zz", "name": "d", "startTimeUnixNano": 1, "endTimeUnixNano": 2}]);
    let answer = post_json(&live, "/v1/traces", &request_of("nodejs", &spans)).await;
    assert_eq!(
        answer.json(),
        (
            200,
            json!({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "a span id is not 8 bytes long"}})
        )
    );
    assert_eq!(
        outline(&live),
        ["started 0101010101010101 a", "ended 0101010101010101 a"]
    );
    let report = status(&live);
    let rejected = report["senders"].as_array().unwrap();
    let rejected: Vec<_> = rejected
        .iter()
        .map(|one| (&one["rejected"], &one["lastRejection"]))
        .collect();
    assert_eq!(
        rejected,
        [
            (&json!(2), &json!("a span id is not 8 bytes long")),
            (&json!(1), &json!("a span id is not 8 bytes long")),
        ]
    );
}

/// A log; the path, headers and body of a request; and the expected status and message of the
/// response.
type RefusedRequest<'a> = (
    &'a LiveSpans,
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a [u8],
    u16,
    &'a str,
);

#[tokio::test]
async fn a_bad_request_is_refused_with_its_reason() {
    let live = receiving();
    let json_type = ("content-type", "application/json");
    let small = LiveSpans::builder()
        .otlp(OtlpReceiver::default().body_bytes(100).items(1))
        .build()
        .unwrap();
    let two = request_of("go", &json!([{}, {}])).to_string();
    let off = LiveSpans::builder().build().unwrap();
    let bomb = gzip(&[b' '; 101]);
    let cases: [RefusedRequest<'_>; 13] = [
        (&live, "/v1/traces", &[json_type], b"{", 400,
            "the body is not JSON: EOF while parsing an object at line 1 column 1"),
        (&live, "/v1/traces", &[json_type], b"[]", 400, "the body is not an object"),
        (&live, "/v1/traces", &[json_type], b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":7}]}]}]}", 400,
            "resourceSpans[0].scopeSpans[0].spans[0].name is not text"),
        (&live, "/v1/traces", &[json_type], b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"startTimeUnixNano\":\"-1\"}]}]}]}", 400,
            "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano is not a time: \"-1\""),
        (&live, "/v1/traces", &[json_type, ("content-encoding", "gzip")], b"this is not gzip", 400,
            "the body is not gzip: invalid gzip header"),
        (&live, "/v1/traces", &[json_type, ("content-encoding", "zstd")], b"{}", 415,
            "the content encoding must be gzip, or none: set OTEL_EXPORTER_OTLP_COMPRESSION=gzip"),
        (&live, "/v1/traces", &[("content-type", "text/plain")], b"{}", 415,
            "the content type must be application/x-protobuf or application/json"),
        (&live, "/", &[json_type], b"{}", 404,
            "OTLP is taken at /v1/traces, /v1/logs and /v1/metrics: append one to the URL of the exporter"),
        (&live, "/v1/profiles", &[json_type], b"{}", 404,
            "OTLP is taken at /v1/traces, /v1/logs and /v1/metrics only"),
        (&small, "/v1/traces", &[json_type], &[b' '; 101], 413,
            "the body has more than 100 bytes: send fewer spans in a batch"),
        (&small, "/v1/traces", &[json_type, ("content-encoding", "gzip")], &bomb, 413,
            "the body has more than 100 bytes after decompression"),
        (&small, "/v1/traces", &[json_type], b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{},{}]}]}]}", 413,
            "the request has more than 1 spans or log records"),
        (&off, "/v1/traces", &[json_type], two.as_bytes(), 404,
            "OTLP is not turned on here: set .otlp(OtlpReceiver::default()) on LiveSpans::builder()"),
    ];
    for (live, path, headers, body, status, message) in cases {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (is, json) = send(live, request, body.to_vec()).await.json();
        assert_eq!(
            (is, json["message"].as_str()),
            (status, Some(message)),
            "{path}"
        );
    }
    assert_eq!(outline(&live), [""; 0]);
    assert_eq!(
        status(&live)["lastRefusal"],
        json!({"reason": "OTLP is taken at /v1/traces, /v1/logs and /v1/metrics only", "sender": "unknown"})
    );
}

/// The method, path, content type and content encoding of a request with the body `{}`. Then the
/// status, content type and one further header of its response, and the code of its message.
type AnsweredRequest = (
    [&'static str; 4],
    u16,
    &'static str,
    Option<(&'static str, &'static str)>,
    Option<u8>,
);

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
const POST_ONLY: Option<(&str, &str)> = Some(("allow", "POST"));
const GZIP_ONLY: Option<(&str, &str)> = Some(("accept-encoding", "gzip"));
const TYPES: Option<(&str, &str)> = Some(("accept", "application/x-protobuf, application/json"));

#[rustfmt::skip]
const ANSWERED: &[AnsweredRequest] = &[
    (["POST", "/v1/traces", JSON, ""], 200, JSON, None, None),
    (["POST", "/v1/logs", "application/json; charset=utf-8", ""], 200, JSON, None, None),
    (["POST", "/v1/metrics", "Application/JSON", "identity"], 200, JSON, None, None),
    // `{}` is not protobuf.
    (["POST", "/v1/traces", PROTOBUF, ""], 400, PROTOBUF, None, Some(3)),
    (["POST", "/v1/logs", JSON, "gzip"], 400, JSON, None, Some(3)),
    (["POST", "/v1/traces", PROTOBUF, "br"], 415, PROTOBUF, GZIP_ONLY, Some(3)),
    (["POST", "/v1/logs", JSON, "gzip, gzip"], 415, JSON, GZIP_ONLY, Some(3)),
    (["POST", "/v1/traces", "text/plain", ""], 415, JSON, TYPES, Some(3)),
    (["GET", "/v1/traces", "", ""], 405, JSON, POST_ONLY, Some(12)),
    (["HEAD", "/v1/traces", "", ""], 405, JSON, POST_ONLY, Some(12)),
    (["PUT", "/v1/logs", PROTOBUF, ""], 405, PROTOBUF, POST_ONLY, Some(12)),
    (["OPTIONS", "/v1/metrics", "", ""], 405, JSON, POST_ONLY, Some(12)),
    (["POST", "/v1/profiles", PROTOBUF, ""], 404, PROTOBUF, None, Some(5)),
    (["POST", "/v1development/profiles", PROTOBUF, ""], 404, PROTOBUF, None, Some(5)),
    (["POST", "/", JSON, ""], 404, JSON, None, Some(5)),
];

#[tokio::test]
async fn each_answer_has_the_status_the_type_and_the_headers_of_the_specification() {
    let live = receiving();
    for (request, status, content_type, header, code) in ANSWERED {
        let [method, path, sent_type, encoding] = *request;
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in [("content-type", sent_type), ("content-encoding", encoding)] {
            if !value.is_empty() {
                builder = builder.header(name, value);
            }
        }
        let answer = send(&live, builder, b"{}".to_vec()).await;
        let sent_code = match *content_type {
            "application/json" => answer.json().1["code"]
                .as_u64()
                .and_then(|code| code.try_into().ok()),
            // Field 1 of a `google.rpc.Status`.
            _ => answer.body.first_chunk().map(|[_key, code]| *code),
        };
        let has_header = header.map(|(name, value)| answer.header(name) == Some(value));
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("content-type"),
                has_header,
                sent_code
            ),
            (*status, Some(*content_type), header.map(|_| true), *code),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn an_error_over_protobuf_is_a_google_rpc_status() {
    let live = receiving();
    let answer = post_protobuf(&live, "/v1/traces", vec![0xff; 3]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.header("content-type"),
        Some("application/x-protobuf")
    );
    // Field 1: the code of an invalid argument. Field 2: the message.
    assert_eq!(answer.body.get(..3), Some(&[0x08, 3, 0x12][..]));
    let message = "the body is not the protobuf of this request: failed to decode Protobuf message: invalid varint";
    assert_eq!(
        std::str::from_utf8(answer.body.get(4..).unwrap()),
        Ok(message)
    );
}

#[tokio::test]
async fn a_doubled_path_is_accepted_with_a_warning() {
    let live = receiving();
    let spans = json!([{"traceId": TRACE, "spanId": SPAN, "name": "a", "startTimeUnixNano": START, "endTimeUnixNano": START}]);
    let request = request_of("nodejs", &spans);
    let (status, answer) = post_json(&live, "/v1/traces/v1/traces", &request)
        .await
        .json();
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"partialSuccess": {
                "rejectedSpans": "0",
                "errorMessage": "the path is doubled: set OTEL_EXPORTER_OTLP_ENDPOINT without /v1/traces, because the SDK appends it",
            }})
        )
    );
    assert_eq!(outline(&live).len(), 2);
}

#[tokio::test]
async fn writers_need_the_token_and_pages_an_allowed_origin() {
    let live = LiveSpans::builder()
        .otlp(
            OtlpReceiver::default()
                .token("hush")
                .allowed_origins(["http://localhost:*"]),
        )
        .build()
        .unwrap();
    let post = |name: &str, value: &str| {
        Request::post("/v1/traces")
            .header("content-type", "application/json")
            .header(name, value)
    };
    for (name, value, status) in [
        ("x-otlp-api-key", "hush", 200),
        ("authorization", "Bearer hush", 200),
        ("x-otlp-api-key", "other", 401),
        ("authorization", "Bearer other", 401),
        ("x-other", "hush", 401),
    ] {
        let answer = send(&live, post(name, value), b"{}".to_vec()).await;
        assert_eq!(answer.status, status, "{name} {value}");
    }
    for (origin, status, allowed) in [
        ("http://localhost:3000", 200, Some("http://localhost:3000")),
        ("https://evil.example", 403, None),
    ] {
        let request = post("origin", origin).header("x-otlp-api-key", "hush");
        let answer = send(&live, request, b"{}".to_vec()).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("access-control-allow-origin")
            ),
            (status, allowed)
        );
        let preflight = Request::options("/v1/traces")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "content-type,x-otlp-api-key",
            );
        let answer = send(&live, preflight, Vec::new()).await;
        let status = if allowed.is_some() { 204 } else { 403 };
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("access-control-allow-origin")
            ),
            (status, allowed)
        );
        let names = allowed.map(|_| "content-type,x-otlp-api-key");
        assert_eq!(answer.header("access-control-allow-headers"), names);
    }
    let public = LiveSpans::builder()
        .auth(crate::Auth::public())
        .otlp(OtlpReceiver::default())
        .build();
    assert!(public.unwrap_err().is_invalid());
}

#[tokio::test]
async fn log_records_become_log_events() {
    let live = receiving();
    let text = |text: &str| {
        Some(AnyValue {
            value: Some(Otlp::StringValue(text.to_owned())),
        })
    };
    let record = LogRecord {
        time_unix_nano: START,
        observed_time_unix_nano: START + 1,
        severity_number: 17,
        severity_text: "ERR".to_owned(),
        body: text("it broke"),
        trace_id: vec![0x0a; 16],
        span_id: vec![0x01; 8],
        event_name: "broken".to_owned(),
        ..LogRecord::default()
    };
    let outside = LogRecord {
        observed_time_unix_nano: START,
        severity_number: 9,
        body: text("hello"),
        span_id: vec![0x01; 8],
        ..LogRecord::default()
    };
    let body = request_of_logs(vec![record, outside]);
    let request = Request::post("/v1/logs")
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "gzip");
    let answer = send(&live, request, gzip(&body)).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (StatusCode::OK, &b""[..])
    );
    assert_eq!(
        events(&live),
        [
            json!({
                "type": "log", "spanId": "0101010101010101", "severityNumber": 17, "severityText": "ERR",
                "body": "it broke", "attributes": {}, "eventName": "broken",
                "observedTimestamp": "2026-11-22T11:39:00.000000001Z",
                "timestamp": "2026-11-22T11:39:00.000000000Z",
            }),
            json!({
                "type": "log", "spanId": null, "severityNumber": 9, "severityText": "INFO", "body": "hello",
                "attributes": {}, "observedTimestamp": "2026-11-22T11:39:00.000000000Z",
                "timestamp": "2026-11-22T11:39:00.000000000Z",
            }),
        ]
    );
}

#[test]
fn no_bytes_make_the_decoders_panic() {
    use crate::otlp::decode::{DecodeLimits, Decoded, Format, Signal, decode, decode_json};
    let limits = DecodeLimits {
        items_max: 100,
        memory_bytes_max: 1024 * 1024,
    };
    let spans = json!([{"traceId": TRACE, "spanId": SPAN, "name": "\u{e9}\"", "startTimeUnixNano": START,
        "attributes": [{"key": "k", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"bytesValue": "AAEC"}}]}}}],
        "events": [{"name": "e"}], "links": [{"traceId": TRACE}], "status": {"code": 2}}]);
    let json = request_of("nodejs", &spans).to_string().into_bytes();
    let data = TracesData {
        resource_spans: match decode_json(&json, Signal::Traces, limits).unwrap() {
            Decoded::Traces(spans) => spans,
            other => panic!("{other:?}"),
        },
    };
    let protobuf = data.encode_to_vec();
    let decode =
        |body: &[u8], signal, format| decode(body.to_vec(), (signal, format), limits, |_span| ());
    for (body, format) in [(&json, Format::Json), (&protobuf, Format::Protobuf)] {
        for end in 0..body.len() {
            drop(decode(&body[..end], Signal::Traces, format));
            let mut changed = body.clone();
            changed[end] = !changed[end];
            drop(decode(&changed, Signal::Traces, format));
            drop(decode(&changed, Signal::Logs, format));
        }
    }
    // Deep nesting, then empty messages of two bytes, each of which decodes to hundreds of bytes.
    let (open, close) = ("{\"arrayValue\":{\"values\":[", "]}}");
    let deep = format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"value\":{}{}}}]}}}}]}}",
        open.repeat(200),
        close.repeat(200)
    );
    let error = decode(deep.as_bytes(), Signal::Traces, Format::Json);
    assert!(
        matches!(error, Err(crate::otlp::decode::DecodeError::Malformed(_))),
        "{error:?}"
    );
    let empty = [0x4a, 0x00].repeat(50_000);
    let mut nested = Vec::new();
    for (tag, inner) in [(0x12, empty), (0x12, Vec::new()), (0x0a, Vec::new())] {
        let inner = if inner.is_empty() {
            std::mem::take(&mut nested)
        } else {
            inner
        };
        nested = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut nested);
        nested.extend(inner);
    }
    let error = decode(&nested, Signal::Traces, Format::Protobuf).unwrap_err();
    let message = "the request needs more than 1048576 bytes of memory".to_owned();
    assert_eq!(error, crate::otlp::decode::DecodeError::TooLarge(message));
}

/// Sorts the attributes of a span by key, because their order may differ.
fn by_key(mut attributes: Value) -> Value {
    let all = attributes.as_array_mut().unwrap();
    all.sort_by(|one, other| one["key"].as_str().cmp(&other["key"].as_str()));
    attributes
}

#[tokio::test]
async fn attributes_are_exported_as_otlp_with_the_types_that_they_had_on_arrival() {
    let live = receiving();
    let named = |key: &str, value: Value| json!({"key": key, "value": value});
    let list = |values: &[Value]| json!({"arrayValue": {"values": values}});
    let attributes = json!([
        named("bytes", json!({"bytesValue": "AAEC/w=="})),
        named("no-bytes", json!({"bytesValue": ""})),
        named("text", json!({"stringValue": "00ff"})),
        named("int", json!({"intValue": "9223372036854775807"})),
        named("double", json!({"doubleValue": 2.0})),
        named("infinite", json!({"doubleValue": "-Infinity"})),
        named("list of bytes", list(&[json!({"bytesValue": "AQI="})])),
        named(
            "list of several kinds",
            list(&[
                json!({"stringValue": "some text"}),
                json!({"intValue": "9007199254740993"}),
                json!({"boolValue": true}),
            ])
        ),
        named(
            "map",
            json!({"kvlistValue": {"values": [
                named("list", list(&[json!({"intValue": "1"})])),
                named("text", json!({"stringValue": "t"})),
            ]}})
        ),
        named("unset", json!({})),
    ]);
    let span = json!({
        "traceId": TRACE, "spanId": SPAN, "name": "whole", "attributes": attributes,
        "startTimeUnixNano": START.to_string(), "endTimeUnixNano": (START + SECOND).to_string(),
    });
    take(&live, "nodejs", json!([span])).await;
    let request = Request::get(format!("/traces/{TRACE}?format=otlp"));
    let (status, document) = send(&live, request, Vec::new()).await.json();
    assert_eq!(status, 200);
    let exported = &document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"];
    assert_eq!(by_key(exported.clone()), by_key(attributes));
}

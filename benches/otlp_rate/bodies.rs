//! The bodies of requests: spans such as a web service makes. Each request is a copy of one
//! template with its own trace ids written into it, because a sender must not cost more than the
//! receiver.

use std::{fmt::Write as _, hint::black_box};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;
use serde_json::json;

/// Spans of a request: the most that an SDK sends at once by default.
pub(crate) const SPANS: u64 = 512;
/// Spans of a trace.
const TRACE: u64 = 8;
/// 2026-11-22T11:39:00Z, in nanoseconds.
const START: u64 = 1_795_347_540_000_000_000;
/// The second half of the first trace's id. It is higher by 1 for each further trace of the request. The first half is
/// the number of the request plus 1.
const MARK: u64 = 0xfeed_face_0000_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// Decodes a body and drops the result.
    pub(crate) fn decode(self, body: &[u8]) {
        match self {
            Self::Protobuf => {
                let request = ExportTraceServiceRequest::decode(body);
                black_box(request.expect("the body is invalid"));
            }
            Self::Json => {
                let request: serde_json::Value =
                    serde_json::from_slice(body).expect("the body is invalid");
                black_box(request);
            }
        }
    }
}

pub(crate) struct Body {
    format: Format,
    pub(crate) bytes: Vec<u8>,
    /// The positions of the first halves of the trace ids.
    ids: Vec<usize>,
}

impl Body {
    pub(crate) fn new(format: Format) -> Self {
        let request = request();
        let bytes = match format {
            Format::Protobuf => request.encode_to_vec(),
            Format::Json => json_of(&request).to_string().into_bytes(),
        };
        let mut ids = Vec::new();
        let mark = u32::try_from(MARK >> 32).expect("32 bits are left");
        let (pattern, before) = match format {
            Format::Protobuf => (mark.to_be_bytes().to_vec(), 8),
            Format::Json => (format!("{mark:08x}").into_bytes(), 16),
        };
        for at in memchr::memmem::find_iter(&bytes, &pattern) {
            ids.push(at - before);
        }
        assert_eq!(u64::try_from(ids.len()), Ok(SPANS));
        Self { format, bytes, ids }
    }

    pub(crate) fn content_type(&self) -> &'static str {
        match self.format {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        }
    }

    /// Turns a copy of this body into the body of the request with this number.
    pub(crate) fn number(&self, copy: &mut [u8], number: u64) {
        let id = match self.format {
            Format::Protobuf => (number + 1).to_be_bytes().to_vec(),
            Format::Json => format!("{:016x}", number + 1).into_bytes(),
        };
        for at in &self.ids {
            copy[*at..*at + id.len()].copy_from_slice(&id);
        }
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn span(number: u64) -> Span {
    let (trace, place) = (number / TRACE, number % TRACE);
    let id = |place: u64| (place + 1).to_be_bytes().to_vec();
    let items = Value::IntValue(i64::try_from(number).expect("the number is small"));
    let start = START + number * 1_000;
    Span {
        trace_id: [0_u64.to_be_bytes(), (MARK + trace).to_be_bytes()].concat(),
        span_id: id(place),
        parent_span_id: if place == 0 {
            Vec::new()
        } else {
            id(place - 1)
        },
        name: ["GET /cart/{id}", "load cart", "SELECT cart"]
            [usize::try_from(place % 3).expect("the number is small")]
        .to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_500_000,
        attributes: vec![
            pair("http.request.method", text("GET")),
            pair("http.route", text("/cart/{id}")),
            pair("cart.items", items),
            pair("customer", text("b7c1f1de-3f7a-4a43-93c9-6f0a12f0c4aa")),
        ],
        status: Some(Status::default()),
        flags: 0x101,
        ..Span::default()
    }
}

fn request() -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            pair("service.name", text("shop")),
            pair(
                "service.instance.id",
                text("627cc493-f310-47de-96bd-71410b7dec09"),
            ),
            pair("telemetry.sdk.language", text("nodejs")),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "shop.cart".to_owned(),
        version: "1.4.0".to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: (0..SPANS).map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn json_of(request: &ExportTraceServiceRequest) -> serde_json::Value {
    let value =
        |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => json!({"stringValue": text}),
            Some(Value::IntValue(number)) => json!({"intValue": number.to_string()}),
            _ => json!({}),
        };
    let pairs = |pairs: &[KeyValue]| -> Vec<serde_json::Value> {
        let pair = |pair: &KeyValue| json!({"key": pair.key, "value": value(&pair.value)});
        pairs.iter().map(pair).collect()
    };
    let hex = |bytes: &[u8]| {
        let mut out = String::new();
        for byte in bytes {
            write!(out, "{byte:02x}").expect("writing to a string never fails");
        }
        out
    };
    let span = |span: &Span| {
        json!({
            "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id), "parentSpanId": hex(&span.parent_span_id),
            "flags": span.flags, "name": span.name, "kind": span.kind,
            "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "endTimeUnixNano": span.end_time_unix_nano.to_string(),
            "attributes": pairs(&span.attributes), "status": {},
        })
    };
    let resource = &request.resource_spans[0];
    let scope = &resource.scope_spans[0];
    let spans: Vec<_> = scope.spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": pairs(&resource.resource.as_ref().expect("the request has no resource").attributes)},
        "scopeSpans": [{"scope": {"name": "shop.cart", "version": "1.4.0"}, "spans": spans}],
    }]})
}

//! Requests as senders make them, and the resulting events.

mod forms;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod overload;
mod protocol;
mod resent;

use std::sync::Arc;

use axum::body::Body;
use flate2::{Compression, write::GzEncoder};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower_service::Service as _;

use crate::{
    http::router::LiveService, live_spans::LiveSpans, log::tail::TailRead, otlp::OtlpReceiver,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "00f067aa0ba902b7";
const CHILD: &str = "00f067aa0ba902b8";
/// 2026-11-22T11:39:00Z.
const START: u64 = 1_795_347_540_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn receiving() -> LiveSpans {
    let builder = LiveSpans::builder().otlp(OtlpReceiver::default());
    builder.build().unwrap()
}

/// A response: its status, headers and body.
struct Answered {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> (u16, Value) {
        (
            self.status.as_u16(),
            serde_json::from_slice(&self.body).unwrap(),
        )
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

async fn send(live: &LiveSpans, request: http::request::Builder, body: Vec<u8>) -> Answered {
    let request: Request<Body> = request
        .header("host", "localhost")
        .body(Body::from(body))
        .unwrap();
    let mut service = LiveService {
        live: live.clone(),
        mounted: false,
    };
    let (parts, body) = service.call(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
    Answered {
        status: parts.status,
        headers: parts.headers,
        body: body.to_vec(),
    }
}

async fn post_json(live: &LiveSpans, path: &str, body: &Value) -> Answered {
    let request = Request::post(path).header("content-type", "application/json");
    send(live, request, body.to_string().into_bytes()).await
}

async fn post_protobuf(live: &LiveSpans, path: &str, body: Vec<u8>) -> Answered {
    let request = Request::post(path).header("content-type", "application/x-protobuf");
    send(live, request, body).await
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, body).unwrap();
    encoder.finish().unwrap()
}

/// Returns a request with these spans, from the service `shop` in this language.
fn request_of(language: &str, spans: &Value) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "telemetry.sdk.language", "value": {"stringValue": language}},
        ]},
        "scopeSpans": [{"scope": {"name": "cart", "version": "2"}, "spans": spans}],
    }]})
}

/// Sends spans, and expects a success without a message.
async fn take(live: &LiveSpans, language: &str, spans: Value) {
    let answer = post_json(live, "/v1/traces", &request_of(language, &spans)).await;
    assert_eq!(answer.json(), (200, json!({})));
}

/// Returns all events, in log order.
fn all_events(live: &LiveSpans) -> Vec<Value> {
    let mut events = Vec::new();
    while let TailRead::Events(slices) = live.log().tail.read_after(events.len() as u64) {
        for event in slices.iter().flat_map(crate::log::block::Slice::events) {
            events.push(serde_json::from_slice(&event.payload()).unwrap());
        }
    }
    events
}

/// Returns all events in log order, without `process` events and without the fields that few tests
/// check.
fn events(live: &LiveSpans) -> Vec<Value> {
    let mut events = all_events(live);
    events.retain(|event| event["type"] != "process");
    for event in &mut events {
        let fields = event.as_object_mut().unwrap();
        for known in [
            "process",
            "service",
            "scope",
            "scopeVersion",
            "kind",
            "traceId",
            // The spans of most tests have old timestamps, so this field would appear.
            "receivedTimestamp",
        ] {
            fields.remove(known);
        }
    }
    events
}

/// Returns type, name and span of each event.
fn outline(live: &LiveSpans) -> Vec<String> {
    let described = |event: &Value| {
        let text = |key: &str| event[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", text("type"), text("spanId"), text("name"))
    };
    events(live).iter().map(described).collect()
}

/// Returns the part of `/status` about OTLP, without the times.
fn status(live: &LiveSpans) -> Value {
    let receiver = live.shared.receiver.as_ref().map(Arc::clone).unwrap();
    let mut report = serde_json::to_value(receiver.report()).unwrap();
    for sender in report["senders"].as_array_mut().unwrap() {
        sender.as_object_mut().unwrap().remove("lastHeard");
    }
    if let Some(refusal) = report["lastRefusal"].as_object_mut() {
        refusal.remove("timestamp");
    }
    report
}

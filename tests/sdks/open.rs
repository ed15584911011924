//! An open span: with a start sender (`clients/`), readers get its start and its changes before it
//! ends.

use serde_json::json;

use crate::{receiver::Receiver, sdk::Sdk};

/// The program ends its span only after this test has seen the start and the change in the stream.
async fn span_is_reported_while_it_is_open(sdk: Sdk) {
    let receiver = Receiver::start();
    let mut events = receiver.follow().await;
    let mut program = sdk.start("open", &receiver);

    let started = events.of_span("long", None).await;
    let id = started["spanId"].clone();
    program.send_line("set").await;
    let updated = events.of_span("long", Some(&id)).await;
    program.send_line("end").await;
    let ended = events.of_span("long", Some(&id)).await;

    let (trace, process) = (&started["traceId"], &started["process"]);
    let start = &started["timestamp"];
    assert_eq!(
        [&started, &updated, &ended],
        [
            &json!({
                "type": "started", "traceId": trace, "spanId": id, "parentSpanId": null, "name": "long",
                "kind": "INTERNAL", "process": process, "service": "shop", "scope": "shop.checkout",
                "attributes": {"rows": 0}, "timestamp": start,
            }),
            &json!({
                "type": "updated", "traceId": trace, "spanId": id, "process": process,
                "attributes": {"rows": 7}, "timestamp": updated["timestamp"],
            }),
            &json!({
                "type": "ended", "traceId": trace, "spanId": id, "parentSpanId": null, "name": "long",
                "kind": "INTERNAL", "process": process, "service": "shop", "scope": "shop.checkout",
                "status": {"code": "OK"}, "attributes": {"rows": 7}, "startTimestamp": start,
                "timestamp": ended["timestamp"],
            }),
        ]
    );
    // The start sender sent neither the short spans nor an end. On a busy machine, it may have sent
    // unchanged open spans again.
    let mut exported = program.output().await;
    exported.as_array_mut().unwrap().dedup();
    assert_eq!(exported, json!([{"name": "long", "ended": false}]));
}

#[tokio::test]
async fn node_by_http_json() {
    span_is_reported_while_it_is_open(Sdk::JavaScript("http-json")).await;
}

#[tokio::test]
async fn node_by_http_protobuf() {
    span_is_reported_while_it_is_open(Sdk::JavaScript("http-proto")).await;
}

#[tokio::test]
async fn node_by_grpc() {
    span_is_reported_while_it_is_open(Sdk::JavaScript("grpc")).await;
}

#[tokio::test]
async fn python_by_grpc() {
    span_is_reported_while_it_is_open(Sdk::Python("grpc")).await;
}

#[tokio::test]
async fn python_by_http() {
    span_is_reported_while_it_is_open(Sdk::Python("http")).await;
}

/// If the start sender ignored a fork, the workers of a Python server would send no open spans, or
/// each would repeatedly send those of the parent.
#[tokio::test]
async fn forked_worker_of_python_sends_its_own_spans_and_none_of_its_parent() {
    let receiver = Receiver::start();
    let program = Sdk::Python("http").start("fork", &receiver);
    assert_eq!(program.output().await, json!(["of the child"]));
}

//! Open spans and requests that are sent repeatedly.

use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Sends the same spans again until the log has this many events.
async fn send_until(live: &LiveSpans, spans: Value, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        take(live, "nodejs", spans.clone()).await;
        let events = events(live);
        if events.len() >= count {
            return events;
        }
        assert!(begun.elapsed() < PATIENCE, "{events:#?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changes_of_an_open_span_are_reported_once() {
    let live = receiving();
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let event = |name: &str| json!({"name": name, "timeUnixNano": START});
    let span = |name: &str, attributes: Value, events: Value, code: u64| {
        json!([{
            "traceId": TRACE, "spanId": SPAN, "name": name, "startTimeUnixNano": START,
            "attributes": attributes, "events": events, "status": {"code": code, "message": "no"},
        }])
    };
    let first = span(
        "job",
        json!([attribute("same", "1"), attribute("a", "1")]),
        json!([event("e")]),
        0,
    );
    take(&live, "nodejs", first).await;
    let second = span(
        "job 2",
        json!([
            attribute("same", "1"),
            attribute("a", "2"),
            attribute("livespan.awaiting", "redis")
        ]),
        json!([event("e"), event("f")]),
        2,
    );
    send_until(&live, second, 3).await;
    let third = span(
        "job 2",
        json!([attribute("same", "1"), attribute("a", "2")]),
        json!([event("e"), event("f")]),
        2,
    );
    let mut events = send_until(&live, third, 4).await;
    for update in events.iter_mut().skip(1) {
        let update = update.as_object_mut().unwrap();
        update.remove("timestamp");
        if let Some(Value::Object(awaiting)) = update.get_mut("awaiting") {
            awaiting.remove("since");
        }
    }
    let moment = "2026-11-22T11:39:00.000000000Z";
    assert_eq!(
        events,
        [
            json!({"type": "started", "spanId": SPAN, "parentSpanId": null, "name": "job",
                "attributes": {"same": "1", "a": "1"}, "timestamp": moment}),
            json!({"type": "updated", "spanId": SPAN,
                "events": [{"name": "e", "timestamp": moment, "attributes": {}}]}),
            json!({"type": "updated", "spanId": SPAN, "name": "job 2",
                "status": {"code": "ERROR", "message": "no"}, "attributes": {"a": "2"},
                "awaiting": {"name": "redis"},
                "events": [{"name": "f", "timestamp": moment, "attributes": {}}]}),
            json!({"type": "updated", "spanId": SPAN, "awaiting": null}),
        ]
    );
}

/// Returns a span whose attribute `a` has this value. The span has ended if `end` is given.
fn valued(value: &str, end: Option<u64>) -> Value {
    json!([{
        "traceId": TRACE, "spanId": SPAN, "name": "job", "startTimeUnixNano": START,
        "endTimeUnixNano": end, "attributes": [{"key": "a", "value": {"stringValue": value}}],
    }])
}

/// Returns each event's type and the value of its attribute `a`.
fn values(live: &LiveSpans) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let described = |event: &Value| (text(&event["type"]), text(&event["attributes"]["a"]));
    events(live).iter().map(described).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(kind, value): &(&str, &str)| ((*kind).to_owned(), (*value).to_owned());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn a_change_that_comes_too_soon_is_reported_later_without_a_further_request() {
    let live = receiving();
    take(&live, "nodejs", valued("1", None)).await;
    take(&live, "nodejs", valued("2", None)).await;
    let expected = pairs(&[("started", "1"), ("updated", "2")]);
    let begun = Instant::now();
    while values(&live) != expected {
        assert!(begun.elapsed() < PATIENCE, "{:?}", values(&live));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_last_value_of_an_open_span_is_reported_before_its_end() {
    let live = receiving();
    take(&live, "nodejs", valued("1", None)).await;
    take(&live, "nodejs", valued("2", None)).await;
    take(&live, "nodejs", valued("3", Some(START + SECOND))).await;
    let expected = pairs(&[("started", "1"), ("updated", "2"), ("ended", "3")]);
    assert_eq!(values(&live), expected);
}

/// Returns a request with log records that have these bodies and this time.
fn logs(service: &str, bodies: &[&str], time: u64) -> Value {
    let record = |body: &&str| json!({"timeUnixNano": time, "body": {"stringValue": body}});
    let records: Vec<Value> = bodies.iter().map(record).collect();
    let attributes = json!([{"key": "service.name", "value": {"stringValue": service}}]);
    json!({"resourceLogs": [{
        "resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": records}],
    }]})
}

async fn take_logs(live: &LiveSpans, request: &Value) {
    let answer = post_json(live, "/v1/logs", request).await;
    assert_eq!(answer.json(), (200, json!({})));
}

fn bodies(live: &LiveSpans) -> Vec<String> {
    let body = |event: &Value| event["body"].as_str().unwrap().to_owned();
    events(live).iter().map(body).collect()
}

#[tokio::test]
async fn a_repeated_request_adds_no_log_record_twice_and_is_counted() {
    let live = receiving();
    // Two records of one request may be equal.
    let first = logs("shop", &["a", "a", "b"], START);
    for _ in 0..3 {
        take_logs(&live, &first).await;
    }
    assert_eq!(bodies(&live), ["a", "a", "b"]);
    for other in [
        logs("shop", &["b", "a", "a"], START),
        logs("mail", &["a", "a", "b"], START),
        logs("shop", &["a", "a", "b"], START + 1),
    ] {
        take_logs(&live, &other).await;
    }
    assert_eq!(bodies(&live).len(), 4 * 3);
    let report = status(&live);
    let senders = report["senders"].as_array().unwrap().iter();
    let counted = senders.map(|one| json!([one["service"], one["logRecords"], one["repeated"]]));
    assert_eq!(
        counted.collect::<Vec<_>>(),
        [json!(["shop", 15, 6]), json!(["mail", 3, 0])]
    );
}

#[tokio::test]
async fn a_repeated_log_record_without_any_time_is_not_recognised() {
    let live = receiving();
    for _ in 0..2 {
        take_logs(&live, &logs("shop", &["a"], 0)).await;
    }
    assert_eq!(bodies(&live), ["a", "a"]);
}

#[tokio::test]
async fn a_repeated_end_is_counted() {
    let live = receiving();
    for _ in 0..3 {
        take(&live, "nodejs", valued("1", Some(START + 1))).await;
    }
    assert_eq!(values(&live), pairs(&[("started", ""), ("ended", "1")]));
    assert_eq!(status(&live)["senders"][0]["repeated"], 2);
}

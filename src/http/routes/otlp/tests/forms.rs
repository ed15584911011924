//! The forms in which senders report open spans.

use super::*;
use crate::{access::RedactAction, span::redact::Redaction};

fn span(id: &str, name: &str, end: Option<u64>) -> Value {
    let mut span = json!({"traceId": TRACE, "spanId": id, "name": name, "startTimeUnixNano": START.to_string()});
    if let Some(end) = end {
        span["endTimeUnixNano"] = end.to_string().into();
    }
    span
}

fn with(mut span: Value, key: &str, value: Value) -> Value {
    span[key] = value;
    span
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

#[tokio::test]
async fn a_span_without_an_end_starts_is_updated_and_ends() {
    for open in [None, Some(0), Some(START - 1)] {
        let live = receiving();
        let first = with(
            span(SPAN, "job", open),
            "attributes",
            json!([attribute("a", "1")]),
        );
        take(&live, "nodejs", json!([first.clone()])).await;
        // A repetition of the open span, sent as a sign of life, changes nothing.
        take(&live, "nodejs", json!([first])).await;
        assert_eq!(outline(&live), [format!("started {SPAN} job")]);
        let last = with(
            span(SPAN, "job", Some(START + SECOND)),
            "attributes",
            json!([attribute("a", "2")]),
        );
        take(&live, "nodejs", json!([last])).await;
        // A start that arrives after the end changes nothing.
        take(&live, "nodejs", json!([span(SPAN, "job", open)])).await;
        assert_eq!(
            events(&live),
            [
                json!({"type": "started", "spanId": SPAN, "parentSpanId": null, "name": "job",
                    "attributes": {"a": "1"}, "timestamp": "2026-11-22T11:39:00.000000000Z"}),
                json!({"type": "ended", "spanId": SPAN, "parentSpanId": null, "name": "job",
                    "status": {"code": "OK"}, "attributes": {"a": "2"},
                    "startTimestamp": "2026-11-22T11:39:00.000000000Z",
                    "timestamp": "2026-11-22T11:39:01.000000000Z"}),
            ]
        );
    }
}

#[tokio::test]
async fn a_parent_comes_before_its_child_and_ends_after_it() {
    let live = receiving();
    let child = with(
        span(CHILD, "child", Some(START + 1)),
        "parentSpanId",
        json!(SPAN),
    );
    take(
        &live,
        "python",
        json!([child, span(SPAN, "root", Some(START + 2))]),
    )
    .await;
    assert_eq!(
        outline(&live),
        [
            format!("started {SPAN} root"),
            format!("started {CHILD} child"),
            format!("ended {CHILD} child"),
            format!("ended {SPAN} root"),
        ]
    );
}

#[tokio::test]
async fn one_large_request_gives_the_events_of_many_small_ones() {
    // All ends together are larger than the room for ends that wait until all spans have started.
    let spans: Vec<Value> = (1..=60)
        .map(|number| {
            let span = span(&format!("{number:016x}"), "job", Some(START + number));
            let attributes = [("text", "x".repeat(16_000)), ("number", number.to_string())];
            let attributes = attributes.map(|(key, value)| attribute(key, &value));
            with(span, "attributes", json!(attributes))
        })
        .collect();
    let (together, alone) = (receiving(), receiving());
    for span in &spans {
        take(&alone, "go", json!([span])).await;
    }
    take(&together, "go", json!(spans)).await;
    let (starts, mut ends): (Vec<Value>, Vec<Value>) = events(&alone)
        .into_iter()
        .partition(|event| event["type"] == "started");
    ends.reverse();
    assert_eq!(starts.len(), 60);
    assert_eq!(events(&together), [starts, ends].concat());
}

#[tokio::test]
async fn a_retry_changes_nothing_and_a_correction_counts() {
    let live = receiving();
    let ended = span(SPAN, "job", Some(START + 1));
    take(&live, "go", json!([ended.clone(), ended.clone()])).await;
    take(&live, "go", json!([ended])).await;
    take(&live, "go", json!([span(SPAN, "job", Some(START + 2))])).await;
    assert_eq!(
        outline(&live),
        [
            format!("started {SPAN} job"),
            format!("ended {SPAN} job"),
            format!("ended {SPAN} job"),
        ]
    );
    let last = events(&live).pop().unwrap();
    assert_eq!(last["timestamp"], "2026-11-22T11:39:00.000000002Z");
}

#[tokio::test]
async fn only_dotnet_reports_a_start_as_a_span_of_length_zero() {
    let empty = || json!([span(SPAN, "job", Some(START))]);
    let started = format!("started {SPAN} job");
    let ended = format!("ended {SPAN} job");
    let live = receiving();
    take(&live, "dotnet", empty()).await;
    assert_eq!(outline(&live), std::slice::from_ref(&started));
    take(&live, "dotnet", json!([span(SPAN, "job", Some(START + 1))])).await;
    assert_eq!(outline(&live), [started.clone(), ended.clone()]);
    let live = receiving();
    take(&live, "java", empty()).await;
    assert_eq!(outline(&live), [started.clone(), ended.clone()]);
    // This .NET sender reports its first, long span only when it has ended. So the sender counts as
    // one that sends no open spans.
    let live = receiving();
    take(
        &live,
        "dotnet",
        json!([span(CHILD, "long", Some(START + SECOND))]),
    )
    .await;
    take(&live, "dotnet", empty()).await;
    assert_eq!(outline(&live)[2..], [started, ended]);
}

#[tokio::test]
async fn a_pending_span_of_logfire_is_the_start_of_its_parent() {
    let live = receiving();
    let pending = json!({
        "traceId": TRACE, "spanId": CHILD, "parentSpanId": SPAN, "name": "job",
        "startTimeUnixNano": START, "endTimeUnixNano": START,
        "attributes": [
            attribute("logfire.span_type", "pending_span"),
            attribute("logfire.pending_parent_id", "00000000000000aa"),
            attribute("a", "1"),
        ],
    });
    take(&live, "python", json!([pending])).await;
    let whole = with(
        span(SPAN, "job", Some(START + 1)),
        "parentSpanId",
        json!("00000000000000aa"),
    );
    take(&live, "python", json!([whole])).await;
    assert_eq!(
        events(&live),
        [
            json!({"type": "started", "spanId": SPAN, "parentSpanId": "00000000000000aa", "name": "job",
                "attributes": {"a": "1"}, "timestamp": "2026-11-22T11:39:00.000000000Z"}),
            json!({"type": "ended", "spanId": SPAN, "parentSpanId": "00000000000000aa", "name": "job",
                "status": {"code": "OK"}, "attributes": {},
                "startTimestamp": "2026-11-22T11:39:00.000000000Z",
                "timestamp": "2026-11-22T11:39:00.000000001Z"}),
        ]
    );
}

#[tokio::test]
async fn a_partial_span_of_datadog_is_open_whatever_its_end_says() {
    let live = receiving();
    let partial = with(
        span(SPAN, "job", Some(START + 1)),
        "attributes",
        json!([{"key": "_dd.partial_version", "value": {"intValue": 1}}]),
    );
    take(&live, "python", json!([partial])).await;
    assert_eq!(outline(&live), [format!("started {SPAN} job")]);
}

#[tokio::test]
async fn a_heartbeat_in_a_log_record_is_an_open_span() {
    let live = receiving();
    let data = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span(SPAN, "job", None)]}]}]});
    let record = |event: &str| {
        json!({"resourceLogs": [{
            "resource": {"attributes": [attribute("service.name", "shop")]},
            "scopeLogs": [{"logRecords": [{
                "body": {"stringValue": data.to_string()},
                "attributes": [attribute("partial.event", event), attribute("partial.frequency", "5000ms")],
            }]}],
        }]})
    };
    for event in ["heartbeat", "heartbeat", "stop"] {
        let answer = post_json(&live, "/v1/logs", &record(event)).await;
        assert_eq!(answer.json(), (200, json!({})));
    }
    assert_eq!(outline(&live), [format!("started {SPAN} job")]);
}

#[tokio::test]
async fn special_attributes_say_how_a_span_ended_and_what_it_waits_for() {
    let live = receiving();
    let flag = |key: &str| json!([{"key": key, "value": {"boolValue": true}}]);
    let waiting = with(
        span(SPAN, "w", None),
        "attributes",
        json!([attribute("livespan.awaiting", "redis")]),
    );
    let panicked = with(
        span(CHILD, "p", Some(START + 1)),
        "attributes",
        flag("livespan.panicked"),
    );
    let cancelled = with(
        span("00000000000000c0", "c", Some(START + 1)),
        "attributes",
        flag("livespan.cancelled"),
    );
    take(&live, "rust", json!([waiting, panicked, cancelled])).await;
    let of = |kind: &str| {
        let is = |event: &Value| event["type"] == kind;
        events(&live).into_iter().filter(is).collect::<Vec<_>>()
    };
    let [update] = of("updated").try_into().unwrap();
    assert_eq!(
        (&update["spanId"], &update["awaiting"]["name"]),
        (&json!(SPAN), &json!("redis"))
    );
    let [cancelled, panicked] = of("ended").try_into().unwrap();
    assert_eq!(
        (
            &cancelled["cancelled"],
            &cancelled["attributes"],
            &cancelled["status"]
        ),
        (&json!(true), &json!({}), &json!({"code": "OK"}))
    );
    assert_eq!(
        (
            &panicked["panicked"],
            &panicked["attributes"],
            &panicked["status"]
        ),
        (
            &json!(true),
            &json!({}),
            &json!({"code": "ERROR", "message": "panicked"})
        )
    );
    assert_eq!(of("started")[0]["attributes"], json!({}));
}

#[tokio::test]
async fn the_status_says_who_sends_and_whether_only_ended_spans() {
    let live = receiving();
    take(
        &live,
        "go",
        json!([span(SPAN, "job", Some(START + SECOND))]),
    )
    .await;
    take(&live, "nodejs", json!([span(CHILD, "job", None)])).await;
    let report = status(&live);
    let senders: Vec<_> = report["senders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sender| {
            json!([
                sender["service"],
                sender["language"],
                sender["spans"],
                sender["openSpans"],
                sender["endedOnly"]
            ])
        })
        .collect();
    assert_eq!(
        senders,
        [
            json!(["shop", "go", 1, 0, true]),
            json!(["shop", "nodejs", 1, 1, false])
        ]
    );
}

#[tokio::test]
async fn an_event_with_an_implausible_time_also_has_the_time_of_receipt() {
    let live = receiving();
    let minute = 60 * SECOND;
    let before = crate::util::time::Timestamp::now();
    let now = before.nanos();
    let at = |id: &str, start: u64, end: Option<u64>| {
        let mut span = with(span(id, "s", end), "startTimeUnixNano", json!(start));
        span["name"] = json!("s");
        span
    };
    let spans = json!([
        at("0000000000000001", now - SECOND, None),
        at("0000000000000002", now + minute, None),
        at("0000000000000003", now - 10 * minute, None),
        at("0000000000000004", now - 2 * minute, Some(now - minute)),
        at("0000000000000005", now, Some(now + 2 * minute)),
        at(
            "0000000000000006",
            now - 20 * minute,
            Some(now - 10 * minute)
        ),
    ]);
    take(&live, "go", spans).await;
    let after = crate::util::time::Timestamp::now();
    let mut marked = Vec::new();
    for event in all_events(&live) {
        if let Some(received) = event["receivedTimestamp"].as_str() {
            assert!(
                (&*before.text()..=&*after.text()).contains(&received),
                "{event}"
            );
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            marked.push(format!("{} {}", text("type"), text("spanId")));
        }
    }
    let expected = [
        "started 0000000000000002",
        "started 0000000000000003",
        "ended 0000000000000006",
        "ended 0000000000000005",
    ];
    assert_eq!(marked, expected);
    let ahead = status(&live)["senders"][0]["clockAheadMillis"].as_u64();
    assert!((60_000..=120_000).contains(&ahead.unwrap()), "{ahead:?}");
}

/// Sends spans to a log whose redaction has a function that keeps all values, and to a log without such a function. The
/// first log encodes all spans on its worker thread, the second log on the thread of the request. Returns the events of
/// both.
async fn on_either_thread(spans: Value) -> [Vec<Value>; 2] {
    let mut events = Vec::new();
    for redaction in [
        Redaction::default().with(|_span, _key, _value| RedactAction::Keep),
        Redaction::default(),
    ] {
        let receiver = OtlpReceiver::default();
        let builder = LiveSpans::builder().otlp(receiver).redact(redaction);
        let live = builder.build().unwrap();
        // The second request repeats the first one.
        for _ in 0..2 {
            take(&live, "nodejs", spans.clone()).await;
        }
        let mut all = all_events(&live);
        for event in &mut all {
            let fields = event.as_object_mut().unwrap();
            fields.remove("receivedTimestamp");
            if fields["type"] == "process" {
                fields.remove("startTimestamp");
                fields.remove("timestamp");
            }
        }
        events.push(all);
    }
    events.try_into().unwrap()
}

#[tokio::test]
async fn the_events_of_a_span_do_not_depend_on_the_thread_that_encodes_them() {
    let mut spans = Vec::new();
    for number in 0..40_u64 {
        let id = format!("{:016x}", number + 1);
        let end = START + number % 4 * SECOND;
        let mut span = span(&id, &format!("GET /?token=hidden{}", number % 5), Some(end));
        let attributes = json!([
            attribute("customer", &format!("c{number}")),
            attribute("db.password", "hidden"),
            attribute("http.route", "/cart"),
        ]);
        span = with(span, "attributes", attributes);
        match number % 8 {
            1 => span = with(span, "parentSpanId", json!(format!("{number:016x}"))),
            2 => {
                span = with(
                    span,
                    "status",
                    json!({"code": 2, "message": "no token=hidden"}),
                );
            }
            3 => {
                let link = json!([{"traceId": TRACE, "spanId": CHILD, "attributes": [attribute("pwd", "x")]}]);
                span = with(span, "links", link);
                let event = json!([{"name": "retry", "timeUnixNano": START.to_string()}]);
                span = with(span, "events", event);
            }
            4 => span = with(span, "droppedAttributesCount", json!(3)),
            5 => {
                let twice = json!([
                    attribute("a", "1"),
                    attribute("a", "2"),
                    attribute("progress", "x")
                ]);
                span = with(span, "attributes", twice);
            }
            // Ids that an earlier span of the request has.
            6 => span = with(span, "spanId", json!(format!("{:016x}", number - 3))),
            7 => span = with(span, "traceState", json!("a=b")),
            _ => {}
        }
        spans.push(span);
    }
    let [on_worker, before] = on_either_thread(Value::Array(spans)).await;
    assert_eq!(before.len(), on_worker.len());
    assert_eq!(before, on_worker);
}

#[tokio::test]
async fn a_request_that_is_only_partly_encoded_by_its_task_is_stored_whole() {
    let text = "a".repeat(120 * 1024);
    let spans = (1..=40).map(|number| {
        let span = span(&format!("{number:016x}"), "large", Some(START + SECOND));
        with(span, "attributes", json!([attribute("text", &text)]))
    });
    let [on_worker, before] = on_either_thread(spans.collect()).await;
    assert_eq!(before.len(), 81);
    assert_eq!(before, on_worker);
}

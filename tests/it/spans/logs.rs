//! Log records of the SDK's logger provider, inside and outside of spans.

use std::time::{Duration, SystemTime};

use livespan::{
    LiveSpans, Redaction, Retention, SpanEvent, TraceId,
    sse::{Gap, Message, Subscribe},
};
use opentelemetry::{
    Key,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    trace::{Span as _, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{
    Resource,
    logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider},
};
use serde_json::{Value as Json, json};

use super::live_provider::{GatedStore, Watched, payloads, provider_of, read, stream_of};
use crate::support::PATIENCE;

/// A logger with the resource of [`provider_of`].
fn logger_of(live: &LiveSpans) -> (SdkLoggerProvider, SdkLogger) {
    let provider = SdkLoggerProvider::builder()
        .with_resource(
            Resource::builder_empty()
                .with_attributes([
                    opentelemetry::KeyValue::new("service.name", "shop"),
                    opentelemetry::KeyValue::new("host.cores", 4),
                ])
                .build(),
        )
        .with_log_processor(live.log_processor())
        .build();
    let logger = provider.logger("shop::cart");
    (provider, logger)
}

fn at(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(1_795_347_540_000_000_000 + nanos)
}

/// Writes a record. `fill` sets its fields.
fn write(logger: &SdkLogger, fill: impl FnOnce(&mut SdkLogRecord)) {
    let mut record = logger.create_log_record();
    fill(&mut record);
    logger.emit(record);
}

fn emit(logger: &SdkLogger, severity: Severity, body: &'static str) {
    write(logger, |record| {
        record.set_severity_number(severity);
        record.set_timestamp(at(0));
        record.set_body(body.into());
    });
}

/// Returns the log events without `observedTimestamp`, and without `process` and `service`, which every event has.
fn logs(events: &[Json]) -> Vec<Json> {
    let process = &events[0]["process"];
    let logs = events.iter().filter(|event| event["type"] == json!("log"));
    logs.map(|log| {
        let mut log = log.clone();
        let fields = log.as_object_mut().unwrap();
        assert_eq!(fields.remove("process").as_ref(), Some(process));
        assert_eq!(fields.remove("service"), Some(json!("shop")));
        fields.remove("observedTimestamp");
        log
    })
    .collect()
}

#[test]
fn a_log_record_is_in_its_span_while_the_span_runs() {
    let watched = Watched::new();
    let (_provider, logger) = logger_of(&watched.live);
    let context = opentelemetry::Context::current_with_span(watched.tracer().start("pay"));
    let attached = context.clone().attach();
    write(&logger, |record| {
        record.set_severity_number(Severity::Warn2);
        record.set_severity_text("warning");
        record.set_target("shop::bank");
        record.set_event_name("bank.slow");
        record.set_timestamp(at(1));
        record.set_observed_timestamp(at(2));
        record.set_body("slow\n".into());
        record.add_attribute("tries", 3);
        record.add_attribute("share", 0.5);
        record.add_attribute("ok", false);
        record.add_attribute("big", i64::MAX);
    });
    drop(attached);
    let events = watched.events();
    let process = events[0]["process"].as_str().unwrap();
    let mut lines = Vec::new();
    for message in read(&mut watched.live.target().subscribe(Subscribe::all())) {
        if let Message::Event(event) = message {
            lines.push(String::from_utf8(event.payload.to_vec()).unwrap());
        }
    }
    assert_eq!(
        lines[2],
        format!(
            "{{\"type\":\"log\",\"traceId\":\"00000000000000000000000000000001\",\"spanId\":\"0000000000000001\",\
             \"process\":\"{process}\",\"service\":\"shop\",\"severityNumber\":14,\"severityText\":\"warning\",\
             \"body\":\"slow\\n\",\"attributes\":{{\"tries\":3,\"share\":0.5,\"ok\":false,\
             \"big\":\"9223372036854775807\"}},\"attributeTypes\":{{\"big\":\"int\"}},\"target\":\"shop::bank\",\
             \"scope\":\"shop::cart\",\"eventName\":\"bank.slow\",\"observedTimestamp\":\"2026-11-22T11:39:00.000000002Z\",\
             \"timestamp\":\"2026-11-22T11:39:00.000000001Z\"}}"
        )
    );
    assert_eq!(
        events.len(),
        3,
        "spans and log records do not share one process"
    );
    drop(context);
    assert_eq!(watched.transcript().last().unwrap(), "ended pay");
}

#[test]
fn a_log_record_outside_of_spans_belongs_to_no_trace() {
    let watched = Watched::new();
    let (_provider, logger) = logger_of(&watched.live);
    emit(&logger, Severity::Info, "starting");
    watched.tracer().start("job").end();
    let events = watched.events();
    assert_eq!(
        logs(&events),
        [
            json!({"type": "log", "traceId": null, "spanId": null, "severityNumber": 9, "severityText": "INFO",
            "body": "starting", "attributes": {}, "scope": "shop::cart",
            "timestamp": "2026-11-22T11:39:00.000000000Z"})
        ]
    );
    assert_eq!(events[0]["type"], json!("process"));
    let trace = stream_of(&events[2]);
    let stream = payloads(&read(
        &mut watched.live.target().subscribe(Subscribe::to(trace)),
    ));
    let kinds: Vec<_> = stream.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["process", "started", "ended"]);
}

#[test]
fn a_record_without_a_time_has_its_observed_time() {
    let watched = Watched::new();
    let (_provider, logger) = logger_of(&watched.live);
    write(&logger, |record| {
        record.set_observed_timestamp(at(7));
        record.set_event_name("event src/main.rs:12");
    });
    let events = watched.events();
    assert_eq!(events[1].get("observedTimestamp"), None);
    assert_eq!(
        logs(&events),
        [
            json!({"type": "log", "traceId": null, "spanId": null, "severityNumber": 0, "severityText": "",
            "body": null, "attributes": {}, "scope": "shop::cart",
            "timestamp": "2026-11-22T11:39:00.000000007Z"})
        ]
    );
}

#[test]
fn records_below_the_processors_severity_are_not_shown() {
    let live = LiveSpans::builder().build().unwrap();
    let (_provider, logger) = logger_of(&live);
    let is_enabled =
        |logger: &SdkLogger, severity, target| logger.event_enabled(severity, target, None);
    let asked = [
        (Severity::Debug4, "shop"),
        (Severity::Info, "shop"),
        (Severity::Info, "hyper::client"),
        (Severity::Warn, "hyper::client"),
    ];
    let answers = asked.map(|(severity, target)| is_enabled(&logger, severity, target));
    assert_eq!(answers, [false, true, false, true]);
    emit(&logger, Severity::Debug, "not this");
    emit(&logger, Severity::Info, "this");
    let loud = SdkLoggerProvider::builder()
        .with_log_processor(live.log_processor().min_severity(Severity::Error))
        .build();
    let loud = loud.logger("loud");
    let answers = asked.map(|(severity, target)| is_enabled(&loud, severity, target));
    assert_eq!(answers, [false; 4]);
    emit(&loud, Severity::Warn4, "nor this");
    emit(&loud, Severity::Error, "and this");
    live.target().flush(PATIENCE).unwrap();
    let all = payloads(&read(&mut live.target().subscribe(Subscribe::all())));
    let bodies: Vec<_> = all
        .iter()
        .filter_map(|event| event["body"].as_str())
        .collect();
    assert_eq!(bodies, ["this", "and this"]);
}

fn map(pairs: impl IntoIterator<Item = (&'static str, AnyValue)>) -> AnyValue {
    pairs
        .into_iter()
        .map(|(key, value)| (Key::from(key), value))
        .collect()
}

fn list(values: impl IntoIterator<Item = AnyValue>) -> AnyValue {
    AnyValue::ListAny(Box::new(values.into_iter().collect()))
}

#[test]
fn values_of_every_kind_arrive() {
    let watched = Watched::new();
    let (_provider, logger) = logger_of(&watched.live);
    let body = map([
        (
            "z",
            list([1.into(), "two".into(), map([("three", 3.0.into())])]),
        ),
        ("a", true.into()),
        ("empty", map([])),
    ]);
    write(&logger, |record| {
        record.set_timestamp(at(0));
        record.set_body(body);
        record.add_attribute("raw", AnyValue::from([0_u8, 255].as_slice()));
        record.add_attribute("raws", list([AnyValue::from([1_u8].as_slice())]));
        record.add_attribute("list", list([]));
        record.add_attribute("ints", list([1.into(), i64::MIN.into()]));
        record.add_attribute("nan", f64::NAN);
        record.add_attribute("deep", map([("n", i64::MAX.into())]));
    });
    let [log] = logs(&watched.events()).try_into().unwrap();
    assert_eq!(
        log["body"].to_string(),
        r#"{"a":true,"empty":{},"z":[1,"two",{"three":3.0}]}"#
    );
    assert_eq!(
        log["attributes"],
        json!({"raw": "00ff", "raws": ["01"], "list": [], "ints": [1, "-9223372036854775808"], "nan": "NaN",
            "deep": {"n": "9223372036854775807"}})
    );
    assert_eq!(
        log["attributeTypes"],
        json!({"raw": "bytes", "raws": "bytes[]", "ints": "int[]", "nan": "double"})
    );
    assert_eq!(log.get("cut"), None);
}

#[test]
fn huge_and_deep_records_are_cut_and_say_so() {
    let watched = Watched::new();
    let (_provider, logger) = logger_of(&watched.live);
    let mut deep = AnyValue::from(1);
    for _ in 0..1_000 {
        deep = list([deep]);
    }
    let long = "x".repeat(SpanEvent::VALUE_BYTES_MAX + 1);
    let (body, text) = (AnyValue::from(long.clone()), AnyValue::from(long.clone()));
    write(&logger, |record| {
        record.set_body(body);
        record.add_attribute("text", text);
        record.add_attribute("texts", list((0..5_000).map(AnyValue::from)));
        record.add_attribute("raw", AnyValue::from(long.as_bytes()));
        record.add_attribute(
            "map",
            AnyValue::Map(Box::new(
                (0..5_000)
                    .map(|n| (Key::from(format!("{n:04}")), n.into()))
                    .collect(),
            )),
        );
        record.add_attribute("deep", deep);
    });
    write(&logger, |record| {
        for number in 0..40 {
            record.add_attribute(format!("{number}"), long.clone());
        }
    });
    let [first, second] = logs(&watched.events()).try_into().unwrap();
    assert_eq!(
        first["cut"],
        json!([
            "body",
            "attributes.text",
            "attributes.texts",
            "attributes.raw",
            "attributes.map",
            "attributes.deep"
        ])
    );
    assert_eq!(
        first["body"].as_str().unwrap().len(),
        SpanEvent::VALUE_BYTES_MAX
    );
    assert_eq!(
        first["attributes"]["deep"].to_string(),
        "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"
    );
    let cut = second["cut"].as_array().unwrap();
    assert_eq!(
        (&cut[0], cut.last().unwrap()),
        (&json!("attributes.0"), &json!("*"))
    );
    assert!(second.to_string().len() <= SpanEvent::EVENT_BYTES_MAX);
}

#[test]
fn secrets_of_log_records_are_masked_wherever_they_are() {
    let live = LiveSpans::builder()
        .redact(Redaction::default().deny(["internal.*"]))
        .build()
        .unwrap();
    let provider = provider_of(&live).build();
    let (_logs, logger) = logger_of(&live);
    write(&logger, |record| {
        record.set_body("retry with password=hush".into());
        record.add_attribute("token", "hush");
        record.add_attribute("internal.note", map([("a", "hush".into())]));
        record.add_attribute(
            "request",
            map([
                ("password", 7.into()),
                ("urls", list(["http://u:hush@h/".into(), 1.into()])),
                ("page", 2.into()),
            ]),
        );
    });
    write(&logger, |record| {
        record.set_body(map([("api_key", "hush".into()), ("user", "ann".into())]));
    });
    live.target().flush(PATIENCE).unwrap();
    let all = payloads(&read(&mut live.target().subscribe(Subscribe::all())));
    let [first, second] = logs(&all).try_into().unwrap();
    assert_eq!(first["body"], json!("retry with password=[redacted]"));
    assert_eq!(
        first["attributes"],
        json!({"token": "[redacted]", "internal.note": "[redacted]", "request": {"page": 2, "password": "[redacted]",
            "urls": ["http://REDACTED:REDACTED@h/", 1]}})
    );
    assert_eq!(
        second["body"],
        json!({"api_key": "[redacted]", "user": "ann"})
    );
    drop(provider);
}

#[test]
fn records_beyond_the_buffer_are_counted_and_the_host_goes_on() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(
        LiveSpans::builder()
            .store(store)
            .buffer_bytes(0)
            .buffer_events(256),
    );
    let (_provider, logger) = logger_of(&watched.live);
    gate.shut();
    emit(&logger, Severity::Info, "held");
    gate.wait_until_held();
    for _ in 0..1_000 {
        emit(&logger, Severity::Info, "more");
    }
    let dropped = watched.live.status().dropped;
    assert_eq!((dropped.starts, dropped.ends), (0, 0));
    gate.open();
    let events = watched.events();
    let shown = logs(&events).len() as u64;
    assert_eq!(shown + dropped.other, 1_001);
    assert!(dropped.other > 0);
}

#[test]
fn a_flush_of_the_logger_provider_makes_records_visible() {
    let live = LiveSpans::builder().build().unwrap();
    let (provider, logger) = logger_of(&live);
    emit(&logger, Severity::Info, "one");
    provider.force_flush().unwrap();
    let head = |live: &LiveSpans| live.status().head.sequence().get();
    assert_eq!(head(&live), 2);
    emit(&logger, Severity::Info, "two");
    provider.shutdown().unwrap();
    assert_eq!(head(&live), 3);
    live.shutdown().unwrap();
}

#[test]
fn a_gap_of_a_trace_counts_its_evicted_log_records() {
    let watched = Watched::with(LiveSpans::builder().retention(Retention::default().events(10)));
    let (_provider, logger) = logger_of(&watched.live);
    let span = watched.tracer().start("long");
    let context = opentelemetry::Context::current_with_span(span);
    let trace = TraceId::try_from(context.span().span_context().trace_id()).unwrap();
    let attached = context.attach();
    for _ in 0..100 {
        emit(&logger, Severity::Info, "step");
        watched.live.target().flush(PATIENCE).unwrap();
    }
    let mut stream = watched
        .live
        .target()
        .subscribe(Subscribe::to(trace.stream_key()));
    let lost: Vec<_> = read(&mut stream)
        .into_iter()
        .filter_map(|message| match message {
            Message::Gap(Gap::Evicted { lost, .. }) => Some(lost),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [Some(90)]);
    drop(attached);
}

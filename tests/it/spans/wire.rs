//! The wire format, byte for byte: outside clients rely on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use livespan::{
    LiveSpans, SpanEvent,
    span::{SpanKind, SpanState, SpanStatus},
    sse::{Message, Subscribe},
};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceId, Value,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanKind as OtelKind, Status,
        TraceContextExt as _, TraceFlags, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{Sampler, SdkTracer};

use super::live_provider::{Watched, provider_of, read, remote_parent};
use crate::support::{PATIENCE, block_on};

/// Returns 2026-11-22T11:39:00Z plus this many nanoseconds.
fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_347_540) + Duration::from_nanos(nanos)
}

fn tracer(watched: &Watched) -> SdkTracer {
    watched.provider.tracer("shop::cart")
}

fn builder(name: &'static str) -> SpanBuilder {
    SpanBuilder::from_name(name).with_start_time(at(123_456_789))
}

/// Returns the payloads in the log. The process's random name is replaced by `P`, and its process
/// id by `N`.
fn lines(live: &LiveSpans) -> Vec<String> {
    live.target().flush(PATIENCE).unwrap();
    let messages = read(&mut live.target().subscribe(Subscribe::all()));
    let mut process = String::new();
    let text = |message: &Message| match message {
        Message::Event(event) => String::from_utf8(event.payload.to_vec()).unwrap(),
        other => panic!("{other:?} is not an event"),
    };
    let lines: Vec<String> = messages.iter().map(text).collect();
    if let Some((_, rest)) = lines
        .first()
        .and_then(|line| line.split_once("\"process\":\"p"))
    {
        process = format!("p{}", &rest[..7]);
        assert!(
            process
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "{process}"
        );
    }
    let pid = format!("\"pid\":{},", std::process::id());
    let plain = |line: String| match process.as_str() {
        "" => line,
        process => line.replace(process, "P").replace(&pid, "\"pid\":N,"),
    };
    lines.into_iter().map(plain).collect()
}

const IDS: &str =
    "\"traceId\":\"00000000000000000000000000000001\",\"spanId\":\"0000000000000001\"";

#[test]
fn a_span_is_started_and_ended_as_promised() {
    let watched = Watched::new();
    let span = builder("checkout")
        .with_kind(OtelKind::Server)
        .with_attributes([KeyValue::new("cart.items", 3)]);
    let mut span = tracer(&watched).build(span);
    span.add_event_with_timestamp(
        "exception",
        at(500_000_000),
        vec![KeyValue::new(
            "exception.message",
            "card \"4111\" declined\r\n",
        )],
    );
    let linked = SpanContext::new(
        TraceId::from(0xa),
        SpanId::from(0xb),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    span.add_link(linked, vec![KeyValue::new("why", "retry")]);
    span.set_attribute(KeyValue::new("cart.items", 4));
    span.set_attribute(KeyValue::new("paid", false));
    span.set_status(Status::error("card declined"));
    span.end_with_timestamp(at(1_000_000_000));

    let all = lines(&watched.live);
    let head = "\"parentSpanId\":null,\"name\":\"checkout\",\"kind\":\"SERVER\",\"process\":\"P\",\"service\":\"shop\",\"scope\":\"shop::cart\"";
    let started = format!(
        "{{\"type\":\"started\",{IDS},{head},\"attributes\":{{\"cart.items\":3}},\"timestamp\":\"2026-11-22T11:39:00.123456789Z\"}}"
    );
    let ended = format!(
        "{{\"type\":\"ended\",{IDS},{head},\"status\":{{\"code\":\"ERROR\",\"message\":\"card declined\"}},\
         \"attributes\":{{\"cart.items\":4,\"paid\":false}},\"startTimestamp\":\"2026-11-22T11:39:00.123456789Z\",\
         \"timestamp\":\"2026-11-22T11:39:01.000000000Z\",\
         \"events\":[{{\"name\":\"exception\",\"timestamp\":\"2026-11-22T11:39:00.500000000Z\",\
         \"attributes\":{{\"exception.message\":\"card \\\"4111\\\" declined\\r\\n\"}}}}],\
         \"links\":[{{\"traceId\":\"0000000000000000000000000000000a\",\"spanId\":\"000000000000000b\",\
         \"attributes\":{{\"why\":\"retry\"}}}}]}}"
    );
    assert_eq!(all[1..], [started, ended]);
}

#[test]
fn a_process_is_introduced_as_promised() {
    let watched = Watched::new();
    drop(tracer(&watched).build(builder("job")));
    let all = lines(&watched.live);
    let (head, times) = all[0].split_once("\"startTimestamp\":\"").unwrap();
    let expected = "{\"type\":\"process\",\"traceId\":null,\"spanId\":null,\"process\":\"P\",\"service\":\"shop\",\
                    \"resource\":{\"host.cores\":4,\"service.name\":\"shop\"},\"pid\":N,";
    assert_eq!(head, expected);
    let (start, now) = times.split_once("\",\"timestamp\":\"").unwrap();
    let now = now.strip_suffix("\"}").unwrap();
    assert!(
        start <= now,
        "the start is after the timestamp: {start} {now}"
    );
    assert_eq!(
        (start.len(), now.len()),
        (30, 30),
        "a time lacks nine decimals or a Z"
    );
}

#[test]
fn the_frame_around_an_event_has_three_fields_in_order() {
    let watched = Watched::new();
    let mut span = tracer(&watched).build(builder("job"));
    span.end_with_timestamp(at(123_456_790));
    let payloads = lines(&watched.live);
    let body = block_on(async {
        use http_body_util::BodyExt as _;
        let uri = "/".parse().unwrap();
        let response =
            watched
                .live
                .target()
                .respond(Subscribe::all(), &http::HeaderMap::new(), &uri);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let mut text = String::new();
        while !text.contains("event: ended") {
            let frame = body.frame().await.unwrap().unwrap();
            text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
        text
    });
    let epoch = watched.live.target().head().epoch();
    let at_process = body.find("event: process\n").unwrap();
    let process = body
        .split("\"process\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let body = body
        .replace(process, "P")
        .replace(&format!("\"pid\":{}", std::process::id()), "\"pid\":N");
    let frame = |(name, payload): (&str, &String)| {
        format!("event: {name}\nid: {epoch}-{{}}\ndata: {payload}\n\n")
    };
    let frames: Vec<String> = ["process", "started", "ended"]
        .into_iter()
        .zip(&payloads)
        .map(frame)
        .collect();
    let expected: String = (1..)
        .zip(frames)
        .map(|(id, frame)| frame.replacen("{}", &i32::to_string(&id), 1))
        .collect();
    assert_eq!(body[at_process..], expected);
}

/// Returns the `status` of a span's end, and the fields between it and `attributes`.
fn status_of(status: Status) -> String {
    let watched = Watched::new();
    let mut span = tracer(&watched).build(builder("job"));
    span.set_status(status);
    span.end();
    let ended = lines(&watched.live).remove(2);
    let (_, status) = ended.split_once("\"status\":").unwrap();
    status.split_once(",\"attributes\"").unwrap().0.to_owned()
}

#[test]
fn a_status_is_ok_unless_it_is_an_error() {
    assert_eq!(status_of(Status::Unset), "{\"code\":\"OK\"}");
    assert_eq!(status_of(Status::Ok), "{\"code\":\"OK\",\"explicit\":true}");
    assert_eq!(status_of(Status::error("")), "{\"code\":\"ERROR\"}");
    assert_eq!(
        status_of(Status::error("no\n\u{1}")),
        "{\"code\":\"ERROR\",\"message\":\"no\\n\\u0001\"}"
    );
}

#[test]
fn unusual_fields_come_after_all_others() {
    // With a filter of the app, the `started` event is made from the SDK's copy of the span. Only
    // that copy has the counts of dropped parts.
    let live = LiveSpans::builder().filter(|_| true).build().unwrap();
    let provider = provider_of(&live)
        .with_sampler(live.sampler(Sampler::AlwaysOff))
        .with_max_attributes_per_span(1)
        .with_max_events_per_span(1)
        .with_max_links_per_span(1)
        .build();
    let scope = InstrumentationScope::builder("shop::cart")
        .with_version("1.2.0")
        .build();
    let tracer = provider.tracer_with_scope(scope);
    let state = TraceState::from_key_value([("shop", "7")]).unwrap();
    let parent = SpanContext::new(
        TraceId::from(0xabc),
        SpanId::from(0xdef),
        TraceFlags::default(),
        true,
        state,
    );
    let context = opentelemetry::Context::new().with_remote_span_context(parent);
    let two = |keys: [&'static str; 2]| keys.map(|key| KeyValue::new(key, 1));
    let links = [1_u64, 2].map(|span| {
        Link::new(
            SpanContext::new(
                TraceId::from(9),
                SpanId::from(span),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            vec![],
            0,
        )
    });
    let span = builder("job")
        .with_attributes(two(["a", "b"]))
        .with_links(links.to_vec());
    let mut span = tracer.build_with_context(span, &context);
    span.add_event_with_timestamp("one", at(1), vec![]);
    span.add_event_with_timestamp("two", at(2), vec![]);
    span.end_with_timestamp(at(200_000_000));
    let all = lines(&live);
    let head = "\"traceId\":\"00000000000000000000000000000abc\",\"spanId\":\"0000000000000001\",\
                \"parentSpanId\":\"0000000000000def\",\"name\":\"job\",\"kind\":\"INTERNAL\",\"process\":\"P\",\
                \"service\":\"shop\",\"scope\":\"shop::cart\"";
    let links = "\"links\":[{\"traceId\":\"00000000000000000000000000000009\",\"spanId\":\"0000000000000001\",\"attributes\":{}}]";
    let extras = "\"parentRemote\":true,\"sampled\":false,\"traceState\":\"shop=7\",\"scopeVersion\":\"1.2.0\"";
    let started = format!(
        "{{\"type\":\"started\",{head},\"attributes\":{{\"a\":1}},\"timestamp\":\"2026-11-22T11:39:00.123456789Z\",\
         {links},{extras},\"dropped\":{{\"attributes\":1,\"events\":0,\"links\":0}}}}"
    );
    let ended = format!(
        "{{\"type\":\"ended\",{head},\"status\":{{\"code\":\"OK\"}},\"attributes\":{{\"a\":1}},\
         \"startTimestamp\":\"2026-11-22T11:39:00.123456789Z\",\"timestamp\":\"2026-11-22T11:39:00.200000000Z\",\
         \"events\":[{{\"name\":\"one\",\"timestamp\":\"2026-11-22T11:39:00.000000001Z\",\"attributes\":{{}}}}],\
         {links},{extras},\"dropped\":{{\"attributes\":1,\"events\":1,\"links\":1}}}}"
    );
    assert_eq!(all[1..], [started, ended]);
}

/// Returns the part between scope and timestamp of a start with these attributes.
fn attributes_of(attributes: Vec<KeyValue>) -> String {
    let watched = Watched::new();
    drop(tracer(&watched).build(builder("job").with_attributes(attributes)));
    let started = lines(&watched.live).remove(1);
    let (_, attributes) = started.split_once("\"scope\":\"shop::cart\",").unwrap();
    attributes
        .split_once(",\"timestamp\"")
        .unwrap()
        .0
        .to_owned()
}

#[test]
fn a_repeated_key_has_its_last_value_at_its_first_position() {
    let pairs = vec![
        KeyValue::new("a", 1),
        KeyValue::new("b", 2),
        KeyValue::new("a", "three"),
        KeyValue::new("b", f64::NAN),
    ];
    let expected =
        "\"attributes\":{\"a\":\"three\",\"b\":\"NaN\"},\"attributeTypes\":{\"b\":\"double\"}";
    assert_eq!(attributes_of(pairs), expected);
    let pairs = vec![KeyValue::new("a", f64::NAN), KeyValue::new("a", 1)];
    assert_eq!(attributes_of(pairs), "\"attributes\":{\"a\":1}");
}

#[test]
fn numbers_that_json_cannot_carry_are_text_with_their_type() {
    let max = (1_i64 << 53) - 1;
    let pairs = vec![
        KeyValue::new("safe", max),
        KeyValue::new("unsafe", max + 1),
        KeyValue::new("min", i64::MIN),
        KeyValue::new("-safe", -max),
        KeyValue::new("nan", f64::NAN),
        KeyValue::new("inf", f64::INFINITY),
        KeyValue::new("-inf", f64::NEG_INFINITY),
        KeyValue::new("ints", Value::Array(Array::I64(vec![1, i64::MAX]))),
        KeyValue::new("doubles", Value::Array(Array::F64(vec![1.0, f64::NAN]))),
    ];
    let expected = "\"attributes\":{\"safe\":9007199254740991,\"unsafe\":\"9007199254740992\",\
                    \"min\":\"-9223372036854775808\",\"-safe\":-9007199254740991,\"nan\":\"NaN\",\"inf\":\"Infinity\",\
                    \"-inf\":\"-Infinity\",\"ints\":[1,\"9223372036854775807\"],\"doubles\":[1.0,\"NaN\"]},\
                    \"attributeTypes\":{\"unsafe\":\"int\",\"min\":\"int\",\"nan\":\"double\",\"inf\":\"double\",\
                    \"-inf\":\"double\",\"ints\":\"int[]\",\"doubles\":\"double[]\"}";
    assert_eq!(attributes_of(pairs), expected);
}

#[test]
fn doubles_always_look_like_doubles() {
    let doubles = [0.0, -0.0, 3.0, 0.1, 1e16, 1e-7, 1.5e300, 100_000.0];
    let pairs = vec![
        KeyValue::new("all", Value::Array(Array::F64(doubles.to_vec()))),
        KeyValue::new("bools", Value::Array(Array::Bool(vec![true, false]))),
        KeyValue::new(
            "texts",
            Value::Array(Array::String(vec![
                StringValue::from("a\"b"),
                StringValue::from(""),
            ])),
        ),
        KeyValue::new("none", Value::Array(Array::I64(vec![]))),
    ];
    let expected = "\"attributes\":{\"all\":[0.0,-0.0,3.0,0.1,1e16,1e-7,1.5e300,100000.0],\"bools\":[true,false],\
                    \"texts\":[\"a\\\"b\",\"\"],\"none\":[]}";
    assert_eq!(attributes_of(pairs), expected);
}

#[test]
fn text_is_escaped_where_json_asks_for_it_and_nowhere_else() {
    let pairs = vec![KeyValue::new(
        "k\r\n\"\\",
        "\0\u{1f}\t\u{7f}/<é\u{2028}\u{feff}\u{10ffff}",
    )];
    let expected = "\"attributes\":{\"k\\r\\n\\\"\\\\\":\"\\u0000\\u001f\\t\u{7f}/<é\u{2028}\u{feff}\u{10ffff}\"}";
    assert_eq!(attributes_of(pairs), expected);
}

#[test]
fn the_event_lists_the_path_of_a_cut_value() {
    let long = "x".repeat(SpanEvent::VALUE_BYTES_MAX + 1);
    let watched = Watched::new();
    drop(tracer(&watched).build(builder("job").with_attributes([KeyValue::new("note", long)])));
    let started = lines(&watched.live).remove(1);
    let kept = "x".repeat(SpanEvent::VALUE_BYTES_MAX);
    let expected = format!(
        "\"attributes\":{{\"note\":\"{kept}\"}},\"timestamp\":\"2026-11-22T11:39:00.123456789Z\",\"cut\":[\"attributes.note\"]}}"
    );
    assert_eq!(started[started.find("\"attributes\"").unwrap()..], expected);
}

#[test]
fn a_span_whose_parent_is_in_another_process_has_a_remote_parent() {
    let watched = Watched::new();
    drop(tracer(&watched).build_with_context(builder("job"), &remote_parent()));
    let started = lines(&watched.live).remove(1);
    let expected = "{\"type\":\"started\",\"traceId\":\"00000000000000000000000000000abc\",\"spanId\":\"0000000000000001\",\
                    \"parentSpanId\":\"0000000000000def\",\"name\":\"job\",\"kind\":\"INTERNAL\",\"process\":\"P\",\
                    \"service\":\"shop\",\"scope\":\"shop::cart\",\"attributes\":{},\
                    \"timestamp\":\"2026-11-22T11:39:00.123456789Z\",\"parentRemote\":true}";
    assert_eq!(started, expected);
}

#[test]
fn a_lost_span_ends_as_promised() {
    let watched = Watched::new();
    let span = builder("job")
        .with_attributes([KeyValue::new("n", i64::MAX), KeyValue::new("d", 0.1 + 0.2)]);
    let span = tracer(&watched).build(span);
    watched.provider.shutdown().unwrap();
    drop(span);
    let ended = lines(&watched.live).remove(2);
    let last_heard = ended
        .split_once("\"lastHeard\":\"")
        .unwrap()
        .1
        .strip_suffix("\"}}")
        .unwrap();
    assert_eq!(last_heard.len(), 30);
    let expected = format!(
        "{{\"type\":\"ended\",{IDS},\"parentSpanId\":null,\"name\":\"job\",\"kind\":\"INTERNAL\",\"process\":\"P\",\
         \"service\":\"shop\",\"scope\":\"shop::cart\",\"status\":{{\"code\":\"ERROR\",\
         \"message\":\"lost: the tracer provider was shut down while the span was open\"}},\
         \"attributes\":{{\"n\":\"9223372036854775807\",\"d\":0.30000000000000004}},\"attributeTypes\":{{\"n\":\"int\"}},\
         \"startTimestamp\":\"2026-11-22T11:39:00.123456789Z\",\"timestamp\":\"{last_heard}\",\
         \"lost\":{{\"reason\":\"shutdown\",\"lastHeard\":\"{last_heard}\"}}}}"
    );
    assert_eq!(ended, expected);
}

#[test]
fn events_of_a_program_look_like_those_of_spans() {
    let live = LiveSpans::builder().build().unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
    let (span, parent) = (
        "00f067aa0ba902b7".parse().unwrap(),
        "00f067aa0ba902b6".parse().unwrap(),
    );
    let started = SpanEvent::started(trace, span, "import")
        .parent(parent)
        .kind(SpanKind::Consumer)
        .service("shop")
        .scope("jobs")
        .attribute("rows", 3_i64)
        .durable()
        .at(at(0));
    let updated = SpanEvent::updated(trace, span, Some(SpanState::Waiting))
        .attribute("rows", 4_i64)
        .at(at(1));
    let renamed = SpanEvent::updated(trace, span, Some(SpanState::Running)).at(at(2));
    let log = SpanEvent::log(trace, span, "WARN", "slow\n")
        .attribute("ms", 0.5)
        .at(at(3));
    let ended = SpanEvent::ended(trace, span, "import", SpanStatus::Error("no".to_owned()))
        .started_at(at(0))
        .at(at(4));
    for event in [started, updated, renamed, log, ended] {
        live.target().try_dispatch(&event).unwrap();
    }
    let ids = "\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spanId\":\"00f067aa0ba902b7\"";
    let expected = [
        format!(
            "{{\"type\":\"started\",{ids},\"parentSpanId\":\"00f067aa0ba902b6\",\"name\":\"import\",\"kind\":\"CONSUMER\",\
             \"process\":\"\",\"service\":\"shop\",\"scope\":\"jobs\",\"attributes\":{{\"rows\":3}},\
             \"timestamp\":\"2026-11-22T11:39:00.000000000Z\",\"durable\":true}}"
        ),
        format!(
            "{{\"type\":\"updated\",{ids},\"process\":\"\",\"state\":\"waiting\",\"attributes\":{{\"rows\":4}},\
             \"timestamp\":\"2026-11-22T11:39:00.000000001Z\"}}"
        ),
        format!(
            "{{\"type\":\"updated\",{ids},\"process\":\"\",\"state\":\"running\",\"timestamp\":\"2026-11-22T11:39:00.000000002Z\"}}"
        ),
        format!(
            "{{\"type\":\"log\",{ids},\"process\":\"\",\"service\":\"\",\"severityNumber\":13,\"severityText\":\"WARN\",\"body\":\"slow\\n\",\
             \"attributes\":{{\"ms\":0.5}},\"timestamp\":\"2026-11-22T11:39:00.000000003Z\"}}"
        ),
        format!(
            "{{\"type\":\"ended\",{ids},\"parentSpanId\":null,\"name\":\"import\",\"kind\":\"INTERNAL\",\"process\":\"\",\
             \"service\":\"\",\"scope\":\"\",\"status\":{{\"code\":\"ERROR\",\"message\":\"no\"}},\"attributes\":{{}},\
             \"startTimestamp\":\"2026-11-22T11:39:00.000000000Z\",\"timestamp\":\"2026-11-22T11:39:00.000000004Z\"}}"
        ),
    ];
    assert_eq!(lines(&live), expected);
}

//! The quick reader against the slower ones, on usual events and on hostile ones.

use proptest::{
    collection::vec,
    option::of,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof},
    prop_assert_eq, proptest,
    sample::{Index, select},
};

use super::*;
use crate::{
    access::RedactAction,
    log::event::SseEvent as _,
    span::event::{SpanEvent, SpanStatus},
    trace::parse,
};

const TIME: &str = "2026-11-22T11:39:00.123456789Z";

/// Returns the change that the quick reader finds.
fn quick(payload: &[u8], redaction: &Redaction) -> Option<String> {
    let span = PlainSpan::read(payload, redaction)?;
    let change = span.change(|text| text.into())?;
    Some(format!("{change:?}"))
}

/// Returns the change that the slower readers find, or `None` if there is none or a value is masked.
fn slow(payload: &[u8], redaction: &Redaction) -> Option<String> {
    if redaction.encoded(payload).is_some() {
        return None;
    }
    let change = parse::span_change(payload)?;
    Some(format!("{change:?}"))
}

fn redactions() -> [Redaction; 5] {
    [
        Redaction::default(),
        Redaction::none(),
        Redaction::none().deny(["page", "status.message"]),
        Redaction::default().allow(["token"]).deny(["*"]),
        Redaction::default().only(["url.full", "page", "progress.*"]),
    ]
}

fn encoded(event: &SpanEvent) -> Vec<u8> {
    let mut payload = Vec::new();
    event.encode(&mut payload);
    payload
}

#[test]
fn usual_events_are_read_quickly() {
    let id = |byte: u8| SpanId::from_bytes([byte; 8]).unwrap();
    let trace_id = TraceId::from_bytes([0x4b; 16]).unwrap();
    let events = [
        SpanEvent::started(trace_id, id(1), "GET /orders/{id}"),
        SpanEvent::started(trace_id, id(1), "").durable(),
        SpanEvent::ended(trace_id, id(1), "é", SpanStatus::Unset),
        SpanEvent::ended(trace_id, id(1), "pay", SpanStatus::Ok),
        SpanEvent::ended(trace_id, id(1), "pay", SpanStatus::Error(String::new())),
        SpanEvent::ended(trace_id, id(1), "pay", SpanStatus::Error("declined".into())),
    ];
    let filled = |event: &SpanEvent| {
        event
            .clone()
            .parent(id(2))
            .kind(SpanKind::Client)
            .service("shop")
            .scope("shop::orders")
            .attribute("url.full", "https://shop.example/orders?page=2")
            .attribute("cart.items", 3_i64)
            .attribute("share", -0.25)
            .attribute("is_gift", true)
            .attribute("progress.current", 7_i64)
    };
    let redaction = Redaction::default();
    for event in events.iter().cloned().chain(events.iter().map(filled)) {
        let payload = encoded(&event);
        let found = quick(&payload, &redaction);
        assert!(found.is_some(), "{event:?}");
        assert_eq!(found, slow(&payload, &redaction));
    }
}

#[test]
fn an_event_with_a_secret_is_left_to_the_redaction() {
    let of = |name: &str, key: &str, value: &str| {
        format!(
            r#"{{"type":"started","traceId":"{:032x}","spanId":"{:016x}","parentSpanId":null,"name":"{name}","kind":"CLIENT","process":"","service":"","attributes":{{"{key}":"{value}"}},"timestamp":"{TIME}"}}"#,
            1, 1
        )
    };
    let redaction = Redaction::default();
    for (name, key, value) in [
        ("pay", "password", "x"),
        ("pay", "note", "token=x"),
        ("pay", "query", "page=1&token=x"),
        ("pay", "process.command_args", "--token x"),
        ("GET /?token=x", "page", "2"),
    ] {
        assert_eq!(quick(of(name, key, value).as_bytes(), &redaction), None);
    }
    let plain = of("pay", "page", "2");
    assert!(quick(plain.as_bytes(), &redaction).is_some());
    let function = Redaction::default().with(|_, _, _| RedactAction::Keep);
    assert_eq!(quick(plain.as_bytes(), &function), None);
}

/// A part of an event: usually its usual form, sometimes an odd one.
fn part(
    usual: &'static [&'static str],
    odd: &'static [&'static str],
) -> impl Strategy<Value = &'static str> {
    prop_oneof![24 => select(usual), 1 => select(odd)]
}

fn id(digits: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        24 => vec(select(b"0123456789abcdef".as_slice()), digits)
            .prop_map(|digits| String::from_utf8(digits).unwrap()),
        1 => Just("0".repeat(digits)),
        1 => Just("A".repeat(digits)),
        1 => Just("1".repeat(digits - 1)),
    ]
}

fn attribute() -> impl Strategy<Value = String> {
    let key = part(
        &[
            "page",
            "http.route",
            "url.full",
            "token",
            "progress.current",
            "é",
            "",
        ],
        &["a\\u0062", "progress.total\\u0000", "cmd", "a\nb"],
    );
    let value = part(
        &[
            "1",
            "-7",
            "0.5",
            "-0",
            "true",
            "false",
            "\"a\"",
            "\"\"",
            "\"a=b\"",
            "\"{}\"",
            "\"https://u@h/?token=x\"",
            "123456789012345678901",
        ],
        &[
            "null",
            "01",
            "-",
            "1.",
            ".5",
            "1e3",
            "1e999",
            "[1]",
            "[]",
            "{}",
            "{\"a\":1}",
            "\"\\n\"",
            "\"\\ud800\"",
            "tru",
            "\"a",
            "",
            "1 ",
            "1000000000000000000000000000000000000000000000000000000000000000000000000000000",
        ],
    );
    (key, value).prop_map(|(key, value)| format!("\"{key}\":{value}"))
}

/// The text of an event up to and including the field `parentSpanId`.
fn identity() -> impl Strategy<Value = String> {
    let parts = (
        part(
            &["{\"type\":\"started\"", "{\"type\":\"ended\""],
            &[
                "{\"type\":\"log\"",
                "{\"type\":\"updated\"",
                "{ \"type\":\"started\"",
                "{",
            ],
        ),
        id(32),
        id(16),
        prop_oneof![
            8 => Just("null".to_owned()),
            8 => id(16).prop_map(|id| format!("\"{id}\"")),
            1 => Just("0".to_owned()),
        ],
    );
    parts.prop_map(|(kind, trace, span, parent)| {
        format!("{kind},\"traceId\":\"{trace}\",\"spanId\":\"{span}\",\"parentSpanId\":{parent}")
    })
}

/// The fields from the name to the scope.
fn descriptors() -> impl Strategy<Value = String> {
    let parts = (
        part(
            &["\"pay\"", "\"\"", "\"GET /é?page=1\"", "\"a: b\""],
            &["\"a\\\"b\"", "null", "\"token=x\"", "7"],
        ),
        part(
            &["\"CLIENT\"", "\"SERVER\"", "\"INTERNAL\""],
            &["\"client\"", "\"\"", "null", "\"X\""],
        ),
        part(
            &[
                ",\"process\":\"p\",\"service\":\"shop\"",
                ",\"process\":\"\",\"service\":\"\"",
            ],
            &[
                "",
                ",\"service\":\"shop\"",
                ",\"process\":\"p\",\"service\":null",
            ],
        ),
        part(
            &["", ",\"scope\":\"a\""],
            &[",\"scope\":7", ",\"name\":\"twice\""],
        ),
    );
    parts.prop_map(|(name, kind, service, scope)| {
        format!(",\"name\":{name},\"kind\":{kind}{service}{scope}")
    })
}

fn status() -> impl Strategy<Value = &'static str> {
    part(
        &[
            "",
            "",
            ",\"status\":{\"code\":\"OK\"}",
            ",\"status\":{\"code\":\"ERROR\"}",
            ",\"status\":{\"code\":\"OK\",\"explicit\":true}",
            ",\"status\":{\"code\":\"ERROR\",\"message\":\"no\"}",
            ",\"status\":{\"code\":\"OK\"},\"cancelled\":true",
        ],
        &[
            ",\"status\":{\"code\":\"ERROR\",\"message\":\"token=x\"}",
            ",\"status\":{}",
            ",\"status\":null",
            ",\"status\":{\"code\":\"OK\"},\"panicked\":true",
            ",\"status\":{\"code\":\"ERROR\"},\"lost\":{}",
            ",\"cancelled\":true",
        ],
    )
}

/// The fields from the times to the end.
fn times_and_traits() -> impl Strategy<Value = String> {
    let parts = (
        part(
            &[
                "",
                "",
                ",\"startTimestamp\":\"2026-11-22T11:38:00.123456789Z\"",
            ],
            &[",\"startTimestamp\":\"x\"", ",\"startTimestamp\":null"],
        ),
        part(
            &[",\"timestamp\":\"2026-11-22T11:39:00.123456789Z\""],
            &[
                "",
                ",\"timestamp\":\"\"",
                ",\"timestamp\":\"2026-13-22T11:39:00.123456789Z\"",
            ],
        ),
        part(
            &[
                "}",
                ",\"parentRemote\":true}",
                ",\"sampled\":false}",
                ",\"durable\":true}",
                ",\"parentRemote\":true,\"sampled\":false,\"traceState\":\"a=b\",\"scopeVersion\":\"1\"}",
                ",\"scopeVersion\":\"\",\"receivedTimestamp\":\"x\",\"durable\":true}",
            ],
            &[
                ",\"links\":[]}",
                ",\"events\":[{\"name\":\"e\"}]}",
                ",\"cut\":[\"a\"]}",
                "",
                ",\"parentRemote\":true,\"parentRemote\":true}",
                "}\n",
                "} {}",
                ",\"new\":1}",
                ",\"links\":[{\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}]}",
            ],
        ),
    );
    parts.prop_map(|(start, time, traits)| format!("{start}{time}{traits}"))
}

fn event() -> impl Strategy<Value = String> {
    let attributes = vec(attribute(), 0..4).prop_map(|all| all.join(","));
    let close = part(
        &["}"],
        &[
            "",
            "}}",
            "},\"attributeTypes\":{}",
            "},\"attributes\":{}",
            ",}",
        ],
    );
    let parts = (
        identity(),
        descriptors(),
        status(),
        attributes,
        close,
        times_and_traits(),
    );
    parts.prop_map(|(identity, descriptors, status, attributes, close, end)| {
        format!("{identity}{descriptors}{status},\"attributes\":{{{attributes}{close}{end}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn the_slower_readers_find_the_change_that_the_quick_reader_finds(
        event in event(),
        change in of((any::<Index>(), any::<u8>())),
    ) {
        let mut payload = event.into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        for redaction in redactions() {
            if let Some(found) = quick(&payload, &redaction) {
                prop_assert_eq!(Some(found), slow(&payload, &redaction));
            }
        }
    }
}

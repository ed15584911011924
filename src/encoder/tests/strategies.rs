//! Strategies for arbitrary and hostile spans. Texts, values and numbers that are special to JSON, SSE, JavaScript or
//! UTF-8 occur more often than by chance.

use opentelemetry::Array;
use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::StringValue;
use opentelemetry::Value as OtelValue;
use opentelemetry::trace::Event;
use opentelemetry::trace::Link;
use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::SpanKind as OtelKind;
use opentelemetry::trace::Status as OtelStatus;
use opentelemetry::trace::TraceFlags;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TraceState;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanEvents;
use opentelemetry_sdk::trace::SpanLinks;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use std::borrow::Cow;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use crate::span::json::VALUE_BYTES_MAX;

/// Any text. Characters that are special to JSON, SSE, JavaScript or UTF-8 occur more often than by chance.
pub(super) fn text() -> impl Strategy<Value = String> {
    let special = vec(
        prop_oneof![
            Just('\r'),
            Just('\n'),
            Just('\0'),
            Just('\u{feff}'),
            Just('\u{2028}'),
            Just('"'),
            Just('\\'),
            Just('/'),
            Just('\u{7f}'),
            Just('\u{1f}'),
            Just('\t'),
            Just('<'),
            Just('é'),
            Just('\u{10ffff}'),
            Just('}'),
            Just(','),
            any::<char>(),
        ],
        0..12,
    );
    prop_oneof![
        special.prop_map(String::from_iter),
        vec(any::<char>(), 0..12).prop_map(String::from_iter),
        "[a-z.]{0,9}"
    ]
}

pub(super) fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
        Just(1e16),
        Just(3.0)
    ]
}

pub(super) fn integer() -> impl Strategy<Value = i64> {
    let edge = (1_i64 << 53) - 1;
    prop_oneof![
        any::<i64>(),
        Just(i64::MIN),
        Just(i64::MAX),
        -9_i64..9,
        edge - 1..edge + 3,
        -edge - 3..-edge + 1
    ]
}

pub(super) fn value() -> impl Strategy<Value = OtelValue> {
    prop_oneof![
        any::<bool>().prop_map(OtelValue::Bool),
        integer().prop_map(OtelValue::I64),
        double().prop_map(OtelValue::F64),
        text().prop_map(OtelValue::from),
        vec(any::<bool>(), 0..4).prop_map(|all| OtelValue::Array(Array::Bool(all))),
        vec(integer(), 0..4).prop_map(|all| OtelValue::Array(Array::I64(all))),
        vec(double(), 0..4).prop_map(|all| OtelValue::Array(Array::F64(all))),
        vec(text().prop_map(StringValue::from), 0..4)
            .prop_map(|all| OtelValue::Array(Array::String(all))),
    ]
}

pub(super) fn attributes(count: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    // Few short keys, so that they repeat.
    let key = prop_oneof![text(), "[ab]"];
    vec(
        (key, value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..count,
    )
}

pub(super) fn time() -> impl Strategy<Value = Duration> {
    (0_u64..253_402_300_799, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Duration::new(seconds % (1 << 33), nanos))
}

pub(super) fn context() -> impl Strategy<Value = SpanContext> {
    let state = prop_oneof![
        Just(TraceState::NONE),
        Just(TraceState::from_key_value([("shop", "1"), ("ot", "th:c")]).unwrap())
    ];
    (1_u128.., 1_u64.., any::<bool>(), state).prop_map(|(trace, span, sampled, state)| {
        let flags = if sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        SpanContext::new(
            TraceId::from(trace),
            SpanId::from(span),
            flags,
            false,
            state,
        )
    })
}

#[expect(clippy::too_many_lines, reason = "it is one flat list of fields")]
pub(super) fn span() -> impl Strategy<Value = SpanData> {
    let kind = prop_oneof![
        Just(OtelKind::Internal),
        Just(OtelKind::Server),
        Just(OtelKind::Client),
        Just(OtelKind::Producer),
        Just(OtelKind::Consumer)
    ];
    let status = prop_oneof![
        Just(OtelStatus::Unset),
        Just(OtelStatus::Ok),
        text().prop_map(|text| OtelStatus::Error {
            description: text.into()
        })
    ];
    let event = (text(), time(), attributes(4))
        .prop_map(|(name, time, attributes)| Event::new(name, UNIX_EPOCH + time, attributes, 0));
    let link = (context(), attributes(4))
        .prop_map(|(context, attributes)| Link::new(context, attributes, 0));
    let scope = (text(), proptest::option::of(text()));
    let head = (
        context(),
        any::<u64>(),
        any::<bool>(),
        kind,
        text(),
        time(),
        time(),
        scope,
    );
    let rest = (
        attributes(8),
        any::<[u32; 3]>(),
        vec(event, 0..3),
        vec(link, 0..3),
        status,
    );
    (head, rest).prop_map(|(head, rest)| {
        let (span_context, parent, remote, span_kind, name, start, end, (scope, version)) = head;
        let (
            attributes,
            [dropped_attributes_count, dropped_events, dropped_links],
            events,
            links,
            status,
        ) = rest;
        let mut scope = InstrumentationScope::builder(scope);
        if let Some(version) = version {
            scope = scope.with_version(version);
        }
        let mut all_events = SpanEvents::default();
        all_events.events = events;
        all_events.dropped_count = dropped_events;
        let mut all_links = SpanLinks::default();
        all_links.links = links;
        all_links.dropped_count = dropped_links;
        SpanData {
            span_context,
            parent_span_id: SpanId::from(if remote { parent | 1 } else { parent % 2 }),
            parent_span_is_remote: remote,
            span_kind,
            name: Cow::Owned(name),
            start_time: UNIX_EPOCH + start,
            end_time: UNIX_EPOCH + end,
            attributes,
            dropped_attributes_count,
            events: all_events,
            links: all_links,
            status,
            instrumentation_scope: scope.build(),
        }
    })
}

pub(super) fn plain_span() -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(1),
            SpanId::from(2),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: OtelKind::Internal,
        name: "job".into(),
        start_time: UNIX_EPOCH + Duration::from_secs(1),
        end_time: UNIX_EPOCH + Duration::from_secs(2),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: OtelStatus::Unset,
        instrumentation_scope: InstrumentationScope::builder("test").build(),
    }
}

/// Texts of lengths around the bounds. Their characters grow by different factors when escaped.
pub(super) fn long_text() -> impl Strategy<Value = String> {
    let size = prop_oneof![
        0_usize..40,
        VALUE_BYTES_MAX - 9..VALUE_BYTES_MAX + 9,
        Just(40_000),
        Just(1 << 20)
    ];
    let character = prop_oneof![
        Just('a'),
        Just('\u{1}'),
        Just('"'),
        Just('é'),
        Just('\u{2028}'),
        Just('\u{10ffff}')
    ];
    (size, character)
        .prop_map(|(size, character)| character.to_string().repeat(size / character.len_utf8()))
}

pub(super) fn long_value() -> impl Strategy<Value = OtelValue> {
    let count = prop_oneof![
        0_usize..40,
        1800_usize..1850,
        8180..8210_usize,
        Just(100_000)
    ];
    prop_oneof![
        long_text().prop_map(OtelValue::from),
        vec(long_text().prop_map(StringValue::from), 0..4)
            .prop_map(|all| OtelValue::Array(Array::String(all))),
        count
            .clone()
            .prop_map(|count| OtelValue::Array(Array::I64(vec![0; count]))),
        count
            .clone()
            .prop_map(|count| OtelValue::Array(Array::F64(vec![f64::NAN; count]))),
        count.prop_map(|count| OtelValue::Array(Array::Bool(vec![true; count]))),
        Just(OtelValue::F64(f64::NAN)),
        any::<i64>().prop_map(OtelValue::I64),
    ]
}

pub(super) fn hostile_span() -> impl Strategy<Value = SpanData> {
    let pair = || (long_text(), long_value()).prop_map(|(key, value)| KeyValue::new(key, value));
    let event = (long_text(), vec(pair(), 0..3))
        .prop_map(|(name, attributes)| Event::new(name, UNIX_EPOCH, attributes, 0));
    let link = (context(), vec(pair(), 0..3))
        .prop_map(|(context, attributes)| Link::new(context, attributes, 0));
    let parts = (
        long_text(),
        long_text(),
        long_text(),
        vec(pair(), 0..24),
        vec(event, 0..12),
        vec(link, 0..12),
        long_text(),
    );
    parts.prop_map(
        |(name, scope, version, attributes, events, links, message)| {
            let mut span = plain_span();
            span.name = name.into();
            span.instrumentation_scope = InstrumentationScope::builder(scope)
                .with_version(version)
                .build();
            span.attributes = attributes;
            span.events.events = events;
            span.links.links = links;
            span.status = OtelStatus::Error {
                description: message.into(),
            };
            span
        },
    )
}

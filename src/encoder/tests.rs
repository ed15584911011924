//! Properties of the way from the SDK's data to the wire, for arbitrary spans: what is written is JSON, says exactly
//! what the span says, and keeps within its bounds however hostile the span is.

use std::{
    borrow::Cow,
    cell::RefCell,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, StringValue, Value as OtelValue,
    trace::{
        Event, Link, SpanContext, SpanId, SpanKind as OtelKind, Status as OtelStatus, TraceFlags,
        TraceId, TraceState,
    },
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
    test_runner::Config,
};
use serde_json::{Map, Value as Json, json};

use crate::{
    encoder::template_cache::TemplateCache,
    ingest::write_buf::WriteBuf,
    span::{
        delta::slots::{OccupiedSlot, SlotGuard, SlotTable, StartSlots},
        event::AttributeValue,
        json::{self, EVENT_BYTES_MAX, LostReason, SpanFields, VALUE_BYTES_MAX},
        own_requests::{MountPrefixes, OwnRequestSpans},
        record::{self, Record, SpanOrigin, StartOutline},
        redact::{Redact, Redaction},
    },
    trace::{
        parse,
        state::{self, Change, Outcome},
    },
    util::time::Timestamp,
};

const PROCESS: &str = "p7f3k2aa";
const SERVICE: &str = "shop \"1\"";

/// Cases of each property; `PROPTEST_CASES` sets another number. Nothing is kept in the source tree.
fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(256);
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

/// Any text, with what is special to JSON, SSE, JavaScript and UTF-8 more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
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

fn double() -> impl Strategy<Value = f64> {
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

fn integer() -> impl Strategy<Value = i64> {
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

fn value() -> impl Strategy<Value = OtelValue> {
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

fn attributes(count: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    // Few short keys, so that they repeat.
    let key = prop_oneof![text(), "[ab]"];
    vec(
        (key, value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..count,
    )
}

fn time() -> impl Strategy<Value = Duration> {
    (0_u64..253_402_300_799, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Duration::new(seconds % (1 << 33), nanos))
}

fn context() -> impl Strategy<Value = SpanContext> {
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
fn span() -> impl Strategy<Value = SpanData> {
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

fn plain_span() -> SpanData {
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

/// A record of this log's, in the room that every start has.
fn written(mut write: impl FnMut(&mut WriteBuf<'_>) -> Option<()>) -> Vec<u8> {
    thread_local! {
        static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; 352 * 1024]);
    }
    MEMORY.with_borrow_mut(|memory| {
        let size = memory.len();
        let mut buf = WriteBuf::new(memory);
        write(&mut buf).expect("there is buf for the largest record");
        let left = buf.left();
        memory[..size - left].to_vec()
    })
}

/// The two payloads that a span gives: started and ended.
fn payloads(span: &SpanData) -> [Vec<u8>; 2] {
    let start =
        written(|buf| record::write_start(buf, 7, span, SpanOrigin::Sdk, &SlotGuard::none()));
    let end = written(|buf| record::write_end(buf, 7, span, SpanOrigin::Sdk));
    [started_payload(&start), ended_payload(record::read(&end))]
}

fn started_payload(start: &[u8]) -> Vec<u8> {
    let mut started = Vec::new();
    let Some(Record::Start(spanned)) = record::read(start) else {
        panic!("a start is read back")
    };
    assert_eq!(spanned.source, 7);
    json::started(&mut started, &named(spanned.span), spanned.start);
    started
}

fn ended_payload(end: Option<Record<'_>>) -> Vec<u8> {
    let mut ended = Vec::new();
    let Some(Record::End(spanned, end)) = end else {
        panic!("an end is read back")
    };
    let end = json::EndFields {
        start: spanned.start,
        ..end
    };
    json::ended(&mut ended, &named(spanned.span), &end);
    ended
}

fn named(span: SpanFields<'_>) -> SpanFields<'_> {
    SpanFields {
        process: PROCESS,
        service: SERVICE,
        ..span
    }
}

/// Whether the start was written as one like those before, in which case it says what it says by itself.
fn written_from_template(cache: &mut TemplateCache, redaction: &Redaction, record: &[u8]) -> bool {
    let (Some(Record::Start(spanned)), Some(outline)) =
        (record::read(record), StartOutline::of(record))
    else {
        return false;
    };
    let mut span = named(spanned.span);
    redaction.span(&mut span);
    let mut whole = b"before".to_vec();
    let layout = json::started(&mut whole, &span, spanned.start);
    let begun = state::Begun {
        parent: span.parent,
        parent_remote: span.parent_remote,
        name: span.name.into(),
        service: span.service.into(),
        kind: span.kind,
        start: spanned.start,
        links: Box::default(),
    };
    let mut templated = b"before".to_vec();
    let mut found = None;
    if let Some(template) = cache.find(&outline) {
        found = template.write(&mut templated, &outline);
        assert_eq!(
            format!("{:?}", template.span_start(&outline)),
            format!("{begun:?}")
        );
    }
    match &found {
        Some(_) => {
            let text = |payload: &[u8]| payload.escape_ascii().to_string();
            assert_eq!(text(&templated), text(&whole));
            assert_eq!(format!("{found:?}"), format!("{layout:?}"));
            assert_eq!(outline.slot, spanned.slot);
        }
        None => assert_eq!(templated, b"before"),
    }
    cache.learn(&outline, &span, &begun, |key| {
        redaction.depends_on_value(key)
    });
    found.is_some()
}

#[test]
fn the_third_start_of_one_shape_is_written_from_its_template() {
    let span = |name: &'static str, pairs: &[(&'static str, &'static str)]| SpanData {
        name: name.into(),
        attributes: pairs
            .iter()
            .map(|(key, value)| KeyValue::new(*key, *value))
            .collect(),
        ..plain_span()
    };
    let mut cache = TemplateCache::default();
    let mut templated = |name, pairs: &[_]| {
        written_from_template(
            &mut cache,
            &Redaction::default(),
            &copied_start(&span(name, pairs), &StartSlots::default()),
        )
    };
    assert!(!templated("GET", &[("http.route", "/a"), ("user", "me")]));
    assert!(!templated("GET", &[("http.route", "/b"), ("user", "you")]));
    assert!(templated("GET", &[("http.route", "/c"), ("user", "")]));
    for (name, pairs, from_template) in [
        ("GET", [("http.route", "/é"), ("user", "me\u{7f}")], true),
        ("GET", [("http.route", "a\"b"), ("user", "me")], false),
        ("GET", [("http.route", "/a\nb"), ("user", "me")], false),
        // Redaction looks into it.
        (
            "GET",
            [("http.route", "/a?token=s3cret"), ("user", "me")],
            false,
        ),
        (
            "GET",
            [("http.route", "x://me:s3cret@b"), ("user", "me")],
            false,
        ),
        ("GET", [("http.route", "/a"), ("customer", "me")], false),
        ("PUT", [("http.route", "/a"), ("user", "me")], false),
        ("GET", [("http.route", "/a"), ("user", "me")], true),
    ] {
        assert_eq!(templated(name, &pairs), from_template, "{name} {pairs:?}");
    }
    for key in ["password", "url.query"] {
        for _ in 0..4 {
            assert!(!templated("GET", &[(key, "token=s3cret")]), "{key}");
        }
    }
}

#[test]
fn a_start_that_redaction_may_change_is_never_written_from_a_template() {
    let mask_all = |_: &str, _: &str, _: &AttributeValue| Redact::Mask;
    let keep_all = |_: &str, _: &str, _: &AttributeValue| Redact::Keep;
    for (redaction, from_template) in [
        (Redaction::none(), true),
        (Redaction::none().only(["route"]), true),
        (Redaction::none().only(["user"]), false),
        (Redaction::none().deny(["http.*"]), false),
        (Redaction::none().deny(["http.*"]).allow(["route"]), true),
        (Redaction::none().with(mask_all), false),
        (Redaction::none().with(keep_all), false),
    ] {
        let span = SpanData {
            attributes: vec![KeyValue::new("http.route", "/a")],
            ..plain_span()
        };
        let mut cache = TemplateCache::default();
        let mut templated = || {
            written_from_template(
                &mut cache,
                &redaction,
                &copied_start(&span, &StartSlots::default()),
            )
        };
        assert_eq!(
            [templated(), templated(), templated()],
            [false, false, from_template],
            "{redaction:?}"
        );
    }
}

#[test]
fn more_shapes_than_the_cache_holds_are_kept_apart() {
    let mut cache = TemplateCache::default();
    let mut templated = 0;
    for number in (0..900).chain(0..900) {
        let span = SpanData {
            name: format!("{number}").into(),
            attributes: vec![KeyValue::new(format!("key.{}", number % 7), number)],
            ..plain_span()
        };
        for _ in 0..3 {
            let start = copied_start(&span, &StartSlots::default());
            templated += u32::from(written_from_template(
                &mut cache,
                &Redaction::none(),
                &start,
            ));
        }
    }
    assert!(
        templated >= 1800,
        "of each three in a row the third is templated: {templated}"
    );
}

#[test]
fn an_own_request_is_hidden_though_its_shape_has_a_template() {
    let start = |path: &'static str, parent| {
        let span = SpanData {
            attributes: vec![KeyValue::new("url.path", path)],
            parent_span_id: parent,
            ..plain_span()
        };
        copied_start(&span, &StartSlots::default())
    };
    let mounts = Arc::new(MountPrefixes::default());
    let mut hidden = OwnRequestSpans::new(Arc::clone(&mounts));
    let mut cache = TemplateCache::default();
    let mut is_hidden = |hidden: &OwnRequestSpans, path, parent| {
        let record = start(path, parent);
        while !written_from_template(&mut cache, &Redaction::default(), &record) {}
        let outline = StartOutline::of(&record).unwrap();
        cache.find(&outline).unwrap().is_hidden(hidden, &outline)
    };
    assert!(!is_hidden(&hidden, "/live/sse", SpanId::INVALID));
    mounts.learn("/live/sse", "/sse");
    assert!(is_hidden(&hidden, "/live/sse", SpanId::INVALID));
    assert!(!is_hidden(&hidden, "/shop", SpanId::INVALID));
    hidden.hide([0, 0, 0, 0, 0, 0, 0, 9]);
    assert!(is_hidden(&hidden, "/shop", SpanId::from(9)));
}

/// What the end of a span says when the worker remembers its start: all of it, or the start was not to be remembered.
fn joined_payload(span: &SpanData, start: &[u8], found: &OccupiedSlot<'_>) -> Vec<u8> {
    let rest = written(|buf| record::write_end_delta(buf, 7, span, found));
    let (Some(Record::Start(begun)), Some(rest)) =
        (record::read(start), record::read_end_delta(&rest))
    else {
        panic!("a start and a rest are read back")
    };
    let slot = record::slot_key(&span.span_context).slot(found.table());
    assert_eq!((begun.slot, rest.slot), (Some(slot), slot));
    let again = payload_from_start(&begun, &rest);
    let (spanned, end) = rest.join(begun).expect("they are of one span");
    let joined = ended_payload(Some(Record::End(spanned, end)));
    if let Some(again) = again {
        let text = |payload: &[u8]| payload.escape_ascii().to_string();
        assert_eq!(text(&again), text(&joined));
    }
    joined
}

/// The same, made of the event that the start became, where that serves.
fn payload_from_start(
    begun: &record::SpanRecord<'_>,
    rest: &record::EndDelta<'_>,
) -> Option<Vec<u8>> {
    let span = named(begun.span.clone());
    let mut started = Vec::new();
    let layout = json::started(&mut started, &span, begun.start)?;
    if span.name != rest.name || !layout.accepts_added(&started, &rest.added) {
        return None;
    }
    let again = json::EndFromStart {
        started: &started,
        layout: &layout,
        start: rest.scope.scope.map(|_| rest.start),
        scope: rest.scope.scope,
        scope_version: rest.scope.version,
        added: &rest.added,
        links: &rest.links,
        truncated: rest.truncated,
    };
    let mut payload = b"before".to_vec();
    json::ended_from_start(&mut payload, &again, &rest.end);
    Some(payload.split_off("before".len()))
}

/// The start of a span as the SDK's copy tells it.
fn copied_start(span: &SpanData, slots: &StartSlots) -> Vec<u8> {
    let guard = slots.acquire(
        record::slot_key(&span.span_context),
        record::sent_prefix_of(span),
    );
    let start = written(|buf| record::write_start(buf, 7, span, SpanOrigin::Sdk, &guard));
    guard.keep();
    start
}

/// The same, as a sampler sees it, at another moment.
fn sampled_start(span: &SpanData, parent: &SpanContext, slots: &StartSlots) -> Vec<u8> {
    let mut counts = record::PartCounts::NONE;
    let peeked = written(|buf| {
        counts = record::write_sampler_input(buf, &span.name, &span.attributes, &span.links)?;
        Some(())
    });
    let begun = record::SampledStart {
        source: 7,
        context: &span.span_context,
        parent: Some(parent).filter(|parent| parent.is_valid()),
        kind: record::kind_of(&span.span_kind),
        start: Timestamp::from_nanos(1),
        input: &peeked,
        counts,
    };
    let guard = slots.acquire(record::slot_key(&span.span_context), counts.sent());
    let start = written(|buf| record::write_sampled_start(buf, &begun, &guard));
    guard.keep();
    start
}

fn model_array<T>(
    values: &[T],
    one: impl Fn(&T) -> (Json, Option<&'static str>),
    kind: &'static str,
) -> (Json, Option<&'static str>) {
    let (values, kinds): (Vec<Json>, Vec<_>) = values.iter().map(one).unzip();
    (
        Json::Array(values),
        kinds.iter().any(Option::is_some).then_some(kind),
    )
}

fn model_value(value: &OtelValue) -> (Json, Option<&'static str>) {
    let int = |value: &i64| {
        let safe = value.unsigned_abs() < 1 << 53;
        if safe {
            (json!(value), None)
        } else {
            (json!(value.to_string()), Some("int"))
        }
    };
    let float = |value: &f64| match value {
        value if value.is_nan() => (json!("NaN"), Some("double")),
        value if value.is_infinite() => (
            json!(if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }),
            Some("double"),
        ),
        // serde_json's own reading, so that only the text is compared here.
        value => (serde_json::from_str(&format!("{value:?}")).unwrap(), None),
    };
    match value {
        OtelValue::Bool(value) => (json!(value), None),
        OtelValue::I64(value) => int(value),
        OtelValue::F64(value) => float(value),
        OtelValue::String(value) => (json!(value.as_str()), None),
        OtelValue::Array(Array::Bool(values)) => (json!(values), None),
        OtelValue::Array(Array::I64(values)) => model_array(values, int, "int[]"),
        OtelValue::Array(Array::F64(values)) => model_array(values, float, "double[]"),
        OtelValue::Array(Array::String(values)) => (
            json!(values.iter().map(StringValue::as_str).collect::<Vec<_>>()),
            None,
        ),
        other => panic!("{other:?} is no value of this SDK"),
    }
}

fn model_attributes(into: &mut Map<String, Json>, pairs: &[KeyValue]) {
    let mut values = Map::new();
    let mut types = Map::new();
    for pair in pairs {
        let (value, kind) = model_value(&pair.value);
        let key = pair.key.as_str().to_owned();
        match kind {
            Some(kind) => types.insert(key.clone(), json!(kind)),
            None => types.remove(&key),
        };
        values.insert(key, value);
    }
    into.insert("attributes".to_owned(), Json::Object(values));
    if !types.is_empty() {
        into.insert("attributeTypes".to_owned(), Json::Object(types));
    }
}

fn model_time(time: std::time::SystemTime) -> Json {
    json!(Timestamp::from(time).text())
}

#[expect(clippy::too_many_lines, reason = "it is one flat list of fields")]
fn model(span: &SpanData, ended: bool) -> Json {
    let context = &span.span_context;
    let parent = span.parent_span_id;
    let mut event = json!({
        "type": if ended { "ended" } else { "started" },
        "traceId": context.trace_id().to_string(),
        "spanId": context.span_id().to_string(),
        "parentSpanId": if parent == SpanId::INVALID { Json::Null } else { json!(parent.to_string()) },
        "name": span.name,
        "kind": format!("{:?}", span.span_kind).to_uppercase(),
        "process": PROCESS,
        "service": SERVICE,
        "scope": span.instrumentation_scope.name(),
        "timestamp": model_time(if ended { span.end_time } else { span.start_time }),
    });
    let fields = event.as_object_mut().unwrap();
    model_attributes(fields, &span.attributes);
    if ended {
        fields.insert("startTimestamp".to_owned(), model_time(span.start_time));
        let status = match &span.status {
            OtelStatus::Unset => json!({"code": "OK"}),
            OtelStatus::Ok => json!({"code": "OK", "explicit": true}),
            OtelStatus::Error { description } if description.is_empty() => json!({"code": "ERROR"}),
            OtelStatus::Error { description } => json!({"code": "ERROR", "message": description}),
        };
        fields.insert("status".to_owned(), status);
        if !span.events.is_empty() {
            let events = span.events.iter().map(|event| {
                let mut fields = Map::new();
                fields.insert("name".to_owned(), json!(event.name));
                fields.insert("timestamp".to_owned(), model_time(event.timestamp));
                model_attributes(&mut fields, &event.attributes);
                Json::Object(fields)
            });
            fields.insert("events".to_owned(), events.collect());
        }
    }
    if !span.links.is_empty() {
        let links = span.links.iter().map(|link| {
            let mut fields = Map::new();
            fields.insert(
                "traceId".to_owned(),
                json!(link.span_context.trace_id().to_string()),
            );
            fields.insert(
                "spanId".to_owned(),
                json!(link.span_context.span_id().to_string()),
            );
            model_attributes(&mut fields, &link.attributes);
            Json::Object(fields)
        });
        fields.insert("links".to_owned(), links.collect());
    }
    let mut set = |key: &str, when: bool, value: Json| {
        if when {
            fields.insert(key.to_owned(), value);
        }
    };
    set("parentRemote", span.parent_span_is_remote, json!(true));
    set("sampled", !context.is_sampled(), json!(false));
    let state = context.trace_state().header();
    set("traceState", !state.is_empty(), json!(state));
    let version = span.instrumentation_scope.version().unwrap_or_default();
    set("scopeVersion", !version.is_empty(), json!(version));
    let (events, links) = if ended {
        (span.events.dropped_count, span.links.dropped_count)
    } else {
        (0, 0)
    };
    let dropped =
        json!({"attributes": span.dropped_attributes_count, "events": events, "links": links});
    set(
        "dropped",
        span.dropped_attributes_count > 0 || events > 0 || links > 0,
        dropped,
    );
    event
}

/// The top level as serde reads it: raw values by key, and how many there are.
fn raw_fields(payload: &[u8]) -> (Map<String, Json>, usize) {
    let mut all = Map::new();
    let mut count = 0;
    for (key, value) in json::fields(payload) {
        let key = format!("\"{}\"", std::str::from_utf8(key).unwrap());
        all.insert(
            serde_json::from_str(&key).unwrap(),
            serde_json::from_slice(value).unwrap(),
        );
        count += 1;
    }
    (all, count)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_payload_says_exactly_what_the_span_says(span in span()) {
        for (payload, ended) in payloads(&span).iter().zip([false, true]) {
            let read: Json = serde_json::from_slice(payload).unwrap();
            assert_eq!(read, model(&span, ended));
            let ends_a_line = payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            assert!(!ends_a_line, "an event is one line of an SSE frame");
        }
    }

    #[test]
    fn the_scanner_finds_the_fields_that_serde_finds(span in span()) {
        for payload in payloads(&span) {
            let read: Map<String, Json> = serde_json::from_slice(&payload).unwrap();
            let (scanned, count) = raw_fields(&payload);
            assert_eq!(count, read.len(), "each field once");
            assert_eq!(scanned, read);
        }
    }

    #[test]
    fn the_scanner_survives_anything(payload in vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b':'), Just(b','), Just(b'\\'), Just(b'a'), any::<u8>()], 0..40)) {
        let bytes: usize = json::fields(&payload).map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= payload.len());
    }

    #[test]
    fn a_record_that_is_cut_short_or_damaged_is_never_a_panic(span in span(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written(|buf| record::write_end(buf, 7, &span, SpanOrigin::Sdk));
        let at = at.index(bytes.len());
        assert!(record::read(&bytes[..at]).is_none());
        bytes[at] = byte;
        drop(record::read(&bytes));
    }

    #[test]
    fn an_end_delta_says_all_that_a_whole_end_does(
        start in span(),
        end in span(),
        peeked in any::<bool>(),
        small in 0_usize..2,
    ) {
        // The SDK appends attributes, and replaces or appends anything else that is not fixed at the start.
        let mut end = SpanData {
            span_context: start.span_context.clone(),
            parent_span_id: start.parent_span_id,
            parent_span_is_remote: start.parent_span_is_remote && start.parent_span_id != SpanId::INVALID,
            span_kind: start.span_kind.clone(),
            start_time: start.start_time,
            instrumentation_scope: start.instrumentation_scope.clone(),
            dropped_attributes_count: 0,
            ..end
        };
        end.attributes.splice(..0, start.attributes.clone());
        end.links.links.splice(..0, start.links.links.clone());
        let parent = SpanContext::new(TraceId::from(1), end.parent_span_id, TraceFlags::default(), end.parent_span_is_remote, TraceState::NONE);
        let slots = StartSlots::with_slots(small, 1);
        let started = if peeked {
            sampled_start(&start, &parent, &slots)
        } else {
            copied_start(&start, &slots)
        };
        let whole = written(|buf| record::write_end(buf, 7, &end, SpanOrigin::Sdk));
        match slots.find(record::slot_key(&start.span_context)) {
            Some(found) => {
                let whole = ended_payload(record::read(&whole));
                assert_eq!(String::from_utf8(joined_payload(&end, &started, &found)), String::from_utf8(whole));
                assert_eq!(usize::from(found.sent.attributes), start.attributes.len());
                assert_eq!(found.table(), if small == 0 { SlotTable::Large } else { SlotTable::Small });
            }
            None => assert!(started.len() > 1000 || (!peeked && start.dropped_attributes_count > 0)),
        }
    }

    #[test]
    fn a_start_from_a_template_equals_one_without(
        first in span(),
        second in span(),
        peeked in any::<bool>(),
    ) {
        let first = SpanData { dropped_attributes_count: 0, links: SpanLinks::default(), ..first };
        // Of the same shape, if its values allow it.
        let mut values = second.attributes.iter().map(|pair| pair.value.clone());
        let attributes = first.attributes.iter().map(|pair| {
            KeyValue::new(pair.key.clone(), values.next().unwrap_or_else(|| pair.value.clone()))
        });
        let second = SpanData { attributes: attributes.collect(), start_time: second.start_time, ..first.clone() };
        let mut cache = TemplateCache::default();
        for span in [&first, &first, &second, &first] {
            let slots = StartSlots::default();
            let record = if peeked { sampled_start(span, &SpanContext::NONE, &slots) } else { copied_start(span, &slots) };
            written_from_template(&mut cache, &Redaction::default(), &record);
        }
    }

    #[test]
    fn the_index_learns_the_same_from_a_payload_as_from_the_span(span in span()) {
        let [started, ended] = payloads(&span);
        let ids = (span.span_context.trace_id().to_bytes(), span.span_context.span_id().to_bytes());
        let parent = (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_bytes());
        let fact = parse::fact(&started).unwrap();
        assert_eq!((fact.trace_id, fact.span_id, fact.time), (ids.0, ids.1, span.start_time.into()));
        let Change::Started(begun) = fact.change else { panic!("{:?}", fact.change) };
        assert_eq!((begun.parent, begun.parent_remote, begun.start), (parent, span.parent_span_is_remote, span.start_time.into()));
        assert_eq!((&*begun.name, &*begun.service, begun.kind), (span.name.as_ref(), SERVICE, record::kind_of(&span.span_kind)));
        let links: Vec<[u8; 16]> = span.links.iter().map(|link| link.span_context.trace_id().to_bytes()).collect();
        assert_eq!(*begun.links, *links);
        let fact = parse::fact(&ended).unwrap();
        let failed = matches!(span.status, OtelStatus::Error { .. });
        let Change::Ended { begun, outcome } = fact.change else { panic!("{:?}", fact.change) };
        assert_eq!((fact.time, begun.start), (span.end_time.into(), span.start_time.into()));
        assert_eq!(outcome, if failed { Outcome::Error } else { Outcome::Ok });
    }

    #[test]
    fn a_lost_end_repeats_its_start_byte_for_byte(span in span()) {
        let [started, ended] = payloads(&span);
        let heard = Timestamp::from_nanos(1_000_000_000);
        let lost = json::lost(&started, LostReason::Shutdown, heard).unwrap();
        let mut expected: Json = serde_json::from_slice(&started).unwrap();
        expected["type"] = json!("ended");
        expected["startTimestamp"] = expected["timestamp"].clone();
        expected["timestamp"] = json!("1970-01-01T00:00:01.000000000Z");
        let message = "lost: the tracer provider was shut down while the span was open";
        expected["status"] = json!({"code": "ERROR", "message": message});
        expected["lost"] = json!({"reason": "shutdown", "lastHeard": "1970-01-01T00:00:01.000000000Z"});
        assert_eq!(serde_json::from_slice::<Json>(&lost).unwrap(), expected);
        let raw = |payload: &[u8], wanted: &str| {
            json::fields(payload).find(|(key, _)| *key == wanted.as_bytes()).map(|(_, value)| value.to_vec())
        };
        for key in ["name", "attributes", "attributeTypes", "links", "scope", "traceState"] {
            assert_eq!(raw(&lost, key), raw(&started, key), "{key}");
        }
        assert_eq!(raw(&lost, "startTimestamp"), raw(&started, "timestamp"));
        assert!(matches!(parse::fact(&lost).unwrap().change, Change::Ended { outcome: Outcome::Lost, .. }));
        assert_eq!(json::lost(&ended, LostReason::Shutdown, heard), None, "what has ended is not lost");
        assert_eq!(json::lost(&lost, LostReason::Shutdown, heard), None);
    }
}

/// Texts of every size around the bounds, of characters that grow differently when escaped.
fn long_text() -> impl Strategy<Value = String> {
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

fn long_value() -> impl Strategy<Value = OtelValue> {
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

fn hostile_span() -> impl Strategy<Value = SpanData> {
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

/// Whether no text, key or array of an event is longer than it may be.
fn is_within_bounds(value: &Json) -> bool {
    match value {
        Json::String(text) => text.len() <= VALUE_BYTES_MAX,
        Json::Array(values) => values.iter().all(is_within_bounds),
        Json::Object(fields) => fields
            .iter()
            .all(|(key, value)| key.len() <= VALUE_BYTES_MAX && is_within_bounds(value)),
        _ => true,
    }
}

proptest! {
    #![proptest_config(Config { cases: config().cases / 16, ..config() })]

    #[test]
    fn no_span_is_too_large_for_its_bounds(span in hostile_span()) {
        for payload in payloads(&span) {
            assert!(payload.len() <= EVENT_BYTES_MAX, "{} bytes", payload.len());
            let read: Json = serde_json::from_slice(&payload).unwrap();
            assert!(is_within_bounds(&read));
            let [started, ended] = [false, true].map(|ended| model(&span, ended));
            let mut uncut = if read["type"] == "started" { started } else { ended };
            let mut read = read;
            let cut = read.as_object_mut().unwrap().remove("cut");
            uncut.as_object_mut().unwrap().remove("cut");
            assert_eq!(cut.is_none(), read == uncut, "what is missing is said: {cut:?}");
        }
    }
}

#[test]
fn a_text_is_cut_at_its_bound_and_before_a_character() {
    let mut span = plain_span();
    // One byte, then characters of two bytes: the bound falls into one.
    let long = format!("a{}", "é".repeat(VALUE_BYTES_MAX));
    let kept = format!("a{}", "é".repeat(VALUE_BYTES_MAX / 2 - 1));
    span.name = long.clone().into();
    span.attributes = vec![
        KeyValue::new("exact", "x".repeat(VALUE_BYTES_MAX)),
        KeyValue::new("long", long.clone()),
    ];
    span.events.events = vec![Event::new(
        long.clone(),
        UNIX_EPOCH,
        vec![KeyValue::new("inner", long.clone())],
        0,
    )];
    span.status = OtelStatus::Error {
        description: long.into(),
    };
    let [started, ended] =
        payloads(&span).map(|payload| serde_json::from_slice::<Json>(&payload).unwrap());
    assert_eq!(kept.len(), VALUE_BYTES_MAX - 1);
    for event in [&started, &ended] {
        assert_eq!(event["name"], json!(kept));
        assert_eq!(
            event["attributes"],
            json!({"exact": "x".repeat(VALUE_BYTES_MAX), "long": kept})
        );
    }
    assert_eq!(started["cut"], json!(["name", "attributes.long"]));
    assert_eq!(ended["status"]["message"], json!(kept));
    assert_eq!(ended["events"][0]["name"], json!(kept));
    assert_eq!(ended["events"][0]["attributes"]["inner"], json!(kept));
    let cut = [
        "name",
        "status.message",
        "attributes.long",
        "events[0].name",
        "events[0].attributes.inner",
    ];
    assert_eq!(ended["cut"], json!(cut));
}

#[test]
fn a_long_array_is_cut_and_named() {
    for value in [
        OtelValue::Array(Array::I64(vec![0; 5000])),
        OtelValue::Array(Array::F64(vec![0.5; 5000])),
        OtelValue::Array(Array::Bool(vec![true; 20_000])),
        OtelValue::Array(Array::String(vec![StringValue::from(""); 20_000])),
    ] {
        let mut span = plain_span();
        span.attributes = vec![KeyValue::new("all", value), KeyValue::new("next", true)];
        for payload in payloads(&span) {
            let event: Json = serde_json::from_slice(&payload).unwrap();
            assert_eq!(event["cut"], json!(["attributes.all"]));
            assert_eq!(event["attributes"]["next"], json!(true));
        }
    }
}

#[test]
fn a_monstrous_span_is_cut_to_an_event_and_says_so() {
    let mut span = plain_span();
    span.name = "n".repeat(1 << 20).into();
    span.attributes = (0..1000)
        .map(|number| KeyValue::new(format!("key{number}"), "v".repeat(1000)))
        .collect();
    span.events.events = (0..1000)
        .map(|_| Event::new("e".repeat(1 << 20), UNIX_EPOCH, Vec::new(), 0))
        .collect();
    for payload in payloads(&span) {
        assert!(payload.len() <= EVENT_BYTES_MAX, "{} bytes", payload.len());
        let event: Json = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["cut"][0], json!("name"));
        assert_eq!(
            event["cut"].as_array().unwrap().last(),
            Some(&json!("...")),
            "more is cut than is listed"
        );
        assert_eq!(
            event["attributes"]["key0"],
            json!("v".repeat(1000)),
            "the first ones are kept"
        );
    }
}

#[test]
fn doubles_read_back_exactly() {
    for value in [
        0.1 + 0.2,
        1e300,
        f64::MIN_POSITIVE,
        f64::MAX,
        5e-324,
        -0.0,
        1e16,
        123_456_789.0,
    ] {
        let mut span = plain_span();
        span.attributes = vec![KeyValue::new("d", value)];
        let [started, _] = payloads(&span);
        let (_, object) = json::fields(&started)
            .find(|(key, _)| *key == b"attributes")
            .unwrap();
        let text = std::str::from_utf8(object)
            .unwrap()
            .strip_prefix("{\"d\":")
            .unwrap()
            .strip_suffix('}')
            .unwrap();
        assert!(text.contains(['.', 'e']), "{text}");
        assert_eq!(
            text.parse::<f64>().unwrap().to_bits(),
            value.to_bits(),
            "{text}"
        );
    }
}

#[test]
fn texts_that_grow_when_escaped_are_within_the_bound_too() {
    let grows = |bytes: usize| "\u{1}".repeat(bytes);
    let mut span = plain_span();
    span.name = grows(1 << 20).into();
    span.instrumentation_scope = InstrumentationScope::builder(grows(1 << 20))
        .with_version(grows(1 << 20))
        .build();
    span.status = OtelStatus::Error {
        description: grows(1 << 20).into(),
    };
    for payload in payloads(&span) {
        assert!(payload.len() <= EVENT_BYTES_MAX, "{} bytes", payload.len());
        let event: Json = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["name"], json!(grows(2 * VALUE_BYTES_MAX / 6)));
    }
    // Keys that stand among the types as well.
    let mut span = plain_span();
    let pair = |key: String| KeyValue::new(key, f64::NAN);
    span.attributes = [9_000, 7_000, 16_000, 15_000]
        .map(|bytes| pair(grows(bytes)))
        .into();
    span.attributes
        .insert(0, KeyValue::new("first", grows(VALUE_BYTES_MAX)));
    for payload in payloads(&span) {
        assert!(payload.len() <= EVENT_BYTES_MAX, "{} bytes", payload.len());
        let event: Json = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            event["attributes"].as_object().unwrap().len(),
            2,
            "what fits with its type"
        );
        assert_eq!(event["cut"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn added_keys_stand_behind_those_of_the_start_unless_they_repeat_one() {
    let pairs = |keys: &[&'static str]| -> json::Pairs<'static> {
        keys.iter().map(|key| (*key, json::Value::Int(1))).collect()
    };
    let mut span = SpanFields::bare([1; 16], [2; 8]);
    span.attributes = pairs(&["code.\"line\"", "busy_ns", "idle_ns"]);
    let mut started = Vec::new();
    let layout = json::started(&mut started, &span, Timestamp::default()).unwrap();
    for (added, have_room) in [
        (&[][..], true),
        // Of one length and with one last letter, as those before.
        (&["rest_ns", "wait_ns"], true),
        (&["rest_ns", "busy_ns"], false),
        (&["code.\"line\""], false),
        (&["wait_ns", "rest_ns", "wait_ns"], false),
        (&["x"; 129], false),
    ] {
        assert_eq!(
            layout.accepts_added(&started, &pairs(added)),
            have_room,
            "{added:?}"
        );
    }
    span.attributes = pairs(&["busy_ns", "idle_ns", "busy_ns"]);
    assert!(json::started(&mut Vec::new(), &span, Timestamp::default()).is_none());
}

//! The changes between the start and the end of a span, as readers see them while the span is open.
//! The tests make every kind of change through every API, on spans that are exported and on spans
//! that are not.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use livespan::{LiveSpans, Retention, otel::LiveTracerProvider};
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
        TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SpanData, TracerProviderBuilder};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::live_provider::{bare_provider, payloads, read, transcript};
use crate::support::{PATIENCE, until};
use livespan::sse::Subscribe;

/// A log, and the wrapping provider around one that exports to memory.
struct Inside {
    live: LiveSpans,
    provider: LiveTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Inside {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(configure: impl FnOnce(TracerProviderBuilder) -> TracerProviderBuilder) -> Self {
        Self::keeping(Retention::default(), configure)
    }

    fn keeping(
        retention: Retention,
        configure: impl FnOnce(TracerProviderBuilder) -> TracerProviderBuilder,
    ) -> Self {
        let live = LiveSpans::builder().retention(retention).build().unwrap();
        let exporter = InMemorySpanExporter::default();
        let builder = bare_provider().with_simple_exporter(exporter.clone());
        let provider = live.tracer_provider(configure(builder));
        Self {
            live,
            provider,
            exporter,
        }
    }

    fn events(&self) -> Vec<Json> {
        self.live.target().flush(PATIENCE).unwrap();
        payloads(&read(&mut self.live.target().subscribe(Subscribe::all())))
    }

    fn updates(&self) -> Vec<Json> {
        let mut events = self.events();
        events.retain(|event| event["type"] == "updated");
        events
    }

    /// Waits for the n-th `updated` event, counted from 1.
    fn update(&self, number: usize) -> Json {
        until(|| self.updates().len() >= number);
        self.updates()[number - 1].clone()
    }

    fn exported(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }
}

/// Returns the fields of an `updated` event that contain changes.
fn changed_fields(event: &Json) -> Json {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    for field in ["type", "traceId", "spanId", "process", "timestamp"] {
        assert!(fields.remove(field).is_some(), "{field} in {fields:?}");
    }
    event
}

#[test]
fn an_attribute_is_shown_while_the_span_is_open() {
    let inside = Inside::new();
    let mut span = inside.provider.tracer("test").start("job");
    span.set_attribute(KeyValue::new("rows", 7));
    let update = inside.update(1);
    assert_eq!(changed_fields(&update), json!({"attributes": {"rows": 7}}));
    let events = inside.events();
    assert_eq!(update["traceId"], events[1]["traceId"]);
    assert_eq!(update["spanId"], events[1]["spanId"]);
    assert_eq!(update["process"], events[1]["process"]);
    span.end();
    let events = inside.events();
    assert_eq!(
        transcript(&events),
        ["process", "started job", "updated", "ended job"]
    );
    assert_eq!(events[3]["attributes"], json!({"rows": 7}));
}

#[test]
fn the_start_has_the_scope_and_the_time_of_the_builder() {
    let inside = Inside::new();
    let scope = opentelemetry::InstrumentationScope::builder("shop::cart")
        .with_version("1.2")
        .build();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let span = SpanBuilder::from_name("job")
        .with_start_time(start)
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("a", 1)]);
    inside
        .provider
        .tracer_with_scope(scope)
        .build_with_context(span, &Context::new())
        .end_with_timestamp(start + Duration::from_secs(1));
    let events = inside.events();
    let started = &events[1];
    assert_eq!(started["type"], json!("started"));
    assert_eq!(started["scope"], json!("shop::cart"));
    assert_eq!(started["scopeVersion"], json!("1.2"));
    assert_eq!(started["kind"], json!("CLIENT"));
    assert_eq!(
        started["timestamp"],
        json!("2001-09-09T01:46:40.000000000Z")
    );
    let ended = &events[2];
    assert_eq!(ended["scope"], started["scope"]);
    assert_eq!(ended["scopeVersion"], started["scopeVersion"]);
    assert_eq!(ended["startTimestamp"], started["timestamp"]);
    assert_eq!(ended["timestamp"], json!("2001-09-09T01:46:41.000000000Z"));
}

#[test]
fn every_kind_of_change_is_shown_through_the_current_context() {
    let inside = Inside::new();
    let span = inside.provider.tracer("test").start("job");
    let context = Context::current_with_span(span);
    let other = SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let guard = context.clone().attach();
    Context::map_current(|current| {
        let span = current.span();
        span.set_attribute(KeyValue::new("n", i64::MAX));
        span.add_event_with_timestamp("said", time, vec![KeyValue::new("what", "hello")]);
        span.add_link(other.clone(), vec![]);
        span.set_status(Status::error("no card"));
        span.update_name("better");
        assert!(span.is_recording());
    });
    drop(guard);
    until(|| {
        let updates = inside.updates();
        updates.iter().any(|event| event["name"] == json!("better"))
    });
    context.span().end();
    let events = inside.events();
    let state = rebuilt(&events);
    let (_, ended) = state.first_key_value().unwrap();
    assert_eq!(
        ended,
        &json!({
            "name": "better",
            "attributes": {"n": "9223372036854775807"},
            "events": [{"name": "said", "timestamp": "1970-01-01T00:00:01.000000000Z", "attributes": {"what": "hello"}}],
            "links": [{"traceId": format!("{:032x}", 7), "spanId": format!("{:016x}", 8), "attributes": {}}],
            "status": {"code": "ERROR", "message": "no card"},
        })
    );
}

/// Returns the state of each span after these events, by its id: name, status, attributes, events,
/// links. It ignores `ended` events.
pub(super) fn rebuilt(events: &[Json]) -> BTreeMap<String, Json> {
    let mut spans = BTreeMap::new();
    let mut as_started = BTreeMap::new();
    for event in events {
        let Some(id) = event["spanId"].as_str() else {
            continue;
        };
        if event["type"] == json!("ended") {
            continue;
        }
        let span = spans.entry(id.to_owned()).or_insert_with(
            || json!({"attributes": {}, "events": [], "links": [], "status": {"code": "OK"}}),
        );
        if event["complete"] == json!(true) {
            *span = Json::clone(&as_started[id]);
        }
        for field in ["name", "status"] {
            if !event[field].is_null() {
                span[field] = event[field].clone();
            }
        }
        if let Some(attributes) = event["attributes"].as_object() {
            for (key, value) in attributes {
                span["attributes"][key] = value.clone();
            }
        }
        for field in ["events", "links"] {
            if let Some(more) = event[field].as_array() {
                span[field].as_array_mut().unwrap().extend(more.clone());
            }
        }
        if event["type"] == json!("started") {
            as_started.insert(id.to_owned(), span.clone());
        }
    }
    spans
}

/// Returns the status that updates reported for a span.
fn updated_status(events: &[Json], span: &Json) -> Json {
    let of_span = |event: &&Json| event["type"] == "updated" && event["spanId"] == *span;
    let status = events
        .iter()
        .filter(of_span)
        .rfind(|event| !event["status"].is_null());
    status.map_or(json!({"code": "OK"}), |event| event["status"].clone())
}

/// Returns the fields that [`rebuilt`] returns, but reads only the `ended` events.
pub(super) fn as_ended(events: &[Json]) -> BTreeMap<String, Json> {
    let ended = events.iter().filter(|event| event["type"] == "ended");
    ended
        .map(|event| {
            let list = |field: &str| match &event[field] {
                Json::Null => json!([]),
                list => list.clone(),
            };
            // Only the end reports that a panic ended the span.
            let status = match (&event["panicked"], updated_status(events, &event["spanId"])) {
                (Json::Bool(true), updated) => {
                    assert_eq!(
                        event["status"],
                        json!({"code": "ERROR", "message": "panicked"})
                    );
                    updated
                }
                _ => event["status"].clone(),
            };
            let span = json!({
                "name": event["name"], "status": status, "attributes": event["attributes"],
                "events": list("events"), "links": list("links"),
            });
            (event["spanId"].as_str().unwrap().to_owned(), span)
        })
        .collect()
}

#[test]
fn a_loop_costs_a_few_events_and_the_last_value_is_reported_before_the_end() {
    let inside = Inside::new();
    let mut span = inside.provider.tracer("test").start("job");
    for number in 0..100_000 {
        span.set_attribute(KeyValue::new("progress.current", number));
    }
    span.set_attribute(KeyValue::new("late", true));
    span.end();
    let events = inside.events();
    let updates = inside.updates();
    assert!((1..10).contains(&updates.len()), "{}", updates.len());
    assert_eq!(
        rebuilt(&events).pop_last().unwrap().1["attributes"],
        json!({"progress.current": 99_999, "late": true})
    );
    let ended = events.last().unwrap();
    assert_eq!(
        ended["attributes"],
        json!({"late": true, "progress.current": 99_999})
    );
    assert_eq!(ended["dropped"], json!(null));
    let exported = inside.exported();
    assert_eq!(
        exported[0].attributes,
        [
            KeyValue::new("progress.current", 99_999),
            KeyValue::new("late", true)
        ]
    );
    assert_eq!(exported[0].dropped_attributes_count, 0);
}

#[test]
fn a_repeated_key_reaches_the_exporter_once_however_the_span_ends() {
    let inside = Inside::new();
    let tracer = inside.provider.tracer("test");
    let mut ended = tracer.start("ended");
    let mut dropped = tracer.start("dropped");
    for span in [&mut ended, &mut dropped] {
        for number in 0..500 {
            span.set_attribute(KeyValue::new("rows", number));
        }
        span.set_attribute(KeyValue::new("other", true));
    }
    ended.end();
    drop(dropped);
    for span in inside.exported() {
        assert_eq!(
            span.attributes,
            [KeyValue::new("rows", 499), KeyValue::new("other", true)],
            "{}",
            span.name
        );
    }
}

#[test]
fn attributes_beyond_the_limit_do_not_displace_earlier_ones() {
    let inside = Inside::new();
    let mut span = inside.provider.tracer("test").start("wide");
    let pair = |number: i64| KeyValue::new(format!("key {number}"), number);
    for number in 0..400 {
        span.set_attribute(pair(number));
    }
    span.end();
    let exported = inside.exported();
    let kept: Vec<KeyValue> = (0..128).map(pair).collect();
    assert_eq!(exported[0].attributes, kept);
    assert_eq!(exported[0].dropped_attributes_count, 272);
}

#[test]
fn dropped_spans_are_shown_whole_and_not_exported() {
    let inside = Inside::with(|builder| builder.with_sampler(Sampler::AlwaysOff));
    let tracer = inside.provider.tracer("shop");
    let link = Link::with_context(SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ));
    let mut span = tracer
        .span_builder("job")
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("n", 1),
            KeyValue::new(
                "tags",
                Value::Array(
                    vec!["a".into(), "b".into()]
                        .into_iter()
                        .collect::<Vec<opentelemetry::StringValue>>()
                        .into(),
                ),
            ),
        ])
        .with_links(vec![link])
        .start(&tracer);
    assert!(span.is_recording() && !span.span_context().is_sampled());
    span.set_attribute(KeyValue::new("n", 2));
    span.add_event("said", vec![]);
    span.set_status(Status::Ok);
    let context = Context::current_with_span(span);
    let mut child = tracer.start_with_context("child", &context);
    child.update_name("renamed");
    child.end();
    drop(context);
    let events = inside.events();
    assert_eq!(rebuilt(&events), as_ended(&events));
    let ended: Vec<&Json> = events
        .iter()
        .filter(|event| event["type"] == "ended")
        .collect();
    assert_eq!(ended[0]["name"], json!("renamed"));
    assert_eq!(ended[0]["parentSpanId"], ended[1]["spanId"]);
    assert_eq!(ended[1]["attributes"], json!({"n": 2, "tags": ["a", "b"]}));
    assert_eq!(ended[1]["kind"], json!("SERVER"));
    assert_eq!(ended[1]["scope"], json!("shop"));
    assert_eq!(ended[1]["status"], json!({"code": "OK", "explicit": true}));
    assert!(ended.iter().all(|event| event["sampled"] == json!(false)));
    assert_eq!(inside.exported(), []);
    assert_eq!(inside.live.status().open, 0);
}

#[test]
fn the_changes_of_an_open_span_outlive_retention() {
    let inside = Inside::keeping(Retention::default().events(40), |builder| builder);
    let tracer = inside.provider.tracer("test");
    let link = || {
        SpanContext::new(
            TraceId::from(9),
            SpanId::from(8),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        )
    };
    let mut watching = inside.live.target().subscribe(Subscribe::all());
    let job = tracer
        .span_builder("job")
        .with_attributes([KeyValue::new("a", 1)])
        .with_links(vec![Link::with_context(link())]);
    let context = Context::current_with_span(job.start(&tracer));
    let mut live = Vec::new();
    for round in 0..3 {
        let span = context.span();
        span.set_attribute(KeyValue::new(["b", "c", "d"][round], 2));
        span.add_event(
            format!("round {round}"),
            vec![KeyValue::new("round", i64::try_from(round).unwrap())],
        );
        span.add_link(link(), vec![]);
        span.update_name(format!("job {round}"));
        span.set_status(Status::error("not yet"));
        // The update, then so many children that the trace outgrows its share of the log.
        let name = json!(format!("job {round}"));
        until(|| inside.events().iter().any(|event| event["name"] == name));
        for _ in 0..40 {
            tracer.start_with_context("child", &context).end();
            inside.live.target().flush(PATIENCE).unwrap();
            live.extend(payloads(&read(&mut watching)));
        }
        let is_complete = |event: &Json| event["complete"] == true && event["name"] == name;
        until(|| inside.events().iter().any(is_complete));
    }
    let replayed = inside.events();
    context.span().end();
    inside.live.target().flush(PATIENCE).unwrap();
    live.extend(payloads(&read(&mut watching)));
    let id = context.span().span_context().span_id().to_string();
    let ended = as_ended(&live)[&id].clone();
    assert_eq!(ended["events"].as_array().unwrap().len(), 3);
    assert_eq!(ended["links"].as_array().unwrap().len(), 4);
    // A reader of all events and a late reader both have the whole state.
    assert_eq!(rebuilt(&live)[&id], ended);
    assert_eq!(rebuilt(&replayed)[&id], ended);
    let of_span = replayed
        .iter()
        .filter(|event| event["spanId"] == id.as_str());
    let kinds: Vec<&str> = of_span
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["started", "updated"]);
    // Neither event is kept after the span has ended.
    for _ in 0..40 {
        tracer.start("other").end();
    }
    assert!(
        inside
            .events()
            .iter()
            .all(|event| event["spanId"] != id.as_str())
    );
    assert_eq!(inside.live.status().unpinned, 0);
}

#[test]
fn spans_of_the_sdks_own_provider_are_shown_once() {
    let inside = Inside::new();
    let sdk = inside.provider.sdk();
    let mut span = sdk.tracer("foreign").start("job");
    span.set_attribute(KeyValue::new("n", 1));
    span.end();
    assert_eq!(
        transcript(&inside.events()),
        ["process", "started job", "ended job"]
    );
}

#[test]
fn attributes_and_events_that_the_sdk_drops_are_not_shown() {
    let inside = Inside::new();
    let mut span = inside.provider.tracer("test").start("job");
    for number in 0..200 {
        span.set_attribute(KeyValue::new(format!("key {number}"), number));
        span.add_event(format!("event {number}"), vec![]);
    }
    span.end();
    let events = inside.events();
    assert_eq!(rebuilt(&events), as_ended(&events));
    let ended = events.last().unwrap();
    assert_eq!(
        ended["dropped"],
        json!({"attributes": 72, "events": 72, "links": 0})
    );
}

#[test]
fn a_limit_of_the_builder_is_learnt_from_the_first_span_that_meets_it() {
    let inside = Inside::with(|builder| {
        builder
            .with_max_attributes_per_span(4)
            .with_max_events_per_span(2)
    });
    let tracer = inside.provider.tracer("test");
    let make = || {
        let mut span = tracer.start("job");
        for number in 0..6 {
            span.set_attribute(KeyValue::new(["a", "b", "c", "d", "e", "f"][number], 1));
            span.add_event("said", vec![]);
        }
        span.end();
    };
    make();
    make();
    let events = inside.events();
    let last = |spans: BTreeMap<String, Json>| spans.into_iter().next_back().unwrap().1;
    assert_eq!(last(rebuilt(&events)), last(as_ended(&events)));
}

#[test]
fn a_suppressed_context_shows_nothing() {
    let inside = Inside::new();
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    let mut span = inside.provider.tracer("test").start("job");
    span.set_attribute(KeyValue::new("n", 1));
    assert!(!span.is_recording());
    span.end();
    assert_eq!(transcript(&inside.events()), Vec::<String>::new());
}

#[test]
fn a_hidden_span_is_exported_and_its_changes_are_hidden() {
    let inside = Inside::new();
    let tracer = inside.provider.tracer("test");
    let mut span = tracer
        .span_builder("connect")
        .with_attributes([KeyValue::new("target", "hyper::client")])
        .start(&tracer);
    span.set_attribute(KeyValue::new("n", 1));
    span.end();
    assert_eq!(transcript(&inside.events()), Vec::<String>::new());
    assert_eq!(inside.exported()[0].attributes[1], KeyValue::new("n", 1));
}

#[test]
fn secrets_are_masked_in_changes_too() {
    let inside = Inside::new();
    let mut span = inside.provider.tracer("test").start("job");
    span.set_attribute(KeyValue::new("password", "hunter2"));
    span.add_event(
        "sent",
        vec![KeyValue::new("authorization", "Bearer hunter2")],
    );
    span.set_status(Status::error("https://me:hunter2@shop/"));
    span.end();
    let text = serde_json::to_string(&inside.events()).unwrap();
    assert_eq!(text.matches("hunter2").count(), 0, "{text}");
}

#[test]
fn spans_that_end_after_the_shutdown_are_lost_and_no_call_waits() {
    let inside = Inside::with(|builder| builder.with_sampler(Sampler::AlwaysOff));
    let mut span = inside.provider.tracer("test").start("job");
    span.set_attribute(KeyValue::new("n", 1));
    inside.provider.shutdown().unwrap();
    inside.live.target().flush(PATIENCE).unwrap();
    let events = inside.events();
    let ended = events
        .iter()
        .find(|event| event["type"] == "ended")
        .unwrap();
    assert_eq!(ended["lost"]["reason"], json!("shutdown"));
    span.set_attribute(KeyValue::new("n", 2));
    span.end();
    let late = inside.provider.tracer("test").start("late");
    assert!(!late.span_context().is_valid());
}

#[test]
fn many_updates_of_many_spans_cost_no_start_and_no_end() {
    const SPANS: usize = 1_000;
    const ROUNDS: i64 = 50;
    let inside = Inside::new();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let tracer = inside.provider.tracer("test");
                let mut open: Vec<_> = (0..SPANS / 2).map(|_| tracer.start("open")).collect();
                for round in 0..ROUNDS {
                    for span in &mut open {
                        span.set_attribute(KeyValue::new("progress.current", round));
                    }
                    tracer.start("short").end();
                }
                open.iter_mut().for_each(Span::end);
            });
        }
    });
    let events = inside.events();
    let most_a_span = begun.elapsed().as_millis() / 125 + 2;
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let spans = SPANS + 2 * usize::try_from(ROUNDS).unwrap();
    assert_eq!((count("started"), count("ended")), (spans, spans));
    assert!(
        count("updated") as u128 <= SPANS as u128 * most_a_span,
        "{} updates, {most_a_span} a span",
        count("updated")
    );
    assert_eq!(rebuilt(&events), as_ended(&events));
    let status = inside.live.status();
    assert_eq!(
        (status.dropped.starts, status.dropped.ends),
        (0, 0),
        "{status:?}"
    );
}

#[test]
fn threads_that_change_one_span_lose_nothing() {
    let inside = Inside::new();
    let span = inside.provider.tracer("test").start("job");
    let context = Context::new().with_span(span);
    let keys = ["a", "b", "c", "d"];
    thread::scope(|scope| {
        for key in keys {
            let context = &context;
            scope.spawn(move || {
                for value in 0..2_000 {
                    context.span().set_attribute(KeyValue::new(key, value));
                }
                context.span().add_event(key, vec![]);
            });
        }
    });
    context.span().end();
    let events = inside.events();
    let rebuilt_spans = rebuilt(&events);
    assert_eq!(rebuilt_spans, as_ended(&events));
    let (_, rebuilt_span) = rebuilt_spans.first_key_value().unwrap();
    assert_eq!(
        rebuilt_span["attributes"],
        json!({"a": 1999, "b": 1999, "c": 1999, "d": 1999})
    );
    assert_eq!(rebuilt_span["events"].as_array().unwrap().len(), keys.len());
}

/// One step of a random program.
#[derive(Clone, Debug)]
enum Step {
    Start {
        parent: usize,
        sampled: bool,
    },
    Attribute {
        span: usize,
        key: usize,
        value: i64,
    },
    Event {
        span: usize,
    },
    Fail {
        span: usize,
        message: u8,
    },
    Succeed {
        span: usize,
    },
    Rename {
        span: usize,
        name: u8,
    },
    Drop {
        span: usize,
    },
    /// A panic ends the span.
    Panic {
        span: usize,
    },
    End {
        span: usize,
    },
    /// Waits until the worker has reported all queued changes.
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let span = 0..6_usize;
    prop_oneof![
        3 => (0..6_usize, any::<bool>()).prop_map(|(parent, sampled)| Step::Start { parent, sampled }),
        6 => (span.clone(), 0..5_usize, -3..3_i64).prop_map(|(span, key, value)| Step::Attribute { span, key, value }),
        2 => span.clone().prop_map(|span| Step::Event { span }),
        1 => (span.clone(), any::<u8>()).prop_map(|(span, message)| Step::Fail { span, message }),
        1 => span.clone().prop_map(|span| Step::Succeed { span }),
        1 => (span.clone(), any::<u8>()).prop_map(|(span, name)| Step::Rename { span, name }),
        1 => span.clone().prop_map(|span| Step::Drop { span }),
        1 => span.clone().prop_map(|span| Step::Panic { span }),
        2 => span.prop_map(|span| Step::End { span }),
        2 => Just(Step::Flush),
    ]
}

/// A sampler that drops the spans with the name `dropped`.
#[derive(Clone, Debug)]
struct ByName;

impl opentelemetry_sdk::trace::ShouldSample for ByName {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> opentelemetry_sdk::trace::SamplingResult {
        let sampler = if name == "dropped" {
            Sampler::AlwaysOff
        } else {
            Sampler::AlwaysOn
        };
        sampler.should_sample(parent_context, trace_id, name, span_kind, attributes, links)
    }
}

const KEYS: [&str; 5] = ["a", "b", "progress.current", "c", "progress.message"];

fn run(inside: &Inside, steps: &[Step]) {
    let tracer = inside.provider.tracer("test");
    let mut spans: Vec<Arc<Context>> = Vec::new();
    let at = |spans: &[Arc<Context>], span: usize| spans.get(span).cloned();
    for step in steps {
        match *step {
            Step::Start { parent, sampled } => {
                let parent = at(&spans, parent).map_or_else(Context::new, |it| (*it).clone());
                let span =
                    tracer.start_with_context(if sampled { "job" } else { "dropped" }, &parent);
                spans.push(Arc::new(Context::new().with_span(span)));
            }
            Step::Attribute { span, key, value } => {
                if let Some(span) = at(&spans, span) {
                    span.span().set_attribute(KeyValue::new(KEYS[key], value));
                }
            }
            Step::Event { span } => {
                if let Some(span) = at(&spans, span) {
                    span.span().add_event("said", vec![KeyValue::new("x", 1)]);
                }
            }
            Step::Fail { span, message } => {
                if let Some(span) = at(&spans, span) {
                    span.span().set_status(Status::error(message.to_string()));
                }
            }
            Step::Succeed { span } => {
                if let Some(span) = at(&spans, span) {
                    span.span().set_status(Status::Ok);
                }
            }
            Step::Rename { span, name } => {
                if let Some(span) = at(&spans, span) {
                    span.span().update_name(name.to_string());
                }
            }
            Step::Drop { span } => {
                if span < spans.len() {
                    drop(spans.remove(span));
                }
            }
            Step::Panic { span } => {
                if span < spans.len() {
                    let span = spans.remove(span);
                    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let _span = span;
                        std::panic::resume_unwind(Box::new("of a test"));
                    }));
                    assert!(unwound.is_err());
                }
            }
            Step::End { span } => {
                if let Some(span) = at(&spans, span) {
                    span.span().end();
                }
            }
            Step::Flush => inside.live.target().flush(PATIENCE).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Before the end of a span, the stream has already reported everything in that end: all
    /// attributes, events, links, name and status. This holds for exported and dropped spans.
    #[test]
    fn starts_and_updates_together_equal_the_end(steps in proptest::collection::vec(step(), 1..60)) {
        let inside = Inside::with(|builder| builder.with_sampler(ByName));
        run(&inside, &steps);
        let events = inside.events();
        prop_assert_eq!(rebuilt(&events), as_ended(&events));
    }
}

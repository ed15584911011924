//! Spans that share an id: two that are open at once, two after each other, and two in different
//! traces or providers. The host and the worker of a function runtime may have open spans with one
//! id. Each end has the data of its own span.

use std::time::{Duration, SystemTime};

use livespan::LiveSpans;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceId,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{IdGenerator, Sampler, SdkTracerProvider, Span};
use serde_json::{Value as Json, json};

use super::live_provider::{Watched, payloads, read};
use crate::support::PATIENCE;

/// An id generator that gives every span the same id.
#[derive(Debug)]
struct OneId;

impl IdGenerator for OneId {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(7)
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(7)
    }
}

fn provider(live: &LiveSpans, with_sampler: bool) -> SdkTracerProvider {
    let builder = SdkTracerProvider::builder()
        .with_id_generator(OneId)
        .with_span_processor(live.span_processor());
    if with_sampler {
        builder
            .with_sampler(live.sampler(Sampler::AlwaysOn))
            .build()
    } else {
        builder.build()
    }
}

/// Returns two logs in which every span has the same id. In one, the SDK copies the spans; in the
/// other, our sampler sees them.
fn both() -> [Watched; 2] {
    [false, true].map(|with_sampler| {
        let live = LiveSpans::builder().build().unwrap();
        let provider = provider(&live, with_sampler);
        Watched { live, provider }
    })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// Returns a context whose current span belongs to another process.
fn below(trace: u128, parent: u64) -> Context {
    let parent = SpanContext::new(
        TraceId::from(trace),
        SpanId::from(parent),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    Context::new().with_remote_span_context(parent)
}

fn start(watched: &Watched, who: &'static str, second: u64, kind: SpanKind, cx: &Context) -> Span {
    let builder = SpanBuilder::from_name(who)
        .with_kind(kind)
        .with_start_time(at(second))
        .with_attributes([KeyValue::new("who", who)]);
    watched.tracer().build_with_context(builder, cx)
}

fn end(span: &mut Span, second: u64) {
    span.set_attribute(KeyValue::new("ended", i64::try_from(second).unwrap()));
    span.end_with_timestamp(at(second));
}

/// Returns name, kind, trace, parent, attributes, start time and end time of each end.
fn ends(events: &[Json]) -> Vec<Json> {
    let ended = events.iter().filter(|event| event["type"] == "ended");
    ended
        .map(|event| {
            let seconds = |key: &str| event[key].as_str().unwrap().get(11..19).unwrap().to_owned();
            json!([
                event["name"],
                event["kind"],
                event["traceId"].as_str().unwrap().trim_start_matches('0'),
                event["parentSpanId"]
                    .as_str()
                    .map(|id| id.trim_start_matches('0')),
                event["attributes"],
                seconds("startTimestamp"),
                seconds("timestamp"),
            ])
        })
        .collect()
}

/// Returns the expected item of [`ends`] for one span.
fn expected_end(who: &str, kind: &str, trace: &str, parent: &str, [from, to]: [u64; 2]) -> Json {
    let text = |second: u64| format!("13:46:{:02}", 40 + second);
    json!([who, kind, trace, parent, {"who": who, "ended": to}, text(from), text(to)])
}

#[test]
fn two_open_spans_with_one_id_each_end_as_themselves() {
    for watched in both() {
        let cx = below(7, 5);
        let mut outer = start(&watched, "outer", 0, SpanKind::Server, &cx);
        let mut inner = start(&watched, "inner", 1, SpanKind::Client, &cx);
        end(&mut inner, 2);
        end(&mut outer, 3);
        assert_eq!(
            ends(&watched.events()),
            [
                expected_end("inner", "CLIENT", "7", "5", [1, 2]),
                expected_end("outer", "SERVER", "7", "5", [0, 3]),
            ]
        );
    }
}

#[test]
fn open_spans_that_share_all_but_attributes_each_end_as_themselves() {
    for watched in both() {
        let cx = below(7, 5);
        let names = ["one", "two", "three"];
        let mut open = names.map(|who| start(&watched, who, 0, SpanKind::Internal, &cx));
        for place in [1, 0, 2] {
            end(&mut open[place], 3);
        }
        let mut again = start(&watched, "again", 4, SpanKind::Internal, &cx);
        end(&mut again, 5);
        let internal = |who, times| expected_end(who, "INTERNAL", "7", "5", times);
        assert_eq!(
            ends(&watched.events()),
            [
                internal("two", [0, 3]),
                internal("one", [0, 3]),
                internal("three", [0, 3]),
                internal("again", [4, 5]),
            ]
        );
    }
}

#[test]
fn a_twin_that_starts_while_others_are_open_never_takes_their_end() {
    for watched in both() {
        let cx = below(7, 5);
        let kind = || SpanKind::Internal;
        let mut one = start(&watched, "one", 0, kind(), &cx);
        let mut two = start(&watched, "two", 1, kind(), &cx);
        end(&mut one, 2);
        let mut three = start(&watched, "three", 3, kind(), &cx);
        end(&mut two, 4);
        end(&mut three, 5);
        let internal = |who, times| expected_end(who, "INTERNAL", "7", "5", times);
        assert_eq!(
            ends(&watched.events()),
            [
                internal("one", [0, 2]),
                internal("two", [1, 4]),
                internal("three", [3, 5]),
            ]
        );
    }
}

#[test]
fn a_large_twin_whose_start_is_not_remembered_does_not_replace_a_small_one() {
    for watched in both() {
        let cx = below(7, 5);
        let mut small = start(&watched, "small", 0, SpanKind::Internal, &cx);
        let many = (0..100).map(|number| KeyValue::new(format!("key{number:03}"), "v".repeat(20)));
        let builder = SpanBuilder::from_name("large")
            .with_start_time(at(1))
            .with_attributes(many);
        let mut large = watched.tracer().build_with_context(builder.clone(), &cx);
        large.end_with_timestamp(at(2));
        end(&mut small, 3);
        // In the reverse order: the small span starts while the large one is open.
        let mut large = watched.tracer().build_with_context(builder, &cx);
        let mut small = start(&watched, "small", 4, SpanKind::Internal, &cx);
        large.end_with_timestamp(at(5));
        end(&mut small, 6);
        let events = watched.events();
        let ended = events.iter().filter(|event| event["type"] == "ended");
        let counts = ended.map(|event| {
            let attributes = event["attributes"].as_object().unwrap();
            (event["name"].clone(), attributes.len())
        });
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [
                (json!("large"), 100),
                (json!("small"), 2),
                (json!("large"), 100),
                (json!("small"), 2),
            ]
        );
    }
}

#[test]
fn an_id_in_two_traces_or_used_again_identifies_separate_spans() {
    for watched in both() {
        let mut one = start(&watched, "one", 0, SpanKind::Server, &below(1, 5));
        let mut two = start(&watched, "two", 1, SpanKind::Server, &below(2, 5));
        end(&mut one, 2);
        let mut again = start(&watched, "again", 3, SpanKind::Server, &below(1, 5));
        end(&mut again, 4);
        end(&mut two, 5);
        let server = |who, trace, times| expected_end(who, "SERVER", trace, "5", times);
        assert_eq!(
            ends(&watched.events()),
            [
                server("one", "1", [0, 2]),
                server("again", "1", [3, 4]),
                server("two", "2", [1, 5]),
            ]
        );
    }
}

#[test]
fn two_providers_of_one_log_may_use_one_id() {
    for with_sampler in [false, true] {
        let live = LiveSpans::builder().build().unwrap();
        let [host, worker] = [(), ()].map(|()| Watched {
            live: live.clone(),
            provider: provider(&live, with_sampler),
        });
        let cx = below(7, 5);
        let mut outer = start(&host, "outer", 0, SpanKind::Internal, &cx);
        let mut inner = start(&worker, "inner", 1, SpanKind::Internal, &cx);
        inner.set_status(Status::error("it failed"));
        end(&mut inner, 2);
        end(&mut outer, 3);
        live.target().flush(PATIENCE).unwrap();
        let mut subscription = live.target().subscribe(livespan::sse::Subscribe::all());
        let events = payloads(&read(&mut subscription));
        let internal = |who, times| expected_end(who, "INTERNAL", "7", "5", times);
        assert_eq!(
            ends(&events),
            [internal("inner", [1, 2]), internal("outer", [0, 3])]
        );
        let statuses = events.iter().filter(|event| event["type"] == "ended");
        let statuses: Vec<_> = statuses
            .map(|event| event["status"]["code"].clone())
            .collect();
        assert_eq!(statuses, [json!("ERROR"), json!("OK")]);
    }
}

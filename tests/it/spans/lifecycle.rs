//! Spans that are ended on another thread, twice, never, or after the shutdown of their provider.

use std::thread;

use livespan::LiveSpans;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{RandomIdGenerator, Sampler};
use serde_json::json;

use super::live_provider::{Watched, provider_of, transcript};
use crate::support::PATIENCE;

#[test]
fn children_follow_their_parents() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    tracer.in_span("outer", |_| {
        tracer.in_span("inner", |context| context.span().add_event("said", vec![]));
    });
    let events = watched.events();
    assert_eq!(
        transcript(&events),
        [
            "process",
            "started outer",
            "started inner",
            "ended inner",
            "ended outer"
        ]
    );
    assert_eq!(events[1]["parentSpanId"], json!(null));
    assert_eq!(events[2]["parentSpanId"], events[1]["spanId"]);
    assert_eq!(events[2]["traceId"], events[1]["traceId"]);
    assert_eq!(events[3]["events"][0]["name"], json!("said"));
    assert_eq!(events[3]["startTimestamp"], events[2]["timestamp"]);
}

#[test]
fn a_start_is_visible_while_the_span_runs() {
    let watched = Watched::new();
    let mut span = watched.tracer().start("job");
    assert_eq!(watched.transcript(), ["process", "started job"]);
    assert_eq!(
        (watched.open_spans(), watched.live.status().retained_streams),
        (1, 1)
    );
    span.end();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
    assert_eq!(watched.open_spans(), 0);
}

#[test]
fn a_span_that_is_dropped_ends() {
    let watched = Watched::new();
    drop(watched.tracer().start("job"));
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
}

#[test]
fn a_span_that_is_ended_twice_ends_once() {
    let watched = Watched::new();
    let mut span = watched.tracer().start("job");
    span.end();
    span.end();
    span.set_attribute(KeyValue::new("late", true));
    drop(span);
    let events = watched.events();
    assert_eq!(transcript(&events), ["process", "started job", "ended job"]);
    assert_eq!(events[2]["attributes"], json!({}));
}

#[test]
fn a_span_may_end_on_another_thread() {
    let watched = Watched::new();
    let mut span = watched.tracer().start("job");
    thread::spawn(move || span.end()).join().unwrap();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
}

#[test]
fn unsampled_spans_are_shown_and_marked() {
    let live = LiveSpans::builder().build().unwrap();
    let provider = provider_of(&live)
        .with_sampler(live.sampler(Sampler::AlwaysOff))
        .build();
    let watched = Watched { live, provider };
    let tracer = watched.tracer();
    tracer.in_span("outer", |context| {
        assert!(!context.span().span_context().is_sampled());
        tracer.in_span("inner", |_| {});
    });
    let events = watched.events();
    assert_eq!(
        transcript(&events),
        [
            "process",
            "started outer",
            "started inner",
            "ended inner",
            "ended outer"
        ]
    );
    assert!(
        events[1..]
            .iter()
            .all(|event| event["sampled"] == json!(false)),
        "{events:?}"
    );
}

#[test]
fn sampled_spans_are_not_marked() {
    let live = LiveSpans::builder().build().unwrap();
    let provider = provider_of(&live)
        .with_sampler(live.sampler(Sampler::AlwaysOn))
        .build();
    let watched = Watched { live, provider };
    drop(watched.tracer().start("job"));
    assert_eq!(watched.events()[1].get("sampled"), None);
}

#[test]
fn without_our_sampler_only_sampled_spans_are_shown() {
    let live = LiveSpans::builder().build().unwrap();
    let provider = provider_of(&live).with_sampler(Sampler::AlwaysOff).build();
    let watched = Watched { live, provider };
    drop(watched.tracer().start("job"));
    assert_eq!(watched.transcript(), Vec::<String>::new());
}

#[test]
fn spans_open_at_the_shutdown_are_lost() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    let mut ended = tracer.start("ended");
    let mut open = tracer.start("open");
    ended.end();
    watched.provider.shutdown().unwrap();
    open.end();
    drop(tracer.start("late"));
    let expected = [
        "process",
        "started ended",
        "started open",
        "ended ended",
        "lost open: shutdown",
    ];
    assert_eq!(watched.transcript(), expected);
    assert_eq!(watched.open_spans(), 0);
}

#[test]
fn a_span_that_outlives_its_provider_handle_still_ends() {
    let Watched { live, provider } = Watched::new();
    let span = provider.tracer("test").start("open");
    drop(provider);
    drop(span);
    live.target().flush(PATIENCE).unwrap();
    // The span itself held the provider, so the span ended before the provider was dropped.
    let provider = provider_of(&live).build();
    let watched = Watched { live, provider };
    assert_eq!(
        watched.transcript(),
        ["process", "started open", "ended open"]
    );
}

#[test]
fn each_provider_is_a_process_and_loses_only_its_own_spans() {
    let live = LiveSpans::builder().build().unwrap();
    let one = provider_of(&live).build();
    let other = provider_of(&live)
        .with_id_generator(RandomIdGenerator::default())
        .build();
    let mut of_one = one.tracer("test").start("of one");
    let mut of_other = other.tracer("test").start("of other");
    one.shutdown().unwrap();
    of_one.end();
    let watched = Watched {
        live,
        provider: other,
    };
    let events = watched.events();
    let expected = [
        "process",
        "started of one",
        "process",
        "started of other",
        "lost of one: shutdown",
    ];
    assert_eq!(transcript(&events), expected);
    assert_eq!(events[1]["process"], events[0]["process"]);
    assert_eq!(events[3]["process"], events[2]["process"]);
    assert_ne!(events[0]["process"], events[2]["process"]);
    of_other.end();
    assert_eq!(watched.transcript()[5..], ["ended of other"]);
    assert_eq!(watched.open_spans(), 0);
}

#[test]
fn a_start_that_races_the_shutdown_is_never_shown_as_running() {
    for _ in 0..20 {
        let watched = Watched::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                let tracer = watched.tracer();
                scope.spawn(move || {
                    // The spans stay open until the end, so that only the shutdown can end them.
                    let spans: Vec<_> = (0..200).map(|_| tracer.start("job")).collect();
                    drop(spans);
                });
            }
            watched.provider.shutdown().unwrap();
        });
        let events = watched.events();
        let count = |kind| {
            events
                .iter()
                .filter(|event| event["type"] == json!(kind))
                .count()
        };
        assert!(count("started") <= count("ended"));
        assert_eq!(watched.open_spans(), 0);
    }
}

#[test]
fn the_log_may_be_shut_down_before_its_provider() {
    let watched = Watched::new();
    let mut span = watched.tracer().start("job");
    watched.live.shutdown().unwrap();
    watched.live.shutdown().unwrap();
    span.end();
    drop(watched.tracer().start("late"));
    watched.provider.force_flush().unwrap();
    watched.provider.shutdown().unwrap();
    assert_eq!(
        watched.live.status().dropped,
        livespan::sse::Dropped::default()
    );
}

#[test]
fn the_current_trace_id_is_that_of_the_current_span() {
    let watched = Watched::new();
    assert_eq!(livespan::current_trace_id(), None);
    let inside = watched
        .tracer()
        .in_span("request", |_| livespan::current_trace_id());
    assert_eq!(
        inside.unwrap().to_string(),
        "00000000000000000000000000000001"
    );
    assert_eq!(
        watched.events()[1]["traceId"],
        json!(inside.unwrap().to_string())
    );
    assert_eq!(livespan::current_trace_id(), None);
}

//! Delta ends, which omit the fields of their starts, and starts that a sampler saw. Readers notice
//! no difference.

use std::{collections::BTreeMap, thread};

use livespan::LiveSpans;
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use serde_json::{Value as Json, json};

use super::live_provider::{Watched, provider_of, remote_parent, transcript};

/// Returns a log, and a provider that has our sampler.
fn sampled(live: LiveSpans) -> Watched {
    let provider = provider_of(&live)
        .with_sampler(live.sampler(Sampler::AlwaysOn))
        .build();
    Watched { live, provider }
}

fn scoped(provider: &SdkTracerProvider) -> SdkTracer {
    let scope = InstrumentationScope::builder("shop::cart")
        .with_version("1.2.0")
        .build();
    provider.tracer_with_scope(scope)
}

/// Makes a span with every kind of change between its start and its end.
fn eventful(tracer: &SdkTracer) {
    let linked = SpanContext::clone(remote_parent().span().span_context());
    let builder = SpanBuilder::from_name("checkout")
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("cart.items", 3),
            KeyValue::new("paid", false),
            KeyValue::new("total", 1.5),
            KeyValue::new("customer", "Zoë"),
        ])
        .with_links(vec![Link::with_context(linked.clone())]);
    let mut span = tracer.build_with_context(builder, &remote_parent());
    span.set_attribute(KeyValue::new("paid", true));
    span.set_attribute(KeyValue::new("card", "visa"));
    span.update_name("checkout of Zoë");
    span.add_link(linked, vec![KeyValue::new("why", "again")]);
    span.add_event("paid", vec![KeyValue::new("after", 2)]);
    span.set_status(Status::error("no stock"));
    span.end();
}

/// Removes the parts of events that differ between runs.
fn timeless(mut events: Vec<Json>) -> Vec<Json> {
    for event in &mut events {
        let fields = event.as_object_mut().unwrap();
        for varying in ["process", "pid", "timestamp", "startTimestamp"] {
            fields.remove(varying);
        }
        for moment in fields
            .get_mut("events")
            .and_then(Json::as_array_mut)
            .into_iter()
            .flatten()
        {
            moment.as_object_mut().unwrap().remove("timestamp");
        }
    }
    events
}

#[test]
fn an_end_is_complete_with_and_without_our_sampler() {
    let copied = Watched::new();
    eventful(&scoped(&copied.provider));
    let copied = copied.events();
    let seen = sampled(LiveSpans::builder().build().unwrap());
    eventful(&scoped(&seen.provider));
    let seen = seen.events();
    assert_eq!(
        copied[2]["attributes"],
        json!({"cart.items": 3, "paid": true, "total": 1.5, "customer": "Zoë", "card": "visa"})
    );
    assert_eq!(copied[2]["name"], json!("checkout of Zoë"));
    assert_eq!(copied[2]["links"].as_array().unwrap().len(), 2);
    assert_eq!(copied[2]["startTimestamp"], copied[1]["timestamp"]);
    let (mut copied, seen) = (timeless(copied), timeless(seen));
    // Of the compared fields, the scope is the only one that a sampler cannot see.
    let started = copied[1].as_object_mut().unwrap();
    assert_eq!(started.remove("scope"), Some(json!("shop::cart")));
    assert_eq!(started.remove("scopeVersion"), Some(json!("1.2.0")));
    assert_eq!(copied, seen);
}

#[test]
fn a_custom_filter_gets_the_scope_though_there_is_a_sampler() {
    let live = LiveSpans::builder()
        .filter(|facts| facts.scope() == "shop::cart")
        .build()
        .unwrap();
    let watched = sampled(live);
    eventful(&scoped(&watched.provider));
    drop(watched.tracer().start("other"));
    let events = watched.events();
    assert_eq!(
        transcript(&events),
        ["process", "started checkout", "ended checkout of Zoë"]
    );
    assert_eq!(events[1]["scope"], json!("shop::cart"));
}

#[test]
fn data_that_the_sdks_limits_drop_is_not_in_the_end() {
    for with_sampler in [false, true] {
        let live = LiveSpans::builder().build().unwrap();
        let builder = provider_of(&live).with_max_attributes_per_span(2);
        let builder = if with_sampler {
            builder.with_sampler(live.sampler(Sampler::AlwaysOn))
        } else {
            builder
        };
        let watched = Watched {
            provider: builder.build(),
            live,
        };
        let tracer = watched.tracer();
        for count in 1..=4 {
            let attributes = ["a", "b", "c", "d"].map(|key| KeyValue::new(key, count));
            let attributes = attributes.into_iter().take(count.try_into().unwrap());
            let builder = SpanBuilder::from_name("job").with_attributes(attributes);
            let mut span = tracer.build(builder);
            span.set_attribute(KeyValue::new("late", count));
        }
        let events = watched.events();
        let ended = events
            .iter()
            .filter(|event| event["type"] == json!("ended"));
        let recorded: Vec<_> = ended
            .map(|event| (event["attributes"].clone(), event["dropped"].clone()))
            .collect();
        let dropped = |count: u32| json!({"attributes": count, "events": 0, "links": 0});
        assert_eq!(
            recorded,
            [
                (json!({"a": 1, "late": 1}), json!(null)),
                (json!({"a": 2, "b": 2}), dropped(1)),
                (json!({"a": 3, "b": 3}), dropped(2)),
                (json!({"a": 4, "b": 4}), dropped(3)),
            ]
        );
    }
}

#[test]
fn spans_end_whole_even_if_more_are_open_than_are_remembered() {
    const SPANS: i64 = 40_000;
    for watched in [
        Watched::new(),
        sampled(LiveSpans::builder().build().unwrap()),
    ] {
        let tracer = watched.tracer();
        let mut open = Vec::new();
        for number in 0..SPANS {
            let own = [
                KeyValue::new("number", number),
                KeyValue::new("half", number / 2),
            ];
            open.push(tracer.build(SpanBuilder::from_name("job").with_attributes(own)));
        }
        watched
            .live
            .target()
            .flush(crate::support::PATIENCE)
            .unwrap();
        // The spans end in another order than they began, on other threads.
        let (mut even, mut odd) = (Vec::new(), Vec::new());
        for (number, span) in open.into_iter().enumerate() {
            if number % 2 == 0 {
                even.push(span);
            } else {
                odd.push(span);
            }
        }
        odd.reverse();
        thread::scope(|scope| {
            for half in [even, odd] {
                scope.spawn(move || {
                    for mut span in half {
                        span.set_attribute(KeyValue::new("late", true));
                        span.end();
                    }
                });
            }
        });
        let events = watched.events();
        assert_eq!(
            watched.live.status().dropped,
            livespan::sse::Dropped::default()
        );
        let ended = events
            .iter()
            .filter(|event| event["type"] == json!("ended"));
        let ended: BTreeMap<i64, &Json> = ended
            .map(|event| (event["attributes"]["number"].as_i64().unwrap(), event))
            .collect();
        assert_eq!(i64::try_from(ended.len()), Ok(SPANS));
        for (number, event) in ended {
            let id = event["spanId"].as_str().unwrap();
            assert_eq!(id, format!("{:016x}", number + 1));
            assert_eq!(
                event["attributes"],
                json!({"number": number, "half": number / 2, "late": true})
            );
        }
    }
}

#[test]
fn hidden_targets_are_hidden_from_a_sampler_too() {
    let watched = sampled(LiveSpans::builder().build().unwrap());
    let tracer = watched.tracer();
    for target in ["hyper::proto", "shop", "hyper"] {
        let target = [KeyValue::new("target", target)];
        let builder = SpanBuilder::from_name("job").with_attributes(target);
        drop(tracer.build(builder));
    }
    let events = watched.events();
    assert_eq!(transcript(&events), ["process", "started job", "ended job"]);
    assert_eq!(events[1]["attributes"], json!({"target": "shop"}));
}

#[test]
fn a_log_without_a_sampler_beside_one_with_it_has_the_same_spans() {
    let (one, other) = (
        LiveSpans::builder().build().unwrap(),
        LiveSpans::builder().build().unwrap(),
    );
    let provider = provider_of(&one)
        .with_sampler(one.sampler(Sampler::AlwaysOn))
        .with_span_processor(other.span_processor())
        .build();
    eventful(&scoped(&provider));
    let both = [one, other].map(|live| {
        let watched = Watched {
            live,
            provider: provider.clone(),
        };
        watched.events()
    });
    assert_eq!(both[0][1].get("scope"), None);
    assert_eq!(both[1][1]["scope"], json!("shop::cart"));
    let [one, other] = both.map(|events| timeless(events)[2].clone());
    assert_eq!(one, other);
}

/// A processor that makes a span of its own whenever a span starts, before our processor sees
/// either.
#[derive(Debug)]
struct Meddler(SdkTracerProvider);

impl SpanProcessor for Meddler {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        let name = SpanBuilder::from_name("meddled");
        drop(self.0.tracer("meddler").build_with_context(name, cx));
        span.set_attribute(KeyValue::new("meddled", true));
    }
    fn on_end(&self, _span: SpanData) {}
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[test]
fn data_that_a_sampler_stored_is_never_used_for_another_span() {
    let live = LiveSpans::builder().build().unwrap();
    let own = sampled(live.clone()).provider;
    let provider = SdkTracerProvider::builder()
        .with_sampler(live.sampler(Sampler::AlwaysOn))
        .with_span_processor(Meddler(own))
        .with_span_processor(live.span_processor())
        .build();
    let watched = Watched { live, provider };
    let builder = SpanBuilder::from_name("job").with_attributes([KeyValue::new("number", 7)]);
    let span = watched
        .tracer()
        .build_with_context(builder, &remote_parent());
    drop(span);
    let events = watched.events();
    let name_and_attributes = |event: &Json| (event["name"].clone(), event["attributes"].clone());
    let spans = events
        .iter()
        .filter(|event| event["type"] != json!("process"));
    let spans: Vec<_> = spans.map(name_and_attributes).collect();
    let meddled = (json!("meddled"), json!({}));
    let job = (json!("job"), json!({"number": 7, "meddled": true}));
    assert_eq!(spans, [meddled.clone(), meddled, job.clone(), job]);
}

//! What an app does not want to see.

use std::sync::{Arc, Mutex};

use livespan::LiveSpans;
use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanKind, Tracer as _},
};

use super::watched::Watched;

#[test]
fn a_filter_is_told_the_facts_and_decides() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let watched = Watched::with(LiveSpans::builder().filter(move |facts| {
        told.lock().unwrap().push(format!("{facts:?}"));
        facts.name != "health"
    }));
    let tracer = watched.tracer();
    let span = |name| {
        SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("target", "shop::web"), KeyValue::new("level", "DEBUG")])
    };
    drop(tracer.build(span("health")));
    drop(tracer.build(span("checkout")));
    assert_eq!(watched.story(), ["process", "started checkout", "ended checkout"]);
    let facts = |name| {
        format!("SpanFacts {{ name: \"{name}\", scope: \"test\", target: \"shop::web\", level: \"DEBUG\", kind: Server }}")
    };
    let expected = [facts("health"), facts("health"), facts("checkout"), facts("checkout")];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn hiding_everything_makes_no_event_at_all() {
    let watched = Watched::with(LiveSpans::builder().filter(|_| false));
    drop(watched.tracer().start("job"));
    watched.provider.force_flush().unwrap();
    watched.provider.shutdown().unwrap();
    assert_eq!(watched.story(), Vec::<String>::new());
}

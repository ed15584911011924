//! Spans that an app hides.

use std::sync::{Arc, Mutex};

use livespan::LiveSpans;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanBuilder, SpanKind, Tracer as _},
};

use super::live_provider::Watched;
use crate::support::PATIENCE;

#[test]
fn a_filter_gets_the_facts_and_decides() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&seen);
    let watched = Watched::with(LiveSpans::builder().filter(move |facts| {
        recorded.lock().unwrap().push(format!("{facts:?}"));
        facts.name() != "health"
    }));
    let tracer = watched.tracer();
    let span = |name| {
        SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("target", "shop::web"),
                KeyValue::new("level", "DEBUG"),
            ])
    };
    drop(tracer.build(span("health")));
    drop(tracer.build(span("checkout")));
    assert_eq!(
        watched.transcript(),
        ["process", "started checkout", "ended checkout"]
    );
    let facts = |name| {
        format!(
            "SpanFacts {{ name: \"{name}\", scope: \"test\", target: \"shop::web\", level: \"DEBUG\", kind: Server }}"
        )
    };
    // The end of a shown span is shown without a call of the filter.
    let expected = [facts("health"), facts("health"), facts("checkout")];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_span_that_the_filter_refuses_only_at_its_end_has_an_end() {
    let filter = |facts: &livespan::otel::SpanFacts<'_>| {
        facts.attribute("http.route") != "/health" && facts.name() != "fatal"
    };
    let watched = Watched::with(LiveSpans::builder().filter(move |facts| {
        assert!(
            facts.attribute("http.route") != "/panic",
            "the filter of a test panics"
        );
        filter(facts)
    }));
    let tracer = watched.tracer();
    // The route is an attribute that is set after the start.
    for route in ["/health", "/checkout", "/panic"] {
        let mut span = tracer.start(route);
        watched.live.target().flush(PATIENCE).unwrap();
        span.set_attribute(KeyValue::new("http.route", route));
        span.end();
    }
    // The start and the end are in one batch.
    let mut renamed = tracer.start("shown");
    renamed.update_name("fatal");
    renamed.end();
    // The filter hides the start because of the first name. It accepts the end, which is shown
    // alone.
    let mut renamed = tracer.start("fatal");
    renamed.update_name("mild");
    renamed.end();
    tracer.start("fatal").end();
    let expected = [
        "process",
        "started /health",
        "ended /health",
        "started /checkout",
        "ended /checkout",
        "started /panic",
        "ended /panic",
        "started shown",
        "ended fatal",
        "ended mild",
    ];
    assert_eq!(watched.transcript(), expected);
    assert_eq!(watched.open_spans(), 0);
}

#[test]
fn hiding_everything_makes_no_event_at_all() {
    let watched = Watched::with(LiveSpans::builder().filter(|_| false));
    drop(watched.tracer().start("job"));
    watched.provider.force_flush().unwrap();
    watched.provider.shutdown().unwrap();
    assert_eq!(watched.transcript(), Vec::<String>::new());
}

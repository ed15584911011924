//! The benches' span: a start and an end with 4 attributes, made through either API.

#![allow(dead_code, reason = "each bench uses only a part")]

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer, TracerProvider},
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;

/// The API through which spans are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// The tracer of the `opentelemetry` crate.
    Tracer,
    /// `tracing` macros through `tracing-opentelemetry`, with its defaults: 10 attributes at the start, 12 at the end.
    Macros,
}

impl Api {
    pub(crate) const ALL: [Self; 2] = [Self::Tracer, Self::Macros];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tracer => "tracer",
            Self::Macros => "tracing",
        }
    }

    /// Calls `measure` with a function that makes a given number of spans with this provider.
    pub(crate) fn with<T, P>(self, provider: &P, measure: impl FnOnce(&dyn Fn(u32)) -> T) -> T
    where
        P: TracerProvider<Tracer: Tracer<Span: Send + Sync> + Send + Sync + 'static>,
    {
        let tracer = provider.tracer("bench");
        match self {
            Self::Tracer => measure(&|count| make_spans(&tracer, count)),
            Self::Macros => {
                let layer = tracing_opentelemetry::layer().with_tracer(tracer);
                let subscriber = tracing_subscriber::registry().with(layer);
                tracing::subscriber::with_default(subscriber, || measure(&trace_spans))
            }
        }
    }
}

/// Number of spans between two flushes. It is low enough that none is dropped.
const BURST: u32 = 2_000;

impl Api {
    /// Makes this many spans, in traces of a root and its children, and waits until the provider has processed them.
    pub(crate) fn make_traces(self, provider: &SdkTracerProvider, children: u32, spans: u32) {
        let tracer = provider.tracer("bench");
        self.with(provider, |make| {
            for _ in 0..spans / BURST {
                for _ in 0..BURST / (children + 1) {
                    if children > 0 {
                        tracer.in_span("request", |_| make(children));
                    } else {
                        make(1);
                    }
                }
                provider.force_flush().expect("background threads catch up");
            }
        });
    }
}

pub(crate) fn make_spans<T: Tracer>(tracer: &T, count: u32) {
    for number in 0..i64::from(count) {
        let mut span = tracer
            .span_builder("checkout")
            .with_attributes([
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("http.route", "/checkout/{id}"),
                KeyValue::new("cart.items", number),
                KeyValue::new("customer", format!("customer-{number:015}")),
            ])
            .start(tracer);
        span.end();
    }
}

fn trace_spans(count: u32) {
    for number in 0..i64::from(count) {
        let span = tracing::info_span!(
            "checkout",
            http.request.method = "GET",
            http.route = "/checkout/{id}",
            cart.items = number,
            customer = format!("customer-{number:015}"),
        );
        drop(span.entered());
    }
}

//! The shop's instrumentation. It is independent of livespan, except for the one line that registers livespan's
//! processor.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use livespan::LiveSpans;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Returns the tracer provider of one logical service, with livespan's processor.
pub(crate) fn provider(live: &LiveSpans, service: &'static str) -> SdkTracerProvider {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(live.span_processor())
        .build()
}

/// Sends the spans and events of this program's `tracing` macros to `provider`.
pub(crate) fn subscribe(provider: &SdkTracerProvider) -> Result<(), TryInitError> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    // Only the shop's own spans, not those of its HTTP libraries.
    let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(own)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("shop")))
        .try_init()
}

/// Makes the span of a request, as a child of the caller's span if the request names one.
pub(crate) fn server_span(request: &Request) -> Span {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(MatchedPath::as_str);
    let method = request.method();
    let span = info_span!(
        "http.server",
        otel.name = route.map_or_else(|| method.to_string(), |route| format!("{method} {route}")),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = %method,
        http.route = route,
        url.path = request.uri().path(),
        url.query = request.uri().query(),
        http.response.status_code = field::Empty,
    );
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(request.headers()))
    });
    if let Err(error) = span.set_parent(caller) {
        tracing::warn!(%error, "cannot continue the caller's trace");
    }
    span
}

/// Records the response on the span of its request.
pub(crate) fn on_response<B>(response: &Response<B>, _latency: Duration, span: &Span) {
    span.record(
        "http.response.status_code",
        i64::from(response.status().as_u16()),
    );
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Converts a number for an attribute: `tracing-opentelemetry` would write an unsigned one as text.
pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

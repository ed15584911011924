//! The shop's instrumentation: spans and log records go through OpenTelemetry's own providers. Two calls make livespan
//! show them: `tracer_provider` and `log_processor`.

use std::fmt::Debug;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use livespan::otel::LiveTracerProvider;
use livespan::{LiveFutureExt as _, LiveSpans};
use opentelemetry::trace::{Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::{self, Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Span, Subscriber, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::{self, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Returns the tracer provider of one logical service. It also reports the changes of open spans to
/// livespan.
pub(crate) fn provider(live: &LiveSpans, service: &'static str) -> LiveTracerProvider {
    live.tracer_provider(SdkTracerProvider::builder().with_resource(resource(service)))
}

/// Returns the logger provider of one logical service.
pub(crate) fn logger_provider(live: &LiveSpans, service: &'static str) -> SdkLoggerProvider {
    SdkLoggerProvider::builder()
        .with_resource(resource(service))
        .with_log_processor(live.log_processor())
        .build()
}

fn resource(service: &'static str) -> Resource {
    Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Sends the spans of this program's `tracing` macros to `provider`, and their events to `logs`.
pub(crate) fn subscribe(
    provider: &LiveTracerProvider,
    logs: &SdkLoggerProvider,
) -> Result<(), TryInitError> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    // Only the shop's own spans, not those of its HTTP libraries.
    let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    // Events become log records. Without this filter, they would be added to their spans, too.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("shop"))
        .with_filter(filter_fn(|metadata| !metadata.is_event()));
    tracing_subscriber::registry()
        .with(own)
        .with(spans)
        .with(OpenTelemetryTracingBridge::new(logs))
        .with(FailedSpans)
        .try_init()
}

/// Sets the status of a span in which an error is logged.
struct FailedSpans;

impl<S: Subscriber> Layer<S> for FailedSpans {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut error = LoggedError(String::new());
            event.record(&mut error);
            let span = Context::current();
            span.span().set_status(Status::error(error.0));
        }
    }
}

/// The field `error` of an event.
struct LoggedError(String);

impl Visit for LoggedError {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "error" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Answers a request in a span. If the visitor leaves before there is an answer, axum drops this future, and the span is
/// cancelled.
pub(crate) async fn answer(request: Request, next: Next) -> Response {
    let span = server_span(&request);
    let response = next.run(request).live(span.clone()).await;
    record_response(&response, &span);
    response
}

/// Makes the span of a request, as a child of the caller's span if the request names one.
fn server_span(request: &Request) -> Span {
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
fn record_response(response: &Response, span: &Span) {
    span.record(
        "http.response.status_code",
        i64::from(response.status().as_u16()),
    );
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Converts a number to an attribute's type. `tracing-opentelemetry` writes an unsigned number as
/// text.
pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

//! The program under test: a livespan log, an OpenTelemetry SDK that records into it, and a server.

use livespan::{LiveServer, LiveSpans};
use opentelemetry::{
    Context,
    trace::{SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};

pub(crate) struct App {
    pub(crate) live: LiveSpans,
    pub(crate) provider: SdkTracerProvider,
    pub(crate) server: LiveServer,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::on("127.0.0.1:0").await
    }

    pub(crate) async fn on(address: &str) -> Self {
        Self::of(LiveSpans::builder().build().unwrap(), address).await
    }

    pub(crate) async fn of(live: LiveSpans, address: &str) -> Self {
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name("shop").build())
            .with_span_processor(live.span_processor())
            .build();
        let server = live.serve(address).await.unwrap();
        Self {
            live,
            provider,
            server,
        }
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("shop::cart")
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}{rest}", self.server.url())
    }

    pub(crate) fn stop(self) {
        self.provider.shutdown().unwrap();
        self.live.shutdown().unwrap();
    }
}

/// Opens a span and leaves it open. Returns its context, for child spans.
pub(crate) fn open(tracer: &SdkTracer, name: &'static str, parent: &Context) -> Context {
    let span = tracer
        .span_builder(name)
        .with_kind(SpanKind::Server)
        .start_with_context(tracer, parent);
    parent.with_span(span)
}

pub(crate) fn trace_of(context: &Context) -> String {
    context.span().span_context().trace_id().to_string()
}

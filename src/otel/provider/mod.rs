//! The wrapping provider. It shows its spans with scope and true start time, sampled or not, and shows their changes
//! while they run, whichever API makes them. It runs on the host's threads, partly under the lock of a context's span:
//! it never blocks, never panics, and makes no span or log record of its own.

mod key_sketch;
mod live_span;
mod shared;
mod tracer;
mod unrecorded;

pub use self::{live_span::LiveSpan, tracer::LiveTracer};

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::{InstrumentationScope, trace::TracerProvider};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, TracerProviderBuilder},
};

use crate::otel::{processor::LiveSpanProcessor, provider::shared::ProviderShared};

/// A tracer provider whose spans are shown while they run: [`LiveSpans::tracer_provider`](crate::LiveSpans::tracer_provider)
/// creates it around a provider of the SDK.
///
/// - It can be used wherever a provider is expected: `global::set_tracer_provider`, and
///   `tracing_opentelemetry::layer().with_tracer(provider.tracer("app"))`.
/// - Attributes, events, status, name and links that a span gets while it is open are shown as `updated` events. They
///   may be set through any API: `tracing`'s `record`, `OpenTelemetrySpanExt`, [`Span`](opentelemetry::trace::Span), or
///   `Context::current().span()`.
/// - Spans that the sampler drops are shown, too, but not exported. No [`LiveSampler`](crate::LiveSampler) is needed.
/// - If an attribute is set again, the SDK appends a copy, which counts towards the span's limit. So this provider
///   keeps the attributes that a span gets after its start, and passes the last value of each key to the SDK when the
///   span ends.
/// - Spans that are made directly through [`sdk`](Self::sdk) are shown only when they start and when they end.
///
/// ```
/// use livespan::LiveSpans;
/// use opentelemetry::{KeyValue, trace::{Span as _, Tracer as _, TracerProvider as _}};
/// use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
///
/// let live = LiveSpans::builder().build()?;
/// let exporter = InMemorySpanExporter::default();
/// let provider = live.tracer_provider(SdkTracerProvider::builder().with_simple_exporter(exporter));
/// let mut span = provider.tracer("app").start("import");
/// span.set_attribute(KeyValue::new("progress.current", 1)); // readers see it now
/// span.end();
/// # provider.shutdown().ok();
/// # live.shutdown()?;
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone)]
pub struct LiveTracerProvider {
    sdk: SdkTracerProvider,
    provider: Arc<ProviderShared>,
}

impl LiveTracerProvider {
    pub(crate) fn new(processor: LiveSpanProcessor, builder: TracerProviderBuilder) -> Self {
        let provider = ProviderShared {
            shared: processor.shared(),
            source: processor.source(),
            limits: processor.limits(),
        };
        Self {
            sdk: builder.with_span_processor(processor).build(),
            provider: Arc::new(provider),
        }
    }

    /// Returns the SDK's provider that this one wraps.
    pub fn sdk(&self) -> &SdkTracerProvider {
        &self.sdk
    }

    /// Flushes the processors of the SDK's provider, including ours: see [`LiveSpanProcessor`].
    ///
    /// # Errors
    /// Returns the errors of the processors.
    pub fn force_flush(&self) -> OTelSdkResult {
        self.sdk.force_flush()
    }

    /// Shuts the SDK's provider down. Spans that are still open are ended as lost.
    ///
    /// # Errors
    /// Returns the errors of the processors, and an error if the provider was shut down before.
    pub fn shutdown(&self) -> OTelSdkResult {
        self.sdk.shutdown()
    }

    /// Like [`shutdown`](Self::shutdown), with a time limit for each processor.
    ///
    /// # Errors
    /// Returns the errors of the processors, and an error if the provider was shut down before.
    pub fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.sdk.shutdown_with_timeout(timeout)
    }
}

impl fmt::Debug for LiveTracerProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTracerProvider")
            .field("sdk", &self.sdk)
            .finish_non_exhaustive()
    }
}

impl TracerProvider for LiveTracerProvider {
    type Tracer = LiveTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> LiveTracer {
        let sdk = self.sdk.tracer_with_scope(scope.clone());
        LiveTracer::new(sdk, scope, Arc::clone(&self.provider))
    }
}

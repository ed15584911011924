//! The plug-in into the OpenTelemetry SDK: the processor that shows spans, the sampler that makes unsampled spans
//! record, the provider that wraps the SDK's, and the log processor. Beside them: the futures, the panic hook and the
//! layer that watches tasks. It runs on the host's threads, inside the SDK's calls: it never blocks, panics or makes
//! spans of its own.
//!
//! [`LiveSpans::span_processor`](crate::LiveSpans::span_processor) creates the processor,
//! [`LiveSpans::sampler`](crate::LiveSpans::sampler) the sampler. [`SampledOnly`] wraps an exporter that is registered
//! beside livespan, and hides from it the spans that are recorded only because of livespan.

pub(crate) mod diagnostics;
pub(crate) mod filter;
pub(crate) mod futures;
pub(crate) mod limits;
#[cfg(feature = "logs")]
pub(crate) mod log_processor;
pub(crate) mod log_registry;
pub(crate) mod panic_hook;
pub(crate) mod processor;
pub(crate) mod provider;
pub(crate) mod sampler;
pub(crate) mod shared;
pub(crate) mod span_override;
pub(crate) mod start_handoff;
#[cfg(feature = "tracing")]
pub(crate) mod tasks;

#[cfg(feature = "logs")]
#[cfg_attr(docsrs, doc(cfg(feature = "logs")))]
pub use crate::otel::log_processor::LiveLogProcessor;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use crate::otel::tasks::TaskLayer;
pub use crate::otel::{
    filter::SpanFacts,
    futures::{AwaitingFuture, LiveFuture, LiveFutureExt, SpanHandle},
    processor::{LiveSpanProcessor, SampledOnly},
    provider::{LiveSpan, LiveTracer, LiveTracerProvider},
    sampler::LiveSampler,
};

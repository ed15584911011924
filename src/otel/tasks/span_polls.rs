//! One span of `tracing` that was entered. The host's threads count its polls; the watcher reads
//! the counts.

use std::sync::Arc;

use opentelemetry::trace::SpanContext;
use tracing::Metadata;

use crate::span::updates::PollCounters;

/// A span that was entered. The registry of spans holds it until the span closes.
#[derive(Debug)]
pub(super) struct SpanPolls {
    pub(super) counters: Arc<PollCounters>,
    /// The OpenTelemetry span. Invalid if the OpenTelemetry layer does not have this span.
    pub(super) span: SpanContext,
    pub(super) metadata: &'static Metadata<'static>,
    /// Whether the first thread that entered the span was running a tokio runtime.
    pub(super) is_in_runtime: bool,
}

impl SpanPolls {
    pub(super) fn new(
        span: SpanContext,
        metadata: &'static Metadata<'static>,
        is_in_runtime: bool,
    ) -> Self {
        Self {
            counters: Arc::default(),
            span,
            metadata,
            is_in_runtime,
        }
    }
}

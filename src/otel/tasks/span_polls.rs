//! One span of `tracing` that was entered. The host's threads count its polls; the watcher reads
//! the counts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
    is_closed: AtomicBool,
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
            is_closed: AtomicBool::new(false),
        }
    }

    /// Notes that the span closed. Another span may use its id from now on.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

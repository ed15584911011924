//! A future whose span names the operation that it waits for. It runs on the host's tasks. It never blocks, and it
//! panics only if the wrapped future does.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _},
};
use pin_project_lite::pin_project;

use crate::otel::futures::pending_awaits::AwaitGuard;

pin_project! {
    /// The future of [`LiveFutureExt::awaiting`](crate::LiveFutureExt::awaiting).
    #[must_use = "futures do nothing unless they are polled"]
    pub struct AwaitingFuture<F> {
        #[pin]
        future: F,
        // Set until the future is pending for the first time.
        name: Option<Cow<'static, str>>,
        // Set from the first pending poll until the future is ready, if the current span records.
        waits: Option<AwaitGuard>,
    }
}

impl<F> AwaitingFuture<F> {
    pub(crate) fn new(future: F, name: Cow<'static, str>) -> Self {
        Self {
            future,
            name: Some(name),
            waits: None,
        }
    }
}

impl<F> fmt::Debug for AwaitingFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitingFuture")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Future for AwaitingFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = this.future.poll(cx);
        if poll.is_ready() {
            this.waits.take();
        } else if let Some(name) = this.name.take() {
            *this.waits = recording_span().map(|span| AwaitGuard::new(span, name));
        }
        poll
    }
}

/// Returns the span that is current on this task, if it records.
pub(super) fn recording_span() -> Option<SpanContext> {
    Context::map_current(|cx| {
        let span = cx.span();
        span.is_recording().then(|| span.span_context().clone())
    })
}

//! Futures that report how they end. The SDK and `tracing` only see the end of a span, not whether its future was
//! ready. These futures notice when they are dropped before they are ready. They run on the host's tasks. They never
//! block, and they panic only if the wrapped future does.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    thread,
};

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _},
};
use pin_project_lite::pin_project;

use crate::{
    otel::futures::{
        awaiting::{AwaitingFuture, recording_span},
        poll_times::PollTimes,
    },
    span::ending::{self, PanicDetails},
};

/// Shows how futures end, and which operations they wait for.
///
/// ```
/// use std::time::Duration;
///
/// use livespan::{LiveFutureExt as _, LiveSpans};
/// use opentelemetry::{Context, trace::{TraceContextExt as _, Tracer as _, TracerProvider as _}};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), livespan::Error> {
/// let live = LiveSpans::builder().build()?;
/// let provider = SdkTracerProvider::builder().with_span_processor(live.span_processor()).build();
/// let tracer = provider.tracer("shop");
/// let cx = Context::current_with_span(tracer.start("wait for a card"));
/// let card = std::future::pending::<()>().live(cx);
/// // Too late: the span ends as cancelled.
/// assert!(tokio::time::timeout(Duration::from_millis(1), card).await.is_err());
/// # Ok(())
/// # }
/// ```
pub trait LiveFutureExt: Future + Sized {
    /// Runs the future in a span: a `tracing::Span` (feature `tracing`) or the span of an OpenTelemetry [`Context`].
    /// The span is current while the future is polled and while it is dropped.
    ///
    /// - A future that is dropped before it is ready cancels its span. Examples are a future that loses a `select!`,
    ///   exceeds a timeout or was never polled, and one whose task is aborted or whose `JoinSet` is dropped. The span's
    ///   end has `"cancelled":true` and the status that the program set. Spans that end during that drop are cancelled,
    ///   too.
    /// - When the future is ready, the wrapped future and its handle of the span are dropped at once.
    /// - Viewers see how often the future was polled, and how long it worked and waited. During a long poll, they also
    ///   see when it began, and on which thread: that thread does nothing else meanwhile.
    /// - If the future panics, the span ends as panicked, even if the panic is caught before the future is dropped.
    ///
    /// As always, the span ends with its last handle. If the program still holds another handle, the span ends as
    /// cancelled when that handle is dropped, unless another future in the span was ready before. A process remembers
    /// about 1,000 such spans. With [`init()`](crate::init()) and [`layer()`](crate::layer()), the same applies to the
    /// spans of instrumented futures inside this one.
    ///
    /// A future that is polled again after it was ready stays pending.
    fn live(self, span: impl Into<SpanHandle>) -> LiveFuture<Self> {
        LiveFuture {
            future: Some(self),
            span: Some(span.into()),
            progress: FutureProgress::NotPolled,
            times: None,
        }
    }

    /// Names the operation that the current span waits for while the future is pending. A viewer of the span then sees,
    /// for example, *waits for redis get, since 30 s*, although that operation has no span. It costs little if the
    /// future is ready at once.
    ///
    /// - The span is the one that is current when the future is pending for the first time.
    /// - If several futures of one span wait, viewers see the one that has waited longest. At most 64 are tracked at
    ///   once.
    /// - If the future is dropped, the span no longer waits for it.
    ///
    /// ```
    /// use livespan::LiveFutureExt as _;
    ///
    /// # async fn get(key: &str) -> Option<String> { Some(key.to_owned()) }
    /// async fn name_of(user: &str) -> Option<String> {
    ///     get(user).awaiting("redis get").await
    /// }
    /// ```
    fn awaiting(self, name: impl Into<Cow<'static, str>>) -> AwaitingFuture<Self> {
        AwaitingFuture::new(self, name.into())
    }
}

impl<F: Future> LiveFutureExt for F {}

/// The span in which [`LiveFutureExt::live`] runs a future.
pub struct SpanHandle(HandleKind);

enum HandleKind {
    OpenTelemetry(Context),
    #[cfg(feature = "tracing")]
    Tracing(tracing::Span),
}

impl fmt::Debug for SpanHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanHandle").finish_non_exhaustive()
    }
}

impl From<Context> for SpanHandle {
    /// Uses the span of this context. The whole context, with its baggage, is current while the future is polled.
    fn from(cx: Context) -> Self {
        Self(HandleKind::OpenTelemetry(cx))
    }
}

#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
impl From<tracing::Span> for SpanHandle {
    fn from(span: tracing::Span) -> Self {
        Self(HandleKind::Tracing(span))
    }
}

impl SpanHandle {
    /// Calls `run` with the span as the current one.
    fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        match &self.0 {
            HandleKind::OpenTelemetry(cx) => {
                let _attached = cx.clone().attach();
                run()
            }
            #[cfg(feature = "tracing")]
            HandleKind::Tracing(span) => span.in_scope(run),
        }
    }

    /// Returns the ids of the span if it records. Call it only after [`within`](Self::within). Otherwise this call
    /// would start a `tracing` span that was never entered.
    fn recording(&self) -> Option<SpanContext> {
        #[cfg(feature = "tracing")]
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        let of = |cx: &Context| {
            let span = cx.span();
            span.is_recording().then(|| span.span_context().clone())
        };
        match &self.0 {
            HandleKind::OpenTelemetry(cx) => of(cx),
            #[cfg(feature = "tracing")]
            HandleKind::Tracing(span) => of(&span.context()),
        }
    }
}

/// The progress of a future.
enum FutureProgress {
    NotPolled,
    Polled,
    /// The future panicked, with these details if they are known.
    Panicked(Option<Arc<PanicDetails>>),
}

pin_project! {
    /// The future of [`LiveFutureExt::live`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct LiveFuture<F> {
        // `future` and `span` are set until the future is ready.
        #[pin]
        future: Option<F>,
        span: Option<SpanHandle>,
        progress: FutureProgress,
        // Set at the first poll, if the span records.
        times: Option<PollTimes>,
    }

    impl<F> PinnedDrop for LiveFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(span) = this.span.take() {
                let progress = std::mem::replace(this.progress, FutureProgress::Polled);
                end_early(this.future, span, progress);
            }
        }
    }
}

/// Drops a future that is not ready, then its handle of the span. Spans that end meanwhile end as panicked or
/// cancelled.
fn end_early<F>(mut future: Pin<&mut Option<F>>, span: SpanHandle, progress: FutureProgress) {
    let context = match progress {
        // While the thread unwinds, the span is not used: its locks may be poisoned.
        FutureProgress::Polled if !thread::panicking() => span.recording(),
        _ => None,
    };
    let end = move || {
        span.within(|| future.set(None));
        drop(span);
    };
    match progress {
        FutureProgress::Panicked(panic) => ending::as_panicked(panic, end),
        // Spans that end now detect the panic themselves.
        _ if thread::panicking() => end(),
        FutureProgress::NotPolled | FutureProgress::Polled => {
            if let Some(context) = &context {
                ending::mark_cancelled(context);
            }
            ending::as_cancelled(context.as_ref(), end);
        }
    }
}

impl<F> fmt::Debug for LiveFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFuture").finish_non_exhaustive()
    }
}

impl<F: Future> Future for LiveFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let Some(span) = this.span.as_ref() else {
            return Poll::Pending;
        };
        let is_first = matches!(this.progress, FutureProgress::NotPolled);
        let _poll = PollGuard {
            progress: this.progress,
            was_panicking: thread::panicking(),
        };
        let times = this.times;
        let poll = span.within(|| {
            if is_first {
                *times = recording_span().map(|span| PollTimes::of(&span));
            }
            let _timed = TimedPoll::begin(times);
            let poll = this.future.as_mut().as_pin_mut()?.poll(cx);
            if poll.is_ready() {
                this.future.set(None);
            }
            Some(poll)
        });
        let Some(Poll::Ready(output)) = poll else {
            return Poll::Pending;
        };
        if ending::has_cancelled_spans()
            && let Some(context) = span.recording()
        {
            // An earlier future of this span may have been dropped. This one is ready, so the span is not cancelled.
            ending::unmark_cancelled(&context);
        }
        drop(this.span.take());
        Poll::Ready(output)
    }
}

/// Times a poll until this value is dropped, even by a panic.
struct TimedPoll<'a>(&'a mut Option<PollTimes>);

impl<'a> TimedPoll<'a> {
    fn begin(times: &'a mut Option<PollTimes>) -> Self {
        if let Some(times) = times {
            times.begin();
        }
        Self(times)
    }
}

impl Drop for TimedPoll<'_> {
    fn drop(&mut self) {
        if let Some(times) = self.0 {
            times.end();
        }
    }
}

/// Notices that a poll panics.
struct PollGuard<'a> {
    progress: &'a mut FutureProgress,
    was_panicking: bool,
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        *self.progress = if thread::panicking() && !self.was_panicking {
            FutureProgress::Panicked(ending::panic_details())
        } else {
            FutureProgress::Polled
        };
    }
}

//! The layer that counts the polls of spans. It runs on the host's threads, at each enter and exit of a span. It waits
//! only for short locks, never panics and calls no code of the host.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tokio::runtime::Handle;
use tracing::{Dispatch, Subscriber, dispatcher::WeakDispatch, span::Id};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    error::Error,
    otel::tasks::{
        clock::monotonic_nanos,
        entered,
        span_polls::SpanPolls,
        watcher::{TaskRegistry, task_registry},
    },
};

/// A layer that shows how the spans of `tracing` are polled: how often, how long they worked and waited, and which span
/// blocks its thread. Put it *after* the OpenTelemetry layer into a registry. `LIVESPAN_TASKS=1` adds it to
/// [`init()`](crate::init()) and [`layer()`](crate::layer()).
///
/// - A span that is open for half a second gets a task state: polls, busy time, idle time, longest poll. For an
///   instrumented future, each enter of its span counts as a poll. When `tracing` drops the future, it enters the span
///   once more, which counts as well.
/// - A worker of a tokio runtime that has been in one poll for half a second is *blocked*. While that lasts, each
///   span of its runtime whose current poll has lasted for half a second shows its thread and the time. This includes
///   spans on other threads of the runtime, such as those of `spawn_blocking`.
/// - A worker that is blocked outside of any span is reported as a log record. So is a guard of a span that is held
///   across an `.await`, once for each place in the code: other tasks then appear inside that span. A guard is noticed
///   when an instrumented future around it waits, and on a single-threaded runtime when all its tasks wait.
///
/// Every event log of the process shows this for its own spans. Each open span that was entered uses a few hundred
/// bytes. Up to 65,536 spans are watched, and a thread counts up to 256 nested spans. A poll costs 149 instructions,
/// including two reads of the clock.
///
/// ```
/// use livespan::{LiveSpans, otel::TaskLayer};
/// use opentelemetry::trace::TracerProvider as _;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let live = LiveSpans::builder().build()?;
/// let provider = live.tracer_provider(SdkTracerProvider::builder());
/// let subscriber = tracing_subscriber::registry()
///     .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("shop")))
///     .with(TaskLayer::new()?);
/// # drop(subscriber);
/// # Ok::<(), livespan::Error>(())
/// ```
pub struct TaskLayer {
    registry: Arc<TaskRegistry>,
    /// The number of this layer. Span ids are unique only within one registry, so they are used together with this
    /// number.
    number: u32,
    dispatch: OnceLock<WeakDispatch>,
}

impl fmt::Debug for TaskLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLayer")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl TaskLayer {
    /// Creates the layer. The first layer of a process starts the thread `livespan-tasks`, which ends after the last
    /// layer.
    ///
    /// # Errors
    /// Returns an [I/O](Error::is_io) error if the thread cannot be started.
    pub fn new() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Ok(Self {
            registry: task_registry()?,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            dispatch: OnceLock::new(),
        })
    }

    /// Enters a span that is not among the spans that this thread has entered recently.
    #[cold]
    #[inline(never)]
    fn enter_new<S>(&self, id: &Id, now: u64, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let Some(span) = ctx.span(id) else {
            return;
        };
        let known = span.extensions().get::<Arc<SpanPolls>>().map(Arc::clone);
        let polls = known.unwrap_or_else(|| {
            let context = self.otel_span(id);
            let is_in_runtime = Handle::try_current().is_ok();
            let polls = Arc::new(SpanPolls::new(context, span.metadata(), is_in_runtime));
            let mut extensions = span.extensions_mut();
            if let Some(known) = extensions.get_mut::<Arc<SpanPolls>>() {
                return Arc::clone(known);
            }
            extensions.insert(Arc::clone(&polls));
            drop(extensions);
            self.registry.watch(&polls);
            polls
        });
        entered::enter(self.key(id), polls, now);
    }

    /// Returns the OpenTelemetry span context, or an invalid one if there is none.
    fn otel_span(&self, id: &Id) -> SpanContext {
        let dispatch = self.dispatch.get().and_then(WeakDispatch::upgrade);
        let context = dispatch.and_then(|dispatch| get_otel_context(id, &dispatch));
        context.map_or(SpanContext::NONE, |context| {
            context.span().span_context().clone()
        })
    }

    fn key(&self, id: &Id) -> (u32, u64) {
        (self.number, id.into_u64())
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for TaskLayer {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _is_first = self.dispatch.set(subscriber.downgrade()).is_ok();
    }

    #[inline]
    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        // The clock is read first: values that are looked up before the call would have to be kept across it.
        let now = monotonic_nanos(Instant::now());
        if !entered::enter_known(self.key(id), now) {
            self.enter_new(id, now, &ctx);
        }
    }

    #[inline]
    fn on_exit(&self, id: &Id, _ctx: Context<'_, S>) {
        let now = monotonic_nanos(Instant::now());
        entered::exit(self.key(id), now, |held| {
            self.registry.guards.note(&held.span, held.metadata);
        });
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(&id)
            && let Some(polls) = span.extensions().get::<Arc<SpanPolls>>()
        {
            polls.counters.close();
        }
        entered::forget(self.key(&id));
    }
}

//! The OpenTelemetry span processor, and a filter for other processors that are registered beside it.
//!
//! `on_start` and `on_end` run on the host's threads, possibly under the host's locks: they copy a compact record into
//! the ingest buffer and return. They never wait or panic, never touch the current `Context`, and never make a span or
//! a log record. Each of these can deadlock or abort the host here (see the SDK's issues 2871, 3510 and 3262).

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{
    Context,
    trace::{Span as _, SpanContext, SpanId, TraceContextExt as _},
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanProcessor},
};

use crate::{
    error::Error,
    ingest::{
        buffer::{IngestBuffer, PushError, RecordClass},
        write_buf::WriteBuf,
    },
    otel::{
        limits::SeenLimits,
        shared::ProcessorShared,
        span_override,
        start_handoff::{self, HandedStart, SpanIdentity},
    },
    span::{
        delta::{
            end::{sent_prefix_of, slot_key, slot_key_of, write_end_delta},
            slots::{SentPrefix, SlotGuard, StartSlots},
        },
        record::{self, HandedStartRecord, SpanOrigin},
    },
    util::time::Timestamp,
};

/// Upper bound on the time that `shutdown` waits, whatever timeout it gets.
const SHUTDOWN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Shows the spans of a provider live. Register it with
/// [`with_span_processor`](opentelemetry_sdk::trace::TracerProviderBuilder::with_span_processor).
///
/// - A span that records is shown when it starts and when it ends, sampled or not. For spans that a sampler would drop,
///   see [`LiveSampler`](crate::LiveSampler).
/// - A span that is ended twice, even on two threads, is shown as ended once. A span that is dropped without `end` ends
///   when it is dropped.
/// - Spans that are open when the provider is shut down are ended as lost, because the SDK will not report their end.
///   Spans that start or end after that are not shown. Shutdown waits only half a second for a store that is known to
///   fail.
/// - `force_flush` returns when all spans that ended before the call are stored and visible, within
///   [`Self::FLUSH_TIMEOUT`]. You may call it and `shutdown` from any thread, inside and outside of any runtime, and
///   more than once.
/// - A process that is *forked* without `exec` has no worker thread. Its spans are discarded. They cost as much time as
///   before, and no memory beyond the buffer. In the child, `force_flush` and `shutdown` return an error at once. The
///   parent's log is not affected. Do not make other calls in the child; build a new log after the fork instead.
///
/// The guide: [exporters and sampling](crate::_guide::exporters_and_sampling), [costs](crate::_guide::costs).
pub struct LiveSpanProcessor {
    shared: Arc<ProcessorShared>,
    source: u32,
    closed: AtomicBool,
    slots: StartSlots,
    limits: Arc<SeenLimits>,
    inner: Option<Box<dyn SpanProcessor>>,
}

impl fmt::Debug for LiveSpanProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSpanProcessor")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl LiveSpanProcessor {
    /// Upper bound on the time that `force_flush` waits: 5 seconds, as in the SDK's own processors.
    pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

    pub(crate) fn new(shared: Arc<ProcessorShared>) -> Self {
        let source = shared.processes.add();
        Self {
            shared,
            source,
            closed: AtomicBool::new(false),
            slots: StartSlots::default(),
            limits: Arc::new(SeenLimits::from_env()),
            inner: None,
        }
    }

    /// Wraps another processor, which then gets exactly the *sampled* spans. The SDK copies a span's data once for
    /// every registered processor; a wrapped processor gets the data without a further copy.
    ///
    /// ```
    /// use livespan::LiveSpans;
    /// use opentelemetry_sdk::trace::{BatchSpanProcessor, InMemorySpanExporter, SdkTracerProvider};
    ///
    /// let live = LiveSpans::builder().build()?;
    /// let exporting = BatchSpanProcessor::builder(InMemorySpanExporter::default()).build();
    /// let provider = SdkTracerProvider::builder()
    ///     .with_span_processor(live.span_processor().wrapping(exporting))
    ///     .build();
    /// # drop(provider);
    /// # Ok::<(), livespan::Error>(())
    /// ```
    #[must_use]
    pub fn wrapping(mut self, inner: impl SpanProcessor + 'static) -> Self {
        self.inner = Some(Box::new(inner));
        self
    }

    /// Returns the number of this processor's process in the log.
    pub(crate) fn source(&self) -> u32 {
        self.source
    }

    pub(crate) fn shared(&self) -> Arc<ProcessorShared> {
        Arc::clone(&self.shared)
    }

    /// Returns the limits of the provider, as derived from its ended spans.
    pub(crate) fn limits(&self) -> Arc<SeenLimits> {
        Arc::clone(&self.limits)
    }

    fn buffer(&self) -> &IngestBuffer {
        self.shared.buffer()
    }

    #[inline]
    fn enqueue_start(&self, span: &Span, cx: &Context) {
        let context = span.span_context();
        if self.is_closed_to(context) {
            return;
        }
        let identity = SpanIdentity::new(self.shared.log_number, cx, context.trace_id());
        let shown = start_handoff::take(identity, |handed| {
            self.enqueue_handed(context, cx, handed);
        });
        if shown.is_none()
            && let Some(data) = span.exported_data()
            && self.shared.filter.wants_start(&data)
        {
            let guard = self
                .slots
                .acquire(slot_key_of(&data), sent_prefix_of(&data));
            self.push_start(guard, |buf, guard| {
                record::write_start(buf, self.source, &data, SpanOrigin::Sdk, guard)
            });
        }
    }

    /// Pushes the start of a span that our provider or our sampler has stored (see [`start_handoff`]).
    #[inline]
    fn enqueue_handed(&self, context: &SpanContext, cx: &Context, handed: &HandedStart) {
        if !handed.is_wanted {
            self.shared.filter.remember_refused(context.span_id());
            return;
        }
        let start = handed.start.unwrap_or_else(Timestamp::now);
        let parent = cx.span();
        // Like the SDK, this treats an invalid parent as no parent.
        let parent = Some(parent.span_context()).filter(|parent| parent.is_valid());
        let parent_id = parent.map_or(SpanId::INVALID, SpanContext::span_id);
        let key = slot_key(context, parent_id, handed.kind);
        let guard = self.slots.acquire(key, handed.sent());
        self.push_start(guard, |buf, guard| {
            let start = HandedStartRecord {
                source: self.source,
                context,
                parent,
                kind: handed.kind,
                start,
                has: handed.has,
                bytes: handed.bytes(),
                scope_size: handed.scope_size,
                counts: handed.counts,
            };
            record::write_handed_start(buf, &start, guard)
        });
    }

    /// Pushes a start. The caller has already acquired the slot, because an atomic exchange after the copy would wait
    /// until the CPU's store buffer has drained.
    #[inline]
    fn push_start(
        &self,
        guard: SlotGuard<'_>,
        write: impl Fn(&mut WriteBuf<'_>, &SlotGuard<'_>) -> Option<()>,
    ) {
        // A full buffer counts the start as dropped. A buffer closed by shutdown ignores it.
        let pushed = self
            .buffer()
            .push(RecordClass::Start, |buf| write(buf, &guard));
        if pushed.is_ok() {
            guard.keep();
        }
    }

    #[inline]
    fn enqueue_end(&self, data: &SpanData) {
        let context = &data.span_context;
        if self.is_closed_to(context) {
            #[cfg(feature = "metrics")]
            if self.closed.load(Ordering::Relaxed) {
                self.shared.count_late_end(data);
            }
            return;
        }
        self.limits.learn(data);
        self.shared.enqueue_shared_changes(context);
        let Some(found) = self.slots.find(slot_key_of(data)) else {
            self.shared.enqueue_end(self.source, data, SpanOrigin::Sdk);
            return;
        };
        // The start was shown, so the end is shown too, even if the filter would refuse it now. If the SDK's limits
        // dropped attributes, the end's attributes may not begin with those of the start. A complete end is written
        // then.
        let begins = |sent: &SentPrefix| {
            data.dropped_attributes_count == 0
                && data.attributes.len() >= usize::from(sent.attributes)
        };
        let pushed = if let Some(sent) = found.sent.filter(begins) {
            let write =
                |buf: &mut WriteBuf<'_>| write_end_delta(buf, self.source, data, (&found, sent));
            self.buffer().push(RecordClass::End, write)
        } else {
            let write =
                |buf: &mut WriteBuf<'_>| record::write_end(buf, self.source, data, SpanOrigin::Sdk);
            self.buffer().push(RecordClass::End, write)
        };
        if pushed == Err(PushError::Full) {
            self.shared.enqueue_dropped_end(data);
        }
        found.release();
    }

    #[inline]
    fn is_closed_to(&self, context: &SpanContext) -> bool {
        self.closed.load(Ordering::Relaxed)
            || span_override::is_already_logged(&self.shared.log_identity, context.span_id())
    }

    /// Asks the worker to end this processor's open spans as lost.
    fn push_shutdown(&self) -> Result<(), PushError> {
        self.buffer().push(RecordClass::Internal, |buf| {
            record::write_shutdown(buf, self.source)
        })
    }

    /// Waits until all pushed records are visible. If the shutdown record found no room before, pushes it again.
    fn close(&self, mut noted: Result<(), PushError>, deadline: Instant) -> Result<(), Error> {
        let left = || deadline.saturating_duration_since(Instant::now());
        while noted == Err(PushError::Full) {
            self.shared.runtime.flush_unless_failing(left())?;
            // Other threads may have filled the buffer again meanwhile.
            if left().is_zero() {
                return Err(Error::full());
            }
            noted = self.push_shutdown();
        }
        self.shared.runtime.flush_unless_failing(left())
    }
}

impl SpanProcessor for LiveSpanProcessor {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        // A panic here would poison the span and can abort the host, so it is caught.
        drop(catch_unwind(AssertUnwindSafe(|| {
            self.enqueue_start(span, cx);
        })));
        if let Some(inner) = self.inner.as_ref().filter(|_| is_sampled(span)) {
            inner.on_start(span, cx);
        }
    }

    fn on_end(&self, span: SpanData) {
        drop(catch_unwind(AssertUnwindSafe(|| self.enqueue_end(&span))));
        if let Some(inner) = self
            .inner
            .as_ref()
            .filter(|_| span.span_context.is_sampled())
        {
            inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // The inner processor comes first, so that a hanging store of ours does not delay it.
        let inner = self
            .inner
            .as_ref()
            .map_or(Ok(()), |inner| inner.force_flush());
        let ours = self.buffer().flush(Self::FLUSH_TIMEOUT);
        sdk_result(ours, Self::FLUSH_TIMEOUT).and(inner)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // `Duration::MAX` would overflow the deadline.
        let timeout = timeout.min(SHUTDOWN_TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        let noted = self.push_shutdown();
        // The inner processor gets the whole timeout, as it would without livespan.
        let inner = self
            .inner
            .as_ref()
            .map_or(Ok(()), |inner| inner.shutdown_with_timeout(timeout));
        let ours = self.close(noted, deadline);
        sdk_result(ours, timeout).and(inner)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.shared.set_resource(self.source, resource);
        if let Some(inner) = &mut self.inner {
            inner.set_resource(resource);
        }
    }
}

/// Passes only sampled spans to an inner processor. Use it for a processor that is registered *beside*
/// [`LiveSpanProcessor`] if [`LiveSampler`](crate::LiveSampler) makes unsampled spans record. The SDK's
/// `BatchSpanProcessor` would export these spans, too.
///
/// ```
/// use livespan::{LiveSpans, SampledOnly};
/// use opentelemetry_sdk::trace::{BatchSpanProcessor, InMemorySpanExporter, Sampler, SdkTracerProvider};
///
/// let live = LiveSpans::builder().build()?;
/// let exporting = BatchSpanProcessor::builder(InMemorySpanExporter::default()).build();
/// let provider = SdkTracerProvider::builder()
///     .with_sampler(live.sampler(Sampler::TraceIdRatioBased(0.01)))
///     .with_span_processor(live.span_processor())
///     .with_span_processor(SampledOnly::new(exporting))
///     .build();
/// # drop(provider);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SampledOnly<P> {
    inner: P,
}

impl<P: SpanProcessor> SampledOnly<P> {
    /// Wraps a processor.
    pub fn new(inner: P) -> Self {
        Self { inner }
    }
}

impl<P: SpanProcessor> SpanProcessor for SampledOnly<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        if is_sampled(span) {
            self.inner.on_start(span, cx);
        }
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

fn is_sampled(span: &Span) -> bool {
    span.span_context().is_sampled()
}

pub(super) fn sdk_result(result: Result<(), Error>, timeout: Duration) -> OTelSdkResult {
    result.map_err(|error| {
        if error.is_timeout() {
            OTelSdkError::Timeout(timeout)
        } else {
            OTelSdkError::InternalFailure(error.with_causes())
        }
    })
}

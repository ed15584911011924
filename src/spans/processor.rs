//! The OpenTelemetry span processor: the only file that implements the SDK's trait.
//!
//! `on_start` and `on_end` run on the host's threads, possibly under its locks: they copy a compact record into the
//! intake and return. They never wait, never panic, never touch a `Context`, and never make a span or a log record,
//! because each of these can deadlock or abort the host here (see the SDK's issues 2871, 3510 and 3262).

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{Array, Context, Value};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanProcessor},
};

use crate::{
    error::Error,
    spans::{
        event::{AttributeValue, Attributes, SpanState},
        filter::{EndVerdict, SpanFilter},
        marks::{Mark, Marks},
        preset::{self, Told},
        process::Processes,
        record::{self, Lasting, Nature},
    },
    sse::{
        intake::{Class, Intake, Refused},
        worker::Engine,
    },
};

/// How long `force_flush` waits: the SDK's own processors wait as long.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `shutdown` waits at most, whatever it is told.
const SHUTDOWN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What every processor of one log shares.
#[derive(Debug)]
pub(crate) struct ProcessorParts {
    pub(crate) engine: Arc<Engine>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) filter: SpanFilter,
    pub(crate) marks: Arc<Marks>,
    /// Which spans are not to be shown, because they are there already.
    pub(crate) told: Told,
    /// Whether a sampler of ours was made, which can be asked.
    pub(crate) samples: AtomicBool,
}

impl ProcessorParts {
    /// Puts the start of a span into the buffer, if it is to be shown.
    pub(crate) fn show_start(&self, source: u32, data: &SpanData, nature: Nature) {
        if !self.filter.wants_start(data) {
            return;
        }
        let write = |out: &mut Vec<u8>| record::write_start(out, source, data, nature);
        // Refused and full is counted by the intake; refused and closed is as after shutdown.
        drop(self.intake().push(Class::Start, record::size(data), write));
    }

    /// Puts the end of a span into the buffer, if it is to be shown.
    pub(crate) fn show_end(&self, source: u32, data: &SpanData, nature: Nature) {
        let size = record::size(data);
        let pushed = match self.filter.judge_end(data) {
            EndVerdict::Show => self.intake().push(Class::End, size, |out| {
                record::write_end(out, source, data, nature);
            }),
            EndVerdict::Hide => return,
            EndVerdict::HideUnlessShown => {
                // Nobody misses it when it is refused, so it does not count as dropped.
                let write =
                    |out: &mut Vec<u8>| record::write_end_if_shown(out, source, data, nature);
                self.intake().try_push(Class::End, size, write)
            }
        };
        if pushed == Err(Refused::Full) {
            // The last of the room is for the bare fact that the span ended, so that it is not shown running for ever.
            let mark = Mark::of(data);
            if self.push_mark(&mark) == Err(Refused::Full) {
                self.marks.keep(mark);
                // Asked again: the worker may have emptied the buffer, and looked aside, before the mark was there.
                // Told twice, it ends the span once.
                drop(self.push_mark(&mark));
            }
        }
    }

    /// Says of a source what its resource says.
    pub(crate) fn describe(&self, source: u32, resource: &Resource) {
        let mut service = None;
        let mut attributes = Attributes::new();
        for (key, value) in resource {
            if key.as_str() == "service.name" {
                service = Some(value.as_str().into_owned());
            }
            attributes.push((key.as_str().to_owned(), attribute_value(value)));
        }
        // The SDK keeps a resource in a hash map: a sorted one reads the same in every run.
        attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.processes.describe(source, service, attributes);
    }

    /// Puts the end of a span into the buffer that counts only if the log has its start, and no end.
    pub(crate) fn show_end_if_open(&self, source: u32, data: &SpanData, nature: Nature) {
        let write = |out: &mut Vec<u8>| record::write_end_if_shown(out, source, data, nature);
        drop(
            self.intake()
                .try_push(Class::End, record::size(data), write),
        );
    }

    /// Puts what changed about an open span into the buffer.
    pub(crate) fn show_update(
        &self,
        source: u32,
        data: &SpanData,
        lasting: Lasting,
        state: Option<SpanState>,
    ) {
        let write = |out: &mut Vec<u8>| record::write_update(out, source, data, lasting, state);
        drop(self.intake().push(Class::Other, record::size(data), write));
    }

    fn intake(&self) -> &Intake {
        &self.engine.intake
    }

    fn push_mark(&self, mark: &Mark) -> Result<(), Refused> {
        self.intake()
            .push(Class::Note, record::END_MARK_SIZE, |out| {
                record::write_end_mark(out, mark);
            })
    }
}

/// Shows every span of a provider live: register it with
/// [`with_span_processor`](opentelemetry_sdk::trace::TracerProviderBuilder::with_span_processor).
///
/// - A span is shown when it starts and when it ends, sampled or not, as long as it records (see
///   [`LiveSampler`](crate::LiveSampler) for spans that would be dropped).
/// - A span ended twice ends once, on whichever thread; one that is dropped without `end` ends then.
/// - Spans that are open when the provider is shut down are ended as lost, because the SDK will not report their end.
///   Spans that start or end after that are not shown.
/// - `force_flush` returns when everything that ended before the call is stored and visible, within
///   [`FLUSH_TIMEOUT`]. It and `shutdown` may be called from any thread, inside and outside of any runtime, and more
///   than once.
pub struct LiveSpanProcessor {
    parts: Arc<ProcessorParts>,
    source: u32,
    closed: AtomicBool,
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
    pub(crate) fn new(parts: Arc<ProcessorParts>) -> Self {
        let source = parts.processes.add();
        Self {
            parts,
            source,
            closed: AtomicBool::new(false),
            inner: None,
        }
    }

    /// Stands in front of another processor, which then gets exactly the *sampled* spans. The SDK copies a span's data
    /// once for every registered processor; this way it is moved on instead.
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

    fn intake(&self) -> &Intake {
        &self.parts.engine.intake
    }

    fn watch_start(&self, span: &Span) {
        let id = opentelemetry::trace::Span::span_context(span).span_id();
        if self.closed.load(Ordering::Relaxed) || preset::is_told(&self.parts.told, id) {
            return;
        }
        let Some(data) = span.exported_data() else {
            return;
        };
        self.parts.show_start(self.source, &data, Nature::Ordinary);
    }

    fn watch_end(&self, data: &SpanData) {
        let id = data.span_context.span_id();
        if self.closed.load(Ordering::Relaxed) || preset::is_told(&self.parts.told, id) {
            return;
        }
        self.parts.show_end(self.source, data, Nature::Ordinary);
    }

    /// Asks the worker to end what is open as lost.
    fn push_shutdown(&self) -> Result<(), Refused> {
        let write = |out: &mut Vec<u8>| record::write_shutdown(out, self.source);
        self.intake().push(Class::Note, record::NOTE_SIZE, write)
    }

    /// Waits until what was pushed is visible, and with it the note of the shutdown, if that found no room before.
    fn close(&self, mut noted: Result<(), Refused>, deadline: Instant) -> Result<(), Error> {
        let left = || deadline.saturating_duration_since(Instant::now());
        while noted == Err(Refused::Full) {
            self.intake().flush(left())?;
            // Other threads may have filled the buffer again.
            if left().is_zero() {
                return Err(Error::full());
            }
            noted = self.push_shutdown();
        }
        self.intake().flush(left())
    }
}

impl SpanProcessor for LiveSpanProcessor {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        // A panic here would poison the span and can abort the host; ours ends with us.
        drop(catch_unwind(AssertUnwindSafe(|| self.watch_start(span))));
        if let Some(inner) = self.inner.as_ref().filter(|_| is_sampled(span)) {
            inner.on_start(span, cx);
        }
    }

    fn on_end(&self, span: SpanData) {
        drop(catch_unwind(AssertUnwindSafe(|| self.watch_end(&span))));
        if let Some(inner) = self
            .inner
            .as_ref()
            .filter(|_| span.span_context.is_sampled())
        {
            inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // First what it was without us: a store of ours that hangs must not delay it.
        let inner = self
            .inner
            .as_ref()
            .map_or(Ok(()), |inner| inner.force_flush());
        let ours = self.intake().flush(FLUSH_TIMEOUT);
        sdk_result(ours, FLUSH_TIMEOUT).and(inner)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // "For ever" is a time that no clock can add.
        let timeout = timeout.min(SHUTDOWN_TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        let noted = self.push_shutdown();
        // It gets all the time, as it would without us.
        let inner = self
            .inner
            .as_ref()
            .map_or(Ok(()), |inner| inner.shutdown_with_timeout(timeout));
        let ours = self.close(noted, deadline);
        sdk_result(ours, timeout).and(inner)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.parts.describe(self.source, resource);
        if let Some(inner) = &mut self.inner {
            inner.set_resource(resource);
        }
    }
}

/// Hands only sampled spans on: for a processor that is registered *beside* [`LiveSpanProcessor`] when
/// [`LiveSampler`](crate::LiveSampler) makes unsampled spans record. The SDK's `BatchSpanProcessor` itself would export
/// those too.
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
#[derive(Debug)]
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
    opentelemetry::trace::Span::span_context(span).is_sampled()
}

fn sdk_result(result: Result<(), Error>, timeout: Duration) -> OTelSdkResult {
    result.map_err(|error| {
        if error.is_timeout() {
            OTelSdkError::Timeout(timeout)
        } else {
            OTelSdkError::InternalFailure(error.to_string())
        }
    })
}

fn attribute_value(value: &Value) -> AttributeValue {
    match value {
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::I64(value) => AttributeValue::Int(*value),
        Value::F64(value) => AttributeValue::Double(*value),
        Value::Array(Array::Bool(values)) => AttributeValue::Bools(values.clone()),
        Value::Array(Array::I64(values)) => AttributeValue::Ints(values.clone()),
        Value::Array(Array::F64(values)) => AttributeValue::Doubles(values.clone()),
        Value::Array(Array::String(values)) => AttributeValue::Strings(
            values
                .iter()
                .map(|value| value.as_str().to_owned())
                .collect(),
        ),
        other => AttributeValue::String(other.as_str().into_owned()),
    }
}

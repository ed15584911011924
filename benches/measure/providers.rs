//! The tracer providers that the benches compare: without a processor, with other processors, and with livespan.

#![allow(dead_code, reason = "each bench uses only a part")]

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use livespan::{LiveSpans, MemoryEventStore, Retention};
use opentelemetry::{
    Context,
    trace::{Span as _, SpanId},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
        SpanExporter, SpanProcessor, TracerProviderBuilder,
    },
};
use spin::mutex::SpinMutex;

#[derive(Debug)]
pub(crate) struct NoopExporter;

impl SpanExporter for NoopExporter {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// Does nothing, or copies the span once at its start and drops the copy.
#[derive(Debug)]
enum PeerProcessor {
    Noop,
    Snapshot,
}

impl SpanProcessor for PeerProcessor {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        if let Self::Snapshot = self {
            drop(std::hint::black_box(span.exported_data()));
        }
    }
    fn on_end(&self, _span: SpanData) {}
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// About the least work with which a processor could hand starts and ends over to another thread.
///
/// At a start, it reads the clock, because the SDK reveals the start time only with a copy of the
/// span. At a start and an end, it locks one of a few buffers, draws a sequence number and copies
/// the bytes of a fixed record. A start also sets a word, and its end clears it. livespan does the
/// same, so that the end need not repeat the start.
#[derive(Debug)]
struct Least {
    buffers: [SpinMutex<(Box<[u8]>, usize)>; 8],
    number: AtomicU64,
    words: Box<[AtomicU64]>,
}

/// The bench's span as bytes, in the sizes that livespan writes.
const START: [u8; 217] = [b's'; 217];
const END: [u8; 103] = [b'e'; 103];
/// The size of one buffer, in bytes. A full buffer is overwritten from its beginning.
const BUFFER: usize = 512 * 1024;

impl Least {
    fn new() -> Self {
        Self {
            buffers: std::array::from_fn(|_| SpinMutex::new((vec![0; BUFFER].into(), 0))),
            number: AtomicU64::new(0),
            words: (0..2048).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn word(&self, span: SpanId) -> &AtomicU64 {
        let [.., b0, b1] = span.to_bytes();
        &self.words[usize::from(u16::from_le_bytes([b0, b1])) % self.words.len()]
    }

    fn copy<const SIZE: usize>(&self, bytes: &[u8; SIZE]) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static HOME: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let home = HOME.with(|home| home % self.buffers.len());
        let mut buffer = self.buffers[home]
            .try_lock()
            .expect("no other thread uses this buffer");
        let (buffer, at) = &mut *buffer;
        if *at + SIZE > BUFFER {
            *at = 0;
        }
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let slot = &mut buffer[*at..*at + SIZE];
        slot.copy_from_slice(std::hint::black_box(bytes));
        slot[..8].copy_from_slice(&number.to_le_bytes());
        *at += SIZE;
    }
}

impl SpanProcessor for Least {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        let time = std::hint::black_box(SystemTime::now());
        let word = self.word(span.span_context().span_id());
        let left = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        std::hint::black_box((time, left.is_ok()));
        self.copy(&START);
    }

    fn on_end(&self, span: SpanData) {
        self.copy(&END);
        self.word(span.span_context.span_id())
            .store(0, Ordering::Release);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The processor and the sampler of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    None,
    Noop,
    Snapshot,
    Batch,
    Least,
    Plain,
    Sampler,
    /// livespan's wrapping provider. The caller makes it; [`register`](Self::register) adds nothing.
    Provider,
    WrappingNoop,
    WrappingNoopSampler,
    Wrapping,
    WrappingSampler,
    Beside,
}

impl Case {
    pub(crate) const ALL: [Self; 12] = [
        Self::None,
        Self::Noop,
        Self::Snapshot,
        Self::Batch,
        Self::Least,
        Self::Plain,
        Self::Sampler,
        Self::WrappingNoop,
        Self::WrappingNoopSampler,
        Self::Wrapping,
        Self::WrappingSampler,
        Self::Beside,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no processor",
            Self::Noop => "a no-op processor",
            Self::Snapshot => "S: one snapshot at the start, dropped",
            Self::Batch => "B: BatchSpanProcessor, no-op exporter",
            Self::Least => "the least: a clock, two records copied",
            Self::Plain => "livespan",
            Self::Sampler => "livespan with LiveSampler",
            Self::Provider => "livespan's own provider",
            Self::WrappingNoop => "livespan wrapping a no-op processor",
            Self::Wrapping => "livespan wrapping BatchSpanProcessor",
            Self::WrappingNoopSampler | Self::WrappingSampler => "the same with LiveSampler",
            Self::Beside => "livespan beside BatchSpanProcessor",
        }
    }

    pub(crate) fn provider(self) -> SdkTracerProvider {
        self.provider_of(&live())
    }

    /// Returns a provider. Cases with livespan use this log.
    pub(crate) fn provider_of(self, live: &LiveSpans) -> SdkTracerProvider {
        self.register(live, SdkTracerProvider::builder()).build()
    }

    /// Adds the case's processor and sampler to a provider.
    pub(crate) fn register(
        self,
        live: &LiveSpans,
        builder: TracerProviderBuilder,
    ) -> TracerProviderBuilder {
        // The SDK's default sampler.
        let sampler = live.sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        match self {
            // The wrapping provider registers its own processor.
            Self::None | Self::Provider => builder,
            Self::Noop => builder.with_span_processor(PeerProcessor::Noop),
            Self::Snapshot => builder.with_span_processor(PeerProcessor::Snapshot),
            Self::Batch => builder.with_span_processor(batch()),
            Self::Least => builder.with_span_processor(Least::new()),
            Self::Plain => builder.with_span_processor(live.span_processor()),
            Self::Sampler => builder
                .with_sampler(sampler)
                .with_span_processor(live.span_processor()),
            Self::WrappingNoop => {
                builder.with_span_processor(live.span_processor().wrapping(PeerProcessor::Noop))
            }
            Self::WrappingNoopSampler => builder
                .with_sampler(sampler)
                .with_span_processor(live.span_processor().wrapping(PeerProcessor::Noop)),
            Self::Wrapping => builder.with_span_processor(live.span_processor().wrapping(batch())),
            Self::WrappingSampler => builder
                .with_sampler(sampler)
                .with_span_processor(live.span_processor().wrapping(batch())),
            Self::Beside => builder
                .with_span_processor(live.span_processor())
                .with_span_processor(batch()),
        }
    }
}

/// Returns the SDK's batch processor, whose queue holds all spans made between two flushes.
fn batch() -> BatchSpanProcessor {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(65_536)
        .build();
    BatchSpanProcessor::builder(NoopExporter)
        .with_batch_config(config)
        .build()
}

pub(crate) fn live() -> LiveSpans {
    let retention = Retention::default().events(50_000);
    LiveSpans::builder()
        .store(MemoryEventStore::with_retention(retention))
        .build()
        .expect("a log in memory opens")
}

//! The tracer providers that the benches compare: without a processor, with the SDK's own, and with livespan.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::time::Duration;

use livespan::{LiveSpans, MemoryEventStore, Retention};
use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
        SpanExporter, SpanProcessor,
    },
};

#[derive(Debug)]
pub(crate) struct NoopExporter;

impl SpanExporter for NoopExporter {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// Does nothing, or takes one snapshot at the start, as anything that shows a span's start must, and drops it.
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

/// What is registered with the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    None,
    Noop,
    Snapshot,
    Batch,
    Plain,
    Sampler,
    Wrapping,
    WrappingSampler,
    Beside,
}

impl Case {
    pub(crate) const ALL: [Self; 9] = [
        Self::None,
        Self::Noop,
        Self::Snapshot,
        Self::Batch,
        Self::Plain,
        Self::Sampler,
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
            Self::Plain => "livespan",
            Self::Sampler => "livespan with LiveSampler",
            Self::Wrapping => "livespan wrapping BatchSpanProcessor",
            Self::WrappingSampler => "the same with LiveSampler",
            Self::Beside => "livespan beside BatchSpanProcessor",
        }
    }

    pub(crate) fn provider(self) -> SdkTracerProvider {
        let builder = SdkTracerProvider::builder();
        let live = live();
        // What the SDK uses by default.
        let sampler = live.sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        match self {
            Self::None => builder,
            Self::Noop => builder.with_span_processor(PeerProcessor::Noop),
            Self::Snapshot => builder.with_span_processor(PeerProcessor::Snapshot),
            Self::Batch => builder.with_span_processor(batch()),
            Self::Plain => builder.with_span_processor(live.span_processor()),
            Self::Sampler => builder
                .with_sampler(sampler)
                .with_span_processor(live.span_processor()),
            Self::Wrapping => builder.with_span_processor(live.span_processor().wrapping(batch())),
            Self::WrappingSampler => builder
                .with_sampler(sampler)
                .with_span_processor(live.span_processor().wrapping(batch())),
            Self::Beside => builder
                .with_span_processor(live.span_processor())
                .with_span_processor(batch()),
        }
        .build()
    }
}

/// The SDK's batch processor, with room for what is made between two flushes.
fn batch() -> BatchSpanProcessor {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(65_536)
        .build();
    BatchSpanProcessor::builder(NoopExporter)
        .with_batch_config(config)
        .build()
}

fn live() -> LiveSpans {
    let retention = Retention::default().events(50_000);
    LiveSpans::builder()
        .store(MemoryEventStore::with_retention(retention))
        .build()
        .expect("memory is enough")
}

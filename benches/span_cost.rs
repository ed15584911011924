//! What a span costs the thread that makes it: CPU time of start + end with 4 attributes, added over a provider without
//! a processor, beside the SDK's own `BatchSpanProcessor` in the same run.
//!
//! `cargo bench --bench span_cost`. Cases are interleaved in rounds, and medians are printed: compare the ratios, not the nanoseconds.

mod measure;
#[path = "measure/spans.rs"]
mod spans;

use std::time::Duration;

use livespan::{LiveSpans, MemoryEventStore, Retention};
use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter,
        SpanProcessor,
    },
};

use measure::{median, thread_cpu};
use spans::make_spans;

const ROUNDS: usize = 15;
const SPANS: u32 = 40_000;
/// Spans made between two pauses in which the background threads catch up, so that nothing is dropped.
const BURST: u32 = 1_000;

#[derive(Debug)]
struct NoopExporter;

impl SpanExporter for NoopExporter {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

#[derive(Debug)]
struct NoopProcessor;

impl SpanProcessor for NoopProcessor {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}
    fn on_end(&self, _span: SpanData) {}
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Takes one snapshot, as anything that shows a span's start must, and drops it.
#[derive(Debug)]
struct SnapshotProcessor;

impl SpanProcessor for SnapshotProcessor {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        drop(std::hint::black_box(span.exported_data()));
    }
    fn on_end(&self, _span: SpanData) {}
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

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

/// CPU nanoseconds of one span.
fn measure(provider: &SdkTracerProvider) -> f64 {
    let tracer = provider.tracer("bench");
    let mut used = Duration::ZERO;
    for _ in 0..SPANS / BURST {
        let before = thread_cpu();
        make_spans(&tracer, BURST);
        used += thread_cpu().saturating_sub(before);
        provider.force_flush().expect("background threads catch up");
    }
    used.as_secs_f64() * 1e9 / f64::from(SPANS)
}

fn main() {
    let builder = SdkTracerProvider::builder;
    let cases = [
        ("no processor", builder().build()),
        (
            "a no-op processor",
            builder().with_span_processor(NoopProcessor).build(),
        ),
        (
            "S: one snapshot at the start, dropped",
            builder().with_span_processor(SnapshotProcessor).build(),
        ),
        (
            "B: BatchSpanProcessor, no-op exporter",
            builder().with_span_processor(batch()).build(),
        ),
        (
            "livespan",
            builder()
                .with_span_processor(live().span_processor())
                .build(),
        ),
        (
            "livespan wrapping BatchSpanProcessor",
            builder()
                .with_span_processor(live().span_processor().wrapping(batch()))
                .build(),
        ),
        (
            "livespan beside BatchSpanProcessor",
            builder()
                .with_span_processor(live().span_processor())
                .with_span_processor(batch())
                .build(),
        ),
    ];
    let mut figures = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, provider), figures) in cases.iter().zip(&mut figures) {
            figures.push(measure(provider));
        }
    }
    let medians: Vec<f64> = figures.into_iter().map(median).collect();
    let added: Vec<f64> = medians.iter().map(|value| value - medians[0]).collect();
    let unit = added[2] + added[3];
    println!(
        "{:<42} {:>10} {:>10} {:>10}",
        "start + end of a span, 4 attributes", "ns", "added ns", "/ (B + S)"
    );
    for (((name, _), value), added) in cases.iter().zip(&medians).zip(&added) {
        println!(
            "{name:<42} {value:>10.0} {added:>10.0} {:>10.2}",
            added / unit
        );
    }
}

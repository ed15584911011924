//! Spans made in a tight loop for ten seconds. Compares the losses of the SDK's own processor, with
//! its defaults, with those of ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use livespan::LiveSpans;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter},
};

use crate::spans::make_spans;

const TIME: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct CountingExporter(Arc<AtomicU64>);

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) fn report() {
    println!("\nspans made in a tight loop for {TIME:?}: made, lost");
    for threads in [1, 2] {
        let exported = Arc::new(AtomicU64::new(0));
        let batch = BatchSpanProcessor::builder(CountingExporter(Arc::clone(&exported))).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(batch)
            .build();
        let made = run(&provider, threads);
        provider.shutdown().expect("the exporter is quick");
        let lost = made - exported.load(Ordering::Relaxed);
        let lost = percent(lost, made);
        println!("{threads} thread(s), BatchSpanProcessor: {made} spans, {lost} lost");
        ours(threads, Sampling::Default);
        ours(threads, Sampling::Live);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sampling {
    Default,
    Live,
}

fn ours(threads: usize, sampling: Sampling) {
    let live = LiveSpans::builder().build().expect("a log in memory opens");
    let mut builder = SdkTracerProvider::builder().with_span_processor(live.span_processor());
    if sampling == Sampling::Live {
        builder = builder.with_sampler(live.sampler(opentelemetry_sdk::trace::Sampler::AlwaysOn));
    }
    let provider = builder.build();
    let made = run(&provider, threads);
    drop(provider.force_flush());
    let dropped = live.status().dropped;
    println!(
        "{threads} thread(s), livespan, sampler {sampling:?}: {made} spans, {} of events lost: {} of starts, {} of ends",
        percent(dropped.starts + dropped.ends, 2 * made),
        percent(dropped.starts, made),
        percent(dropped.ends, made),
    );
}

fn percent(lost: u64, of: u64) -> String {
    let thousandths = lost * 1000 / of;
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

/// Makes spans until the time is over. Returns their number.
fn run(provider: &SdkTracerProvider, threads: usize) -> u64 {
    let begun = Instant::now();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let tracer = provider.tracer("bench");
                    let mut made = 0;
                    while begun.elapsed() < TIME {
                        make_spans(&tracer, 100);
                        made += 100;
                    }
                    made
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a loop panicked"))
            .sum()
    })
}

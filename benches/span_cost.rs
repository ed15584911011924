//! What a span costs the thread that makes it, beside the SDK's own `BatchSpanProcessor` in the same run:
//!
//! - `cargo bench --bench span_cost -- cpu`: CPU time of start + end with 4 attributes, added over a provider without a
//!   processor, through the tracer's API and through `tracing`, with one thread and with two;
//! - `… -- calls`: one call of the processor, while nothing, readers, a full buffer or a hung store are in the way;
//! - `… -- loop`: spans lost when they are made as fast as can be;
//! - `… -- process`: CPU time of the whole process a span, beside an exporter that encodes OTLP and sends nothing.
//!
//! Cases are interleaved in rounds, and medians are printed: compare the ratios, not the nanoseconds.

#[path = "span_cost/calls.rs"]
mod calls;
#[path = "measure/machine.rs"]
mod machine;
mod measure;
#[path = "measure/otlp.rs"]
mod otlp;
#[path = "span_cost/process.rs"]
mod process;
#[path = "measure/providers.rs"]
mod providers;
#[path = "span_cost/saturation.rs"]
mod saturation;
#[path = "measure/spans.rs"]
mod spans;

use std::{sync::Barrier, thread, time::Duration};

use opentelemetry_sdk::trace::SdkTracerProvider;

use measure::{is_wanted, median, thread_cpu};
use providers::Case;
use spans::Api;

const ROUNDS: usize = 9;
const SPANS: u32 = 20_000;
/// Spans made between two pauses in which the background threads catch up, so that nothing is dropped.
const BURST: u32 = 1_000;

fn main() {
    if is_wanted("cpu") {
        for api in Api::ALL {
            for threads in [1, 2] {
                cpu(api, threads);
            }
        }
    }
    if is_wanted("calls") {
        calls::report();
    }
    if is_wanted("loop") {
        saturation::report();
    }
    if is_wanted("process") {
        process::report();
    }
}

fn cpu(api: Api, threads: u32) {
    let cases = Case::ALL.map(|case| (case, case.provider()));
    let mut figures = cases.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, provider), figures) in cases.iter().zip(&mut figures) {
            figures.push(measure(api, threads, provider));
        }
    }
    let medians = figures.map(median);
    let [none, ..] = medians;
    let added = |wanted: Case| {
        let at = cases.iter().position(|(case, _)| *case == wanted);
        medians[at.expect("all cases are there")] - none
    };
    let batch = added(Case::Batch);
    let both = batch + added(Case::Snapshot) - added(Case::Noop);
    println!(
        "\n{}, {threads} thread(s): {none:.0} ns a span without a processor",
        api.name()
    );
    println!(
        "{:<42} {:>9} {:>10} {:>8}",
        "", "added ns", "/ (B + S)", "/ B"
    );
    for (case, _) in cases.iter().skip(1) {
        let own = added(*case);
        println!(
            "{:<42} {own:>9.0} {:>10.2} {:>8.2}",
            case.name(),
            own / both,
            own / batch
        );
    }
    println!(
        "wrapping adds {:.2} of what both side by side add; with LiveSampler {:.2}",
        added(Case::Wrapping) / added(Case::Beside),
        added(Case::WrappingSampler) / added(Case::Beside)
    );
}

/// CPU nanoseconds of one span on the thread that makes it.
fn measure(api: Api, threads: u32, provider: &SdkTracerProvider) -> f64 {
    let barrier = Barrier::new(threads as usize);
    let used: Duration = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| api.with(provider, |make| bursts(make, &barrier, provider))))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a measuring thread ends"))
            .sum()
    });
    used.as_secs_f64() * 1e9 / f64::from(SPANS) / f64::from(threads)
}

/// Makes spans on this thread, at the same time as the others do.
fn bursts(make: &dyn Fn(u32), barrier: &Barrier, provider: &SdkTracerProvider) -> Duration {
    let mut used = Duration::ZERO;
    for _ in 0..SPANS / BURST {
        barrier.wait();
        let before = thread_cpu();
        make(BURST);
        used += thread_cpu().saturating_sub(before);
        if barrier.wait().is_leader() {
            provider.force_flush().expect("background threads catch up");
        }
    }
    used
}

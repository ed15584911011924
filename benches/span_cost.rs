//! The cost of a span for the thread that makes it, compared with the SDK's own
//! `BatchSpanProcessor` in the same run:
//!
//! - `cargo bench -p livespan-benches --bench span_cost -- cpu`: CPU time of a start and an end
//!   with 4 attributes, minus that of a provider without a processor; spans are made through the
//!   tracer's API and through `tracing`, each with one and two threads;
//! - `… -- calls`: one call of the processor: undisturbed, with readers, with a hung store, and
//!   with a full buffer;
//! - `… -- loop`: the number of lost spans if they are made as fast as possible;
//! - `… -- process`: CPU time of the whole process per span, compared with an exporter that encodes
//!   OTLP and sends nothing.
//!
//! Cases are interleaved in rounds, and medians are printed: compare the ratios, not the
//! nanoseconds.

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

use std::{
    ops::{Add as _, Div as _, Sub as _},
    sync::Barrier,
    thread,
};

use livespan::sse::Dropped;
use opentelemetry_sdk::trace::SdkTracerProvider;

use measure::{is_wanted, percentile, thread_cpu};
use providers::{Case, live};
use spans::Api;

const ROUNDS: usize = 9;
/// Bursts per thread and round.
const BURSTS: u32 = 20;
/// Spans between two pauses. In a pause the background threads catch up, so that nothing is dropped.
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
    let cases = Case::ALL.map(|case| {
        let live = live();
        (case, case.provider_of(&live), live)
    });
    let mut bursts = cases.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, provider, _), bursts) in cases.iter().zip(&mut bursts) {
            bursts.extend(measure(api, threads, provider));
        }
    }
    for (_, _, live) in &cases {
        let dropped = live.status().dropped;
        assert_eq!(
            dropped,
            Dropped::default(),
            "spans were dropped, and dropped spans cost less than stored ones"
        );
    }
    let taken = bursts.map(Taken::of);
    let [none, others @ ..] = &taken;
    let of = |wanted: Case| {
        let at = cases.iter().position(|(case, ..)| *case == wanted);
        taken[at.expect("a case is missing")].with(*none, f64::sub)
    };
    let batch = of(Case::Batch);
    let snapshot = of(Case::Snapshot).with(of(Case::Noop), f64::sub);
    let both = batch.with(snapshot, f64::add);
    println!(
        "\n{}, {threads} thread(s): {} ns a span without a processor",
        api.name(),
        none.nanos()
    );
    println!(
        "{:<42} {:>14} {:>14} {:>14}",
        "median (10th percentile)", "added ns", "/ (B + S)", "/ B"
    );
    for ((case, ..), taken) in cases.iter().skip(1).zip(others) {
        let added = taken.with(*none, f64::sub);
        println!(
            "{:<42} {:>14} {:>14} {:>14}",
            case.name(),
            added.nanos(),
            added.ratio_to(both),
            added.ratio_to(batch)
        );
    }
    println!(
        "wrapping adds {} of the cost that both processors side by side add; with LiveSampler {}",
        of(Case::Wrapping).ratio_to(of(Case::Beside)),
        of(Case::WrappingSampler).ratio_to(of(Case::Beside))
    );
}

/// The median of all bursts of a case, and the 10th percentile as the figure of an undisturbed burst.
#[derive(Clone, Copy)]
struct Taken {
    median: f64,
    tenth: f64,
}

impl Taken {
    fn of(mut bursts: Vec<f64>) -> Self {
        Self {
            median: percentile(&mut bursts, 50),
            tenth: percentile(&mut bursts, 10),
        }
    }

    fn with(self, other: Self, operation: fn(f64, f64) -> f64) -> Self {
        Self {
            median: operation(self.median, other.median),
            tenth: operation(self.tenth, other.tenth),
        }
    }

    fn nanos(self) -> String {
        format!("{:.0} ({:.0})", self.median, self.tenth)
    }

    fn ratio_to(self, peer: Self) -> String {
        let Self { median, tenth } = self.with(peer, f64::div);
        format!("{median:.2} ({tenth:.2})")
    }
}

/// Returns the CPU time of one span on the thread that makes it, in nanoseconds, for each burst.
fn measure(api: Api, threads: u32, provider: &SdkTracerProvider) -> Vec<f64> {
    let barrier = Barrier::new(threads as usize);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| api.with(provider, |make| bursts(make, &barrier, provider))))
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("a measuring thread panicked"))
            .collect()
    })
}

/// Makes spans on this thread, at the same time as the other threads.
fn bursts(make: &dyn Fn(u32), barrier: &Barrier, provider: &SdkTracerProvider) -> Vec<f64> {
    let burst = |_| {
        barrier.wait();
        let before = thread_cpu();
        make(BURST);
        let used = thread_cpu().saturating_sub(before);
        if barrier.wait().is_leader() {
            provider.force_flush().expect("background threads catch up");
        }
        used.as_secs_f64() * 1e9 / f64::from(BURST)
    };
    // The first burst is skipped: it touches a new thread's memory for the first time.
    (0..=BURSTS).map(burst).skip(1).collect()
}

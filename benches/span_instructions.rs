//! The cost of a span for the thread that makes it, in instructions. This is a gate:
//! `cargo bench -p livespan-benches --bench span_instructions` counts with valgrind's callgrind and fails if a bound is
//! exceeded. The gated figures hardly depend on other processes or on the machine:
//!
//! - Each case makes many bursts of spans in one process, and the smallest burst counts. Disturbances by other threads,
//!   such as a wake-up or a contended lock, can only add instructions.
//! - Only instructions in this program's own object count. Those of the C library's `memcpy` and allocator are
//!   excluded. `tests/allocations` checks that livespan adds no allocation.
//! - The gated figure is the difference to the case's peer in the same run (see [`peer_of`]).
//! - Ids are drawn from a counter, not at random.
//!
//! Cases with a `BatchSpanProcessor` have no bound, because its channel and its thread determine their cost.
//!
//! - `-- all` also prints those cases.
//! - `-- bounds` measures and prints [`BOUNDS`]. Use it after a change that is worth its instructions.
//! - `-- --annotate <case> <api>` keeps the profile of one case, for `callgrind_annotate`.
//! - `-- process`, with the feature `otlp`, counts the whole process, compared with an exporter that encodes OTLP. It has
//!   no bounds.

#[path = "measure/callgrind.rs"]
mod callgrind;
#[cfg(feature = "otlp")]
#[path = "measure/otlp.rs"]
mod otlp;
#[cfg(feature = "otlp")]
#[path = "measure/process_instructions.rs"]
mod process_instructions;
#[path = "measure/providers.rs"]
mod providers;
#[path = "measure/spans.rs"]
mod spans;
#[path = "measure/update_instructions.rs"]
mod update_instructions;

use std::{
    env,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use callgrind::Instructions;
use opentelemetry::trace::{SpanId, TraceId, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{IdGenerator, SdkTracerProvider};
use providers::{Case, live};
use spans::Api;

/// Spans per burst. Valgrind runs one thread at a time; a burst is so short that valgrind seldom switches threads
/// within it.
const SPANS: u32 = 100;
/// Number of counted bursts. The smallest of them is used.
const BURSTS: u32 = 12;
/// Number of bursts before the counted ones. They fill caches, touch memory and resolve dynamic symbols.
const WARM_UP_BURSTS: u32 = 3;

/// Upper bound on the instructions per span that livespan adds to those of its peer (see [`peer_of`]). `-- bounds`
/// prints this table: each measured value plus [`ALLOWANCE_PERCENT`].
const BOUNDS: [(Api, Case, u64); 10] = [
    (Api::Tracer, Case::Plain, 1034),
    (Api::Tracer, Case::Sampler, 1178),
    (Api::Tracer, Case::Provider, 1359),
    (Api::Tracer, Case::WrappingNoop, 1062),
    (Api::Tracer, Case::WrappingNoopSampler, 1206),
    (Api::Macros, Case::Plain, 1638),
    (Api::Macros, Case::Sampler, 1781),
    (Api::Macros, Case::Provider, 2135),
    (Api::Macros, Case::WrappingNoop, 1666),
    (Api::Macros, Case::WrappingNoopSampler, 1809),
];

/// Headroom in each bound: two builds of the same source differ by less. A change that costs 5 % fails.
const ALLOWANCE_PERCENT: u64 = 4;

/// Returns the peer of a case: the case that does only the work that every processor must do. Without `LiveSampler`,
/// that work is the SDK's copy of a starting span, because a processor can read a span only from a copy. Returns `None`
/// for a case without a bound.
fn peer_of(case: Case) -> Option<Case> {
    match case {
        Case::Plain | Case::WrappingNoop => Some(Case::Snapshot),
        Case::Sampler | Case::Provider | Case::WrappingNoopSampler => Some(Case::Noop),
        _ => None,
    }
}

/// All cases that have a bound, their peers, and the SDK without a processor.
const GATED: [Case; 8] = [
    Case::None,
    Case::Noop,
    Case::Snapshot,
    Case::Plain,
    Case::Sampler,
    Case::Provider,
    Case::WrappingNoop,
    Case::WrappingNoopSampler,
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", api, cases @ ..] => {
            for case in cases {
                make_bursts(case_of(case), api_of(api));
            }
        }
        ["run-updates", provider, change] => {
            update_instructions::make_bursts(provider, change, counted);
        }
        #[cfg(feature = "otlp")]
        ["run-process", case, api, children, spans] => {
            let number = |text: &str| text.parse().expect("not a number");
            let provider = process_instructions::provider_of(case);
            api_of(api).make_traces(&provider, number(children), number(spans));
        }
        #[cfg(feature = "otlp")]
        ["process"] => process_instructions::report(),
        ["--annotate", case, api] => annotate(case_of(case), api_of(api)),
        ["bounds"] => print_bounds(),
        ["all"] => return report(&Case::ALL),
        [] => return report(&GATED),
        _ => {
            eprintln!(
                "usage: span_instructions [all | bounds | process | --annotate <case> <api>]"
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn case_of(name: &str) -> Case {
    let found = Case::ALL
        .into_iter()
        .chain([Case::Provider])
        .find(|case| format!("{case:?}") == name);
    found.unwrap_or_else(|| panic!("no case is named {name}"))
}

fn api_of(name: &str) -> Api {
    let found = Api::ALL.into_iter().find(|api| format!("{api:?}") == name);
    found.unwrap_or_else(|| panic!("no API is named {name}"))
}

/// Makes the bursts of a case. It runs in the child under callgrind.
fn make_bursts(case: Case, api: Api) {
    let builder = SdkTracerProvider::builder().with_id_generator(CountedIds::default());
    let log = live();
    if case == Case::Provider {
        let provider = log.tracer_provider(builder);
        let flush = || provider.force_flush().expect("background threads catch up");
        return count_bursts(api, &provider, flush);
    }
    let provider = case.register(&log, builder).build();
    let flush = || provider.force_flush().expect("background threads catch up");
    count_bursts(api, &provider, flush);
}

fn count_bursts<P>(api: Api, provider: &P, flush: impl Fn())
where
    P: TracerProvider<Tracer: Tracer<Span: Send + Sync> + Send + Sync + 'static>,
{
    api.with(provider, |make| {
        for _ in 0..WARM_UP_BURSTS {
            make(SPANS);
            flush();
        }
        for _ in 0..BURSTS {
            counted(make);
            flush();
        }
    });
}

/// callgrind counts only while this function runs, and only on the thread that calls it.
#[inline(never)]
fn counted(make: &dyn Fn(u32)) {
    make(std::hint::black_box(SPANS));
}

/// The pattern of the counted function. `--dump-after` matches nothing if the pattern begins with the crate's name.
const COUNTED: &str = "*::counted";

/// An id generator. Its ids look random and are the same in every run, so hash tables with these keys are equally full.
#[derive(Debug, Default)]
struct CountedIds(AtomicU64);

impl CountedIds {
    /// Returns the next id: the `SplitMix64` finalizer applied to a counter.
    fn next(&self) -> u64 {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let mut bits = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl IdGenerator for CountedIds {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(u128::from(self.next()) << 64 | u128::from(self.next()))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(self.next())
    }
}

/// Returns the arguments with which callgrind's child makes the bursts of these cases, one case after the other.
fn arguments(api: Api, cases: &[Case]) -> Vec<String> {
    let cases = cases.iter().map(|case| format!("{case:?}"));
    ["run".to_owned(), format!("{api:?}")]
        .into_iter()
        .chain(cases)
        .collect()
}

/// Returns the smallest value of each count over all bursts.
fn smallest(bursts: &[Instructions]) -> Instructions {
    let least = |count: fn(&Instructions) -> u64| bursts.iter().map(count).min().unwrap_or(0);
    Instructions {
        all: least(|burst| burst.all),
        own: least(|burst| burst.own),
        calls_out: least(|burst| burst.calls_out),
    }
}

/// The smallest bursts of several cases, made through one API.
struct Counts(Vec<(Case, Instructions)>);

impl Counts {
    /// Counts all cases in one child, because callgrind takes longer to start than to count.
    fn take(api: Api, cases: &[Case]) -> Self {
        let bursts = callgrind::count_calls(COUNTED, &arguments(api, cases));
        assert_eq!(
            bursts.len(),
            cases.len() * BURSTS as usize,
            "callgrind wrote a wrong number of profiles"
        );
        let of_cases = bursts.chunks_exact(BURSTS as usize).map(smallest);
        Self(cases.iter().copied().zip(of_cases).collect())
    }

    fn of(&self, wanted: Case) -> Instructions {
        let found = self.0.iter().find(|(case, _)| *case == wanted);
        found.expect("the case was not counted").1
    }

    /// Returns the instructions per span that a case adds to another one.
    fn added(&self, case: Case, peer: Case, count: fn(Instructions) -> u64) -> u64 {
        let added = count(self.of(case)).saturating_sub(count(self.of(peer)));
        (added + u64::from(SPANS) / 2) / u64::from(SPANS)
    }

    /// Returns the gated figure, or `None` for a case without a bound.
    fn over_peer(&self, case: Case) -> Option<u64> {
        Some(self.added(case, peer_of(case)?, |counted| counted.own))
    }
}

fn report(cases: &[Case]) -> ExitCode {
    let mut is_within = true;
    println!(
        "instructions a span adds on its own thread, start + end, 4 attributes; smallest of {BURSTS} bursts"
    );
    for api in Api::ALL {
        let counts = Counts::take(api, cases);
        println!(
            "\n{:<42} {:>8} {:>10} {:>10} {:>10} {:>8}",
            api.name(),
            "all",
            "calls out",
            "own object",
            "over peer",
            "bound"
        );
        for case in cases {
            let peer = if *case == Case::None {
                None
            } else {
                Some(Case::None)
            };
            let added = |count: fn(Instructions) -> u64| match peer {
                Some(peer) => counts.added(*case, peer, count),
                None => count(counts.of(*case)) / u64::from(SPANS),
            };
            let bound = bound_of(api, *case);
            let gated = counts.over_peer(*case);
            let is_passed = gated.zip(bound).is_some_and(|(gated, bound)| gated > bound);
            is_within &= !is_passed;
            let text = |count: Option<u64>| count.map_or(String::new(), |count| count.to_string());
            println!(
                "{:<42} {:>8} {:>10} {:>10} {:>10} {:>8} {}",
                case.name(),
                added(|counted| counted.all),
                added(|counted| counted.calls_out),
                added(|counted| counted.own),
                text(gated),
                text(bound),
                if is_passed { "TOO MANY" } else { "" }
            );
        }
    }
    is_within &= update_instructions::report(|arguments| {
        let bursts = callgrind::count_calls(COUNTED, arguments);
        assert_eq!(bursts.len(), update_instructions::BURSTS as usize);
        smallest(&bursts).own
    });
    if is_within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn bound_of(api: Api, case: Case) -> Option<u64> {
    let bound = BOUNDS.iter().find(|(of, at, _)| *of == api && *at == case);
    bound.map(|(_, _, bound)| *bound)
}

fn print_bounds() {
    for api in Api::ALL {
        let counts = Counts::take(api, &GATED);
        for case in GATED {
            if let Some(measured) = counts.over_peer(case) {
                let bound = measured + measured * ALLOWANCE_PERCENT / 100;
                println!("    (Api::{api:?}, Case::{case:?}, {bound}), // measured: {measured}");
            }
        }
    }
}

fn annotate(case: Case, api: Api) {
    let file = Path::new("callgrind.out");
    callgrind::keep_profile(COUNTED, &arguments(api, &[case]), file);
    println!("{} spans; read {}", SPANS * BURSTS, file.display());
}

//! What a span costs the thread that makes it, in instructions: the same on every run and machine of one kind, so this
//! one is a gate. `cargo bench --bench span_instructions` counts them with valgrind's callgrind and fails when a bound
//! is passed; `-- --annotate <case> <api>` keeps one case's profile, for `callgrind_annotate`. `-- process` counts those
//! of the whole process, beside an exporter that encodes OTLP, and has no bounds.
//!
//! The bounds are of what is left without the memory allocator: how long that searches hangs on when *other* threads give
//! memory back, which no two runs have alike. That a span allocates nothing more is what `tests/allocations.rs` holds.

#[path = "measure/callgrind.rs"]
mod callgrind;
#[path = "measure/otlp.rs"]
mod otlp;
#[path = "measure/providers.rs"]
mod providers;
#[path = "measure/spans.rs"]
mod spans;

use std::{env, path::Path, process::ExitCode};

use callgrind::Profile;
use opentelemetry_sdk::trace::SdkTracerProvider;
use otlp::exporting;
use providers::Case;
use spans::Api;

const SPANS: u32 = 4_000;

/// Instructions per span, added over no processor and without the allocator's, that may not be passed: what was measured
/// and six in a hundred, by half of which two builds of the same source differ.
const BOUNDS: [(Api, Case, u64); 8] = [
    (Api::Tracer, Case::Plain, 2_470),
    (Api::Tracer, Case::Sampler, 1_540),
    (Api::Tracer, Case::Wrapping, 2_560),
    (Api::Tracer, Case::WrappingSampler, 1_590),
    (Api::Macros, Case::Plain, 4_200),
    (Api::Macros, Case::Sampler, 2_620),
    (Api::Macros, Case::Wrapping, 4_190),
    (Api::Macros, Case::WrappingSampler, 2_540),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", case, api] => {
            run(case_of(case), api_of(api));
            ExitCode::SUCCESS
        }
        ["run-process", case, api, children, spans] => {
            let number = |text: &str| text.parse().expect("a number");
            let provider = provider_of(case);
            api_of(api).make_traces(&provider, number(children), number(spans));
            ExitCode::SUCCESS
        }
        ["process"] => {
            report_process();
            ExitCode::SUCCESS
        }
        ["--annotate", case, api] => {
            let file = Path::new("callgrind.out");
            let arguments = arguments(case_of(case), api_of(api));
            let profile = Profile::take(COUNTED, &arguments.each_ref().map(String::as_str), file);
            let Count {
                all,
                without_allocator,
            } = Count::of(&profile);
            println!(
                "{all} instructions a span, {without_allocator} without the allocator; read {}",
                file.display()
            );
            ExitCode::SUCCESS
        }
        [] => report(),
        _ => {
            eprintln!("usage: span_instructions [process | --annotate <case> <api>]");
            ExitCode::FAILURE
        }
    }
}

fn case_of(name: &str) -> Case {
    let found = Case::ALL
        .into_iter()
        .find(|case| format!("{case:?}") == name);
    found.unwrap_or_else(|| panic!("no case is named {name}"))
}

/// The peer that encodes, or a case.
const OTLP: &str = "Otlp";

fn provider_of(name: &str) -> SdkTracerProvider {
    if name == OTLP {
        exporting()
    } else {
        case_of(name).provider()
    }
}

fn api_of(name: &str) -> Api {
    let found = Api::ALL.into_iter().find(|api| format!("{api:?}") == name);
    found.unwrap_or_else(|| panic!("no API is named {name}"))
}

/// Within callgrind: makes the spans that are counted, and before them some that fill caches and buffers.
fn run(case: Case, api: Api) {
    let provider = case.provider();
    api.with(&provider, |make| {
        make(SPANS / 4);
        provider.force_flush().expect("background threads catch up");
        counted(make);
    });
}

/// Callgrind counts between entering and leaving this function, on this thread only.
#[inline(never)]
fn counted(make: &dyn Fn(u32)) {
    make(std::hint::black_box(SPANS));
}

/// Where instructions are counted.
const COUNTED: Option<&str> = Some("span_instructions::counted*");

/// Instructions of one span.
struct Count {
    all: u64,
    without_allocator: u64,
}

impl Count {
    fn of(profile: &Profile) -> Self {
        let spans = u64::from(SPANS);
        Self {
            all: profile.total() / spans,
            without_allocator: profile.without_allocator() / spans,
        }
    }

    fn take(case: Case, api: Api) -> Self {
        Self::of(&Profile::of(
            COUNTED,
            &arguments(case, api).each_ref().map(String::as_str),
        ))
    }
}

fn arguments(case: Case, api: Api) -> [String; 3] {
    ["run".to_owned(), format!("{case:?}"), format!("{api:?}")]
}

fn report() -> ExitCode {
    let mut is_within = true;
    println!("instructions a span adds on its own thread, start + end, 4 attributes");
    for api in Api::ALL {
        let none = Count::take(Case::None, api);
        println!(
            "\n{:<42} {:>8} {:>22} {:>8}",
            api.name(),
            "all",
            "without the allocator",
            "bound"
        );
        println!(
            "{:<42} {:>8} {:>22}",
            Case::None.name(),
            none.all,
            none.without_allocator
        );
        for case in Case::ALL.into_iter().skip(1) {
            let count = Count::take(case, api);
            let all = count.all.saturating_sub(none.all);
            let gated = count
                .without_allocator
                .saturating_sub(none.without_allocator);
            let bound = BOUNDS
                .iter()
                .find(|(of, at, _)| *of == api && *at == case)
                .map(|(_, _, bound)| *bound);
            let passed = bound.is_some_and(|bound| gated > bound);
            is_within &= !passed;
            let bound = bound.map_or(String::new(), |bound| bound.to_string());
            let verdict = if passed { "TOO MANY" } else { "" };
            println!(
                "{:<42} {all:>8} {gated:>22} {bound:>8} {verdict}",
                case.name()
            );
        }
    }
    if is_within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the whole process does for a span, from its making to its last byte, added over a no-op processor.
fn report_process() {
    println!(
        "{:<26} {:>12} {:>10} {:>6} {:>14} {:>6}",
        "instructions a span", "OTLP encoded", "livespan", "ratio", "with sampler", "ratio"
    );
    for (api, children) in [(Api::Tracer, 24), (Api::Macros, 24), (Api::Tracer, 0)] {
        let count = |case: &str| process_instructions(case, api, children);
        let noop = count("Noop");
        let [otlp, plain, sampler] = [OTLP, "Plain", "Sampler"].map(|case| count(case) - noop);
        println!(
            "{:<26} {otlp:>12.0} {plain:>10.0} {:>6.2} {sampler:>14.0} {:>6.2}",
            format!("{}, traces of {}", api.name(), children + 1),
            plain / otlp,
            sampler / otlp
        );
    }
}

/// Of one span: what a longer run does more than a shorter one, so that neither start nor end of the process counts.
#[expect(clippy::cast_precision_loss, reason = "they are some billions at most")]
fn process_instructions(case: &str, api: Api, children: u32) -> f64 {
    const SHORT: u32 = 10_000;
    const LONG: u32 = 30_000;
    let total = |spans: u32| {
        let (api, children, spans) = (format!("{api:?}"), children.to_string(), spans.to_string());
        Profile::of(None, &["run-process", case, &api, &children, &spans]).total() as f64
    };
    (total(LONG) - total(SHORT)) / f64::from(LONG - SHORT)
}

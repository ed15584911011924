//! Counts the instructions that `TaskLayer` adds to one poll of a span, on the polling thread. A
//! poll enters and exits the span. The bench compares with a layer that does nothing.
//!
//! `cargo bench -p livespan-benches --bench task_instructions` counts with valgrind's callgrind.
//! The bench is a gate: it fails if the layer adds more than [`ADDED_MAX`].
//!
//! As in `span_instructions`, only the smallest of several bursts is used, and the bound applies to
//! instructions in this program's own object. The layer reads the clock twice per poll. The C
//! library's part of these reads does not count.

#[path = "measure/callgrind.rs"]
mod callgrind;

use std::{env, process::ExitCode};

use callgrind::Instructions;
use livespan::{LiveSpans, otel::TaskLayer};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Dispatch, Span, Subscriber, dispatcher::with_default, info_span};
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

/// Polls per burst.
const POLLS: u32 = 100;
/// Number of counted bursts. The smallest of them is used.
const BURSTS: u32 = 12;
/// Upper bound on the instructions that the layer adds to a poll: the target of 150 plus 4 %.
const ADDED_MAX: u64 = 156;

/// A layer that does nothing.
struct NoopLayer;

impl<S: Subscriber> Layer<S> for NoopLayer {}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", case] => run(case),
        [] => return report(),
        _ => {
            eprintln!("usage: task_instructions");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs the bursts of a case, in the child process under callgrind.
fn run(case: &str) {
    let live = LiveSpans::builder()
        .build()
        .expect("the thread did not start");
    let provider = live.tracer_provider(SdkTracerProvider::builder());
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let registry = tracing_subscriber::registry().with(spans);
    let dispatch = match case {
        "no-op layer" => Dispatch::new(registry.with(NoopLayer)),
        "TaskLayer" => {
            Dispatch::new(registry.with(TaskLayer::new().expect("the thread did not start")))
        }
        other => panic!("no case is named {other}"),
    };
    with_default(&dispatch, || {
        let span = info_span!("work");
        burst(&span, POLLS);
        for _ in 0..BURSTS {
            counted(&span);
        }
    });
}

/// callgrind counts only while this function runs, and only on the thread that calls it.
#[inline(never)]
fn counted(span: &Span) {
    burst(span, std::hint::black_box(POLLS));
}

/// The pattern of the counted function. `--dump-after` matches nothing if the pattern begins with the crate's name.
const COUNTED: &str = "*::counted";

fn burst(span: &Span, polls: u32) {
    for poll in 0..polls {
        span.in_scope(|| std::hint::black_box(poll));
    }
}

/// Returns the instructions of a poll in the smallest burst of a case.
fn count(case: &str) -> Instructions {
    let bursts = callgrind::count_calls(COUNTED, &["run".to_owned(), case.to_owned()]);
    assert_eq!(
        bursts.len(),
        BURSTS as usize,
        "callgrind wrote a wrong number of profiles"
    );
    let least = |count: fn(&Instructions) -> u64| {
        bursts.iter().map(count).min().unwrap_or(0) / u64::from(POLLS)
    };
    Instructions {
        all: least(|burst| burst.all),
        own: least(|burst| burst.own),
        calls_out: least(|burst| burst.calls_out),
    }
}

fn report() -> ExitCode {
    println!(
        "instructions of a poll on its own thread; smallest of {BURSTS} bursts\n\n{:<16} {:>8} {:>10} {:>10}",
        "", "all", "calls out", "own object"
    );
    let [noop, layer] = ["no-op layer", "TaskLayer"].map(|case| {
        let counts = count(case);
        println!(
            "{case:<16} {:>8} {:>10} {:>10}",
            counts.all, counts.calls_out, counts.own
        );
        counts
    });
    let added = layer.own.saturating_sub(noop.own);
    println!("\nthe layer adds {added} instructions of its own; bound: {ADDED_MAX}");
    if added <= ADDED_MAX {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! The instructions that an event of `tracing` with three fields costs the thread that emits it.
//! Compares `livespan::layer()` with OpenTelemetry's own appender, whose log processor does nothing. Both are counted
//! over a layer that does nothing.
//!
//! `cargo bench -p livespan-benches --bench log_instructions` counts with valgrind's callgrind. The
//! bench is a gate: it fails if the layer adds more than [`ADDED_MAX`], or more than
//! [`RATIO_PERCENT_MAX`] of the instructions that the appender adds.
//!
//! As in `span_instructions`, only the smallest of many bursts is used, and only instructions in
//! this program's own object count.

#[path = "measure/callgrind.rs"]
mod callgrind;

use std::{env, process::ExitCode, time::Duration};

use callgrind::Instructions;
use opentelemetry::{InstrumentationScope, logs::Severity};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider},
};
use tracing::{Dispatch, Subscriber, dispatcher::with_default, info};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

/// Events per burst.
const EVENTS: u32 = 100;
/// Number of counted bursts. The smallest of them is used.
const BURSTS: u32 = 12;
/// Number of bursts before the counted ones.
const WARM_UP_BURSTS: u32 = 3;
/// Upper bound on the instructions that the layer adds: the measured value plus 4 %.
const ADDED_MAX: u64 = 1_532;
/// Upper bound on the instructions that the layer adds, in percent of those that the appender adds.
const RATIO_PERCENT_MAX: u64 = 130;

/// A layer that does nothing.
struct NoopLayer;

impl<S: Subscriber> Layer<S> for NoopLayer {}

/// A log processor that does nothing.
#[derive(Debug)]
struct NoopProcessor;

impl LogProcessor for NoopProcessor {
    fn emit(&self, _data: &mut SdkLogRecord, _instrumentation: &InstrumentationScope) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn event_enabled(&self, _level: Severity, _target: &str, _name: Option<&str>) -> bool {
        true
    }
}

const CASES: [&str; 3] = ["no-op layer", "appender", "livespan::layer()"];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", case] => run(case),
        [] => return report(),
        _ => {
            eprintln!("usage: log_instructions");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Emits the bursts of a case. It runs in the child under callgrind.
fn run(case: &str) {
    match case {
        "no-op layer" => emit(&Dispatch::new(Registry::default().with(NoopLayer)), &|| ()),
        "appender" => {
            let provider = SdkLoggerProvider::builder()
                .with_log_processor(NoopProcessor)
                .build();
            let layer = OpenTelemetryTracingBridge::new(&provider);
            emit(&Dispatch::new(Registry::default().with(layer)), &|| ());
        }
        "livespan::layer()" => {
            let (layer, guard) = livespan::layer().expect("an address is free");
            let flush = || {
                let flushed = guard.live().target().flush(Duration::from_secs(60));
                flushed.expect("the log's thread catches up");
            };
            emit(&Dispatch::new(Registry::default().with(layer)), &flush);
        }
        other => panic!("no case is named {other}"),
    }
}

fn emit(dispatch: &Dispatch, flush: &dyn Fn()) {
    with_default(dispatch, || {
        for _ in 0..WARM_UP_BURSTS {
            burst(EVENTS);
            flush();
        }
        for _ in 0..BURSTS {
            counted();
            flush();
        }
    });
}

/// callgrind counts only while this function runs, and only on the thread that calls it.
#[inline(never)]
fn counted() {
    burst(std::hint::black_box(EVENTS));
}

/// The pattern of the counted function. `--dump-after` matches nothing if the pattern begins with the crate's name.
const COUNTED: &str = "*::counted";

fn burst(events: u32) {
    for number in 0..events {
        info!(
            order = number,
            customer = "ann",
            total = 9.5,
            "an order was paid"
        );
    }
}

/// Returns the instructions of an event in the smallest burst of a case.
fn count(case: &str) -> Instructions {
    let bursts = callgrind::count_calls(COUNTED, &["run".to_owned(), case.to_owned()]);
    assert_eq!(
        bursts.len(),
        BURSTS as usize,
        "callgrind wrote a wrong number of profiles"
    );
    let least = |count: fn(&Instructions) -> u64| {
        bursts.iter().map(count).min().unwrap_or(0) / u64::from(EVENTS)
    };
    Instructions {
        all: least(|burst| burst.all),
        own: least(|burst| burst.own),
        calls_out: least(|burst| burst.calls_out),
    }
}

fn report() -> ExitCode {
    println!(
        "instructions of an event with three fields on its own thread; smallest of {BURSTS} bursts\n\n\
         {:<24} {:>8} {:>10} {:>10} {:>12}",
        "", "all", "calls out", "own object", "over no-op"
    );
    let mut over_noop = Vec::new();
    let mut noop = None;
    for case in CASES {
        let counts = count(case);
        let noop = *noop.get_or_insert(counts.own);
        let over = counts.own.saturating_sub(noop);
        println!(
            "{case:<24} {:>8} {:>10} {:>10} {over:>12}",
            counts.all, counts.calls_out, counts.own
        );
        over_noop.push(over);
    }
    let [_, appender, layer] = over_noop[..] else {
        return ExitCode::FAILURE;
    };
    let ratio = layer * 100 / appender.max(1);
    println!(
        "\nthe layer adds {layer} instructions, {ratio} % of what the appender adds; bounds: {ADDED_MAX}, {RATIO_PERCENT_MAX} %"
    );
    if layer <= ADDED_MAX && ratio <= RATIO_PERCENT_MAX {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! The instructions that the worker spends on an event that the app made and dispatched itself: reading it for
//! redaction and for the trace index, storing it and publishing it. The encoding on the app's thread does not count.
//!
//! `cargo bench -p livespan-benches --bench dispatch_instructions` counts with valgrind's callgrind.
//! `-- --annotate CASE FILE` writes a profile of one case for `callgrind_annotate`.

#[path = "measure/callgrind.rs"]
mod callgrind;

use std::{env, path::Path, process::ExitCode, time::Duration};

use livespan::{
    LiveSpans, SpanEvent, SpanId, TraceId,
    span::{SpanKind, SpanStatus},
};

/// Number of events dispatched between two flushes.
const BURST: usize = 512;
const BURSTS: [usize; 2] = [4, 44];
const WORK: &str = "*engine::worker::Worker*::work*";

const CASES: [&str; 2] = ["short starts", "starts and ends with attributes"];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", case, bursts] => run(case, bursts.parse().expect("the argument is not a number")),
        ["--annotate", case, file] => {
            callgrind::keep_profile(WORK, &arguments(case, BURSTS[1]), Path::new(file));
        }
        [] => report(),
        _ => {
            eprintln!("usage: dispatch_instructions [--annotate CASE FILE]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn arguments(case: &str, bursts: usize) -> Vec<String> {
    vec!["run".to_owned(), case.to_owned(), bursts.to_string()]
}

fn report() {
    for case in CASES {
        let [few, many] =
            BURSTS.map(|bursts| callgrind::count_function(WORK, &arguments(case, bursts)));
        let events = ((BURSTS[1] - BURSTS[0]) * BURST) as u64;
        println!(
            "{case:<34} {:>6} instructions an event, {:>6} of them in the own object",
            (many.all - few.all) / events,
            (many.own - few.own) / events
        );
    }
}

fn run(case: &str, bursts: usize) {
    let events: Vec<SpanEvent> = (0..BURST).map(|number| event(case, number)).collect();
    let live = LiveSpans::builder()
        .build()
        .expect("livespan did not start");
    for _ in 0..bursts {
        for event in &events {
            live.target()
                .try_dispatch(event)
                .expect("the buffer is full");
        }
        live.target()
            .flush(Duration::from_secs(60))
            .expect("the log's thread did not catch up");
    }
    live.shutdown().expect("the shutdown failed");
}

fn event(case: &str, number: usize) -> SpanEvent {
    let trace = TraceId::from_bytes((number as u128 / 50 + 1).to_be_bytes());
    let trace = trace.expect("the id is zero");
    let span = |number: usize| SpanId::from_bytes((number as u64 + 1).to_be_bytes());
    let id = span(number / 2).expect("the id is zero");
    if case == CASES[0] {
        let id = span(number).expect("the id is zero");
        return SpanEvent::started(trace, id, "GET /counted/{id}");
    }
    let event = if number.is_multiple_of(2) {
        SpanEvent::started(trace, id, "GET /orders/{id}/items")
    } else {
        SpanEvent::ended(trace, id, "GET /orders/{id}/items", SpanStatus::Unset)
    };
    event
        .parent(span(number / 50 * 25).expect("the id is zero"))
        .kind(SpanKind::Client)
        .service("shop")
        .scope("shop::orders")
        .attribute("http.request.method", "GET")
        .attribute("url.full", "https://shop.example/orders/17/items?page=2")
        .attribute("cart.items", 3_i64)
        .attribute("customer", "customer-000000000000017")
}

//! Measures the process's memory while a log runs, and the worker's CPU time with many traces:
//!
//! - `cargo bench -p livespan-benches --bench memory -- retained`: allocated bytes per retained event, including the
//!   indexes;
//! - `… -- evicted`: resident memory after the log was filled ten times, and after all events were evicted;
//! - `… -- stalled`: memory held by a client that reads nothing while a million events pass;
//! - `… -- seen`: the worker's cost per event while a million traces pass;
//! - `… -- listed`: the worker's cost per event beside a viewer of the live list whose filter matches none of 100,000
//!   traces.

#[path = "measure/machine.rs"]
mod machine;
mod measure;

use std::{
    alloc::System,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use cap::Cap;
use livespan::{
    LiveSpans, MemoryEventStore, Retention, SpanEvent, SpanId, TraceId, span::SpanStatus,
};

use machine::{cpu_of, nanos_each, resident_bytes};
use measure::{PATIENCE, is_wanted, median};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Number of events between two flushes. It is low enough that no event is dropped.
const BURST: u32 = 10_000;
const GIBIBYTE: usize = 1024 * 1024 * 1024;

fn main() {
    if is_wanted("retained") {
        println!(
            "\n{:<22} {:>10} {:>12} {:>6} {:>7}",
            "a trace has", "wire bytes", "allocated", "ratio", "target"
        );
        for events in [50, 4] {
            retained(events);
        }
    }
    if is_wanted("evicted") {
        evicted();
    }
    if is_wanted("stalled") {
        stalled();
    }
    if is_wanted("seen") {
        seen();
    }
    if is_wanted("listed") {
        listed();
    }
}

fn allocated() -> f64 {
    float(ALLOCATOR.allocated())
}

/// Converts a number of bytes to a float, exactly. Panics from 4 TiB on.
fn float(bytes: usize) -> f64 {
    let kibibytes = u32::try_from(bytes / 1024).expect("the size is 4 TiB or more");
    let rest = u32::try_from(bytes % 1024).expect("the rest does not fit");
    f64::from(kibibytes).mul_add(1024.0, f64::from(rest))
}

fn live(retention: Retention) -> LiveSpans {
    LiveSpans::builder()
        .store(MemoryEventStore::with_retention(retention))
        .build()
        .expect("the log did not open")
}

/// Returns one of the two events of a span. An event has about 300 bytes.
fn event(number: u32, events_per_trace: u32) -> SpanEvent {
    let trace = u128::from(number / events_per_trace) + 1;
    let trace = TraceId::from_bytes((trace << 64).to_be_bytes()).expect("the id is zero");
    let id = |number: u32| {
        SpanId::from_bytes((u64::from(number) + 1).to_be_bytes()).expect("the id is zero")
    };
    let span = id(number / 2);
    let event = if number.is_multiple_of(2) {
        SpanEvent::started(trace, span, "GET /orders/{id}/items")
    } else {
        SpanEvent::ended(trace, span, "GET /orders", SpanStatus::Unset)
    };
    let root = number / events_per_trace * events_per_trace / 2;
    let event = event.service("shop");
    if number / 2 == root {
        event
    } else {
        event.parent(id(root))
    }
}

fn dispatch(live: &LiveSpans, numbers: std::ops::Range<u32>, events_per_trace: u32) {
    for number in numbers {
        if number.is_multiple_of(BURST) {
            live.target().flush(PATIENCE).expect("the flush failed");
        }
        live.target()
            .try_dispatch(&event(number, events_per_trace))
            .expect("the buffer is full");
    }
    live.target().flush(PATIENCE).expect("the flush failed");
}

fn retained(events_per_trace: u32) {
    const TARGET: f64 = 1.25;
    const EVENTS: u32 = 400_000;
    // The first events also allocate the worker's buffers, so they are not counted.
    const FIRST: u32 = 3 * BURST;
    let live = live(Retention::default().events(1 << 30).bytes(GIBIBYTE));
    dispatch(&live, 0..FIRST, events_per_trace);
    let (before, wire_before) = (allocated(), float(live.target().status().retained_bytes));
    dispatch(&live, FIRST..FIRST + EVENTS, events_per_trace);
    let wire = (float(live.target().status().retained_bytes) - wire_before) / f64::from(EVENTS);
    let each = (allocated() - before) / f64::from(EVENTS);
    println!(
        "{:<22} {wire:>10.1} {each:>12.1} {:>6.3} {TARGET:>7.2}",
        format!("{events_per_trace} events"),
        each / wire
    );
    live.shutdown().expect("the shutdown failed");
}

fn evicted() {
    const EVENTS: u32 = 200_000;
    let events = |count| Retention::default().events(count).bytes(GIBIBYTE);
    let live = live(events(EVENTS as usize));
    dispatch(&live, 0..EVENTS, 50);
    let full = resident_bytes();
    dispatch(&live, EVENTS..10 * EVENTS, 50);
    println!(
        "\nRSS after the log was filled ten times: {:.2} of the RSS after once; target 1.10",
        resident_bytes() / full
    );
    live.shutdown().expect("the shutdown failed");
    drop(live);

    let age = Duration::from_secs(3);
    let live = self::live(events(1 << 30).age(age));
    dispatch(&live, 0..BURST, 50);
    while live.target().status().retained_events > 0 {
        thread::park_timeout(age / 10);
    }
    let (empty, empty_allocated) = (resident_bytes(), allocated());
    dispatch(&live, 0..EVENTS, 50);
    let (full, full_allocated) = (resident_bytes(), allocated());
    while live.target().status().retained_events > 0 {
        thread::park_timeout(age / 10);
    }
    println!(
        "RSS after all events were evicted: {:.2} of the RSS before ({:.2} when full); allocated: {:.2} ({:.2})",
        resident_bytes() / empty,
        full / empty,
        allocated() / empty_allocated,
        full_allocated / empty_allocated
    );
    live.shutdown().expect("the shutdown failed");
}

fn stalled() {
    const TARGET_KIB: f64 = 128.0;
    const EVENTS: u32 = 1_000_000;
    let live = live(Retention::default());
    let server = live
        .serve_in_background("127.0.0.1:0")
        .expect("the server does not listen");
    let connect = || {
        let mut stream =
            TcpStream::connect(server.local_addr()).expect("the server does not listen");
        let request = b"GET /sse?replay=none HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).expect("the server does not read");
        stream
            .read_exact(&mut [0; 1])
            .expect("the server does not answer");
        stream
    };
    dispatch(&live, 0..300_000, 50);
    // The first client pays one-time costs, so it is not measured.
    drop(connect());
    wait_for(&live, 0);
    let bare = allocated();
    let mut clients: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    dispatch(&live, 0..EVENTS, 50);
    let with = allocated();
    while let Some(client) = clients.pop() {
        drop(client);
        wait_for(&live, clients.len());
    }
    let without = allocated();
    println!(
        "\na stalled client holds {:.1} KiB after {EVENTS} events; target {TARGET_KIB} (with all other growth: {:.1})",
        (with - without) / 8.0 / 1024.0,
        (with - bare) / 8.0 / 1024.0
    );
    live.shutdown().expect("the shutdown failed");
}

fn wait_for(live: &LiveSpans, subscribers: usize) {
    while live.target().subscribers() != subscribers {
        thread::yield_now();
    }
}

fn seen() {
    const TRACES: u32 = 1_000_000;
    const RETAINED: usize = 100_000;
    const STEP: u32 = 100_000;
    let live = live(Retention::default().events(2 * RETAINED).bytes(GIBIBYTE));
    println!(
        "\n{:>12} {:>16} {:>14}",
        "traces seen", "worker ns/event", "MiB allocated"
    );
    let mut figures = Vec::new();
    for first in (0..TRACES).step_by(STEP as usize) {
        let before = cpu_of("livespan");
        // Each span has a start and an end.
        dispatch(&live, 2 * first..2 * (first + STEP), 2);
        let each = nanos_each(
            cpu_of("livespan").saturating_sub(before),
            f64::from(2 * STEP),
        );
        figures.push(each);
        println!(
            "{:>12} {each:>16.0} {:>14.1}",
            first + STEP,
            allocated() / 1_048_576.0
        );
    }
    // Nothing is evicted in the first step.
    let (early, late) = (figures[1..4].to_vec(), figures[7..].to_vec());
    println!(
        "the last three steps, relative to the first three with evictions: {:.2}",
        median(late) / median(early)
    );
    live.shutdown().expect("the shutdown failed");
}

fn listed() {
    const TRACES: u32 = 100_000;
    const STEP: u32 = 100_000;
    const ROUNDS: usize = 9;
    const TARGET: f64 = 1.02;
    let retention = Retention::default().events(2 * TRACES as usize);
    let live = live(retention.bytes(GIBIBYTE));
    let server = live
        .serve_in_background("127.0.0.1:0")
        .expect("the server does not listen");
    let view = || {
        let mut stream =
            TcpStream::connect(server.local_addr()).expect("the server does not listen");
        let request = b"GET /traces/sse?q=name%3Anothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).expect("the server does not read");
        let mut lines =
            BufReader::new(stream.try_clone().expect("could not clone the socket")).lines();
        let is_list = |line: std::io::Result<String>| {
            line.expect("the server does not answer") == "event: traces"
        };
        assert!(lines.any(is_list));
        stream
    };
    // Each trace has two events: the start and the end of one span.
    let mut next = 0;
    let mut cost = |events: u32| {
        let before = cpu_of("livespan");
        dispatch(&live, next..next + events, 2);
        next += events;
        nanos_each(cpu_of("livespan").saturating_sub(before), f64::from(events))
    };
    cost(2 * TRACES + STEP);
    let (mut alone, mut beside, mut ratios) = <(Vec<f64>, Vec<f64>, Vec<f64>)>::default();
    for _ in 0..ROUNDS {
        let bare = cost(STEP);
        let viewer = view();
        let with = cost(STEP);
        drop(viewer);
        // Gives the server time to notice that the viewer is gone.
        cost(STEP / 10);
        alone.push(bare);
        beside.push(with);
        ratios.push(with / bare);
    }
    println!(
        "\nworker ns/event among {TRACES} traces: {:.0}, and {:.0} beside a viewer whose filter matches none, ratio {:.3} \
         ({:.3} to {:.3}); target {TARGET}",
        median(alone),
        median(beside),
        median(ratios.clone()),
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
    );
    live.shutdown().expect("the shutdown failed");
}

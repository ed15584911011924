//! The rate at which the receiver takes spans over HTTP into the log, beside a peer that only
//! decodes the same bodies.
//!
//! Run it with `cargo bench -p livespan-benches --bench otlp_rate`. Names after `--` choose among
//! `protobuf`, `json` and `watched`. The first two interleave rounds of both sides and print
//! medians: compare the ratios. `watched` sends 50,000 spans a second for 20 seconds, or other
//! numbers if they follow the name. Meanwhile one client reads all events and another one the live
//! list. At the end the bench counts the missing events.

#[path = "otlp_rate/bodies.rs"]
mod bodies;
#[path = "otlp_rate/client.rs"]
mod client;
#[path = "measure/machine.rs"]
mod machine;
mod measure;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bodies::{Body, Format, SPANS};
use client::{Connection, Watcher};
use livespan::{LiveServer, LiveSpans, MemoryEventStore, Retention, otlp::OtlpReceiver};
use machine::process_cpu;
use measure::{PATIENCE, is_wanted, median};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

const ROUNDS: usize = 9;
/// Requests of a round.
const REQUESTS: u64 = 200;
/// Connections that send at once, each with one request at a time.
const SENDERS: u64 = 3;
/// The lowest acceptable ratio for protobuf: the rate into the log over the rate of decoding alone.
const TARGET: f64 = 0.5;

fn main() {
    for (case, format) in [("protobuf", Format::Protobuf), ("json", Format::Json)] {
        if is_wanted(case) {
            compare(case, format);
        }
    }
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    if is_wanted("watched") {
        let rate = numbers.first().copied().unwrap_or(50_000);
        let seconds = numbers.get(1).copied().unwrap_or(20);
        watched(rate, Duration::from_secs(seconds));
    }
}

fn receiver(events: usize) -> (LiveSpans, LiveServer) {
    let retention = Retention::default()
        .events(events)
        .bytes(1024 * 1024 * 1024);
    let live = LiveSpans::builder()
        .store(MemoryEventStore::with_retention(retention))
        .otlp(OtlpReceiver::default())
        .build()
        .expect("livespan starts");
    let server = live
        .serve_in_background("127.0.0.1:0")
        .expect("the server listens");
    (live, server)
}

/// The measurements of one round.
struct Round {
    wall: Duration,
    cpu: Duration,
}

impl Round {
    fn of(run: impl FnOnce()) -> Self {
        let (begun, cpu) = (Instant::now(), process_cpu());
        run();
        Self {
            wall: begun.elapsed(),
            cpu: process_cpu().saturating_sub(cpu),
        }
    }
}

/// Returns nanoseconds per span.
fn nanos(time: Duration) -> f64 {
    machine::nanos_each(
        time,
        f64::from(u32::try_from(REQUESTS * SPANS).expect("few")),
    )
}

fn compare(case: &str, format: Format) {
    let (live, server) = receiver(200_000);
    let body = Body::new(format);
    let (mut walls, mut cpus) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut number = 0;
    for round in 0..=ROUNDS {
        let sides = [
            Round::of(|| decode_alone(&body, format)),
            Round::of(|| send(&server, &body, number)),
        ];
        number += REQUESTS;
        // The first round warms up.
        if round > 0 {
            for (place, side) in sides.iter().enumerate() {
                walls[place].push(nanos(side.wall));
                cpus[place].push(nanos(side.cpu));
            }
        }
    }
    assert_nothing_dropped(&live, number * SPANS);
    for (what, [alone, ours]) in [("time", walls), ("CPU time", cpus)] {
        let ratios = alone.iter().zip(&ours).map(|(alone, ours)| alone / ours);
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{case}, {what} a span: decoding alone {:.0} ns, to the log {:.0} ns, ratio {:.2} ({:.2} to {:.2})",
            median(alone),
            median(ours),
            median(ratios.clone()),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
    if format == Format::Protobuf {
        println!("the target of the first ratio is {TARGET}");
    }
    live.shutdown().expect("livespan stops");
}

fn decode_alone(body: &Body, format: Format) {
    let mut copy = body.bytes.clone();
    for number in 0..REQUESTS {
        body.number(&mut copy, number);
        match format {
            Format::Protobuf => {
                let request = ExportTraceServiceRequest::decode(copy.as_slice());
                black_box(request.expect("it is valid"));
            }
            Format::Json => {
                let request: serde_json::Value =
                    serde_json::from_slice(&copy).expect("it is valid");
                black_box(request);
            }
        }
    }
}

/// Sends the requests of a round. Returns when the server has answered all of them.
fn send(server: &LiveServer, body: &Body, first: u64) {
    let next = AtomicU64::new(first);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut connection = Connection::open(server.local_addr());
                let mut copy = body.bytes.clone();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + REQUESTS {
                        return;
                    }
                    body.number(&mut copy, number);
                    assert_eq!(connection.post(body.content_type(), &copy), 200);
                }
            });
        }
    });
}

fn assert_nothing_dropped(live: &LiveSpans, spans: u64) {
    let status = live.status();
    // One event describes the sending process.
    assert_eq!(status.head.sequence().get(), 1 + 2 * spans, "{status:?}");
}

fn watched(rate: u64, time: Duration) {
    let (live, server) = receiver(4_000_000);
    let body = Body::new(Format::Protobuf);
    let requests = rate * time.as_secs() / SPANS;
    let events = Watcher::start(server.local_addr(), "/sse", b"event: ended");
    let list = Watcher::start(server.local_addr(), "/traces/sse", b"event: traces");
    let (next, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let (begun, cpu) = (Instant::now(), process_cpu());
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut connection = Connection::open(server.local_addr());
                let mut copy = body.bytes.clone();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    let due = begun + time.mul_f64(ratio(number, requests));
                    thread::park_timeout(due.saturating_duration_since(Instant::now()));
                    body.number(&mut copy, number);
                    // The receiver refused spans for lack of room, so the sender sends them again.
                    while connection.post(body.content_type(), &copy) != 200 {
                        refused.fetch_add(1, Ordering::Relaxed);
                        thread::park_timeout(Duration::from_millis(20));
                    }
                }
            });
        }
    });
    let taken = begun.elapsed();
    let spans = requests * SPANS;
    let deadline = Instant::now() + PATIENCE;
    while events.count() < spans && Instant::now() < deadline {
        thread::park_timeout(Duration::from_millis(5));
    }
    let cpu = process_cpu().saturating_sub(cpu);
    println!(
        "watched: {spans} spans in {:.1} s ({:.0} a second), {} requests sent again, {:.1} s of CPU; the reader of all \
         events has {} ends, that of the list {} frames",
        taken.as_secs_f64(),
        ratio(spans, 1) / taken.as_secs_f64(),
        refused.load(Ordering::Relaxed),
        cpu.as_secs_f64(),
        events.count(),
        list.count(),
    );
    assert_nothing_dropped(&live, spans);
    assert_eq!(events.count(), spans);
    live.shutdown().expect("livespan stops");
    drop(Arc::new(server));
}

fn ratio(part: u64, whole: u64) -> f64 {
    let number = |number| f64::from(u32::try_from(number).expect("a bench counts to four billion"));
    number(part) / number(whole)
}

//! The rate at which the receiver writes the spans of HTTP requests to the log, compared with two peers that only
//! decode the same bodies. One peer reads them from memory, the other from HTTP requests, as a collector does.
//!
//! Run it with `cargo bench -p livespan-benches --bench otlp_rate`. Names after `--` choose among `protobuf`, `json`,
//! `instructions` and `watched`. The first two run the sides in turn, with the same number of sending threads, and
//! print medians: compare the ratios. `instructions` counts the instructions of each side with valgrind's callgrind,
//! including those of the senders. `watched` sends 50,000 spans a second for 20 seconds, or other numbers if they
//! follow the name. Meanwhile one client reads all events and another one the live list. At the end the bench fails if
//! an event is missing.

#[path = "otlp_rate/bodies.rs"]
mod bodies;
#[path = "measure/callgrind.rs"]
mod callgrind;
#[path = "otlp_rate/client.rs"]
mod client;
#[path = "measure/machine.rs"]
mod machine;
mod measure;
#[path = "otlp_rate/peer.rs"]
mod peer;

use std::{
    net::SocketAddr,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use bodies::{Body, Format, SPANS};
use client::{Connection, Watcher};
use livespan::{LiveServer, LiveSpans, MemoryEventStore, Retention, otlp::OtlpReceiver};
use machine::process_cpu;
use measure::{PATIENCE, is_wanted, median};

const ROUNDS: usize = 9;
/// Requests of a round.
const REQUESTS: u64 = 200;
/// Connections that send at once, each with one request at a time.
const SENDERS: u64 = 3;
/// The lowest acceptable ratio for protobuf: the rate into the log over the rate of decoding alone.
const TARGET: f64 = 0.5;
/// Starts the arguments of a run under callgrind. The side and the number of requests follow.
const COUNTED: &str = "--counted";
/// Requests of two runs. The bench counts their difference, which does not contain the start-up.
const COUNTED_REQUESTS: [u64; 2] = [20, 60];

/// The receiver of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Decodes bodies from memory.
    Memory,
    /// Decodes the bodies of HTTP requests.
    Peer,
    /// Writes the spans of HTTP requests to the log.
    Log,
}

const SIDES: [Side; 3] = [Side::Memory, Side::Peer, Side::Log];

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "decoding alone",
            Self::Peer => "decoding over HTTP",
            Self::Log => "to the log",
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|word| word == COUNTED) {
        return run_counted(&arguments[at + 1], &arguments[at + 2]);
    }
    for (case, format) in [("protobuf", Format::Protobuf), ("json", Format::Json)] {
        if is_wanted(case) {
            compare(case, format);
        }
    }
    if is_wanted("instructions") {
        count_instructions();
    }
    let numbers: Vec<u64> = arguments
        .iter()
        .filter_map(|word| word.parse().ok())
        .collect();
    if is_wanted("watched") {
        let rate = numbers.first().copied().unwrap_or(50_000);
        let seconds = numbers.get(1).copied().unwrap_or(20);
        watched(rate, Duration::from_secs(seconds));
    }
}

/// All sides, ready to receive requests of one format.
struct Sides {
    body: Body,
    format: Format,
    peer: SocketAddr,
    live: LiveSpans,
    server: LiveServer,
    /// The number of requests that the log has accepted.
    taken: u64,
}

impl Sides {
    fn new(format: Format) -> Self {
        let (live, server) = receiver(200_000);
        Self {
            body: Body::new(format),
            format,
            peer: peer::start(format),
            live,
            server,
            taken: 0,
        }
    }

    /// Sends this many requests to one side.
    fn run(&mut self, side: Side, requests: u64) {
        // Each request to the log has ids of its own.
        let numbers = self.taken..self.taken + requests;
        let format = self.format;
        match side {
            Side::Memory => each_request(&self.body, numbers, || {
                move |_number: u64, body: &[u8]| format.decode(body)
            }),
            Side::Peer => send(self.peer, &self.body, numbers),
            Side::Log => {
                send(self.server.local_addr(), &self.body, numbers);
                self.taken += requests;
            }
        }
    }

    fn finish(self) {
        if self.taken > 0 {
            assert_nothing_dropped(&self.live, self.taken * SPANS);
        }
        self.live.shutdown().expect("livespan stops");
    }
}

/// Calls one function on each of the senders' threads, with the number and the body of each request. `start` makes the
/// function on its thread.
fn each_request<F: FnMut(u64, &[u8])>(
    body: &Body,
    numbers: Range<u64>,
    start: impl Fn() -> F + Sync,
) {
    let next = AtomicU64::new(numbers.start);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut take = start();
                let mut copy = body.bytes.clone();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    body.number(&mut copy, number);
                    take(number, &copy);
                }
            });
        }
    });
}

/// Sends requests, and returns when all are answered.
fn send(address: SocketAddr, body: &Body, numbers: Range<u64>) {
    each_request(body, numbers, || {
        let mut connection = Connection::open(address);
        move |_number: u64, bytes: &[u8]| {
            assert_eq!(connection.post(body.content_type(), bytes), 200);
        }
    });
}

/// Runs one side alone, in a process whose instructions are counted.
fn run_counted(side: &str, requests: &str) {
    let side = SIDES.into_iter().find(|one| format!("{one:?}") == side);
    let requests = requests.parse().expect("not a number");
    let mut sides = Sides::new(Format::Protobuf);
    sides.run(side.expect("no such side"), requests);
    sides.finish();
}

fn count_instructions() {
    let of = |side: Side, requests: u64| {
        let arguments = [
            COUNTED.to_owned(),
            format!("{side:?}"),
            requests.to_string(),
        ];
        callgrind::count_process(&arguments).all
    };
    let [few, many] = COUNTED_REQUESTS;
    let counted = SIDES.map(|side| {
        let more = of(side, many) - of(side, few);
        ratio(more, (many - few) * SPANS)
    });
    let [alone, peer, ours] = counted;
    for (side, count) in SIDES.iter().zip(counted) {
        println!("protobuf, instructions a span: {} {count:.0}", side.name());
    }
    println!(
        "protobuf, instructions: ratio to decoding alone {:.2}, to decoding over HTTP {:.2}",
        alone / ours,
        peer / ours
    );
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
        f64::from(u32::try_from(REQUESTS * SPANS).expect("the number is small")),
    )
}

fn compare(case: &str, format: Format) {
    let mut sides = Sides::new(format);
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (place, side) in SIDES.into_iter().enumerate() {
            let measured = Round::of(|| sides.run(side, REQUESTS));
            // The first round warms up.
            if round > 0 {
                rounds[place].push(measured);
            }
        }
    }
    sides.finish();
    for (what, time) in [
        ("time", (|round| nanos(round.wall)) as fn(&Round) -> f64),
        ("CPU time", |round| nanos(round.cpu)),
    ] {
        let figures = rounds
            .each_ref()
            .map(|of| of.iter().map(time).collect::<Vec<_>>());
        let [.., ours] = &figures;
        for (side, of) in SIDES.iter().zip(&figures) {
            let ratios = of.iter().zip(ours).map(|(of, ours)| of / ours);
            let mut ratios: Vec<f64> = ratios.collect();
            ratios.sort_by(f64::total_cmp);
            println!(
                "{case}, {what} a span: {} {:.0} ns, the log's rate is {:.2} of it ({:.2} to {:.2})",
                side.name(),
                median(of.clone()),
                median(ratios.clone()),
                ratios[0],
                ratios[ratios.len() - 1],
            );
        }
    }
    if format == Format::Protobuf {
        println!("the target of the first ratio is {TARGET}");
    }
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
    let address = server.local_addr();
    let events = Watcher::start(address, "/sse", b"event: ended");
    let list = Watcher::start(address, "/traces/sse", b"event: traces");
    let refused = AtomicU64::new(0);
    let (begun, cpu) = (Instant::now(), process_cpu());
    each_request(&body, 0..requests, || {
        let mut connection = Connection::open(address);
        let (body, refused) = (&body, &refused);
        move |number, bytes| {
            let due = begun + time.mul_f64(ratio(number, requests));
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
            // A request that was refused, because the log had no room, is sent again.
            while connection.post(body.content_type(), bytes) != 200 {
                refused.fetch_add(1, Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(20));
            }
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
    drop(server);
}

fn ratio(part: u64, whole: u64) -> f64 {
    let number = |number| f64::from(u32::try_from(number).expect("a bench counts to four billion"));
    number(part) / number(whole)
}

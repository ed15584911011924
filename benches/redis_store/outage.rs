//! The cost of a span's start and end for the thread that makes it, in CPU time and voluntary
//! context switches. It is measured while Redis answers, is stopped, is full, and is gone.

use std::time::{Duration, Instant};

use livespan::{LiveSpans, RedisEventStore};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{
    measure::{median, thread_cpu, voluntary_switches},
    server::Server,
    spans::make_spans,
};

const ROUNDS: usize = 5;
const BURSTS: u32 = 40;
/// Spans per burst. Their events fit into the buffer, so the healthy case drops none.
const BURST: u32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// The cost in one round: CPU time per span, and the context switches of all spans.
struct Cost {
    nanoseconds: f64,
    switches: u64,
}

struct Host {
    live: LiveSpans,
    provider: SdkTracerProvider,
}

impl Host {
    fn start(server: &Server, prefix: &str) -> Self {
        let store = RedisEventStore::builder(server.url())
            .prefix(prefix)
            .build()
            .expect("the URL is valid");
        let live = LiveSpans::builder()
            .store(store)
            .build()
            .expect("Redis is running");
        let provider = SdkTracerProvider::builder()
            .with_span_processor(live.span_processor())
            .build();
        Self { live, provider }
    }

    /// Measures bursts of spans. Calls `between` after each burst, and does not measure that call.
    fn measure(&self, between: impl Fn(&Self)) -> Cost {
        let tracer = self.provider.tracer("bench");
        let mut used = Duration::ZERO;
        let mut switches = 0;
        for _ in 0..BURSTS {
            let (cpu, waited) = (thread_cpu(), voluntary_switches());
            make_spans(&tracer, BURST);
            switches += voluntary_switches() - waited;
            used += thread_cpu().saturating_sub(cpu);
            between(self);
        }
        Cost {
            nanoseconds: used.as_secs_f64() * 1e9 / f64::from(BURSTS * BURST),
            switches,
        }
    }

    fn measure_healthy(&self) -> Cost {
        self.measure(|host| {
            host.provider
                .force_flush()
                .expect("Redis accepts the command");
        })
    }

    /// Waits until the log reports that the store fails.
    fn until_failing(&self) {
        let deadline = Instant::now() + PATIENCE;
        let tracer = self.provider.tracer("bench");
        while self.live.status().store.failure.is_none() {
            assert!(Instant::now() < deadline, "the store does not fail");
            tracer.start("probe").end();
            // The flush fails at once or after its time limit.
            self.live.target().flush(Duration::from_millis(100)).ok();
        }
    }
}

pub(crate) fn run() {
    let names = [
        "Redis answers",
        "Redis is stopped (SIGSTOP)",
        "Redis is full (noeviction)",
        "Redis was killed",
    ];
    let mut costs: [Vec<Cost>; 4] = Default::default();
    for round in 0..ROUNDS {
        let server = Server::start();
        server.connect();
        let host = Host::start(&server, &format!("bench{round}"));
        // The first run starts threads and touches memory, so it is not counted.
        host.measure_healthy();
        costs[0].push(host.measure_healthy());
        server.signal("STOP");
        // Some bursts fill the buffer; the others find it full.
        costs[1].push(host.measure(|_| ()));
        server.signal("CONT");
        host.live.target().flush(PATIENCE).ok();
        let full = ["CONFIG", "SET", "maxmemory", "1"];
        command(&server, &full);
        host.until_failing();
        costs[2].push(host.measure(|_| ()));
        command(&server, &["CONFIG", "SET", "maxmemory", "0"]);
        host.live.target().flush(PATIENCE).ok();
        server.signal("KILL");
        host.until_failing();
        costs[3].push(host.measure(|_| ()));
    }
    println!(
        "{:<48} {:>10} {:>10} {:>10}",
        "start + end of a span, 4 attributes", "ns", "/ healthy", "switches"
    );
    let healthy = median(costs[0].iter().map(|cost| cost.nanoseconds).collect());
    for (name, costs) in names.into_iter().zip(&costs) {
        let cost = median(costs.iter().map(|cost| cost.nanoseconds).collect());
        let switches: u64 = costs.iter().map(|cost| cost.switches).sum();
        println!(
            "{name:<48} {cost:>10.0} {:>10.2} {switches:>10}",
            cost / healthy
        );
    }
}

fn command(server: &Server, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
        .exec(&mut server.connect())
        .expect("Redis takes the command");
}

//! One call of `on_start` or `on_end`: CPU time at the 99.9th percentile and at the median, and
//! voluntary context switches. The cases are: undisturbed, 100 readers, a hung store while the
//! buffer fills, and a full buffer. Just before each `on_start`, the bench also measures the SDK's
//! own copy of the span. Interrupts and cold caches affect both figures alike.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt as _;
use livespan::{
    Error, EventStore, LiveSpanProcessor, LiveSpans, MemoryEventStore, Retention,
    sse::{Sequence, StreamKey, Subscribe},
    store::{Appended, Batch, EpochStart, PageLimit, ReadFuture},
};
use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
};

use crate::{
    measure::{thread_cpu, voluntary_switches},
    spans::make_spans,
};

const BURST: u32 = 1_000;
const BURSTS: u32 = 40;

/// Measures every call of the inner processor.
#[derive(Debug)]
struct Timed {
    inner: LiveSpanProcessor,
    times: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times {
    calls: Mutex<Vec<Duration>>,
    copies: Mutex<Vec<Duration>>,
}

fn time(times: &Mutex<Vec<Duration>>, call: impl FnOnce()) {
    let before = thread_cpu();
    call();
    let used = thread_cpu().saturating_sub(before);
    // Only this thread makes spans, so the lock is never contended.
    times.lock().expect("another thread panicked").push(used);
}

impl SpanProcessor for Timed {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        time(&self.times.copies, || {
            drop(std::hint::black_box(span.exported_data()));
        });
        time(&self.times.calls, || self.inner.on_start(span, cx));
    }
    fn on_end(&self, span: SpanData) {
        time(&self.times.calls, || self.inner.on_end(span));
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
}

/// Appends to a [`GatedStore`] hang while its gate is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().expect("another thread panicked") = shut;
        self.changed.notify_all();
    }
}

#[derive(Debug)]
struct GatedStore {
    memory: MemoryEventStore,
    gate: Arc<Gate>,
}

impl EventStore for GatedStore {
    fn kind(&self) -> &'static str {
        "gated"
    }
    fn open(&self) -> Result<Sequence, Error> {
        self.memory.open()
    }
    fn epochs(&self) -> Arc<[EpochStart]> {
        self.memory.epochs()
    }
    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let shut = self.gate.shut.lock().expect("another thread panicked");
        drop(self.gate.changed.wait_while(shut, |shut| *shut));
        self.memory.append(first, batch)
    }
    fn oldest(&self) -> Sequence {
        self.memory.oldest()
    }
    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.memory.read_after(after, limit)
    }
    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.memory.read_streams_after(keys, after, limit)
    }
    fn append_timeout(&self) -> Option<Duration> {
        self.memory.append_timeout()
    }
    fn tail_retention(&self) -> Retention {
        self.memory.tail_retention()
    }
}

struct Host {
    live: LiveSpans,
    provider: SdkTracerProvider,
    times: Arc<Times>,
    gate: Arc<Gate>,
}

impl Host {
    fn new() -> Self {
        let gate = Arc::new(Gate::default());
        let store = GatedStore {
            memory: MemoryEventStore::with_retention(Retention::default().events(50_000)),
            gate: Arc::clone(&gate),
        };
        let live = LiveSpans::builder()
            .store(store)
            .build()
            .expect("the log opens");
        let times = Arc::new(Times::default());
        for times in [&times.calls, &times.copies] {
            times
                .lock()
                .expect("another thread panicked")
                .reserve(1 << 20);
        }
        let processor = Timed {
            inner: live.span_processor(),
            times: Arc::clone(&times),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .build();
        Self {
            live,
            provider,
            times,
            gate,
        }
    }

    /// Makes spans. Prints the nanoseconds per call at the 99.9th percentile and at the median, and
    /// the total of context switches.
    fn run(&self, what: &str, flush: bool) {
        let tracer = self.provider.tracer("bench");
        let all = [&self.times.calls, &self.times.copies];
        for times in all {
            times.lock().expect("another thread panicked").clear();
        }
        let mut switches = 0;
        for _ in 0..BURSTS {
            let before = voluntary_switches();
            make_spans(&tracer, BURST);
            switches += voluntary_switches() - before;
            if flush {
                self.provider.force_flush().expect("the worker catches up");
            }
        }
        let [calls, copies] = all.map(|times| {
            let mut times = times.lock().expect("another thread panicked");
            times.sort_unstable();
            [999, 500].map(|thousandth| times[times.len() * thousandth / 1000].as_nanos())
        });
        println!(
            "{what:<40} {:>8} ns at p99.9, {:>6} ns at p50; a copy {:>8} and {:>6}; {switches} switches, dropped {:?}",
            calls[0],
            calls[1],
            copies[0],
            copies[1],
            self.live.status().dropped
        );
    }
}

pub(crate) fn report() {
    println!(
        "\none call of on_start or on_end, of {} calls",
        2 * BURST * BURSTS
    );
    let host = Host::new();
    host.run("(warming up)", true);
    host.run("idle", true);
    with_readers(&host, || host.run("100 readers of everything", true));
    host.gate.set(true);
    host.run("the store hangs, the buffer fills", false);
    while host.live.status().dropped.ends == 0 {
        make_spans(&host.provider.tracer("bench"), BURST);
    }
    host.run("the store hangs, the buffer is full", false);
    host.gate.set(false);
}

/// Calls `run` while 100 readers on another thread follow all events.
fn with_readers(host: &Host, run: impl FnOnce()) {
    let (live, done) = (host.live.clone(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&done);
    let reading = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let readers = (0..100).map(|_| live.target().subscribe(Subscribe::all()));
            let mut all = futures_util::stream::select_all(readers.map(Box::pin));
            while !over.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(100), all.next());
                drop(next.await);
            }
        });
    });
    run();
    done.store(true, Ordering::Relaxed);
    reading.join().expect("the readers panicked");
}

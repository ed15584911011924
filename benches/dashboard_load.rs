//! The load behind `benches/dashboard.mjs`: a server that makes the requested spans. It reads one command per line from
//! standard input and answers each with one line of JSON. It runs on the bench's main thread.
//!
//! - `wide N`: one finished trace of about N spans, 24 leaves per step and 20 steps per batch
//! - `grouped N`: the same, but siblings share a name, so that the dashboard groups them
//! - `deep N`: one finished trace, N spans deep
//! - `busy N`: one running trace, with N ended spans so far
//! - `flood SPANS EVENTS SECONDS`: for SECONDS, SPANS per second in traces of five, and EVENTS per second in the busy
//!   trace
//! - `status`: the status of the log

use std::{
    io::{BufRead as _, Write as _},
    time::{Duration, Instant, SystemTime},
};

use livespan::{LiveSpans, MemoryEventStore, Retention};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};

const LEAVES: u64 = 24;
const STEPS: u64 = 20;
const TICK: Duration = Duration::from_millis(10);
/// Number of spans between two flushes. It is low enough that the log drops none.
const BURST: u64 = 2_000;
/// Unit of the duration of a leaf.
const WORK: Duration = Duration::from_micros(300);

fn main() {
    let retention = Retention::default()
        .events(1_000_000)
        .bytes(1024 * 1024 * 1024);
    let live = LiveSpans::builder()
        .store(MemoryEventStore::with_retention(retention))
        .build()
        .expect("livespan starts");
    let providers = ["orders", "payments", "stock"].map(|name| {
        SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(name).build())
            .with_span_processor(live.span_processor())
            .build()
    });
    let server = live
        .serve_in_background("127.0.0.1:0")
        .expect("the server listens");
    let mut load = Load {
        tracers: providers
            .each_ref()
            .map(|provider| provider.tracer("load::work")),
        providers,
        busy: None,
        made: 0,
    };
    print_line(&format!("{{\"url\":\"{}\"}}", server.url()));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match (words.first().copied(), number(1), number(2), number(3)) {
            (Some("wide"), Some(spans), ..) => {
                print_line(&trace(&load.wide(spans, Names::OfTheirOwn)));
            }
            (Some("grouped"), Some(spans), ..) => {
                print_line(&trace(&load.wide(spans, Names::OfAllSiblings)));
            }
            (Some("deep"), Some(depth), ..) => print_line(&trace(&load.deep(depth))),
            (Some("busy"), Some(spans), ..) => print_line(&trace(&load.start_busy(spans))),
            (Some("flood"), Some(spans), Some(events), Some(seconds)) => {
                load.flood(spans, events, Duration::from_secs(seconds));
                print_line(&format!("{{\"spans\":{}}}", load.made));
            }
            (Some("status"), ..) => {
                let status = format!("{:?}", live.status());
                print_line(&format!("{status:?}"));
            }
            _ => print_line("{\"error\":\"unknown line\"}"),
        }
    }
    live.shutdown().expect("livespan stops");
}

/// The names of the spans in a finished trace.
#[derive(Clone, Copy)]
enum Names {
    OfTheirOwn,
    OfAllSiblings,
}

fn print_line(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("stdout is open");
}

fn trace(context: &Context) -> String {
    format!(
        "{{\"trace\":\"{}\"}}",
        context.span().span_context().trace_id()
    )
}

struct Load {
    tracers: [SdkTracer; 3],
    providers: [SdkTracerProvider; 3],
    busy: Option<Context>,
    made: u64,
}

impl Load {
    fn tracer(&self, number: u64) -> &SdkTracer {
        &self.tracers[usize::try_from(number % 3).expect("the index is out of range")]
    }

    fn open(&self, name: String, number: u64, parent: &Context, start: SystemTime) -> Context {
        let tracer = self.tracer(number);
        let span = tracer
            .span_builder(name)
            .with_start_time(start)
            .with_attributes(attributes(number))
            .start_with_context(tracer, parent);
        parent.with_span(span)
    }

    /// Makes a finished leaf span; every 997th failed. Flushes after each [`BURST`] of spans.
    fn leaf(&mut self, name: String, parent: &Context, start: SystemTime, end: SystemTime) {
        let number = self.made;
        let tracer = self.tracer(number / LEAVES);
        let mut span = tracer
            .span_builder(name)
            .with_start_time(start)
            .with_attributes(attributes(number))
            .start_with_context(tracer, parent);
        if number.is_multiple_of(997) {
            span.set_status(Status::error("the card was declined"));
        }
        span.end_with_timestamp(end);
        self.made += 1;
        if self.made.is_multiple_of(BURST) {
            self.flush();
        }
    }

    fn flush(&self) {
        for provider in &self.providers {
            provider.force_flush().expect("the flush succeeds");
        }
    }

    fn wide(&mut self, spans: u64, names: Names) -> Context {
        let name = |what: &str, number: u64| match names {
            Names::OfTheirOwn => format!("{what} {number}"),
            Names::OfAllSiblings => what.to_owned(),
        };
        let mut now = SystemTime::now();
        let root = self.open("nightly settlement".to_owned(), 0, &Context::new(), now);
        for batch in 0..(spans / (STEPS * (LEAVES + 1) + 1)).max(1) {
            let batch_context = self.open(name("batch", batch), batch, &root, now);
            for step in 0..STEPS {
                let step_context = self.open(name("step", step), step, &batch_context, now);
                for leaf in 0..LEAVES {
                    let end = now + WORK * u32::try_from(1 + (leaf * 7 + step) % 9).expect("small");
                    self.leaf(name("SELECT order", leaf), &step_context, now, end);
                    now = end;
                }
                step_context.span().end_with_timestamp(now);
            }
            batch_context.span().end_with_timestamp(now);
        }
        root.span().end_with_timestamp(now);
        self.flush();
        root
    }

    fn deep(&mut self, depth: u64) -> Context {
        let begin = SystemTime::now();
        let mut contexts = vec![self.open("level 0".to_owned(), 0, &Context::new(), begin)];
        for level in 1..depth {
            let start = begin + Duration::from_micros(level);
            let parent = contexts.last().expect("there is no first span");
            contexts.push(self.open(format!("level {level}"), level, parent, start));
            if level.is_multiple_of(BURST) {
                self.flush();
            }
        }
        for (level, context) in contexts.iter().enumerate().rev() {
            let back = depth * 2 - u64::try_from(level).expect("the level fits");
            context
                .span()
                .end_with_timestamp(begin + Duration::from_micros(back));
        }
        self.flush();
        contexts.swap_remove(0)
    }

    fn start_busy(&mut self, spans: u64) -> Context {
        let root = self.open(
            "import catalogue".to_owned(),
            0,
            &Context::new(),
            SystemTime::now(),
        );
        self.busy = Some(root.clone());
        for _ in 0..spans {
            let now = SystemTime::now();
            self.leaf("import product".to_owned(), &root, now, now + WORK);
        }
        self.flush();
        root
    }

    /// Makes spans and events at an even pace, and catches up if the machine was late.
    fn flood(&mut self, spans: u64, events: u64, length: Duration) {
        let root = self.busy.clone().unwrap_or_default();
        let begin = Instant::now();
        let (mut in_traces, mut in_busy) = (0_u64, 0_u64);
        let mut page = self.open("page 0".to_owned(), 0, &root, SystemTime::now());
        while begin.elapsed() < length {
            let passed = u64::try_from(begin.elapsed().as_micros()).expect("the run took too long");
            while in_busy * 2 < events * passed / 1_000_000 {
                if in_busy.is_multiple_of(200) && in_busy > 0 {
                    page.span().end();
                    page = self.open(
                        format!("page {}", in_busy / 200),
                        in_busy,
                        &root,
                        SystemTime::now(),
                    );
                }
                let now = SystemTime::now();
                self.leaf("import product".to_owned(), &page, now, now + WORK);
                in_busy += 1;
            }
            while in_traces < spans * passed / 1_000_000 {
                let now = SystemTime::now();
                let request = self.open("GET /orders".to_owned(), in_traces, &Context::new(), now);
                for _ in 0..4 {
                    self.leaf("SELECT order".to_owned(), &request, now, now + WORK);
                }
                request.span().end();
                in_traces += 5;
            }
            std::thread::park_timeout(TICK);
        }
        page.span().end();
        self.flush();
    }
}

fn attributes(number: u64) -> Vec<KeyValue> {
    let number = i64::try_from(number).expect("the number fits");
    vec![
        KeyValue::new("order.id", format!("o-{number:07}")),
        KeyValue::new("order.items", number % 7),
        KeyValue::new("db.system", "postgresql"),
        KeyValue::new("cache.hit", number % 2 == 0),
    ]
}

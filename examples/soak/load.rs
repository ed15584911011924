//! The instrumented program: small traces at a fixed rate, some long traces for readers of one trace, and now and then
//! a burst that overflows the log's buffer. It runs on one task.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use livespan::LiveSpans;
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tokio::time::{MissedTickBehavior, interval};

use crate::{ledger::Ledger, random::Random};

/// Interval at which spans are made.
const TICK: Duration = Duration::from_millis(5);
/// A load that was delayed for longer than this does not make the missed spans, because that would be a burst.
const CATCH_UP: Duration = Duration::from_secs(2);
const SPANS_OF_SMALL_TRACE: u64 = 5;
const LONG_TRACES: usize = 24;
/// Number of ticks between two spans of a long trace.
const LONG_TICKS: u64 = 20;
const FIRST_BURST: Duration = Duration::from_secs(8);
const BURST_INTERVAL: Duration = Duration::from_secs(30);
const BURST_TRACES: u64 = 6_000;
/// Time after which the log has reported its drops.
const REPORT_TIME: Duration = Duration::from_secs(2);

/// A trace that lasts several seconds, with a known number of spans.
#[derive(Debug)]
pub(crate) struct LongTrace {
    pub(crate) id: String,
    spans: AtomicU64,
    over: AtomicBool,
    /// The number of events that the log had dropped before the trace began. `None` if a burst had just ended, because
    /// the log may report some of its drops later.
    pub(crate) dropped_before: Option<u64>,
}

impl LongTrace {
    #[cfg(test)]
    pub(crate) fn over(id: &str, spans: u64) -> Self {
        Self {
            id: id.to_owned(),
            spans: AtomicU64::new(spans),
            over: AtomicBool::new(true),
            dropped_before: Some(0),
        }
    }

    /// Returns the number of the trace's events, once all of them exist.
    pub(crate) fn events(&self) -> Option<u64> {
        let spans = self.spans.load(Ordering::Acquire);
        self.over.load(Ordering::Acquire).then_some(spans * 2)
    }
}

/// The long traces that are running, from which readers pick one.
#[derive(Debug, Default)]
pub(crate) struct LongTraces(Mutex<Vec<Arc<LongTrace>>>);

impl LongTraces {
    pub(crate) fn pick(&self, random: &mut Random) -> Option<Arc<LongTrace>> {
        let traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = random.below(traces.len() as u64);
        traces.get(usize::try_from(place).ok()?).map(Arc::clone)
    }

    fn set(&self, running: &[Running]) {
        let traces = running.iter().map(|one| Arc::clone(&one.trace));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = traces.collect();
    }
}

/// Returns the number of dropped events of all kinds.
pub(crate) fn dropped(live: &LiveSpans) -> u64 {
    let dropped = live.status().dropped;
    dropped.starts + dropped.ends + dropped.other
}

struct Running {
    trace: Arc<LongTrace>,
    root: Span,
    until: Instant,
    phase: u64,
}

/// The current state of the load.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    tick: u64,
    last_burst: Option<Instant>,
}

pub(crate) struct Load {
    pub(crate) live: LiveSpans,
    pub(crate) tracer: SdkTracer,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) traces: Arc<LongTraces>,
    pub(crate) rate: u64,
}

impl Load {
    /// Makes spans until the time is over, and ends all of them. Returns the number of spans made at the fixed rate.
    pub(crate) async fn run(self, length: Duration) -> u64 {
        let mut random = Random::new(7);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let mut running = Vec::new();
        let (mut made, mut due_from, mut tick) = (0_u64, start, 0_u64);
        // The number of spans due by now, in millionths of a span.
        let mut due = 0;
        let mut next_burst = start + FIRST_BURST;
        let mut last_burst = None;
        while start.elapsed() < length {
            ticks.tick().await;
            tick += 1;
            let now = Instant::now();
            let waited = now.duration_since(due_from).min(CATCH_UP);
            due_from = now;
            due += self.rate * u64::try_from(waited.as_micros()).unwrap_or(0);
            made += self.long_traces(
                &mut running,
                Moment {
                    now,
                    tick,
                    last_burst,
                },
                &mut random,
            );
            while made * 1_000_000 < due {
                self.small_trace(made);
                made += SPANS_OF_SMALL_TRACE;
            }
            if now >= next_burst {
                next_burst = now + BURST_INTERVAL;
                self.burst();
                last_burst = Some(Instant::now());
            }
        }
        self.traces.set(&[]);
        for one in running {
            Self::end(one);
        }
        made
    }

    fn small_trace(&self, number: u64) {
        let mut root = self
            .tracer
            .span_builder("GET /orders/{id}")
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.route", "/orders/{id}"),
                KeyValue::new("order", i64::try_from(number).unwrap_or(0)),
            ])
            .start_with_context(&self.tracer, &Context::new());
        let within = Context::new().with_remote_span_context(root.span_context().clone());
        for name in ["authorise", "load order", "SELECT orders", "render"] {
            let mut child = self
                .tracer
                .span_builder(name)
                .start_with_context(&self.tracer, &within);
            child.set_attribute(KeyValue::new("order", i64::try_from(number).unwrap_or(0)));
            child.end();
        }
        root.end();
        self.ledger.spans.add(SPANS_OF_SMALL_TRACE);
    }

    /// Makes more spans than the buffer holds, without a pause. The log must announce the dropped spans.
    fn burst(&self) {
        for number in 0..BURST_TRACES {
            self.small_trace(number);
        }
    }

    /// Advances the long traces by one tick. Returns the number of spans that it started.
    fn long_traces(&self, running: &mut Vec<Running>, moment: Moment, random: &mut Random) -> u64 {
        let Moment { now, tick, .. } = moment;
        let mut made = 0;
        for one in &*running {
            if (tick + one.phase).is_multiple_of(LONG_TICKS) {
                let context = one.root.span_context().clone();
                let within = Context::new().with_remote_span_context(context);
                let mut item = self
                    .tracer
                    .span_builder("pack item")
                    .start_with_context(&self.tracer, &within);
                one.trace.spans.fetch_add(1, Ordering::Release);
                item.end();
                made += 1;
            }
        }
        let before = running.len();
        for one in running.extract_if(.., |one| one.until <= now) {
            Self::end(one);
        }
        // A few long traces start per second, so that they do not all end together.
        if running.len() < LONG_TRACES && tick.is_multiple_of(LONG_TICKS) {
            running.push(self.begin(moment, random));
            made += 1;
        }
        if running.len() != before || made > 0 {
            self.traces.set(running);
        }
        self.ledger.spans.add(made);
        made
    }

    fn begin(&self, moment: Moment, random: &mut Random) -> Running {
        let is_reported = moment
            .last_burst
            .is_none_or(|burst| moment.now >= burst + REPORT_TIME);
        let dropped_before = is_reported.then(|| dropped(&self.live));
        let root = self
            .tracer
            .span_builder("ship order")
            .with_kind(SpanKind::Consumer)
            .start_with_context(&self.tracer, &Context::new());
        Running {
            trace: Arc::new(LongTrace {
                id: root.span_context().trace_id().to_string(),
                spans: AtomicU64::new(1),
                over: AtomicBool::new(false),
                dropped_before,
            }),
            root,
            until: moment.now + random.milliseconds(4_000..20_000),
            phase: random.below(LONG_TICKS),
        }
    }

    /// Sets the flag before the root ends. So readers know the number of events before they can see the last event.
    fn end(mut one: Running) {
        one.trace.over.store(true, Ordering::Release);
        one.root.end();
    }
}

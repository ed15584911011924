//! The thread `livespan-tasks`. It checks all spans that were entered, and reports their polls to viewers. It waits
//! only for its next check, and ends with the last layer.

use std::{
    mem,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use opentelemetry::Context;
use tokio::runtime::Id as RuntimeId;

use crate::{
    error::Error,
    otel::{
        log_registry::SpanSlots,
        tasks::{
            clock::monotonic_nanos,
            entered::{WatchedThread, running_threads},
            misuse::{self, HeldGuards},
            runtimes::{STUCK_AFTER, WatchedRuntime},
            span_polls::SpanPolls,
        },
    },
    util::{sync::lock, time::Timestamp},
};

/// The time between two checks.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// Upper bound on the spans that are watched at once. The polls of further spans are not reported.
const SPANS_MAX: usize = 65_536;

/// The state that the layers of this process share with the watcher.
#[derive(Debug)]
pub(super) struct TaskRegistry {
    pub(super) guards: HeldGuards,
    /// Spans that were first entered since the last check.
    new: Mutex<Vec<Weak<SpanPolls>>>,
}

impl TaskRegistry {
    fn new() -> Self {
        Self {
            guards: HeldGuards::default(),
            new: Mutex::default(),
        }
    }

    /// Adds a span that was entered for the first time, if it has an OpenTelemetry span and there is room.
    pub(super) fn watch(&self, polls: &Arc<SpanPolls>) {
        if !polls.span.is_valid() {
            return;
        }
        let mut new = lock(&self.new);
        if new.len() < SPANS_MAX {
            new.push(Arc::downgrade(polls));
        }
    }
}

/// Returns the registry of this process, and starts its thread if there is none.
pub(super) fn task_registry() -> Result<Arc<TaskRegistry>, Error> {
    static REGISTRY: Mutex<Weak<TaskRegistry>> = Mutex::new(Weak::new());
    let mut known = lock(&REGISTRY);
    if let Some(registry) = known.upgrade() {
        return Ok(registry);
    }
    let registry = Arc::new(TaskRegistry::new());
    let watched = Arc::downgrade(&registry);
    thread::Builder::new()
        .name("livespan-tasks".to_owned())
        .spawn(move || run(&watched))
        .map_err(|error| Error::io("start the livespan-tasks thread", error))?;
    *known = Arc::downgrade(&registry);
    Ok(registry)
}

fn run(registry: &Weak<TaskRegistry>) {
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    let mut watcher = Watcher::default();
    while let Some(registry) = registry.upgrade() {
        watcher.sample(&registry, Instant::now());
        drop(registry);
        thread::park_timeout(SAMPLE_INTERVAL);
    }
}

/// The state of the thread.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    spans: Vec<WatchedSpan>,
    runtimes: Vec<WatchedRuntime>,
}

#[derive(Debug)]
struct WatchedSpan {
    polls: Weak<SpanPolls>,
    /// Set one check after the one that added the span. Most spans are closed by then.
    slots: Option<SpanSlots>,
}

impl Watcher {
    /// Checks all spans and runtimes once.
    pub(super) fn sample(&mut self, registry: &TaskRegistry, now: Instant) {
        let threads = running_threads();
        self.sample_runtimes(&threads, now);
        let mut detector = BlockDetector::new(registry, &threads, &self.runtimes, now);
        self.spans.retain_mut(|span| span.sample(&mut detector));
        let room = SPANS_MAX.saturating_sub(self.spans.len());
        let new = mem::take(&mut *lock(&registry.new));
        self.spans.extend(
            new.into_iter()
                .take(room)
                .map(|polls| WatchedSpan { polls, slots: None }),
        );
        let blocked_with_span = detector.runtimes_with_span;
        for runtime in &mut self.runtimes {
            let count = runtime.take_unreported(now);
            if count > 0 && !blocked_with_span.contains(&runtime.id) {
                misuse::report_blocked(count);
            }
        }
        for guard in registry.guards.take_new() {
            misuse::report_held(&guard);
        }
    }

    fn sample_runtimes(&mut self, threads: &[Arc<WatchedThread>], now: Instant) {
        let handles: Vec<_> = threads
            .iter()
            .filter_map(|thread| thread.runtime())
            .collect();
        self.runtimes
            .retain(|runtime| handles.iter().any(|handle| handle.id() == runtime.id));
        for handle in &handles {
            match self
                .runtimes
                .iter_mut()
                .find(|runtime| runtime.id == handle.id())
            {
                Some(_) => {}
                None => self.runtimes.push(WatchedRuntime::new(handle, now)),
            }
        }
        for runtime in &mut self.runtimes {
            runtime.sample(now);
        }
    }
}

impl WatchedSpan {
    /// Reports the span's polls, if they changed. Returns whether the span is still open.
    fn sample(&mut self, detector: &mut BlockDetector<'_>) -> bool {
        let Some(polls) = self
            .polls
            .upgrade()
            .filter(|polls| !polls.counters.is_closed())
        else {
            return false;
        };
        let slots = self.slots.get_or_insert_with(|| {
            let slots = SpanSlots::of(&polls.span);
            slots.count_polls(&polls.counters);
            slots
        });
        detector.check(&polls);
        if polls.counters.has_changed() {
            // The worker reads the counters when it takes the slot.
            slots.note(|_| true);
        }
        true
    }
}

/// Decides which polls block a thread.
struct BlockDetector<'a> {
    registry: &'a TaskRegistry,
    threads: &'a [Arc<WatchedThread>],
    stuck: Vec<RuntimeId>,
    rested: Vec<RuntimeId>,
    now: u64,
    /// Runtimes that a watched span blocks.
    runtimes_with_span: Vec<RuntimeId>,
}

impl<'a> BlockDetector<'a> {
    fn new(
        registry: &'a TaskRegistry,
        threads: &'a [Arc<WatchedThread>],
        runtimes: &[WatchedRuntime],
        now: Instant,
    ) -> Self {
        let ids = |wanted: &dyn Fn(&WatchedRuntime) -> bool| {
            let wanted = runtimes.iter().filter(|runtime| wanted(runtime));
            wanted.map(|runtime| runtime.id).collect()
        };
        Self {
            registry,
            threads,
            stuck: ids(&|runtime| runtime.is_stuck(now)),
            rested: ids(&|runtime| runtime.has_rested(now)),
            now: monotonic_nanos(now),
            runtimes_with_span: Vec::new(),
        }
    }

    fn check(&mut self, polls: &SpanPolls) {
        let Some((begun, number)) = polls.counters.current_poll() else {
            return;
        };
        let lasted = Duration::from_nanos(self.now.saturating_sub(begun));
        if lasted < STUCK_AFTER {
            return;
        }
        let thread = self.threads.iter().find(|thread| thread.number == number);
        let Some((thread, runtime)) =
            thread.and_then(|thread| Some((thread, thread.runtime()?.id())))
        else {
            return;
        };
        if polls.is_in_runtime && self.stuck.contains(&runtime) {
            let nanos = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX);
            let since = Timestamp::from_nanos(Timestamp::now().nanos().saturating_sub(nanos));
            polls
                .counters
                .mark_blocking(begun, since, Arc::clone(&thread.name));
            self.runtimes_with_span.push(runtime);
        } else if polls.is_in_runtime && self.rested.contains(&runtime) {
            // All tasks of the single thread wait, but the span is still entered.
            self.registry.guards.note(&polls.span, polls.metadata);
        }
    }
}

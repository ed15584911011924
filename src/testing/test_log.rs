//! The log that all tests of a process share. There is only one, because each log has a thread of
//! its own. The first test creates it.

use std::{
    cell::Cell,
    env,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::{IdGenerator, SdkTracerProvider};
use tracing::{
    Dispatch,
    dispatcher::{self, DefaultGuard},
    level_filters::LevelFilter,
    subscriber::NoSubscriber,
};
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _};

use crate::{
    error::Error,
    init::{environment, setup::layer_of},
    live_spans::LiveSpans,
    otel::{LiveTracer, panic_hook::panic_hook},
    testing::{
        both_subscribers::{self, BothSubscribers},
        thread_context::{ResetTestContext, SetTestContext},
    },
};

/// How long records wait before the log's thread turns them into events, unless a report needs
/// them or half of the buffer is full. If the process ends within that time, the records of its
/// passing tests cost nothing more. Otherwise, many records together cost less than each alone.
const PROCESSING_DELAY: Duration = Duration::from_secs(60);

/// The log, and the subscriber that makes its spans.
#[derive(Debug)]
pub(super) struct TestLog {
    pub(super) live: LiveSpans,
    /// Makes the spans of tests.
    pub(super) tracer: LiveTracer,
    ids: TestIds,
    /// The subscriber whose spans and events are shown.
    dispatch: Dispatch,
}

/// Returns the log of this process, or `None` if it could not be created. No test should fail for
/// that reason.
pub(super) fn test_log() -> Option<&'static TestLog> {
    static LOG: OnceLock<Option<TestLog>> = OnceLock::new();
    LOG.get_or_init(|| TestLog::new().ok()).as_ref()
}

impl TestLog {
    fn new() -> Result<Self, Error> {
        let builder = LiveSpans::builder().processing_delay(PROCESSING_DELAY);
        // With `RUST_LOG`, the levels alone decide, also for targets that are hidden by default.
        let builder = if has_levels() {
            builder.filter(|_| true)
        } else {
            builder
        };
        let live = builder.build()?;
        let ids = TestIds::new();
        let provider = SdkTracerProvider::builder()
            .with_resource(environment::resource())
            .with_id_generator(ids.clone());
        let provider = live.tracer_provider(provider);
        let layer = SetTestContext
            .and_then(layer_of(&live, &provider))
            .and_then(ResetTestContext)
            .with_filter(levels());
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        // This fails if the program has set a global subscriber, which then stays in use.
        drop(dispatcher::set_global_default(dispatch.clone()));
        panic_hook();
        Ok(Self {
            live,
            tracer: provider.tracer("livespan::testing"),
            ids,
            dispatch,
        })
    }

    /// Chooses the id of the next trace that begins on this thread.
    pub(super) fn next_trace(&self) -> TraceId {
        let trace = self.ids.trace_id();
        NEXT_TRACE.set(Some(trace));
        trace
    }

    /// Makes the default of this thread forward to our subscriber, too. Does nothing if ours is the
    /// default, or if the default is `NoSubscriber`.
    pub(super) fn join_default(&self) -> Option<DefaultGuard> {
        let current = dispatcher::get_default(Dispatch::clone);
        let is_there = current.downcast_ref::<SetTestContext>().is_some();
        let is_wanted = !is_there && !current.is::<NoSubscriber>();
        is_wanted.then(|| dispatcher::set_default(&both_subscribers::both(&self.dispatch, current)))
    }
}

/// Returns whether the default subscriber of this thread is ours, forwards to ours, or is absent,
/// as within a call of `tracing`.
pub(super) fn is_shown_here() -> bool {
    dispatcher::get_default(|current| {
        current.downcast_ref::<SetTestContext>().is_some()
            || current.is::<BothSubscribers>()
            || current.is::<NoSubscriber>()
    })
}

/// Makes ids that differ within the process. The SDK's generator would be seeded anew for each
/// test, because a test runner starts a thread for each.
#[derive(Clone, Debug)]
struct TestIds(Arc<AtomicU64>);

thread_local! {
    /// The id of the next trace of this thread, if it was asked for in advance.
    static NEXT_TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
}

impl TestIds {
    fn new() -> Self {
        let seed = RandomState::new().hash_one(std::process::id());
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// Returns the next number of the `SplitMix64` sequence, whose period is 2⁶⁴.
    fn next(&self) -> u64 {
        let step = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // Zero is no valid id.
        (mixed ^ (mixed >> 31)).max(1)
    }

    fn trace_id(&self) -> TraceId {
        let id = (u128::from(self.next()) << 64) | u128::from(self.next());
        TraceId::from_bytes(id.to_be_bytes())
    }
}

impl IdGenerator for TestIds {
    fn new_trace_id(&self) -> TraceId {
        let asked_for = NEXT_TRACE.try_with(Cell::take).ok().flatten();
        asked_for.unwrap_or_else(|| self.trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.next().to_be_bytes())
    }
}

/// Returns the levels of `RUST_LOG`, or `debug` for all targets, because a detailed log of a failed
/// test is worth its length.
fn levels() -> Targets {
    if has_levels() {
        environment::levels()
    } else {
        Targets::new().with_default(LevelFilter::DEBUG)
    }
}

/// Returns whether the environment sets levels.
fn has_levels() -> bool {
    env::var_os("RUST_LOG").is_some_and(|levels| !levels.is_empty())
}

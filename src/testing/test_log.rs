//! The log that all tests of a process share. There is only one, because a log has a thread of its
//! own and most tests pass. The first test creates it.

use std::{env, sync::OnceLock, time::Duration};

use opentelemetry_sdk::trace::SdkTracerProvider;
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
    otel::{LiveTracerProvider, panic_hook::panic_hook},
    testing::{
        both_subscribers,
        thread_context::{ResetTestContext, SetTestContext},
    },
};

/// How long records wait before the log's thread turns them into events, unless a report needs
/// them. If a passing test's process ends within that time, its records cost nothing more.
/// Otherwise, many records together cost less than each alone.
const PROCESSING_DELAY: Duration = Duration::from_millis(500);

/// The log, and the subscriber that makes its spans.
#[derive(Debug)]
pub(super) struct TestLog {
    pub(super) live: LiveSpans,
    pub(super) provider: LiveTracerProvider,
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
        let live = LiveSpans::builder()
            .processing_delay(PROCESSING_DELAY)
            .build()?;
        let provider = SdkTracerProvider::builder().with_resource(environment::resource());
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
            provider,
            dispatch,
        })
    }

    /// Makes our subscriber a default of this thread, beside the existing one. Does nothing if it
    /// is already the default.
    pub(super) fn join_default(&self) -> Option<DefaultGuard> {
        let current = dispatcher::get_default(Dispatch::clone);
        let is_there = current.downcast_ref::<SetTestContext>().is_some();
        // A thread whose default is explicitly `NoSubscriber` keeps that default.
        let is_wanted = !is_there && !current.is::<NoSubscriber>();
        is_wanted.then(|| dispatcher::set_default(&both_subscribers::both(&self.dispatch, current)))
    }
}

/// Returns the levels of `RUST_LOG`, or `debug` for all targets, because a detailed log of a failed
/// test is worth its length.
fn levels() -> Targets {
    if env::var_os("RUST_LOG").is_some_and(|levels| !levels.is_empty()) {
        environment::levels()
    } else {
        Targets::new().with_default(LevelFilter::DEBUG)
    }
}

//! The log of the tests of a process: one for all of them, because a log has a thread of its own, and most tests pass. It
//! is made with the first test.

use std::{env, sync::OnceLock};

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{level_filters::LevelFilter, subscriber::set_global_default};
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _};

use crate::{
    error::Error,
    init::{environment, setup::layer_of},
    live_spans::LiveSpans,
    otel::{LiveTracerProvider, panic_hook::panic_hook},
    testing::thread_context::{ResetTestContext, SetTestContext},
};

/// The log, and what makes its spans.
#[derive(Debug)]
pub(super) struct TestLog {
    pub(super) live: LiveSpans,
    pub(super) provider: LiveTracerProvider,
}

/// Returns the log of this process; `None` if it could not be made, which no test should fail for.
pub(super) fn test_log() -> Option<&'static TestLog> {
    static LOG: OnceLock<Option<TestLog>> = OnceLock::new();
    LOG.get_or_init(|| TestLog::new().ok()).as_ref()
}

impl TestLog {
    fn new() -> Result<Self, Error> {
        let live = LiveSpans::builder().build()?;
        let provider = SdkTracerProvider::builder().with_resource(environment::resource());
        let provider = live.tracer_provider(provider);
        let layer = SetTestContext
            .and_then(layer_of(&live, &provider))
            .and_then(ResetTestContext)
            .with_filter(levels());
        // A subscriber of the program's own stays.
        drop(set_global_default(
            tracing_subscriber::registry().with(layer),
        ));
        panic_hook();
        Ok(Self { live, provider })
    }
}

/// Returns the levels of `RUST_LOG`, or `debug` for all targets: what a failed test did is worth more than a short log.
fn levels() -> Targets {
    if env::var_os("RUST_LOG").is_some_and(|levels| !levels.is_empty()) {
        environment::levels()
    } else {
        Targets::new().with_default(LevelFilter::DEBUG)
    }
}

//! What tests of every part share: nothing waits for ever.

use std::{
    error::Error,
    future::Future,
    time::{Duration, Instant},
};

/// The backstop of every wait; no test is expected to reach it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the future on a current-thread runtime, as a small program would.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, future)
            .await
            .expect("the wait is over in time")
    })
}

/// Waits until the condition holds.
pub(crate) fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "the condition holds in time");
        std::thread::yield_now();
    }
}

/// The messages of an error and of its causes, in order: each says only its own part.
pub(crate) fn causes(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        messages.push(cause.to_string());
        source = cause.source();
    }
    messages
}

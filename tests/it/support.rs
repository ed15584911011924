//! Helpers that all integration tests share. No helper waits for ever.

use std::{
    error::Error,
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

/// Upper bound on every wait. No test should reach it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the root folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .expect("these tests are not in the workspace")
}

/// Runs the future on a current-thread runtime, as a small program would.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, future)
            .await
            .expect("the future did not complete in time")
    })
}

/// Waits until the condition holds, and checks it once a millisecond. Without that pause, the loop
/// would take the processor and the locks of the condition from the threads that it waits for.
pub(crate) fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "the condition did not come true in time"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Returns the messages of an error and of its causes, in order. Each error must return only its
/// own message.
pub(crate) fn causes(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        messages.push(cause.to_string());
        source = cause.source();
    }
    messages
}

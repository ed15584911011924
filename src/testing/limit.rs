//! The time that a test may take before it is reported. Each such test has a thread that waits for it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use crate::{
    testing::{
        active_test::ActiveTest,
        failure_report::{self, FailureCause},
    },
    util::sync::lock,
};

/// Whether the test is over.
type IsOver = (Mutex<bool>, Condvar);

/// Ends the wait when it is dropped.
#[derive(Debug)]
pub(super) struct TimeLimit(Arc<IsOver>);

impl TimeLimit {
    /// Reports the test when it has run for this long. If no thread can be started, the test runs without a limit.
    pub(super) fn watch(test: &Arc<ActiveTest>, limit: Duration) -> Self {
        let is_over = Arc::<IsOver>::default();
        let (waited, test) = (Arc::clone(&is_over), Arc::downgrade(test));
        let watch = move || wait(&waited, &test, limit);
        let thread = thread::Builder::new().name("livespan-test-limit".to_owned());
        drop(thread.spawn(watch));
        Self(is_over)
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

fn wait((is_over, changed): &IsOver, test: &Weak<ActiveTest>, limit: Duration) {
    let waited = changed.wait_timeout_while(lock(is_over), limit, |is_over| !*is_over);
    let (is_over, _) = waited.unwrap_or_else(PoisonError::into_inner);
    if *is_over {
        return;
    }
    drop(is_over);
    if let Some(test) = test.upgrade() {
        failure_report::report_to_process(&test, FailureCause::Limit(limit));
    }
}

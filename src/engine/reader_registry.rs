//! The registry of readers: their number, and which of them wait for the store. A store may never answer, and the log
//! has no runtime that could wake a waiting reader. So after the end of the log, the worker thread wakes these readers
//! until all are gone. There is a time limit, because a leaked reader is never dropped. Readers register on their own
//! tasks. The lock is never held while a waker runs.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    log::waker::{WakeFlag, WakeSet},
    util::sync::{Condvar, Instant, Mutex, lock},
};

/// Lower bound on the time between two wake-ups.
const WAKE_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Bounds on the time in which waiting readers are woken after the end of the log.
pub(crate) const WAKE_TIME_MIN: Duration = Duration::from_secs(60);
pub(crate) const WAKE_TIME_MAX: Duration = Duration::from_secs(600);

/// Returns for how long to wake readers after the end of the log: three times `patience`, within the bounds. `patience`
/// is the time within which the store must answer; a waiting reader ends within twice that time.
pub(crate) fn wake_time(patience: Duration) -> Duration {
    patience
        .saturating_mul(3)
        .clamp(WAKE_TIME_MIN, WAKE_TIME_MAX)
}

#[derive(Debug, Default)]
pub(crate) struct ReaderRegistry {
    count: Mutex<usize>,
    all_gone: Condvar,
    waiting_for_store: WakeSet,
}

impl ReaderRegistry {
    pub(crate) fn count(&self) -> usize {
        *lock(&self.count)
    }

    pub(crate) fn register(&self) {
        *lock(&self.count) += 1;
    }

    pub(crate) fn unregister(&self) {
        let mut count = lock(&self.count);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.all_gone.notify_all();
        }
    }

    /// Registers a reader that waits for the store.
    pub(crate) fn wait_for_store(&self, flag: &Arc<WakeFlag>) {
        self.waiting_for_store.join(flag);
    }

    pub(crate) fn stop_waiting(&self, flag: &Arc<WakeFlag>) {
        self.waiting_for_store.leave(flag);
    }

    /// Wakes the readers that wait for the store, so that they check whether the log has ended.
    pub(crate) fn wake_waiting(&self) {
        self.waiting_for_store.wake();
    }

    /// Wakes the readers that wait for the store, once in each `patience`, until no reader is left or `time` has
    /// passed. Returns the number of readers that are left.
    pub(crate) fn wake_until_gone(&self, patience: Duration, time: Duration) -> usize {
        let begun = Instant::now();
        let mut count = lock(&self.count);
        while *count > 0 {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            let interval = patience.max(WAKE_INTERVAL_MIN).min(left);
            let waited = self.all_gone.wait_timeout(count, interval);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            self.waiting_for_store.wake();
            count = lock(&self.count);
        }
        *count
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn waiting_readers_are_woken_until_the_last_reader_is_gone() {
        let readers = ReaderRegistry::default();
        let flag = Arc::new(WakeFlag::default());
        readers.register();
        readers.register();
        readers.wait_for_store(&flag);
        let context = Context::from_waker(Waker::noop());
        std::thread::scope(|scope| {
            scope.spawn(|| readers.wake_until_gone(Duration::ZERO, WAKE_TIME_MAX));
            for _ in 0..3 {
                while flag.poll_notified(&context) == Poll::Pending {
                    std::thread::yield_now();
                }
            }
            readers.stop_waiting(&flag);
            readers.unregister();
            assert_eq!(readers.count(), 1);
            readers.unregister();
        });
        assert_eq!(readers.count(), 0);
    }

    #[test]
    fn a_reader_that_was_leaked_is_given_up_after_a_bounded_time() {
        let readers = ReaderRegistry::default();
        readers.register();
        readers.register();
        let time = Duration::from_millis(30);
        let begun = Instant::now();
        assert_eq!(readers.wake_until_gone(Duration::MAX, time), 2);
        assert!(begun.elapsed() >= time);
        readers.unregister();
        assert_eq!(readers.wake_until_gone(Duration::ZERO, time), 1);
    }

    #[test]
    fn the_wake_time_covers_the_store_and_has_bounds() {
        let times = [0, 3, 50, 1_000].map(|seconds| wake_time(Duration::from_secs(seconds)));
        let expected = [60, 60, 150, 600].map(Duration::from_secs);
        assert_eq!(times, expected);
        assert_eq!(wake_time(Duration::MAX), WAKE_TIME_MAX);
    }
}

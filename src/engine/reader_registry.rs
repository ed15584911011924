//! The registry of readers: how many there are, and which of them wait for the store. A store may never answer, and a
//! reader has no runtime that could wake it. So when the log has ended, the worker thread wakes those readers until all
//! are gone. Readers register on their own tasks; the lock is never held while a waker runs.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    log::waker::{WakeFlag, WakeSet},
    util::sync::{Condvar, Mutex, lock},
};

/// Lower bound on the time between two wake-ups.
const WAKE_INTERVAL_MIN: Duration = Duration::from_millis(10);

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

    /// Wakes the readers that wait for the store, so that they check for something else.
    pub(crate) fn wake_waiting(&self) {
        self.waiting_for_store.wake();
    }

    /// Wakes the readers that wait for the store, again and again, until no reader is left.
    pub(crate) fn wake_until_gone(&self, patience: Duration) {
        let mut count = lock(&self.count);
        while *count > 0 {
            let waited = self
                .all_gone
                .wait_timeout(count, patience.max(WAKE_INTERVAL_MIN));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            self.waiting_for_store.wake();
            count = lock(&self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_waits_is_woken_until_the_last_reader_has_gone() {
        let readers = ReaderRegistry::default();
        let flag = Arc::new(WakeFlag::default());
        readers.register();
        readers.register();
        readers.wait_for_store(&flag);
        let context = Context::from_waker(Waker::noop());
        std::thread::scope(|scope| {
            scope.spawn(|| readers.wake_until_gone(Duration::ZERO));
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
}

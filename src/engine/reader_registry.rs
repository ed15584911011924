//! Who reads the log: how many, and which of them wait for the store. A store may never answer, and a reader needs no
//! runtime that could wake it: so when the log has ended, its own thread, which has nothing else left to do, wakes those
//! that wait until they are gone.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    log::stream_index::{WakeFlag, WakeSet},
    util::sync::{Condvar, Mutex, lock},
};

/// How often those that wait are woken at most.
const REST: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(crate) struct ReaderRegistry {
    count: Mutex<usize>,
    all_gone: Condvar,
    waiting: WakeSet,
}

impl ReaderRegistry {
    pub(crate) fn count(&self) -> usize {
        *lock(&self.count)
    }

    pub(crate) fn come(&self) {
        *lock(&self.count) += 1;
    }

    pub(crate) fn go(&self) {
        let mut count = lock(&self.count);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.all_gone.notify_all();
        }
    }

    /// Begins to wait for the store.
    pub(crate) fn wait_for_store(&self, bell: &Arc<WakeFlag>) {
        self.waiting.join(bell);
    }

    pub(crate) fn stop_waiting(&self, bell: &Arc<WakeFlag>) {
        self.waiting.leave(bell);
    }

    /// Wakes those that wait for the store, to look at something else.
    pub(crate) fn wake_waiting(&self) {
        self.waiting.wake();
    }

    /// Wakes those that wait for the store, again and again, until nobody reads any more.
    pub(crate) fn let_go(&self, patience: Duration) {
        let mut count = lock(&self.count);
        while *count > 0 {
            let waited = self.all_gone.wait_timeout(count, patience.max(REST));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            self.waiting.wake();
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
        let bell = Arc::new(WakeFlag::default());
        readers.come();
        readers.come();
        readers.wait_for_store(&bell);
        let context = Context::from_waker(Waker::noop());
        std::thread::scope(|scope| {
            scope.spawn(|| readers.let_go(Duration::ZERO));
            for _ in 0..3 {
                while bell.poll_rung(&context) == Poll::Pending {
                    std::thread::yield_now();
                }
            }
            readers.stop_waiting(&bell);
            readers.go();
            assert_eq!(readers.count(), 1);
            readers.go();
        });
        assert_eq!(readers.count(), 0);
    }
}

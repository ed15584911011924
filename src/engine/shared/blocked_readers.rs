//! The readers of a shared store whose last read failed. Once a follower has read the store, they read again. Readers
//! register on their own tasks; the follower threads wake them.

use std::sync::Arc;

use crate::{
    log::waker::{WakeFlag, WakeSet},
    util::sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

#[derive(Debug, Default)]
pub(crate) struct BlockedReaders {
    flags: WakeSet,
    /// Whether a reader has registered since the last wake-up.
    is_waiting: AtomicBool,
    /// How often the readers were woken.
    rounds: AtomicU64,
}

impl BlockedReaders {
    /// Registers a reader. Returns a number that [`rounds`](Self::rounds) exceeds once the store was read again.
    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>) -> u64 {
        let rounds = self.rounds();
        self.flags.join(wake_flag);
        // Set last: the thread that clears this flag wakes the readers that registered before it was set.
        self.is_waiting.store(true, Ordering::Release);
        rounds
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>) {
        self.flags.leave(wake_flag);
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// Called after the store was read. Wakes the readers that have registered since the last call.
    pub(crate) fn wake(&self) {
        if self.is_waiting.load(Ordering::Relaxed) && self.is_waiting.swap(false, Ordering::Acquire)
        {
            self.rounds.fetch_add(1, Ordering::Release);
            self.flags.wake();
        }
    }
}

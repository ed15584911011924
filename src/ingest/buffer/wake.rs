//! How the worker thread sleeps, and who wakes it. Host threads wake it only if it sleeps or a shard is half full, and
//! they never wait for it.

use std::time::Duration;

use crate::{
    ingest::buffer::{push::IngestBuffer, shard::FillLevel},
    util::sync::{Instant, atomic::Ordering, thread},
};

impl IngestBuffer {
    pub(crate) fn attach_worker(&self) {
        // There is never a second worker, so the first one stays attached.
        drop(self.worker.set(thread::current()));
    }

    /// Parks until a record arrives or the time has passed. Returns at once if a record numbered `cut` or later is
    /// there already, or if someone has called [`wake_now`](Self::wake_now).
    pub(crate) fn park_until_work(&self, cut: u64, timeout: Duration) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.next_number() == cut
            && !self.is_closed()
            && !self.urgent.swap(false, Ordering::SeqCst)
        {
            thread::park_timeout(timeout);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Parks for this time, so that records gather into a batch. Returns earlier if someone has called
    /// [`wake_now`](Self::wake_now).
    pub(crate) fn park_batch(&self, timeout: Duration) {
        if !self.urgent.swap(false, Ordering::SeqCst) && !self.is_closed() {
            thread::park_timeout(timeout);
        }
    }

    /// Parks for the whole time, even if someone calls [`wake_now`](Self::wake_now). Returns earlier only if the log is
    /// shut down.
    pub(crate) fn back_off(&self, time: Duration) {
        let begun = Instant::now();
        while !self.is_closed() {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Returns whether a caller waits for the worker, or a shard is half full.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) || self.is_closed()
    }

    /// Wakes the worker at once, whichever of these methods it is in.
    pub(crate) fn wake_now(&self) {
        self.urgent.store(true, Ordering::SeqCst);
        self.asleep.store(false, Ordering::SeqCst);
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    #[inline]
    pub(super) fn wake_if_asleep(&self, fill: FillLevel) {
        let asleep = self.asleep.load(Ordering::SeqCst);
        if asleep || fill == FillLevel::OverHalf {
            self.wake(fill);
        }
    }

    #[cold]
    pub(super) fn wake(&self, fill: FillLevel) {
        let asleep = self.asleep.swap(false, Ordering::SeqCst);
        let urgent = fill == FillLevel::OverHalf && !self.urgent.swap(true, Ordering::SeqCst);
        if let (true, Some(worker)) = (asleep || urgent, self.worker.get())
            && !self.is_forked()
        {
            worker.unpark();
        }
    }
}

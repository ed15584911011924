//! How many spans have ended, for who asks: counted on the worker, read anywhere.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: AtomicU64,
}

impl Tally {
    pub(crate) fn count_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Ended spans that were translated, whether or not the store took them.
    #[cfg(feature = "metrics")]
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

//! Bounds the memory of the requests that are being read or wait for the worker. Any thread may use
//! it; no call blocks.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bytes that all requests together may use.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: AtomicUsize,
    max: usize,
}

/// There is no room now. There will be room when other requests are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl MemoryBudget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max,
        })
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns a share of zero bytes.
    pub(crate) fn share(self: &Arc<Self>) -> MemoryShare {
        MemoryShare {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// The bytes that one request uses. They are returned when this is dropped.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryShare {
    /// Adds bytes to the share, or adds nothing and returns an error. While no other request uses
    /// memory, the budget may be exceeded: the request's own bounds still apply.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        let is_alone = used == self.bytes;
        if !is_alone && used.saturating_add(bytes) > self.budget.max {
            self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(NoRoom);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_the_bound_and_one_alone_may_exceed_it() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.share();
        assert_eq!(first.grow(60), Ok(()));
        let mut second = budget.share();
        assert_eq!(second.grow(41), Err(NoRoom));
        assert_eq!(second.grow(40), Ok(()));
        assert_eq!(first.grow(1), Err(NoRoom));
        drop(second);
        assert_eq!(first.grow(1_000), Ok(()));
        assert_eq!(budget.used(), 1_060);
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}

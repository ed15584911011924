//! The counters that all clients share, and the violations found.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Upper bound on the violations that are printed. Further ones are only counted.
const NAMED_MAX: usize = 100;

/// A counter that many tasks increment.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) spans: Count,
    pub(crate) events: Count,
    pub(crate) bytes: Count,
    pub(crate) fresh: Count,
    pub(crate) resumed: Count,
    pub(crate) stalls: Count,
    pub(crate) gaps: Count,
    pub(crate) lost: Count,
    pub(crate) traces: Count,
    pub(crate) traces_counted: Count,
    pub(crate) announced_drops: Count,
    violations: Count,
    named: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn violate(&self, what: String) {
        self.violations.add(1);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED_MAX {
            eprintln!("violation: {what}");
            named.push(what);
        }
    }

    pub(crate) fn violations(&self) -> u64 {
        self.violations.get()
    }

    pub(crate) fn named(&self) -> Vec<String> {
        self.named
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

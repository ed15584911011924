//! Threads, locks, atomics and the clock: the standard library's. What one thread of the log sees of another goes through
//! here, so that the models in `tests/loom` and `tests/simulation` can put their own in its place.

pub(crate) mod locks;
pub(crate) mod spin;

use std::cell::Cell;
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, mpsc},
    thread,
    time::Instant,
};

pub(crate) use crate::util::sync::{
    locks::{catch_panic, lock, read, write},
    spin::SpinMutex,
};

/// Counts for as long as the process lives: the standard library's in models, too.
pub(crate) type StaticCounter = atomic::AtomicU64;

/// Tells threads apart as they come: 0 for the first that asks here, 1 for the next one.
pub(crate) fn thread_number() -> usize {
    static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // A thread that is being torn down has none of its own any more.
    NUMBER
        .try_with(|number| {
            number.get().unwrap_or_else(|| {
                let next = NEXT.fetch_add(1, atomic::Ordering::Relaxed);
                number.set(Some(next));
                next
            })
        })
        .unwrap_or(0)
}

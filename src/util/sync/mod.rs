//! Threads, locks, atomics and the clock of the standard library. All state that threads of the log share goes through
//! here, so that the models in `tests/loom` and `tests/simulation` can replace it.

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

/// Counts during the whole life of the process: it is the standard library's in models, too.
pub(crate) type StaticCounter = atomic::AtomicU64;

/// Numbers threads in the order of their first call: 0, 1, 2 …
pub(crate) fn thread_number() -> usize {
    static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // A thread that is ending has no thread-locals any more.
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

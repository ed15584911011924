//! Re-exports threads, locks, atomics and the clock of the standard library. All code of the log must take them from
//! here, so that the models in `tests/loom` and `tests/simulation` can replace them. Any thread uses them.

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

/// A counter in a static. It outlives one run of a model, so models use the standard library's type for it, too.
pub(crate) type StaticCounter = atomic::AtomicU64;

/// Returns this thread's number. Threads are numbered in the order of their first call: 0, 1, 2 …
pub(crate) fn thread_number() -> usize {
    static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // A thread that is ending may have no thread-locals any more. It gets the number 0.
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

/// Returns `SIZE` zeros. In a debug build, a constant array takes a fraction of the time that as many calls of a
/// constructor take. Each process with `trace_test!` makes 2,048 of them.
pub(crate) fn zeros<const SIZE: usize>() -> Box<[atomic::AtomicU64]> {
    Box::new([const { atomic::AtomicU64::new(0) }; SIZE])
}

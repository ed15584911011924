//! Locks that ignore poisoning, and calls that catch a panic. A panic in one of our threads must not spread to the
//! host's threads. Every value behind our locks is valid at each step, so a poisoned lock can be entered. Any thread
//! uses them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{PoisonError, TryLockError},
};

use crate::util::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Returns `None` only while another thread writes, or waits to write.
pub(crate) fn try_read<T>(lock: &RwLock<T>) -> Option<RwLockReadGuard<'_, T>> {
    match lock.try_read() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Runs code whose panic must not end its thread. Returns `None` if it panicked.
pub(crate) fn catch_panic<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_is_read_and_a_taken_one_is_not() {
        let value = RwLock::new(1);
        let panicked = catch_panic(|| {
            let _held = write(&value);
            panic!("a writer of a test panics");
        });
        assert_eq!(panicked, None::<()>);
        assert_eq!(try_read(&value).map(|value| *value), Some(1));
        let held = write(&value);
        assert!(try_read(&value).is_none());
        drop(held);
    }
}

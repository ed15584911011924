//! Locks that ignore poisoning, and calls that catch a panic. A panic in one of our threads must not spread to the
//! host's threads. Every value behind our locks is valid at each step, so a poisoned lock can be entered. Any thread
//! uses them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
};

use crate::util::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Runs code whose panic must not end its thread. Returns `None` if it panicked.
pub(crate) fn catch_panic<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

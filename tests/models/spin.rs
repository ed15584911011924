//! Replaces the crate's `SpinMutex` in a model by the model's own lock. That lock does not spin,
//! and shows the model which thread waits.

use std::sync::TryLockError;

use super::{Mutex, MutexGuard, lock};

#[derive(Debug)]
pub(crate) struct SpinMutex<T>(Mutex<T>);

impl<T> SpinMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Enters a poisoned lock, like the crate's own spin lock after a panic.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.0)
    }
}

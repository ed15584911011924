//! The crate's `SpinMutex` in a model: the model's own lock, which knows who waits and does not spin.

use std::sync::TryLockError;

use super::{Mutex, MutexGuard, lock};

#[derive(Debug)]
pub(crate) struct SpinMutex<T>(Mutex<T>);

impl<T> SpinMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// A thread that panicked in it is no reason not to go on, as it is none for the crate's.
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

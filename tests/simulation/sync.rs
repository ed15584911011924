//! Replaces [`crate::util::sync`] on a simulated machine. At each use of a lock, an atomic or a
//! channel, the simulation may switch to another task. Time is simulated, too.

#[path = "../../src/util/sync/locks.rs"]
mod locks;
#[path = "../models/spin.rs"]
mod spin;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

pub(crate) use shuttle::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};

pub(crate) use self::{
    locks::{catch_panic, lock, read, write},
    spin::SpinMutex,
};
use crate::clock;

/// A counter for statics, which outlive a run.
pub(crate) type StaticCounter = std::sync::atomic::AtomicU64;

/// Returns `SIZE` zeros.
pub(crate) fn zeros<const SIZE: usize>() -> Box<[atomic::AtomicU64]> {
    (0..SIZE).map(|_| atomic::AtomicU64::new(0)).collect()
}

/// Returns the number of this task.
pub(crate) fn thread_number() -> usize {
    shuttle::current::get_current_task().map_or(0, usize::from)
}

/// A point in simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(clock::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub(crate) fn duration_since(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn checked_add(self, time: Duration) -> Option<Self> {
        self.0.checked_add(time).map(Self)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.saturating_duration_since(rhs)
    }
}

pub(crate) mod thread {
    use std::time::Duration;

    pub(crate) use shuttle::thread::{Builder, JoinHandle, Thread, current, park, yield_now};

    use crate::clock::Alarm;

    pub(crate) fn park_timeout(time: Duration) {
        let _alarm = Alarm::set(time);
        park();
    }
}

/// A condition variable whose timeouts pass in simulated time.
#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

/// The result of a wait with a time limit. This program never reads it.
#[derive(Debug)]
pub(crate) struct WaitTimeoutResult;

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signatures are the standard library's"
)]
impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> std::sync::LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> std::sync::LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let alarm = clock::Alarm::for_condvar(time, &self.0);
        let guard = if alarm.is_over() {
            guard
        } else {
            self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
        };
        Ok((guard, WaitTimeoutResult))
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> std::sync::LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let alarm = clock::Alarm::for_condvar(time, &self.0);
        while condition(&mut guard) && !alarm.is_over() {
            guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, WaitTimeoutResult))
    }
}

/// A bounded channel like the standard library's. Shuttle's own channel does not support timeouts.
pub(crate) mod mpsc {
    use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

    pub(crate) use std::sync::mpsc::RecvTimeoutError;
    use std::sync::mpsc::{SendError, TrySendError};

    use super::{Condvar, Mutex, PoisonError, lock};
    use crate::clock::Alarm;

    struct Channel<T> {
        state: Mutex<State<T>>,
        changed: Condvar,
    }

    struct State<T> {
        queue: VecDeque<T>,
        bound: usize,
        senders: usize,
        is_received: bool,
    }

    pub(crate) struct SyncSender<T>(Arc<Channel<T>>);
    pub(crate) struct Receiver<T>(Arc<Channel<T>>);

    pub(crate) fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
        let state = State {
            queue: VecDeque::new(),
            bound,
            senders: 1,
            is_received: true,
        };
        let channel = Arc::new(Channel {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        (SyncSender(Arc::clone(&channel)), Receiver(channel))
    }

    impl<T> SyncSender<T> {
        pub(crate) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
            let mut state = lock(&self.0.state);
            if !state.is_received {
                return Err(TrySendError::Disconnected(item));
            }
            if state.queue.len() >= state.bound {
                return Err(TrySendError::Full(item));
            }
            state.queue.push_back(item);
            drop(state);
            self.0.changed.notify_all();
            Ok(())
        }

        pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
            let mut state = lock(&self.0.state);
            while state.is_received && state.queue.len() >= state.bound {
                state = self
                    .0
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if !state.is_received {
                return Err(SendError(item));
            }
            state.queue.push_back(item);
            drop(state);
            self.0.changed.notify_all();
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn recv_timeout(&self, time: Duration) -> Result<T, RecvTimeoutError> {
            self.receive(Some(time))
        }

        fn receive(&self, time: Option<Duration>) -> Result<T, RecvTimeoutError> {
            let alarm = time.map(|time| Alarm::for_condvar(time, &self.0.changed.0));
            let mut state = lock(&self.0.state);
            loop {
                if let Some(item) = state.queue.pop_front() {
                    drop(state);
                    self.0.changed.notify_all();
                    return Ok(item);
                }
                if state.senders == 0 {
                    return Err(RecvTimeoutError::Disconnected);
                }
                if alarm.as_ref().is_some_and(Alarm::is_over) {
                    return Err(RecvTimeoutError::Timeout);
                }
                state = self
                    .0
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    impl<T> IntoIterator for Receiver<T> {
        type Item = T;
        type IntoIter = Iter<T>;

        fn into_iter(self) -> Iter<T> {
            Iter(self)
        }
    }

    pub(crate) struct Iter<T>(Receiver<T>);

    impl<T> Iterator for Iter<T> {
        type Item = T;

        fn next(&mut self) -> Option<T> {
            self.0.receive(None).ok()
        }
    }

    impl<T> Drop for SyncSender<T> {
        fn drop(&mut self) {
            lock(&self.0.state).senders -= 1;
            self.0.changed.notify_all();
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            lock(&self.0.state).is_received = false;
            self.0.changed.notify_all();
        }
    }

    impl<T> fmt::Debug for SyncSender<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SyncSender").finish_non_exhaustive()
        }
    }

    impl<T> fmt::Debug for Receiver<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Receiver").finish_non_exhaustive()
        }
    }
}

//! A spin lock for critical sections that copy a few bytes. Host threads only call `try_lock`, which never waits. Only
//! the worker thread waits for the lock.

use std::time::Duration;

use spin::mutex::{SpinMutex as Inner, SpinMutexGuard};

use crate::util::sync::thread;

/// Number of tries before the thread yields, and of yields before it sleeps. It must sleep: a holder of lower priority
/// gets no processor while a thread of higher priority can run.
const SPINS: u32 = 32;
const YIELDS: u32 = 64;
const PAUSE: Duration = Duration::from_micros(50);

/// A spin lock. Unlocking is a plain release store. `std::sync::Mutex` unlocks with an atomic swap, which must wait for
/// the CPU's store buffer to drain: a host thread would then wait for its own earlier writes.
#[derive(Debug)]
pub(crate) struct SpinMutex<T>(Inner<T>);

impl<T> SpinMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    /// Locks without waiting. Returns `None` while another thread holds the lock.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<SpinMutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Waits for the lock. The holder may have lost its processor, so a waiting thread yields and sleeps. Host threads
    /// must not call this.
    pub(crate) fn lock(&self) -> SpinMutexGuard<'_, T> {
        let mut tries = 0;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            tries += 1;
            if tries < SPINS {
                std::hint::spin_loop();
            } else if tries < SPINS + YIELDS {
                thread::yield_now();
            } else {
                // This may consume an unpark that was meant for another wait. No wake-up is lost: the thread checks the
                // condition of that wait before it parks again.
                thread::park_timeout(PAUSE);
                tries = SPINS;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn only_one_thread_holds_the_lock() {
        let counter = Arc::new(SpinMutex::new(0));
        let (enter, entered) = mpsc::channel();
        let guard = counter.lock();
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (counter, enter) = (Arc::clone(&counter), enter.clone());
                thread::spawn(move || {
                    assert!(counter.try_lock().is_none());
                    enter.send(()).unwrap();
                    for _ in 0..1000 {
                        *counter.lock() += 1;
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            entered.recv().unwrap();
        }
        assert_eq!(*guard, 0);
        drop(guard);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(*counter.lock(), 3000);
    }

    #[test]
    fn a_panic_releases_the_lock() {
        let value = SpinMutex::new(1);
        let panicked = crate::util::sync::catch_panic(|| {
            let _held = value.lock();
            panic!("a holder of a test panics");
        });
        assert_eq!(panicked, None::<()>);
        assert_eq!(*value.try_lock().unwrap(), 1);
    }
}

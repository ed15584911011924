//! A lock for what is held for the time of a copy.

use std::time::Duration;

use spin::mutex::{SpinMutex as Inner, SpinMutexGuard};

use crate::util::sync::thread;

/// Tries before the processor is given up for another thread, and before it is given up for a time: who is in the lock may
/// be of a lower priority, and get none as long as someone else can run.
const SPINS: u32 = 32;
const YIELDS: u32 = 64;
const PAUSE: Duration = Duration::from_micros(50);

/// To leave it is one store. To leave a `std::sync::Mutex` is an exchange, which waits until all that was written before
/// has reached the cache: so a thread of the host would wait for what it wrote for another.
#[derive(Debug)]
pub(crate) struct SpinMutex<T>(Inner<T>);

impl<T> SpinMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    /// `None` while another thread is in it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<SpinMutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Waits for it. Who is in it may have lost its processor, so this gives up its own: not for the host's threads.
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
                // Whoever is unparked here looks at what it was unparked for before it parks.
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
    fn one_thread_at_a_time_is_in_it_and_the_other_waits() {
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
    fn a_panic_leaves_it_open() {
        let value = SpinMutex::new(1);
        let panicked = crate::util::sync::catch_panic(|| {
            let _held = value.lock();
            panic!("a holder of a test panics");
        });
        assert_eq!(panicked, None::<()>);
        assert_eq!(*value.try_lock().unwrap(), 1);
    }
}

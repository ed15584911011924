//! Wakes readers: a wake flag for each reader, and sets of flags that are raised together. The publishing thread raises
//! them; the readers' tasks poll them. A panic in one reader's waker must never affect other readers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::util::sync::{
    Mutex, StaticCounter,
    atomic::{AtomicBool, Ordering},
    catch_panic, lock,
};

/// The wake flag of one reader.
#[derive(Debug)]
pub(crate) struct WakeFlag {
    /// A creation number: later flags have higher ones.
    number: u64,
    notified: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Default for WakeFlag {
    fn default() -> Self {
        static NEXT: StaticCounter = StaticCounter::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            notified: AtomicBool::default(),
            waker: Mutex::default(),
        }
    }
}

impl WakeFlag {
    /// Raises the flag and wakes the reader. Raising it again before the reader has polled it has no effect.
    pub(crate) fn wake(&self) {
        if self.raise() {
            self.wake_task();
        }
    }

    /// Raises the flag. Returns whether the reader's task must be woken.
    fn raise(&self) -> bool {
        !self.notified.swap(true, Ordering::AcqRel)
    }

    fn wake_task(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            // A waker is foreign code. If it panics, the others must still be woken, and the log must continue.
            catch_panic(|| waker.wake());
        }
    }

    /// Returns `Ready` if the flag was raised since the last poll that returned `Ready`. The caller must poll first and
    /// read the log afterwards, so that no wake-up is lost.
    pub(crate) fn poll_notified(&self, cx: &Context<'_>) -> Poll<()> {
        {
            let mut waker = lock(&self.waker);
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if self.notified.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A set of flags that are raised together, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WakeSet(Mutex<BTreeMap<u64, Arc<WakeFlag>>>);

impl WakeSet {
    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>) {
        lock(&self.0).insert(wake_flag.number, Arc::clone(wake_flag));
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>) {
        lock(&self.0).remove(&wake_flag.number);
    }

    /// Raises all flags, and wakes the tasks whose flag was not raised before. Wakers are foreign code, so they run
    /// outside the lock. In a busy log, most flags are still raised from the last call, so few tasks are woken.
    pub(crate) fn wake(&self) {
        let wake_flags = lock(&self.0);
        let raised = wake_flags.values().filter(|wake_flag| wake_flag.raise());
        let raised: Vec<Arc<WakeFlag>> = raised.map(Arc::clone).collect();
        drop(wake_flags);
        for wake_flag in raised {
            wake_flag.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn several_wake_ups_before_a_poll_count_as_one() {
        let wakes = Arc::new(Wakes::default());
        let task = Waker::from(Arc::clone(&wakes));
        let context = Context::from_waker(&task);
        let wake_flag = WakeFlag::default();
        wake_flag.wake();
        assert_eq!(
            wake_flag.poll_notified(&context),
            Poll::Ready(()),
            "a wake-up before the first poll was lost"
        );
        assert_eq!(wake_flag.poll_notified(&context), Poll::Pending);
        wake_flag.wake();
        wake_flag.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(wake_flag.poll_notified(&context), Poll::Ready(()));
        assert_eq!(wake_flag.poll_notified(&context), Poll::Pending);
        wake_flag.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    }
}

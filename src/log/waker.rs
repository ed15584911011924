//! Wakes readers: a wake flag for each reader, sets of flags that are raised together, and groups of readers that one task
//! wakes. The publishing thread raises the flags; the readers' tasks poll them. A panic in one reader's waker must never
//! affect other readers.

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
    /// The number of this flag in the order of creation.
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

/// Readers whose tasks run on one runtime. The publishing thread wakes one task for all of them, and that task wakes
/// the readers. The reason: waking a task from another thread costs a system call, which is more than the rest of a
/// wake-up.
#[derive(Debug, Default)]
pub(crate) struct WakeGroup {
    wake_flag: Arc<WakeFlag>,
    readers: WakeSet,
}

impl WakeGroup {
    /// Adds a reader to the group. While the group has readers, it is a member of `all`.
    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>, all: &WakeSet) {
        let mut readers = lock(&self.readers.0);
        readers.insert(wake_flag.number, Arc::clone(wake_flag));
        // Joins under the lock. Otherwise another thread could remove the group in between.
        all.join(&self.wake_flag);
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>, all: &WakeSet) {
        let mut readers = lock(&self.readers.0);
        readers.remove(&wake_flag.number);
        if readers.is_empty() {
            all.leave(&self.wake_flag);
        }
    }

    /// Wakes the readers if the group was woken. The group's task polls this; it must live as long as the readers.
    pub(crate) fn poll_wake(&self, cx: &Context<'_>) -> Poll<()> {
        // The poll stores the waker before it reads the flag, so a later wake-up polls again.
        if self.wake_flag.poll_notified(cx).is_ready() {
            self.readers.wake();
        }
        Poll::Pending
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

    #[test]
    fn one_wake_up_of_a_group_wakes_its_readers_from_its_own_task() {
        let all = WakeSet::default();
        let group = WakeGroup::default();
        let group_wakes = Arc::new(Wakes::default());
        let group_task = Waker::from(Arc::clone(&group_wakes));
        let group_context = Context::from_waker(&group_task);
        assert_eq!(group.poll_wake(&group_context), Poll::Pending);
        let reader_wakes = Arc::new(Wakes::default());
        let reader_task = Waker::from(Arc::clone(&reader_wakes));
        let reader_context = Context::from_waker(&reader_task);
        let readers: [Arc<WakeFlag>; 3] = Default::default();
        for reader in &readers {
            group.join(reader, &all);
            assert_eq!(reader.poll_notified(&reader_context), Poll::Pending);
        }
        let wakes = || [&group_wakes, &reader_wakes].map(|wakes| wakes.0.load(Ordering::SeqCst));
        all.wake();
        all.wake();
        assert_eq!(wakes(), [1, 0]);
        assert_eq!(group.poll_wake(&group_context), Poll::Pending);
        assert_eq!(wakes(), [1, 3]);
        for reader in &readers {
            assert_eq!(reader.poll_notified(&reader_context), Poll::Ready(()));
        }
        all.wake();
        assert_eq!(wakes(), [2, 3]);
        assert_eq!(group.poll_wake(&group_context), Poll::Pending);
        assert_eq!(wakes(), [2, 6]);
    }

    #[test]
    fn a_group_without_readers_is_not_woken() {
        let all = WakeSet::default();
        let group = WakeGroup::default();
        let wakes = Arc::new(Wakes::default());
        let task = Waker::from(Arc::clone(&wakes));
        assert_eq!(group.poll_wake(&Context::from_waker(&task)), Poll::Pending);
        let readers: [Arc<WakeFlag>; 2] = Default::default();
        all.wake();
        for reader in &readers {
            group.join(reader, &all);
        }
        group.leave(&readers[0], &all);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        all.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(group.poll_wake(&Context::from_waker(&task)), Poll::Pending);
        group.leave(&readers[1], &all);
        all.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    }
}

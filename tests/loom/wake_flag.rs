//! Models `WakeFlag` and `WakeGroup`: every wake-up after a waiting reader's last check wakes that
//! reader, in any interleaving.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use loom::{future::block_on, thread};

use crate::{
    log::waker::{WakeFlag, WakeGroup, WakeSet},
    util::sync::atomic::{AtomicU64, Ordering},
};

pub(crate) fn no_wake_up_is_lost() {
    let waiter = Arc::new(WakeFlag::default());
    let head = loom::sync::Arc::new(AtomicU64::new(0));
    let publisher = {
        let (waiter, head) = (Arc::clone(&waiter), head.clone());
        thread::spawn(move || {
            for event in 1..=2 {
                head.store(event, Ordering::Release);
                waiter.wake();
            }
        })
    };
    // A reader uses this order. It first polls the flag, then checks for events, and waits only if
    // the flag was not set.
    let read = |context: &mut Context<'_>| loop {
        let notified = waiter.poll_notified(context);
        if head.load(Ordering::Acquire) == 2 {
            return Poll::Ready(());
        }
        if notified.is_pending() {
            return Poll::Pending;
        }
    };
    block_on(poll_fn(read));
    publisher.join().unwrap();
}

pub(crate) fn no_wake_up_of_a_group_is_lost() {
    let waiter = Arc::new(WakeFlag::default());
    let group = WakeGroup::default();
    let all = Arc::new(WakeSet::default());
    let head = loom::sync::Arc::new(AtomicU64::new(0));
    let publisher = {
        let (all, head) = (Arc::clone(&all), head.clone());
        thread::spawn(move || {
            for event in 1..=2 {
                head.store(event, Ordering::Release);
                all.wake();
            }
        })
    };
    // The reader joins while events are published.
    group.join(&waiter, &all);
    // One task polls the reader and the group, as a runtime does with their two tasks.
    let read = |context: &mut Context<'_>| loop {
        let notified = waiter.poll_notified(context);
        if head.load(Ordering::Acquire) == 2 {
            return Poll::Ready(());
        }
        assert_eq!(group.poll_wake(context), Poll::Pending);
        if notified.is_pending() {
            return Poll::Pending;
        }
    };
    block_on(poll_fn(read));
    group.leave(&waiter, &all);
    publisher.join().unwrap();
}

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

/// Publishes two events on a thread of its own, and wakes after each.
fn publish_two(
    head: &loom::sync::Arc<AtomicU64>,
    wake: impl Fn() + Send + 'static,
) -> thread::JoinHandle<()> {
    let head = head.clone();
    thread::spawn(move || {
        for event in 1..=2 {
            head.store(event, Ordering::Release);
            wake();
        }
    })
}

pub(crate) fn no_wake_up_is_lost() {
    let waiter = Arc::new(WakeFlag::default());
    let head = loom::sync::Arc::new(AtomicU64::new(0));
    let publisher = publish_two(&head, {
        let waiter = Arc::clone(&waiter);
        move || waiter.wake()
    });
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
    let publisher = publish_two(&head, {
        let all = Arc::clone(&all);
        move || all.wake()
    });
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

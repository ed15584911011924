//! The clock of a run. It stands still until the run advances it, and wakes the tasks that wait for
//! a point in time.
//!
//! A run uses one thread of the operating system, so its clock is a thread-local. No other task runs
//! while a task borrows the clock.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use shuttle::{
    sync::Condvar,
    thread::{self, Thread},
};

use crate::random::Random;

/// The number of the task that advances the clock. A run starts this task first.
pub(crate) const TASK: usize = 1;

#[derive(Default)]
struct Clock {
    now: Duration,
    waiters: BTreeMap<(Duration, u64), Waiter>,
    next: u64,
    mover: Option<Thread>,
    stopped: bool,
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

fn with<R>(use_it: impl FnOnce(&mut Clock) -> R) -> R {
    CLOCK.with(|clock| use_it(&mut clock.borrow_mut()))
}

/// A waiter for a point in time. It must tolerate spurious wake-ups, as with the standard library.
#[derive(Clone)]
enum Waiter {
    Thread(Thread),
    Condvar(Arc<Condvar>),
}

impl Waiter {
    fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Condvar(condvar) => condvar.notify_all(),
        }
    }
}

/// Wakes its waiter at a point in time, and repeatedly after that, until this is dropped.
pub(crate) struct Alarm((Duration, u64));

impl Alarm {
    /// Sets an alarm for this task.
    pub(crate) fn set(time: Duration) -> Self {
        Self::of(time, Waiter::Thread(thread::current()))
    }

    pub(crate) fn for_condvar(time: Duration, condvar: &Arc<Condvar>) -> Self {
        Self::of(time, Waiter::Condvar(Arc::clone(condvar)))
    }

    fn of(time: Duration, waiter: Waiter) -> Self {
        let (place, mover) = with(|clock| {
            clock.next += 1;
            let place = (clock.now + time, clock.next);
            clock.waiters.insert(place, waiter);
            (place, clock.mover.clone())
        });
        if let Some(mover) = mover {
            mover.unpark();
        }
        Self(place)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.0 <= now()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        with(|clock| clock.waiters.remove(&self.0));
    }
}

pub(crate) fn now() -> Duration {
    with(|clock| clock.now)
}

/// Advances the clock without waking any task, as when the machine was asleep.
pub(crate) fn jump(time: Duration) {
    with(|clock| clock.now += time);
}

/// Starts the clock of a new run. It does not start at zero, so that earlier moments exist.
pub(crate) fn start(mut random: Random) -> thread::JoinHandle<()> {
    with(|clock| {
        *clock = Clock {
            now: Duration::from_secs(1_000_000),
            ..Clock::default()
        }
    });
    thread::spawn(move || {
        with(|clock| clock.mover = Some(thread::current()));
        run(&mut random);
    })
}

/// Repeatedly advances to the next point for which a task waits, or half the way, and wakes the
/// tasks that are due.
fn run(random: &mut Random) {
    loop {
        let next = with(|clock| {
            (
                clock.stopped,
                clock.waiters.keys().next().map(|(at, _)| *at),
            )
        });
        match next {
            (true, None) => return,
            (false, None) => thread::park(),
            (_, Some(at)) => {
                let left = at.saturating_sub(now());
                jump(if random.once_in(4) { left / 2 } else { left });
                let due: Vec<Waiter> = with(|clock| {
                    let now = clock.now;
                    let due = clock.waiters.range(..=(now, u64::MAX));
                    due.map(|(_, waiter)| waiter.clone()).collect()
                });
                for waiter in due {
                    waiter.wake();
                }
                thread::yield_now();
            }
        }
    }
}

/// Ends the task that advances the clock, when no task waits for a point in time any more.
pub(crate) fn stop() {
    let mover = with(|clock| {
        clock.stopped = true;
        clock.mover.clone()
    });
    if let Some(mover) = mover {
        mover.unpark();
    }
}

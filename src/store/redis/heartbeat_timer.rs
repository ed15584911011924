//! When the heart beats: what the heartbeat's thread waits on, and what others tell it.

use std::time::Duration;

use crate::util::sync::{Condvar, Instant, Mutex, lock};

/// What the thread is told.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the next heartbeat is due now.
    now: bool,
    stopping: bool,
    ended: bool,
}

impl Pulse {
    /// Lets the heart beat at once: what this process knows must be heard.
    pub(crate) fn hasten(&self) {
        lock(&self.state).now = true;
        self.changed.notify_all();
    }

    /// Ends the thread, which says good-bye first, and waits for that at most so long.
    pub(crate) fn stop(&self, patience: Duration) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
        let deadline = Instant::now() + patience;
        let mut state = lock(&self.state);
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits for the next beat; whether there is one.
    pub(crate) fn wait(&self, interval: Duration) -> bool {
        let deadline = Instant::now() + interval;
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return false;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.now || left.is_zero() {
                state.now = false;
                return true;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Says that the thread has ended.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }
}

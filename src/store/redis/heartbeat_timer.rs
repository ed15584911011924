//! Times the heartbeats: the heartbeat's thread waits here, and other threads wake or stop it.

use std::time::Duration;

use crate::util::sync::{Condvar, Instant, Mutex, lock};

/// Determines when the heartbeat's thread sends the next heartbeat, and when it stops.
#[derive(Debug, Default)]
pub(crate) struct HeartbeatTimer {
    state: Mutex<TimerState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TimerState {
    /// Whether the next heartbeat is due now.
    now: bool,
    stopping: bool,
    ended: bool,
}

impl HeartbeatTimer {
    /// Makes the thread send the next heartbeat at once. A heartbeat sends this process's epochs and head to Redis, and
    /// the reply has those of Redis.
    pub(crate) fn beat_now(&self) {
        lock(&self.state).now = true;
        self.changed.notify_all();
    }

    /// Stops the thread, and waits at most `timeout` for its end. Before it ends, the thread reports to Redis that this
    /// process leaves.
    pub(crate) fn stop(&self, timeout: Duration) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
        let deadline = Instant::now() + timeout;
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

    /// Waits for the next heartbeat. Returns `false` when the thread must stop.
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

    /// Reports that the thread has ended.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }
}

//! Finds workers of tokio runtimes that are stuck in one poll. A worker updates its counters only between polls. So a
//! worker that is not parked and whose counters do not change is still in the same poll. (tokio counts parks and
//! unparks in one counter: if it is odd, the worker is parked.)

use std::{
    mem,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, Id, RuntimeFlavor, RuntimeMetrics};

/// How long a worker must be in one poll to count as stuck.
pub(super) const STUCK_AFTER: Duration = Duration::from_millis(500);
/// Upper bound on the workers of one runtime that are watched.
const WORKERS_MAX: usize = 256;

/// One runtime.
#[derive(Debug)]
pub(super) struct WatchedRuntime {
    pub(super) id: Id,
    metrics: RuntimeMetrics,
    flavor: RuntimeFlavor,
    workers: Vec<WorkerSample>,
}

#[derive(Clone, Copy, Debug)]
struct WorkerSample {
    numbers: (u64, Duration),
    /// When these values of the counters were first read.
    since: Instant,
    /// Whether the current stuck poll was reported.
    is_reported: bool,
}

impl WorkerSample {
    fn is_parked(&self) -> bool {
        self.numbers.0 % 2 == 1
    }

    fn is_stuck(&self, now: Instant) -> bool {
        !self.is_parked() && now.duration_since(self.since) >= STUCK_AFTER
    }
}

impl WatchedRuntime {
    pub(super) fn new(handle: &Handle, now: Instant) -> Self {
        let mut runtime = Self {
            id: handle.id(),
            metrics: handle.metrics(),
            flavor: handle.runtime_flavor(),
            workers: Vec::new(),
        };
        runtime.sample(now);
        runtime
    }

    /// Reads the current counters of the first [`WORKERS_MAX`] workers.
    pub(super) fn sample(&mut self, now: Instant) {
        for number in 0..self.metrics.num_workers().min(WORKERS_MAX) {
            let numbers = numbers_of(&self.metrics, number);
            match self.workers.get_mut(number) {
                Some(worker) if worker.numbers == numbers => {}
                Some(worker) => *worker = WorkerSample::new(numbers, now),
                None => self.workers.push(WorkerSample::new(numbers, now)),
            }
        }
    }

    /// Returns whether a worker is stuck in one poll. A single-threaded runtime that is not running at this moment
    /// looks the same, but then none of its spans is being polled.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let has_work = self.is_single() || self.metrics.num_alive_tasks() > 0;
        has_work && self.workers.iter().any(|worker| worker.is_stuck(now))
    }

    fn is_single(&self) -> bool {
        matches!(self.flavor, RuntimeFlavor::CurrentThread)
    }

    /// Returns the number of unreported polls that certainly block a worker, and marks them as reported.
    pub(super) fn take_unreported(&mut self, now: Instant) -> usize {
        let mut count = 0;
        if self.is_single() || !self.is_stuck(now) {
            return count;
        }
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| worker.is_stuck(now))
        {
            count += usize::from(!mem::replace(&mut worker.is_reported, true));
        }
        count
    }

    /// Returns whether all tasks of the runtime have been waiting for [`STUCK_AFTER`]. This is known only for a
    /// single-threaded runtime.
    pub(super) fn has_rested(&self, now: Instant) -> bool {
        self.is_single()
            && self
                .workers
                .iter()
                .all(|worker| worker.is_parked() && now.duration_since(worker.since) >= STUCK_AFTER)
    }
}

impl WorkerSample {
    fn new(numbers: (u64, Duration), now: Instant) -> Self {
        Self {
            numbers,
            since: now,
            is_reported: false,
        }
    }
}

#[cfg(target_has_atomic = "64")]
fn numbers_of(metrics: &RuntimeMetrics, worker: usize) -> (u64, Duration) {
    (
        metrics.worker_park_unpark_count(worker),
        metrics.worker_total_busy_duration(worker),
    )
}

/// tokio's counters need 64-bit atomics. Without them, each worker counts as parked.
#[cfg(not(target_has_atomic = "64"))]
fn numbers_of(_metrics: &RuntimeMetrics, _worker: usize) -> (u64, Duration) {
    (1, Duration::ZERO)
}
